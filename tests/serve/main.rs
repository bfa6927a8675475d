//! `simoom serve` as its users meet it: the built program in one network namespace, clients over
//! kernel sockets in another, a veth pair between them. What all transports must do is asked of
//! all.

#![allow(clippy::print_stdout, reason = "what was measured is seen in a test's output")]
#![allow(unreachable_pub, reason = "a test binary has no outside")]

#[path = "../common/mod.rs"]
mod common;

mod abuse;
mod access_log;
mod addresses;
mod balancers;
mod busy_poll;
mod capture;
mod client;
mod clients;
mod conformance;
mod connections;
mod content;
mod delay;
mod earlier;
mod ecn;
mod examples;
mod examples_frames;
mod examples_http;
mod examples_resp;
mod files;
mod guard;
mod hostile;
mod input;
mod ipv6;
mod large;
mod lifecycle;
mod limits;
mod load;
mod local;
mod lossy;
mod many_addresses;
mod memcached;
mod metrics;
mod path_mtu;
mod queues;
mod restart;
mod shares;
mod site;
mod starvation;
mod storms;
mod tunnels;
mod unread_log;
mod watch;
mod wire;

use common::TEST_TIMEOUT;

/// Makes a test of each function for each transport.
macro_rules! over_all {
    ($($name:ident),* $(,)?) => {
        mod over_xdp {
            $(#[test] fn $name() { super::$name(crate::site::Transport::Xdp); })*
        }
        mod over_io_uring {
            $(#[test] fn $name() {
                if crate::site::need_io_uring() {
                    super::$name(crate::site::Transport::IoUring);
                }
            })*
        }
        mod over_epoll {
            $(#[test] fn $name() { super::$name(crate::site::Transport::Epoll); })*
        }
    };
}
pub(crate) use over_all;

//! Unnamed network namespaces, and veth pairs between them, for the demonstration, the comparison
//! and the tests.
//!
//! A [`Namespace`] is a file descriptor, without a name or a mount. The kernel removes it with its
//! interfaces when the process ends, however it ends. The namespace of this process is not changed.

mod addresses;
mod interface;
mod rtnetlink;

pub use interface::{Interface, Named, interface, interfaces, named};
pub use rtnetlink::{add_neighbour, gateway, set_address, set_congestion_control, set_mtu, set_up};

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::resume_unwind;
use std::thread;

/// A network namespace. It lives as long as this value, or a thread, process or socket in it.
#[derive(Debug)]
pub struct Namespace(OwnedFd);

impl Namespace {
    /// An empty namespace with `lo` up. Needs CAP_SYS_ADMIN.
    pub fn new() -> io::Result<Namespace> {
        thread::scope(|scope| {
            let made = scope.spawn(|| {
                unshare_network().map_err(|error| {
                    let remedy = "it needs CAP_SYS_ADMIN: run as root";
                    io::Error::new(
                        error.kind(),
                        format!("making a network namespace: {error}; {remedy}"),
                    )
                })?;
                let namespace = File::open("/proc/thread-self/ns/net")?;
                set_up("lo")?;
                Ok(Namespace(namespace.into()))
            });
            made.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// Runs `inside` on a new thread in this namespace and returns its result. A panic continues in
    /// the caller. Sockets, threads and child processes made by `inside` belong to the namespace.
    /// Calls may run concurrently.
    pub fn run<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let ran = scope.spawn(|| {
                move_into_link_name_space(self.as_fd(), Some(LinkNameSpaceType::Network))
                    .unwrap_or_else(|error| {
                        panic!("entering a network namespace this process made: {error}")
                    });
                inside()
            });
            ran.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Creates a veth pair: `a_name` in `a`, `b_name` in `b`, each with `queues` receive and transmit
/// queues. Both ends are down.
pub fn veth(
    a: &Namespace,
    a_name: &str,
    b: &Namespace,
    b_name: &str,
    queues: u32,
) -> io::Result<()> {
    a.run(|| rtnetlink::add_veth(a_name, b_name, b.as_fd(), queues))
}

#[expect(
    deprecated,
    reason = "deprecated for its CLONE_FILES alone; the safe call is right for CLONE_NEWNET"
)]
fn unshare_network() -> io::Result<()> {
    Ok(rustix::thread::unshare(UnshareFlags::NEWNET)?)
}

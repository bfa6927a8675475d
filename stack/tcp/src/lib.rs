//! A TCP stack: frames in, frames out.
//!
//! It makes no system call, reads no clock and draws no random number: the caller brings time,
//! frames and a secret, and so a run repeats exactly. It has no threads either; one [`Stack`]
//! belongs to one worker.
//!
//! # The life of a segment
//!
//! A worker takes a burst of packets from its queue and calls [`Stack::receive`]. [`wire`] reads
//! each packet down to its TCP header and checks every length and checksum on the way; what is
//! wrong with it, if anything, is a [`drop::DropReason`] and a counter. A keyed hash of the
//! four-tuple leads through `demux` to the owner: a connection, a half-open one, a TIME-WAIT entry,
//! or nobody.
//!
//! For a connection, `tcp::input` goes through the steps of RFC 9293 §3.10.7.4 in their order.
//! `tcp::ack` takes what is acknowledged off the send queue and adjusts windows; `tcp::deliver`
//! delivers the text to the [`simoom_io::Application`], where it lies in the received frame. The
//! application answers through a [`simoom_io::Reply`] with ranges of bytes ([`simoom_io::send`]):
//! copied, if they are few, or shared. What it leaves unread is held ([`simoom_io::input`]); what
//! came ahead of a gap waits ([`reassembly`]).
//!
//! Nothing has been sent yet. When the burst is done, [`Stack::expire`] does what has come due on
//! the timing wheel ([`simoom_io::timer`]), and [`Stack::flush`] goes once over the connections
//! that something happened to: `tcp::output` writes what the windows allow straight from the ranges
//! into free frames ([`Transmit`]), and the acknowledgement of the whole burst rides along. When
//! the peer has acknowledged a range, it is given back.
//!
//! When something is out of order on the way to the peer, acknowledgements take a longer way: the
//! scoreboard ([`flight`]) knows what was sent when, `tcp::sack` notes what has arrived,
//! `tcp::rack` judges what is lost, `tcp::recovery` decides how much may be sent and `tcp::output`
//! sends it again, from the same ranges.
//!
//! A SYN costs an entry of a small table (`listen`), or nothing when they are many (`cookie`), and
//! becomes a connection with the handshake's last segment. A connection that this side closed first
//! leaves an entry in TIME-WAIT (`time_wait`). Both tables, the control blocks, and every pool have
//! a size fixed by [`Limits`]; running out of any is a counter and a wait, or a refusal.
//!
//! An active open asks for its next hop by ARP or neighbour discovery ([`neighbour`]) and waits for
//! the answer before its SYN goes out.
//!
//! # What it does not do
//!
//! The urgent pointer is ignored: urgent data is data. A closed connection discards what its peer
//! still sends instead of resetting it, so that the last answer is not lost.
#![forbid(unsafe_code)]

mod answers;
pub mod config;
mod cookie;
pub mod counters;
mod demux;
pub mod drop;
pub mod flight;
mod icmp;
mod icmpv6;
mod keyed;
mod listen;
pub mod neighbour;
mod path_mtu;
pub mod ports;
pub mod prefix;
pub mod reassembly;
pub mod seq;
mod stack;
mod tcp;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod time_wait;
pub mod wire;

pub use config::{Config, Congestion, EcnPolicy, Limits, LocalAddress, READ_RATE_MIN};
pub use neighbour::Route;
#[cfg(any(test, feature = "testing"))]
pub use stack::Inspection;
pub use stack::{BURST, Census, ConnId, Connect, ConnectError, NextHop, Stack};
pub use tcp::Transmit;
pub use wire::{Address, ChecksumPolicy, Link, Mac, Packet};

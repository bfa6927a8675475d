//! A TCP stack: frames in, frames out.
//!
//! It makes no system call, reads no clock and draws no random number. The caller passes time,
//! frames and a secret, so every run can be repeated exactly. It has no threads: one [`Stack`]
//! belongs to one worker.
//!
//! # Example
//!
//! Two stacks and a wire between them: one side opens a connection, sends a word and closes.
//!
//! ```
//! use simoom_io::{Application, Instant, Opened, Reply};
//! use simoom_tcp::{Address, Config, Connect, Limits, Link, LocalAddress, Packet, Stack, Transmit};
//! use std::collections::VecDeque;
//! use std::net::Ipv4Addr;
//!
//! #[derive(Default)]
//! struct App {
//!     received: Vec<u8>,
//! }
//!
//! impl Application for App {
//!     type Blob = &'static [u8];
//!     type Conn = ();
//!
//!     fn opened(&mut self, (): &mut (), opened: Opened, reply: &mut Reply<'_, Self::Blob>) {
//!         if opened.active {
//!             reply.copy(b"hello");
//!             reply.close();
//!         }
//!     }
//!
//!     fn received(&mut self, (): &mut (), bytes: &[u8], _: &mut Reply<'_, Self::Blob>) -> usize {
//!         self.received.extend_from_slice(bytes);
//!         bytes.len()
//!     }
//! }
//!
//! #[derive(Default)]
//! struct Wire(VecDeque<Vec<u8>>);
//!
//! impl Transmit for Wire {
//!     fn transmit(&mut self, write: impl FnOnce(&mut [u8]) -> usize) -> bool {
//!         let mut frame = vec![0; 2048];
//!         let len = write(&mut frame);
//!         frame.truncate(len);
//!         self.0.push_back(frame);
//!         true
//!     }
//! }
//!
//! let now = Instant::from_millis(0);
//! let mac = |host| [2, 0, 0, 0, 0, host];
//! let address = |host| Address::from(Ipv4Addr::new(198, 18, 0, host));
//! let stack = |host| {
//!     let own = LocalAddress { address: address(host), dedicated: true };
//!     let secret = [u64::from(host); 4];
//!     Stack::new(Config::new(mac(host), vec![own], secret, Limits::for_connections(4)), now)
//! };
//! let (mut client, mut server) = (stack(1), stack(2));
//! let (mut app, mut served) = (App::default(), App::default());
//! let (mut to_server, mut to_client) = (Wire::default(), Wire::default());
//! server.listen(80);
//! let to = Connect {
//!     local: address(1),
//!     local_port: 40_000,
//!     remote: address(2),
//!     remote_port: 80,
//!     link: Some(Link { mac: mac(2), vlan: 0 }),
//!     token: 0,
//! };
//! client.connect(now, &to, &mut to_server).unwrap();
//! loop {
//!     client.flush(now, &mut app, &mut to_server);
//!     server.flush(now, &mut served, &mut to_client);
//!     if let Some(frame) = to_server.0.pop_front() {
//!         server.receive(now, &[Packet(&[&frame])], &mut served, &mut to_client);
//!     } else if let Some(frame) = to_client.0.pop_front() {
//!         client.receive(now, &[Packet(&[&frame])], &mut app, &mut to_server);
//!     } else {
//!         break;
//!     }
//! }
//! assert_eq!(served.received, b"hello");
//! ```
//!
//! # The life of a segment
//!
//! A worker takes a burst of packets from its queue and calls [`Stack::receive`]. [`wire`] parses
//! each packet down to its TCP header and checks every length and checksum. An invalid packet is
//! counted by its [`drop::DropReason`]. A keyed hash of the four-tuple leads through `demux` to the
//! owner: a connection, a half-open one, a TIME-WAIT entry, or none.
//!
//! For a connection, `tcp::input` follows the steps of RFC 9293 §3.10.7.4 in their order.
//! `tcp::ack` removes acknowledged bytes from the send queue and adjusts windows. `tcp::deliver`
//! delivers the text to the [`simoom_io::Application`] in place, in the received frame. The
//! application answers through a [`simoom_io::Reply`] with ranges of bytes ([`simoom_io::send`]),
//! copied or shared. An input buffer holds what it leaves unread ([`simoom_io::input`]). Text ahead
//! of a gap waits in [`reassembly`].
//!
//! Nothing has been sent yet. After the burst, [`Stack::expire`] handles expired timers
//! ([`simoom_io::timer`]), and [`Stack::flush`] visits the connections that had an event.
//! `tcp::output` writes what the windows allow straight from the ranges into free frames
//! ([`Transmit`]), with the acknowledgement of the whole burst. A range is freed when the peer has
//! acknowledged it.
//!
//! After loss or reordering, acknowledgements leave the fast path. The scoreboard ([`flight`])
//! records when each segment was sent, `tcp::sack` marks what has arrived, `tcp::rack` detects
//! losses, `tcp::recovery` decides how much may be sent, and `tcp::output` retransmits from the
//! same ranges.
//!
//! A SYN costs an entry of a small table (`listen`), or nothing under pressure (`cookie`), and
//! becomes a connection with the handshake's last segment. A connection that this side closed first
//! leaves an entry in TIME-WAIT (`time_wait`). [`Limits`] fixes the size of both tables, the
//! control blocks, and every pool. If one is full, a counter shows it, and the request waits or is
//! refused.
//!
//! An active open resolves its next hop by ARP or neighbour discovery ([`neighbour`]) before it
//! sends its SYN.
//!
//! # What it does not do
//!
//! The urgent pointer is ignored: urgent data is data. A closed connection discards what its peer
//! still sends instead of resetting the connection, so that the last answer is not lost.
#![forbid(unsafe_code)]

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
mod rate_limit;
pub mod reassembly;
pub mod seq;
mod stack;
mod tcp;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod time_wait;
pub mod wire;

pub use config::{Config, EcnPolicy, Limits, LocalAddress, PortTimeouts, READ_RATE_MIN};
pub use cookie::Outstanding;
pub use neighbour::Route;
#[cfg(any(test, feature = "testing"))]
pub use stack::Inspection;
pub use stack::{BURST, ConnId, Connect, ConnectError, NextHop, OwnershipCounts, Stack};
pub use tcp::congestion::{self, Congestion};
pub use tcp::{Gso, Transmit};
pub use wire::{Address, ChecksumPolicy, Link, Mac, Packet, TxChecksum};

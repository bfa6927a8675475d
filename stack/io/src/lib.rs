//! The contract between transports and handlers: bytes in, ranges of shared bytes out.
//!
//! A transport delivers the bytes of each connection in stream order to an [`Application`], the
//! handler. The handler answers through a [`Reply`]: it queues ranges of immutable bytes
//! ([`send`]), sets a deadline, or closes. Between the two stands an [`exchange`], the one
//! interpreter: it calls the handler, carries out its [`Effects`] and decides what is delivered
//! again. Input that the handler leaves unread lies in an [`input`] buffer. Deadlines wait on a
//! timer wheel ([`timer`]).
//!
//! Nothing here makes a system call or reads a clock: the caller passes the time. The TCP stack
//! over AF_XDP, kernel sockets and the load generator are transports; HTTP and memcached are
//! applications.
//!
//! # Example
//!
//! A handler that answers each line with the same line, and a transport for one connection. The
//! first half of the line is delivered again with the second.
//!
//! ```
//! use simoom_io::{Application, Connection, Reply, input, send};
//!
//! struct Echo;
//!
//! impl Application for Echo {
//!     type Blob = &'static [u8];
//!     type Conn = ();
//!
//!     fn received(
//!         &mut self,
//!         (): &mut (),
//!         bytes: &[u8],
//!         reply: &mut Reply<'_, Self::Blob>,
//!     ) -> usize {
//!         let line = bytes.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
//!         reply.write(&bytes[..line])
//!     }
//! }
//!
//! let (mut echo, mut connection) = (Echo, Connection::<Echo>::default());
//! let (mut sends, mut inputs) = (send::Pool::new(64, 64), input::Pool::new(1, 1));
//! for bytes in [&b"hel"[..], b"lo\n"] {
//!     let mut exchange = connection.exchange(&mut sends, &mut inputs);
//!     assert_eq!(exchange.receive(&mut echo, bytes), bytes.len());
//!     assert_eq!(exchange.requests(), simoom_io::Requests::default());
//! }
//! let answer: Vec<u8> = connection.queue.slices(&sends).flatten().copied().collect();
//! assert_eq!(answer, b"hello\n");
//! connection.release(&mut sends, &mut inputs);
//! ```
#![forbid(unsafe_code)]

pub mod application;
pub mod checksum;
pub mod connection;
pub mod exchange;
pub mod flow;
pub mod input;
mod metric;
pub mod reply;
pub mod send;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod timer;

pub use application::{Application, Closed, ConnectionId, Ends, Opened};
pub use connection::Connection;
pub use exchange::{Exchange, Input, Requests};
pub use flow::Flow;
pub use input::InputBuffer;
pub use metric::{Kind, Metric, Unit};
pub use reply::{Effects, Reply};
pub use send::Blob;
pub use smoltcp::time::{Duration, Instant};

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
#![forbid(unsafe_code)]

pub mod application;
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

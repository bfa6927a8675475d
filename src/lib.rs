//! Simoom: servers that take packets from a NIC's receive queues, or from kernel sockets.
//!
//! HTTP and memcached are built in, as the program `simoom serve`. A [`Server`] runs handlers of
//! your own beside them, or instead. This one echoes:
//!
//! ```
//! use simoom::app::Blob;
//! use simoom::io::{self, Application, Opened, Reply};
//! use simoom::{Handler, Server, Signals};
//! use std::io::{Read, Write};
//! use std::net::TcpStream;
//! use std::time::Duration;
//!
//! struct Echo;
//!
//! impl Application for Echo {
//!     type Blob = Blob;
//!     type Conn = ();
//!
//!     fn opened(&mut self, (): &mut (), _: Opened, reply: &mut Reply<'_, Blob>) {
//!         // Without a deadline, a silent peer would keep its connection.
//!         reply.set_timeout(Some(io::Duration::from_secs(60)));
//!     }
//!
//!     fn received(&mut self, (): &mut (), bytes: &[u8], reply: &mut Reply<'_, Blob>) -> usize {
//!         reply.write(bytes)
//!     }
//! }
//!
//! impl Handler for Echo {}
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let builder = Server::builder().connections(100).signals(Signals::Ignore);
//! let server = builder.handler("echo", "127.0.0.1:0", |_worker| Ok(Echo)).start()?;
//! let mut client = TcpStream::connect(server.addresses()[0])?;
//! client.write_all(b"hello")?;
//! let mut answer = [0; 5];
//! client.read_exact(&mut answer)?;
//! assert_eq!(&answer, b"hello");
//! server.drain(Duration::ZERO)?;
//! # Ok(())
//! # }
//! ```
//!
//! The [`guide`] is for those who run it (set-up, operation, limits), who write
//! [handlers](guide::handlers), and who read the code ([architecture](guide::architecture)).
//!
//! A packet passes [`steer`], the XDP program that redirects claimed traffic; [`af_xdp`], the rings
//! of a queue; [`worker`], the loop of a core; [`simoom_tcp`], TCP; and [`app`], the handlers, with
//! memcached's items in [`store`]. [`kernel`] runs the same handlers over sockets. [`server`]
//! starts and stops the parts, [`config`] reads the options of [`serve`], and [`limits`] adds up
//! the memory before any is allocated.
//!
//! Other commands test and measure the server: [`load`] sends requests and checks the answers,
//! [`compare`] measures Simoom beside other servers, [`demo`] serves between two namespaces of
//! [`netns`], and [`probe`] reports what the machine can do.

#![deny(unsafe_code)]
#![cfg_attr(
    not(feature = "cli"),
    allow(dead_code, unused_imports, reason = "some parts serve the program alone")
)]

mod address_check;
pub mod admin;
pub mod app;
#[cfg(feature = "cli")]
pub mod cli;
mod clock;
#[cfg(feature = "cli")]
pub mod compare;
pub mod config;
pub mod control;
pub mod datagrams;
#[cfg(feature = "cli")]
pub mod demo;
mod digits;
pub mod error;
pub mod guide;
pub mod handler;
pub mod kernel;
pub mod later;
pub mod limits;
pub mod listening;
#[cfg(feature = "cli")]
pub mod load;
pub mod log;
pub mod metrics;
pub mod netns;
mod open_files;
pub mod panics;
mod print;
pub mod probe;
pub mod readiness;
#[cfg(feature = "cli")]
pub mod serve;
pub mod server;
mod setup;
mod signals;
pub mod steer;
pub mod store;
mod suspension;
pub mod thread;
mod work;
pub mod worker;

#[doc(inline)]
pub use af_xdp::memory::HugePages;
pub use error::{Error, Result};
pub use handler::Handler;
pub use later::{Completed, Later, Token};
pub use server::{Builder, Factories, Server, Signals, Stopper, WorkerInfo};
#[doc(inline)]
pub use simoom_io as io;
#[doc(inline)]
pub use simoom_tcp::{Congestion, congestion};

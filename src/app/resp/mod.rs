//! A subset of the Redis protocol (RESP2, and RESP3 after `HELLO 3`) over the store.
//!
//! Commands: PING, ECHO, GET, SET (with EX, PX, NX, XX), DEL, EXISTS, INCR, DECR, INCRBY, DECRBY,
//! TTL, HELLO and QUIT. They come as arrays of bulk strings or as inline commands. Errors have the
//! words of Redis.
//!
//! ```
//! use simoom::app::resp;
//! use simoom::store::{Settings, Store};
//! let store = Store::new(&Settings { memory_bytes: 8 << 20, ..Settings::default() })?;
//! let mut line = simoom::app::testing::Line::open(resp::application(store), 6379);
//! line.offer(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n");
//! line.offer(b"INCR a\r\nGET a\r\n");
//! assert_eq!(line.take(), b"+OK\r\n:2\r\n$1\r\n2\r\n");
//! # Ok::<(), simoom::Error>(())
//! ```
//!
//! # Differences from Redis
//!
//! - The store is that of memcached: it evicts, whatever the commands; a value is bytes and nothing
//!   else; both protocols see the same items.
//! - A key has 1 to 250 bytes.
//! - Times are whole seconds. PX is rounded up to the next one.
//! - INCR and its kin leave the client flags and the time to live as they are.

mod codec;
mod commands;
mod count;
mod hello;
mod set;

pub use codec::{Command, Resp, Value};
pub use commands::Commands;
pub use hello::Protocol;

use super::codec::Framed;
use crate::store::Store;
use std::sync::Arc;

/// The commands over `store` as an application, one for each worker.
pub fn application(store: Arc<Store>) -> Framed<Resp, Commands> {
    let codec = Resp::new(store.item_max_bytes());
    Framed::new(codec, Commands::new(store))
}

#[cfg(test)]
#[path = "resp_tests.rs"]
mod tests;

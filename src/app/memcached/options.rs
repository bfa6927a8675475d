//! What the handlers of all workers have in common: the store, the numbers, and what `stats
//! settings` tells.

use super::connection_table::ConnectionTable;
use super::counters::Counters;
use super::proven::Proven;
use crate::store::Store;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What can be chosen about the handlers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The port that is served, for `stats settings`.
    pub port: u16,
    /// The port that is served over UDP, for the same; 0: none.
    pub udp_port: u16,
    /// How many handlers there may be.
    pub workers: usize,
    /// How many of them serve the most, for `stats`.
    pub threads: usize,
    /// Connections that all serve at once.
    pub connections: u32,
    /// Memory for items, as it was asked for; the store takes no more.
    pub memory_bytes: u64,
    /// The largest item.
    pub item_max_bytes: u64,
    /// A connection without a request for more seconds than this is closed; 0: none is.
    pub idle_seconds: u32,
    /// A request has this many seconds to be complete; a value that comes fast enough has as many
    /// again and again.
    pub request_seconds: u32,
}

/// An hour: clients that pool connections use each of them more often.
const IDLE_SECONDS: u32 = 3600;
const REQUEST_SECONDS: u32 = 30;

impl Default for Options {
    fn default() -> Options {
        let crate::store::Settings { memory_bytes, item_max_bytes, .. } =
            crate::store::Settings::default();
        Options {
            port: 11211,
            udp_port: 0,
            workers: 1,
            threads: 1,
            connections: 64,
            memory_bytes,
            item_max_bytes,
            idle_seconds: IDLE_SECONDS,
            request_seconds: REQUEST_SECONDS,
        }
    }
}

/// One for all workers.
pub struct Shared {
    store: Arc<Store>,
    options: Options,
    counters: Counters,
    started: u32,
    listeners: Mutex<Vec<Listening>>,
    connection_tables: Mutex<Vec<Arc<ConnectionTable>>>,
    /// Present only where memcached is served over UDP.
    proven: Option<Proven>,
}

/// Where clients come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listening {
    /// The address with its port.
    pub address: SocketAddr,
    /// UDP, not TCP.
    pub over_udp: bool,
}

impl Shared {
    /// The common part of as many handlers as `options` say; `unix_seconds` is the time that uptime
    /// counts from.
    pub fn new(store: Arc<Store>, options: Options, unix_seconds: u64) -> Arc<Shared> {
        let started = u32::try_from(unix_seconds).unwrap_or(u32::MAX);
        let (listeners, connection_tables) = (Mutex::default(), Mutex::default());
        let proven = (options.udp_port != 0).then(Proven::new);
        Arc::new(Shared {
            store,
            options,
            counters: Counters::new(options.workers),
            started,
            listeners,
            connection_tables,
            proven,
        })
    }

    /// The store.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    pub(super) fn options(&self) -> &Options {
        &self.options
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// From here on `stats conns` tells of it. To be called before anybody can connect.
    pub fn listens(&self, listening: Listening) {
        self.listeners().push(listening);
    }

    /// Where clients come in. Only `stats conns` locks this while connections are served, and then
    /// the next.
    pub(super) fn listeners(&self) -> MutexGuard<'_, Vec<Listening>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes known who is connected to one more handler.
    pub(super) fn register(&self, connection_table: &Arc<ConnectionTable>) {
        self.connection_tables().push(connection_table.clone());
    }

    pub(super) fn connection_tables(&self) -> MutexGuard<'_, Vec<Arc<ConnectionTable>>> {
        self.connection_tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that are taken where memcached is served over UDP.
    pub const UDP_MEMORY_BYTES: usize = Proven::MEMORY_BYTES;

    /// Notes that a TCP handshake with `address` was completed at this second.
    pub(super) fn note_handshake(&self, address: IpAddr, now: u32) {
        if let Some(proven) = &self.proven {
            proven.note(address, now);
        }
    }

    /// Whether `address` has completed a TCP handshake within the last hour, and so receives what
    /// is sent to it.
    pub fn is_proven(&self, address: IpAddr, now: u32) -> bool {
        self.proven.as_ref().is_some_and(|proven| proven.contains(address, now))
    }

    pub(super) fn started(&self) -> u32 {
        self.started
    }
}

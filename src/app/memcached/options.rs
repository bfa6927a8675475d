//! The state that the handlers of all workers share: the store, the counters, and the values of
//! `stats settings`.

use super::connection_table::ConnectionTable;
use super::counters::Counters;
use super::proven::Proven;
use crate::store::Store;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Settings of the handlers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The TCP port, for `stats settings`.
    pub port: u16,
    /// The UDP port, for `stats settings`; 0 if there is none.
    pub udp_port: u16,
    /// Limit of the handlers.
    pub workers: usize,
    /// Number of worker threads, for `stats`.
    pub threads: usize,
    /// Limit of the open connections, over all handlers.
    pub connections: u32,
    /// Memory for items, as configured.
    pub memory_bytes: u64,
    /// Size limit of an item.
    pub item_max_bytes: u64,
    /// Idle time after which a connection is closed, in seconds; 0 for no limit.
    pub idle_seconds: u32,
    /// Time for a complete request, in seconds. A value that arrives fast enough gets the same time
    /// again.
    pub request_seconds: u32,
}

/// An hour: clients with pools use their connections more often.
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

/// The state that all workers share.
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

/// A listening address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listening {
    /// Address and port.
    pub address: SocketAddr,
    /// Whether it is UDP.
    pub over_udp: bool,
}

impl Shared {
    /// The shared state for handlers with `options`. Uptime counts from `unix_seconds`.
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

    /// Adds a listener to `stats conns`. Call it before clients can connect.
    pub fn listens(&self, listening: Listening) {
        self.listeners().push(listening);
    }

    /// The listeners. Once connections are served, only `stats conns` takes this lock.
    pub(super) fn listeners(&self) -> MutexGuard<'_, Vec<Listening>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the connection table of a handler.
    pub(super) fn register(&self, connection_table: &Arc<ConnectionTable>) {
        self.connection_tables().push(connection_table.clone());
    }

    pub(super) fn connection_tables(&self) -> MutexGuard<'_, Vec<Arc<ConnectionTable>>> {
        self.connection_tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes of memory that UDP takes.
    pub const UDP_MEMORY_BYTES: usize = Proven::MEMORY_BYTES;

    /// Records a TCP handshake with `address`.
    pub(super) fn note_handshake(&self, address: IpAddr, now: u32) {
        if let Some(proven) = &self.proven {
            proven.note(address, now);
        }
    }

    /// Whether `address` has completed a TCP handshake within the last hour, so it receives what is
    /// sent to it.
    pub fn is_proven(&self, address: IpAddr, now: u32) -> bool {
        self.proven.as_ref().is_some_and(|proven| proven.contains(address, now))
    }

    pub(super) fn started(&self) -> u32 {
        self.started
    }
}

//! Where a server is reached: each service at each address, for the log and for metrics.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Which way packets come from an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// From the interface's queues.
    Xdp,
    /// Through a kernel socket.
    Kernel,
}

/// A service at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listening {
    /// What is served: "HTTP", "memcached" or "admin".
    pub service: &'static str,
    /// "tcp" or "udp".
    pub protocol: &'static str,
    /// Where.
    pub address: SocketAddr,
    /// Which way the packets come.
    pub via: Via,
}

impl Via {
    /// The name in the log and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Via::Xdp => "xdp",
            Via::Kernel => "kernel",
        }
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where a server is reached now, shared by all clones.
#[derive(Clone, Debug, Default)]
pub struct Listeners(Arc<Mutex<Vec<Listening>>>);

impl Listeners {
    /// Adds a place, and logs it.
    pub fn add(&self, listening: Listening) {
        let Listening { service, protocol, address, via } = listening;
        tracing::info!(service, protocol, %address, %via, "listening");
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(listening);
    }

    /// Nothing is accepted any more, but by the admin endpoint.
    pub fn close(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|place| place.service == ADMIN);
    }

    /// All places.
    pub fn all(&self) -> Vec<Listening> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The name of the admin endpoint among the services.
pub const ADMIN: &str = "admin";

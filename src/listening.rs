//! The endpoints of a server, for the log and for metrics.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// The path of packets from an address.
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
    /// Name of the service: "HTTP", "memcached", "admin", or the name of another handler.
    pub service: &'static str,
    /// "tcp" or "udp".
    pub protocol: &'static str,
    /// Address and port.
    pub address: SocketAddr,
    /// The path of packets.
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

/// The current endpoints of a server, shared by all clones.
#[derive(Clone, Debug, Default)]
pub struct Listeners(Arc<Mutex<Vec<Listening>>>);

impl Listeners {
    /// Adds an endpoint and logs it.
    pub fn add(&self, listening: Listening) {
        let Listening { service, protocol, address, via } = listening;
        tracing::info!(service, protocol, %address, %via, "listening");
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(listening);
    }

    /// Removes the endpoints of an address and port.
    pub(crate) fn remove(&self, at: SocketAddr) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|listening| listening.address != at);
    }

    /// Removes all endpoints except the admin endpoint, when the listeners close.
    pub fn close(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|place| place.service == ADMIN);
    }

    /// All endpoints.
    pub fn all(&self) -> Vec<Listening> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Name of the admin endpoint.
pub const ADMIN: &str = "admin";

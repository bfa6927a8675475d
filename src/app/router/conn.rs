//! The state of a router's connection.

use super::send::Sending;
use super::upload::Pending;
use crate::app::http;
use crate::app::http::connection::Deadline;
use crate::app::http::head::Search;
use crate::work::Share;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The state of one connection. It allocates only to gather or pass on a body, or to send a
/// response of unknown length.
pub struct Connection<S> {
    pub(super) phase: Phase<S>,
    pub(super) deadline: Deadline,
    pub(super) peer: Peer,
    /// Whether the last request whose head is complete is HEAD: no answer to it has a body.
    pub(super) is_head: bool,
    pub(super) share: Share,
}

const _: () = assert!(size_of::<Connection<()>>() <= 64);

impl<S> Default for Connection<S> {
    fn default() -> Connection<S> {
        Connection {
            phase: Phase::default(),
            deadline: Deadline::default(),
            peer: Peer::default(),
            is_head: false,
            share: Share::default(),
        }
    }
}

impl<S> std::fmt::Debug for Connection<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let phase = match self.phase {
            Phase::Head(_) => "Head",
            Phase::Body(_) => "Body",
            Phase::Files(_) => "Files",
            Phase::Sending(_) => "Sending",
            Phase::Closing => "Closing",
        };
        write!(f, "Connection({phase}, {:?})", self.peer.get())
    }
}

pub(super) enum Phase<S> {
    /// Searching for the end of a head.
    Head(Search),
    /// Reading a body.
    Body(Box<Pending<S>>),
    /// The content handler discards the content of a request.
    Files(Box<http::Connection>),
    /// Sending a response of unknown length.
    Sending(Box<Sending>),
    /// The last response is queued.
    Closing,
}

impl<S> Default for Phase<S> {
    fn default() -> Phase<S> {
        Phase::Head(Search::default())
    }
}

/// The address of a peer in 20 bytes. Port 0 means unknown.
#[derive(Clone, Copy, Default)]
pub(in crate::app) struct Peer {
    address: [u8; 16],
    port: u16,
}

impl Peer {
    pub(in crate::app) fn new(peer: SocketAddr) -> Peer {
        let address = match peer.ip() {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        };
        Peer { address: address.octets(), port: peer.port() }
    }

    /// Returns the address. An IPv4-mapped address becomes IPv4, and a zone is dropped.
    pub(in crate::app) fn get(self) -> Option<SocketAddr> {
        let address = Ipv6Addr::from(self.address).to_canonical();
        (self.port != 0).then(|| SocketAddr::new(address, self.port))
    }
}

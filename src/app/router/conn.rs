//! What a connection of a router is doing.

use super::send::Sending;
use super::upload::Pending;
use crate::app::http;
use crate::app::http::conn::Deadline;
use crate::app::http::head::Search;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// What a router keeps for one connection. A connection allocates only while a body is being
/// gathered or passed on, and while an answer of unknown length is being sent.
pub struct Connection<S> {
    pub(super) phase: Phase<S>,
    pub(super) deadline: Deadline,
    pub(super) peer: Peer,
}

const _: () = assert!(size_of::<Connection<()>>() <= 64);

impl<S> Default for Connection<S> {
    fn default() -> Connection<S> {
        Connection { phase: Phase::default(), deadline: Deadline::default(), peer: Peer::default() }
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
    /// A head is being searched for its end.
    Head(Search),
    /// A body is being read.
    Body(Box<Pending<S>>),
    /// The content handler reads past the content of a request.
    Files(Box<http::Conn>),
    /// An answer of unknown length is being sent.
    Sending(Box<Sending>),
    /// The last answer is queued.
    Closing,
}

impl<S> Default for Phase<S> {
    fn default() -> Phase<S> {
        Phase::Head(Search::default())
    }
}

/// The address of a peer in 20 bytes; port 0 stands for an unknown one.
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

    /// The address; one that is mapped from IPv4 as IPv4. A zone is not kept.
    pub(in crate::app) fn get(self) -> Option<SocketAddr> {
        let address = Ipv6Addr::from(self.address).to_canonical();
        (self.port != 0).then(|| SocketAddr::new(address, self.port))
    }
}

//! What a transport of datagrams asks of the application it hosts, in the way of
//! [`crate::handler`] for connections.

use crate::handler::Seconds;
use crate::metrics::Metric;
use std::net::IpAddr;

/// An application that answers datagrams. One thread owns it.
pub trait DatagramHandler {
    /// Makes the answer to `datagram`, which [`answer`](DatagramHandler::answer) returns.
    fn serve(&mut self, datagram: &[u8]) -> Fate;

    /// The datagrams of the last answer, in order. Empty if there is no answer.
    fn answer(&self) -> impl Iterator<Item = &[u8]>;

    /// Cleans up after a panic in [`serve`](DatagramHandler::serve): frees the resources of the
    /// request and discards the answer.
    fn begin_anew(&mut self);

    /// Whether the host at `address` is known to receive packets for that address. Its answers
    /// are not limited together with those to others.
    fn is_proven(&self, address: IpAddr) -> bool {
        let _ = address;
        false
    }

    /// The time: called before the first datagram, and before others whenever the second has
    /// changed.
    fn clock(&mut self, seconds: Seconds) {
        let _ = seconds;
    }

    /// Whether the state that is shared with other threads is whole after a panic. If not, the
    /// process ends.
    fn is_sound(&self) -> bool {
        true
    }

    /// Passes the counters to `sink`.
    fn publish(&self, sink: &mut dyn FnMut(&'static Metric, u64)) {
        let _ = sink;
    }
}

/// The result of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The handler executed the whole request.
    Done,
    /// The datagram is none of this protocol, or a part of a request. The handler did nothing.
    Malformed,
    /// The end of the last request is missing. The handler executed the preceding requests.
    Incomplete,
    /// The handler executed a part and refused the request: the answer is too long, or the work too
    /// much.
    TooLarge,
}

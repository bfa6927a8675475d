//! Readiness of the server for new requests, and the reasons against it.
//!
//! The code that detects a condition sets its reason, and clears it when the condition has passed.
//! `/readyz` reads the reasons. A server that is not ready can still answer: a load balancer sends
//! clients elsewhere, but does not restart the server.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};

/// Why the server is not ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Not all workers serve yet, or the addresses are not claimed yet.
    Starting,
    /// The server is stopping and finishes open requests.
    Draining,
    /// The interface has no link or has been set down.
    LinkDown,
    /// The XDP program has been detached: the kernel gets the packets.
    Detached,
    /// A receive queue of the interface has no socket: the kernel gets its packets.
    QueuesUnserved,
    /// Every connection of a worker is in use: new clients are refused.
    ConnectionsExhausted,
}

impl Reason {
    /// Every reason, in the order in which [`Readiness::reasons`] lists them.
    pub const ALL: [Reason; 6] = [
        Reason::Starting,
        Reason::Draining,
        Reason::LinkDown,
        Reason::Detached,
        Reason::QueuesUnserved,
        Reason::ConnectionsExhausted,
    ];

    /// The name in metrics and in the answer of `/readyz`.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Starting => "starting",
            Reason::Draining => "draining",
            Reason::LinkDown => "link_down",
            Reason::Detached => "xdp_detached",
            Reason::QueuesUnserved => "queues_unserved",
            Reason::ConnectionsExhausted => "connections_exhausted",
        }
    }

    fn bit(self) -> u32 {
        1 << self as u32
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The current reasons, shared between threads in one atomic word.
#[derive(Debug)]
pub struct Readiness(AtomicU32);

impl Readiness {
    /// A server that is starting.
    pub fn starting() -> Readiness {
        Readiness(AtomicU32::new(Reason::Starting.bit()))
    }

    /// Adds `reason`. Returns true if it was not set, so that the caller logs it once.
    pub fn set(&self, reason: Reason) -> bool {
        self.0.fetch_or(reason.bit(), Ordering::Relaxed) & reason.bit() == 0
    }

    /// Removes `reason`. Returns whether it was set.
    pub fn clear(&self, reason: Reason) -> bool {
        self.0.fetch_and(!reason.bit(), Ordering::Relaxed) & reason.bit() != 0
    }

    /// Adds `reason` if `holds`, otherwise removes it. Returns whether that changed anything.
    pub fn update(&self, reason: Reason, holds: bool) -> bool {
        if holds { self.set(reason) } else { self.clear(reason) }
    }

    /// The current reasons, from one atomic read.
    pub fn reasons(&self) -> impl Iterator<Item = Reason> {
        let set = self.0.load(Ordering::Relaxed);
        Reason::ALL.into_iter().filter(move |reason| set & reason.bit() != 0)
    }

    /// Whether no reason holds.
    pub fn is_ready(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_while_no_reason_holds() {
        let readiness = Readiness::starting();
        assert!(!readiness.is_ready());
        assert!(readiness.set(Reason::LinkDown) && !readiness.set(Reason::LinkDown));
        assert_eq!(readiness.reasons().collect::<Vec<_>>(), [Reason::Starting, Reason::LinkDown]);
        assert!(readiness.clear(Reason::Starting) && !readiness.clear(Reason::Starting));
        assert!(
            readiness.update(Reason::LinkDown, false) && !readiness.update(Reason::LinkDown, false)
        );
        assert!(readiness.is_ready() && readiness.reasons().next().is_none());
    }

    #[test]
    fn every_reason_has_a_bit_and_a_name_of_its_own() {
        for (at, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at);
            let same = Reason::ALL.into_iter().filter(|other| other.name() == reason.name());
            assert_eq!(same.count(), 1);
        }
    }
}

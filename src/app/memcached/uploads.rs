//! The unfinished values of one worker: one slot for each connection, allocated at start-up.
//!
//! Each peer has lists of uploads by size class, in the order of their last progress. When the
//! space for incoming values is full, a newer upload takes space from the peer that holds, and has
//! lately wasted, the most. So a peer with many connections takes from itself, not from others. Of
//! that peer's uploads, a stalled one is evicted. If none has stalled, one of the largest is
//! evicted: it frees the most space, and small uploads complete soon.
//!
//! An upload that will soon be complete keeps its space: from newcomers whose peer has wasted much
//! more, and from all other peers while it is on time. Otherwise those who begin values and do not
//! send them would take the space of whoever does.

use super::peers::{Held, Peer, Peers, size_class};
use super::upload::{Ending, Job};
use crate::store::Reservation;
use std::net::IpAddr;

/// Bytes that count as progress of an upload. A client cannot keep its space by sending single
/// bytes.
const PROGRESS_BYTES: usize = 4096;
/// An upload without progress for this time has stalled. It is evicted before larger ones.
const STALLED_SECONDS: u32 = 2;
/// An upload is on time that arrives fast enough to be complete in this time.
const SCHEDULE_SECONDS: u64 = 4;
/// Uploads of the largest class to search for one at or above the mean size.
const SEARCHED_MAX: usize = 16;
pub(super) const NONE: u32 = u32::MAX;

/// An incomplete value.
#[derive(Debug)]
pub(super) struct Upload {
    pub(super) reservation: Reservation,
    pub(super) job: Job,
    /// Missing bytes of the value when the upload last made progress.
    lacked: usize,
    /// Time of the last progress, as a count of all starts and progress events.
    moved: u64,
    /// Time of the last progress, in seconds of [`super::Memcached`]'s clock.
    moved_at: u32,
    begun_at: u32,
    peer: Peer,
}

/// Whether an upload gives its space to a newcomer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// At once: it has stalled, or its peer has wasted much more.
    Given,
    /// If the newcomer has waited: it is late, or of the same peer.
    GivenLater,
    /// No: it is on time, or the newcomer's peer has wasted much more.
    Kept,
}

impl Upload {
    pub(super) fn new(reservation: Reservation, job: Job, peer: Peer, now: u32) -> Upload {
        let lacked = reservation.remaining();
        Upload { reservation, job, lacked, moved: 0, moved_at: now, begun_at: now, peer }
    }

    fn size_class(&self) -> usize {
        size_class(self.reservation.memory_bytes())
    }

    fn is_stalled(&self, now: u32) -> bool {
        now.saturating_sub(self.moved_at) >= STALLED_SECONDS
    }

    /// Whether too little has arrived for the seconds that have surely passed.
    fn is_late(&self, now: u32) -> bool {
        let passed = u64::from(now.saturating_sub(self.begun_at).saturating_sub(1));
        let (bytes, lacks) = (self.reservation.memory_bytes(), self.reservation.remaining() as u64);
        bytes.saturating_sub(lacks) * SCHEDULE_SECONDS < bytes * passed
    }

    /// Bytes that have not arrived yet.
    fn left(&self) -> u64 {
        (self.reservation.remaining() + self.job.ending.bytes().len()) as u64
    }
}

/// An upload that lost its space, for discarding its remaining bytes.
#[derive(Debug)]
pub(super) struct Displaced {
    pub(super) ending: Ending,
    /// Bytes that have not arrived yet.
    pub(super) left: u64,
}

#[derive(Debug)]
enum State {
    Free,
    Coming(Upload),
    Displaced(Displaced),
}

#[derive(Debug)]
struct Slot {
    state: State,
    /// Neighbours in the list of slots with the same peer and size class. Valid in
    /// [`State::Coming`].
    before: u32,
    after: u32,
}

/// The content of a slot.
pub(super) enum Found<'a> {
    Coming(&'a mut Upload),
    Displaced,
}

/// The uploads of one worker.
#[derive(Debug)]
pub(super) struct Uploads {
    slots: Vec<Slot>,
    free: Vec<u32>,
    peers: Peers,
    /// Count of all starts and progress events.
    moves: u64,
}

impl Uploads {
    pub(super) fn new(slots: usize) -> Uploads {
        let count =
            u32::try_from(slots).expect("limits bound the connections of a worker below 2^32");
        let free = || Slot { state: State::Free, before: NONE, after: NONE };
        Uploads {
            slots: (0..count).map(|_| free()).collect(),
            free: (0..count).rev().collect(),
            peers: Peers::new(),
            moves: 0,
        }
    }

    /// Bytes of memory that [`Uploads::new`] allocates.
    pub(super) const fn memory_bytes(slots: usize) -> usize {
        slots * (size_of::<Slot>() + size_of::<u32>()) + Peers::MEMORY_BYTES
    }

    /// The peer with this address.
    pub(super) fn peer(&self, address: IpAddr) -> Peer {
        self.peers.find(address)
    }

    pub(super) fn put(&mut self, upload: Upload) -> Option<u32> {
        let slot = self.free.pop()?;
        *self.peers.bytes(upload.peer) += upload.reservation.memory_bytes();
        self.peers.held(upload.peer).count += 1;
        self.slots[slot as usize].state = State::Coming(upload);
        self.append(slot);
        Some(slot)
    }

    pub(super) fn find(&mut self, slot: u32) -> Found<'_> {
        match &mut self.slots[slot as usize].state {
            State::Coming(upload) => Found::Coming(upload),
            State::Displaced(_) => Found::Displaced,
            State::Free => unreachable!("a connection in this phase has an upload"),
        }
    }

    /// Removes a complete upload.
    pub(super) fn take(&mut self, slot: u32) -> Option<Upload> {
        match self.free(slot) {
            State::Coming(upload) => Some(upload),
            _ => None,
        }
    }

    /// Removes an upload that lost its space.
    pub(super) fn take_displaced(&mut self, slot: u32) -> Option<Displaced> {
        match self.free(slot) {
            State::Displaced(displaced) => Some(displaced),
            _ => None,
        }
    }

    /// Frees the space of an upload after its connection has closed.
    pub(super) fn cancel(&mut self, slot: u32, now: u32) {
        if let State::Coming(upload) = self.free(slot) {
            self.peers.waste(upload.peer, upload.reservation.memory_bytes(), now);
        }
    }

    /// Records received bytes. With enough bytes, moves the upload to the end of its list.
    #[inline]
    pub(super) fn progressed(&mut self, slot: u32, now: u32) {
        let State::Coming(upload) = &mut self.slots[slot as usize].state else { return };
        let lacks = upload.reservation.remaining();
        if upload.lacked - lacks >= PROGRESS_BYTES {
            (upload.lacked, upload.moved_at) = (lacks, now);
            let (peer, class) = (upload.peer, upload.size_class());
            self.unlink(slot, peer, class);
            self.append(slot);
        }
    }

    /// Evicts the next upload that gives way. Calls `forget` before. Returns false if there is
    /// none.
    pub(super) fn displace(&mut self, now: u32, forget: impl FnOnce(&Upload)) -> bool {
        let Some(slot) = self.next_victim(now) else { return false };
        if let State::Coming(upload) = self.remove(slot) {
            if upload.is_stalled(now) || upload.is_late(now) {
                self.peers.waste(upload.peer, upload.reservation.memory_bytes(), now);
            }
            forget(&upload);
            let displaced = Displaced { left: upload.left(), ending: upload.job.ending };
            self.slots[slot as usize].state = State::Displaced(displaced);
        }
        true
    }

    /// Whether the upload that [`Uploads::displace`] would evict gives its space to a value of
    /// `newcomer`. There may be none.
    pub(super) fn way(&mut self, now: u32, newcomer: Peer) -> Option<Way> {
        self.peers.forget(now);
        let upload = self.coming(self.next_victim(now)?);
        let (has, wants) = (self.peers.wasted(upload.peer), self.peers.wasted(newcomer));
        // One value that was not complete in time makes no difference.
        let bytes = upload.reservation.memory_bytes();
        Some(match () {
            () if upload.is_stalled(now) || has > 2 * wants + bytes => Way::Given,
            () if wants > 2 * has + bytes => Way::Kept,
            () if upload.is_late(now) || upload.peer == newcomer => Way::GivenLater,
            () => Way::Kept,
        })
    }

    fn next_victim(&self, now: u32) -> Option<u32> {
        let peers = self.peers.heaviest();
        let victims = peers.filter_map(|(bytes, held)| self.victim(bytes, held, now));
        victims.min_by_key(|slot| self.coming(*slot).moved)
    }

    /// Selects the upload of a peer to evict: the longest stalled one. Without a stalled one, the
    /// longest without progress among the largest uploads at or above the mean size.
    fn victim(&self, bytes: u64, held: &Held, now: u32) -> Option<u32> {
        let oldest = held.firsts().min_by_key(|slot| self.coming(*slot).moved)?;
        if self.coming(oldest).is_stalled(now) {
            return Some(oldest);
        }
        let first = held.firsts().next()?;
        let after = |slot: &u32| Some(self.slots[*slot as usize].after).filter(|at| *at != NONE);
        let is_large =
            |slot: &u32| self.coming(*slot).reservation.memory_bytes() * held.count >= bytes;
        let mut largest = std::iter::successors(Some(first), after).take(SEARCHED_MAX);
        Some(largest.find(is_large).unwrap_or(first))
    }

    fn coming(&self, slot: u32) -> &Upload {
        match &self.slots[slot as usize].state {
            State::Coming(upload) => upload,
            _ => unreachable!("what is in a list is coming"),
        }
    }

    fn free(&mut self, slot: u32) -> State {
        let state = self.remove(slot);
        if !matches!(state, State::Free) {
            self.free.push(slot);
        }
        state
    }

    /// Empties a slot and removes it from its list.
    fn remove(&mut self, slot: u32) -> State {
        if let State::Coming(upload) = &self.slots[slot as usize].state {
            let (peer, class) = (upload.peer, upload.size_class());
            *self.peers.bytes(peer) -= upload.reservation.memory_bytes();
            self.peers.held(peer).count -= 1;
            self.unlink(slot, peer, class);
        }
        std::mem::replace(&mut self.slots[slot as usize].state, State::Free)
    }

    fn append(&mut self, slot: u32) {
        let State::Coming(upload) = &mut self.slots[slot as usize].state else { return };
        self.moves += 1;
        upload.moved = self.moves;
        let list = &mut self.peers.held(upload.peer).lists[upload.size_class()];
        let before = std::mem::replace(&mut list.last, slot);
        match self.slots.get_mut(before as usize) {
            Some(last) => last.after = slot,
            None => list.first = slot,
        }
        let this = &mut self.slots[slot as usize];
        (this.before, this.after) = (before, NONE);
    }

    fn unlink(&mut self, slot: u32, peer: Peer, class: usize) {
        let Slot { before, after, .. } = self.slots[slot as usize];
        let list = &mut self.peers.held(peer).lists[class];
        match self.slots.get_mut(before as usize) {
            Some(slot) => slot.after = after,
            None => list.first = after,
        }
        match self.slots.get_mut(after as usize) {
            Some(slot) => slot.before = before,
            None => list.last = before,
        }
    }
}

#[cfg(test)]
#[path = "uploads_tests.rs"]
mod tests;

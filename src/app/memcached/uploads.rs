//! The values of one worker that come in pieces: as many places as connections, taken at start-up.
//!
//! The uploads of each peer stand in lists by size class, each in the order of their last progress.
//! When the space for incoming values is full, a newer upload takes the space of the peer that
//! holds most. So a peer with many connections takes from itself, not from others. Of that peer's
//! uploads, one that has stalled gives way; if none has, one of the largest, for its space helps
//! most and small uploads are soon complete.

use super::peers::{Held, Peer, Peers, size_class};
use super::upload::{Ending, Job};
use crate::store::Reservation;
use std::net::IpAddr;

/// An upload counts as in progress when this many bytes have come since it last did, so that a
/// client cannot keep its space by sending single bytes.
const PROGRESS_BYTES: usize = 4096;
/// An upload without progress for so long has stalled: it gives way before larger ones.
const STALLED_SECONDS: u32 = 2;
/// Uploads of the largest class of which one is sought that is not smaller than the mean.
const SEARCHED_MAX: usize = 16;
pub(super) const NONE: u32 = u32::MAX;

/// A value that is still coming.
#[derive(Debug)]
pub(super) struct Upload {
    pub(super) reservation: Reservation,
    pub(super) job: Job,
    /// What the value lacked when the upload last counted as in progress.
    lacked: usize,
    /// When it last counted as in progress, in uploads that began or made progress since start-up.
    moved: u64,
    /// The same, in seconds of [`super::Memcached`]'s clock.
    moved_at: u32,
    peer: Peer,
}

impl Upload {
    pub(super) fn new(reservation: Reservation, job: Job, peer: Peer, now: u32) -> Upload {
        let lacked = reservation.remaining();
        Upload { reservation, job, lacked, moved: 0, moved_at: now, peer }
    }

    fn size_class(&self) -> usize {
        size_class(self.reservation.memory_bytes())
    }

    /// Bytes that are still to come.
    fn left(&self) -> u64 {
        (self.reservation.remaining() + self.job.ending.bytes().len()) as u64
    }
}

/// What becomes of the rest of an upload whose space was given up.
#[derive(Debug)]
pub(super) struct Displaced {
    pub(super) ending: Ending,
    /// Bytes that are still to come.
    pub(super) left: u64,
}

#[derive(Debug)]
enum State {
    Free,
    Coming(Upload),
    Displaced(Displaced),
}

#[derive(Debug)]
struct Place {
    state: State,
    /// Neighbours in the list of places of the same peer and size class in [`State::Coming`].
    before: u32,
    after: u32,
}

/// What there is at a place.
pub(super) enum Found<'a> {
    Coming(&'a mut Upload),
    Displaced,
}

/// The uploads of one worker.
#[derive(Debug)]
pub(super) struct Uploads {
    places: Vec<Place>,
    free: Vec<u32>,
    peers: Peers,
    /// Uploads that began or made progress.
    moves: u64,
}

impl Uploads {
    pub(super) fn new(places: usize) -> Uploads {
        let count =
            u32::try_from(places).expect("limits bound the connections of a worker below 2^32");
        let free = || Place { state: State::Free, before: NONE, after: NONE };
        Uploads {
            places: (0..count).map(|_| free()).collect(),
            free: (0..count).rev().collect(),
            peers: Peers::new(),
            moves: 0,
        }
    }

    /// Bytes of memory that [`Uploads::new`] takes.
    pub(super) const fn memory_bytes(places: usize) -> usize {
        places * (size_of::<Place>() + size_of::<u32>()) + Peers::MEMORY_BYTES
    }

    /// The peer with this address.
    pub(super) fn peer(&self, address: IpAddr) -> Peer {
        self.peers.find(address)
    }

    pub(super) fn put(&mut self, upload: Upload) -> Option<u32> {
        let place = self.free.pop()?;
        *self.peers.bytes(upload.peer) += upload.reservation.memory_bytes();
        self.peers.held(upload.peer).count += 1;
        self.places[place as usize].state = State::Coming(upload);
        self.append(place);
        Some(place)
    }

    pub(super) fn find(&mut self, place: u32) -> Found<'_> {
        match &mut self.places[place as usize].state {
            State::Coming(upload) => Found::Coming(upload),
            State::Displaced(_) => Found::Displaced,
            State::Free => unreachable!("a connection in this phase has an upload"),
        }
    }

    /// Takes out an upload that is complete.
    pub(super) fn take(&mut self, place: u32) -> Option<Upload> {
        match self.free(place) {
            State::Coming(upload) => Some(upload),
            _ => None,
        }
    }

    /// Takes out an upload whose space was given up.
    pub(super) fn take_displaced(&mut self, place: u32) -> Option<Displaced> {
        match self.free(place) {
            State::Displaced(displaced) => Some(displaced),
            _ => None,
        }
    }

    /// The connection is gone: its space goes back to the store.
    pub(super) fn cancel(&mut self, place: u32) {
        drop(self.free(place));
    }

    /// Bytes have come: the upload goes to the end of its list if they are enough.
    #[inline]
    pub(super) fn progressed(&mut self, place: u32, now: u32) {
        let State::Coming(upload) = &mut self.places[place as usize].state else { return };
        let lacks = upload.reservation.remaining();
        if upload.lacked - lacks >= PROGRESS_BYTES {
            (upload.lacked, upload.moved_at) = (lacks, now);
            let (peer, class) = (upload.peer, upload.size_class());
            self.unlink(place, peer, class);
            self.append(place);
        }
    }

    /// Gives up the space of one upload of the peer that holds most. `forget` sees it before.
    /// Returns whether there was one.
    pub(super) fn displace(&mut self, now: u32, forget: impl FnOnce(&Upload)) -> bool {
        let peers = self.peers.heaviest();
        let victims = peers.filter_map(|(bytes, held)| self.victim(bytes, held, now));
        let Some(place) = victims.min_by_key(|place| self.coming(*place).moved) else {
            return false;
        };
        if let State::Coming(upload) = self.remove(place) {
            forget(&upload);
            let displaced = Displaced { left: upload.left(), ending: upload.job.ending };
            self.places[place as usize].state = State::Displaced(displaced);
        }
        true
    }

    /// Which upload of a peer gives way: the most stalled of those that have stalled, or else the
    /// most stalled of the largest that is not smaller than the mean.
    fn victim(&self, bytes: u64, held: &Held, now: u32) -> Option<u32> {
        let oldest = held.firsts().min_by_key(|place| self.coming(*place).moved)?;
        if now.saturating_sub(self.coming(oldest).moved_at) >= STALLED_SECONDS {
            return Some(oldest);
        }
        let first = held.firsts().next()?;
        let after = |place: &u32| Some(self.places[*place as usize].after).filter(|at| *at != NONE);
        let is_large =
            |place: &u32| self.coming(*place).reservation.memory_bytes() * held.count >= bytes;
        let mut largest = std::iter::successors(Some(first), after).take(SEARCHED_MAX);
        Some(largest.find(is_large).unwrap_or(first))
    }

    fn coming(&self, place: u32) -> &Upload {
        match &self.places[place as usize].state {
            State::Coming(upload) => upload,
            _ => unreachable!("what is in a list is coming"),
        }
    }

    fn free(&mut self, place: u32) -> State {
        let state = self.remove(place);
        if !matches!(state, State::Free) {
            self.free.push(place);
        }
        state
    }

    /// Takes out what is at a place, and off its list.
    fn remove(&mut self, place: u32) -> State {
        if let State::Coming(upload) = &self.places[place as usize].state {
            let (peer, class) = (upload.peer, upload.size_class());
            *self.peers.bytes(peer) -= upload.reservation.memory_bytes();
            self.peers.held(peer).count -= 1;
            self.unlink(place, peer, class);
        }
        std::mem::replace(&mut self.places[place as usize].state, State::Free)
    }

    fn append(&mut self, place: u32) {
        let State::Coming(upload) = &mut self.places[place as usize].state else { return };
        self.moves += 1;
        upload.moved = self.moves;
        let list = &mut self.peers.held(upload.peer).lists[upload.size_class()];
        let before = std::mem::replace(&mut list.last, place);
        match self.places.get_mut(before as usize) {
            Some(last) => last.after = place,
            None => list.first = place,
        }
        let this = &mut self.places[place as usize];
        (this.before, this.after) = (before, NONE);
    }

    fn unlink(&mut self, place: u32, peer: Peer, class: usize) {
        let Place { before, after, .. } = self.places[place as usize];
        let list = &mut self.peers.held(peer).lists[class];
        match self.places.get_mut(before as usize) {
            Some(place) => place.after = after,
            None => list.first = after,
        }
        match self.places.get_mut(after as usize) {
            Some(place) => place.before = before,
            None => list.last = before,
        }
    }
}

#[cfg(test)]
#[path = "uploads_tests.rs"]
mod tests;

//! The values of one worker that come in pieces: as many places as connections, taken at start-up.
//!
//! The uploads of each peer stand in a list by their last progress. When the space for incoming
//! values is full, a newer one takes the space of the peer that holds most: that of its upload
//! whose last progress is the longest ago. So a peer with many connections takes from itself, not
//! from others.

use super::peers::{Peer, Peers};
use super::upload::{Ending, Job};
use crate::store::Reservation;
use std::net::IpAddr;

/// An upload counts as in progress when this many bytes have come since it last did, so that a
/// client cannot keep its space by sending single bytes.
const PROGRESS_BYTES: usize = 4096;
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
    peer: Peer,
}

impl Upload {
    pub(super) fn new(reservation: Reservation, job: Job, peer: Peer) -> Upload {
        let lacked = reservation.remaining();
        Upload { reservation, job, lacked, moved: 0, peer }
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
    /// Neighbours in the list of the peer's places in [`State::Coming`].
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
        let (peer, bytes) = (upload.peer, upload.reservation.memory_bytes());
        self.places[place as usize].state = State::Coming(upload);
        self.peers.held(peer).bytes += bytes;
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

    /// Bytes have come: the upload goes to the end of its peer's list if they are enough.
    #[inline]
    pub(super) fn progressed(&mut self, place: u32) {
        let State::Coming(upload) = &mut self.places[place as usize].state else { return };
        let lacks = upload.reservation.remaining();
        if upload.lacked - lacks >= PROGRESS_BYTES {
            upload.lacked = lacks;
            let peer = upload.peer;
            self.unlink(place, peer);
            self.append(place);
        }
    }

    /// Gives up the space of one upload, of the peer that holds most the one whose last progress is
    /// the longest ago. `forget` sees it before. Returns whether there was one.
    pub(super) fn displace(&mut self, forget: impl FnOnce(&Upload)) -> bool {
        let moved = |place: &u32| match &self.places[*place as usize].state {
            State::Coming(upload) => upload.moved,
            _ => unreachable!("what is in a list is coming"),
        };
        let Some(place) = self.peers.heaviest().min_by_key(moved) else { return false };
        if let State::Coming(upload) = self.remove(place) {
            forget(&upload);
            let displaced = Displaced { left: upload.left(), ending: upload.job.ending };
            self.places[place as usize].state = State::Displaced(displaced);
        }
        true
    }

    fn free(&mut self, place: u32) -> State {
        let state = self.remove(place);
        if !matches!(state, State::Free) {
            self.free.push(place);
        }
        state
    }

    /// Takes out what is at a place, and off its peer's list.
    fn remove(&mut self, place: u32) -> State {
        if let State::Coming(upload) = &self.places[place as usize].state {
            let (peer, bytes) = (upload.peer, upload.reservation.memory_bytes());
            self.peers.held(peer).bytes -= bytes;
            self.unlink(place, peer);
        }
        std::mem::replace(&mut self.places[place as usize].state, State::Free)
    }

    fn append(&mut self, place: u32) {
        let State::Coming(upload) = &mut self.places[place as usize].state else { return };
        self.moves += 1;
        upload.moved = self.moves;
        let held = self.peers.held(upload.peer);
        let before = std::mem::replace(&mut held.last, place);
        match self.places.get_mut(before as usize) {
            Some(last) => last.after = place,
            None => held.first = place,
        }
        let this = &mut self.places[place as usize];
        (this.before, this.after) = (before, NONE);
    }

    fn unlink(&mut self, place: u32, peer: Peer) {
        let Place { before, after, .. } = self.places[place as usize];
        let held = self.peers.held(peer);
        match self.places.get_mut(before as usize) {
            Some(place) => place.after = after,
            None => held.first = after,
        }
        match self.places.get_mut(after as usize) {
            Some(place) => place.before = before,
            None => held.last = before,
        }
    }
}

#[cfg(test)]
#[path = "uploads_tests.rs"]
mod tests;

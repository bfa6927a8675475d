//! The values of one worker that come in pieces: as many places as connections, taken at start-up.
//!
//! Uploads stand in a list by their last progress. When the space for incoming values is full, the
//! first of the list gives its space up to a newer one.

use super::upload::{Ending, Job};
use crate::store::Reservation;

/// An upload counts as in progress when this many bytes have come since it last did, so that a
/// client cannot keep its space by sending single bytes.
const PROGRESS_BYTES: usize = 4096;
const NONE: u32 = u32::MAX;

/// A value that is still coming.
#[derive(Debug)]
pub(super) struct Upload {
    pub(super) reservation: Reservation,
    pub(super) job: Job,
    /// What the value lacked when the upload last counted as in progress.
    lacked: usize,
}

impl Upload {
    pub(super) fn new(reservation: Reservation, job: Job) -> Upload {
        let lacked = reservation.remaining();
        Upload { reservation, job, lacked }
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
    /// Neighbours in the list of [`State::Coming`].
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
    /// The upload whose last progress is the longest ago.
    first: u32,
    last: u32,
}

impl Uploads {
    pub(super) fn new(places: usize) -> Uploads {
        let count =
            u32::try_from(places).expect("limits bound the connections of a worker below 2^32");
        let free = || Place { state: State::Free, before: NONE, after: NONE };
        Uploads {
            places: (0..count).map(|_| free()).collect(),
            free: (0..count).rev().collect(),
            first: NONE,
            last: NONE,
        }
    }

    /// Bytes of memory that [`Uploads::new`] takes.
    pub(super) const fn memory_bytes(places: usize) -> usize {
        places * (size_of::<Place>() + size_of::<u32>())
    }

    pub(super) fn put(&mut self, upload: Upload) -> Option<u32> {
        let place = self.free.pop()?;
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

    /// Bytes have come: the upload goes to the end of the list if they are enough.
    #[inline]
    pub(super) fn progressed(&mut self, place: u32) {
        let State::Coming(upload) = &mut self.places[place as usize].state else { return };
        let lacks = upload.reservation.remaining();
        if upload.lacked - lacks >= PROGRESS_BYTES {
            upload.lacked = lacks;
            self.unlink(place);
            self.append(place);
        }
    }

    /// Gives up the space of the upload whose last progress is the longest ago. `forget` sees it
    /// before. Returns whether there was one.
    pub(super) fn displace(&mut self, forget: impl FnOnce(&Upload)) -> bool {
        let place = self.first;
        if place == NONE {
            return false;
        }
        self.unlink(place);
        let state = &mut self.places[place as usize].state;
        if let State::Coming(upload) = std::mem::replace(state, State::Free) {
            forget(&upload);
            *state = State::Displaced(Displaced { left: upload.left(), ending: upload.job.ending });
        }
        true
    }

    fn free(&mut self, place: u32) -> State {
        if matches!(self.places[place as usize].state, State::Coming(_)) {
            self.unlink(place);
        }
        let state = std::mem::replace(&mut self.places[place as usize].state, State::Free);
        if !matches!(state, State::Free) {
            self.free.push(place);
        }
        state
    }

    fn append(&mut self, place: u32) {
        let before = std::mem::replace(&mut self.last, place);
        match self.places.get_mut(before as usize) {
            Some(last) => last.after = place,
            None => self.first = place,
        }
        let this = &mut self.places[place as usize];
        (this.before, this.after) = (before, NONE);
    }

    fn unlink(&mut self, place: u32) {
        let Place { before, after, .. } = self.places[place as usize];
        match self.places.get_mut(before as usize) {
            Some(place) => place.after = after,
            None => self.first = after,
        }
        match self.places.get_mut(after as usize) {
            Some(place) => place.before = before,
            None => self.last = before,
        }
    }
}

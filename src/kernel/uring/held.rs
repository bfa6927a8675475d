//! Received bytes that could not be offered at once: in come buffers, out go bytes, in the order in
//! which they came. One list for each connection, through tables of one entry a buffer. Never
//! grows; never loses a buffer.

use crate::kernel::sys::{Buffer, Ring};

const NONE: u16 = u16::MAX;

/// The buffers that connections hold, each in the list of one.
pub(super) struct Held {
    places: Vec<Place>,
}

struct Place {
    buffer: Option<Buffer>,
    /// Bytes of it that are read already.
    read: u16,
    /// The next buffer of the same connection.
    next: u16,
}

/// What one connection holds. Must be [`clear`](Held::clear)ed before it is dropped, or its buffers
/// stay taken.
#[derive(Debug)]
pub(super) struct List {
    first: u16,
    last: u16,
}

impl Default for List {
    fn default() -> List {
        List { first: NONE, last: NONE }
    }
}

impl List {
    pub(super) fn is_empty(&self) -> bool {
        self.first == NONE
    }
}

impl Held {
    /// Places for so many buffers: fewer than 2¹⁶.
    pub(super) fn new(buffers: usize) -> Held {
        Held { places: (0..buffers).map(|_| Place { buffer: None, read: 0, next: NONE }).collect() }
    }

    pub(super) const fn memory_bytes(buffers: usize) -> usize {
        buffers * size_of::<Place>()
    }

    /// Puts a buffer, of which `read` bytes are done with, at the end of the list.
    pub(super) fn push(&mut self, list: &mut List, buffer: Buffer, read: usize) {
        let id = buffer.id();
        self.places[usize::from(id)] =
            Place { buffer: Some(buffer), read: read as u16, next: NONE };
        match self.places.get_mut(usize::from(list.last)) {
            Some(last) => last.next = id,
            None => list.first = id,
        }
        list.last = id;
    }

    /// Copies the first bytes of the list to `buf`, as many as fit; returns how many. They stay.
    pub(super) fn peek(&self, list: &List, ring: &Ring, buf: &mut [u8]) -> usize {
        let mut filled = 0;
        let mut next = list.first;
        while let Some(place) = self.places.get(usize::from(next)) {
            let n = place.copy(ring, &mut buf[filled..]);
            filled += n;
            if filled == buf.len() {
                break;
            }
            next = place.next;
        }
        filled
    }

    /// Moves the first bytes of the list to `buf`, as many as fit; returns how many. Emptied
    /// buffers are the kernel's again.
    pub(super) fn take(&mut self, list: &mut List, ring: &mut Ring, buf: &mut [u8]) -> usize {
        let mut filled = 0;
        while filled < buf.len()
            && let Some(place) = self.places.get_mut(usize::from(list.first))
        {
            let n = place.copy(ring, &mut buf[filled..]);
            filled += n;
            place.read += n as u16;
            if place.is_empty() {
                self.give_first(list, ring);
            }
        }
        filled
    }

    /// Gives all buffers of the list back to the kernel.
    pub(super) fn clear(&mut self, list: &mut List, ring: &mut Ring) {
        while !list.is_empty() {
            self.give_first(list, ring);
        }
    }

    fn give_first(&mut self, list: &mut List, ring: &mut Ring) {
        let Some(place) = self.places.get_mut(usize::from(list.first)) else { return };
        if let Some(buffer) = place.buffer.take() {
            ring.give(buffer);
        }
        list.first = place.next;
        if list.is_empty() {
            list.last = NONE;
        }
    }
}

impl Place {
    /// Copies what is not yet read, as much as fits.
    fn copy(&self, ring: &Ring, buf: &mut [u8]) -> usize {
        let Some(buffer) = &self.buffer else { return 0 };
        let bytes = &ring.bytes(buffer)[usize::from(self.read)..];
        let n = bytes.len().min(buf.len());
        buf[..n].copy_from_slice(&bytes[..n]);
        n
    }

    fn is_empty(&self) -> bool {
        self.buffer.as_ref().is_none_or(|buffer| usize::from(self.read) == buffer.len())
    }
}

#[cfg(test)]
#[path = "held_tests.rs"]
mod tests;

//! Receive buffers that could not be delivered at once: one list for each connection, in order of
//! arrival. The lists are linked through one table with an entry for each buffer. Never grows;
//! never loses a buffer.

use crate::kernel::sys::{Buffer, Ring};

const NONE: u16 = u16::MAX;

/// Entries of all held buffers, each in the list of one connection.
pub(super) struct Held {
    places: Vec<Place>,
}

struct Place {
    buffer: Option<Buffer>,
    /// Bytes of the buffer that are consumed.
    read: u16,
    /// The next buffer of the same connection.
    next: u16,
}

/// The held buffers of one connection. Must be [`clear`](Held::clear)ed before it is dropped, to
/// return the buffers.
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
    /// Capacity for `buffers` buffers: fewer than 2¹⁶.
    pub(super) fn new(buffers: usize) -> Held {
        Held { places: (0..buffers).map(|_| Place { buffer: None, read: 0, next: NONE }).collect() }
    }

    pub(super) const fn memory_bytes(buffers: usize) -> usize {
        buffers * size_of::<Place>()
    }

    /// Appends a buffer of which `read` bytes are consumed.
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

    /// Copies the first bytes of the list to `buf`, as many as fit, and keeps them. Returns their
    /// number.
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

    /// Moves the first bytes of the list to `buf`, as many as fit. Returns their number. Empty
    /// buffers return to the kernel.
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

    /// Returns all buffers of the list to the kernel.
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
    /// Copies the unread bytes, as many as fit.
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

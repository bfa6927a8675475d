//! Numbers the open connections of a worker, for tables beside the state of the connections.

/// The index of no place.
const NONE: u32 = u32::MAX;

/// The number of an open connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct PlaceIndex(u32);

impl Default for PlaceIndex {
    fn default() -> PlaceIndex {
        PlaceIndex(NONE)
    }
}

impl PlaceIndex {
    /// The index for a table. Beyond each table if the connection has no place.
    pub(super) fn get(self) -> usize {
        self.0 as usize
    }
}

/// The free places.
#[derive(Debug, Default)]
pub(super) struct Places {
    free: Vec<u32>,
    count: u32,
}

impl Places {
    /// Places for up to `connections`, all free.
    pub(super) fn new(connections: usize) -> Places {
        let count = u32::try_from(connections).unwrap_or(NONE - 1);
        Places { free: (0..count).rev().collect(), count }
    }

    /// Bytes of memory for one connection.
    pub(super) const BYTES_EACH: usize = size_of::<u32>();

    /// A free place, if there is one.
    pub(super) fn take(&mut self) -> PlaceIndex {
        self.free.pop().map_or_else(PlaceIndex::default, PlaceIndex)
    }

    pub(super) fn give_back(&mut self, PlaceIndex(index): PlaceIndex) {
        if index != NONE {
            self.free.push(index);
        }
    }

    /// The number of places.
    pub(super) fn count(&self) -> usize {
        self.count as usize
    }
}

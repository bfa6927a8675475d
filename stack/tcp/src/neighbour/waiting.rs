//! Connections whose SYN waits for the next hop's hardware address: a list of a fixed length.
//!
//! Connections leave the list in the order in which they came, when their neighbour is resolved or
//! has not answered. Their control blocks hold what the SYN needs.

/// A waiting connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiter {
    /// The connection.
    pub(crate) id: u32,
    /// The neighbour's number in the cache.
    pub(crate) neighbour: usize,
}

/// The list.
pub(crate) struct Waiting {
    waiters: Vec<Waiter>,
    capacity: usize,
}

impl Waiting {
    pub(crate) fn new(capacity: u32) -> Waiting {
        Waiting { waiters: Vec::with_capacity(capacity as usize), capacity: capacity as usize }
    }

    pub(crate) fn memory_bytes(capacity: u32) -> usize {
        capacity as usize * size_of::<Waiter>()
    }

    pub(crate) fn len(&self) -> usize {
        self.waiters.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.waiters.len() == self.capacity
    }

    /// Adds one; the list is not full.
    pub(crate) fn add(&mut self, waiter: Waiter) {
        debug_assert!(!self.is_full(), "a full list takes no more");
        self.waiters.push(waiter);
    }

    /// Removes the first connection for whose neighbour `is_resolved` holds.
    pub(crate) fn take(&mut self, is_resolved: impl Fn(usize) -> bool) -> Option<Waiter> {
        let index = self.waiters.iter().position(|waiter| is_resolved(waiter.neighbour))?;
        Some(self.waiters.remove(index))
    }

    /// Removes a connection.
    pub(crate) fn forget(&mut self, id: u32) {
        self.waiters.retain(|waiter| waiter.id != id);
    }
}

//! A FIFO queue of connections that wait for memory or for submission. Holds each index of the
//! table at most once. The caller checks whether the connection at an index still waits. Never
//! grows.

use std::collections::VecDeque;

pub(super) struct WaitQueue {
    line: VecDeque<u32>,
    waiting: Vec<bool>,
}

impl WaitQueue {
    /// A queue with capacity for the indices below `capacity`.
    pub(super) fn new(capacity: usize) -> WaitQueue {
        WaitQueue { line: VecDeque::with_capacity(capacity), waiting: vec![false; capacity] }
    }

    pub(super) const fn memory_bytes(capacity: usize) -> usize {
        capacity * (size_of::<u32>() + size_of::<bool>())
    }

    pub(super) fn len(&self) -> usize {
        self.line.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.line.is_empty()
    }

    /// Appends `index`, unless it is queued.
    pub(super) fn push(&mut self, index: u32) {
        if !std::mem::replace(&mut self.waiting[index as usize], true) {
            self.line.push_back(index);
        }
    }

    /// Removes the first index.
    pub(super) fn pop(&mut self) -> Option<u32> {
        let index = self.line.pop_front()?;
        self.waiting[index as usize] = false;
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_come_first_served_and_once_each() {
        let mut queue = WaitQueue::new(4);
        for index in [2, 0, 2, 3, 0] {
            queue.push(index);
        }
        assert_eq!(queue.len(), 3);
        assert_eq!(queue.pop(), Some(2));
        queue.push(2);
        assert_eq!(
            [queue.pop(), queue.pop(), queue.pop(), queue.pop()],
            [Some(0), Some(3), Some(2), None]
        );
        assert!(queue.is_empty());
    }
}

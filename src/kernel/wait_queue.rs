//! A line of connections that wait for their turn, each standing in it at most once. In and out go
//! indices of the table; whether the connection behind an index still wants its turn is for the
//! caller to see. Never grows.

use std::collections::VecDeque;

pub(super) struct WaitQueue {
    line: VecDeque<u32>,
    waiting: Vec<bool>,
}

impl WaitQueue {
    /// A line that has a place for each of `capacity` indices.
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

    /// Puts `index` at the end of the line, unless it stands there already.
    pub(super) fn push(&mut self, index: u32) {
        if !std::mem::replace(&mut self.waiting[index as usize], true) {
            self.line.push_back(index);
        }
    }

    /// Who stands first.
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

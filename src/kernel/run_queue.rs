//! The run queue of a worker. Connections with new events are visited first; connections that used
//! up a visit follow. The queue holds indices of the table. The caller checks whether the
//! connection at an index still needs its visit. Never grows.
//!
//! A client with one request does not wait for hundreds of pipelined requests of other clients. One
//! round visits a bounded number of each kind before the worker polls for events again, so neither
//! kind starves.

use std::collections::VecDeque;

/// Connections with new events that one round visits.
const FRESH_MAX: usize = 256;
/// Connections that used up their last visit and that one round visits again.
const AGAIN_MAX: usize = 64;
/// With more queued connections than this, each gets a shorter visit.
pub(super) const CROWD: usize = 64;

pub(super) struct RunQueue {
    fresh: VecDeque<u32>,
    again: VecDeque<u32>,
    waiting: Vec<bool>,
}

impl RunQueue {
    /// A queue with capacity for the indices below `capacity`.
    pub(super) fn new(capacity: usize) -> RunQueue {
        let line = || VecDeque::with_capacity(capacity);
        RunQueue { fresh: line(), again: line(), waiting: vec![false; capacity] }
    }

    pub(super) const fn memory_bytes(capacity: usize) -> usize {
        capacity * (2 * size_of::<u32>() + size_of::<bool>())
    }

    /// Number of queued connections.
    pub(super) fn len(&self) -> usize {
        self.fresh.len() + self.again.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether `index` is queued.
    pub(super) fn contains(&self, index: u32) -> bool {
        self.waiting[index as usize]
    }

    /// Queues `index` after a new event. An index that is queued already keeps its position.
    pub(super) fn push(&mut self, index: u32) {
        if !std::mem::replace(&mut self.waiting[index as usize], true) {
            self.fresh.push_back(index);
        }
    }

    /// Queues `index`, which used up its visit, behind the new ones.
    pub(super) fn push_again(&mut self, index: u32) {
        if !std::mem::replace(&mut self.waiting[index as usize], true) {
            self.again.push_back(index);
        }
    }

    /// Number of connections to visit in this round: with new events, and to be visited again.
    pub(super) fn round(&self) -> (usize, usize) {
        (self.fresh.len().min(FRESH_MAX), self.again.len().min(AGAIN_MAX))
    }

    /// Removes the first connection with new events.
    pub(super) fn next_fresh(&mut self) -> Option<u32> {
        let index = self.fresh.pop_front()?;
        self.waiting[index as usize] = false;
        Some(index)
    }

    /// Removes the first connection to visit again.
    pub(super) fn next_again(&mut self) -> Option<u32> {
        let index = self.again.pop_front()?;
        self.waiting[index as usize] = false;
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Visits one round and returns the visited indices. Each of `busy` is queued again.
    fn visit_round(queue: &mut RunQueue, busy: impl Fn(u32) -> bool) -> Vec<u32> {
        let (fresh, again) = queue.round();
        let mut visited = Vec::new();
        for n in 0..fresh + again {
            let index = if n < fresh { queue.next_fresh() } else { queue.next_again() }.unwrap();
            visited.push(index);
            if busy(index) {
                queue.push_again(index);
            }
        }
        visited
    }

    #[test]
    fn news_come_before_what_goes_on() {
        let mut queue = RunQueue::new(10_000);
        (0..5500).for_each(|index| queue.push(index));
        let busy = |index| index < 5500;
        let rounds = 5500_usize.div_ceil(FRESH_MAX);
        for _ in 0..rounds {
            visit_round(&mut queue, busy);
        }
        assert_eq!(queue.round(), (0, AGAIN_MAX), "all have news no more");
        queue.push(9000);
        assert_eq!(visit_round(&mut queue, busy)[0], 9000);
        // While all are busy, they are visited in order.
        let visited: Vec<u32> = (0..200).flat_map(|_| visit_round(&mut queue, busy)).collect();
        for index in 0..5500 {
            assert!((2..=3).contains(&visited.iter().filter(|other| **other == index).count()));
        }
    }

    #[test]
    fn what_goes_on_is_not_starved_by_news() {
        let mut queue = RunQueue::new(10_000);
        queue.push_again(9999);
        (0..5000).for_each(|index| queue.push(index));
        assert!(visit_round(&mut queue, |_| false).contains(&9999));
        assert_eq!(queue.len(), 5000 - FRESH_MAX);
    }

    #[test]
    fn each_stands_in_it_once_and_news_do_not_move_it() {
        let mut queue = RunQueue::new(4);
        queue.push_again(1);
        queue.push_again(0);
        queue.push(0);
        queue.push(3);
        queue.push(3);
        assert!(queue.contains(0) && !queue.contains(2));
        assert_eq!((queue.len(), queue.round()), (3, (1, 2)));
        assert_eq!(visit_round(&mut queue, |_| false), [3, 1, 0]);
        assert!(queue.is_empty() && !queue.contains(0));
    }
}

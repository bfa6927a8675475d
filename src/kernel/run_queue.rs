//! The order in which connections are visited: those of which something new is known come first,
//! those that have used up a visit go on behind them. In and out go indices of the table; whether
//! the connection behind an index still wants its visit is for the caller to see. Never grows.
//!
//! A client with one request does not wait for the hundreds that others have sent at once. Of each
//! kind a bounded number is visited before the worker looks for news again, so neither starves.

use std::collections::VecDeque;

/// Connections with news that are visited before the others have their turn.
const FRESH_MAX: usize = 256;
/// Connections that go on, between two looks for news.
const AGAIN_MAX: usize = 64;
/// With more connections than this waiting, each is given less in one visit.
pub(super) const CROWD: usize = 64;

pub(super) struct RunQueue {
    fresh: VecDeque<u32>,
    again: VecDeque<u32>,
    waiting: Vec<bool>,
}

impl RunQueue {
    /// A queue that has a place for each of `capacity` indices.
    pub(super) fn new(capacity: usize) -> RunQueue {
        let line = || VecDeque::with_capacity(capacity);
        RunQueue { fresh: line(), again: line(), waiting: vec![false; capacity] }
    }

    pub(super) const fn memory_bytes(capacity: usize) -> usize {
        capacity * (2 * size_of::<u32>() + size_of::<bool>())
    }

    /// Connections that wait.
    pub(super) fn len(&self) -> usize {
        self.fresh.len() + self.again.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether `index` waits.
    pub(super) fn contains(&self, index: u32) -> bool {
        self.waiting[index as usize]
    }

    /// There is news of `index`. One that waits already keeps its place: news are no way ahead.
    pub(super) fn push(&mut self, index: u32) {
        if !std::mem::replace(&mut self.waiting[index as usize], true) {
            self.fresh.push_back(index);
        }
    }

    /// `index` has used up its visit and has more to do.
    pub(super) fn push_again(&mut self, index: u32) {
        if !std::mem::replace(&mut self.waiting[index as usize], true) {
            self.again.push_back(index);
        }
    }

    /// How many of each kind are to be visited now: those with news, and those that go on.
    pub(super) fn round(&self) -> (usize, usize) {
        (self.fresh.len().min(FRESH_MAX), self.again.len().min(AGAIN_MAX))
    }

    /// The first with news.
    pub(super) fn next_fresh(&mut self) -> Option<u32> {
        let index = self.fresh.pop_front()?;
        self.waiting[index as usize] = false;
        Some(index)
    }

    /// The first that goes on.
    pub(super) fn next_again(&mut self) -> Option<u32> {
        let index = self.again.pop_front()?;
        self.waiting[index as usize] = false;
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Visits one round; returns who was visited. Each of `busy` goes on for ever.
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
        // While all go on they have their turn, in order.
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

//! Segments that reached the wrong worker: passed round the ring of the device's workers until one
//! knows them.
//!
//! A connection belongs to the worker whose queue its SYN came to. When the NIC's receive hashing
//! changes, its segments come to another; that one does not know them, and passes the packet,
//! frames and all, to the next. The packet visits each worker once; only the last may refuse it.
//! The frames then go home to the pool that they came from, for no pool may drain into another.
//! Channels are bounded: what does not fit is dropped and counted, and TCP sends it again.

use crate::control::Waker;
use af_xdp::Frame;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

/// Frames of one passed packet at most: what 64 KiB take.
const CHAIN: usize = 36;
/// Packets that may wait for a worker.
const INBOX: usize = 1024;

simoom_io::counters! {
    /// What a worker passed on and took over.
    pub struct HandoverCounters {
        /// Packets passed to the next worker.
        handover_passed,
        /// Packets taken over from the previous worker.
        handover_taken,
        /// Packets dropped because the next worker did not keep up, or because they had too many
        /// frames.
        handover_dropped,
    }
}

/// Whose frames a packet lies in, and how many workers have not known it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passed {
    home: usize,
    hops: usize,
}

struct Message {
    passed: Passed,
    chain: [Option<Frame>; CHAIN],
}

/// One worker's place in the ring.
pub struct Handover {
    index: usize,
    inbox: Receiver<Message>,
    next: Sender<Message>,
    next_waker: Waker,
    returned: Receiver<Frame>,
    homes: Vec<Sender<Frame>>,
    /// The frames so far of a packet that is being passed on.
    chain: Vec<Frame>,
    counters: HandoverCounters,
}

/// A ring of as many workers as there are `wakers`, each of which wakes one. `frames` are all that
/// the device has.
pub fn ring(wakers: &[Waker], frames: usize) -> Vec<Handover> {
    let inboxes: Vec<_> = wakers.iter().map(|_| bounded(INBOX)).collect();
    let homes: Vec<_> = wakers.iter().map(|_| bounded(frames)).collect();
    let place = |index: usize| {
        let next = (index + 1) % wakers.len();
        Handover {
            index,
            inbox: inboxes[index].1.clone(),
            next: inboxes[next].0.clone(),
            next_waker: wakers[next].clone(),
            returned: homes[index].1.clone(),
            homes: homes.iter().map(|(sender, _)| sender.clone()).collect(),
            chain: Vec::with_capacity(CHAIN),
            counters: HandoverCounters::default(),
        }
    };
    (0..wakers.len()).map(place).collect()
}

impl Handover {
    /// Whether there is any other worker.
    pub(super) fn has_others(&self) -> bool {
        self.homes.len() > 1
    }

    /// A packet that has just come from one of this worker's queues.
    pub(super) fn fresh(&self) -> Passed {
        Passed { home: self.index, hops: 0 }
    }

    /// Whether all other workers have seen the packet.
    pub(super) fn is_last(&self, passed: Passed) -> bool {
        passed.hops + 1 >= self.homes.len()
    }

    /// The next packet passed here, with its frames.
    pub(super) fn take(&mut self) -> Option<(Passed, impl Iterator<Item = Frame> + use<>)> {
        let Message { passed, chain } = self.inbox.try_recv().ok()?;
        self.counters.handover_taken += 1;
        Some((passed, chain.into_iter().flatten()))
    }

    /// A frame that comes home.
    pub(super) fn returned(&self) -> Option<Frame> {
        self.returned.try_recv().ok()
    }

    /// Passes a packet on, called with each of its frames in turn. Gives the frame back if it
    /// cannot be passed; the frames before it have then gone home.
    pub(super) fn pass(&mut self, frame: Frame, passed: Passed) -> Option<Frame> {
        if self.chain.len() == CHAIN {
            self.abandon(passed);
            return Some(frame);
        }
        if frame.more() {
            self.chain.push(frame);
            return None;
        }
        let mut chain = [const { None }; CHAIN];
        let frames = self.chain.drain(..).chain([frame]);
        chain.iter_mut().zip(frames).for_each(|(place, frame)| *place = Some(frame));
        let message = Message { passed: Passed { hops: passed.hops + 1, ..passed }, chain };
        match self.next.try_send(message) {
            Ok(()) => {
                self.counters.handover_passed += 1;
                self.next_waker.wake();
            }
            Err(TrySendError::Full(message) | TrySendError::Disconnected(message)) => {
                self.chain.extend(message.chain.into_iter().flatten());
                self.abandon(passed);
            }
        }
        None
    }

    /// Sends the frames of a packet that could not be passed home.
    fn abandon(&mut self, passed: Passed) {
        self.counters.handover_dropped += 1;
        for frame in self.chain.drain(..) {
            // There is a place for every frame of the device, so this cannot fail while the device
            // is open.
            let _ = self.homes[passed.home].try_send(frame);
        }
    }

    /// Sends a frame home if it is another worker's; gives it back if it is this one's.
    pub(super) fn give_home(&self, frame: Frame, passed: Passed) -> Option<Frame> {
        if passed.home == self.index {
            return Some(frame);
        }
        let _ = self.homes[passed.home].try_send(frame);
        None
    }

    pub(super) fn counters(&self) -> &HandoverCounters {
        &self.counters
    }
}

//! Passes segments that reached the wrong worker round the ring of the device's workers until one
//! finds their connection.
//!
//! A connection belongs to the worker whose queue received its SYN. If the receive hashing of the
//! NIC changes, its segments arrive at another worker. That worker has no such connection and
//! passes the packet with its frames to the next. Each worker sees the packet once, and only the
//! last may refuse it. The frames then return to the pool that they came from: no pool may drain
//! into another. Channels are bounded. Packets that do not fit are dropped and counted, and TCP
//! retransmits them.

use crate::control::Waker;
use af_xdp::Frame;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

/// Maximum of frames in one passed packet: those of 64 KiB.
const CHAIN: usize = 36;
/// Packets that can wait for one worker.
const INBOX: usize = 1024;

simoom_io::counters! {
    /// Counters of passed packets.
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

/// The owner of the frames of a packet, and the number of workers without its connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passed {
    home: usize,
    hops: usize,
}

struct Message {
    passed: Passed,
    chain: [Option<Frame>; CHAIN],
}

/// The position of one worker in the ring.
pub struct Handover {
    index: usize,
    inbox: Receiver<Message>,
    next: Sender<Message>,
    next_waker: Waker,
    returned: Receiver<Frame>,
    homes: Vec<Sender<Frame>>,
    /// The collected frames of a packet that is being passed on.
    chain: Vec<Frame>,
    counters: HandoverCounters,
}

/// Creates a ring with a worker for each of `wakers`, which wake them. `frames` is the number of
/// frames of the device.
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
    /// Whether the ring has other workers.
    pub(super) fn has_others(&self) -> bool {
        self.homes.len() > 1
    }

    /// The state of a packet from a queue of this worker.
    pub(super) fn fresh(&self) -> Passed {
        Passed { home: self.index, hops: 0 }
    }

    /// Whether all other workers have seen the packet.
    pub(super) fn is_last(&self, passed: Passed) -> bool {
        passed.hops + 1 >= self.homes.len()
    }

    /// The next packet that was passed to this worker, with its frames.
    pub(super) fn take(&mut self) -> Option<(Passed, impl Iterator<Item = Frame> + use<>)> {
        let Message { passed, chain } = self.inbox.try_recv().ok()?;
        self.counters.handover_taken += 1;
        Some((passed, chain.into_iter().flatten()))
    }

    /// A frame that was returned to this worker.
    pub(super) fn returned(&self) -> Option<Frame> {
        self.returned.try_recv().ok()
    }

    /// Adds a frame to the packet that is being passed on; its last frame sends it. Returns the
    /// frame if the packet cannot be passed; its earlier frames have then been returned to their
    /// owner.
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

    /// Returns the frames of a packet that could not be passed to their owner.
    fn abandon(&mut self, passed: Passed) {
        self.counters.handover_dropped += 1;
        for frame in self.chain.drain(..) {
            // The channel has capacity for every frame of the device, so this fails only when the
            // device is closed.
            let _ = self.homes[passed.home].try_send(frame);
        }
    }

    /// Whether the frames of such a packet are this worker's.
    pub(super) fn is_home(&self, passed: Passed) -> bool {
        passed.home == self.index
    }

    /// Sends the frame of another worker to its owner. Returns a frame of this worker.
    pub(super) fn give_home(&self, frame: Frame, passed: Passed) -> Option<Frame> {
        if self.is_home(passed) {
            return Some(frame);
        }
        let _ = self.homes[passed.home].try_send(frame);
        None
    }

    pub(super) fn counters(&self) -> &HandoverCounters {
        &self.counters
    }
}

//! Joins received frames to packets, passes them to the stack in bursts, and returns the frames.
//!
//! Nothing is copied: a packet is a list of references into its frames, which are not freed until
//! the stack has read them. Packets without a connection in this stack are passed on with their
//! frames.

use super::Worker;
use super::handover::Passed;
use crate::handler::Handler;
use af_xdp::{BURST, Frame, FrameIo};
use simoom_tcp::Packet;

/// Maximum of buffers in one burst. The longest packet, 64 KiB, has at most 35. A packet of more
/// buffers is truncated, and the stack drops it.
const PARTS: usize = 2 * BURST;
/// Maximum of frames in a short burst.
const FEW: usize = 4;
/// Maximum of frames in a burst of medium length.
const SOME: usize = 16;

impl<A: Handler, Q: FrameIo> Worker<A, Q> {
    /// Takes a burst from each queue; returns the number of frames.
    #[inline]
    pub(super) fn receive(&mut self) -> usize {
        let mut taken = 0;
        for queue in 0..self.outbound.queues().len() {
            let mut frames = std::mem::take(&mut self.frames);
            taken += self.outbound.receive(queue, &mut frames, BURST);
            self.give_to_stack(&mut frames, self.handover.fresh());
            self.frames = frames;
        }
        taken
    }

    /// Handles packets of other workers and returned frames. Returns the number of packets.
    pub(super) fn take_handed_over(&mut self) -> usize {
        if !self.handover.has_others() {
            return 0;
        }
        while let Some(frame) = self.handover.returned() {
            self.outbound.give(frame);
        }
        let mut taken = 0;
        while taken < BURST
            && let Some((passed, chain)) = self.handover.take()
        {
            let mut frames = std::mem::take(&mut self.frames);
            frames.extend(chain);
            self.give_to_stack(&mut frames, passed);
            self.frames = frames;
            taken += 1;
        }
        taken
    }

    /// Passes the packets in `frames` to the stack and frees the frames. `frames` is empty
    /// afterwards.
    fn give_to_stack(&mut self, frames: &mut Vec<Frame>, passed: Passed) {
        if frames.is_empty() {
            return;
        }
        while !frames.is_empty() {
            // A short burst does not clear long lists.
            let (taken, strays) = if frames.len() <= FEW {
                self.burst::<FEW, FEW>(frames, passed)
            } else if frames.len() <= SOME {
                self.burst::<SOME, SOME>(frames, passed)
            } else {
                self.burst::<PARTS, BURST>(frames, passed)
            };
            self.put_away(frames.drain(..taken), strays, passed);
        }
    }

    /// Passes the first packets to the stack: at most `N` packets in at most `P` frames. Returns
    /// their number of frames, and a bit mask of the packets for another worker.
    fn burst<const P: usize, const N: usize>(
        &mut self,
        frames: &[Frame],
        passed: Passed,
    ) -> (usize, u64) {
        let mut parts: [&[u8]; P] = [&[]; P];
        for (part, frame) in parts.iter_mut().zip(frames) {
            *part = self.umem.bytes(frame);
        }
        let last = frames.len().min(P) - 1;
        let mut packets = [Packet(&[]); N];
        let (mut count, mut start) = (0, 0);
        for (index, frame) in frames[..=last].iter().enumerate() {
            if !frame.more() || index == last {
                packets[count] = Packet(&parts[start..=index]);
                (count, start) = (count + 1, index + 1);
                if count == N {
                    break;
                }
            }
        }
        let now = self.now();
        let strays = self.stack.receive(now, &packets[..count], &mut self.app, &mut self.outbound);
        if strays == 0 || !self.handover.is_last(passed) {
            return (start, strays);
        }
        for (index, packet) in packets[..count].iter().enumerate() {
            if strays >> index & 1 == 1 {
                self.stack.refuse(now, *packet, &mut self.outbound);
            }
        }
        (start, 0)
    }

    /// Passes stray packets on, and returns all other frames to their pool.
    fn put_away(&mut self, frames: impl Iterator<Item = Frame>, strays: u64, passed: Passed) {
        if strays == 0 && self.handover.is_home(passed) {
            return self.outbound.give_all(frames);
        }
        let mut packet = 0;
        for frame in frames {
            let is_stray = strays != 0 && strays >> packet & 1 == 1;
            packet += u32::from(!frame.more());
            let left = if is_stray { self.handover.pass(frame, passed) } else { Some(frame) };
            if let Some(frame) = left
                && let Some(frame) = self.handover.give_home(frame, passed)
            {
                self.outbound.give(frame);
            }
        }
    }
}

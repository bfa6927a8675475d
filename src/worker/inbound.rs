//! From received frames to the stack: frames are joined to packets, given to the stack in bursts,
//! and put away.
//!
//! Nothing is copied: a packet is a list of references into the frames, which stay where they are
//! until the stack has read them. Packets that the stack does not know are passed on with their
//! frames.

use super::Worker;
use super::handover::Passed;
use crate::handler::Handler;
use af_xdp::{BURST, Frame, FrameIo, Umem};
use simoom_tcp::Packet;

/// Buffers of one burst at most. The longest packet, 64 KiB, comes in at most 35; one of more
/// buffers is cut off, and then dropped by the stack.
const PARTS: usize = 2 * BURST;
/// Frames of a short burst.
const FEW: usize = 4;

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

    /// Takes what other workers passed on, and frames that come home; returns the number of
    /// packets.
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

    /// Gives the packets in `frames` to the stack and puts the frames away; `frames` is empty
    /// after.
    fn give_to_stack(&mut self, frames: &mut Vec<Frame>, passed: Passed) {
        if frames.is_empty() {
            return;
        }
        let umem = self.outbound.umem();
        while !frames.is_empty() {
            // A short burst is spared the clearing of long lists.
            let (taken, strays) = match frames.len() {
                ..=FEW => self.burst::<FEW, FEW>(&umem, frames, passed),
                _ => self.burst::<PARTS, BURST>(&umem, frames, passed),
            };
            self.put_away(frames.drain(..taken), strays, passed);
        }
    }

    /// Gives the first packets to the stack, at most `N` in at most `P` frames. Returns how many
    /// frames that were, and which of the packets are for another worker.
    fn burst<const P: usize, const N: usize>(
        &mut self,
        umem: &Umem,
        frames: &[Frame],
        passed: Passed,
    ) -> (usize, u64) {
        let mut parts: [&[u8]; P] = [&[]; P];
        for (part, frame) in parts.iter_mut().zip(frames) {
            *part = umem.bytes(frame);
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

    /// Passes strays on and returns all other frames to the pool that they came from.
    fn put_away(&mut self, frames: impl Iterator<Item = Frame>, strays: u64, passed: Passed) {
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

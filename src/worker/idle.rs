//! Idle policy of a worker: spins for 50 µs, because the next packet is often near, then sleeps in
//! poll(2). An idle worker uses no CPU.

use crate::clock::timespec;
use crate::control::CommandReceiver;
use af_xdp::FrameIo;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

/// Time that a worker spins after its last work. Longer than the gap between packets of a steady
/// load. Short beside the time to wake, so that an unsteady load wastes little.
const SPIN_US: u64 = 50;
/// Interval at which an idle worker checks that its queues exist, in microseconds. No kernel we
/// know of wakes poll(2) when the interface is removed.
const CHECK_US: u64 = 1_000_000;
/// Maximum number of queues that one worker can sleep on.
pub const MAX_QUEUES: usize = 64;

/// The policy and its state.
pub(super) struct Idle {
    always_spins: bool,
    worked_us: u64,
    check_at_us: u64,
}

impl Idle {
    pub(super) fn new(always_spins: bool) -> Idle {
        Idle { always_spins, worked_us: 0, check_at_us: CHECK_US }
    }

    /// Records work at `now_us`.
    pub(super) fn worked(&mut self, now_us: u64) {
        self.worked_us = now_us;
    }

    /// Whether the worker spins, because the next packet is expected soon.
    pub(super) fn is_near_work(&self, now_us: u64) -> bool {
        now_us - self.worked_us < SPIN_US
    }

    /// Whether the worker spins for ever instead of sleeping (--busy-poll).
    pub(super) fn always_spins(&self) -> bool {
        self.always_spins
    }

    /// Checks that the queues exist, if [`CHECK_US`] have passed.
    pub(super) fn check_now_and_then<Q: FrameIo>(
        &mut self,
        now_us: u64,
        queues: &[Q],
    ) -> io::Result<()> {
        if now_us < self.check_at_us {
            return Ok(());
        }
        self.check_at_us = now_us + CHECK_US;
        queues.iter().try_for_each(FrameIo::check).map_err(io::Error::other)
    }

    /// Sleeps until a queue has received, a command has come, or `until_us`; at most 1 s.
    pub(super) fn sleep<Q: FrameIo>(
        &self,
        queues: &[Q],
        commands: &CommandReceiver,
        now_us: u64,
        until_us: u64,
    ) -> io::Result<()> {
        let watched = |index: usize| match queues.get(index) {
            Some(queue) => PollFd::from_borrowed_fd(queue.as_fd(), PollFlags::IN),
            None => PollFd::from_borrowed_fd(commands.as_fd(), PollFlags::IN),
        };
        let mut all: [PollFd<'_>; MAX_QUEUES + 1] = std::array::from_fn(watched);
        let fds = &mut all[..=queues.len()];
        let left_us = until_us.min(self.check_at_us).saturating_sub(now_us);
        let left = timespec(Duration::from_micros(left_us));
        match poll(fds, Some(&left)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let failed = PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL;
        for (fd, queue) in fds.iter().zip(queues) {
            if fd.revents().intersects(failed) {
                queue.check().map_err(io::Error::other)?;
            }
        }
        if fds[queues.len()].revents().contains(PollFlags::IN) {
            commands.clear_wake();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spins_for_a_moment_after_work_unless_it_always_does() {
        let mut idle = Idle::new(false);
        idle.worked(1000);
        assert!(idle.is_near_work(1000 + SPIN_US - 1) && !idle.is_near_work(1000 + SPIN_US));
        assert!(!idle.always_spins() && Idle::new(true).always_spins());
    }
}

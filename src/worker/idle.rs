//! Idle policy of a worker: what it does from an iteration without work until the next work.
//!
//! To sleep in poll(2) costs nothing while it lasts. To be woken by each packet costs several times
//! the CPU of its request, and on most machines its latency. So a worker does one of three things:
//!
//! - it spins for up to 10 µs, if nearly every idle time was so short, as with one client that
//!   sends its next request at once;
//! - it naps for 20 µs if packets come faster than 50 a millisecond, and so takes several at once.
//!   No packet wakes it meanwhile, which saves CPU on the sender's side of a veth, too;
//! - else it sleeps in poll(2) until a packet, a command or a deadline.

use crate::clock::timespec;
use crate::control::CommandReceiver;
use af_xdp::FrameIo;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::io;
use std::num::NonZeroU64;
use std::os::fd::AsFd;
use std::time::Duration;

/// Maximum time that a worker spins after its last work: about what sleeping and waking takes.
const SPIN_US: u64 = 10;
/// One of this many idle times begins with spinning, to learn whether it pays.
const TRIAL_INTERVAL: u32 = 32;
/// A worker begins to spin when this share of its trials met work within [`SPIN_US`].
const SPIN_FROM: f32 = 15.0 / 16.0;
/// It ends when a smaller share did, so that an interrupted client does not end it.
const SPIN_UNTIL: f32 = 7.0 / 8.0;
/// Weight of a trial in the moving average.
const TRIAL_WEIGHT: f32 = 1.0 / 32.0;
/// Duration of a nap: less than the time that a request spends in a kernel's TCP.
const NAP_US: u64 = 20;
/// Frames in [`RATE_WINDOW_US`] from which a worker naps: one in the time of a nap.
const NAP_FRAMES: u64 = RATE_WINDOW_US / NAP_US;
/// Time over which frames are counted.
const RATE_WINDOW_US: u64 = 1_000;
/// Time without work after which a worker that spins for ever fills its fill rings.
const LONG_US: u64 = 50;
/// Interval at which an idle worker checks that its queues exist, in microseconds. No kernel we
/// know of wakes poll(2) when the interface is removed.
const CHECK_US: u64 = 1_000_000;
/// Maximum number of queues that one worker can sleep on.
pub const MAX_QUEUES: usize = 64;

/// The next step of an idle worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Look for work again at once.
    Spin,
    /// Sleep for [`NAP_US`], whatever comes.
    Nap,
    /// Sleep in poll(2).
    Sleep,
}

/// The policy and its state.
pub(super) struct Idle {
    always_spins: bool,
    worked_us: u64,
    check_at_us: u64,
    /// The step of the current idle time, if the worker is idle.
    step: Option<Step>,
    /// Idle times until the next trial.
    until_trial: u32,
    /// Moving average of the trials that met work, from 0 to 1.
    spin_share: f32,
    /// Whether each idle time begins with spinning.
    spins: bool,
    /// Frames since the start of the window.
    frames: u64,
    window_us: u64,
    /// Whether the last window had [`NAP_FRAMES`].
    is_fast: bool,
}

impl Idle {
    pub(super) fn new(always_spins: bool) -> Idle {
        Idle {
            always_spins,
            worked_us: 0,
            check_at_us: CHECK_US,
            step: None,
            until_trial: 0,
            spin_share: 0.0,
            spins: false,
            frames: 0,
            window_us: 0,
            is_fast: false,
        }
    }

    /// Makes naps of the calling thread last as long as requested. By default the kernel may add 50
    /// µs to a sleep.
    pub(super) fn prepare_thread() {
        if let Err(error) = rustix::thread::set_current_timer_slack(NonZeroU64::new(1)) {
            tracing::debug!(%error, "naps may last 50 µs longer (PR_SET_TIMERSLACK)");
        }
    }

    /// Records work at `now_us`: `taken` frames and other events.
    #[inline]
    pub(super) fn worked(&mut self, now_us: u64, taken: usize) {
        if self.step.take() == Some(Step::Spin) {
            self.record_trial(true);
        }
        self.worked_us = now_us;
        self.frames += taken as u64;
    }

    /// The next step of a worker without work at `now_us`.
    pub(super) fn step(&mut self, now_us: u64) -> Step {
        self.review_rate(now_us);
        let spins = match self.step {
            None => self.tries_to_spin(),
            Some(Step::Spin) if now_us - self.worked_us < SPIN_US => true,
            Some(Step::Spin) => {
                self.record_trial(false);
                false
            }
            Some(Step::Nap | Step::Sleep) => false,
        };
        let step = match self.step {
            _ if spins => Step::Spin,
            None | Some(Step::Spin) if self.is_fast => Step::Nap,
            _ => Step::Sleep,
        };
        self.step = Some(step);
        step
    }

    fn tries_to_spin(&mut self) -> bool {
        self.until_trial = self.until_trial.checked_sub(1).unwrap_or(TRIAL_INTERVAL - 1);
        self.until_trial == 0 || self.spins
    }

    fn record_trial(&mut self, met_work: bool) {
        let met = if met_work { 1.0 } else { 0.0 };
        self.spin_share += (met - self.spin_share) * TRIAL_WEIGHT;
        self.spins = self.spin_share >= if self.spins { SPIN_UNTIL } else { SPIN_FROM };
    }

    fn review_rate(&mut self, now_us: u64) {
        let elapsed_us = now_us - self.window_us;
        if elapsed_us >= RATE_WINDOW_US {
            self.is_fast = self.frames * RATE_WINDOW_US >= NAP_FRAMES * elapsed_us;
            (self.frames, self.window_us) = (0, now_us);
        }
    }

    /// Whether the last work was long ago for a worker that spins for ever.
    pub(super) fn is_long(&self, now_us: u64) -> bool {
        now_us - self.worked_us >= LONG_US
    }

    /// Whether the worker spins for ever instead of sleeping (--busy-poll).
    pub(super) fn always_spins(&self) -> bool {
        self.always_spins
    }

    /// Whether a nap ends by `until_us`.
    pub(super) fn can_nap(now_us: u64, until_us: u64) -> bool {
        now_us + NAP_US <= until_us
    }

    /// Sleeps for [`NAP_US`].
    pub(super) fn nap() {
        // A signal ends the nap early.
        let _ = rustix::thread::nanosleep(&timespec(Duration::from_micros(NAP_US)));
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
#[path = "idle_tests.rs"]
mod tests;

//! The client as an application: sends requests at their times, and counts the answers. Both
//! transports drive it, with any [`Protocol`].
//!
//! A *slot*, from 0 to `connections` - 1, names a connection for the whole run. When a connection
//! ends, its slot is opened again. At most `in_flight` connections wait for an answer. The next
//! request goes to the connection that was idle longest, so that all are used in turn. In the
//! closed loop a request is due whenever one may be sent. In the open loop it has a scheduled time,
//! and waits if none may be sent. While connections are being opened, each sends one request.
//!
//! In each iteration, a transport calls [`Client::tick`]; then [`Client::next_to_open`] until it
//! returns `None`; then [`Client::next_to_send`] until it returns `None`, followed by
//! [`Client::send`] for each slot. It calls the [`Application`](simoom_io::Application) for events.

mod application;
mod connection;
mod ends;
mod opening;
mod plan;
mod sending;
mod slots;
mod throttle;

use super::pace::Pace;
use super::protocol::{PendingRequest, Protocol, Text};
use super::schedule::{Progress, Schedule};
use super::stats::Stats;
pub(crate) use connection::ClientConnection;
use connection::State;
pub(crate) use plan::Plan;
use simoom_io::{Duration, Reply};
use slots::Slots;
pub(crate) use throttle::{ReadThrottle, SLOW_MAX};

/// The application.
pub(crate) struct Client<P: Protocol> {
    plan: Plan,
    protocol: P,
    /// The requests under way, `plan.pipeline` places for each slot.
    pending: Vec<PendingRequest<P::Request>>,
    timeout: Duration,
    now_us: u64,
    schedule: Schedule,
    pace: Pace,
    /// As it was before the connection that is being opened took its request.
    pace_before_opening: Pace,
    slots: Slots,
    /// Since when a request could have been sent, if one can.
    free_since_us: u64,
    opening_paused_until_us: u64,
    opening: u32,
    open: u32,
    /// Attempts to connect that have come to an end, good or bad.
    attempts_over: u64,
    in_flight: u32,
    /// A first answer was good.
    proven: bool,
    answers: u64,
    /// Something was sent or received since the clock was read.
    worked: bool,
    /// What was counted.
    pub(crate) stats: Stats,
}

impl<P: Protocol> Client<P> {
    /// A client that speaks `protocol`.
    pub(crate) fn new(plan: Plan, protocol: P) -> Client<P> {
        let places = plan.connections as usize * usize::from(plan.pipeline);
        Client {
            protocol,
            pending: vec![PendingRequest::default(); places],
            timeout: Duration::from(plan.timeout),
            now_us: 0,
            schedule: Schedule::new(plan.limits, plan.rate.is_some()),
            pace: Pace::new(plan.rate),
            pace_before_opening: Pace::new(plan.rate),
            slots: Slots::new(plan.connections),
            free_since_us: 0,
            opening_paused_until_us: 0,
            opening: 0,
            open: 0,
            attempts_over: 0,
            in_flight: 0,
            proven: false,
            answers: 0,
            worked: false,
            stats: Stats::new(plan.by_second),
            plan,
        }
    }

    /// The time is `now_us`. Call before anything else, each time round.
    #[inline]
    pub(crate) fn tick(&mut self, now_us: u64) {
        if self.schedule.measures() {
            self.stats.iteration(now_us - self.now_us, self.worked);
        }
        (self.now_us, self.worked) = (now_us, false);
        let all = self.plan.connection_per_request
            || self.attempts_over >= u64::from(self.plan.connections);
        let progress = Progress {
            ready: self.proven && all,
            prepared: self.protocol.is_prepared(),
            in_flight: self.in_flight,
        };
        let measured = self.schedule.measures();
        if self.schedule.step(now_us, progress) {
            self.pace.begin(now_us);
            self.protocol.begin();
        }
        self.note_phase(measured);
    }

    /// Whether anything was sent or received since the clock was read.
    #[inline]
    pub(crate) fn has_worked(&self) -> bool {
        self.worked
    }

    /// Time that passes until the next turn is the load's, not spent waiting.
    pub(crate) fn worked(&mut self) {
        self.worked = true;
    }

    /// Ends the run now.
    pub(crate) fn end(&mut self) {
        let measured = self.schedule.measures();
        self.schedule.end(self.now_us);
        self.note_phase(measured);
    }

    /// Measuring may have begun, gone on or ended; `measured` tells whether it was going on before.
    #[inline]
    fn note_phase(&mut self, measured: bool) {
        match (measured, self.schedule.measures()) {
            (false, true) => self.stats.begin(self.now_us),
            (true, true) => self.stats.see_second(self.now_us, self.open),
            (true, false) => self.stats.stop(self.now_us, self.open),
            (false, false) => {}
        }
    }

    /// The course of the run.
    pub(crate) fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// When to look again, if nothing comes before that: the open loop's next request.
    pub(crate) fn next_us(&self) -> Option<u64> {
        if self.schedule.is_paced() && self.has_free() { self.pace.next_us() } else { None }
    }

    /// Requests that were due while measuring and were not sent: in the open loop, those that
    /// waited in vain.
    pub(crate) fn waiting(&self) -> u64 {
        let (from_us, until_us) = self.stats.measured_us;
        self.pace.waiting(from_us, until_us)
    }

    /// How slowly connections that are opened now are to read. The first answer is read at full
    /// speed, for all others wait for it.
    pub(crate) fn slow(&self) -> Option<ReadThrottle> {
        self.plan.slow.filter(|_| self.proven)
    }

    /// The run is over: a connection that is in the midst of a long answer does not wait for the
    /// rest.
    pub(crate) fn leave(&self, conn: &ClientConnection<P::Progress>, reply: &mut Reply<'_, Text>) {
        if self.plan.slow.is_some() && conn.outstanding > 0 { reply.abort() } else { reply.close() }
    }

    /// How long an answer may take.
    pub(crate) fn answer_timeout(&self) -> Duration {
        self.timeout
    }

    /// Connections that are open.
    pub(crate) fn open(&self) -> u32 {
        self.open
    }

    /// Good answers so far, counted or not.
    pub(crate) fn answers(&self) -> u64 {
        self.answers
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;

//! The client as an application: requests out at their time, answers in and counted. Both transports drive the same
//! one, whatever [`Protocol`] it speaks.
//!
//! A connection is named by its *slot*, 0 to `connections` - 1, for the whole run; when it ends, the slot is opened
//! again. At most `in_flight` connections wait for an answer at once, and the next request goes to the connection that
//! has rested longest, so that all of them are used in turn. In the closed loop a request is due whenever one may be
//! sent; in the open loop at a time of its own, and waits if none may. While connections are being opened, each sends
//! one request and rests. The transport asks, each time
//! round: [`Client::turn`]; [`Client::next_to_open`] until there is none; [`Client::next_to_send`] until there is
//! none, each followed by [`Client::send`]; and calls the [`Application`](simoom_stack::Application) for what comes.

mod application;
mod ends;
mod sips;
mod slots;

use super::course::{Course, Extent, Progress};
use super::pace::{Pace, Rate};
use super::protocol::{Asked, Protocol, Text};
use super::tally::Tally;
use simoom_stack::{Duration, Reply};
pub(crate) use sips::{SLOW_MAX, Sips};
use slots::Slots;

/// Handshakes that may be under way while the connections of a run are opened: few enough for any backlog.
const OPENING_MAX: u32 = 128;
/// After an attempt to connect has failed, no other is made for so long.
const OPENING_PAUSE_US: u64 = 100_000;

/// What is sent, and how.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Connections open at once.
    pub(crate) connections: u32,
    /// Connections that wait for an answer at once.
    pub(crate) in_flight: u32,
    /// Requests sent on a connection at once, at most.
    pub(crate) pipeline: u16,
    /// Each request has a connection of its own.
    pub(crate) connection_per_request: bool,
    /// The open loop's rate; `None` for the closed loop.
    pub(crate) rate: Option<Rate>,
    /// How slowly connections read, if they do.
    pub(crate) slow: Option<Sips>,
    /// The content of each answer is checked.
    pub(crate) verify: bool,
    /// The longest wait for an answer.
    pub(crate) timeout: std::time::Duration,
    /// How long, or how many.
    pub(crate) extent: Extent,
    /// Whether to keep what each second brought.
    pub(crate) by_second: bool,
}

/// Where a connection is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// The handshake is under way.
    #[default]
    Opening,
    /// Open, but there was no room for the request that it was opened for.
    Unsent,
    /// Open, and expects an answer if anything is outstanding.
    Open,
    /// Its last answer is there; it waits for the server to close.
    Ending,
    /// Something was wrong, which is counted.
    Failed,
}

/// What the client keeps for a connection; `S` is the protocol's part.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conn<S> {
    slot: u32,
    /// Requests sent whose answers are not there,
    outstanding: u16,
    /// and requests sent with them whose answers are.
    answered: u16,
    stage: Stage,
    closes: bool,
    /// It reads no input before `read_at_us`.
    pauses: bool,
    read_at_us: u64,
    progress: S,
}

/// The application.
pub(crate) struct Client<P: Protocol> {
    plan: Plan,
    protocol: P,
    /// The requests under way, `plan.pipeline` places for each slot.
    asked: Vec<Asked<P::Request>>,
    timeout: Duration,
    now_us: u64,
    course: Course,
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
    pub(crate) tally: Tally,
}

impl<P: Protocol> Client<P> {
    /// A client that speaks `protocol`.
    pub(crate) fn new(plan: Plan, protocol: P) -> Client<P> {
        let places = plan.connections as usize * usize::from(plan.pipeline);
        Client {
            protocol,
            asked: vec![Asked::default(); places],
            timeout: Duration::from(plan.timeout),
            now_us: 0,
            course: Course::new(plan.extent, plan.rate.is_some()),
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
            tally: Tally::new(plan.by_second),
            plan,
        }
    }

    /// The time is `now_us`. Call before anything else, each time round.
    #[inline]
    pub(crate) fn turn(&mut self, now_us: u64) {
        if self.course.measures() {
            self.tally.turn(now_us - self.now_us, self.worked);
        }
        (self.now_us, self.worked) = (now_us, false);
        let all = self.plan.connection_per_request || self.attempts_over >= u64::from(self.plan.connections);
        let progress = Progress {
            ready: self.proven && all,
            prepared: self.protocol.is_prepared(),
            in_flight: self.in_flight,
        };
        let measured = self.course.measures();
        if self.course.step(now_us, progress) {
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
        let measured = self.course.measures();
        self.course.end(self.now_us);
        self.note_phase(measured);
    }

    /// Measuring may have begun, gone on or ended; `measured` tells whether it was going on before.
    #[inline]
    fn note_phase(&mut self, measured: bool) {
        match (measured, self.course.measures()) {
            (false, true) => self.tally.begin(self.now_us),
            (true, true) => self.tally.see_second(self.now_us, self.open),
            (true, false) => self.tally.stop(self.now_us, self.open),
            (false, false) => {}
        }
    }

    /// The course of the run.
    pub(crate) fn course(&self) -> &Course {
        &self.course
    }

    /// When to look again, if nothing comes before that: the open loop's next request.
    pub(crate) fn next_us(&self) -> Option<u64> {
        if self.course.is_paced() && self.has_free() { self.pace.next_us() } else { None }
    }

    /// Requests that were due while measuring and were not sent: in the open loop, those that waited in vain.
    pub(crate) fn waiting(&self) -> u64 {
        let (from_us, until_us) = self.tally.measured_us;
        self.pace.waiting(from_us, until_us)
    }

    /// How slowly connections that are opened now are to read. The first answer is read at full speed, for all others
    /// wait for it.
    pub(crate) fn slow(&self) -> Option<Sips> {
        self.plan.slow.filter(|_| self.proven)
    }

    /// The run is over: a connection that is in the midst of a long answer does not wait for the rest.
    pub(crate) fn leave(&self, conn: &Conn<P::Progress>, reply: &mut Reply<'_, Text>) {
        if self.plan.slow.is_some() && conn.outstanding > 0 { reply.abort() } else { reply.close() }
    }

    /// Connections that are open.
    pub(crate) fn open(&self) -> u32 {
        self.open
    }

    /// Good answers so far, counted or not.
    pub(crate) fn answers(&self) -> u64 {
        self.answers
    }

    /// A connection to begin to open now, if there is one.
    pub(crate) fn next_to_open(&mut self) -> Option<Conn<P::Progress>> {
        if !self.course.opens() || self.now_us < self.opening_paused_until_us {
            return None;
        }
        let of_one_request = self.plan.connection_per_request;
        // The first connection goes alone too: if it is refused, so are all.
        let most = if self.proven { OPENING_MAX } else { 1 - self.open.min(1) };
        if of_one_request && !self.may_send() || !of_one_request && self.opening >= most {
            return None;
        }
        let slot = self.slots.take_unopened()?;
        let place = self.first_place(slot);
        self.pace_before_opening = self.pace;
        let outstanding = u16::from(of_one_request && self.take(place, 1) == 1);
        self.in_flight += u32::from(outstanding);
        self.opening += 1;
        self.worked = true;
        Some(Conn { slot, outstanding, ..Conn::default() })
    }

    /// The transport cannot open this connection just now.
    pub(crate) fn postpone(&mut self, slot: u32) {
        self.opening -= 1;
        if self.plan.connection_per_request {
            self.in_flight -= 1;
            self.untake(self.pace_before_opening, 1, 0);
        }
        self.slots.postpone(slot);
    }

    /// The slot to send on next, if anything is to be sent.
    #[inline]
    pub(crate) fn next_to_send(&mut self) -> Option<u32> {
        if self.may_send() { self.slots.take(self.course.is_opening()) } else { None }
    }

    /// Sends on an open connection, unless that is not at rest. Returns whether to go on with the next.
    #[inline]
    pub(crate) fn send(&mut self, conn: &mut Conn<P::Progress>, reply: &mut Reply<'_, Text>) -> bool {
        if conn.outstanding > 0 || conn.stage != Stage::Open {
            return true;
        }
        // The first request goes alone: its answer is what the others are held against.
        let batch = if self.proven { self.plan.pipeline } else { 1 };
        let place = self.first_place(conn.slot);
        let before = self.pace;
        let granted = self.take(place, batch);
        if granted == 0 {
            self.slots.rest(conn.slot);
            return false;
        }
        let sent = self.protocol.ask(&mut self.asked[place..][..usize::from(granted)], reply) as u16;
        if sent < granted {
            self.untake(before, granted, sent);
        }
        if sent == 0 {
            self.slots.rest(conn.slot);
            return false;
        }
        (conn.outstanding, conn.answered) = (sent, 0);
        self.in_flight += 1;
        self.sent(place, sent, reply);
        true
    }

    /// Takes at most `wanted` of the requests that are due, into the places from `place` on; returns how many.
    #[inline]
    fn take(&mut self, place: usize, wanted: u16) -> u16 {
        let budget = self.course.take(u64::from(wanted)) as u16;
        if !self.course.is_paced() {
            for asked in &mut self.asked[place..][..usize::from(budget)] {
                asked.due_us = self.now_us;
            }
            return budget;
        }
        let mut taken = 0;
        while taken < budget
            && let Some(due_us) = self.pace.take(self.now_us)
        {
            self.asked[place + usize::from(taken)].due_us = due_us;
            taken += 1;
        }
        self.course.give_back(u64::from(budget - taken));
        taken
    }

    /// Only the first `sent` of those taken were sent; `before` is the pace before they were taken.
    fn untake(&mut self, before: Pace, taken: u16, sent: u16) {
        self.course.give_back(u64::from(taken - sent));
        if self.course.is_paced() {
            self.pace = before;
            for _ in 0..sent {
                self.pace.take(self.now_us);
            }
        }
    }

    /// Requests were queued: counts them, and how late this side was with each.
    #[inline]
    fn sent(&mut self, place: usize, requests: u16, reply: &mut Reply<'_, Text>) {
        reply.set_timeout(Some(self.timeout));
        self.worked = true;
        for asked in &self.asked[place..][..usize::from(requests)] {
            if self.course.counts(asked.due_us) {
                let late_us = self.now_us - asked.due_us.max(self.free_since_us).min(self.now_us);
                self.tally.sent(self.pace.is_open().then_some(late_us));
            }
        }
    }

    #[inline]
    fn first_place(&self, slot: u32) -> usize {
        slot as usize * usize::from(self.plan.pipeline)
    }

    #[inline]
    fn may_send(&self) -> bool {
        let limit = if self.proven { self.plan.in_flight } else { 1 };
        let due = !self.course.is_paced() || self.pace.is_due(self.now_us);
        self.in_flight < limit && due && self.course.sends()
    }

    /// Whether a request that is due can be sent.
    #[inline]
    fn has_free(&self) -> bool {
        let any = if self.plan.connection_per_request { self.slots.has_unopened() } else { self.slots.has_free() };
        any && self.in_flight < self.plan.in_flight
    }

    /// Something is about to be freed. If no request could be sent before, one can from now on.
    #[inline]
    fn note_if_none_was_free(&mut self) {
        if !self.has_free() {
            self.free_since_us = self.now_us;
        }
    }
}

impl<S> Conn<S> {
    /// The connection's number.
    pub(crate) fn slot(&self) -> u32 {
        self.slot
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;

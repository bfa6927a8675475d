//! The client as an application: requests out, answers in and checked. Both transports drive the same one.
//!
//! A connection is named by its *slot*, 0 to `connections` - 1, for the whole run; when it ends, the slot is opened
//! again. In the closed loop at most `in_flight` connections wait for an answer at once, and the next request goes to
//! the connection that has rested longest, so that all of them are used in turn. While they are being opened, each
//! sends one request and rests. The transport asks, each time
//! round: [`Client::turn`]; [`Client::next_to_open`] until there is none; [`Client::next_to_send`] until there is
//! none, each followed by [`Client::send`]; and calls the [`Application`] for what comes.

mod application;
mod check;

use super::course::{Course, Extent, Progress};
use super::response::Heads;
use super::tally::Tally;
use simoom_stack::{Blob, Duration, Reply};
use std::collections::VecDeque;
use std::rc::Rc;

/// Handshakes that may be under way while the connections of a run are opened: few enough for any backlog.
const OPENING_MAX: u32 = 128;
/// After an attempt to connect has failed, no other is made for so long.
const OPENING_PAUSE_US: u64 = 100_000;
/// The most content that `--verify` remembers.
const VERIFY_MAX_BYTES: u64 = 256 << 20;

/// What is sent, and how.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Connections open at once.
    pub(crate) connections: u32,
    /// Connections that wait for an answer at once.
    pub(crate) in_flight: u32,
    /// Requests sent on a connection at once.
    pub(crate) pipeline: u16,
    /// Each request has a connection of its own.
    pub(crate) connection_per_request: bool,
    /// The content of each answer is compared with the first one's.
    pub(crate) verify: bool,
    /// The longest wait for an answer.
    pub(crate) timeout: std::time::Duration,
    /// How long, or how many.
    pub(crate) extent: Extent,
}

/// The bytes of requests, shared by all connections of one thread.
#[derive(Clone, Debug)]
pub(crate) struct Text(Rc<[u8]>);

impl Blob for Text {
    #[inline]
    fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Where a connection is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// The handshake is under way.
    #[default]
    Opening,
    /// Open, and expects a head if anything is outstanding.
    Open,
    /// Within the content of an answer.
    Content,
    /// Its last answer is there; it waits for the server to close.
    Ending,
    /// Something was wrong, which is counted.
    Failed,
}

/// What the client keeps for a connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conn {
    slot: u32,
    /// Requests sent whose answers are not there.
    outstanding: u16,
    stage: Stage,
    closes: bool,
    status: u16,
    /// When the outstanding requests were sent; with a connection for each, when its opening began.
    sent_us: u64,
    /// The content's length, and how much of it has come.
    length: u64,
    came: u64,
    same: bool,
}

/// The first answer: what all others are held against.
#[derive(Debug)]
struct Reference {
    length: u64,
    /// With `--verify`.
    content: Vec<u8>,
}

/// The application.
pub(crate) struct Client {
    plan: Plan,
    text: Text,
    text_bytes: usize,
    timeout: Duration,
    heads: Heads,
    reference: Option<Reference>,
    /// The content of the first answer while it comes.
    draft: Vec<u8>,
    now_us: u64,
    course: Course,
    /// Slots whose connections have not sent anything yet.
    fresh: VecDeque<u32>,
    /// Slots whose connections rest, the longest first. `listed` tells which are in one of the two, for a connection
    /// may end and be opened again meanwhile.
    resting: VecDeque<u32>,
    listed: Vec<bool>,
    unopened: VecDeque<u32>,
    opening_paused_until_us: u64,
    opening: u32,
    open: u32,
    /// Attempts to connect that have come to an end, good or bad.
    attempts_over: u64,
    in_flight: u32,
    answers: u64,
    /// What was counted.
    pub(crate) tally: Tally,
}
impl Client {
    /// A client that sends `request`; `plan.pipeline` of them are sent at once.
    pub(crate) fn new(plan: Plan, request: &[u8]) -> Client {
        Client {
            text: Text(request.repeat(usize::from(plan.pipeline)).into()),
            text_bytes: request.len(),
            timeout: Duration::from(plan.timeout),
            heads: Heads::default(),
            reference: None,
            draft: Vec::new(),
            now_us: 0,
            course: Course::new(plan.extent),
            fresh: VecDeque::with_capacity(OPENING_MAX as usize),
            resting: VecDeque::with_capacity(plan.connections as usize),
            listed: vec![false; plan.connections as usize],
            unopened: (0..plan.connections).collect(),
            opening_paused_until_us: 0,
            opening: 0,
            open: 0,
            attempts_over: 0,
            in_flight: 0,
            answers: 0,
            tally: Tally::new(),
            plan,
        }
    }

    /// The time is `now_us`. Call before anything else, each time round.
    #[inline]
    pub(crate) fn turn(&mut self, now_us: u64) {
        self.now_us = now_us;
        let all = self.plan.connection_per_request || self.attempts_over >= u64::from(self.plan.connections);
        let ready = self.reference.is_some() && all;
        self.course.step(now_us, Progress { ready, in_flight: self.in_flight });
    }

    /// Ends the run now.
    pub(crate) fn end(&mut self) {
        self.course.end(self.now_us);
    }

    /// The course of the run.
    pub(crate) fn course(&self) -> &Course {
        &self.course
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
    pub(crate) fn next_to_open(&mut self) -> Option<Conn> {
        if !self.course.opens() || self.now_us < self.opening_paused_until_us {
            return None;
        }
        let of_one_request = self.plan.connection_per_request;
        // The first connection goes alone too: if it is refused, so are all.
        let most = if self.reference.is_some() { OPENING_MAX } else { 1 - self.open.min(1) };
        if of_one_request && !self.may_send() || !of_one_request && self.opening >= most {
            return None;
        }
        let slot = self.unopened.pop_front()?;
        let outstanding = u16::from(of_one_request && self.course.take(1) == 1);
        self.in_flight += u32::from(outstanding);
        self.opening += 1;
        Some(Conn { slot, outstanding, sent_us: self.now_us, ..Conn::default() })
    }

    /// The transport cannot open this connection just now.
    pub(crate) fn postpone(&mut self, slot: u32) {
        self.opening -= 1;
        if self.plan.connection_per_request {
            self.in_flight -= 1;
            self.course.give_back(1);
        }
        self.unopened.push_front(slot);
    }

    /// The slot to send on next, if anything is to be sent.
    #[inline]
    pub(crate) fn next_to_send(&mut self) -> Option<u32> {
        if !self.may_send() {
            return None;
        }
        let slot = match self.fresh.pop_front() {
            Some(slot) => slot,
            None if self.course.is_opening() => return None,
            None => self.resting.pop_front()?,
        };
        self.listed[slot as usize] = false;
        Some(slot)
    }

    /// Sends on an open connection, unless that is not at rest. Returns whether to go on with the next.
    #[inline]
    pub(crate) fn send(&mut self, conn: &mut Conn, reply: &mut Reply<'_, Text>) -> bool {
        if conn.outstanding > 0 || conn.stage != Stage::Open {
            return true;
        }
        if !reply.has_room() {
            self.rest(conn);
            return false;
        }
        // The first request goes alone: its answer is what the others are held against.
        let batch = if self.reference.is_some() { self.plan.pipeline } else { 1 };
        let granted = self.course.take(u64::from(batch)) as u16;
        if granted > 0 {
            (conn.outstanding, conn.sent_us) = (granted, self.now_us);
            self.in_flight += 1;
            self.write(granted, reply);
        }
        true
    }

    #[inline]
    fn write(&self, requests: u16, reply: &mut Reply<'_, Text>) {
        reply.share(self.text.clone(), 0..self.text_bytes * usize::from(requests));
        reply.set_timeout(Some(self.timeout));
    }

    #[inline]
    fn may_send(&self) -> bool {
        let limit = if self.reference.is_some() { self.plan.in_flight } else { 1 };
        self.in_flight < limit && self.course.sends()
    }

    #[inline]
    fn rest(&mut self, conn: &Conn) {
        let listed = &mut self.listed[conn.slot as usize];
        if !*listed {
            *listed = true;
            self.resting.push_back(conn.slot);
        }
    }
}

impl Conn {
    /// The connection's number.
    pub(crate) fn slot(&self) -> u32 {
        self.slot
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;

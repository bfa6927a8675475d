//! What a connection is doing, and how long it may go on doing so.

use super::Http;
use super::body::Discard;
use super::head::Search;
use super::options::Timeouts;
use super::response::{Persistence, Status};
use crate::app::Blob;
use simoom_io::Reply;

/// What the handler keeps for one connection.
#[derive(Debug, Default)]
pub struct Conn {
    pub(in crate::app) phase: Phase,
    pub(super) deadline: Deadline,
}

/// What the deadline of a connection is for, and what the client had to take when it was set.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::app) struct Deadline {
    pub(in crate::app) waiting: Waiting,
    /// What was queued when the deadline was set, in units of [`QUEUED_UNIT_BYTES`], rounded up.
    queued: u32,
}

/// What has become of a connection when an idle period has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::app) enum Idle {
    /// Nothing is queued: close it.
    Over,
    /// The client has taken nothing of what is queued: reset it.
    Stalled,
    /// The client still takes what is queued.
    Sending,
}

impl Deadline {
    /// Sets the deadline for what the connection waits for now, unless it waits for that already.
    #[inline]
    pub(in crate::app) fn wait(
        &mut self,
        waiting: Waiting,
        timeouts: &Timeouts,
        reply: &mut Reply<'_, Blob>,
    ) {
        if self.waiting != waiting {
            self.waiting = waiting;
            self.queued = queued_units(reply);
            reply.set_timeout(Some(match waiting {
                Waiting::Head => timeouts.head,
                Waiting::Body => timeouts.body,
                Waiting::Idle | Waiting::Unset => timeouts.idle,
            }));
        }
    }

    /// An idle period has passed.
    pub(in crate::app) fn idle(&self, reply: &Reply<'_, Blob>) -> Idle {
        match queued_units(reply) {
            0 => Idle::Over,
            queued if queued >= self.queued => Idle::Stalled,
            _ => Idle::Sending,
        }
    }
}

const _: () = assert!(size_of::<Conn>() <= 32);
/// So that a full queue of blobs of 4 GiB can be noted in 32 bits. Slower progress than this in a
/// whole idle period counts as none.
const QUEUED_UNIT_BYTES: u64 = 64;

#[derive(Clone, Copy, Debug)]
pub(in crate::app) enum Phase {
    Head(Search),
    Body(Discard, Answer),
    Closing,
}

impl Default for Phase {
    fn default() -> Self {
        Phase::Head(Search::default())
    }
}

/// What the deadline of a connection is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::app) enum Waiting {
    /// No deadline was set since the last answer.
    #[default]
    Unset,
    /// The next request, or for the client to take the answers.
    Idle,
    /// The rest of a head.
    Head,
    /// The rest of a request's content.
    Body,
}

/// An answer that is decided on; small enough to wait in the connection.
#[derive(Clone, Copy, Debug)]
pub(in crate::app) struct Answer {
    pub(super) subject: Subject,
    /// Not for HEAD.
    pub(super) with_content: bool,
    pub(super) persistence: Persistence,
}

#[derive(Clone, Copy, Debug)]
pub(in crate::app) enum Subject {
    File(u32),
    NotModified(u32),
    Redirect(u32),
    Page(Status),
}

impl Conn {
    /// Whether no request is under way: nothing of the next one's head has come, and no content is
    /// left to read past.
    pub(crate) fn is_between_requests(&self) -> bool {
        matches!(self.phase, Phase::Head(_))
    }
}

impl Http {
    /// Sets the deadline for what the connection waits for now, unless it waits for that already.
    #[inline]
    pub(super) fn wait(&self, conn: &mut Conn, waiting: Waiting, reply: &mut Reply<'_, Blob>) {
        conn.deadline.wait(waiting, &self.options.timeouts, reply);
    }

    /// An idle period has passed: the connection ends unless the client still takes what is queued.
    pub(super) fn idle(&mut self, conn: &mut Conn, reply: &mut Reply<'_, Blob>) {
        match conn.deadline.idle(reply) {
            Idle::Over => {
                let is_open = !matches!(conn.phase, Phase::Closing);
                self.counters.http_idle_timeouts += u64::from(is_open);
                conn.phase = Phase::Closing;
                reply.close();
            }
            Idle::Stalled => {
                self.counters.http_stalled += 1;
                conn.phase = Phase::Closing;
                reply.abort();
            }
            Idle::Sending => {
                conn.deadline.waiting = Waiting::Unset;
                self.wait(conn, Waiting::Idle, reply);
            }
        }
    }
}

fn queued_units(reply: &Reply<'_, Blob>) -> u32 {
    u32::try_from(reply.queued().div_ceil(QUEUED_UNIT_BYTES)).unwrap_or(u32::MAX)
}

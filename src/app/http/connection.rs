//! The state of a connection and its deadline.

use super::Http;
use super::body::Discard;
use super::head::Search;
use super::options::Timeouts;
use super::response::{Persistence, Status};
use crate::app::Blob;
use simoom_io::Reply;

/// The state of one connection.
#[derive(Debug, Default)]
pub struct Connection {
    pub(in crate::app) phase: Phase,
    pub(super) deadline: Deadline,
}

/// The deadline of a connection: its purpose, and the length of the send queue when it was set.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::app) struct Deadline {
    pub(in crate::app) waiting: Waiting,
    /// The send queue when the deadline was set, in units of [`QUEUED_UNIT_BYTES`], rounded up.
    queued: u32,
}

/// The state of the send queue after an idle period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::app) enum Idle {
    /// Nothing is queued: close it.
    Over,
    /// The client has read nothing during the period: reset it.
    Stalled,
    /// The client still reads.
    Sending,
}

impl Deadline {
    /// Sets the deadline for `waiting`, unless the connection waits for the same already.
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

    /// Compares the send queue with its length at the start of the idle period.
    pub(in crate::app) fn idle(&self, reply: &Reply<'_, Blob>) -> Idle {
        match queued_units(reply) {
            0 => Idle::Over,
            queued if queued >= self.queued => Idle::Stalled,
            _ => Idle::Sending,
        }
    }
}

const _: () = assert!(size_of::<Connection>() <= 32);
/// With this unit, 32 bits hold the length of a full queue with blobs of 4 GiB. Less progress than
/// one unit in an idle period counts as none.
const QUEUED_UNIT_BYTES: u64 = 64;

#[derive(Clone, Copy, Debug)]
pub(in crate::app) enum Phase {
    Head(Search),
    Body(Discard, Answer),
    /// Sending the parts of a multipart response. The head of the request remains in the input.
    Parts(Parts),
    Closing,
}

impl Default for Phase {
    fn default() -> Self {
        Phase::Head(Search::default())
    }
}

/// The purpose of a connection's deadline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::app) enum Waiting {
    /// No deadline was set since the last answer.
    #[default]
    Unset,
    /// The next request, or the client to read the answers.
    Idle,
    /// The rest of a head.
    Head,
    /// The rest of a request's content.
    Body,
}

/// A selected answer, small enough to store in the connection.
#[derive(Clone, Copy, Debug)]
pub(in crate::app) struct Answer {
    pub(super) body: Body,
    /// False for HEAD.
    pub(super) with_content: bool,
    pub(super) persistence: Persistence,
    /// The low bits of the version of the content that the indices are of.
    pub(super) version: u16,
}

/// The position within a multipart response.
#[derive(Clone, Copy, Debug)]
pub(in crate::app) struct Parts {
    /// Identifies the version of the file ([`super::partial::boundary`]).
    pub(super) boundary: u64,
    /// The number of queued parts.
    pub(super) queued: u16,
}

#[derive(Clone, Copy, Debug)]
pub(in crate::app) enum Body {
    File(u32),
    NotModified(u32),
    Redirect(u32),
    /// A redirect to the location that the rules of a site wrote, with its length.
    Moved(u32, u16),
    /// The site's own page for an error, or its answer to OPTIONS.
    Page(u32),
    /// 416 for a file.
    Unsatisfiable(u32),
    Status(Status),
}

impl Connection {
    /// Whether no request is in progress: no byte of the next head has arrived, and no content is
    /// left to discard.
    pub(crate) fn is_between_requests(&self) -> bool {
        matches!(self.phase, Phase::Head(_))
    }
}

impl Http {
    /// Sets the deadline for the current phase, unless the connection waits for the same already.
    #[inline]
    pub(super) fn wait(
        &self,
        conn: &mut Connection,
        waiting: Waiting,
        reply: &mut Reply<'_, Blob>,
    ) {
        conn.deadline.wait(waiting, &self.options.timeouts, reply);
    }

    /// Ends the connection after an idle period, unless the client still reads.
    pub(super) fn idle(&mut self, conn: &mut Connection, reply: &mut Reply<'_, Blob>) {
        match conn.deadline.idle(reply) {
            Idle::Over if !matches!(conn.phase, Phase::Parts(_)) => {
                let is_open = !matches!(conn.phase, Phase::Closing);
                self.counters.http_idle_timeouts += u64::from(is_open);
                conn.phase = Phase::Closing;
                reply.close();
            }
            // Or the missing parts of a response have waited too long for capacity.
            Idle::Stalled | Idle::Over => {
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

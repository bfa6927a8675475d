//! The state of a connection and its deadline.

use super::Http;
use super::body::Discard;
use super::head::Search;
use super::heads::Slot;
use super::options::Timeouts;
use super::places::PlaceIndex;
use super::response::{Persistence, Status};
use crate::app::Blob;
use simoom_io::{Duration, Reply};

/// The state of one connection.
#[derive(Debug, Default)]
pub struct Connection {
    pub(in crate::app) phase: Phase,
    pub(super) deadline: Deadline,
    /// The place of its address for the access log, and of an answer that reads a file.
    pub(super) place: PlaceIndex,
    /// The number of answered requests.
    pub(super) requests: u32,
}

/// The deadline of a connection: its purpose, and whether a long answer was queued when it was set.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::app) struct Deadline {
    pub(in crate::app) waiting: Waiting,
    is_sending: bool,
}

/// The state of the send queue after an idle period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::app) enum Idle {
    /// Nothing is queued: close it.
    Over,
    /// The client has not taken all answers, or took the end of a long one within the period. If it
    /// takes nothing, the send timeout of the transport resets the connection.
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
            self.is_sending = reply.queued() >= LONG_BYTES;
            reply.set_timeout(Some(match waiting {
                Waiting::Head => timeouts.head,
                Waiting::Body => timeouts.body,
                Waiting::Password => PASSWORD_CHECK_PERIOD,
                Waiting::Idle | Waiting::Unset => timeouts.idle,
            }));
        }
    }

    /// Whether the connection was idle for a whole period.
    pub(in crate::app) fn idle(&self, reply: &Reply<'_, Blob>) -> Idle {
        if reply.queued() == 0 && !self.is_sending { Idle::Over } else { Idle::Sending }
    }
}

/// A client takes a shorter queue within a few round trips, so that the idle period may begin when
/// the answer is queued.
const LONG_BYTES: u64 = 16 << 10;

const _: () = assert!(size_of::<Connection>() <= 40);
/// Interval at which a request looks whether its password is verified.
const PASSWORD_CHECK_PERIOD: Duration = Duration::from_millis(20);

#[derive(Clone, Copy, Debug)]
pub(in crate::app) enum Phase {
    /// Before the header of the PROXY protocol.
    Proxy,
    Head(Search),
    /// Discarding the content of a request. The request is answered when it has arrived.
    Body(Discard, Slot),
    /// Sending the parts of a multipart response. The head of the request remains in the input.
    Parts(Parts),
    /// Sending a file that is read from disk.
    Reading,
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
    /// The verification of a password. The head of the request remains in the input.
    Password,
}

/// A selected answer.
#[derive(Clone, Copy, Debug)]
pub(in crate::app) struct Answer {
    pub(super) body: Body,
    /// False for HEAD.
    pub(super) with_content: bool,
    pub(super) persistence: Persistence,
}

/// The position within a multipart response.
#[derive(Clone, Copy, Debug)]
pub(in crate::app) struct Parts {
    /// Identifies the version of the file.
    pub(super) version: u32,
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
    /// None yet: the password is being verified.
    Pending,
    /// 416 for a file.
    Unsatisfiable(u32),
    Status(Status),
}

impl Connection {
    /// Whether no request is in progress: no byte of the next head has arrived, and no content is
    /// left to discard.
    pub(crate) fn is_between_requests(&self) -> bool {
        matches!(self.phase, Phase::Head(_) | Phase::Proxy)
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

    /// Ends the connection after an idle period, unless an answer is not complete.
    pub(super) fn idle(&mut self, conn: &mut Connection, reply: &mut Reply<'_, Blob>) {
        match (conn.deadline.idle(reply), conn.phase) {
            (Idle::Sending, _) | (_, Phase::Parts(_) | Phase::Reading) => {
                conn.deadline.waiting = Waiting::Unset;
                self.wait(conn, Waiting::Idle, reply);
                self.keep_reading(conn, reply);
            }
            (Idle::Over, phase) => {
                let is_open = !matches!(phase, Phase::Closing);
                self.counters.http_idle_timeouts += u64::from(is_open);
                self.drop_head(conn);
                conn.phase = Phase::Closing;
                reply.close();
            }
        }
    }
}

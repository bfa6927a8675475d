//! The operations of one connection: derives from the state of its session which to start, and
//! cancels the others. At most one of each kind is in progress.

use super::Shared;
use super::held::List;
use crate::kernel::session::{Phase, Session};
use crate::kernel::socket::{Part, Socket};
use crate::kernel::table::Key;
use rustix::event::PollFlags;
use simoom_io::Application;

/// State of a socket in the io_uring driver.
#[derive(Debug, Default)]
pub(in crate::kernel) struct Operations {
    receive: Receive,
    poll: Poll,
    hangup: Hangup,
    /// Bytes of the send in progress.
    sending: Option<u32>,
    /// Visits read the input until the connection is idle.
    reads_in_visits: bool,
    /// Received buffers that are not read yet.
    pub(super) held: List,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Receive {
    /// Nothing has been received yet.
    #[default]
    New,
    Off,
    /// A single receive.
    Once,
    /// A multishot receive.
    On,
    Stopping,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Poll {
    #[default]
    Off,
    /// Completes once when the socket is writable.
    Writable,
    /// Completes at each event.
    All,
    Stopping,
}

/// State of the hang-up poll, beside a multishot receive.
///
/// A multishot receive is not enough. Suppose that more than 64 KiB and a reset are in the socket
/// when it starts. The kernel (6.18) reads 64 KiB, polls, and reads the rest when the poll reports
/// both that and the reset. Then it waits for a wake-up that has passed. A FIN is not lost: the
/// kernel notes that it is still to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Hangup {
    #[default]
    Unwatched,
    Watched,
    /// It has completed. It is not started again.
    Told,
}

/// Operations to start for a connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Start {
    pub(super) send: bool,
    pub(super) receive: Option<Receiving>,
    /// Events to poll for, and whether to complete each time or once.
    pub(super) poll: Option<(PollFlags, bool)>,
    /// Start the hang-up poll.
    pub(super) hangup: bool,
}

/// How to receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receiving {
    Once,
    UntilStopped,
}

impl Start {
    pub(super) fn is_nothing(self) -> bool {
        !self.send && self.receive.is_none() && self.poll.is_none() && !self.hangup
    }
}

impl Part for Operations {
    type Shared = Shared;

    fn early(&mut self, shared: &mut Shared, buf: &mut [u8], peeked: bool) -> usize {
        if peeked {
            shared.held.peek(&self.held, &shared.ring, buf)
        } else {
            shared.held.take(&mut self.held, &mut shared.ring, buf)
        }
    }

    fn is_sending(&self) -> bool {
        self.sending.is_some()
    }
}

impl Operations {
    /// Whether a receive is in progress.
    pub(super) fn receives(&self) -> bool {
        matches!(self.receive, Receive::Once | Receive::On)
    }

    pub(super) fn is_careful(&self) -> bool {
        self.reads_in_visits
    }

    pub(super) fn receive_ended(&mut self) {
        self.receive = Receive::Off;
    }

    pub(super) fn poll_ended(&mut self) {
        self.poll = Poll::Off;
    }

    pub(super) fn hangup_told(&mut self) {
        self.hangup = Hangup::Told;
    }

    /// The length of the send in progress.
    pub(super) fn sent_bytes(&self) -> u32 {
        self.sending.unwrap_or(0)
    }

    /// Ends the send in progress. Returns its length.
    pub(super) fn send_ended(&mut self) -> u64 {
        u64::from(self.sending.take().unwrap_or(0))
    }

    /// Cancels the operations of an ended connection and returns its buffers.
    pub(super) fn abandon(mut self, key: Key, shared: &mut Shared) {
        shared.held.clear(&mut self.held, &mut shared.ring);
        self.stop_receive(key, shared);
        if matches!(self.poll, Poll::Writable | Poll::All) {
            shared.ring.stop_poll(key);
        }
        if self.hangup == Hangup::Watched {
            shared.ring.stop_hangup(key);
        }
    }

    /// Starts the hang-up poll with the first multishot receive, for the lifetime of the
    /// connection.
    fn watch_hangup(&mut self) -> bool {
        let start = self.hangup == Hangup::Unwatched && self.receive == Receive::On;
        if start {
            self.hangup = Hangup::Watched;
        }
        start
    }

    /// A connection that `closes` is expected to receive little but the FIN.
    fn start_receive(&mut self, closes: bool) -> Option<Receiving> {
        let (receive, receiving) = match self.receive {
            Receive::New => (Receive::Once, Receiving::Once),
            Receive::Off if closes => (Receive::Once, Receiving::Once),
            Receive::Off => (Receive::On, Receiving::UntilStopped),
            Receive::Once | Receive::On | Receive::Stopping => return None,
        };
        self.receive = receive;
        Some(receiving)
    }

    fn stop_receive(&mut self, key: Key, shared: &mut Shared) {
        if self.receives() {
            self.receive = Receive::Stopping;
            shared.ring.stop_receive(key);
        }
    }

    /// Changes the poll to `wanted`. A change that is not possible yet is made after the current
    /// poll has completed.
    fn watch(&mut self, wanted: Poll, key: Key, shared: &mut Shared) -> Option<(PollFlags, bool)> {
        match (self.poll, wanted) {
            (Poll::Off, Poll::Writable) => {
                self.poll = Poll::Writable;
                Some((PollFlags::OUT, false))
            }
            (Poll::Off, Poll::All) => {
                self.poll = Poll::All;
                Some((PollFlags::IN | PollFlags::OUT | PollFlags::RDHUP, true))
            }
            (Poll::All, Poll::Off) => {
                self.poll = Poll::Stopping;
                shared.ring.stop_poll(key);
                None
            }
            _ => None,
        }
    }
}

/// Starts and cancels operations to match the state of the connection. A send is of at most
/// `write_max` bytes.
pub(super) fn change<A: Application>(
    key: Key,
    session: &mut Session<A, Socket<Operations>>,
    shared: &mut Shared,
    write_max: usize,
) -> Start {
    let send = sends(session);
    look_for_trouble(session, send);
    let closes = session.phase() != Phase::Open;
    let io = &mut session.io;
    let part = &mut io.part;
    let wants_input = !part.reads_in_visits && !io.eof;
    let mut receive = None;
    if !wants_input {
        part.stop_receive(key, shared);
    } else if shared.ring.free_buffers() > 0 {
        // Without a free buffer the receive would end at once.
        receive = part.start_receive(closes);
    }
    let is_full = !io.writable && !send && part.sending.is_none();
    let watch = if is_full && part.receives() {
        Poll::Writable
    } else if part.receives() {
        Poll::Off
    } else {
        Poll::All
    };
    let poll = part.watch(watch, key, shared);
    if send {
        part.sending = Some(session.connection.queue.len().min(write_max as u64) as u32);
        io.writable = false;
    }
    let hangup = part.watch_hangup();
    Start { send, receive, poll, hangup }
}

fn sends<A: Application>(session: &Session<A, Socket<Operations>>) -> bool {
    session.io.writable && !session.connection.queue.is_empty() && session.phase() != Phase::Aborted
}

/// Switches to reads by visits if input cannot be delivered on arrival, and back when none of it is
/// left.
fn look_for_trouble<A: Application>(session: &mut Session<A, Socket<Operations>>, sends: bool) {
    let io = &session.io;
    // Sends in progress may free send space.
    let is_refused =
        session.connection.flow.wants_capacity() && !sends && io.part.sending.is_none();
    let trouble = is_refused
        || session.connection.flow.reads_later()
        || session.connection.flow.has_yielded()
        || io.readable
        || io.held_back
        || !io.part.held.is_empty();
    let idle = session.holds_nothing() || session.phase() == Phase::Lingering;
    session.io.part.reads_in_visits = trouble || (session.io.part.reads_in_visits && !idle);
}

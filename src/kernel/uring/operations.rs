//! The operations of one connection that are under way, and what they should be: in comes the state
//! of its session, out goes what to start, while what to stop is stopped. At most one of each kind
//! is under way.

use super::Shared;
use super::held::List;
use crate::kernel::session::{Phase, Session};
use crate::kernel::socket::{Part, Socket};
use crate::kernel::table::Key;
use rustix::event::PollFlags;
use simoom_io::Application;

/// What io_uring's driver knows of a socket.
#[derive(Debug, Default)]
pub(in crate::kernel) struct Operations {
    receive: Receive,
    poll: Poll,
    hangup: Hangup,
    /// Bytes that a send was given whose completion has not come.
    sending: Option<u32>,
    /// There was trouble: input is read by visits until the connection is idle.
    careful: bool,
    /// What was received and is not yet read.
    pub(super) held: List,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Receive {
    /// Nothing was received yet.
    #[default]
    New,
    Off,
    /// Of a single receive,
    Once,
    /// or of one that goes on.
    On,
    Stopping,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Poll {
    #[default]
    Off,
    /// Tells once when the socket takes bytes again.
    Writable,
    /// Tells everything, each time.
    All,
    Stopping,
}

/// Whether a poll waits for the peer to reset or close, beside a receive that goes on.
///
/// A receive that goes on is not enough. If it begins with more than 64 KiB and a reset behind them
/// in the socket, the kernel (6.18 does) reads 64 KiB, polls, reads what is left when the poll
/// tells of that and of the reset together, and waits for a wake-up that has been. A FIN is not
/// lost: the kernel takes note that it is still to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Hangup {
    #[default]
    Unwatched,
    Watched,
    /// It has told: it tells once.
    Told,
}

/// What is to be started for a connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Start {
    pub(super) send: bool,
    pub(super) receive: Option<Receiving>,
    /// Tell when one of these is there; each time, or once.
    pub(super) poll: Option<(PollFlags, bool)>,
    /// Tell when the peer resets or closes.
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
    /// Whether input comes by itself.
    pub(super) fn receives(&self) -> bool {
        matches!(self.receive, Receive::Once | Receive::On)
    }

    pub(super) fn is_careful(&self) -> bool {
        self.careful
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

    /// How many bytes the send was given that has completed.
    pub(super) fn send_ended(&mut self) -> u64 {
        u64::from(self.sending.take().unwrap_or(0))
    }

    /// The connection is over: what is under way stops, what it holds goes back.
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

    /// Watches for a reset from the first receive that goes on, for as long as the connection
    /// lives.
    fn watch_hangup(&mut self) -> bool {
        let start = self.hangup == Hangup::Unwatched && self.receive == Receive::On;
        if start {
            self.hangup = Hangup::Watched;
        }
        start
    }

    /// A connection that `closes` is expected to send little but the FIN.
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

    /// Goes from what is watched to what should be; what cannot be changed yet is looked at again
    /// when it has ended.
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

/// Brings the operations of a connection to what its state asks for.
pub(super) fn change<A: Application>(
    key: Key,
    session: &mut Session<A, Socket<Operations>>,
    shared: &mut Shared,
) -> Start {
    let send = sends(session);
    look_for_trouble(session, send);
    let closes = session.phase() != Phase::Open;
    let io = &mut session.io;
    let part = &mut io.part;
    let wants_input = !part.careful && !io.eof;
    let mut receive = None;
    if !wants_input {
        part.stop_receive(key, shared);
    } else if shared.ring.free_buffers() > 0 {
        // Without a free buffer it would only end again.
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
        part.sending = Some(session.connection.queue.len() as u32);
        io.writable = false;
    }
    let hangup = part.watch_hangup();
    Start { send, receive, poll, hangup }
}

fn sends<A: Application>(session: &Session<A, Socket<Operations>>) -> bool {
    session.io.writable && !session.connection.queue.is_empty() && session.phase() != Phase::Aborted
}

/// A connection whose input cannot be offered as it comes is received from again when nothing of it
/// is left.
fn look_for_trouble<A: Application>(session: &mut Session<A, Socket<Operations>>, sends: bool) {
    let io = &session.io;
    // Room may come of what is being sent.
    let is_refused =
        session.connection.flow.wants_capacity() && !sends && io.part.sending.is_none();
    let trouble = is_refused
        || session.connection.flow.reads_later()
        || session.connection.flow.has_yielded()
        || io.readable
        || io.held_back
        || !io.part.held.is_empty();
    let idle = session.holds_nothing() || session.phase() == Phase::Lingering;
    session.io.part.careful = trouble || (session.io.part.careful && !idle);
}

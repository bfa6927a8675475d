//! A handler that checks the contract of [`Application`] from within, for the tests of every
//! transport.
//!
//! The peer sends [`Checker::total`] bytes of [`stream_byte`]. The seed decides how the handler
//! consumes them: all, a part or nothing. In between it fills the send queue, postpones and resumes
//! reading, and sets deadlines. At the end it answers [`ANSWER`] and closes. It checks each call
//! against its earlier requests, and panics if the transport is wrong. On a connection that this
//! side opened, the handler is the peer: it sends the stream and reads everything.

mod random;

pub use random::Random;

use crate::application::{Application, Closed, Opened};
use crate::input::OVERFULL_BYTES;
use crate::reply::Reply;
use smoltcp::time::Duration;

/// What the handler sends while it consumes the stream, any number of times.
pub const FILL: &[u8] = &[b'.'; 1000];
/// What the handler sends when it has consumed the stream.
pub const ANSWER: &[u8] = b"!";
/// A tame handler leaves no more input than this, unless it has paused its input.
const LEFT_MAX_BYTES: usize = 4096;

/// The byte at an offset of the stream. It has no short period, so that a shifted stream is
/// detected.
pub fn stream_byte(offset: u64) -> u8 {
    (offset ^ offset >> 8 ^ offset >> 16) as u8
}

/// How a [`Checker`] behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Temper {
    /// It consumes everything at once.
    Eager,
    /// Every pause of its input ends, and it reads to the end.
    Tame,
    /// It may also leave any amount of input, close, reset, queue too much or panic.
    Wild,
}

/// A handler that checks its transport; see the module.
#[derive(Debug)]
pub struct Checker {
    /// Bytes that each peer sends.
    pub total: u64,
    /// How it behaves from now on.
    pub temper: Temper,
    /// How connections ended, and how much of the stream was consumed.
    pub closed: Vec<(Closed, u64)>,
    random: Random,
}

/// The handler's state for one connection: its requests.
#[derive(Clone, Copy, Debug, Default)]
pub struct Checked {
    /// Bytes of the stream that are consumed.
    pub consumed: u64,
    /// Bytes delivered and not consumed.
    pub seen: usize,
    /// Capacity was refused.
    pub waits: bool,
    /// The last call asked for input nevertheless.
    pub reads_on: bool,
    /// It reads no input before the deadline.
    pub reads_later: bool,
    /// It has set a deadline.
    pub has_deadline: bool,
    /// It has closed, or reset: nothing but `closed` may follow.
    pub is_over: bool,
    is_open: bool,
    /// How much of the stream it has sent, if it is the peer.
    sends: Option<u64>,
}

impl Checked {
    /// Whether no input may be delivered.
    pub fn is_paused(&self) -> bool {
        self.reads_later || self.waits && !self.reads_on
    }

    /// A call begins.
    fn enter(&mut self) {
        assert!(self.is_open, "called before `opened` or after `closed`");
        assert!(!self.is_over, "called after a close");
        self.reads_on = false;
    }
}

impl Checker {
    /// A handler whose behaviour `seed` determines.
    pub fn new(total: u64, temper: Temper, seed: u64) -> Checker {
        Checker { total, temper, closed: Vec::new(), random: Random::new(seed) }
    }

    fn check_bytes(&self, conn: &Checked, bytes: &[u8]) {
        let is_stream =
            (conn.consumed..).zip(bytes).all(|(offset, &byte)| byte == stream_byte(offset));
        assert!(is_stream, "other bytes than those at {} were delivered", conn.consumed);
    }

    /// Makes a random request.
    fn act(&mut self, conn: &mut Checked, reply: &mut Reply<'_, &'static [u8]>) {
        if self.temper == Temper::Eager {
            return;
        }
        match self.random.below(16) {
            0 => {
                while reply.has_capacity() {
                    reply.copy(FILL);
                }
                conn.waits = true;
            }
            1 => conn.waits |= reply.write(FILL) < FILL.len(),
            2 if reply.has_capacity() => reply.share(FILL, 1..FILL.len()),
            2 => conn.waits = true,
            3 => {
                reply.set_timeout(Some(Duration::from_millis(self.random.below(3))));
                conn.has_deadline = true;
            }
            4 => {
                reply.set_timeout(Some(Duration::from_millis(self.random.below(3))));
                reply.read_later();
                (conn.has_deadline, conn.reads_later) = (true, true);
            }
            5 | 6 => {
                reply.read_on();
                conn.reads_on = true;
            }
            7 if !conn.reads_later => {
                reply.set_timeout(None);
                conn.has_deadline = false;
            }
            8 if self.temper == Temper::Wild => self.go_wild(conn, reply),
            _ => {}
        }
    }

    fn go_wild(&mut self, conn: &mut Checked, reply: &mut Reply<'_, &'static [u8]>) {
        match self.random.below(8) {
            0 => reply.close(),
            1 => reply.abort(),
            2 => (0..200).for_each(|_| reply.share(FILL, 0..FILL.len())),
            // Without the output of the panic hook.
            3 => std::panic::resume_unwind(Box::new("a wild handler")),
            _ => return,
        }
        conn.is_over = true;
    }

    /// Sends as much of the stream as there is capacity for, and keeps reading.
    fn send(&self, conn: &mut Checked, sent: u64, reply: &mut Reply<'_, &'static [u8]>) {
        let end = self.total.min(sent + 60_000);
        let bytes: Vec<u8> = (sent..end).map(stream_byte).collect();
        let taken = reply.write(&bytes);
        conn.waits |= taken < bytes.len();
        conn.sends = Some(sent + taken as u64);
        if end < self.total && taken == bytes.len() {
            self.send(conn, end, reply);
        }
        self.read_on(conn, reply);
    }

    fn read_on(&self, conn: &mut Checked, reply: &mut Reply<'_, &'static [u8]>) {
        reply.read_on();
        conn.reads_on = true;
    }

    /// How many of `len` bytes to consume.
    fn choose(&mut self, conn: &Checked, len: usize) -> usize {
        let part = self.random.below(len as u64 + 1) as usize;
        let n = match self.random.below(4) {
            _ if self.temper == Temper::Eager => len,
            0 => 0,
            1 => part,
            _ => len,
        };
        let more_follows = conn.consumed + (len as u64) < self.total;
        let may_leave = conn.is_paused() || more_follows && len - n < LEFT_MAX_BYTES;
        if self.temper == Temper::Tame && !may_leave { len } else { n }
    }
}

impl Application for Checker {
    type Blob = &'static [u8];
    type Conn = Checked;

    fn opened(&mut self, conn: &mut Checked, opened: Opened, reply: &mut Reply<'_, &'static [u8]>) {
        assert!(!conn.is_open, "opened twice");
        conn.is_open = true;
        if opened.active {
            return self.send(conn, 0, reply);
        }
        self.act(conn, reply);
    }

    fn received(
        &mut self,
        conn: &mut Checked,
        bytes: &[u8],
        reply: &mut Reply<'_, &'static [u8]>,
    ) -> usize {
        assert!(!conn.is_paused(), "input was delivered in a pause");
        conn.enter();
        let (len, seen) = (bytes.len(), conn.seen);
        assert!(len >= seen.max(1), "{len} bytes were delivered of {seen} seen before");
        if conn.sends.is_some() {
            self.read_on(conn, reply);
            conn.consumed += len as u64;
            return len;
        }
        self.check_bytes(conn, bytes);
        self.act(conn, reply);
        let n = self.choose(conn, len);
        conn.consumed += n as u64;
        conn.seen = len - n;
        if conn.consumed == self.total && !conn.is_over && reply.has_capacity() {
            reply.copy(ANSWER);
            reply.close();
            conn.is_over = true;
        } else if conn.consumed == self.total && !conn.is_over {
            // The answer waits.
            conn.waits = true;
        }
        n
    }

    fn overfull(&mut self, conn: &mut Checked, bytes: &[u8], _: &mut Reply<'_, &'static [u8]>) {
        assert!(!conn.is_paused(), "input is overfull in a pause");
        conn.enter();
        assert!(self.temper == Temper::Wild, "{} bytes are overfull", bytes.len());
        assert!(bytes.len() >= OVERFULL_BYTES, "{} bytes are overfull", bytes.len());
        assert_eq!(bytes.len(), conn.seen, "some of it was consumed");
        self.check_bytes(conn, bytes);
        conn.is_over = true;
    }

    fn resumed(&mut self, conn: &mut Checked, reply: &mut Reply<'_, &'static [u8]>) {
        conn.enter();
        assert!(conn.waits, "resumed without having been refused");
        assert!(reply.has_capacity(), "resumed without capacity");
        conn.waits = false;
        if let Some(sent) = conn.sends {
            return self.send(conn, sent, reply);
        }
        if conn.consumed == self.total {
            reply.copy(ANSWER);
            reply.close();
            conn.is_over = true;
            return;
        }
        self.act(conn, reply);
    }

    fn timeout(&mut self, conn: &mut Checked, reply: &mut Reply<'_, &'static [u8]>) {
        conn.enter();
        assert!(conn.has_deadline, "a deadline passed that was not set");
        (conn.has_deadline, conn.reads_later) = (false, false);
        self.act(conn, reply);
    }

    fn closed(&mut self, conn: &mut Checked, how: Closed) {
        assert!(conn.is_open, "closed without having been opened, or twice");
        conn.is_open = false;
        self.closed.push((how, conn.consumed));
    }
}

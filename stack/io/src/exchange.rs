//! The one interpreter between transports and handlers.
//!
//! A transport moves bytes. For every event of a connection (bytes came, capacity came, a deadline
//! passed, the peer finished) it makes an [`Exchange`] of the parts of that connection and calls
//! the method for the event. The exchange calls the handler, interprets its [`Effects`], decides
//! what is delivered and delivered again, and returns [`Requests`] for what only the transport can
//! do. Nothing else calls a handler for a connection.
//!
//! What the transport asks in return stands in the parts: what to send in the [`Queue`]; whether to
//! read, whether to close or reset in the [`Flow`].
//!
//! The parts are borrowed, so a transport keeps them where its caches want them. One without such
//! needs keeps a [`Connection`](crate::Connection).
//!
//! # Rules
//!
//! - Input that was delivered and not consumed is delivered again whole, and possibly more behind
//!   it: never less. Where a part of it found no memory, nothing is delivered until the transport
//!   has that part again.
//! - It is delivered again when more follows, and after `resumed` and `timeout`.
//! - No input is delivered while the handler waits for capacity, unless it reads on, nor between
//!   [`Reply::read_later`] and the next `timeout`, nor between [`Reply::yield_now`] and the next
//!   iteration of the worker, nor after a close.
//! - A handler that has yielded is called in the next iteration ([`Exchange::iterate`]), so a
//!   transport that a connection has yielded to does not sleep. It serves the other connections
//!   first and looks for new packets and events, and it continues a bounded number of connections
//!   in one iteration.
//! - Input that fills [`OVERFULL_BYTES`] and of which nothing was consumed is overfull, unless it
//!   is paused: the handler may answer that, and the connection closes.
//! - When the peer has finished, this side closes as soon as the handler waits for nothing but
//!   input: what is held then is no whole request.

use crate::application::{Application, Opened};
use crate::flow::Flow;
use crate::input::OVERFULL_BYTES;
use crate::reply::{Effects, Reply};
use crate::send::{self, Blob, Queue};
use smoltcp::time::Duration;

/// Where a transport holds the input of a connection that the handler has not consumed.
pub trait Input {
    /// Bytes held.
    fn len(&self) -> usize;

    /// Whether no bytes are held.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes at the front of the unconsumed stream that the handler has seen, whether they are held
    /// or not. 0 at first.
    fn seen(&self) -> usize;

    /// Copies bytes behind those held, as many as there is memory for. Returns how many.
    fn append(&mut self, bytes: &[u8]) -> usize;

    /// The bytes held, and `tail` behind them, in one piece, as many as fit one.
    fn gather<'b>(&'b mut self, tail: &'b [u8]) -> &'b [u8];

    /// The first `shown` unconsumed bytes were delivered and the first `consumed` of them consumed.
    /// Frees those that are held, and remembers that the rest was seen.
    fn delivered(&mut self, shown: usize, consumed: usize);

    /// Drops all bytes held.
    fn clear(&mut self);
}

/// What [`receive_plain`] did.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub enum Received {
    /// The handler has consumed everything, and asks for no more than this deadline, as in
    /// [`Requests::deadline`].
    All(Option<Option<Duration>>),
    /// To be passed to [`Exchange::received_plain`]: bytes consumed, and what the handler asks for.
    Part(usize, Effects),
}

/// As [`Exchange::receive`], in fewer steps, for a connection with a default [`Flow`] that holds no
/// input and has seen none of it.
#[inline(always)]
pub fn receive_plain<A: Application>(
    app: &mut A,
    (conn, queue, send): (&mut A::Conn, &mut Queue, &mut send::Pool<A::Blob>),
    bytes: &[u8],
) -> Received {
    let mut effects = Effects::default();
    let consumed = app.received(conn, bytes, &mut Reply::new(send, queue, &mut effects));
    if consumed == bytes.len() && effects.asked == Flow::default() {
        return Received::All(effects.timeout);
    }
    Received::Part(consumed, effects)
}

/// What a connection asks of its transport after an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Requests {
    /// The handler's deadline is set to this long from now, or cleared with `Some(None)`. A close
    /// clears it.
    pub deadline: Option<Option<Duration>>,
    /// The handler was refused capacity: call [`Exchange::resume`] when there is some.
    pub wants_capacity: bool,
    /// The handler has yielded: call [`Exchange::iterate`] in the next iteration.
    pub yields: bool,
    /// An answer did not fit what was promised, so the connection is to be reset.
    pub overflow: bool,
    /// Input was overfull.
    pub overfull: bool,
}

/// The parts of a connection during one event.
pub struct Exchange<'a, C, B, I> {
    handler: Handler<'a, C, B>,
    input: I,
}

/// The parts that a call of the handler changes.
struct Handler<'a, C, B> {
    conn: &'a mut C,
    flow: &'a mut Flow,
    queue: &'a mut Queue,
    send: &'a mut send::Pool<B>,
    /// What the last call asked for, and the deadline that any of them set.
    effects: Effects,
    /// What all calls asked for.
    asked: Flow,
    overfull: bool,
}

impl<C, B: Blob> Handler<'_, C, B> {
    #[inline]
    fn call<R>(&mut self, call: impl FnOnce(&mut C, &mut Reply<'_, B>) -> R) -> R {
        self.effects.asked = Flow::default();
        let result = call(self.conn, &mut Reply::new(self.send, self.queue, &mut self.effects));
        self.called();
        result
    }

    /// Takes over what the last call asked for.
    #[inline]
    fn called(&mut self) {
        self.flow.interpret(self.effects.asked);
        self.asked.add(self.effects.asked);
        if self.flow.is_closing() {
            self.closed();
        }
    }

    #[inline]
    fn closed(&mut self) {
        self.effects.timeout = Some(None);
        self.asked.forget_calls();
    }

    #[inline]
    fn requests(&self) -> Requests {
        Requests {
            deadline: self.effects.timeout,
            wants_capacity: self.asked.wants_capacity(),
            yields: self.asked.has_yielded(),
            overflow: self.asked.has_overflowed(),
            overfull: self.overfull,
        }
    }

    /// Delivers the first unconsumed bytes. Returns how many are consumed.
    #[inline]
    fn deliver<A>(&mut self, app: &mut A, bytes: &[u8]) -> usize
    where
        A: Application<Conn = C, Blob = B>,
    {
        let consumed = self.call(|conn, reply| app.received(conn, bytes, reply));
        self.delivered(app, bytes, consumed)
    }

    /// These bytes were delivered, and the handler has consumed some of them. Returns how many.
    #[inline]
    fn delivered<A>(&mut self, app: &mut A, bytes: &[u8], consumed: usize) -> usize
    where
        A: Application<Conn = C, Blob = B>,
    {
        debug_assert!(consumed <= bytes.len(), "{consumed} bytes consumed of {}", bytes.len());
        if consumed == 0 && bytes.len() >= OVERFULL_BYTES && self.flow.takes_input() {
            self.overfull(app, bytes);
        }
        consumed.min(bytes.len())
    }

    /// Closes: nothing that the handler could still read would fit.
    #[cold]
    fn overfull<A>(&mut self, app: &mut A, bytes: &[u8])
    where
        A: Application<Conn = C, Blob = B>,
    {
        self.overfull = true;
        self.call(|conn, reply| app.overfull(conn, bytes, reply));
        self.close(false);
    }

    fn close(&mut self, abort: bool) {
        self.flow.close(abort);
        self.closed();
    }
}

impl<'a, C, B: Blob, I: Input> Exchange<'a, C, B, I> {
    /// An exchange of these parts, which are those of one connection.
    #[inline]
    pub fn new(
        conn: &'a mut C,
        flow: &'a mut Flow,
        queue: &'a mut Queue,
        send: &'a mut send::Pool<B>,
        input: I,
    ) -> Self {
        let (effects, asked) = (Effects::default(), Flow::default());
        let handler = Handler { conn, flow, queue, send, effects, asked, overfull: false };
        Exchange { handler, input }
    }

    /// What the transport is asked for.
    #[inline]
    pub fn requests(self) -> Requests {
        self.handler.requests()
    }

    /// The connection is established.
    pub fn open<A>(&mut self, app: &mut A, opened: Opened)
    where
        A: Application<Conn = C, Blob = B>,
    {
        self.act(|conn, reply| app.opened(conn, opened, reply));
    }

    /// The handler acts of its own accord.
    #[inline]
    pub fn act<R>(&mut self, act: impl FnOnce(&mut C, &mut Reply<'_, B>) -> R) -> R {
        let result = self.handler.call(act);
        self.clear_if_closing();
        result
    }

    /// Bytes came, the stream's next, no more than the transport could hold with memory. Returns
    /// how many of the first the transport is rid of: they are consumed, held, or dropped because
    /// the connection is closing. The transport keeps the others, or leaves them to the peer to
    /// send again, and brings them before any that follow.
    #[inline]
    pub fn receive<A>(&mut self, app: &mut A, bytes: &[u8]) -> usize
    where
        A: Application<Conn = C, Blob = B>,
    {
        if !self.handler.flow.takes_input() || self.input.seen() > 0 || !self.input.is_empty() {
            return self.receive_behind(app, bytes);
        }
        let consumed = self.handler.deliver(app, bytes);
        if consumed == bytes.len() && self.handler.flow.is_open() {
            return consumed;
        }
        self.hold_rest(bytes, consumed)
    }

    /// Goes on after [`receive_plain`] with the same bytes. Returns as [`Exchange::receive`].
    pub fn received_plain<A>(
        &mut self,
        app: &mut A,
        bytes: &[u8],
        (consumed, effects): (usize, Effects),
    ) -> usize
    where
        A: Application<Conn = C, Blob = B>,
    {
        self.handler.effects = effects;
        self.handler.called();
        let consumed = self.handler.delivered(app, bytes, consumed);
        if consumed == bytes.len() && self.handler.flow.is_open() {
            return consumed;
        }
        self.hold_rest(bytes, consumed)
    }

    /// Holds what the handler left of bytes that were delivered where they lie.
    fn hold_rest(&mut self, bytes: &[u8], consumed: usize) -> usize {
        if self.handler.flow.is_closing() {
            return bytes.len();
        }
        self.input.delivered(bytes.len(), consumed);
        consumed + self.input.append(&bytes[consumed..])
    }

    #[inline(never)]
    fn receive_behind<A>(&mut self, app: &mut A, bytes: &[u8]) -> usize
    where
        A: Application<Conn = C, Blob = B>,
    {
        if self.handler.flow.is_closing() {
            return bytes.len();
        }
        let mut taken = self.input.append(bytes);
        loop {
            taken += self.redeliver(app, &bytes[taken..]);
            if self.handler.flow.is_closing() {
                return bytes.len();
            }
            // Something was consumed, perhaps: there may be memory now. What it takes in is to be
            // delivered too, as nothing may follow it.
            let held = self.input.append(&bytes[taken..]);
            taken += held;
            if held == 0 || !self.holds_unseen() {
                return taken;
            }
        }
    }

    /// Whether bytes are held that were not delivered yet.
    fn holds_unseen(&self) -> bool {
        self.input.len() > self.input.seen()
    }

    /// The transport has put bytes behind those held: delivers all of them.
    pub fn receive_held<A>(&mut self, app: &mut A)
    where
        A: Application<Conn = C, Blob = B>,
    {
        self.redeliver(app, &[]);
    }

    /// Bytes came behind those held, and there is no memory to hold them. `all` are those held, and
    /// as many as the transport could put behind them, but no more than it could hold with memory:
    /// it must be able to bring all of them again. Returns how many of `all` are consumed. Those
    /// that were held are freed. The transport is to drop the others, and no more than these.
    pub fn receive_peeked<A>(&mut self, app: &mut A, all: &[u8]) -> usize
    where
        A: Application<Conn = C, Blob = B>,
    {
        if self.handler.flow.is_closing() {
            return all.len();
        }
        if self.handler.flow.is_paused() || all.len() < self.input.seen() {
            return 0;
        }
        let consumed = self.handler.deliver(app, all);
        if self.handler.flow.is_closing() {
            self.input.clear();
            return all.len();
        }
        self.input.delivered(all.len(), consumed);
        consumed
    }

    /// Delivers what is held, and `tail` behind it. Goes on while the handler consumes something
    /// and has not seen all of it. Returns how much of the tail is consumed.
    fn redeliver<A>(&mut self, app: &mut A, tail: &[u8]) -> usize
    where
        A: Application<Conn = C, Blob = B>,
    {
        let mut done = 0;
        while self.handler.flow.takes_input() {
            let rest = &tail[done..];
            let (held, seen) = (self.input.len(), self.input.seen());
            let bytes = self.input.gather(rest);
            let shown = bytes.len();
            if shown < seen || shown == 0 {
                break;
            }
            let consumed = self.handler.deliver(app, bytes);
            if self.handler.flow.is_closing() {
                self.input.clear();
                return tail.len();
            }
            self.input.delivered(shown, consumed);
            done += consumed - consumed.min(held);
            if consumed == 0 || shown == held + rest.len() {
                break;
            }
        }
        done
    }

    /// There may be capacity: calls `resumed` if the handler waits for it, and for nothing else,
    /// and there is, then delivers what is held. Returns whether it was called.
    pub fn resume<A>(&mut self, app: &mut A) -> bool
    where
        A: Application<Conn = C, Blob = B>,
    {
        let Handler { flow, queue, send, .. } = &mut self.handler;
        if !flow.wants_capacity() || flow.has_yielded() || !send.has_capacity(queue) {
            return false;
        }
        self.go_on_from_stop(app);
        true
    }

    /// The next iteration after a yield has come: calls `resumed`, unless the handler also waits
    /// for capacity, there is none, and it does not read on; then delivers what is held.
    pub fn iterate<A>(&mut self, app: &mut A)
    where
        A: Application<Conn = C, Blob = B>,
    {
        let Handler { flow, queue, send, .. } = &mut self.handler;
        if !flow.has_yielded() {
            return;
        }
        flow.iterate();
        if !flow.wants_capacity() || flow.takes_input() || send.has_capacity(queue) {
            self.go_on_from_stop(app);
        }
    }

    fn go_on_from_stop<A>(&mut self, app: &mut A)
    where
        A: Application<Conn = C, Blob = B>,
    {
        self.handler.flow.resume();
        self.act(|conn, reply| app.resumed(conn, reply));
        self.go_on(app);
    }

    /// The handler's deadline has passed: calls `timeout`, then delivers what is held if it was put
    /// off until now, or if the handler reads on and has not seen it.
    pub fn expire<A>(&mut self, app: &mut A)
    where
        A: Application<Conn = C, Blob = B>,
    {
        self.complete(app, A::timeout);
    }

    /// What the handler waited for has come from elsewhere: lets it act, then delivers what is held
    /// if it was put off until now, or if the handler reads on and has not seen it. Returns whether
    /// the connection is open.
    pub fn complete<A>(
        &mut self,
        app: &mut A,
        complete: impl FnOnce(&mut A, &mut C, &mut Reply<'_, B>),
    ) -> bool
    where
        A: Application<Conn = C, Blob = B>,
    {
        if self.handler.flow.is_closing() {
            return false;
        }
        let put_off = self.handler.flow.reads_later();
        self.handler.flow.read_again();
        self.act(|conn, reply| complete(app, conn, reply));
        if put_off || self.holds_unseen() {
            self.go_on(app);
        }
        true
    }

    fn go_on<A>(&mut self, app: &mut A)
    where
        A: Application<Conn = C, Blob = B>,
    {
        self.redeliver(app, &[]);
        self.close_if_finished();
    }

    /// The peer has finished: no input follows what was received. Closes, now or when the handler
    /// waits for nothing but input.
    pub fn finish(&mut self) {
        self.handler.flow.finish();
        self.close_if_finished();
    }

    fn close_if_finished(&mut self) {
        if self.handler.flow.is_finished() && self.handler.flow.is_idle() {
            self.close();
        }
    }

    /// The transport closes: what is queued is sent, no input is delivered.
    pub fn close(&mut self) {
        self.handler.close(false);
        self.input.clear();
    }

    /// The transport resets the connection.
    pub fn abort(&mut self) {
        self.handler.close(true);
        self.input.clear();
    }

    fn clear_if_closing(&mut self) {
        if self.handler.flow.is_closing() {
            self.input.clear();
        }
    }
}

#[cfg(test)]
#[path = "exchange_tests.rs"]
mod tests;

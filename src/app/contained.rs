//! Containment: a panic in a handler ends the connection that the call was for, not the process.
//!
//! [`Contained`] lies between every transport and the application that it hosts, and passes all
//! calls on. A call that panics is counted and logged ([`crate::panics`]); the connection's state
//! is released by `closed` and replaced by the default, which no service serves. HTTP answers 500
//! where nothing of an answer is queued yet; otherwise the connection is reset.
//!
//! # When the process ends all the same
//!
//! A panic goes on up to the worker's thread, and the process ends with its place and message as
//! the reason, where what is shared by other connections may be left half changed:
//!
//! - in the transport itself: stack, rings, tables, pools. No call of a handler is under way there,
//!   so nothing catches.
//! - in [`Reply::copy`] or [`Reply::share`] while they change the pool of answers
//!   ([`Reply::is_broken`]).
//! - while a lock of the store was held: the lock is poisoned ([`Handler::is_sound`]).
//!
//! State of a handler that is one worker's and outlives a call (counters, tables of free places) is
//! changed in steps that each leave it usable.

use crate::handler::{Handler, PortNames, Seconds};
use crate::later::Completed;
use crate::metrics::Metric;
use crate::panics::{self, Panic};
use simoom_io::{Application, Closed, Opened, Reply};
use std::cell::Cell;

/// Runs calls of handlers and counts their panics.
#[derive(Debug, Default)]
pub struct Containment {
    panics: Cell<u64>,
}

/// Panics that a worker outlived.
pub(crate) static HANDLER_PANICS: Metric =
    Metric::new("handler_panics", "Panics in a handler; report each one.");

impl Containment {
    /// Runs `call`. Its panic is counted and logged.
    #[inline]
    pub fn run<R>(&self, call: impl FnOnce() -> R) -> Result<R, Panic> {
        panics::catch(call).inspect_err(|panic| self.note(panic))
    }

    #[cold]
    fn note(&self, panic: &Panic) {
        self.panics.set(self.panics.get() + 1);
        panics::log(panic);
    }

    /// Gives the counter to `sink`.
    pub fn publish(&self, sink: &mut dyn FnMut(&'static Metric, u64)) {
        sink(&HANDLER_PANICS, self.panics.get());
    }
}

/// An application whose panics end no more than a connection. See the module for which do.
pub struct Contained<A> {
    app: A,
    containment: Containment,
}

/// What can still be said to a connection after a panic.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    /// The application decides: perhaps a request is unanswered.
    Ask,
    /// Nothing: reset it.
    Abort,
}

impl<A: Handler> Contained<A> {
    /// Contains the panics of `app`. `A::Conn::default()` must be the state of a connection that
    /// `app` does not serve: `closed` does nothing for it.
    pub fn new(app: A) -> Contained<A> {
        Contained { app, containment: Containment::default() }
    }

    /// A call for one connection; `None` if it panicked. The connection has ended then, as far as
    /// the application goes.
    #[inline]
    fn call<R>(
        &mut self,
        conn: &mut A::Conn,
        reply: &mut Reply<'_, A::Blob>,
        last: Last,
        call: impl FnOnce(&mut A, &mut A::Conn, &mut Reply<'_, A::Blob>) -> R,
    ) -> Option<R> {
        match panics::catch(|| call(&mut self.app, conn, reply)) {
            Ok(result) => Some(result),
            Err(panic) => {
                self.give_up(panic, conn, reply, last);
                None
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn give_up(
        &mut self,
        panic: Panic,
        conn: &mut A::Conn,
        reply: &mut Reply<'_, A::Blob>,
        last: Last,
    ) {
        self.containment.note(&panic);
        self.end_if_in_doubt(panic, reply.is_broken());
        reply.set_timeout(None);
        if last == Last::Abort {
            reply.abort();
        } else if let Err(panic) = self.containment.run(|| self.app.panicked(conn, reply)) {
            self.end_if_in_doubt(panic, reply.is_broken());
            reply.abort();
        }
        self.release(conn, Closed::Aborted);
        *conn = A::Conn::default();
    }

    /// Has the application give back what it holds for a connection. A call that panics is made
    /// once more: the first may have got so far that nothing is left to fail.
    fn release(&mut self, conn: &mut A::Conn, how: Closed) {
        for _ in 0..2 {
            match self.containment.run(|| self.app.closed(conn, how)) {
                Ok(()) => break,
                Err(panic) => self.end_if_in_doubt(panic, false),
            }
        }
    }

    #[cold]
    fn end_if_in_doubt(&self, panic: Panic, reply_is_broken: bool) {
        if reply_is_broken || !self.app.is_sound() {
            panic.resume();
        }
    }

    /// A call that is of no connection.
    fn run(&mut self, call: impl FnOnce(&mut A)) {
        if let Err(panic) = self.containment.run(|| call(&mut self.app)) {
            self.end_if_in_doubt(panic, false);
        }
    }

    /// A question; `otherwise` if it panicked.
    fn ask<R>(&self, otherwise: R, question: impl FnOnce(&A) -> R) -> R {
        self.containment.run(|| question(&self.app)).unwrap_or_else(|panic| {
            self.end_if_in_doubt(panic, false);
            otherwise
        })
    }
}

impl<A: Handler> Application for Contained<A> {
    type Blob = A::Blob;
    type Conn = A::Conn;

    fn wants_ends(&self, local_port: u16) -> bool {
        self.ask(false, |app| app.wants_ends(local_port))
    }

    fn opened(&mut self, conn: &mut A::Conn, opened: Opened, reply: &mut Reply<'_, A::Blob>) {
        self.call(conn, reply, Last::Abort, |app, conn, reply| app.opened(conn, opened, reply));
    }

    #[inline]
    fn received(
        &mut self,
        conn: &mut A::Conn,
        bytes: &[u8],
        reply: &mut Reply<'_, A::Blob>,
    ) -> usize {
        let consumed =
            self.call(conn, reply, Last::Ask, |app, conn, reply| app.received(conn, bytes, reply));
        consumed.unwrap_or(bytes.len())
    }

    #[inline]
    fn prefetch(&mut self, inputs: &[(u16, &[u8])]) {
        self.run(|app| app.prefetch(inputs));
    }

    fn overfull(&mut self, conn: &mut A::Conn, bytes: &[u8], reply: &mut Reply<'_, A::Blob>) {
        self.call(conn, reply, Last::Ask, |app, conn, reply| app.overfull(conn, bytes, reply));
    }

    fn resumed(&mut self, conn: &mut A::Conn, reply: &mut Reply<'_, A::Blob>) {
        self.call(conn, reply, Last::Abort, A::resumed);
    }

    fn timeout(&mut self, conn: &mut A::Conn, reply: &mut Reply<'_, A::Blob>) {
        self.call(conn, reply, Last::Abort, A::timeout);
    }

    #[inline]
    fn closed(&mut self, conn: &mut A::Conn, how: Closed) {
        self.release(conn, how);
    }
}

impl<A: Handler> Handler for Contained<A> {
    fn clock(&mut self, seconds: Seconds) {
        self.run(|app| app.clock(seconds));
    }

    fn drain(&mut self) {
        self.run(A::drain);
    }

    fn idle(&self, conn: &A::Conn) -> bool {
        // A connection that cannot be asked is not worth waiting for.
        self.ask(true, |app| app.idle(conn))
    }

    fn completed(
        &mut self,
        conn: &mut A::Conn,
        completed: Completed,
        reply: &mut Reply<'_, A::Blob>,
    ) {
        self.call(conn, reply, Last::Ask, |app, conn, reply| app.completed(conn, completed, reply));
    }

    fn port_names(&self, port: u16) -> Option<PortNames> {
        self.ask(None, |app| app.port_names(port))
    }

    fn is_sound(&self) -> bool {
        self.app.is_sound()
    }

    fn publish(&self, sink: &mut dyn FnMut(&'static Metric, u64)) {
        self.ask((), |app| app.publish(sink));
        self.containment.publish(sink);
    }
}

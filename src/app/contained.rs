//! Containment: a panic in a handler ends one connection, not the process.
//!
//! [`Contained`] wraps the application and forwards all calls from the transport. It counts and
//! logs each panic ([`crate::panics`]). Then it calls `closed` to release the connection's state,
//! and replaces that state with the default, which no service serves. HTTP and the router send
//! a 500 if no byte of a response is queued. Otherwise Contained resets the connection.
//!
//! # When the process ends nevertheless
//!
//! A panic that may leave shared state half changed continues up to the worker's thread. The
//! process then ends and reports the panic's location and message. The cases are:
//!
//! - a panic in the transport itself: stack, rings, tables, pools. No handler call is in progress,
//!   so nothing catches the panic.
//! - a panic in [`Reply::copy`] or [`Reply::share`] while they change the send pool
//!   ([`Reply::is_broken`]).
//! - a panic while a thread holds a lock of the store: the lock is poisoned
//!   ([`Handler::is_sound`]).
//!
//! Some state of a handler belongs to one worker and outlives a call: counters and tables of free
//! slots. The handler changes it in steps, and each step leaves it usable.

use crate::handler::{Handler, PortNames, Seconds};
use crate::later::Completed;
use crate::metrics::Metric;
use crate::panics::{self, Containment, Ended, Panic};
use simoom_io::{Application, Closed, Opened, Reply};

/// Wraps an application. A panic ends one connection; the module documentation lists the
/// exceptions.
pub struct Contained<A> {
    app: A,
    containment: Containment,
}

/// The last message to a connection after a panic.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    /// The application decides: a request may be unanswered.
    Ask,
    /// Send nothing: reset the connection.
    Abort,
}

impl<A: Handler> Contained<A> {
    /// Contains the panics of `app`. `A::Conn::default()` must be the state of a connection that
    /// `app` does not serve, for which `closed` does nothing.
    pub fn new(app: A) -> Contained<A> {
        Contained { app, containment: Containment::default() }
    }

    /// Runs a call for one connection. Returns `None` if the call panicked; for the application,
    /// the connection has then ended.
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
        self.containment.note(&panic, Ended::Connection(self.app.service(conn)));
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

    /// Makes the application free its resources for a connection. Repeats the call once after a
    /// panic: the first call may have freed what made it panic.
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

    /// Runs a call that concerns no connection.
    fn run(&mut self, call: impl FnOnce(&mut A)) {
        if let Err(panic) = self.containment.run(|| call(&mut self.app)) {
            self.end_if_in_doubt(panic, false);
        }
    }

    /// Runs a query. Returns `otherwise` if the query panicked.
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
    fn prefetches(&self) -> bool {
        self.app.prefetches()
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
        // Do not wait for a connection whose query panicked.
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

//! An application that delegates to another and panics when it is told to: by a word in its input,
//! or in the next call of a kind.

use simoom::app::memcached::datagram::Abandon;
use simoom::handler::{Handler, PortNames, Seconds};
use simoom::metrics::Metric;
use simoom_io::{Application, Closed, Opened, Reply};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

/// In the input: panic before the application sees it.
pub(crate) const BEFORE: &[u8] = b"!before";
/// In the input: panic when the application has answered.
pub(crate) const AFTER: &[u8] = b"!after";
/// In the input: panic as for [`BEFORE`], and in the first call of `closed` for the same
/// connection.
pub(crate) const TWICE: &[u8] = b"!twice";

/// A kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    WantsEnds,
    Opened,
    Received,
    Expected,
    Overfull,
    Resumed,
    Timeout,
    Closed,
    Clock,
    Drain,
    Idle,
    Panicked,
    Publish,
}

/// What is to panic, and what did.
#[derive(Debug, Default)]
pub(crate) struct Plot {
    next: [AtomicU64; Call::Publish as usize + 1],
    injected: AtomicU64,
    unsound: AtomicBool,
}

impl Plot {
    /// The next `count` calls of this kind panic.
    pub(crate) fn next(&self, call: Call, count: u64) {
        self.next[call as usize].fetch_add(count, SeqCst);
    }

    /// From now on the application says that its state is in doubt.
    pub(crate) fn spoil(&self) {
        self.unsound.store(true, SeqCst);
    }

    /// How many calls panicked.
    pub(crate) fn injected(&self) -> u64 {
        self.injected.load(SeqCst)
    }

    fn panic(&self, call: Call) -> ! {
        self.injected.fetch_add(1, SeqCst);
        panic!("injected into {call:?}")
    }

    fn call(&self, call: Call) {
        let left = &self.next[call as usize];
        if left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok() {
            self.panic(call);
        }
    }
}

/// The application.
pub(crate) struct Saboteur<A> {
    pub(crate) app: A,
    pub(crate) plot: Arc<Plot>,
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    memchr::memmem::find(bytes, word).is_some()
}

impl<A: Handler> Application for Saboteur<A> {
    type Blob = A::Blob;
    type Conn = A::Conn;

    fn wants_ends(&self, local_port: u16) -> bool {
        self.plot.call(Call::WantsEnds);
        self.app.wants_ends(local_port)
    }

    fn opened(&mut self, conn: &mut A::Conn, opened: Opened, reply: &mut Reply<'_, A::Blob>) {
        self.app.opened(conn, opened, reply);
        self.plot.call(Call::Opened);
    }

    fn received(
        &mut self,
        conn: &mut A::Conn,
        bytes: &[u8],
        reply: &mut Reply<'_, A::Blob>,
    ) -> usize {
        self.plot.call(Call::Received);
        if contains(bytes, TWICE) {
            self.plot.next(Call::Closed, 1);
            self.plot.panic(Call::Received);
        }
        if contains(bytes, BEFORE) {
            self.plot.panic(Call::Received);
        }
        let consumed = self.app.received(conn, bytes, reply);
        if contains(bytes, AFTER) && consumed == bytes.len() {
            self.plot.panic(Call::Received);
        }
        consumed
    }

    fn prefetch(&mut self, inputs: &[(u16, &[u8])]) {
        self.plot.call(Call::Expected);
        self.app.prefetch(inputs);
    }

    fn overfull(&mut self, conn: &mut A::Conn, bytes: &[u8], reply: &mut Reply<'_, A::Blob>) {
        self.plot.call(Call::Overfull);
        self.app.overfull(conn, bytes, reply);
    }

    fn resumed(&mut self, conn: &mut A::Conn, reply: &mut Reply<'_, A::Blob>) {
        self.plot.call(Call::Resumed);
        self.app.resumed(conn, reply);
    }

    fn timeout(&mut self, conn: &mut A::Conn, reply: &mut Reply<'_, A::Blob>) {
        self.plot.call(Call::Timeout);
        self.app.timeout(conn, reply);
    }

    fn closed(&mut self, conn: &mut A::Conn, how: Closed) {
        self.plot.call(Call::Closed);
        self.app.closed(conn, how);
    }
}

impl<A: Handler> Handler for Saboteur<A> {
    fn clock(&mut self, seconds: Seconds) {
        self.plot.call(Call::Clock);
        self.app.clock(seconds);
    }

    fn drain(&mut self) {
        self.app.drain();
        self.plot.call(Call::Drain);
    }

    fn idle(&self, conn: &A::Conn) -> bool {
        self.plot.call(Call::Idle);
        self.app.idle(conn)
    }

    fn panicked(&mut self, conn: &mut A::Conn, reply: &mut Reply<'_, A::Blob>) {
        self.plot.call(Call::Panicked);
        self.app.panicked(conn, reply);
    }

    fn port_names(&self, port: u16) -> Option<PortNames> {
        self.app.port_names(port)
    }

    fn is_sound(&self) -> bool {
        self.app.is_sound() && !self.plot.unsound.load(SeqCst)
    }

    fn publish(&self, sink: &mut dyn FnMut(&'static Metric, u64)) {
        self.plot.call(Call::Publish);
        self.app.publish(sink);
    }
}

impl<A: Abandon> Abandon for Saboteur<A> {
    fn abandon(&mut self, conn: &A::Conn) {
        self.app.abandon(conn);
    }

    fn is_proven(&self, address: IpAddr) -> bool {
        self.app.is_proven(address)
    }
}

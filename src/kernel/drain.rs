//! The end of a worker: in comes the order to drain, out goes one connection after the other, until none is left or
//! the time is over. Never breaks off an answer before that, nor resets who has connected.
//!
//! | from | to | what |
//! |---|---|---|
//! | the order | [`HANDSHAKES_MS`] | SYNs are dropped; handshakes that have begun end, and whoever is through is accepted: closing a listener resets who waits at it |
//! | the order | `Settings::drain_idle` | each connection is closed with its next answer, one that has not yet asked with its first: a request that crosses the FIN of an idle connection is lost |
//! | `Settings::drain_idle` | the end | connections that are idle are closed |
//!
//! Each is shorter where the whole drain may take little time.

use super::server::{Driver, Server};
use super::session::{Host, Phase, Session};
use super::socket::Socket;
use crate::clock::{look_at, millis};
use crate::control::Order;
use crate::hosted::Hosted;
use simoom_stack::Closed;
use std::io;
use std::time::Duration;

/// How long handshakes that have begun may take: a round trip to most clients.
const HANDSHAKES_MS: u64 = 50;
/// How long a peer of a connection that was closed idle may take to close: pools of clients do not look.
const IDLE_LINGER_MS: u64 = 500;

/// How far a drain has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drain {
    /// Whatever is open then is cut off.
    until_ms: u64,
    /// The listeners are closed then; `None`: they are.
    accepts_until_ms: Option<u64>,
    /// Connections that are idle then are closed; `None`: each is when it becomes idle.
    keeps_idle_until_ms: Option<u64>,
}

impl Drain {
    fn new(now_ms: u64, at_most_ms: u64, idle_ms: u64) -> Drain {
        Drain {
            until_ms: now_ms.saturating_add(at_most_ms),
            accepts_until_ms: Some(now_ms + HANDSHAKES_MS.min(at_most_ms / 4)),
            keeps_idle_until_ms: Some(now_ms + idle_ms.min(at_most_ms / 2)),
        }
    }

    /// Ends no later than `until_ms`.
    fn shorten(&mut self, until_ms: u64) {
        self.until_ms = self.until_ms.min(until_ms);
        self.accepts_until_ms = self.accepts_until_ms.map(|at_ms| at_ms.min(until_ms));
        self.keeps_idle_until_ms = self.keeps_idle_until_ms.map(|at_ms| at_ms.min(until_ms));
    }

    /// When there is something to do for it.
    pub(super) fn next_ms(&self) -> u64 {
        let next_ms = self.accepts_until_ms.into_iter().chain(self.keeps_idle_until_ms).min();
        next_ms.map_or(self.until_ms, |at_ms| at_ms.min(self.until_ms))
    }

    /// Whether a connection is closed as soon as it is idle.
    pub(super) fn closes_idle(&self) -> bool {
        self.keeps_idle_until_ms.is_none()
    }
}

impl<A: Hosted, D: Driver> Server<A, D> {
    pub(super) fn obey(&mut self) -> io::Result<()> {
        self.mailbox.clear_wake();
        while let Some(order) = self.mailbox.take() {
            let Order::Drain(at_most) = order;
            self.begin_drain(at_most);
        }
        Ok(())
    }

    /// A second order can only shorten the time.
    fn begin_drain(&mut self, at_most: Duration) {
        let (now_ms, at_most_ms) = (self.host.now_ms, millis(at_most));
        if let Some(drain) = &mut self.drain {
            return drain.shorten(now_ms.saturating_add(at_most_ms));
        }
        self.host.app.drain();
        for listener in &self.listeners {
            // Without the filter, who connects in the last moment is reset.
            let _ = listener.drop_syns();
        }
        self.drain = Some(Drain::new(now_ms, at_most_ms, self.drain_idle_ms));
    }

    /// Does what the drain's time has come for.
    pub(super) fn go_on_draining(&mut self) -> io::Result<()> {
        let now_ms = self.host.now_ms;
        let Some(drain) = &mut self.drain else { return Ok(()) };
        let is_over = |at_ms: &mut Option<u64>| at_ms.take_if(|at_ms| *at_ms <= now_ms).is_some();
        let closes_listeners = is_over(&mut drain.accepts_until_ms);
        let closes_idle = is_over(&mut drain.keeps_idle_until_ms);
        if closes_listeners {
            self.close_listeners()?;
        }
        if closes_idle {
            self.close_idle()?;
        }
        Ok(())
    }

    /// Takes in whoever has connected, and closes the listeners.
    fn close_listeners(&mut self) -> io::Result<()> {
        D::release_listeners(self)?;
        for number in 0..self.listeners.len() {
            // What fails here fails for a listener that is closed next.
            while self.accept(number).is_ok_and(|more| more) {}
        }
        self.listeners.clear();
        self.accept_again_ms = None;
        Ok(())
    }

    fn close_idle(&mut self) -> io::Result<()> {
        D::settle(self)?;
        for index in 0..self.table.capacity() {
            let Some(key) = self.table.key_at(index) else { continue };
            let Some(session) = self.table.get_mut(key) else { continue };
            let was_open = session.phase == Phase::Open;
            // A request may have come since the last look.
            session.io.readable |= !session.io.eof;
            // The visit closes it if it is idle after that.
            self.visit(key);
            if let Some(session) = self.table.get_mut(key)
                && was_open
                && session.phase == Phase::Lingering
            {
                self.host.shorten_linger(session, IDLE_LINGER_MS);
                self.wheel.bring_forward(key.index, look_at(session.next_deadline_ms(), self.host.now_ms));
            }
        }
        Ok(())
    }

    pub(super) fn is_done(&self) -> bool {
        self.drain.is_some_and(|drain| {
            let is_empty = self.table.len() == 0 && drain.accepts_until_ms.is_none();
            is_empty || drain.until_ms <= self.host.now_ms
        })
    }

    /// Ends what is still open when the time to drain is over.
    pub(super) fn cut_off(&mut self) {
        for index in 0..self.table.capacity() {
            let Some(key) = self.table.key_at(index) else { continue };
            let Some(session) = self.table.get_mut(key) else { continue };
            if session.phase == Phase::Lingering || is_idle(&self.host, session) {
                self.end(key, Closed::TimedOut);
            } else {
                self.host.counters.drain_cut_off += 1;
                self.end(key, Closed::Aborted);
            }
        }
    }
}

/// Whether nothing of a request or an answer is under way.
pub(super) fn is_idle<A: Hosted, P>(host: &Host<A>, session: &Session<A, Socket<P>>) -> bool {
    !session.io.readable && !session.io.held_back && host.idle(session)
}

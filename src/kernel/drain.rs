//! The end of a worker: in comes the order to drain, out goes one connection after the other, until
//! none is left or the time is over. Never breaks off an answer before that, nor resets who has
//! connected.
//!
//! 1. New handshakes are not answered, and those under way have [`HANDSHAKE_MS`] to end: a client
//!    that has the SYN-ACK sends its request, and closing the listener would reset it. Whoever has
//!    connected is accepted; then the listeners are closed.
//! 2. Each connection is closed with its next answer, one that has not yet asked with its first. A
//!    request that crosses the FIN of an idle connection is lost, so for `Settings::drain_idle`, or
//!    half of a shorter drain, none is sent.
//! 3. Connections that are idle then are closed, and others as they become idle.
//! 4. A peer that does not close in its turn has [`DRAIN_LINGER_MS`] if it has acknowledged every
//!    answer, and the linger timeout otherwise.

use super::server::{Driver, Server};
use super::session::{AppDriver, Phase, Session};
use super::socket::Socket;
use super::sys::has_unacknowledged_bytes;
use super::table::Key;
use crate::clock::{look_at, millis};
use crate::control::Command;
use crate::handler::Handler;
use simoom_io::Closed;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

/// How long handshakes have that were under way when the drain began. A client whose SYN is dropped
/// meanwhile is refused when it repeats that, after a second.
const HANDSHAKE_MS: u64 = 100;
/// How long the peer of a connection that was closed, and that has acknowledged every answer, has
/// to close: connection pools notice a FIN only when they next use the connection.
pub(super) const DRAIN_LINGER_MS: u64 = 500;

/// How far a drain has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drain {
    /// Whatever is open then is cut off.
    until_ms: u64,
    /// Connections that are idle then are closed; `None`: each is when it becomes idle.
    keeps_idle_until_ms: Option<u64>,
    /// The listeners are closed then; `None`: they are.
    listens_until_ms: Option<u64>,
}

impl Drain {
    fn new(now_ms: u64, at_most_ms: u64, idle_ms: u64) -> Drain {
        Drain {
            until_ms: now_ms.saturating_add(at_most_ms),
            keeps_idle_until_ms: Some(now_ms + idle_ms.min(at_most_ms / 2)),
            listens_until_ms: Some(now_ms + HANDSHAKE_MS.min(at_most_ms / 2)),
        }
    }

    /// Ends no later than `until_ms`.
    fn shorten(&mut self, until_ms: u64) {
        self.until_ms = self.until_ms.min(until_ms);
        for at_ms in
            [&mut self.keeps_idle_until_ms, &mut self.listens_until_ms].into_iter().flatten()
        {
            *at_ms = until_ms.min(*at_ms);
        }
    }

    /// When there is something to do for it.
    pub(super) fn next_ms(&self) -> u64 {
        let times = [self.keeps_idle_until_ms, self.listens_until_ms];
        times.into_iter().flatten().fold(self.until_ms, u64::min)
    }

    /// Whether a connection is closed as soon as it is idle.
    pub(super) fn closes_idle(&self) -> bool {
        self.keeps_idle_until_ms.is_none()
    }
}

impl<A: Handler, D: Driver> Server<A, D> {
    pub(super) fn obey(&mut self) -> io::Result<()> {
        self.commands.clear_wake();
        while let Some(command) = self.commands.take() {
            match command {
                Command::Drain(at_most) => self.begin_drain(at_most)?,
                Command::Leave => {
                    self.begin_drain(Duration::ZERO)?;
                    // The mailbox of a process that is ending gives this order for ever.
                    break;
                }
            }
        }
        Ok(())
    }

    /// A second order can only shorten the time.
    fn begin_drain(&mut self, at_most: Duration) -> io::Result<()> {
        let (now_ms, at_most_ms) = (self.app_driver.now_ms, millis(at_most));
        if let Some(drain) = &mut self.drain {
            drain.shorten(now_ms.saturating_add(at_most_ms));
            return Ok(());
        }
        // First of all: a client that is told to close connects anew, and is to be refused then.
        self.accept_all();
        for listener in &self.listeners {
            // Without the filter, clients are accepted until the listeners are closed, and the last
            // are reset.
            let _ = listener.drop_syns();
        }
        self.app_driver.app.drain();
        self.drain = Some(Drain::new(now_ms, at_most_ms, self.drain_idle_ms));
        for index in 0..self.table.capacity() {
            if let Some(key) = self.table.key_at(index) {
                self.shorten_linger(key);
            }
        }
        Ok(())
    }

    /// Looks soon whether a connection that waits for the peer to close has to wait on.
    pub(super) fn shorten_linger(&mut self, key: Key) {
        let Some(session) = self.table.get_mut(key) else { return };
        if session.phase() == Phase::Lingering {
            self.app_driver.shorten_linger(session, DRAIN_LINGER_MS);
            let look_ms = look_at(session.next_deadline_ms(), self.app_driver.now_ms);
            self.wheel.bring_forward(key.index, look_ms);
        }
    }

    /// A peer has not closed in its time. It may have more if answers are still on their way to it:
    /// what it sends after the end would reset the connection, and destroy them.
    pub(super) fn end_linger(&mut self, key: Key) {
        let Some(session) = self.table.get_mut(key) else { return };
        if self.app_driver.is_linger_over(session)
            || !has_unacknowledged_bytes(session.io.fd.as_fd())
        {
            return self.end(key, Closed::TimedOut);
        }
        self.app_driver.resume_linger(session, DRAIN_LINGER_MS);
        let look_ms = look_at(session.next_deadline_ms(), self.app_driver.now_ms);
        self.wheel.bring_forward(key.index, look_ms);
    }

    /// Takes in whoever has connected, and closes the listeners.
    fn close_listeners(&mut self) -> io::Result<()> {
        D::release_listeners(self)?;
        self.accept_all();
        self.listeners.clear();
        self.accept_again_ms = None;
        Ok(())
    }

    /// What fails here fails for a listener that is closed next.
    fn accept_all(&mut self) {
        for number in 0..self.listeners.len() {
            while self.accept(number).is_ok_and(|more| more) {}
        }
    }

    /// Does what the drain's time has come for.
    pub(super) fn go_on_draining(&mut self) -> io::Result<()> {
        let now_ms = self.app_driver.now_ms;
        let Some(drain) = &mut self.drain else { return Ok(()) };
        if drain.listens_until_ms.take_if(|at_ms| *at_ms <= now_ms).is_some() {
            self.close_listeners()?;
        }
        let Some(drain) = &mut self.drain else { return Ok(()) };
        match drain.keeps_idle_until_ms.take_if(|at_ms| *at_ms <= now_ms) {
            Some(_) => self.close_idle(),
            None => Ok(()),
        }
    }

    fn close_idle(&mut self) -> io::Result<()> {
        D::settle(self)?;
        for index in 0..self.table.capacity() {
            let Some(key) = self.table.key_at(index) else { continue };
            let Some(session) = self.table.get_mut(key) else { continue };
            // A request may have come since the last look.
            session.io.readable |= !session.io.eof;
            // The visit closes it if it is idle after that.
            self.visit(key);
        }
        Ok(())
    }

    pub(super) fn is_done(&self) -> bool {
        self.drain.is_some_and(|drain| {
            let is_empty = self.table.len() == 0 && drain.listens_until_ms.is_none();
            is_empty || drain.until_ms <= self.app_driver.now_ms
        })
    }

    /// Ends what is still open when the time to drain is over.
    pub(super) fn cut_off(&mut self) {
        for index in 0..self.table.capacity() {
            let Some(key) = self.table.key_at(index) else { continue };
            let Some(session) = self.table.get_mut(key) else { continue };
            if session.phase() == Phase::Lingering || is_idle(&self.app_driver, session) {
                self.end(key, Closed::TimedOut);
            } else {
                self.app_driver.counters.drain_cut_off += 1;
                self.end(key, Closed::Aborted);
            }
        }
    }
}

/// Whether nothing of a request or an answer is under way.
pub(super) fn is_idle<A: Handler, P>(
    app_driver: &AppDriver<A>,
    session: &Session<A, Socket<P>>,
) -> bool {
    !session.io.readable && !session.io.held_back && app_driver.idle(session)
}

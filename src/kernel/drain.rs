//! Drains a worker: closes its connections one after the other until none is left or the time limit
//! is reached. Does not cut off an answer before the limit. Does not reset clients that have
//! completed a handshake.
//!
//! 1. SYNs are dropped. Handshakes in progress have [`HANDSHAKE_MS`] to complete: such a client
//!    sends its request, and closing the listener would reset the connection. The worker accepts
//!    all completed connections, then closes the listeners.
//! 2. Each connection is closed with its next answer. A request that crosses the FIN of an idle
//!    connection is lost, so no FIN is sent to idle connections for `Settings::drain_idle`, or for
//!    half of a shorter drain.
//! 3. After that, idle connections are closed. The other connections are closed as they become
//!    idle.
//! 4. A peer that does not close its side has [`DRAIN_LINGER_MS`] if it has acknowledged every
//!    answer, and the linger timeout otherwise.

use super::server::{Driver, Server, arm};
use super::session::{AppDriver, Phase, Session};
use super::socket::Socket;
use super::sys::has_unacknowledged_bytes;
use super::table::Key;
use crate::clock::millis;
use crate::control::Command;
use crate::handler::Handler;
use simoom_io::Closed;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

/// Time for handshakes in progress when the drain begins. A client whose SYN is dropped retransmits
/// it after 1 s and is then refused.
const HANDSHAKE_MS: u64 = 100;
/// Time for the peer to close a connection after it has acknowledged every answer. Connection pools
/// notice a FIN only when they next use the connection.
pub(super) const DRAIN_LINGER_MS: u64 = 500;

/// State of a drain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drain {
    /// End of the drain: connections still open then are reset.
    until_ms: u64,
    /// Idle connections are kept until this time. `None`: the time has passed, and each connection
    /// is closed as soon as it is idle.
    keeps_idle_until_ms: Option<u64>,
    /// The listeners are open until this time. `None`: the listeners are closed.
    listens_until_ms: Option<u64>,
}

impl Drain {
    fn new(now_ms: u64, limit_ms: u64, idle_ms: u64) -> Drain {
        Drain {
            until_ms: now_ms.saturating_add(limit_ms),
            keeps_idle_until_ms: Some(now_ms + idle_ms.min(limit_ms / 2)),
            listens_until_ms: Some(now_ms + HANDSHAKE_MS.min(limit_ms / 2)),
        }
    }

    /// Moves the end to `until_ms` if that is earlier.
    fn shorten(&mut self, until_ms: u64) {
        self.until_ms = self.until_ms.min(until_ms);
        for at_ms in
            [&mut self.keeps_idle_until_ms, &mut self.listens_until_ms].into_iter().flatten()
        {
            *at_ms = until_ms.min(*at_ms);
        }
    }

    /// Time of the next step of the drain.
    pub(super) fn next_ms(&self) -> u64 {
        let times = [self.keeps_idle_until_ms, self.listens_until_ms];
        times.into_iter().flatten().fold(self.until_ms, u64::min)
    }

    /// Whether connections are closed as soon as they are idle.
    pub(super) fn closes_idle(&self) -> bool {
        self.keeps_idle_until_ms.is_none()
    }
}

impl<A: Handler, D: Driver> Server<A, D> {
    pub(super) fn handle_commands(&mut self) -> io::Result<()> {
        self.commands.clear_wake();
        while let Some(command) = self.commands.take() {
            match command {
                Command::Drain(limit) => self.begin_drain(limit)?,
                Command::Accept(socket) => {
                    if let Err(error) = self.add_listener(socket) {
                        tracing::error!("kernel sockets do not serve an address: {error}");
                    }
                }
                Command::Forget(at) => self.close_listener(at),
                // The kernel knows.
                Command::SetMtu(_) | Command::Serve(_) | Command::Host(..) => {}
                Command::Leave => {
                    self.begin_drain(Duration::ZERO)?;
                    // The command receiver of a process that is ending returns this command for
                    // ever.
                    break;
                }
            }
        }
        Ok(())
    }

    /// Begins to drain. A second command can only shorten the time.
    fn begin_drain(&mut self, limit: Duration) -> io::Result<()> {
        let (now_ms, limit_ms) = (self.app_driver.now_ms, millis(limit));
        if let Some(drain) = &mut self.drain {
            drain.shorten(now_ms.saturating_add(limit_ms));
            return Ok(());
        }
        // First step: a client that gets a FIN reconnects, and must be refused then.
        self.accept_all();
        for listener in self.listeners.iter().flatten() {
            // If the filter cannot be set, the worker accepts clients until the listeners close.
            // Closing resets the last of them.
            let _ = listener.drop_syns();
        }
        self.app_driver.app.drain();
        self.drain = Some(Drain::new(now_ms, limit_ms, millis(self.settings.drain_idle)));
        for index in 0..self.table.capacity() {
            if let Some(key) = self.table.key_at(index) {
                self.shorten_linger(key);
            }
        }
        Ok(())
    }

    /// Schedules an early check of a connection that waits for the FIN of the peer.
    pub(super) fn shorten_linger(&mut self, key: Key) {
        let Some(session) = self.table.get_mut(key) else { return };
        if session.phase() == Phase::Lingering {
            self.app_driver.shorten_linger(session, DRAIN_LINGER_MS);
            arm(&mut self.wheel, key, session, self.app_driver.now_ms);
        }
    }

    /// Handles a peer that has not closed in time. The wait is extended if the peer has not
    /// acknowledged all answers: data that arrives after close(2) would cause a reset, which
    /// destroys them.
    pub(super) fn end_linger(&mut self, key: Key) {
        let Some(session) = self.table.get_mut(key) else { return };
        if self.app_driver.is_linger_over(session)
            || !has_unacknowledged_bytes(session.io.fd.as_fd())
        {
            return self.end(key, Closed::TimedOut);
        }
        self.app_driver.resume_linger(session, DRAIN_LINGER_MS);
        arm(&mut self.wheel, key, session, self.app_driver.now_ms);
    }

    /// Accepts all completed connections and closes the listeners.
    fn close_listeners(&mut self) -> io::Result<()> {
        D::release_listeners(self)?;
        self.accept_all();
        self.listeners.clear();
        self.accept_again_ms = None;
        Ok(())
    }

    /// Ignores errors: the listener is closed next.
    fn accept_all(&mut self) {
        for number in 0..self.listeners.len() {
            while self.accept(number).is_ok_and(|more| more) {}
        }
    }

    /// Runs the steps of the drain that are due.
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
            // A request may have arrived since the last read.
            session.io.readable |= !session.io.eof;
            // The visit closes the connection if it is still idle afterwards.
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

    /// Resets the connections that are still open when the time limit is reached.
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

/// Whether the connection holds no part of a request or an answer.
pub(super) fn is_idle<A: Handler, P>(
    app_driver: &AppDriver<A>,
    session: &Session<A, Socket<P>>,
) -> bool {
    !session.io.readable && !session.io.held_back && app_driver.idle(session)
}

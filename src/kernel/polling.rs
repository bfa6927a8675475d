//! Whether the epoll instance of a worker polls the NIC itself and suspends its interrupts
//! (--busy-poll).
//!
//! In: the NAPI instance of each connection that is accepted or closed. Out: preferred busy polling
//! of the epoll instance on or off. It is on while all open connections are of one NAPI instance.
//! epoll polls only the instance of its latest event, and keeps the interrupts suspended while
//! there are events of any socket: connections of another instance, or of none, would leave the
//! first unpolled.

use crate::suspension::{Obstacle, Suspension};
use std::io;
use std::sync::Once;

/// The state of a worker's busy polling.
#[derive(Debug)]
pub(super) struct Polling<H = Suspension> {
    state: State<H>,
    /// Open connections of another NAPI instance, or of none.
    foreign: usize,
    /// The latest other instance that was found to exist beside the polled one.
    beside: u32,
}

#[derive(Debug)]
enum State<H> {
    /// It is not asked for, or cannot be.
    Off,
    /// No connection has shown a NAPI instance yet.
    Unknown,
    /// The settings of this instance are changed.
    Held(H),
}

/// The hold on the settings of a NAPI instance.
pub(super) trait Hold: Sized {
    fn of(id: u32) -> Result<Self, Obstacle>;
    fn id(&self) -> u32;
    fn is_there(&self) -> bool;
}

impl Hold for Suspension {
    fn of(id: u32) -> Result<Suspension, Obstacle> {
        Suspension::of(id)
    }

    fn id(&self) -> u32 {
        Suspension::id(self)
    }

    fn is_there(&self) -> bool {
        Suspension::is_there(self)
    }
}

impl<H: Hold> Polling<H> {
    /// Busy polling that is never on.
    pub(super) fn off() -> Polling<H> {
        Polling { state: State::Off, foreign: 0, beside: 0 }
    }

    /// Busy polling that begins with the first connection from a NIC, if `is_supported`: if the
    /// epoll instance has the setting.
    pub(super) fn new(is_supported: io::Result<()>) -> Polling<H> {
        match is_supported {
            Ok(()) => Polling { state: State::Unknown, ..Polling::off() },
            Err(error) => {
                tracing::warn!(
                    %error,
                    "--busy-poll: epoll has no busy polling of its own (EPIOCSPARAMS: Linux 6.9 or later, \
                     CONFIG_NET_RX_BUSY_POLL); serving without"
                );
                Polling::off()
            }
        }
    }

    /// Whether it was given up, or never asked for: connections need not be told.
    pub(super) fn is_off(&self) -> bool {
        matches!(self.state, State::Off)
    }

    /// Whether epoll is to poll the NIC.
    pub(super) fn is_on(&self) -> bool {
        matches!(self.state, State::Held(_)) && self.foreign == 0
    }

    /// Notes an accepted connection of the NAPI instance `id`, 0 if it has none. Returns whether it
    /// is foreign, to be told to [`Polling::closed`].
    pub(super) fn accepted(&mut self, id: u32) -> bool {
        if id != 0 {
            self.learn(id);
        }
        let is_foreign = !matches!(&self.state, State::Held(hold) if hold.id() == id);
        if is_foreign && !self.is_off() {
            report_foreign(id);
        }
        self.foreign += usize::from(is_foreign);
        is_foreign
    }

    /// Notes the end of a connection.
    pub(super) fn closed(&mut self, is_foreign: bool) {
        self.foreign -= usize::from(is_foreign);
    }

    /// Takes the first instance seen, and one that has replaced it.
    fn learn(&mut self, id: u32) {
        match &self.state {
            State::Off => return,
            State::Unknown => {}
            State::Held(hold) if hold.id() == id || self.beside == id => return,
            State::Held(hold) if hold.is_there() => {
                self.beside = id;
                return;
            }
            State::Held(_) => {}
        }
        self.state = match H::of(id) {
            Ok(hold) => State::Held(hold),
            Err(obstacle) => {
                tracing::warn!(napi = id, "--busy-poll: interrupts are not suspended: {obstacle}");
                State::Off
            }
        };
    }
}

/// Logs, once, why interrupts are not suspended although they could be.
fn report_foreign(id: u32) {
    static NO_INSTANCE: Once = Once::new();
    static ANOTHER: Once = Once::new();
    if id == 0 {
        NO_INSTANCE.call_once(|| {
            tracing::info!(
                "--busy-poll: a connection came through no NAPI instance (loopback, or a veth without GRO); its \
                 worker does not suspend interrupts while it is open"
            );
        });
        return;
    }
    ANOTHER.call_once(|| {
        tracing::warn!(
            napi = id,
            "--busy-poll: a worker has connections of two receive queues, and does not suspend their interrupts; \
             set as many queues as workers (ethtool -L IF combined N), and serve one interface"
        );
    });
}

#[cfg(test)]
#[path = "polling_tests.rs"]
mod tests;

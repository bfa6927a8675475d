//! Progress output on a terminal, and the end of a run on a signal.

use super::client::Client;
use super::protocol::Protocol;
use crate::error::Result;
use crate::signals;
use crossbeam_channel::Receiver;
use std::io::{IsTerminal, Write, stderr};

/// Interval of the check for signals, in microseconds.
const POLL_INTERVAL_US: u64 = 10_000;
/// Interval of the progress output, in microseconds.
const PROGRESS_INTERVAL_US: u64 = 1_000_000;

/// Watches one run.
pub(crate) struct Watch {
    signals: Receiver<&'static str>,
    terminal: bool,
    look_at_us: u64,
    shown_us: u64,
    shown_answers: u64,
}

impl Watch {
    /// Handles SIGINT and SIGTERM from now on.
    pub(crate) fn new() -> Result<Watch> {
        let terminal = stderr().is_terminal();
        Ok(Watch {
            signals: signals::watch()?,
            terminal,
            look_at_us: 0,
            shown_us: 0,
            shown_answers: 0,
        })
    }

    /// Neither handles signals nor shows progress.
    pub(crate) fn none() -> Watch {
        Watch {
            signals: crossbeam_channel::never(),
            terminal: false,
            look_at_us: u64::MAX,
            shown_us: 0,
            shown_answers: 0,
        }
    }

    /// Called in each iteration. Does work a hundred times a second.
    #[inline]
    pub(crate) fn poll<P: Protocol>(&mut self, now_us: u64, client: &mut Client<P>) {
        if now_us < self.look_at_us {
            return;
        }
        if self.look_at_us == 0 {
            self.shown_us = now_us;
        }
        self.look_at_us = now_us + POLL_INTERVAL_US;
        if self.signals.try_recv().is_ok() {
            client.end();
        }
        if self.terminal && now_us - self.shown_us >= PROGRESS_INTERVAL_US {
            self.show(now_us, client);
        }
    }

    fn show<P: Protocol>(&mut self, now_us: u64, client: &Client<P>) {
        let answers = client.answers();
        let rate = (answers - self.shown_answers) as f64 * 1e6 / (now_us - self.shown_us) as f64;
        let (phase, open, faults) =
            (client.schedule().name(), client.open(), client.stats.fault_count());
        // Carriage return and "erase to the end of the line": progress takes one line.
        let _ = write!(
            stderr(),
            "\r\x1b[K{phase}: {open} connections open, {rate:.0} responses/s, {faults} errors"
        );
        (self.shown_us, self.shown_answers) = (now_us, answers);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if self.terminal {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}

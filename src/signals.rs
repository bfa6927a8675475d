//! Signals as messages and log lines.
//!
//! | signal | while starting | while serving | while draining |
//! |---|---|---|---|
//! | SIGTERM, SIGINT, SIGQUIT | ends the process, with success | begins to drain | ends the drain at once, in order; a third one kills |
//! | SIGHUP | reloads when started | reloads the content | the same |
//! | SIGUSR1, SIGUSR2, SIGALRM | logged | logged | logged |
//! | SIGXFSZ | ignored: a write beyond the limit fails instead | the same | the same |
//!
//! A blocked log delays no signal by more than 1 s: a signal that ends the process at once flushes
//! the log for that time.
//!
//! SIGPIPE is ignored by Rust's runtime. Other commands than `serve` are ended by the second
//! SIGTERM or SIGINT.

use crate::error::{Error, Result};
use crossbeam_channel::{Receiver, bounded};
use signal_hook::consts::{SIGALRM, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGXFSZ};
use signal_hook::iterator::Signals;
use signal_hook::low_level::{emulate_default_handler, signal_name};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Signals that stop the process gracefully.
const STOPS: [i32; 3] = [SIGTERM, SIGINT, SIGQUIT];
/// Signals that other servers use to reload, reopen or dump.
const REQUESTS: [i32; 4] = [SIGHUP, SIGUSR1, SIGUSR2, SIGALRM];

/// The name of the first SIGTERM or SIGINT. The second ends the process.
pub(crate) fn watch() -> Result<Receiver<&'static str>> {
    watch_with(&[SIGTERM, SIGINT], 1, |_| (), Requests::new())
}

/// What the signals of [`REQUESTS`] do, by their names.
pub(crate) type Requests = Vec<(&'static str, Box<dyn Fn() + Send>)>;

/// Marks a starting process until this value is dropped.
#[derive(Debug)]
pub(crate) struct Starting(Arc<AtomicBool>);

impl Drop for Starting {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// Returns a channel of the first two signals that stop a server; the third ends the process. While
/// the process starts, the first one ends it with success, because nothing reads the channel while
/// content is read and addresses are checked. Signals that would end the process silently are
/// logged, unless `requests` names them.
pub(crate) fn watch_start(requests: Requests) -> Result<(Receiver<&'static str>, Starting)> {
    let starting = Arc::new(AtomicBool::new(true));
    let starts = starting.clone();
    let all: Vec<i32> = STOPS.into_iter().chain(REQUESTS).chain([SIGXFSZ]).collect();
    let signals = watch_with(
        &all,
        2,
        move |signal| {
            if starts.load(Ordering::Acquire) {
                tracing::info!(signal, "stopped before anything was served");
                crate::log::flush();
                std::process::exit(0);
            }
        },
        requests,
    )?;
    Ok((signals, Starting(starting)))
}

/// Sends the names of the first `stops` signals of [`STOPS`] among `signals`. Calls `first` with
/// the first one. The signal after the last has its default effect.
fn watch_with(
    signals: &[i32],
    stops: usize,
    first: impl FnOnce(&'static str) + Send + 'static,
    requests: Requests,
) -> Result<Receiver<&'static str>> {
    let cannot = |error| Error::because("watching for SIGTERM", error);
    let mut signals = Signals::new(signals).map_err(cannot)?;
    let (sender, receiver) = bounded(stops);
    let watch = move || {
        let (mut first, mut left) = (Some(first), stops);
        for signal in signals.forever() {
            let name = signal_name(signal).unwrap_or("a signal");
            if !STOPS.contains(&signal) {
                match requests.iter().find(|(of, _)| *of == name) {
                    Some((_, act)) => {
                        act();
                        tracing::info!(signal = name, "received");
                    }
                    None => note(signal, name),
                }
            } else if left > 0 {
                left -= 1;
                if let Some(first) = first.take() {
                    first(name);
                }
                // The receiver is closed: the process is ending.
                let _ = sender.send(name);
            } else {
                crate::log::flush();
                let _ = emulate_default_handler(signal);
            }
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(watch).map_err(cannot)?;
    Ok(receiver)
}

fn note(signal: i32, name: &'static str) {
    if signal != SIGXFSZ {
        tracing::warn!(
            signal = name,
            "ignored: restart simoom to apply changes of the configuration"
        );
    }
}

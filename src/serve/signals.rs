//! SIGTERM and SIGINT as messages. The first one is an order to stop; a second one, while draining, ends the process
//! at once: the kernel then takes the program off, for its link goes with the process. A process that is still starting
//! has nothing to end in order: there the first one does the same.

use crate::error::{Error, Result};
use crossbeam_channel::{Receiver, bounded};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::{emulate_default_handler, signal_name};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The name of the first signal that comes.
pub(crate) fn watch() -> Result<Receiver<&'static str>> {
    watch_with(|_| ())
}

/// That a process is starting, until this value goes.
#[derive(Debug)]
pub(super) struct Starting(Arc<AtomicBool>);

impl Drop for Starting {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// As [`watch`], but as long as the process is starting the first signal ends it, with success: reading content and
/// asking for addresses take their time, and nothing looks at a channel meanwhile.
pub(super) fn watch_start() -> Result<(Receiver<&'static str>, Starting)> {
    let starting = Arc::new(AtomicBool::new(true));
    let starts = starting.clone();
    let signals = watch_with(move |signal| {
        if starts.load(Ordering::Acquire) {
            tracing::info!(signal, "stopped before anything was served");
            std::process::exit(0);
        }
    })?;
    Ok((signals, Starting(starting)))
}

/// Calls `first` with the first signal's name before it is sent.
fn watch_with(first: impl FnOnce(&'static str) + Send + 'static) -> Result<Receiver<&'static str>> {
    let cannot = |error| Error::because("watching for SIGTERM", error);
    let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(cannot)?;
    let (sender, receiver) = bounded(1);
    let watch = move || {
        let mut signals = signals.forever();
        if let Some(signal) = signals.next() {
            let name = signal_name(signal).unwrap_or("a signal");
            first(name);
            let _ = sender.send(name);
        }
        for again in signals {
            let _ = emulate_default_handler(again);
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(watch).map_err(cannot)?;
    Ok(receiver)
}

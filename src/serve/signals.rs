//! SIGTERM and SIGINT as messages. The first one is an order to stop; a second one, while draining, ends the process
//! at once: the kernel then takes the program off, for its link goes with the process.

use crate::error::{Error, Result};
use crossbeam_channel::{Receiver, bounded};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::{emulate_default_handler, signal_name};

/// The name of the first signal that comes.
pub(crate) fn watch() -> Result<Receiver<&'static str>> {
    let cannot = |error| Error::because("watching for SIGTERM", error);
    let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(cannot)?;
    let (sender, receiver) = bounded(1);
    let watch = move || {
        let mut signals = signals.forever();
        if let Some(first) = signals.next() {
            let _ = sender.send(signal_name(first).unwrap_or("a signal"));
        }
        for again in signals {
            let _ = emulate_default_handler(again);
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(watch).map_err(cannot)?;
    Ok(receiver)
}

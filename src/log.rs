//! The log: where tracing's events are written, and how.

use crate::config::{Log, LogFormat, LogLevel};
use std::io;
use tracing::Level;

/// Writes events to standard error from now on. A second call changes nothing.
pub fn init(log: Log) {
    let level = match log.level {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Trace => Level::TRACE,
    };
    let lines = tracing_subscriber::fmt().with_max_level(level).with_writer(io::stderr).with_target(false);
    // Fails if a subscriber is set already, by a test that runs several commands in one process.
    let _ = match log.format {
        LogFormat::Text => lines.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
}

//! The log: where tracing's events are written, and how.

use crate::config::{Log, LogFormat, LogLevel};
use std::io::{self, IsTerminal};
use tracing::{Level, Subscriber};
use tracing_subscriber::fmt::MakeWriter;

/// Writes events to standard error from now on. A second call changes nothing.
pub fn init(log: Log) {
    let colours = io::stderr().is_terminal();
    // Fails only if a subscriber is set already.
    let _ = tracing::subscriber::set_global_default(subscriber(log, io::stderr, colours));
}

fn subscriber<W>(log: Log, writer: W, colours: bool) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let level = match log.level {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Trace => Level::TRACE,
    };
    // A log that cannot be written must not end what it tells of: complaining of that on standard error would panic.
    let lines = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(writer)
        .with_target(false)
        .log_internal_errors(false);
    match log.format {
        LogFormat::Text => Box::new(lines.with_ansi(colours).finish()),
        LogFormat::Json => Box::new(lines.json().flatten_event(true).finish()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is written of a warning, an info and a debug event.
    fn written(format: LogFormat, level: LogLevel) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = subscriber(Log { format, level }, move || writer.clone(), false);
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!("careful");
            tracing::info!(queues = 4, "open");
            tracing::debug!("detail");
        });
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn the_level_bounds_what_is_written() {
        for (level, count) in [(LogLevel::Error, 0), (LogLevel::Warn, 1), (LogLevel::Info, 2), (LogLevel::Debug, 3)]
        {
            assert_eq!(written(LogFormat::Text, level).lines().count(), count, "{level:?}");
        }
    }

    #[test]
    fn text_is_for_people() {
        let text = written(LogFormat::Text, LogLevel::Info);
        assert!(text.lines().nth(1).unwrap().ends_with(" INFO open queues=4"), "{text}");
    }

    #[test]
    fn every_line_of_json_is_an_object() {
        let text = written(LogFormat::Json, LogLevel::Info);
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((&lines[0]["level"], &lines[0]["message"]), (&"WARN".into(), &"careful".into()));
        assert_eq!((&lines[1]["message"], &lines[1]["queues"]), (&"open".into(), &4.into()));
    }
}

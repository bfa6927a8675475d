//! The log: formats events of `tracing` and writes them to standard error.
//!
//! An event is one line. Messages can contain file names, panic messages and data of peers, so all
//! control characters are escaped. No message can end the line and begin another.
//!
//! After [`init`] one thread writes all lines ([`queue`]). A blocked log loses lines, but delays
//! neither a worker nor the end of the process by more than 1 s.

mod queue;

pub(crate) use queue::MEMORY_BYTES;

pub use crate::config::Log;

use crate::config::{LogFormat, LogLevel};
use crate::error::{Error, Result};
use queue::Queue;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::retry_on_intr;
use std::fmt::{self, Write};
use std::io::{self, IsTerminal};
use std::sync::OnceLock;
use std::time::Duration;
use tracing::{Level, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::{DefaultFields, Writer};
use tracing_subscriber::fmt::{FormatFields, MakeWriter};

/// Time that the end of the process waits for unwritten lines.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// The queue of the log thread, once it is started.
static QUEUE: OnceLock<Queue> = OnceLock::new();

/// Starts the log thread, which writes events to standard error. A second call has no effect.
pub fn init(log: Log) -> Result<()> {
    if QUEUE.get().is_some() {
        return Ok(());
    }
    let colours = io::stderr().is_terminal();
    let queue = Queue::start(Stderr, loss_report(log, colours))
        .map_err(|error| Error::because("starting the log thread", error))?;
    let queue = QUEUE.get_or_init(|| queue).clone();
    // Fails only if a subscriber is set already.
    let _ = tracing::subscriber::set_global_default(subscriber(log, queue, colours));
    Ok(())
}

/// Standard error, waited for even if it is non-blocking: another process that shares the pipe may
/// have made it so. For the log thread alone.
struct Stderr;

impl io::Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let stderr = io::stderr();
        loop {
            match (&stderr).write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    retry_on_intr(|| poll(&mut [PollFd::new(&stderr, PollFlags::OUT)], None))?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Logs the number of lost lines straight to standard error. For the log thread alone.
fn loss_report(log: Log, colours: bool) -> impl FnMut(u64) + Send + 'static {
    let direct = tracing::Dispatch::new(subscriber(log, || Stderr, colours));
    move |lines| {
        tracing::dispatcher::with_default(&direct, || {
            // An error, so that each level shows it: errors may be among the lost lines.
            tracing::error!(
                lines,
                "lines of the log were lost: standard error did not accept them"
            );
        });
    }
}

/// Waits until all logged lines are written, at most 1 s. Call it before the process ends.
pub(crate) fn flush() {
    if let Some(queue) = QUEUE.get() {
        queue.flush(FLUSH_LIMIT);
    }
}

/// Writes `text` unchanged to standard error, after the logged lines. Waits at most 1 s. For the
/// last message of a process. Returns whether it is written.
pub(crate) fn print(text: &str) -> bool {
    match QUEUE.get() {
        Some(queue) => queue.print(text, FLUSH_LIMIT),
        // Nothing serves yet, and there is no way to report an error.
        None => io::Write::write_all(&mut io::stderr(), text.as_bytes()).is_ok(),
    }
}

/// Whether the log thread is started.
pub(crate) fn is_started() -> bool {
    QUEUE.get().is_some()
}

/// Lines lost since the start of the process.
pub(crate) fn lines_lost() -> u64 {
    QUEUE.get().map_or(0, Queue::lost)
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
    // A failed write must not end the process: the default report of it on standard error would
    // panic.
    let lines = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(writer)
        .with_target(false)
        .log_internal_errors(false);
    match log.format {
        LogFormat::Text => {
            Box::new(lines.with_ansi(colours).fmt_fields(OneLine(DefaultFields::new())).finish())
        }
        // JSON escapes them itself.
        LogFormat::Json => Box::new(lines.json().flatten_event(true).finish()),
    }
}

/// Writes message and fields with control characters escaped.
struct OneLine(DefaultFields);

impl<'w> FormatFields<'w> for OneLine {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'w>, fields: R) -> fmt::Result {
        self.0.format_fields(Writer::new(&mut Escaping(&mut writer)), fields)
    }
}

/// Escapes control characters and line separators in written text.
struct Escaping<'a, 'w>(&'a mut Writer<'w>);

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        write_escaped(self.0, text)
    }
}

/// Displays text of a peer within one line.
pub(crate) struct Escaped<'a>(pub(crate) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_escaped(f, self.0)
    }
}

fn write_escaped(to: &mut impl Write, text: &str) -> fmt::Result {
    let mut rest = text;
    while let Some(at) = rest.find(ends_a_line) {
        let (plain, behind) = rest.split_at(at);
        to.write_str(plain)?;
        let mut chars = behind.chars();
        if let Some(control) = chars.next() {
            write!(to, "{}", control.escape_default())?;
        }
        rest = chars.as_str();
    }
    to.write_str(rest)
}

/// Whether `char` may end a line or steer a terminal. U+2028 and U+2029 are no control characters,
/// but separate lines.
fn ends_a_line(char: char) -> bool {
    char.is_control() || matches!(char, '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The output for a warning, an info and a debug event.
    fn written(format: LogFormat, level: LogLevel) -> String {
        written_by(format, level, false, || {
            tracing::warn!("careful");
            tracing::info!(queues = 4, "open");
            tracing::debug!("detail");
        })
    }

    fn written_by(
        format: LogFormat,
        level: LogLevel,
        colours: bool,
        events: impl FnOnce(),
    ) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = subscriber(Log { format, level }, move || writer.clone(), colours);
        tracing::subscriber::with_default(subscriber, events);
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    /// A name that writes a second line, clears the screen and writes a third.
    const HOSTILE: &str = "a\nERROR all is lost\r\u{1b}[2J\u{9b}2J\u{7f}\u{2028}b\t\0é";

    fn hostile_events() {
        tracing::warn!("not served: {HOSTILE}");
        tracing::warn!(path = %std::path::Path::new(HOSTILE).display(), "not served");
        tracing::warn!(path = HOSTILE, "not served");
        tracing::warn!(error = &io::Error::other(HOSTILE) as &dyn std::error::Error, "failed");
        let panic = crate::panics::catch(|| panic!("{HOSTILE}")).err().unwrap();
        tracing::warn!(at = %panic, "panicked");
    }

    #[test]
    fn no_name_writes_a_line_of_its_own() {
        crate::panics::install();
        crate::panics::reported_here();
        for format in [LogFormat::Text, LogFormat::Json] {
            let text = written_by(format, LogLevel::Info, false, hostile_events);
            assert_eq!(text.lines().count(), 5, "{text}");
            for line in text.lines() {
                assert!(line.contains("WARN") && line.contains(r"a\nERROR all is lost"), "{line}");
            }
        }
        let text = written_by(LogFormat::Text, LogLevel::Info, false, hostile_events);
        assert!(!text.replace('\n', "").contains(ends_a_line), "{text:?}");
        assert!(text.contains('é'), "{text}");
    }

    #[test]
    fn colours_come_from_the_log_alone() {
        let text = written_by(LogFormat::Text, LogLevel::Info, true, hostile_events);
        assert!(text.contains("\u{1b}[33m WARN\u{1b}[0m"), "{text:?}");
        assert!(!text.contains("\u{1b}[2J"), "{text:?}");
    }

    #[test]
    fn the_level_bounds_what_is_written() {
        for (level, count) in
            [(LogLevel::Error, 0), (LogLevel::Warn, 1), (LogLevel::Info, 2), (LogLevel::Debug, 3)]
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
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((&lines[0]["level"], &lines[0]["message"]), (&"WARN".into(), &"careful".into()));
        assert_eq!((&lines[1]["message"], &lines[1]["queues"]), (&"open".into(), &4.into()));
    }
}

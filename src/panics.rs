//! Panics: reports the location of a panic to the code that catches it, and logs at most one line a
//! second.
//!
//! [`install`] sets a panic hook. On threads that called [`reported_here`] the hook stores the
//! location of a panic instead of printing it, and [`catch`] returns the panic as a [`Panic`]. On
//! all other threads the hook prints: through the log thread if it runs ([`log::print`]), otherwise
//! with the previous hook. [`Containment`] counts what it catches.

use crate::log;
use crate::metrics::Metric;
use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, resume_unwind};
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

/// Minimum time between two log lines about panics.
const LOG_PERIOD: Duration = Duration::from_secs(1);

thread_local! {
    /// Whether this thread reports its panics itself.
    static REPORTED: Cell<bool> = const { Cell::new(false) };
    /// Location of the last panic of this thread.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// A panic that was caught.
pub struct Panic {
    payload: Box<dyn Any + Send>,
    place: Option<String>,
}

impl Panic {
    fn message(&self) -> &str {
        message(&*self.payload)
    }

    /// Resumes the panic for an outer caller to catch.
    pub fn resume(self) -> ! {
        PLACE.set(self.place);
        resume_unwind(self.payload)
    }
}

/// Writes the location, if known, and the message.
impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: {}", self.message()),
            None => f.write_str(self.message()),
        }
    }
}

fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}

/// Runs `call` and catches its panic. The cost without a panic is negligible.
#[inline]
pub fn catch<R>(call: impl FnOnce() -> R) -> Result<R, Panic> {
    catch_unwind(AssertUnwindSafe(call)).map_err(caught)
}

#[cold]
fn caught(payload: Box<dyn Any + Send>) -> Panic {
    Panic { payload, place: PLACE.take() }
}

/// Declares that this thread catches and reports its panics, so that the hook does not print them.
pub fn reported_here() {
    REPORTED.set(true);
}

/// Does the same as [`reported_here`] during `call` only. Other panics of the thread are printed.
pub fn reported<R>(call: impl FnOnce() -> R) -> R {
    let before = REPORTED.replace(true);
    let result = call();
    REPORTED.set(before);
    result
}

/// Sets the panic hook, once for the process.
pub fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| match note(info) {
            true => {}
            false if log::is_started() => print(info),
            false => previous(info),
        }));
    });
}

/// Prints a panic through the log thread. A blocked log must not keep a dying process alive.
fn print(info: &PanicHookInfo<'_>) {
    let is_written = log::print(&text(info));
    if REPORTED.get() && !is_written {
        // A second panic during unwinding: Rust would write to standard error before it aborts.
        std::process::abort();
    }
}

/// The text that the default hook of Rust prints.
fn text(info: &PanicHookInfo<'_>) -> String {
    let thread = std::thread::current();
    let mut text = format!("\nthread '{}' {info}\n", thread.name().unwrap_or("<unnamed>"));
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        text.push_str(&format!("stack backtrace:\n{backtrace}"));
    }
    text
}

/// Stores the location of a panic. Returns false if it must be printed, also for a second panic
/// during unwinding, which ends the process.
fn note(info: &PanicHookInfo<'_>) -> bool {
    let place = info.location().map(|at| format!("{}:{}", at.file(), at.line()));
    PLACE.with_borrow_mut(|noted| {
        let is_second = noted.is_some();
        *noted = place;
        REPORTED.get() && !is_second
    })
}

/// State of the log limit.
struct Told {
    at: Option<Instant>,
    suppressed: u64,
}

static TOLD: Mutex<Told> = Mutex::new(Told { at: None, suppressed: 0 });

/// What a panic ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// A connection, of the service with this name if it is known.
    Connection(Option<&'static str>),
    /// A call that concerns no connection.
    Call,
}

/// Logs a contained panic. Only counts it if another was logged less than 1 s ago.
#[cold]
pub fn log(panic: &Panic, ended: Ended) {
    let Some(suppressed) = due(Instant::now(), 1) else { return };
    let suppressed = (suppressed > 0).then_some(suppressed);
    // The field `message` is the text of the line.
    let (location, panic) = (panic.place.as_deref(), panic.message());
    match ended {
        Ended::Connection(service) => tracing::error!(
            service,
            location,
            panic,
            suppressed,
            "a panic was contained; its connection is closed"
        ),
        Ended::Call => {
            tracing::error!(location, panic, suppressed, "a panic was contained");
        }
    }
}

/// Logs the number of panics without a line, if 1 s has passed. Call it once a second.
pub fn log_suppressed() {
    if let Some(suppressed @ 1..) = due(Instant::now(), 0) {
        tracing::error!(suppressed, "further panics were contained since the last report");
    }
}

/// Returns the number of panics without a line if a line is due at `now`. Otherwise adds `new` to
/// that number.
fn due(now: Instant, new: u64) -> Option<u64> {
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    if told.at.is_some_and(|at| now.saturating_duration_since(at) < LOG_PERIOD) {
        told.suppressed += new;
        return None;
    }
    if new > 0 || told.suppressed > 0 {
        told.at = Some(now);
    }
    Some(std::mem::take(&mut told.suppressed))
}

/// Runs calls of handlers and counts the panics.
#[derive(Debug, Default)]
pub struct Containment {
    panics: Cell<u64>,
}

/// Panics that the worker survived.
pub(crate) static HANDLER_PANICS: Metric =
    Metric::new("handler_panics", "Panics in a handler; report each one.");

impl Containment {
    /// Runs `call`. Counts and logs a panic.
    #[inline]
    pub fn run<R>(&self, call: impl FnOnce() -> R) -> Result<R, Panic> {
        catch(call).inspect_err(|panic| self.note(panic, Ended::Call))
    }

    #[cold]
    pub(crate) fn note(&self, panic: &Panic, ended: Ended) {
        self.panics.set(self.panics.get() + 1);
        log(panic, ended);
    }

    /// Passes the counter to `sink`.
    pub fn publish(&self, sink: &mut dyn FnMut(&'static Metric, u64)) {
        sink(&HANDLER_PANICS, self.panics.get());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caught_panic_tells_its_place_and_message() {
        install();
        reported_here();
        let panic = catch(|| panic!("count is {}", 3)).err().unwrap();
        let (place, line) = (file!(), line!() - 1);
        assert_eq!(panic.to_string(), format!("{place}:{line}: count is 3"));
        assert!(matches!(catch(|| 7), Ok(7)));
    }

    #[test]
    fn a_resumed_panic_keeps_its_place() {
        install();
        reported_here();
        let inner = || catch(|| panic!("deep")).unwrap_or_else(|panic: Panic| panic.resume());
        let panic = catch(inner).err().unwrap();
        assert!(panic.to_string().starts_with(concat!(file!(), ":")), "{panic}");
        assert!(panic.to_string().ends_with(": deep"), "{panic}");
    }

    #[test]
    fn one_line_a_second_tells_of_all_panics() {
        let second = Duration::from_secs(1);
        // Far from the present, so that no other test's panics are near.
        let start = Instant::now() + 1000 * second;
        assert_eq!(due(start, 1).map(|_| ()), Some(()));
        assert_eq!(
            (due(start, 1), due(start + second / 2, 1), due(start + second / 2, 0)),
            (None, None, None)
        );
        assert_eq!(due(start + second, 1), Some(2));
        assert_eq!(due(start + 2 * second, 0), Some(0));
        assert_eq!(due(start + 2 * second, 1), Some(0));
    }
}

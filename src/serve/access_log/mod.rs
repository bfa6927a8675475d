//! Writes the access log on a thread of its own: takes the records of all workers, formats them and
//! appends them to a file.
//!
//! A slow disk delays this thread alone. Then the buffers of the workers fill, and further records
//! are lost. These and the lines that the disk does not accept are counted
//! (`http_access_log_lost`).

mod file;
mod line;

use crate::app::http::{Access, BUFFER_BYTES, Buffer, Network, records};
use crate::config::AccessLogFormat;
use crate::error::{Error, Result};
use crossbeam_channel::{Receiver, Sender, bounded};
use file::LogFile;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Thread;
use std::time::Duration;
use tracing::{info, warn};

/// Interval of writing: the longest time until a record is in the file.
const WRITE_PERIOD: Duration = Duration::from_millis(100);
/// Time for the last lines when the server has ended.
const END_LIMIT: Duration = Duration::from_secs(1);

/// The part that workers and signals see. Its end is the end of the thread.
pub(super) struct AccessLog {
    shared: Arc<Shared>,
    thread: Thread,
    has_ended: Receiver<()>,
}

/// What the thread and the others share.
#[derive(Default)]
struct Shared {
    buffers: Mutex<Vec<Arc<Buffer>>>,
    reopens: AtomicBool,
    ends: AtomicBool,
}

impl AccessLog {
    /// Opens the file, and starts to write records to it.
    pub(super) fn start(
        path: &Path,
        format: AccessLogFormat,
        trusted: &[Network],
    ) -> Result<AccessLog> {
        let file = LogFile::open(path).map_err(|error| {
            Error::usage(format!(
                "--access-log {}: {}; name a file that can be written",
                path.display(),
                file::reason(&error)
            ))
        })?;
        let shared = Arc::new(Shared::default());
        let (end, has_ended) = bounded(0);
        let writer = Writer {
            shared: shared.clone(),
            file,
            format,
            trusted: trusted.to_vec(),
            spare: Vec::with_capacity(BUFFER_BYTES),
            lines: Vec::new(),
            lost: 0,
            has_failed: false,
        };
        let thread = std::thread::Builder::new().name("access log".into());
        let cannot = |error| Error::because("starting the thread of the access log", error);
        let thread = thread.spawn(move || writer.run(end)).map_err(cannot)?.thread().clone();
        Ok(AccessLog { shared, thread, has_ended })
    }

    /// The access log of one more worker.
    pub(super) fn worker(&self, connections: usize) -> Access {
        let buffer = Buffer::taken_by(Some(self.thread.clone()));
        let buffers = &self.shared.buffers;
        buffers.lock().unwrap_or_else(PoisonError::into_inner).push(buffer.clone());
        Access::new(buffer, connections)
    }

    /// Opens the file again, before further records are written: for the rotation of logs.
    pub(super) fn reopen(&self) {
        self.shared.reopens.store(true, Ordering::Release);
        self.thread.unpark();
    }

    /// Writes the last records. Waits at most 1 s. Call it when all workers have ended.
    pub(super) fn end(&self) {
        self.request_end();
        if self.has_ended.recv_timeout(END_LIMIT).is_err_and(|error| error.is_timeout()) {
            warn!("the access log does not accept its last lines; they are lost");
        }
    }

    fn request_end(&self) {
        self.shared.ends.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.request_end();
    }
}

struct Writer {
    shared: Arc<Shared>,
    file: LogFile,
    format: AccessLogFormat,
    /// Networks whose X-Forwarded-For is believed.
    trusted: Vec<Network>,
    spare: Vec<u8>,
    lines: Vec<u8>,
    /// Lines lost since writing began to fail.
    lost: u64,
    has_failed: bool,
}

impl Writer {
    /// Runs until the server has ended. Drops `_end` then.
    fn run(mut self, _end: Sender<()>) {
        loop {
            // Records of before are written below.
            let ends = self.shared.ends.load(Ordering::Acquire);
            if self.shared.reopens.swap(false, Ordering::Acquire) {
                self.reopen();
            }
            self.write_all();
            if ends {
                self.lost += self.file.end_line();
                return;
            }
            std::thread::park_timeout(WRITE_PERIOD);
        }
    }

    fn reopen(&mut self) {
        match self.file.reopen() {
            Ok(()) => info!(path = %self.file.path().display(), "opened the access log again"),
            Err(error) => {
                let error = file::reason(&error);
                warn!(error, "the access log cannot be opened again");
            }
        }
    }

    fn write_all(&mut self) {
        let buffers = self.shared.buffers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for buffer in buffers {
            buffer.take(&mut self.spare);
            self.lines.clear();
            for mut record in records(&self.spare) {
                record.address = line::client(&record, &self.trusted);
                line::push(&record, self.format, &mut self.lines);
            }
            if self.lines.is_empty() && !self.file.is_within_line() {
                continue;
            }
            let shared = &self.shared;
            let gives_up = || shared.reopens.load(Ordering::Relaxed);
            let (lost, outcome) = self.file.write(&self.lines, gives_up);
            buffer.lose(lost);
            self.lost += lost;
            self.report(outcome);
        }
    }

    /// Logs the begin and the end of a failure, once.
    fn report(&mut self, outcome: io::Result<()>) {
        match outcome {
            Ok(()) if self.has_failed => {
                info!(lost = self.lost, "the access log is written again");
                (self.has_failed, self.lost) = (false, 0);
            }
            Ok(()) => {}
            Err(error) if !self.has_failed => {
                warn!(%error, "the access log cannot be written; its lines are lost");
                self.has_failed = true;
            }
            Err(_) => {}
        }
    }
}

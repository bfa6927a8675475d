//! The queue between the threads that log and the one thread that writes.
//!
//! A write to standard error blocks while nobody reads the other end: a pipe to a stuck log
//! shipper, a terminal after Ctrl-S. So only the log thread writes. All other threads put lines
//! into a bounded queue and never wait. A line that finds no space is dropped and counted, and the
//! log thread writes the count when there is space again.

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tracing_subscriber::fmt::MakeWriter;

/// Lines that the queue holds.
const LINES: usize = 4096;
/// Bytes of lines that the queue holds.
const BYTES: usize = 1 << 20;
/// Bytes of a full queue: the lines, and a slot for each of them.
pub(crate) const MEMORY_BYTES: usize = BYTES + LINES * (size_of::<Message>() + size_of::<usize>());

/// What the log thread takes from the queue.
enum Message {
    /// One line, or a text of several, with its line ends.
    Line(Box<[u8]>),
    /// All earlier lines are written: drop the sender, which the flushing thread waits for.
    Flush(Sender<()>),
}

/// The sender's end of the queue. All clones share one queue.
#[derive(Clone)]
pub(super) struct Queue {
    sender: Sender<Message>,
    level: Arc<Level>,
}

/// Fill level and losses of the queue.
#[derive(Default)]
struct Level {
    /// Bytes of the lines that are not written yet.
    bytes: AtomicUsize,
    /// Lines dropped since the start.
    lost: AtomicU64,
}

impl Level {
    /// Counts `len` bytes as queued. Returns false if the queue does not have the space.
    fn reserve(&self, len: usize) -> bool {
        let has_space = self.bytes.fetch_add(len, Ordering::Relaxed).saturating_add(len) <= BYTES;
        if !has_space {
            self.release(len);
        }
        has_space
    }

    fn release(&self, len: usize) {
        self.bytes.fetch_sub(len, Ordering::Relaxed);
    }

    fn lose(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }
}

impl Queue {
    /// Starts the log thread, which writes to `writer`. It calls `report` with the number of lines
    /// lost since the last report.
    pub(super) fn start<W, R>(writer: W, report: R) -> io::Result<Queue>
    where
        W: Write + Send + 'static,
        R: FnMut(u64) + Send + 'static,
    {
        let (sender, receiver) = bounded(LINES);
        let level = Arc::new(Level::default());
        let thread = LogThread { writer, report, level: level.clone(), reported: 0, behind: 0 };
        std::thread::Builder::new().name("log".into()).spawn(move || thread.run(&receiver))?;
        Ok(Queue { sender, level })
    }

    /// Lines dropped since the start.
    pub(super) fn lost(&self) -> u64 {
        self.level.lost.load(Ordering::Relaxed)
    }

    /// Queues `line`. Drops and counts it if the queue is full. Never waits.
    fn push(&self, line: &[u8]) {
        if !self.level.reserve(line.len()) {
            return self.level.lose();
        }
        if self.sender.try_send(Message::Line(line.into())).is_err() {
            self.level.release(line.len());
            self.level.lose();
        }
    }

    /// Queues `text` and flushes; waits at most `limit` in all. For the last message of a process.
    /// Returns whether all is written.
    pub(super) fn print(&self, text: &str, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        // Not subject to the limit of bytes: the number of texts is that of the threads.
        self.level.bytes.fetch_add(text.len(), Ordering::Relaxed);
        let message = Message::Line(text.as_bytes().into());
        if self.sender.send_deadline(message, deadline).is_err() {
            self.level.release(text.len());
            self.level.lose();
            return false;
        }
        self.flush_until(deadline)
    }

    /// Waits until all lines queued before are written, at most `limit`. Returns whether
    /// they are.
    pub(super) fn flush(&self, limit: Duration) -> bool {
        self.flush_until(Instant::now() + limit)
    }

    fn flush_until(&self, deadline: Instant) -> bool {
        let (written, is_written) = bounded(0);
        self.sender.send_deadline(Message::Flush(written), deadline).is_ok()
            // The log thread drops the sender and sends nothing.
            && is_written.recv_deadline(deadline) == Err(RecvTimeoutError::Disconnected)
    }
}

impl<'w> MakeWriter<'w> for Queue {
    type Writer = &'w Queue;

    fn make_writer(&'w self) -> &'w Queue {
        self
    }
}

/// Each write is one line: tracing's formatter writes an event at once.
impl Write for &Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The state of the log thread.
struct LogThread<W, R> {
    writer: W,
    report: R,
    level: Arc<Level>,
    /// Lost lines that were reported.
    reported: u64,
    /// Lines written since a report became due.
    behind: usize,
}

impl<W: Write, R: FnMut(u64)> LogThread<W, R> {
    /// Writes until the last [`Queue`] is dropped.
    fn run(mut self, receiver: &Receiver<Message>) {
        for message in receiver {
            match message {
                Message::Line(line) => {
                    self.write(&line);
                    self.report_losses(receiver.is_empty());
                }
                Message::Flush(written) => {
                    self.report_losses(receiver.is_empty());
                    drop(written);
                }
            }
        }
        self.report_losses(true);
    }

    fn write(&mut self, line: &[u8]) {
        if self.writer.write_all(line).is_err() {
            // The reader has closed its end, or the disk is full.
            self.level.lose();
        }
        self.level.release(line.len());
    }

    /// Reports lost lines behind the lines that were queued before them. A queue that never gets
    /// empty does not delay the report for longer than its length.
    fn report_losses(&mut self, is_empty: bool) {
        let lost = self.level.lost.load(Ordering::Relaxed);
        if lost == self.reported {
            return;
        }
        self.behind += 1;
        if is_empty || self.behind > LINES {
            (self.report)(lost - self.reported);
            (self.reported, self.behind) = (lost, 0);
        }
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;

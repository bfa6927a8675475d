//! Reads files from disk for the workers, on threads of its own. No worker waits for a disk.
//!
//! A worker asks for a part of a file with a [`Request`]. A thread reads the part into a buffer and
//! completes the request's token with it: the worker wakes and queues the buffer for the client.
//! When the client has taken it, dropping the buffer completes a second token, so that the worker
//! asks for more.
//!
//! [`memory`] bounds the buffers. The channel to the threads has a place for each answer that it
//! admits, and each answer has one request at a time. So sending a request never blocks, and the
//! threads serve the answers in turn.

mod memory;
mod read;

pub(crate) use memory::{Admission, Charge, SPARE_BYTES};
pub use read::FilePart;
pub(crate) use read::{Reading, Request};

use crossbeam_channel::{Receiver, Sender, bounded};
use memory::Memory;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Settings of the threads that read files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The number of threads, at least 1.
    pub threads: usize,
    /// Memory for the buffers.
    pub buffer_bytes: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { threads: 4, buffer_bytes: 32 << 20 }
    }
}

impl Settings {
    /// Bytes of memory that the buffers take.
    pub fn memory_bytes(&self) -> usize {
        self.buffer_bytes + SPARE_BYTES
    }
}

/// The threads that read files, as the workers see them. They end when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct FileReader {
    requests: Sender<Request>,
    memory: Arc<Memory>,
}

/// The threads before they start: with the first content that has files on disk.
pub struct Threads {
    number: usize,
    requests: Receiver<Request>,
    changed: Arc<OnChanged>,
}

/// Called with the path of a file that has other bytes than its answer needs.
type OnChanged = dyn Fn(&Path) + Send + Sync;

impl Threads {
    /// Starts the threads.
    pub fn start(self) -> io::Result<()> {
        for number in 0..self.number {
            let (requests, changed) = (self.requests.clone(), self.changed.clone());
            let thread = std::thread::Builder::new().name(format!("file {number}"));
            thread.spawn(move || {
                let files = requests.iter().filter_map(Request::run);
                files.for_each(|file| changed(file.path()));
            })?;
        }
        Ok(())
    }
}

impl FileReader {
    /// A reader and its threads, which call `changed` if a file has other bytes than its answer
    /// needs.
    pub fn new(
        settings: &Settings,
        changed: impl Fn(&Path) + Send + Sync + 'static,
    ) -> (FileReader, Threads) {
        let (reader, requests) = FileReader::without_threads(settings.buffer_bytes);
        let changed = Arc::new(changed);
        (reader, Threads { number: settings.threads, requests, changed })
    }

    /// A reader whose requests the caller runs.
    pub(crate) fn without_threads(buffer_bytes: usize) -> (FileReader, Receiver<Request>) {
        let memory = Memory::new(buffer_bytes);
        let (sender, receiver) = bounded(memory.answers_max());
        (FileReader { requests: sender, memory }, receiver)
    }

    /// Admits one more answer; `None` if the memory does not allow it.
    pub(crate) fn admit(&self) -> Option<Arc<Admission>> {
        Admission::new(&self.memory)
    }

    /// Memory for a part of up to `wanted` bytes; `None` if other answers use it.
    pub(crate) fn grant(&self, wanted: u64) -> Option<Charge> {
        Memory::grant(&self.memory, wanted)
    }

    /// Passes a request to the threads.
    pub(crate) fn send(&self, request: Request) {
        // There is space for a request of each answer. A request that is dropped fails its answer.
        let _ = self.requests.try_send(request);
    }
}

//! Reads one part of a file.

use super::memory::{Admission, Charge};
use crate::app::Blob;
use crate::app::content::OnDisk;
use crate::later::Token;
use rustix::buffer::spare_capacity;
use rustix::io::{Errno, pread};
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use tracing::warn;

/// A file that one answer reads.
#[derive(Debug)]
pub(crate) struct Reading {
    file: Arc<OnDisk>,
    /// Opened with the first part, and then the same for all parts.
    opened: OnceLock<Arc<File>>,
    is_over: AtomicBool,
    admission: Arc<Admission>,
}

impl Reading {
    pub(crate) fn new(file: Arc<OnDisk>, admission: Arc<Admission>) -> Arc<Reading> {
        let (opened, is_over) = (OnceLock::new(), AtomicBool::new(false));
        Arc::new(Reading { file, opened, is_over, admission })
    }

    /// The memory that the answer has of its own.
    pub(crate) fn admission(&self) -> &Arc<Admission> {
        &self.admission
    }

    /// Reads no further part.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    fn opened(&self) -> io::Result<&Arc<File>> {
        if let Some(file) = self.opened.get() {
            return Ok(file);
        }
        let file = self.file.open()?;
        Ok(self.opened.get_or_init(|| file))
    }

    /// Reads `bytes` bytes at `offset` into `buffer`.
    fn read(&self, offset: u64, bytes: usize, buffer: &mut Vec<u8>) -> io::Result<()> {
        let file = self.opened()?;
        while buffer.len() < bytes {
            let at = offset + buffer.len() as u64;
            match pread(file, spare_capacity(buffer), at) {
                Ok(0) => return Err(io::Error::other("the file is shorter than it was")),
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // The file may be longer now, and the buffer too.
        buffer.truncate(bytes);
        self.file.check(file)
    }
}

/// A request for a part of a file.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) reading: Arc<Reading>,
    pub(crate) offset: u64,
    /// Memory for the part, which gives its length.
    pub(crate) charge: Charge,
    /// Completed with the part. Dropped if it cannot be read.
    pub(crate) done: Token,
    /// Dropped when the client has taken the part.
    pub(crate) taken: Token,
}

impl Request {
    /// Reads the part and completes the request. Returns the file if it has other bytes than its
    /// answer needs.
    pub(crate) fn run(self) -> Option<Arc<OnDisk>> {
        let Request { reading, offset, charge, done, taken } = self;
        if reading.is_over.load(Ordering::Relaxed) {
            return None;
        }
        let mut bytes = charge.buffer();
        match reading.read(offset, charge.bytes(), &mut bytes) {
            Ok(()) => {
                done.complete(FilePart(Arc::new(Part { bytes, charge, _taken: taken })));
                None
            }
            Err(error) => {
                charge.keep(bytes);
                if reading.file.is_first_failure() {
                    let path = reading.file.path().display();
                    warn!(%path, %error, "a file cannot be read for its answer");
                }
                reading.file.has_changed().then(|| reading.file.clone())
            }
        }
    }
}

/// A part of a file that was read from disk for one answer.
#[derive(Clone, Debug)]
pub struct FilePart(Arc<Part>);

#[derive(Debug)]
struct Part {
    bytes: Vec<u8>,
    charge: Charge,
    /// Dropped after the charge, so that the worker that it wakes finds the memory free.
    _taken: Token,
}

impl FilePart {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0.bytes
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.charge.keep(std::mem::take(&mut self.bytes));
    }
}

impl From<FilePart> for Blob {
    fn from(part: FilePart) -> Blob {
        Blob::File(part)
    }
}

//! The access log, as a worker sees it: one record for each answer, into a bounded buffer.
//!
//! A worker copies the parts of the request and the answer. It formats nothing, opens no file and
//! never waits. Another thread takes the buffers ([`Buffer::take`]), formats the records and writes
//! them. A record that finds no space is lost and counted.

use super::places::{PlaceIndex, Places};
use super::request::Request;
use super::response::Status;
use simoom_io::Ends;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, TryLockError};
use std::thread::Thread;
use std::time::Instant;

/// Bytes of records that one worker's buffer holds.
pub const BUFFER_BYTES: usize = 1 << 20;
/// Above this fill level a worker wakes the thread that takes the records.
const WAKE_BYTES: usize = BUFFER_BYTES / 4;
/// Longest text of a record that is kept, of the target and of each field.
const TEXT_MAX_BYTES: usize = 1024;
/// Bytes of a record before its texts.
const FIXED_BYTES: usize = 8 + 4 + 8 + 2 + 1 + 16;
/// The texts of a record: minor version, method, target, Host, Referer, User-Agent and
/// X-Forwarded-For.
const TEXTS: usize = 7;

/// The records of one worker that are not written yet.
#[derive(Debug)]
pub struct Buffer {
    records: Mutex<Vec<u8>>,
    /// Records that were taken and could not be written.
    unwritten: AtomicU64,
    /// The thread that takes the records.
    taker: Option<Thread>,
}

impl Buffer {
    /// An empty buffer.
    pub fn new() -> Arc<Buffer> {
        Buffer::taken_by(None)
    }

    /// An empty buffer. Unparks the thread when records should be taken soon.
    pub fn taken_by(taker: Option<Thread>) -> Arc<Buffer> {
        let records = Mutex::new(Vec::with_capacity(BUFFER_BYTES));
        Arc::new(Buffer { records, unwritten: AtomicU64::new(0), taker })
    }

    /// Takes all records, and leaves the empty `spare` of the same capacity.
    pub fn take(&self, spare: &mut Vec<u8>) {
        spare.clear();
        let mut bytes = self.records.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        std::mem::swap(&mut *bytes, spare);
    }

    /// Counts records that were taken and could not be written.
    pub fn lose(&self, records: u64) {
        self.unwritten.fetch_add(records, Ordering::Relaxed);
    }

    /// Appends records. Returns false if there is no space, or if they are just taken.
    fn append(&self, records: &[u8]) -> bool {
        let mut bytes = match self.records.try_lock() {
            Ok(bytes) => bytes,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        let (before, after) = (bytes.len(), bytes.len() + records.len());
        let fits = after <= BUFFER_BYTES;
        if fits {
            bytes.extend_from_slice(records);
        }
        drop(bytes);
        // Once for each filling: a wakeup may be a system call.
        if fits
            && before < WAKE_BYTES
            && after >= WAKE_BYTES
            && let Some(taker) = &self.taker
        {
            taker.unpark();
        }
        fits
    }
}

/// The request of an answer that waits.
#[derive(Debug)]
pub(super) struct Pending {
    began: Instant,
    texts: Box<[u8]>,
}

/// The access log of one worker.
#[derive(Debug)]
pub struct Access {
    buffer: Arc<Buffer>,
    /// Addresses of the open connections.
    addresses: Vec<Option<IpAddr>>,
    /// The texts of the request that is being handled. Empty if its head was not parsed.
    texts: Vec<u8>,
    began: Instant,
    record: Vec<u8>,
}

impl Access {
    /// An access log for `connections`, into `buffer`.
    pub fn new(buffer: Arc<Buffer>, connections: usize) -> Access {
        Access {
            buffer,
            addresses: vec![None; connections],
            texts: Vec::with_capacity(TEXTS * (TEXT_MAX_BYTES + 2)),
            began: Instant::now(),
            record: Vec::with_capacity(FIXED_BYTES + TEXTS * (TEXT_MAX_BYTES + 2)),
        }
    }

    /// Bytes of memory for `connections`.
    pub fn memory_bytes(connections: usize) -> usize {
        // Two buffers: one is filled while the other is written.
        2 * BUFFER_BYTES + connections * (size_of::<Option<IpAddr>>() + Places::BYTES_EACH)
    }

    pub(super) fn opened(&mut self, place: PlaceIndex, ends: Option<Ends>) {
        if let Some(address) = self.addresses.get_mut(place.get()) {
            *address = ends.map(|ends| ends.remote.ip().to_canonical());
        }
    }

    /// The number of connections.
    pub(super) fn connections(&self) -> usize {
        self.addresses.len()
    }

    /// Replaces the address by that of the client which a proxy speaks for.
    pub(super) fn set_address(&mut self, place: PlaceIndex, client: IpAddr) {
        if let Some(address) = self.addresses.get_mut(place.get()) {
            *address = Some(client);
        }
    }

    /// Forgets the request of another connection that has no answer yet. Call it first when a
    /// connection is served.
    #[inline]
    pub(super) fn forget(&mut self) {
        self.texts.clear();
    }

    /// Notes the bytes of a head before they are parsed.
    pub(super) fn begin(&mut self) {
        self.begin_at(Instant::now());
    }

    /// As [`Access::begin`], for a head that arrived earlier.
    pub(super) fn begin_at(&mut self, began: Instant) {
        self.began = began;
        self.texts.clear();
    }

    /// When the head of the request arrived.
    pub(super) fn began(&self) -> Instant {
        self.began
    }

    /// Notes a request whose head is whole.
    pub(super) fn request(&mut self, request: &Request<'_, '_>) {
        self.texts.clear();
        let field = |name| request.values(name).next().unwrap_or_default();
        self.text(&[request.minor]);
        self.text(request.method_name.as_bytes());
        self.text(request.raw_target());
        self.text(request.host());
        self.text(field("Referer"));
        self.text(field("User-Agent"));
        self.list(request.values("X-Forwarded-For"));
    }

    /// Appends a list that may span several fields. Of a list that is too long, the last members
    /// stay: proxies append, and the first members are what the client sent.
    fn list<'a>(&mut self, values: impl Iterator<Item = &'a [u8]> + Clone) {
        const SEPARATOR: &[u8] = b", ";
        let bytes: usize = values.clone().map(|value| value.len() + SEPARATOR.len()).sum();
        let bytes = bytes.saturating_sub(SEPARATOR.len());
        let mut cut = bytes.saturating_sub(TEXT_MAX_BYTES);
        let is_cut = cut > 0;
        let at = self.texts.len();
        self.texts.extend_from_slice(&[0; 2]);
        let start = self.texts.len();
        for (number, value) in values.enumerate() {
            let separator = if number == 0 { b"" } else { SEPARATOR };
            for part in [separator, value] {
                let skipped = cut.min(part.len());
                self.texts.extend_from_slice(&part[skipped..]);
                cut -= skipped;
            }
        }
        if is_cut {
            // The first member is not whole.
            let comma = memchr::memchr(b',', &self.texts[start..]);
            let end = comma.map_or(self.texts.len(), |comma| start + comma + 1);
            self.texts.drain(start..end);
        }
        let len = (self.texts.len() - start) as u16;
        self.texts[at..start].copy_from_slice(&len.to_ne_bytes());
    }

    fn text(&mut self, text: &[u8]) {
        let text = &text[..text.len().min(TEXT_MAX_BYTES)];
        self.texts.extend_from_slice(&(text.len() as u16).to_ne_bytes());
        self.texts.extend_from_slice(text);
    }

    /// Copies the request, for an answer that waits for a file.
    pub(super) fn pending(&self) -> Pending {
        Pending { began: self.began, texts: self.texts.as_slice().into() }
    }

    /// Goes on with the request of an answer that waited.
    pub(super) fn resume(&mut self, pending: &Pending) {
        self.begin_at(pending.began);
        self.texts.extend_from_slice(&pending.texts);
    }

    /// Writes the record of an answer of `bytes`. Returns false if it is lost.
    pub(super) fn answered(
        &mut self,
        place: PlaceIndex,
        status: Status,
        bytes: u64,
        unix_seconds: u64,
    ) -> bool {
        let address = self.addresses.get(place.get()).copied().flatten();
        let took_us = match self.texts.is_empty() {
            true => 0,
            false => u32::try_from(self.began.elapsed().as_micros()).unwrap_or(u32::MAX),
        };
        let (kind, octets) = match address {
            None => (0, [0; 16]),
            Some(IpAddr::V4(v4)) => (4, v4.to_ipv6_mapped().octets()),
            Some(IpAddr::V6(v6)) => (6, v6.octets()),
        };
        let record = &mut self.record;
        record.clear();
        record.extend_from_slice(&unix_seconds.to_ne_bytes());
        record.extend_from_slice(&took_us.to_ne_bytes());
        record.extend_from_slice(&bytes.to_ne_bytes());
        record.extend_from_slice(&status.code().to_ne_bytes());
        record.push(kind);
        record.extend_from_slice(&octets);
        if self.texts.is_empty() {
            // The head was not parsed.
            record.extend_from_slice(&[0; 2 * TEXTS]);
        }
        record.extend_from_slice(&self.texts);
        self.texts.clear();
        self.buffer.append(record)
    }

    /// Records that were taken and could not be written.
    pub(super) fn unwritten(&self) -> u64 {
        self.buffer.unwritten.load(Ordering::Relaxed)
    }
}

/// A record that was taken from a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The time of the answer.
    pub unix_seconds: u64,
    /// From the arrival of the whole head until the answer was queued. 0 without a whole head.
    pub took_us: u32,
    /// Bytes of the answer, with its head.
    pub bytes: u64,
    /// The status code.
    pub status: u16,
    /// The minor version of HTTP/1.
    pub minor: u8,
    /// The client's address, if it is known.
    pub address: Option<IpAddr>,
    /// The method; empty if the head was not parsed.
    pub method: &'a [u8],
    /// The target, as sent.
    pub target: &'a [u8],
    /// Host.
    pub host: &'a [u8],
    /// Referer.
    pub referer: &'a [u8],
    /// User-Agent.
    pub user_agent: &'a [u8],
    /// X-Forwarded-For.
    pub forwarded_for: &'a [u8],
}

/// The records that a worker wrote, in their order.
pub fn records(mut bytes: &[u8]) -> impl Iterator<Item = Record<'_>> {
    std::iter::from_fn(move || {
        let (record, rest) = parse(bytes)?;
        bytes = rest;
        Some(record)
    })
}

fn parse(bytes: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let (unix_seconds, bytes) = bytes.split_first_chunk()?;
    let (took_us, bytes) = bytes.split_first_chunk()?;
    let (sent, bytes) = bytes.split_first_chunk()?;
    let (status, bytes) = bytes.split_first_chunk()?;
    let ([kind], bytes) = bytes.split_first_chunk()?;
    let (octets, bytes) = bytes.split_first_chunk::<16>()?;
    let mut rest = bytes;
    let mut text = || {
        let (len, bytes) = rest.split_first_chunk()?;
        let (text, bytes) = bytes.split_at_checked(usize::from(u16::from_ne_bytes(*len)))?;
        rest = bytes;
        Some(text)
    };
    let address = IpAddr::from(*octets);
    let record = Record {
        unix_seconds: u64::from_ne_bytes(*unix_seconds),
        took_us: u32::from_ne_bytes(*took_us),
        bytes: u64::from_ne_bytes(*sent),
        status: u16::from_ne_bytes(*status),
        minor: text()?.first().copied().unwrap_or_default(),
        address: match kind {
            0 => None,
            4 => Some(address.to_canonical()),
            _ => Some(address),
        },
        method: text()?,
        target: text()?,
        host: text()?,
        referer: text()?,
        user_agent: text()?,
        forwarded_for: text()?,
    };
    Some((record, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_wakes_its_thread_before_it_is_full() {
        let buffer = Buffer::taken_by(Some(std::thread::current()));
        let filling = buffer.clone();
        let filler = std::thread::spawn(move || {
            for _ in 0..WAKE_BYTES.div_ceil(1000) {
                assert!(filling.append(&[7; 1000]));
            }
        });
        let mut spare = Vec::with_capacity(BUFFER_BYTES);
        let mut taken = 0;
        while taken < WAKE_BYTES {
            std::thread::park();
            buffer.take(&mut spare);
            taken += spare.len();
        }
        filler.join().unwrap();
    }
}

//! memcached's text protocol for the load generator: gets and sets with values that can be checked.
//!
//! [`workload`] generates requests, with keys drawn by [`zipf`]. [`answer`] and [`content`] check
//! the answers. A key that the server does not have is a miss, not an error. Errors are a value of
//! another key, of another length or, with `--verify`, with content that was never stored under the
//! key.

mod answer;
mod content;
mod workload;
mod zipf;

use super::protocol::{Parsed, PendingRequest, Protocol, Text};
use answer::{Progress, Reader};
pub(crate) use content::VALUE_MAX_BYTES;
use content::{KEY_BYTES, VERSION_BYTES, Values};
use simoom_io::Reply;
use simoom_io::send::CAPACITY_COPY_BYTES;
use std::io::Write;
pub(crate) use workload::WorkloadSpec;
use workload::{Kind, Request, Workload};

/// Limit of the start of a set: `set KEY 0 0 BYTES`, a line end and the version.
const SET_BYTES: usize = "set  0 0 4294967295\r\n".len() + KEY_BYTES + VERSION_BYTES;
/// Limit of the keys in a get: they must fit the bytes that a reply can always copy.
pub(crate) const MULTIGET_MAX: u16 =
    ((CAPACITY_COPY_BYTES - "get\r\n".len()) / (1 + KEY_BYTES)) as u16;

/// The protocol.
pub(crate) struct Memcached {
    workload: Workload,
    values: Values,
    verify: bool,
    /// Version of the last set.
    version: u32,
    /// Scratch space for a request.
    draft: Vec<u8>,
    /// Limit of the bytes that a batch copies.
    copied_bytes: usize,
}

impl Memcached {
    /// Requests by `workload`, drawn from `seed`, up to `at_once` in a batch.
    pub(crate) fn new(workload: WorkloadSpec, seed: u64, at_once: u16, verify: bool) -> Memcached {
        let get = "get\r\n".len() + usize::from(workload.multiget) * (1 + KEY_BYTES);
        let set =
            SET_BYTES + (workload.value_bytes.1 as usize).min(CAPACITY_COPY_BYTES - SET_BYTES);
        Memcached {
            workload: Workload::new(workload, seed),
            values: Values::new(workload.value_bytes),
            verify,
            version: 0,
            draft: Vec::with_capacity(CAPACITY_COPY_BYTES),
            copied_bytes: get.max(set) * usize::from(at_once),
        }
    }

    #[inline]
    fn get(&mut self, request: &Request, reply: &mut Reply<'_, Text>) {
        self.draft.extend_from_slice(b"get");
        let mut keys = self.workload.keys(request);
        while let Some(key) = keys.next(&self.workload) {
            self.draft.push(b' ');
            self.draft.extend_from_slice(&content::key(key));
        }
        self.draft.extend_from_slice(b"\r\n");
        reply.copy(&self.draft);
    }

    #[inline]
    fn set(&mut self, key: u32, reply: &mut Reply<'_, Text>) {
        let Memcached { draft, values, version, .. } = self;
        *version = version.wrapping_add(1);
        let len = values.len(key) as usize;
        draft.extend_from_slice(b"set ");
        draft.extend_from_slice(&content::key(key));
        // Writing to a vector does not fail.
        let _ = write!(draft, " 0 0 {len}\r\n");
        if len >= VERSION_BYTES {
            draft.extend_from_slice(&content::hex(*version));
        }
        let place = values.place(key, *version);
        if draft.len() + place.len() + 2 <= CAPACITY_COPY_BYTES {
            draft.extend_from_slice(values.part(place));
            draft.extend_from_slice(b"\r\n");
            reply.copy(draft);
        } else {
            reply.copy(draft);
            reply.share(values.text().clone(), place);
            reply.share(values.text().clone(), values.end());
        }
    }
}

impl Protocol for Memcached {
    type Request = Request;
    type Progress = Progress;
    const BEGINS_WITH: &'static str = "line";

    #[inline]
    fn ask(
        &mut self,
        pending: &mut [PendingRequest<Request>],
        reply: &mut Reply<'_, Text>,
    ) -> usize {
        for (sent, pending) in pending.iter_mut().enumerate() {
            if !reply.has_capacity() {
                return sent;
            }
            let (request, key) = self.workload.next();
            pending.what = request;
            self.draft.clear();
            match request.kind {
                Kind::Get => self.get(&request, reply),
                Kind::Set => self.set(key, reply),
            }
        }
        pending.len()
    }

    #[inline]
    fn read(&mut self, pending: &Request, progress: &mut Progress, bytes: &[u8]) -> Parsed {
        Reader { workload: &self.workload, values: &self.values, verify: self.verify }
            .read(pending, progress, bytes)
    }

    fn cut(&self, progress: &Progress) -> Option<String> {
        progress.cut(&self.values)
    }

    fn copied_bytes(&self) -> usize {
        self.copied_bytes
    }

    #[inline]
    fn is_prepared(&self) -> Option<bool> {
        self.workload.is_stored()
    }

    fn begin(&mut self) {
        self.workload.begin();
    }
}

#[cfg(test)]
#[path = "memcached_tests.rs"]
mod tests;

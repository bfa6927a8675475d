//! Buffers retrieval lines that exceed a transport's input buffer, from clients that write the
//! whole line before they read. When the send queue has no capacity, the remaining keys are
//! buffered here, as in memcached. Otherwise client and server would wait for each other.

use super::super::connection::{Connection, Keys, Phase};
use super::super::{Memcached, Step, close, skip_line};
use crate::app::Blob;
use simoom_io::Reply;

/// Buffer memory of one worker for all its connections. The buffer of a longer line doubles within
/// this limit. Other input waits in the transport.
pub(in crate::app::memcached) const HELD_MAX_BYTES: usize = 8 << 20;

/// The received and unanswered part of a line of keys.
#[derive(Debug)]
struct Line {
    keys: Keys,
    bytes: Vec<u8>,
    /// Offset of the first unanswered key.
    at: usize,
}

impl Line {
    fn rest(&self) -> &[u8] {
        &self.bytes[self.at..]
    }

    fn is_whole(&self) -> bool {
        self.bytes.last() == Some(&b'\n')
    }

    /// Appends the bytes that fit within `free_bytes` of memory. Returns their number.
    fn append(&mut self, bytes: &[u8], free_bytes: usize) -> usize {
        if self.bytes.len() + bytes.len() > self.bytes.capacity() {
            // First reuse the space of answered keys, then double the memory.
            self.bytes.drain(..std::mem::take(&mut self.at));
        }
        let wanted = (self.bytes.len() + bytes.len()).next_power_of_two();
        if wanted > self.bytes.capacity() && wanted <= free_bytes {
            self.bytes.reserve_exact(wanted - self.bytes.len());
        }
        let n = bytes.len().min(self.bytes.capacity() - self.bytes.len());
        self.bytes.extend_from_slice(&bytes[..n]);
        n
    }
}

/// The buffered lines of one worker.
#[derive(Debug, Default)]
pub(in crate::app::memcached) struct LongLines {
    slots: Vec<Option<Line>>,
    /// Memory of all lines, in bytes.
    pub(in crate::app::memcached) taken_bytes: usize,
}

impl LongLines {
    /// Adds the line of a connection. Returns its slot.
    fn put(&mut self, line: Line) -> u32 {
        let slot = self.slots.iter().position(Option::is_none).unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        let slot = u32::try_from(slot).expect("fewer lines than connections");
        self.put_back(slot, line);
        slot
    }

    fn is_whole(&self, slot: u32) -> bool {
        self.slots[slot as usize].as_ref().is_some_and(Line::is_whole)
    }

    fn put_back(&mut self, slot: u32, line: Line) {
        self.taken_bytes += line.bytes.capacity();
        self.slots[slot as usize] = Some(line);
    }

    fn take(&mut self, slot: u32) -> Option<Line> {
        let line = self.slots[slot as usize].take()?;
        self.taken_bytes -= line.bytes.capacity();
        Some(line)
    }

    /// Frees the line of a closed connection.
    pub(in crate::app::memcached) fn cancel(&mut self, slot: u32) {
        drop(self.take(slot));
    }
}

impl Memcached {
    /// Buffers the keys at the start of `bytes`, up to the end of the line, because there is no
    /// capacity for their answers. Returns the number of consumed bytes.
    #[cold]
    pub(in crate::app::memcached) fn hold_keys(
        &mut self,
        conn: &mut Connection,
        keys: Keys,
        bytes: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> usize {
        if memchr::memchr(b'\n', bytes).is_some() {
            // The line is complete: the client writes no more of it.
            return 0;
        }
        let slot = self.long_lines.put(Line { keys, bytes: Vec::new(), at: 0 });
        conn.phase = Phase::LongLine(slot);
        self.go_on_with_line(conn, bytes, reply).0
    }

    /// Buffers more of a line, and answers keys as far as there is capacity. Returns the number of
    /// consumed bytes, and whether the handler waits for more input. Without capacity, asks the
    /// transport for more input.
    #[cold]
    pub(in crate::app::memcached) fn go_on_with_line(
        &mut self,
        conn: &mut Connection,
        bytes: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> (usize, bool) {
        let mut took = 0;
        while let Phase::LongLine(slot) = conn.phase {
            let held = self.hold_more(slot, &bytes[took..]);
            took += held;
            if self.answer_held(conn, slot, reply) + held > 0 {
                continue;
            }
            if conn.share.is_used_up() {
                return (took, false);
            }
            let wants_more = took == bytes.len() && !self.long_lines.is_whole(slot);
            if reply.has_capacity() {
                return (took, wants_more);
            }
            if wants_more {
                reply.read_on();
            }
            return (took, false);
        }
        if self.draining && conn.is_between_requests() {
            close(conn, reply);
        }
        (took, false)
    }

    /// Returns how many of `bytes` belong to the line and fit into its buffer.
    #[cold]
    fn hold_more(&mut self, slot: u32, bytes: &[u8]) -> usize {
        let Some(mut line) = self.long_lines.take(slot) else { return 0 };
        let wanted = match memchr::memchr(b'\n', bytes) {
            _ if line.is_whole() => 0,
            Some(end) => end + 1,
            None => bytes.len(),
        };
        let n = line.append(&bytes[..wanted], HELD_MAX_BYTES - self.long_lines.taken_bytes);
        self.long_lines.put_back(slot, line);
        n
    }

    /// Answers buffered keys as far as there is capacity. Returns the number of answered bytes.
    #[cold]
    fn answer_held(
        &mut self,
        conn: &mut Connection,
        slot: u32,
        reply: &mut Reply<'_, Blob>,
    ) -> usize {
        let Some(mut line) = self.long_lines.take(slot) else { return 0 };
        let from = line.at;
        conn.phase = Phase::Keys(line.keys);
        while !line.rest().is_empty() && !conn.share.is_used_up() && reply.has_capacity() {
            let step = match conn.phase {
                Phase::Keys(keys) => self.keys(conn, keys, line.rest(), reply),
                // The key was too long.
                _ => Step::Took(skip_line(conn, line.rest())),
            };
            match step {
                Step::Took(n) => line.at += n,
                Step::Wait => break,
            }
            conn.share.count();
        }
        let answered = line.at - from;
        if !line.rest().is_empty() {
            conn.phase = Phase::LongLine(slot);
            self.long_lines.put_back(slot, line);
        }
        answered
    }
}

//! memcached over UDP without the sockets. Input: a datagram with its frame. Output: the datagrams
//! of the answer.
//!
//! A frame has eight bytes, in four fields of 16 bits: request number, sequence number, number of
//! datagrams, and a reserved field. A request is one datagram. Simoom drops longer requests, as
//! memcached does. An answer may take several datagrams. Several requests in one datagram get one
//! answer with consecutive sequence numbers. memcached restarts the sequence with each key.
//!
//! The length of an answer is limited ([`ANSWER_DATAGRAMS_MAX`]), because the source address may be
//! forged. The work for one datagram is limited, too: at the point where a connection would yield,
//! the remaining input is refused. No state outlives a datagram, so a value must end within its
//! datagram.

use super::{Blob, Connection, Memcached, binary};
use crate::handler::Handler;
use simoom_io::send::{Pool, QUEUE_ENTRIES, Queue};
use simoom_io::{Exchange, Flow, Input};
use std::net::IpAddr;

/// The frame in front of each datagram.
pub const FRAME_BYTES: usize = 8;
/// The longest datagram of an answer, with its frame. memcached has the same limit.
pub const DATAGRAM_MAX_BYTES: usize = 1400;
/// An answer with more datagrams is refused.
pub const ANSWER_DATAGRAMS_MAX: usize = 8;

const PART_BYTES: usize = DATAGRAM_MAX_BYTES - FRAME_BYTES;
/// Ranges and chunks for the answer of one step.
const POOL: usize = 2 * QUEUE_ENTRIES as usize;

/// A handler of requests in datagrams.
pub trait DatagramHandler: Handler<Blob = Blob, Conn = Connection> {
    /// Discards an incomplete value and all other resources of `conn`.
    fn abandon(&mut self, conn: &Connection);

    /// Whether the host at `address` is known to receive packets for that address.
    fn is_proven(&self, address: IpAddr) -> bool {
        let _ = address;
        false
    }
}

impl DatagramHandler for Memcached {
    fn abandon(&mut self, conn: &Connection) {
        Memcached::abandon(self, conn);
    }

    fn is_proven(&self, address: IpAddr) -> bool {
        Memcached::is_proven(self, address)
    }
}

/// The buffer of one answer, reused for all answers.
pub struct Datagrams {
    /// The state of the current request, for [`Datagrams::begin_anew`].
    conn: Connection,
    pool: Pool<Blob>,
    queue: Queue,
    /// The answer. Each datagram has space for its frame.
    sent: Box<[u8]>,
    /// Bytes of the answer, without frames.
    len: usize,
}

/// The result of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The handler executed the whole request.
    Done,
    /// The frame is missing, or belongs to a request in several datagrams. The handler did nothing.
    Malformed,
    /// The end of the last request is missing. The handler executed the preceding requests.
    Incomplete,
    /// The handler executed a part and refused the request: the answer is too long, or the work too
    /// much.
    TooLarge,
}

impl Default for Datagrams {
    fn default() -> Datagrams {
        let sent = vec![0; ANSWER_DATAGRAMS_MAX * DATAGRAM_MAX_BYTES].into_boxed_slice();
        Datagrams {
            conn: Connection::default(),
            pool: Pool::new(POOL, POOL),
            queue: Queue::default(),
            sent,
            len: 0,
        }
    }
}

impl Datagrams {
    /// Bytes of memory in use.
    pub const fn memory_bytes() -> usize {
        size_of::<Datagrams>()
            + ANSWER_DATAGRAMS_MAX * DATAGRAM_MAX_BYTES
            + Pool::<Blob>::memory_bytes(POOL, POOL)
    }

    /// Makes `handler` execute the requests of a datagram. [`Datagrams::answer`] returns the
    /// answer.
    pub fn serve<H: DatagramHandler>(&mut self, handler: &mut H, datagram: &[u8]) -> Fate {
        self.len = 0;
        let Some((&[id_high, id_low, _, _, 0, 1, _, _], requests)) = datagram.split_first_chunk()
        else {
            return Fate::Malformed;
        };
        self.conn = Connection::default();
        let fate = self.carry_out(handler, requests);
        handler.abandon(&self.conn);
        self.queue.clear(&mut self.pool);
        if fate == Fate::TooLarge {
            self.refuse(requests);
        }
        self.frame([id_high, id_low]);
        fate
    }

    /// Cleans up after a panic of the handler: frees the resources of the request and discards the
    /// answer. Replaces the pool, which may be half changed.
    pub fn begin_anew<H: DatagramHandler>(&mut self, handler: &mut H) {
        (self.pool, self.queue, self.len) = (Pool::new(POOL, POOL), Queue::default(), 0);
        handler.abandon(&std::mem::take(&mut self.conn));
    }

    fn carry_out<H: DatagramHandler>(&mut self, handler: &mut H, mut requests: &[u8]) -> Fate {
        let (mut flow, mut seen) = (Flow::default(), 0);
        loop {
            let (conn, queue) = (&mut self.conn, &mut self.queue);
            let unheld = Unheld { seen: &mut seen };
            let mut exchange = Exchange::new(conn, &mut flow, queue, &mut self.pool, unheld);
            // The previous step ran out of capacity. Its answer is collected now, so there is
            // capacity again.
            let resumed = exchange.resume(handler);
            let taken = if requests.is_empty() { 0 } else { exchange.receive(handler, requests) };
            requests = &requests[taken..];
            // Only an answer with a large item or much work would have to wait.
            let is_whole = requests.is_empty() && self.conn.is_between_requests();
            let has_to_wait = flow.reads_later() || (flow.has_yielded() && !is_whole);
            if !self.collect() || flow.is_aborted() || has_to_wait {
                return Fate::TooLarge;
            }
            if flow.is_closing() {
                return Fate::Done;
            }
            if taken == 0 && !resumed && !flow.wants_capacity() {
                break;
            }
        }
        let is_whole = requests.is_empty() && self.conn.is_between_requests();
        if is_whole { Fate::Done } else { Fate::Incomplete }
    }

    /// Moves the queued bytes to the answer. Returns false if the answer would exceed its limit.
    fn collect(&mut self) -> bool {
        let queued = self.queue.len();
        if self.len as u64 + queued > (ANSWER_DATAGRAMS_MAX * PART_BYTES) as u64 {
            return false;
        }
        for slice in self.queue.slices(&self.pool) {
            put(&mut self.sent, &mut self.len, slice);
        }
        self.queue.acknowledge(&mut self.pool, queued);
        true
    }

    /// Replaces an answer that is too long by an error for the first request.
    fn refuse(&mut self, requests: &[u8]) {
        self.len = 0;
        match binary::too_large(requests) {
            Some(packet) => put(&mut self.sent, &mut self.len, &packet),
            None => {
                put(&mut self.sent, &mut self.len, b"SERVER_ERROR answer too large for UDP\r\n");
            }
        }
    }

    fn frame(&mut self, id: [u8; 2]) {
        let total = self.len.div_ceil(PART_BYTES);
        for (sequence, datagram) in self.sent.chunks_mut(DATAGRAM_MAX_BYTES).take(total).enumerate()
        {
            let [s0, s1] = (sequence as u16).to_be_bytes();
            let [t0, t1] = (total as u16).to_be_bytes();
            datagram[..FRAME_BYTES].copy_from_slice(&[id[0], id[1], s0, s1, t0, t1, 0, 0]);
        }
    }

    /// The datagrams of the last answer, in order. Empty if there is no answer.
    pub fn answer(&self) -> impl Iterator<Item = &[u8]> {
        let mut left = self.len;
        self.sent.chunks(DATAGRAM_MAX_BYTES).map_while(move |datagram| {
            let part = left.min(PART_BYTES);
            left -= part;
            (part > 0).then_some(&datagram[..FRAME_BYTES + part])
        })
    }
}

/// Input that is buffered nowhere: a datagram stays in place until its requests are executed.
struct Unheld<'a> {
    seen: &'a mut usize,
}

impl Input for Unheld<'_> {
    fn len(&self) -> usize {
        0
    }

    fn seen(&self) -> usize {
        *self.seen
    }

    fn append(&mut self, _: &[u8]) -> usize {
        0
    }

    fn gather<'b>(&'b mut self, tail: &'b [u8]) -> &'b [u8] {
        tail
    }

    fn delivered(&mut self, shown: usize, consumed: usize) {
        *self.seen = shown - consumed;
    }

    fn clear(&mut self) {}
}

/// Appends `bytes` to an answer of `len` bytes, with space for the frames.
fn put(sent: &mut [u8], len: &mut usize, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let (datagram, at) = (*len / PART_BYTES, *len % PART_BYTES);
        let n = bytes.len().min(PART_BYTES - at);
        let start = datagram * DATAGRAM_MAX_BYTES + FRAME_BYTES + at;
        sent[start..start + n].copy_from_slice(&bytes[..n]);
        *len += n;
        bytes = &bytes[n..];
    }
}

#[cfg(test)]
#[path = "datagram_tests.rs"]
mod tests;

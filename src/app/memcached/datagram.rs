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
use crate::datagrams::{DatagramHandler, Fate};
use crate::handler::{Handler, Seconds};
use crate::metrics::Metric;
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

/// A handler of connections that a datagram can use as if it were a connection.
pub trait Abandon: Handler<Blob = Blob, Conn = Connection> {
    /// Discards an incomplete value and all other resources of `conn`.
    fn abandon(&mut self, conn: &Connection);

    /// See [`DatagramHandler::is_proven`].
    fn is_proven(&self, address: IpAddr) -> bool {
        let _ = address;
        false
    }
}

impl Abandon for Memcached {
    fn abandon(&mut self, conn: &Connection) {
        Memcached::abandon(self, conn);
    }

    fn is_proven(&self, address: IpAddr) -> bool {
        Memcached::is_proven(self, address)
    }
}

/// memcached as a [`DatagramHandler`], with the buffer of one answer, reused for all answers.
pub struct Datagrams<H = Memcached> {
    handler: H,
    /// The state of the current request, for [`DatagramHandler::begin_anew`].
    conn: Connection,
    pool: Pool<Blob>,
    queue: Queue,
    /// The answer. Each datagram has space for its frame.
    sent: Box<[u8]>,
    /// Bytes of the answer, without frames.
    len: usize,
}

impl<H: Abandon> Datagrams<H> {
    /// Bytes of memory in use, without those of the handler.
    pub const fn memory_bytes() -> usize {
        size_of::<Datagrams<H>>()
            + ANSWER_DATAGRAMS_MAX * DATAGRAM_MAX_BYTES
            + Pool::<Blob>::memory_bytes(POOL, POOL)
    }

    /// Allocates all memory.
    pub fn new(handler: H) -> Datagrams<H> {
        let sent = vec![0; ANSWER_DATAGRAMS_MAX * DATAGRAM_MAX_BYTES].into_boxed_slice();
        Datagrams {
            handler,
            conn: Connection::default(),
            pool: Pool::new(POOL, POOL),
            queue: Queue::default(),
            sent,
            len: 0,
        }
    }

    fn carry_out(&mut self, mut requests: &[u8]) -> Fate {
        let (mut flow, mut seen) = (Flow::default(), 0);
        loop {
            let Datagrams { handler, conn, queue, pool, .. } = self;
            let unheld = Unheld { seen: &mut seen };
            let mut exchange = Exchange::new(conn, &mut flow, queue, pool, unheld);
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
}

impl<H: Abandon> DatagramHandler for Datagrams<H> {
    fn serve(&mut self, datagram: &[u8]) -> Fate {
        self.len = 0;
        let Some((&[id_high, id_low, _, _, 0, 1, _, _], requests)) = datagram.split_first_chunk()
        else {
            return Fate::Malformed;
        };
        self.conn = Connection::default();
        let fate = self.carry_out(requests);
        self.handler.abandon(&self.conn);
        self.queue.clear(&mut self.pool);
        if fate == Fate::TooLarge {
            self.refuse(requests);
        }
        self.frame([id_high, id_low]);
        fate
    }

    fn answer(&self) -> impl Iterator<Item = &[u8]> {
        let mut left = self.len;
        self.sent.chunks(DATAGRAM_MAX_BYTES).map_while(move |datagram| {
            let part = left.min(PART_BYTES);
            left -= part;
            (part > 0).then_some(&datagram[..FRAME_BYTES + part])
        })
    }

    /// Replaces the pool, which may be half changed.
    fn begin_anew(&mut self) {
        (self.pool, self.queue, self.len) = (Pool::new(POOL, POOL), Queue::default(), 0);
        self.handler.abandon(&std::mem::take(&mut self.conn));
    }

    fn is_proven(&self, address: IpAddr) -> bool {
        self.handler.is_proven(address)
    }

    fn clock(&mut self, seconds: Seconds) {
        self.handler.clock(seconds);
    }

    fn is_sound(&self) -> bool {
        self.handler.is_sound()
    }

    fn publish(&self, sink: &mut dyn FnMut(&'static Metric, u64)) {
        self.handler.publish(sink);
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

//! memcached over UDP, the sockets aside: a datagram with its frame in, the datagrams of the answer
//! out.
//!
//! A frame is eight bytes: the request's number, this datagram's place among so many, and two bytes
//! of nothing, each of 16 bits. A request is one datagram, as in memcached, which drops those that
//! say otherwise; its answer is as many as it takes. Several requests in one datagram are answered
//! as one, numbered through; memcached begins anew with each key.
//!
//! An answer is bounded ([`ANSWER_DATAGRAMS_MAX`]): who asks may not be who is answered. So is the
//! work for one datagram: where a connection would yield, the rest is refused. Nothing is
//! kept from one datagram to the next, so a value whose end does not come with it is forgotten.

use super::{Blob, Conn, Memcached, binary};
use crate::handler::Handler;
use simoom_io::send::{Pool, QUEUE_ENTRIES, Queue};
use simoom_io::{Exchange, Flow, Input};
use std::net::IpAddr;

/// The frame in front of each datagram.
pub const FRAME_BYTES: usize = 8;
/// The longest datagram of an answer, its frame included; memcached's.
pub const DATAGRAM_MAX_BYTES: usize = 1400;
/// An answer that takes more datagrams is refused.
pub const ANSWER_DATAGRAMS_MAX: usize = 8;

const PART_BYTES: usize = DATAGRAM_MAX_BYTES - FRAME_BYTES;
/// Ranges and chunks for what is answered in one step.
const POOL: usize = 2 * QUEUE_ENTRIES as usize;

/// A handler of requests that come in datagrams.
pub trait DatagramHandler: Handler<Blob = Blob, Conn = Conn> {
    /// Forgets a value that does not come whole, and with it all that `conn` holds.
    fn abandon(&mut self, conn: &Conn);

    /// Whether `address` is known to receive what is sent to it.
    fn is_proven(&self, address: IpAddr) -> bool {
        let _ = address;
        false
    }
}

impl DatagramHandler for Memcached {
    fn abandon(&mut self, conn: &Conn) {
        Memcached::abandon(self, conn);
    }

    fn is_proven(&self, address: IpAddr) -> bool {
        Memcached::is_proven(self, address)
    }
}

/// Room for one answer; the same for all.
pub struct Datagrams {
    /// The state of the request at hand, for [`Datagrams::begin_anew`].
    conn: Conn,
    pool: Pool<Blob>,
    queue: Queue,
    /// The answer, each part behind room for its frame.
    sent: Box<[u8]>,
    /// Bytes of the answer, frames not counted.
    len: usize,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was carried out whole.
    Done,
    /// No frame, or one of a request in several datagrams: nothing was done.
    Malformed,
    /// Its end is missing; what is before it was carried out.
    Incomplete,
    /// It was carried out in part, and refused: its answer is too long, or it is too much work.
    TooLarge,
}

impl Default for Datagrams {
    fn default() -> Datagrams {
        let sent = vec![0; ANSWER_DATAGRAMS_MAX * DATAGRAM_MAX_BYTES].into_boxed_slice();
        Datagrams {
            conn: Conn::default(),
            pool: Pool::new(POOL, POOL),
            queue: Queue::default(),
            sent,
            len: 0,
        }
    }
}

impl Datagrams {
    /// Bytes of memory that it takes.
    pub const fn memory_bytes() -> usize {
        size_of::<Datagrams>()
            + ANSWER_DATAGRAMS_MAX * DATAGRAM_MAX_BYTES
            + Pool::<Blob>::memory_bytes(POOL, POOL)
    }

    /// Has `handler` carry out what a datagram asks for; [`Datagrams::answer`] tells what is to be
    /// sent.
    pub fn serve<H: DatagramHandler>(&mut self, handler: &mut H, datagram: &[u8]) -> Fate {
        self.len = 0;
        let Some((&[id_high, id_low, _, _, 0, 1, _, _], requests)) = datagram.split_first_chunk()
        else {
            return Fate::Malformed;
        };
        self.conn = Conn::default();
        let fate = self.carry_out(handler, requests);
        handler.abandon(&self.conn);
        self.queue.clear(&mut self.pool);
        if fate == Fate::TooLarge {
            self.refuse(requests);
        }
        self.frame([id_high, id_low]);
        fate
    }

    /// The handler panicked: what the request holds is given back, and nothing is answered. The
    /// pool may be left half changed, so it is made anew.
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
            // What was refused capacity has it now: what was queued is collected.
            let resumed = exchange.resume(handler);
            let taken = if requests.is_empty() { 0 } else { exchange.receive(handler, requests) };
            requests = &requests[taken..];
            // An answer that would have to wait is that of a large item, or much work.
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

    /// Takes what is queued to the answer; says no if that does not hold it.
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

    /// In place of an answer that is too long, to the first request.
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

    /// The datagrams of the last answer, in order; none if there is nothing to say.
    pub fn answer(&self) -> impl Iterator<Item = &[u8]> {
        let mut left = self.len;
        self.sent.chunks(DATAGRAM_MAX_BYTES).map_while(move |datagram| {
            let part = left.min(PART_BYTES);
            left -= part;
            (part > 0).then_some(&datagram[..FRAME_BYTES + part])
        })
    }
}

/// Input that is held nowhere: a datagram is there until it is carried out.
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

/// Appends `bytes` to an answer of `len` bytes, leaving room for the frames.
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

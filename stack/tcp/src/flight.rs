//! The scoreboard: what of the send queue is on its way, when it was sent, and what became of it.
//!
//! A connection's [`Flight`] is a list of [`Run`]s that follow one another without a gap from
//! SND.UNA to SND.NXT. In come what is sent, acknowledged and reported by SACK; out go, as a
//! [`Delivery`], times and amounts. Which run is lost is not decided here (see `tcp::rack`). All
//! runs lie in a [`Pool`] of fixed size: the first of each connection is sure, the others are
//! shared and at most [`MAX_RUNS`] a connection, so that a peer cannot make a walk long with
//! reports of single bytes (compare CVE-2019-11477). Where a run is wanting, two are told apart no
//! longer: times become vaguer, a report is not noted, and what is lost is found later.

use crate::seq::Seq;

/// One connection has at most this many runs.
pub const MAX_RUNS: u8 = 255;
const NONE: u32 = u32::MAX;

/// What is known of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Status {
    /// Sent, and nothing heard of.
    #[default]
    Out,
    /// Reported by SACK.
    Sacked,
    /// Taken for lost, and not sent again since.
    Lost,
}

/// Sequence numbers in a row that share a fate. It begins where the run before it ends.
#[derive(Clone, Copy, Debug, Default)]
pub struct Run {
    /// Where it ends.
    pub end: Seq,
    /// When it was last sent, in microseconds modulo 2³²; of several sendings in a row, the first.
    pub sent_at_us: u32,
    /// What is known of it.
    pub status: Status,
    /// Whether it was sent more than once.
    pub repeated: bool,
    next: u32,
}

/// The runs of one worker.
pub struct Pool {
    runs: Vec<Run>,
    free: u32,
    /// Free runs that are not kept for a connection without any.
    spare: u32,
}

impl Pool {
    /// A pool with a run for each of so many connections, and so many more for all.
    pub fn new(connections: u32, shared: u32) -> Pool {
        let count = connections + shared;
        let run = |next| Run { next: if next == count { NONE } else { next }, ..Run::default() };
        let free = if count == 0 { NONE } else { 0 };
        Pool { runs: (1..=count).map(run).collect(), free, spare: shared }
    }

    /// Bytes of memory that [`Pool::new`] takes.
    pub const fn memory_bytes(connections: u32, shared: u32) -> usize {
        (connections as usize + shared as usize) * size_of::<Run>()
    }

    /// Shared runs that no connection holds.
    pub fn spare(&self) -> usize {
        self.spare as usize
    }

    fn put(&mut self, run: Run) -> u32 {
        let index = self.free;
        let place = &mut self.runs[index as usize];
        self.free = place.next;
        *place = run;
        index
    }

    fn give(&mut self, index: u32) {
        self.runs[index as usize].next = self.free;
        self.free = index;
    }
}

/// What one acknowledgement delivered.
#[derive(Clone, Copy, Debug, Default)]
pub struct Delivery {
    /// Bytes that are heard of for the first time.
    pub bytes: u32,
    /// Bytes that SACK had not reported until now.
    pub sacked: u32,
    /// Bytes reported by SACK before, and now acknowledged.
    pub settled: u32,
    /// Bytes that were taken for lost.
    pub found: u32,
    /// Of what was sent once: when the first and the last of it were sent.
    pub sent_once: Option<(u32, u32)>,
    /// Something was sent more than once.
    pub repeated: bool,
    /// Where the first of that ends.
    pub once_end: Option<Seq>,
    /// The most recently sent of it: when, where it ends, and whether it was sent more than once.
    pub latest: Option<(u32, Seq, bool)>,
    /// The highest number delivered so far (RFC 8985 §6.2, RACK.fack).
    pub fack: Seq,
    /// Something sent once was delivered after what follows it (RFC 8985 §6.2 step 3).
    pub reordered: bool,
}

impl Delivery {
    #[inline]
    fn note(&mut self, start: Seq, end: Seq, run: &Run) {
        let len = end.since(start);
        match run.status {
            Status::Sacked => {
                self.settled += len;
                return;
            }
            Status::Lost => self.found += len,
            Status::Out => {}
        }
        self.bytes += len;
        self.repeated |= run.repeated;
        if !run.repeated {
            let (first, last) = self.sent_once.unwrap_or((run.sent_at_us, run.sent_at_us));
            self.sent_once = Some((earlier(first, run.sent_at_us), later(last, run.sent_at_us)));
            self.once_end = Some(
                self.once_end.map_or(end, |first| if end.before(first) { end } else { first }),
            );
            self.reordered |= end.before(self.fack);
        }
        self.fack = self.fack.max(end);
        if self.latest.is_none_or(|(at, last, _)| is_later((run.sent_at_us, end), (at, last))) {
            self.latest = Some((run.sent_at_us, end, run.repeated));
        }
    }
}

/// Whether one of two sendings came after the other: by time, and at the same time by sequence
/// number (RFC 8985 §6.2, `RACK_sent_after`).
#[inline]
pub fn is_later(one: (u32, Seq), other: (u32, Seq)) -> bool {
    let by = one.0.wrapping_sub(other.0) as i32;
    by > 0 || (by == 0 && one.1.after(other.1))
}

fn earlier(a: u32, b: u32) -> u32 {
    if (a.wrapping_sub(b) as i32) < 0 { a } else { b }
}

fn later(a: u32, b: u32) -> u32 {
    if (a.wrapping_sub(b) as i32) < 0 { b } else { a }
}

/// The runs of one connection. It must be [`clear`](Flight::clear)ed before it is dropped.
///
/// Invariant: the runs' ends rise; the last is SND.NXT. What lies before the first run's end begins
/// at SND.UNA.
#[derive(Clone, Copy, Debug)]
pub struct Flight {
    head: u32,
    tail: u32,
    count: u8,
}

impl Default for Flight {
    fn default() -> Flight {
        Flight { head: NONE, tail: NONE, count: 0 }
    }
}

impl Flight {
    /// Whether nothing is on its way.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.head == NONE
    }

    /// Whether there is a run for what cannot be told from its neighbours otherwise.
    #[inline]
    fn has_room(&self, pool: &Pool) -> bool {
        self.count == 0 || (self.count < MAX_RUNS && pool.spare > 0)
    }

    /// Whether more can be sent: it needs a run of its own, or a last run that is out as well.
    #[inline]
    pub fn takes_more(&self, pool: &Pool) -> bool {
        self.has_room(pool)
            || pool.runs.get(self.tail as usize).is_some_and(|tail| tail.status == Status::Out)
    }

    /// Notes that all up to `end` is sent now. What was sent at most `blur_us` before counts as
    /// sent with it.
    #[inline]
    pub fn sent(&mut self, pool: &mut Pool, end: Seq, now_us: u32, blur_us: u32) {
        let room = self.has_room(pool);
        if let Some(tail) = pool.runs.get_mut(self.tail as usize)
            && tail.status == Status::Out
            && (!room || (!tail.repeated && now_us.wrapping_sub(tail.sent_at_us) <= blur_us))
        {
            tail.end = end;
            return;
        }
        assert!(room, "sent without room to note it");
        let run = Run { end, sent_at_us: now_us, next: NONE, ..Run::default() };
        let index = pool.put(run);
        match pool.runs.get_mut(self.tail as usize) {
            Some(tail) => {
                tail.next = index;
                pool.spare -= 1;
            }
            None => self.head = index,
        }
        self.tail = index;
        self.count += 1;
    }

    /// Takes off what lies before `ack`; the first run began at `una`.
    #[inline]
    pub fn acknowledge(&mut self, pool: &mut Pool, una: Seq, ack: Seq, delivery: &mut Delivery) {
        let mut start = una;
        while let Some(run) = pool.runs.get(self.head as usize).copied() {
            if run.end.after(ack) {
                if ack.after(start) {
                    delivery.note(start, ack, &run);
                }
                return;
            }
            delivery.note(start, run.end, &run);
            start = run.end;
            self.pop(pool, run.next);
        }
    }

    fn pop(&mut self, pool: &mut Pool, next: u32) {
        pool.give(std::mem::replace(&mut self.head, next));
        self.count -= 1;
        if next == NONE {
            self.tail = NONE;
        } else {
            pool.spare += 1;
        }
    }

    /// Notes a SACK block, `left` not before `una`, `right` not after SND.NXT; returns whether
    /// there were runs for all of it.
    pub fn sack(
        &mut self,
        pool: &mut Pool,
        una: Seq,
        left: Seq,
        right: Seq,
        delivery: &mut Delivery,
    ) -> bool {
        let (mut start, mut at, mut is_noted) = (una, self.head, true);
        while let Some(run) = pool.runs.get(at as usize).copied() {
            if start.at_or_after(right) {
                break;
            }
            let reaches = run.end.after(left) && run.status != Status::Sacked;
            if reaches && start.before(left) && self.split(pool, at, left) {
                (start, at) = (left, pool.runs[at as usize].next);
                continue;
            }
            // A part that could not be told apart stays unreported.
            let within = start.at_or_after(left)
                && (run.end.at_or_before(right) || self.split(pool, at, right));
            if reaches && within {
                let run = &mut pool.runs[at as usize];
                delivery.note(start, run.end, run);
                delivery.sacked += run.end.since(start);
                run.status = Status::Sacked;
            }
            is_noted &= within || !reaches;
            let run = &pool.runs[at as usize];
            (start, at) = (run.end, run.next);
        }
        self.merge(pool);
        is_noted
    }

    /// Asks of each run that is out or sacked, with its start, what its status is now; returns how
    /// many bytes turned from [`Status::Out`] to [`Status::Lost`], and how many from
    /// [`Status::Sacked`] to it.
    pub fn judge(
        &mut self,
        pool: &mut Pool,
        una: Seq,
        mut verdict: impl FnMut(Seq, &Run) -> Status,
    ) -> (u32, u32) {
        let (mut start, mut at) = (una, self.head);
        let (mut out, mut sacked) = (0, 0);
        while let Some(run) = pool.runs.get_mut(at as usize) {
            let was = run.status;
            if was != Status::Lost && verdict(start, run) == Status::Lost {
                run.status = Status::Lost;
                *(if was == Status::Out { &mut out } else { &mut sacked }) += run.end.since(start);
            }
            (start, at) = (run.end, run.next);
        }
        if out + sacked > 0 {
            self.merge(pool);
        }
        (out, sacked)
    }

    /// Takes up to `len` bytes at the front for lost; returns how many those are that were not
    /// before.
    pub fn lose_front(&mut self, pool: &mut Pool, una: Seq, len: u32) -> u32 {
        let Some(first) = pool.runs.get(self.head as usize).copied() else { return 0 };
        if first.status != Status::Out {
            return 0;
        }
        if first.end.after(una + len) {
            self.split(pool, self.head, una + len);
        }
        let first = &mut pool.runs[self.head as usize];
        first.status = Status::Lost;
        first.end.since(una)
    }

    /// What was taken for lost counts as on its way again; returns how many bytes that is.
    pub fn hope(&mut self, pool: &mut Pool, una: Seq) -> u32 {
        let (mut start, mut at, mut bytes) = (una, self.head, 0);
        while let Some(run) = pool.runs.get_mut(at as usize) {
            if run.status == Status::Lost {
                run.status = Status::Out;
                bytes += run.end.since(start);
            }
            (start, at) = (run.end, run.next);
        }
        bytes
    }

    /// The first run that is lost: where it starts and ends.
    pub fn first_lost(&self, pool: &Pool, una: Seq) -> Option<(Seq, Seq)> {
        let (mut start, mut at) = (una, self.head);
        while let Some(run) = pool.runs.get(at as usize) {
            if run.status == Status::Lost {
                return Some((start, run.end));
            }
            (start, at) = (run.end, run.next);
        }
        None
    }

    /// Notes that what lies between `from` and `to` is sent again now; returns how many bytes were
    /// taken for lost that are now on their way. That may be more than was sent, if a run could not
    /// be split.
    pub fn resent(&mut self, pool: &mut Pool, una: Seq, from: Seq, to: Seq, now_us: u32) -> u32 {
        let (mut start, mut at, mut found) = (una, self.head, 0);
        while let Some(run) = pool.runs.get(at as usize).copied() {
            if start.at_or_after(to) {
                break;
            }
            if run.end.after(from) && run.status != Status::Sacked {
                if start.before(from) && self.split(pool, at, from) {
                    (start, at) = (from, pool.runs[at as usize].next);
                    continue;
                }
                if run.end.after(to) {
                    self.split(pool, at, to);
                }
                let run = &mut pool.runs[at as usize];
                found += if run.status == Status::Lost { run.end.since(start) } else { 0 };
                (run.status, run.repeated, run.sent_at_us) = (Status::Out, true, now_us);
            }
            let run = &pool.runs[at as usize];
            (start, at) = (run.end, run.next);
        }
        self.merge(pool);
        found
    }

    /// Whether the first run is reported by SACK: then the peer has taken a report back (RFC 2018
    /// §8).
    pub fn front_is_sacked(&self, pool: &Pool) -> bool {
        pool.runs.get(self.head as usize).is_some_and(|run| run.status == Status::Sacked)
    }

    /// Gives everything back.
    pub fn clear(&mut self, pool: &mut Pool) {
        while let Some(run) = pool.runs.get(self.head as usize).copied() {
            self.pop(pool, run.next);
        }
    }

    /// Splits a run in two, the second beginning at `place`; `false` if there is no run left for
    /// it.
    fn split(&mut self, pool: &mut Pool, at: u32, place: Seq) -> bool {
        if !self.has_room(pool) {
            return false;
        }
        let second = pool.put(pool.runs[at as usize]);
        pool.spare -= 1;
        self.count += 1;
        let first = &mut pool.runs[at as usize];
        (first.end, first.next) = (place, second);
        if self.tail == at {
            self.tail = second;
        }
        true
    }

    /// Makes one of neighbours that need not be told apart any more.
    fn merge(&mut self, pool: &mut Pool) {
        let mut at = self.head;
        while let Some(run) = pool.runs.get(at as usize).copied() {
            let Some(next) = pool.runs.get(run.next as usize).copied() else { break };
            let alike = run.status == next.status
                && (run.status == Status::Sacked
                    || run.repeated == next.repeated
                        && (run.status == Status::Lost || run.sent_at_us == next.sent_at_us));
            if !alike {
                at = run.next;
                continue;
            }
            let first = &mut pool.runs[at as usize];
            (first.end, first.next) = (next.end, next.next);
            first.repeated |= next.repeated;
            pool.give(run.next);
            pool.spare += 1;
            self.count -= 1;
            if self.tail == run.next {
                self.tail = at;
            }
        }
    }

    /// The runs in order, with where each begins.
    pub fn runs<'a>(&self, pool: &'a Pool, una: Seq) -> impl Iterator<Item = (Seq, Run)> + use<'a> {
        let (mut start, mut at) = (una, self.head);
        std::iter::from_fn(move || {
            let run = *pool.runs.get(at as usize)?;
            at = run.next;
            Some((std::mem::replace(&mut start, run.end), run))
        })
    }
}

#[cfg(test)]
#[path = "flight_tests.rs"]
mod tests;

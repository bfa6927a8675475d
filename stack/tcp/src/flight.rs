//! The scoreboard: which part of the send queue is in flight, when it was sent, and its status.
//!
//! A connection's [`Flight`] is a list of contiguous [`Run`]s from SND.UNA to SND.NXT. The input is
//! what is sent, acknowledged and SACKed; each acknowledgement yields an [`AckSample`]. `tcp::rack`
//! decides which run is lost.
//!
//! A flight of one run that was sent once, which is all that most answers are, lies in the control
//! block. All other runs lie in a [`Pool`] of fixed size. Each connection has one run of its own
//! there, and shares the others, up to [`MAX_RUNS`] in all. So a peer cannot make the list long by
//! SACK blocks of single bytes (compare CVE-2019-11477). Without a free run, two runs are not
//! split: send times become coarser, a SACK block is ignored, and loss is detected later.

use crate::seq::Seq;

/// One connection has at most this many runs. A window that overflows a long queue has hundreds of
/// gaps, and one that Startup of BBR sends through a short queue has up to a thousand runs. An
/// acknowledgement takes up to 20 ns for each.
pub const MAX_RUNS: u16 = 1023;
const NONE: u32 = u32::MAX;

/// Status of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Status {
    /// Sent, and neither acknowledged nor SACKed.
    #[default]
    Outstanding,
    /// Reported by SACK.
    Sacked,
    /// Marked lost, and not retransmitted since.
    Lost,
}

/// Contiguous sequence numbers with one status. A run begins where its predecessor ends.
#[derive(Clone, Copy, Debug, Default)]
pub struct Run {
    /// Where it ends.
    pub end: Seq,
    /// When the run was last sent, in microseconds modulo 2³². If it joins several segments, when
    /// the first was sent.
    pub sent_at_us: u32,
    /// The status.
    pub status: Status,
    /// Whether it was sent more than once.
    pub retransmitted: bool,
    next: u32,
}

/// The state of delivery-rate sampling when a run was sent (draft-ietf-ccwg-bbr §4.1.2.1.2).
#[derive(Clone, Copy, Debug, Default)]
pub struct Stamp {
    /// P.delivered: bytes delivered until then, modulo 2³².
    pub delivered: u32,
    /// P.lost: bytes marked lost until then, modulo 2³².
    pub lost: u32,
    /// P.delivered_time: when bytes were last delivered, in microseconds modulo 2³².
    pub delivered_at_us: u32,
    /// P.first_send_time: when the bytes delivered last were sent.
    pub first_sent_at_us: u32,
    /// P.tx_in_flight: bytes in flight just after the run was sent.
    pub in_flight: u32,
    /// P.is_app_limited: whether the application limited the connection.
    pub is_app_limited: bool,
}

/// The runs of one worker.
pub struct Pool {
    runs: Vec<Run>,
    /// A stamp for each run. Empty if no connection samples delivery rates.
    stamps: Vec<Stamp>,
    /// The runs that the last call has marked lost: start, end and stamp of each. Empty without
    /// stamps.
    newly_lost: Vec<(Seq, Seq, Stamp)>,
    free: u32,
    /// Free runs that are not reserved as a connection's own.
    spare: u32,
}

impl Pool {
    /// A pool with one run for each of `connections`, and `shared` runs more. `is_sampled`: some
    /// connections sample delivery rates.
    pub fn new(connections: u32, shared: u32, is_sampled: bool) -> Pool {
        let count = connections + shared;
        let run = |next| Run { next: if next == count { NONE } else { next }, ..Run::default() };
        let free = if count == 0 { NONE } else { 0 };
        let stamps = vec![Stamp::default(); if is_sampled { count as usize } else { 0 }];
        let newly_lost = Vec::with_capacity(if is_sampled { MAX_RUNS.into() } else { 0 });
        Pool { runs: (1..=count).map(run).collect(), stamps, newly_lost, free, spare: shared }
    }

    /// Bytes of memory that [`Pool::new`] takes.
    pub const fn memory_bytes(connections: u32, shared: u32, is_sampled: bool) -> usize {
        let run = size_of::<Run>() + if is_sampled { size_of::<Stamp>() } else { 0 };
        (connections as usize + shared as usize) * run
    }

    /// Start, end and stamp of each run that the last [`Flight::mark_lost`] or
    /// [`Flight::mark_front_lost`] has marked, if delivery rates are sampled.
    pub fn newly_lost(&self) -> &[(Seq, Seq, Stamp)] {
        &self.newly_lost
    }

    /// The run `at` is the most recently sent one that was delivered.
    #[inline]
    fn copy_stamp(&self, at: u32, sample: &mut AckSample) {
        if let Some(stamp) = self.stamps.get(at as usize) {
            sample.latest_stamp = *stamp;
        }
    }

    fn note_lost(&mut self, at: u32, start: Seq, end: Seq) {
        if let Some(stamp) = self.stamps.get(at as usize) {
            self.newly_lost.push((start, end, *stamp));
        }
    }

    /// Shared runs that no connection holds.
    pub fn spare(&self) -> usize {
        self.spare as usize
    }

    fn allocate(&mut self, run: Run) -> u32 {
        let index = self.free;
        let slot = &mut self.runs[index as usize];
        self.free = slot.next;
        *slot = run;
        index
    }

    fn release(&mut self, index: u32) {
        self.runs[index as usize].next = self.free;
        self.free = index;
    }
}

/// What one acknowledgement delivered.
#[derive(Clone, Copy, Debug, Default)]
pub struct AckSample {
    /// Bytes acknowledged or SACKed for the first time.
    pub bytes: u32,
    /// Bytes newly SACKed.
    pub sacked: u32,
    /// Bytes SACKed before, and now acknowledged.
    pub acked_sacked: u32,
    /// Bytes that were marked lost, and have arrived.
    pub unmarked_lost: u32,
    /// When the first and the last of the segments that were sent only once were sent.
    pub sent_once: Option<(u32, u32)>,
    /// Whether any of the delivered segments was retransmitted.
    pub retransmitted: bool,
    /// Where the first delivered segment that was sent only once ends.
    pub sent_once_end: Option<Seq>,
    /// The most recently sent of the delivered segments: send time, end, and whether it was
    /// retransmitted.
    pub latest: Option<(u32, Seq, bool)>,
    /// The stamp of the most recently sent of the delivered segments, if delivery rates are
    /// sampled.
    pub latest_stamp: Stamp,
    /// The highest sequence number delivered so far (RFC 8985 §6.2, RACK.fack).
    pub fack: Seq,
    /// Whether a segment sent only once was delivered after its successor (RFC 8985 §6.2 step 3).
    pub reordered: bool,
}

impl AckSample {
    /// Returns whether the run is the most recently sent so far.
    #[inline(always)]
    fn note(&mut self, start: Seq, end: Seq, run: &Run) -> bool {
        let len = end.since(start);
        match run.status {
            Status::Sacked => {
                self.acked_sacked += len;
                return false;
            }
            Status::Lost => self.unmarked_lost += len,
            Status::Outstanding => {}
        }
        self.bytes += len;
        self.retransmitted |= run.retransmitted;
        if !run.retransmitted {
            let (first, last) = self.sent_once.unwrap_or((run.sent_at_us, run.sent_at_us));
            self.sent_once = Some((earlier(first, run.sent_at_us), later(last, run.sent_at_us)));
            self.sent_once_end = Some(self.sent_once_end.map_or(end, |first| end.min(first)));
            self.reordered |= end.before(self.fack);
        }
        self.fack = self.fack.max(end);
        let is_latest =
            self.latest.is_none_or(|(at, last, _)| is_later((run.sent_at_us, end), (at, last)));
        if is_latest {
            self.latest = Some((run.sent_at_us, end, run.retransmitted));
        }
        is_latest
    }
}

/// Whether `one` was sent after `other`: by time, then by sequence number (RFC 8985 §6.2,
/// `RACK_sent_after`).
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
/// Invariant: the runs' ends increase, and the last is SND.NXT. The first run begins at SND.UNA.
#[derive(Clone, Copy, Debug)]
pub struct Flight {
    /// The first run, or when the only run was sent, if `count` is [`PLAIN`].
    head: u32,
    /// The last run, or where the only run ends, if `count` is [`PLAIN`].
    tail: u32,
    count: u16,
}

/// The count of a flight that takes no run of the pool: it is one run, outstanding, and was sent
/// once. [`Flight::make_list`] moves it to the pool before anything else happens to it.
const PLAIN: u16 = u16::MAX;

impl Default for Flight {
    fn default() -> Flight {
        Flight { head: NONE, tail: NONE, count: 0 }
    }
}

impl Flight {
    /// Whether nothing is in flight.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The only run of a plain flight.
    #[inline]
    fn plain(&self) -> Option<Run> {
        let Flight { head: sent_at_us, tail, count } = *self;
        (count == PLAIN).then(|| Run { end: Seq(tail), sent_at_us, next: NONE, ..Run::default() })
    }

    /// Makes a plain flight a list of runs in the pool.
    #[inline]
    fn make_list(&mut self, pool: &mut Pool) {
        if let Some(run) = self.plain() {
            // The connection's own run.
            let index = pool.allocate(run);
            *self = Flight { head: index, tail: index, count: 1 };
        }
    }

    /// Whether the connection may take another run.
    #[inline]
    fn has_free_run(&self, pool: &Pool) -> bool {
        self.count == 0 || (self.count < MAX_RUNS && pool.spare > 0)
    }

    /// Whether another segment can be tracked: by a new run, or by the last run if that is
    /// outstanding.
    #[inline]
    pub fn has_capacity(&self, pool: &Pool) -> bool {
        self.count == PLAIN
            || self.has_free_run(pool)
            || pool
                .runs
                .get(self.tail as usize)
                .is_some_and(|tail| tail.status == Status::Outstanding)
    }

    /// Records that everything up to `end` is sent now. A run sent at most `blur_us` before is
    /// extended; returns whether a new one begins.
    #[inline]
    pub fn sent(&mut self, pool: &mut Pool, end: Seq, now_us: u32, blur_us: u32) -> bool {
        if !self.is_empty() {
            return self.sent_behind(pool, end, now_us, blur_us);
        }
        *self = Flight { head: now_us, tail: end.0, count: PLAIN };
        true
    }

    #[inline(never)]
    fn sent_behind(&mut self, pool: &mut Pool, end: Seq, now_us: u32, blur_us: u32) -> bool {
        if self.count == PLAIN && now_us.wrapping_sub(self.head) <= blur_us {
            self.tail = end.0;
            return false;
        }
        self.make_list(pool);
        let has_run = self.has_free_run(pool);
        if let Some(tail) = pool.runs.get_mut(self.tail as usize)
            && tail.status == Status::Outstanding
            && (!has_run
                || (!tail.retransmitted && now_us.wrapping_sub(tail.sent_at_us) <= blur_us))
        {
            tail.end = end;
            return false;
        }
        assert!(has_run, "no free run for the sent segment");
        let run = Run { end, sent_at_us: now_us, next: NONE, ..Run::default() };
        let index = pool.allocate(run);
        pool.runs[self.tail as usize].next = index;
        pool.spare -= 1;
        self.tail = index;
        self.count += 1;
        true
    }

    /// Stamps the last run, if delivery rates are sampled. If the run was extended, only what is
    /// in flight changes.
    pub fn stamp_last(&mut self, pool: &mut Pool, stamp: Stamp, is_new: bool) {
        self.make_list(pool);
        if let Some(last) = pool.stamps.get_mut(self.tail as usize) {
            match is_new {
                true => *last = stamp,
                false => last.in_flight = stamp.in_flight,
            }
        }
    }

    /// Removes what lies before `ack`. The first run began at `una`.
    ///
    /// Inlined for the first run, mostly the only one: then the sample is not read and written
    /// again for each of its fields.
    #[inline]
    pub fn acknowledge(&mut self, pool: &mut Pool, una: Seq, ack: Seq, sample: &mut AckSample) {
        if let Some(run) = self.plain() {
            let end = run.end.min(ack);
            if end.after(una) {
                sample.note(una, end, &run);
            }
            if run.end.at_or_before(ack) {
                *self = Flight::default();
            }
            return;
        }
        let Some(run) = pool.runs.get(self.head as usize).copied() else { return };
        let end = run.end.min(ack);
        if end.after(una) && sample.note(una, end, &run) {
            pool.copy_stamp(self.head, sample);
        }
        if run.end.at_or_before(ack) {
            self.pop(pool, run.next);
            if self.head != NONE {
                self.acknowledge_rest(pool, run.end, ack, sample);
            }
        }
    }

    /// Removes everything in flight, if that is one outstanding run that was sent once and ends at
    /// `ack`. Returns when it was sent, which is all that an [`AckSample`] would say. Returns
    /// `None`, and changes nothing, if [`Flight::acknowledge`] has to be asked.
    #[inline]
    pub fn acknowledge_single(&mut self, ack: Seq) -> Option<u32> {
        let Flight { head: sent_at_us, tail, count } = *self;
        if count != PLAIN || tail != ack.0 {
            return None;
        }
        *self = Flight::default();
        Some(sent_at_us)
    }

    #[inline(never)]
    fn acknowledge_rest(&mut self, pool: &mut Pool, una: Seq, ack: Seq, sample: &mut AckSample) {
        let mut start = una;
        while let Some(run) = pool.runs.get(self.head as usize).copied() {
            let end = run.end.min(ack);
            if end.after(start) && sample.note(start, end, &run) {
                pool.copy_stamp(self.head, sample);
            }
            if run.end.after(ack) {
                return;
            }
            start = run.end;
            self.pop(pool, run.next);
        }
    }

    fn pop(&mut self, pool: &mut Pool, next: u32) {
        pool.release(std::mem::replace(&mut self.head, next));
        self.count -= 1;
        if next == NONE {
            self.tail = NONE;
        } else {
            pool.spare += 1;
        }
    }

    /// Applies a SACK block, with `left` not before `una` and `right` not after SND.NXT. Returns
    /// whether there were enough runs for all of it.
    pub fn sack(
        &mut self,
        pool: &mut Pool,
        una: Seq,
        left: Seq,
        right: Seq,
        sample: &mut AckSample,
    ) -> bool {
        self.make_list(pool);
        let (mut start, mut at, mut is_noted) = (una, self.head, true);
        // The run before the first that changes.
        let mut before = NONE;
        let mut changes = false;
        while let Some(run) = pool.runs.get(at as usize).copied() {
            if start.at_or_after(right) {
                break;
            }
            let reaches = run.end.after(left) && run.status != Status::Sacked;
            if reaches && start.before(left) && self.split(pool, at, left) {
                (start, at) = (left, pool.runs[at as usize].next);
                continue;
            }
            // A part that could not be split off stays outstanding.
            let within = start.at_or_after(left)
                && (run.end.at_or_before(right) || self.split(pool, at, right));
            if reaches && within {
                let run = &mut pool.runs[at as usize];
                let is_latest = sample.note(start, run.end, run);
                sample.sacked += run.end.since(start);
                run.status = Status::Sacked;
                if is_latest {
                    pool.copy_stamp(at, sample);
                }
                changes = true;
            }
            is_noted &= within || !reaches;
            if !changes {
                before = at;
            }
            let run = &pool.runs[at as usize];
            (start, at) = (run.end, run.next);
        }
        if changes {
            let from = if before == NONE { self.head } else { before };
            self.merge(pool, from, right);
        }
        is_noted
    }

    /// Marks runs lost: calls `new_status` for each run that is outstanding or SACKed, with its
    /// start. Returns how many bytes turned from [`Status::Outstanding`] to [`Status::Lost`], and
    /// how many from [`Status::Sacked`].
    pub fn mark_lost(
        &mut self,
        pool: &mut Pool,
        una: Seq,
        mut new_status: impl FnMut(Seq, &Run) -> Status,
    ) -> (u32, u32) {
        self.make_list(pool);
        let (mut start, mut at) = (una, self.head);
        let (mut out, mut sacked) = (0, 0);
        pool.newly_lost.clear();
        while let Some(run) = pool.runs.get_mut(at as usize) {
            let (was, end, next) = (run.status, run.end, run.next);
            if was != Status::Lost && new_status(start, run) == Status::Lost {
                run.status = Status::Lost;
                *(if was == Status::Outstanding { &mut out } else { &mut sacked }) +=
                    end.since(start);
                pool.note_lost(at, start, end);
            }
            (start, at) = (end, next);
        }
        if out + sacked > 0 {
            self.merge(pool, self.head, start);
        }
        (out, sacked)
    }

    /// Marks up to `len` bytes at the front lost. Returns how many of them were not lost before.
    pub fn mark_front_lost(&mut self, pool: &mut Pool, una: Seq, len: u32) -> u32 {
        pool.newly_lost.clear();
        self.make_list(pool);
        let Some(first) = pool.runs.get(self.head as usize).copied() else { return 0 };
        if first.status != Status::Outstanding {
            return 0;
        }
        if first.end.after(una + len) {
            self.split(pool, self.head, una + len);
        }
        let first = &mut pool.runs[self.head as usize];
        first.status = Status::Lost;
        let end = first.end;
        pool.note_lost(self.head, una, end);
        end.since(una)
    }

    /// Turns lost runs back into outstanding ones. Returns how many bytes they have.
    pub fn unmark_lost(&mut self, pool: &mut Pool, una: Seq) -> u32 {
        if self.count == PLAIN {
            return 0;
        }
        let (mut start, mut at, mut bytes) = (una, self.head, 0);
        while let Some(run) = pool.runs.get_mut(at as usize) {
            if run.status == Status::Lost {
                run.status = Status::Outstanding;
                bytes += run.end.since(start);
            }
            (start, at) = (run.end, run.next);
        }
        self.merge(pool, self.head, start);
        bytes
    }

    /// Start and end of the first lost run.
    pub fn first_lost(&self, pool: &Pool, una: Seq) -> Option<(Seq, Seq)> {
        if self.count == PLAIN {
            return None;
        }
        let (mut start, mut at) = (una, self.head);
        while let Some(run) = pool.runs.get(at as usize) {
            if run.status == Status::Lost {
                return Some((start, run.end));
            }
            (start, at) = (run.end, run.next);
        }
        None
    }

    /// Records that the bytes between `from` and `to` are retransmitted now. Returns how many lost
    /// bytes are in flight again. That may be more than was sent, if a run could not be split.
    pub fn retransmitted(
        &mut self,
        pool: &mut Pool,
        una: Seq,
        (from, to): (Seq, Seq),
        now_us: u32,
        stamp: Stamp,
    ) -> u32 {
        self.make_list(pool);
        let (mut start, mut at, mut unmarked) = (una, self.head, 0);
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
                unmarked += if run.status == Status::Lost { run.end.since(start) } else { 0 };
                (run.status, run.retransmitted, run.sent_at_us) =
                    (Status::Outstanding, true, now_us);
                if let Some(old) = pool.stamps.get_mut(at as usize) {
                    *old = stamp;
                }
            }
            let run = &pool.runs[at as usize];
            (start, at) = (run.end, run.next);
        }
        self.merge(pool, self.head, to);
        unmarked
    }

    /// Whether the first run is SACKed: then the peer has reneged (RFC 2018 §8).
    pub fn front_is_sacked(&self, pool: &Pool) -> bool {
        self.count != PLAIN
            && pool.runs.get(self.head as usize).is_some_and(|run| run.status == Status::Sacked)
    }

    /// Frees all runs.
    pub fn clear(&mut self, pool: &mut Pool) {
        if self.count == PLAIN {
            *self = Flight::default();
        }
        while let Some(run) = pool.runs.get(self.head as usize).copied() {
            self.pop(pool, run.next);
        }
    }

    /// Splits a run in two, the second beginning at `boundary`. Returns `false` if no run is free.
    fn split(&mut self, pool: &mut Pool, at: u32, boundary: Seq) -> bool {
        if !self.has_free_run(pool) {
            return false;
        }
        let second = pool.allocate(pool.runs[at as usize]);
        if let Some(stamp) = pool.stamps.get(at as usize).copied() {
            pool.stamps[second as usize] = stamp;
        }
        pool.spare -= 1;
        self.count += 1;
        let first = &mut pool.runs[at as usize];
        (first.end, first.next) = (boundary, second);
        if self.tail == at {
            self.tail = second;
        }
        true
    }

    /// Joins adjacent runs of the same status and send time, from the run `from` to the one that
    /// follows `right`.
    fn merge(&mut self, pool: &mut Pool, from: u32, right: Seq) {
        let mut at = from;
        while let Some(run) = pool.runs.get(at as usize).copied() {
            if run.end.after(right) {
                break;
            }
            let Some(next) = pool.runs.get(run.next as usize).copied() else { break };
            let alike = run.status == next.status
                && (run.status == Status::Sacked
                    || run.retransmitted == next.retransmitted
                        && (run.status == Status::Lost || run.sent_at_us == next.sent_at_us));
            if !alike {
                at = run.next;
                continue;
            }
            let first = &mut pool.runs[at as usize];
            (first.end, first.next) = (next.end, next.next);
            first.retransmitted |= next.retransmitted;
            pool.release(run.next);
            pool.spare += 1;
            self.count -= 1;
            if self.tail == run.next {
                self.tail = at;
            }
        }
    }

    /// The runs in order, each with its start.
    pub fn runs<'a>(&self, pool: &'a Pool, una: Seq) -> impl Iterator<Item = (Seq, Run)> + use<'a> {
        let mut plain = self.plain();
        let (mut start, mut at) = (una, if plain.is_some() { NONE } else { self.head });
        std::iter::from_fn(move || {
            let run = plain.take().or_else(|| pool.runs.get(at as usize).copied())?;
            at = run.next;
            Some((std::mem::replace(&mut start, run.end), run))
        })
    }
}

#[cfg(test)]
#[path = "flight_tests.rs"]
mod tests;

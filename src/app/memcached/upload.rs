//! Receives values: reserves space in the store, writes each chunk there, and commits the item with
//! the last byte.
//!
//! A value that arrives as a whole is stored at once. A value in several chunks occupies the
//! store's memory for incoming values until it is complete ([`super::uploads`]). While others fill
//! that, a value is not read ([`super::watch`]), but not for long: then it takes over the space of
//! another.

use super::connection::{Connection, Phase, Wide};
use super::counters::Count;
use super::meta::Echo;
use super::uploads::{Found, Upload, Way};
use super::watch::{LATE_SECONDS, SENDERS_SECONDS};
use super::{Memcached, Step};
use crate::app::Blob;
use crate::store::{Commit, Delete, Full, Mode, NewItem, Outcome, Reservation, ReserveError};
use simoom_io::Reply;

/// The operation for a value.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) commit: Commit,
    pub(super) ending: Ending,
}

/// How a value ends, and the form of its answer.
#[derive(Debug)]
pub(super) enum Ending {
    Text { noreply: bool },
    Meta(Echo),
    Binary { opcode: u8, opaque: [u8; 4], quiet: bool },
}

impl Ending {
    /// CR LF ends a value, except in the binary protocol.
    pub(super) fn bytes(&self) -> &'static [u8] {
        match self {
            Ending::Text { .. } | Ending::Meta(_) => b"\r\n",
            Ending::Binary { .. } => b"",
        }
    }
}

impl ReserveError {
    /// The answer of the text protocols.
    pub(super) fn text(self) -> &'static [u8] {
        match self {
            ReserveError::TooLarge => b"SERVER_ERROR object too large for cache",
            ReserveError::OutOfMemory => b"SERVER_ERROR out of memory storing object",
        }
    }
}

impl Memcached {
    /// Reserves space for a value. `behind` is the part that has arrived; `end_bytes` bytes end the
    /// value. If the request should wait for other senders, `holds_back` is set, and nothing else
    /// has changed.
    pub(super) fn reserve(
        &mut self,
        conn: &Connection,
        new: &NewItem<'_>,
        behind: &[u8],
        end_bytes: usize,
    ) -> Result<Reservation, ReserveError> {
        let is_complete = behind.len() >= new.value_bytes.saturating_add(end_bytes);
        let reserved = if is_complete {
            self.store.reserve(new, self.now)
        } else {
            self.reserve_incoming(conn, new)
        };
        self.count(match &reserved {
            Ok(_) => Count::CmdSet,
            Err(ReserveError::TooLarge) => Count::TooLarge,
            Err(ReserveError::OutOfMemory) if self.holds_back => return reserved,
            Err(ReserveError::OutOfMemory) => Count::NoMemory,
        });
        reserved
    }

    fn reserve_incoming(
        &mut self,
        conn: &Connection,
        new: &NewItem<'_>,
    ) -> Result<Reservation, ReserveError> {
        let mut displaced = 0;
        let waited = conn.watch.waited_for_senders(self.now);
        let (store, uploads, now) = (&self.store, &mut self.uploads, self.now);
        let mut waits = false;
        let reserved = store.reserve_incoming(new, now, || {
            let (is_given, most) = match uploads.way(now, conn.peer) {
                Some(Way::Given) => (true, 0),
                Some(Way::GivenLater) => (waited >= LATE_SECONDS, SENDERS_SECONDS),
                Some(Way::Kept) => (false, SENDERS_SECONDS),
                // Other workers have the space.
                None => (false, LATE_SECONDS),
            };
            waits = !is_given && waited < most;
            if waits {
                return Full::Wait;
            }
            let found = is_given
                && uploads.displace(now, |upload| {
                    if upload.job.commit.mode == Mode::Set && upload.job.commit.compare.is_none() {
                        // A client must not take the old value for the new one.
                        store.delete(upload.reservation.key(), &Delete::default(), now);
                    }
                });
            displaced += u64::from(found);
            Full::unless_dropped(found)
        });
        (self.holds_back, self.for_senders) = (waits, waits);
        self.add(Count::Displaced, displaced);
        reserved
    }

    /// Writes the bytes of a value in `bytes`, and stores the value once it is complete. Returns
    /// the number of consumed bytes.
    #[inline]
    pub(super) fn begin_upload(
        &mut self,
        conn: &mut Connection,
        mut reservation: Reservation,
        job: Job,
        bytes: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> usize {
        let n = reservation.write(bytes);
        if let Some(end) = end_of(&reservation, &job, &bytes[n..]) {
            self.finish(reservation, &job, &bytes[n..n + end], reply);
            return n + end;
        }
        self.count(Count::Streamed);
        let left = reservation.remaining() + job.ending.bytes().len();
        match self.uploads.put(Upload::new(reservation, job, conn.peer, self.now)) {
            Some(slot) => conn.begin_upload(slot, self.now),
            // There is one slot for each connection. So this case needs a transport that opens more
            // connections than announced.
            None => {
                self.write_line(ReserveError::OutOfMemory.text(), reply);
                conn.begin_skip(left as u64, self.now);
            }
        }
        n
    }

    /// Receives more bytes of a value in several chunks.
    pub(super) fn upload(
        &mut self,
        conn: &mut Connection,
        slot: u32,
        bytes: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> Step {
        let Found::Coming(Upload { reservation, job, .. }) = self.uploads.find(slot) else {
            self.refuse_displaced(conn, slot, reply);
            return Step::Took(0);
        };
        let n = reservation.write(bytes);
        let Some(end) = end_of(reservation, job, &bytes[n..]) else {
            self.uploads.progressed(slot, self.now);
            return if n == 0 { Step::Wait } else { Step::Took(n) };
        };
        conn.phase = Phase::Command;
        if let Some(Upload { reservation, job, .. }) = self.uploads.take(slot) {
            self.finish(reservation, &job, &bytes[n..n + end], reply);
        }
        Step::Took(n + end)
    }

    /// Refuses a value that lost its space to a newer one, and discards its remaining bytes.
    #[cold]
    fn refuse_displaced(&mut self, conn: &mut Connection, slot: u32, reply: &mut Reply<'_, Blob>) {
        let Some(displaced) = self.uploads.take_displaced(slot) else { return };
        conn.phase = Phase::Skip(Wide(displaced.left));
        self.count(Count::NoMemory);
        match displaced.ending {
            Ending::Text { noreply: true } => {}
            Ending::Text { noreply: false } | Ending::Meta(_) => {
                self.write_line(ReserveError::OutOfMemory.text(), reply);
            }
            Ending::Binary { opcode, opaque, .. } => {
                self.answer_out_of_memory(opcode, opaque, reply);
            }
        }
    }

    /// Stores a complete value, if it ends with `end`.
    fn finish(
        &mut self,
        reservation: Reservation,
        job: &Job,
        end: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) {
        if end != job.ending.bytes() {
            self.count(Count::BadChunks);
            if !matches!(job.ending, Ending::Text { noreply: true }) {
                self.write_line(b"CLIENT_ERROR bad data chunk", reply);
            }
            return;
        }
        match &job.ending {
            Ending::Text { noreply } => {
                let outcome = self.commit(reservation, &job.commit);
                if !noreply {
                    reply.copy(outcome_text(outcome));
                }
            }
            Ending::Meta(echo) => self.finish_meta(reservation, &job.commit, echo, reply),
            &Ending::Binary { opcode, opaque, quiet } => {
                let outcome = self.commit(reservation, &job.commit);
                self.answer_stored(opcode, opaque, quiet, job.commit.mode, outcome, reply);
            }
        }
    }

    pub(super) fn commit(&mut self, reservation: Reservation, commit: &Commit) -> Outcome {
        let outcome = self.store.commit(reservation, commit, self.now);
        if commit.compare.is_some() && matches!(commit.mode, Mode::Set | Mode::Replace) {
            match outcome {
                Outcome::Stored { .. } => self.count(Count::CasHits),
                Outcome::Exists => self.count(Count::CasBadval),
                Outcome::NotFound => self.count(Count::CasMisses),
                _ => {}
            }
        }
        outcome
    }
}

/// The number of bytes after a value that end it. `None` while the value or its end is incomplete.
fn end_of(reservation: &Reservation, job: &Job, behind: &[u8]) -> Option<usize> {
    let end = job.ending.bytes().len();
    (reservation.remaining() == 0 && behind.len() >= end).then_some(end)
}

pub(super) fn outcome_text(outcome: Outcome) -> &'static [u8] {
    match outcome {
        Outcome::Stored { .. } => b"STORED\r\n",
        Outcome::Exists => b"EXISTS\r\n",
        Outcome::NotFound => b"NOT_FOUND\r\n",
        // memcached sends nothing more when it cannot join two values.
        Outcome::NotStored | Outcome::TooLarge | Outcome::OutOfMemory => b"NOT_STORED\r\n",
    }
}

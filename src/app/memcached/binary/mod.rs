//! The binary protocol: packets in, what they ask for done and answered.
//!
//! It is deprecated but spoken. A request that breaks its rules is answered with an error and ends the connection, as
//! in memcached. Different from memcached only where that loses count of the bytes: the body of an unknown opcode is
//! read past, all of it and nothing more.

mod header;

pub(super) use header::{HEADER_BYTES, REQUEST};

use super::conn::{Conn, Phase, Stats};
use super::stats::Topic;
use super::tally::Count;
use super::text::KEY_MAX_BYTES;
use super::time::expiry_unsigned;
use super::upload::{Ending, Job};
use super::{Memcached, Step, VERSION, close};
use crate::app::Blob;
use crate::store::{Commit, Count as Counting, Counted, Delete, Mode, New, Outcome, Refusal};
use header::{Answer, Header, Status};
use simoom_stack::Reply;

/// More than memcached ever takes in one packet.
const BODY_MAX_BYTES: u32 = 1 << 30;
/// An expiration time that says: do not create.
const NEVER_CREATE: u32 = u32::MAX;
const STAT: u8 = 0x10;

/// What an opcode asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Get {
        with_key: bool,
    },
    /// `touch`, or `gat` if the value is wanted.
    Touch {
        with_value: bool,
        with_key: bool,
    },
    Store(Mode),
    Join(Mode),
    Delete,
    Count {
        decrement: bool,
    },
    Quit,
    Flush,
    Noop,
    Version,
    Stat,
    /// Authentication is not offered.
    Sasl,
}

/// The operation of an opcode, and whether it is of the quiet kind.
fn operation(opcode: u8) -> Option<(Operation, bool)> {
    use Operation::{Count, Delete, Flush, Get, Join, Noop, Quit, Sasl, Stat, Store, Touch, Version};
    Some(match opcode {
        0x00 => (Get { with_key: false }, false),
        0x01 => (Store(Mode::Set), false),
        0x02 => (Store(Mode::Add), false),
        0x03 => (Store(Mode::Replace), false),
        0x04 => (Delete, false),
        0x05 => (Count { decrement: false }, false),
        0x06 => (Count { decrement: true }, false),
        0x07 => (Quit, false),
        0x08 => (Flush, false),
        0x09 => (Get { with_key: false }, true),
        0x0a => (Noop, false),
        0x0b => (Version, false),
        0x0c => (Get { with_key: true }, false),
        0x0d => (Get { with_key: true }, true),
        0x0e => (Join(Mode::Append), false),
        0x0f => (Join(Mode::Prepend), false),
        STAT => (Stat, false),
        0x11 => (Store(Mode::Set), true),
        0x12 => (Store(Mode::Add), true),
        0x13 => (Store(Mode::Replace), true),
        0x14 => (Delete, true),
        0x15 => (Count { decrement: false }, true),
        0x16 => (Count { decrement: true }, true),
        0x17 => (Quit, true),
        0x18 => (Flush, true),
        0x19 => (Join(Mode::Append), true),
        0x1a => (Join(Mode::Prepend), true),
        0x1c => (Touch { with_value: false, with_key: false }, false),
        0x1d => (Touch { with_value: true, with_key: false }, false),
        0x1e => (Touch { with_value: true, with_key: false }, true),
        0x20..=0x22 => (Sasl, false),
        0x23 => (Touch { with_value: true, with_key: true }, false),
        0x24 => (Touch { with_value: true, with_key: true }, true),
        _ => return None,
    })
}

/// A packet but for its value.
struct Packet<'a> {
    header: Header,
    quiet: bool,
    extras: &'a [u8],
    key: &'a [u8],
}

impl Packet<'_> {
    fn value_len(&self) -> u32 {
        self.header.body_len - self.header.front_len() as u32
    }

    fn is_formed_as(&self, operation: Operation) -> bool {
        let Header { extras_len, body_len, .. } = self.header;
        let (has_key, has_value) = (!self.key.is_empty(), self.value_len() > 0);
        match operation {
            Operation::Get { .. } | Operation::Delete => extras_len == 0 && has_key && !has_value,
            Operation::Touch { .. } => extras_len == 4 && has_key,
            Operation::Store(_) => extras_len == 8 && has_key,
            Operation::Join(_) => extras_len == 0 && has_key,
            Operation::Count { .. } => extras_len == 20 && has_key && !has_value,
            Operation::Quit | Operation::Noop | Operation::Version => body_len == 0,
            Operation::Flush => matches!(extras_len, 0 | 4) && !has_key && !has_value,
            Operation::Stat => extras_len == 0,
            Operation::Sasl if self.header.opcode == 0x20 => body_len == 0,
            Operation::Sasl => extras_len == 0 && has_key,
        }
    }

    /// 32 bits of the extras.
    fn extra32(&self, at: usize) -> u32 {
        self.extras.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u32::from_be_bytes(*bytes))
    }

    /// 64 bits of the extras.
    fn extra64(&self, at: usize) -> u64 {
        self.extras.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u64::from_be_bytes(*bytes))
    }

    fn compare(&self) -> Option<u64> {
        Some(self.header.cas).filter(|cas| *cas != 0)
    }
}

/// The answer to the packet that `bytes` begin with, if one would be too long to send; `None` if they begin with none.
pub(super) fn too_large(bytes: &[u8]) -> Option<[u8; HEADER_BYTES]> {
    let header = Header::read(bytes).filter(|header| header.magic == REQUEST)?;
    Some(header.answer(Status::TooLarge).to_bytes())
}

impl Memcached {
    /// The next packet.
    pub(super) fn packet(&mut self, conn: &mut Conn, bytes: &[u8], reply: &mut Reply<'_, Blob>) -> Step {
        if bytes[0] != REQUEST {
            self.hang_up(conn, reply);
            return Step::Took(bytes.len());
        }
        let Some(header) = Header::read(bytes) else { return Step::Wait };
        let (front, body) = (header.front_len(), header.body_len as usize);
        let refusal = match () {
            () if front > body => Some(Status::UnknownCommand),
            () if header.body_len > BODY_MAX_BYTES => Some(Status::Invalid),
            () if usize::from(header.key_len) > KEY_MAX_BYTES => Some(Status::Invalid),
            () => None,
        };
        if let Some(status) = refusal {
            self.break_off(conn, &header, status, reply);
            return Step::Took(bytes.len());
        }
        let Some(front) = bytes[HEADER_BYTES..].get(..front) else { return Step::Wait };
        let (extras, key) = front.split_at(header.extras_len.into());
        let (known, behind) = (operation(header.opcode), &bytes[HEADER_BYTES + front.len()..]);
        let quiet = known.is_some_and(|(_, quiet)| quiet);
        let packet = Packet { header, quiet, extras, key };
        let Some((operation, _)) = known.filter(|(operation, _)| packet.is_formed_as(*operation)) else {
            match known {
                Some(_) => self.break_off(conn, &header, Status::Invalid, reply),
                None => {
                    self.fail(&header, Status::UnknownCommand, reply);
                    skip_value(conn, &packet);
                }
            }
            return Step::Took(HEADER_BYTES + front.len());
        };
        let ahead = HEADER_BYTES + front.len();
        if let Operation::Stat = operation {
            return Step::Took(self.begin_stat(conn, &packet, ahead, reply));
        }
        Step::Took(ahead + self.operate(conn, operation, &packet, behind, reply))
    }

    /// Returns how many of the bytes behind key and extras are consumed.
    fn operate(
        &mut self,
        conn: &mut Conn,
        operation: Operation,
        packet: &Packet<'_>,
        behind: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> usize {
        match operation {
            Operation::Get { with_key } => self.bring(packet, None, true, with_key, reply),
            Operation::Touch { with_value, with_key } => {
                let touch = expiry_unsigned(packet.extra32(0), self.now);
                self.bring(packet, Some(touch), with_value, with_key, reply);
                skip_value(conn, packet);
            }
            Operation::Store(mode) => {
                let commit = Commit { mode, compare: packet.compare(), ..Commit::default() };
                // With a number to compare, `add` is as any other.
                let mode = if commit.compare.is_some() { Mode::Set } else { mode };
                return self.begin_store(conn, packet, Commit { mode, ..commit }, behind, reply);
            }
            Operation::Join(mode) => {
                let commit = Commit { mode, compare: packet.compare(), ..Commit::default() };
                return self.begin_store(conn, packet, commit, behind, reply);
            }
            Operation::Delete => self.delete_packet(packet, reply),
            Operation::Count { decrement } => self.count_packet(packet, decrement, reply),
            Operation::Flush => {
                self.flush_all(packet.extra32(0));
                self.succeed(packet, 0, b"", reply);
            }
            Operation::Noop => self.succeed(packet, 0, b"", reply),
            Operation::Version => self.succeed(packet, 0, VERSION.as_bytes(), reply),
            Operation::Quit => {
                self.succeed(packet, 0, b"", reply);
                close(conn, reply);
            }
            Operation::Sasl => {
                self.fail(&packet.header, Status::UnknownCommand, reply);
                skip_value(conn, packet);
            }
            Operation::Stat => unreachable!("answered line by line"),
        }
        0
    }

    fn bring(
        &mut self,
        packet: &Packet<'_>,
        touch: Option<u32>,
        with_value: bool,
        with_key: bool,
        reply: &mut Reply<'_, Blob>,
    ) {
        let found = match touch {
            None => self.store.get(packet.key, self.now),
            Some(exptime) => self.get_and_touch(packet.key, exptime),
        };
        self.count_fetch(touch.is_some(), found.is_some());
        let Some(item) = found else { return self.miss(packet, with_key, reply) };
        let (known, value) = (item.meta(), item.value_range());
        let key: &[u8] = if with_key { packet.key } else { b"" };
        let value_len = if with_value { value.len() } else { 0 };
        let answer = Answer {
            key_len: key.len() as u16,
            extras_len: 4,
            body_len: (4 + key.len() + value_len) as u32,
            cas: known.cas,
            ..packet.header.answer(Status::Ok)
        };
        let flags = known.flags.to_be_bytes();
        reply.copy(self.out.clear().push(&answer.to_bytes()).push(&flags).push(key).bytes());
        if with_value {
            self.send(item, value, reply);
        }
    }

    fn miss(&mut self, packet: &Packet<'_>, with_key: bool, reply: &mut Reply<'_, Blob>) {
        if packet.quiet {
            return;
        }
        if !with_key {
            return self.fail(&packet.header, Status::NotFound, reply);
        }
        let (key_len, body_len) = (packet.header.key_len, packet.header.key_len.into());
        let answer = Answer { key_len, body_len, ..packet.header.answer(Status::NotFound) };
        reply.copy(self.out.clear().push(&answer.to_bytes()).push(packet.key).bytes());
    }

    fn begin_store(
        &mut self,
        conn: &mut Conn,
        packet: &Packet<'_>,
        commit: Commit,
        behind: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> usize {
        let new = New {
            key: packet.key,
            flags: packet.extra32(0),
            exptime: expiry_unsigned(packet.extra32(4), self.now),
            value_bytes: packet.value_len() as usize,
            binary_key: false,
        };
        match self.reserve(&new) {
            Ok(reservation) => {
                let Header { opcode, opaque, .. } = packet.header;
                let job = Job { commit, ending: Ending::Binary { opcode, opaque, quiet: packet.quiet } };
                self.begin_upload(conn, reservation, job, behind, reply)
            }
            Err(refused) => {
                if matches!(operation(packet.header.opcode), Some((Operation::Store(Mode::Set), _))) {
                    self.forget(packet.key);
                }
                let status = match refused {
                    Refusal::TooLarge => Status::TooLarge,
                    Refusal::OutOfMemory => Status::OutOfMemory,
                };
                self.fail(&packet.header, status, reply);
                skip_value(conn, packet);
                0
            }
        }
    }

    /// Answers a storage command whose value has come.
    pub(super) fn answer_stored(
        &mut self,
        opcode: u8,
        opaque: [u8; 4],
        quiet: bool,
        mode: Mode,
        outcome: Outcome,
        reply: &mut Reply<'_, Blob>,
    ) {
        let header = Header { opcode, opaque, ..Header::default() };
        let status = match (outcome, mode) {
            (Outcome::Stored { .. }, _) if quiet => return,
            (Outcome::Stored { cas }, _) => {
                let answer = Answer { cas, ..header.answer(Status::Ok) };
                return reply.copy(&answer.to_bytes());
            }
            (Outcome::Exists, _) | (_, Mode::Add) => Status::Exists,
            (Outcome::NotFound, _) | (_, Mode::Replace) => Status::NotFound,
            _ => Status::NotStored,
        };
        self.fail(&header, status, reply);
    }

    fn delete_packet(&mut self, packet: &Packet<'_>, reply: &mut Reply<'_, Blob>) {
        let how = Delete { compare: packet.compare(), ..Delete::default() };
        match self.store.delete(packet.key, &how, self.now) {
            Outcome::Stored { .. } => {
                self.count(Count::DeleteHits);
                self.succeed(packet, 0, b"", reply);
            }
            Outcome::Exists => self.fail(&packet.header, Status::Exists, reply),
            _ => {
                self.count(Count::DeleteMisses);
                self.fail(&packet.header, Status::NotFound, reply);
            }
        }
    }

    fn count_packet(&mut self, packet: &Packet<'_>, decrement: bool, reply: &mut Reply<'_, Blob>) {
        let exptime = packet.extra32(16);
        let create = (packet.extra64(8), expiry_unsigned(exptime, self.now));
        let how = Counting {
            delta: packet.extra64(0),
            decrement,
            compare: packet.compare(),
            create: (exptime != NEVER_CREATE).then_some(create),
            ..Counting::default()
        };
        let counted = self.store.count(packet.key, &how, self.now);
        self.count_arithmetic(!decrement, &counted);
        let status = match counted {
            Counted::Value { value, meta, .. } => {
                return self.succeed(packet, meta.cas, &value.to_be_bytes(), reply);
            }
            Counted::NotFound => Status::NotFound,
            Counted::Exists => Status::Exists,
            Counted::NonNumeric => Status::NonNumeric,
            Counted::OutOfMemory => Status::OutOfMemory,
        };
        self.fail(&packet.header, status, reply);
    }

    /// Returns how much of the packet is consumed before the answer: all but its last byte, or all.
    fn begin_stat(
        &mut self,
        conn: &mut Conn,
        packet: &Packet<'_>,
        ahead: usize,
        reply: &mut Reply<'_, Blob>,
    ) -> usize {
        let topic = match packet.key {
            key if key.starts_with(b"reset") => {
                self.shared.tally().reset();
                Some(Topic::Nothing)
            }
            key if key.starts_with(b"settings") => Some(Topic::Settings),
            // Connections are no topic: in memcached they cannot be asked for here.
            key => Topic::of(key),
        };
        match topic {
            Some(topic) if packet.value_len() == 0 => {
                conn.phase = Phase::Stats(Stats { topic, line: 0, opaque: Some(packet.header.opaque) });
                ahead - 1
            }
            _ => {
                self.fail(&packet.header, Status::NotFound, reply);
                skip_value(conn, packet);
                ahead
            }
        }
    }

    /// One line of an answer to `stat`; the last one is empty.
    pub(super) fn answer_stat(&mut self, opaque: [u8; 4], name: &[u8], value: &[u8], reply: &mut Reply<'_, Blob>) {
        let header = Header { opcode: STAT, opaque, ..Header::default() };
        let (key_len, body_len) = (name.len() as u16, (name.len() + value.len()) as u32);
        let answer = Answer { key_len, body_len, ..header.answer(Status::Ok) };
        reply.copy(self.out.clear().push(&answer.to_bytes()).push(name).push(value).bytes());
    }

    fn succeed(&mut self, packet: &Packet<'_>, cas: u64, body: &[u8], reply: &mut Reply<'_, Blob>) {
        if packet.quiet {
            return;
        }
        let answer = Answer { cas, body_len: body.len() as u32, ..packet.header.answer(Status::Ok) };
        reply.copy(self.out.clear().push(&answer.to_bytes()).push(body).bytes());
    }

    /// Errors are told whether or not the request is of the quiet kind.
    fn fail(&mut self, header: &Header, status: Status, reply: &mut Reply<'_, Blob>) {
        let text = status.text();
        let answer = Answer { body_len: text.len() as u32, ..header.answer(status) };
        reply.copy(self.out.clear().push(&answer.to_bytes()).push(text).bytes());
    }

    #[cold]
    fn break_off(&mut self, conn: &mut Conn, header: &Header, status: Status, reply: &mut Reply<'_, Blob>) {
        self.count(Count::Refused);
        self.fail(header, status, reply);
        close(conn, reply);
    }
}

fn skip_value(conn: &mut Conn, packet: &Packet<'_>) {
    if packet.value_len() > 0 {
        conn.phase = Phase::Skip(packet.value_len().into());
    }
}

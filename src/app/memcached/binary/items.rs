//! Operations on items: retrieve, store, delete, count.

use super::super::Memcached;
use super::super::connection::Connection;
use super::super::counters::Count;
use super::super::time::expiry_unsigned;
use super::super::upload::{Ending, Job};
use super::header::{Answer, Header, Status};
use super::operation::{Operation, operation};
use super::packet::Packet;
use super::skip_value;
use crate::app::Blob;
use crate::store::{
    Commit, Count as Counting, Counted, Delete, Mode, NewItem, Outcome, ReserveError,
};
use simoom_io::Reply;

/// The expiration time that forbids creating the item.
const NEVER_CREATE: u32 = u32::MAX;

impl Memcached {
    pub(super) fn bring(
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

    pub(super) fn begin_store(
        &mut self,
        conn: &mut Connection,
        packet: &Packet<'_>,
        commit: Commit,
        behind: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> usize {
        let new = NewItem {
            key: packet.key,
            flags: packet.extra32(0),
            exptime: expiry_unsigned(packet.extra32(4), self.times()),
            value_bytes: packet.value_len() as usize,
            binary_key: false,
        };
        match self.reserve(conn, &new, behind, 0) {
            Ok(reservation) => {
                let Header { opcode, opaque, .. } = packet.header;
                let job =
                    Job { commit, ending: Ending::Binary { opcode, opaque, quiet: packet.quiet } };
                self.begin_upload(conn, reservation, job, behind, reply)
            }
            Err(_) if self.holds_back => 0,
            Err(refused) => {
                if matches!(operation(packet.header.opcode), Some((Operation::Store(Mode::Set), _)))
                {
                    self.forget(packet.key);
                }
                let status = match refused {
                    ReserveError::TooLarge => Status::TooLarge,
                    ReserveError::OutOfMemory => Status::OutOfMemory,
                };
                self.fail(&packet.header, status, reply);
                skip_value(conn, packet, self.now);
                0
            }
        }
    }

    /// Answers a storage command after its value lost its space.
    pub(in crate::app::memcached) fn answer_out_of_memory(
        &mut self,
        opcode: u8,
        opaque: [u8; 4],
        reply: &mut Reply<'_, Blob>,
    ) {
        let header = Header { opcode, opaque, ..Header::default() };
        self.fail(&header, Status::OutOfMemory, reply);
    }

    /// Answers a storage command after its value has arrived.
    pub(in crate::app::memcached) fn answer_stored(
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

    pub(super) fn delete_packet(&mut self, packet: &Packet<'_>, reply: &mut Reply<'_, Blob>) {
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

    pub(super) fn count_packet(
        &mut self,
        packet: &Packet<'_>,
        decrement: bool,
        reply: &mut Reply<'_, Blob>,
    ) {
        let exptime = packet.extra32(16);
        let create = (packet.extra64(8), expiry_unsigned(exptime, self.times()));
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
}

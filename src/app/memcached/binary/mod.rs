//! The binary protocol: executes and answers packets.
//!
//! The protocol is deprecated but in use. As in memcached, a request that violates it gets an error
//! and ends the connection. One difference: memcached loses synchronization after an unknown
//! opcode. Simoom discards exactly its body.

mod header;
mod items;
mod operation;
mod packet;

pub(super) use header::{HEADER_BYTES, REQUEST};

use super::connection::{Connection, Phase, Stats};
use super::counters::Count;
use super::stats::Topic;
use super::text::KEY_MAX_BYTES;
use super::time::expiry_unsigned;
use super::{Memcached, Step, VERSION, close};
use crate::app::Blob;
use crate::store::{Commit, Mode};
use header::{Answer, Header, Status};
use operation::{Operation, STAT, operation};
use packet::Packet;
use simoom_io::Reply;

/// Exceeds every packet that memcached accepts.
const BODY_MAX_BYTES: u32 = 1 << 30;

/// The answer to the packet at the start of `bytes` when the normal answer is too long to send.
/// `None` if `bytes` start with no packet.
pub(super) fn too_large(bytes: &[u8]) -> Option<[u8; HEADER_BYTES]> {
    let header = Header::read(bytes).filter(|header| header.magic == REQUEST)?;
    Some(header.answer(Status::TooLarge).to_bytes())
}

impl Memcached {
    /// Handles the next packet. Not inlined: the loop over requests would compute addresses for it
    /// that the text protocol does not need.
    #[inline(never)]
    pub(super) fn packet(
        &mut self,
        conn: &mut Connection,
        bytes: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> Step {
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
        let Some((operation, _)) = known.filter(|(operation, _)| packet.is_formed_as(*operation))
        else {
            match known {
                Some(_) => self.break_off(conn, &header, Status::Invalid, reply),
                None => {
                    self.fail(&header, Status::UnknownCommand, reply);
                    skip_value(conn, &packet, self.now);
                }
            }
            return Step::Took(HEADER_BYTES + front.len());
        };
        let head_bytes = HEADER_BYTES + front.len();
        if let Operation::Stat = operation {
            return Step::Took(self.begin_stat(conn, &packet, head_bytes, reply));
        }
        let brings_value =
            matches!(operation, Operation::Get { .. } | Operation::Touch { with_value: true, .. });
        if brings_value && self.must_wait(packet.key, reply) {
            return self.hold_back();
        }
        let behind = self.operate(conn, operation, &packet, behind, reply);
        if self.holds_back { Step::Wait } else { Step::Took(head_bytes + behind) }
    }

    /// Returns the number of consumed bytes after key and extras.
    fn operate(
        &mut self,
        conn: &mut Connection,
        operation: Operation,
        packet: &Packet<'_>,
        behind: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> usize {
        match operation {
            Operation::Get { with_key } => self.bring(packet, None, true, with_key, reply),
            Operation::Touch { with_value, with_key } => {
                let touch = expiry_unsigned(packet.extra32(0), self.times());
                self.bring(packet, Some(touch), with_value, with_key, reply);
                skip_value(conn, packet, self.now);
            }
            Operation::Store(mode) => {
                let commit = Commit { mode, compare: packet.compare(), ..Commit::default() };
                // With a CAS number, `add` acts like the other commands.
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
                skip_value(conn, packet, self.now);
            }
            Operation::Stat => unreachable!("answered line by line"),
        }
        0
    }

    /// Returns the number of bytes to consume before the answer: all but the last byte of the
    /// packet, or all.
    fn begin_stat(
        &mut self,
        conn: &mut Connection,
        packet: &Packet<'_>,
        head_bytes: usize,
        reply: &mut Reply<'_, Blob>,
    ) -> usize {
        let topic = match packet.key {
            key if key.starts_with(b"reset") => {
                self.shared.counters().reset();
                Some(Topic::Nothing)
            }
            key if key.starts_with(b"settings") => Some(Topic::Settings),
            // memcached offers no `stats conns` in the binary protocol.
            key => Topic::of(key),
        };
        match topic {
            Some(topic) if packet.value_len() == 0 => {
                conn.phase =
                    Phase::Stats(Stats { topic, line: 0, opaque: Some(packet.header.opaque) });
                head_bytes - 1
            }
            _ => {
                self.fail(&packet.header, Status::NotFound, reply);
                skip_value(conn, packet, self.now);
                head_bytes
            }
        }
    }

    /// One line of an answer to `stat`. The last line is empty.
    pub(super) fn answer_stat(
        &mut self,
        opaque: [u8; 4],
        name: &[u8],
        value: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) {
        let header = Header { opcode: STAT, opaque, ..Header::default() };
        let (key_len, body_len) = (name.len() as u16, (name.len() + value.len()) as u32);
        let answer = Answer { key_len, body_len, ..header.answer(Status::Ok) };
        reply.copy(self.out.clear().push(&answer.to_bytes()).push(name).push(value).bytes());
    }

    fn succeed(&mut self, packet: &Packet<'_>, cas: u64, body: &[u8], reply: &mut Reply<'_, Blob>) {
        if packet.quiet {
            return;
        }
        let answer =
            Answer { cas, body_len: body.len() as u32, ..packet.header.answer(Status::Ok) };
        reply.copy(self.out.clear().push(&answer.to_bytes()).push(body).bytes());
    }

    /// Errors are reported for quiet requests, too.
    fn fail(&mut self, header: &Header, status: Status, reply: &mut Reply<'_, Blob>) {
        let text = status.text();
        let answer = Answer { body_len: text.len() as u32, ..header.answer(status) };
        reply.copy(self.out.clear().push(&answer.to_bytes()).push(text).bytes());
    }

    #[cold]
    fn break_off(
        &mut self,
        conn: &mut Connection,
        header: &Header,
        status: Status,
        reply: &mut Reply<'_, Blob>,
    ) {
        self.count(Count::Refused);
        self.fail(header, status, reply);
        close(conn, reply);
    }
}

fn skip_value(conn: &mut Connection, packet: &Packet<'_>, now: u32) {
    if packet.value_len() > 0 {
        conn.begin_skip(packet.value_len().into(), now);
    }
}

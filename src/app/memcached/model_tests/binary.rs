//! Packets of the binary protocol, normal and quiet, each with the expected answer.

use super::super::packet;
use super::Exchange;
use super::map::{Known, Model};

const NOT_FOUND: (u16, &[u8]) = (1, b"Not found");
const EXISTS: (u16, &[u8]) = (2, b"Data exists for key.");
const NOT_STORED: (u16, &[u8]) = (5, b"Not stored.");
const NON_NUMERIC: (u16, &[u8]) = (6, b"Non-numeric server-side value for incr or decr");
/// Among the extras of a count: nothing is to be created.
const NEVER_CREATE: u32 = u32::MAX;

/// An opcode's errors.
fn failed(opcode: u8, (status, text): (u16, &[u8])) -> Vec<u8> {
    answer(opcode, status, 0, b"", b"", text)
}

impl Model {
    pub(super) fn binary(&mut self) -> Exchange {
        let (key, quiet) = (self.key(), self.chance(400));
        match self.below(9) {
            0 | 1 => self.binary_get(&key, quiet),
            2 => self.binary_touch(&key, quiet),
            3 => self.binary_delete(&key, quiet),
            4 | 5 => self.binary_count(&key, quiet),
            6 => self.binary_join(&key, quiet),
            _ => self.binary_store(&key, quiet),
        }
    }

    fn binary_get(&mut self, key: &str, quiet: bool) -> Exchange {
        let with_key = self.chance(500);
        let opcode = [[0x00, 0x0c], [0x09, 0x0d]][usize::from(quiet)][usize::from(with_key)];
        let told = if with_key { key.as_bytes() } else { b"" };
        let answer = match self.find(key) {
            Some(known) => {
                answer(opcode, 0, known.cas, &known.flags.to_be_bytes(), told, &known.value)
            }
            None if quiet => vec![],
            None if with_key => answer(opcode, NOT_FOUND.0, 0, b"", told, b""),
            None => failed(opcode, NOT_FOUND),
        };
        (packet(opcode, b"", key.as_bytes(), b"", 0), answer)
    }

    /// `touch`, which has no quiet kind, `gat` and `gatk`.
    fn binary_touch(&mut self, key: &str, quiet: bool) -> Exchange {
        let (with_key, seconds) = (self.chance(300), self.below(60) as u32);
        let opcodes =
            if quiet { [0x1e, 0x24] } else { [if self.chance(500) { 0x1c } else { 0x1d }, 0x23] };
        let opcode = opcodes[usize::from(with_key)];
        let told = if with_key { key.as_bytes() } else { b"" };
        let exptime = self.seconds_from_now(seconds);
        let answer = match self.find(key) {
            Some(known) => {
                self.touch(key, exptime);
                let value = if opcode == 0x1c { vec![] } else { known.value };
                answer(opcode, 0, known.cas, &known.flags.to_be_bytes(), told, &value)
            }
            None if quiet => vec![],
            None if with_key => answer(opcode, NOT_FOUND.0, 0, b"", told, b""),
            None => failed(opcode, NOT_FOUND),
        };
        (packet(opcode, &seconds.to_be_bytes(), key.as_bytes(), b"", 0), answer)
    }

    fn seconds_from_now(&self, seconds: u32) -> u32 {
        if seconds == 0 { 0 } else { self.now + seconds }
    }

    fn binary_delete(&mut self, key: &str, quiet: bool) -> Exchange {
        let opcode = if quiet { 0x14 } else { 0x04 };
        let compare = if self.chance(500) { self.compare(key) } else { 0 };
        let answer = match self.find(key) {
            None => failed(opcode, NOT_FOUND),
            Some(known) if compare != 0 && compare != known.cas => failed(opcode, EXISTS),
            Some(_) => {
                self.known.remove(key);
                done(opcode, quiet, 0, b"")
            }
        };
        (packet(opcode, b"", key.as_bytes(), b"", compare), answer)
    }

    fn binary_count(&mut self, key: &str, quiet: bool) -> Exchange {
        let (delta, initial, decrement) = (self.below(400), self.below(1000), self.chance(500));
        let opcode = [[0x05, 0x06], [0x15, 0x16]][usize::from(quiet)][usize::from(decrement)];
        let seconds = if self.chance(500) { NEVER_CREATE } else { self.below(60) as u32 };
        let counted = match self.find(key) {
            None if seconds != NEVER_CREATE => {
                let exptime = self.seconds_from_now(seconds);
                let new = Known { value: initial.to_string().into(), exptime, ..Known::default() };
                Some(Ok((initial, self.put(key, new, None))))
            }
            _ => self.count(key, delta, decrement, None),
        };
        let answer = match counted {
            None => failed(opcode, NOT_FOUND),
            Some(Err(())) => failed(opcode, NON_NUMERIC),
            Some(Ok((number, cas))) => done(opcode, quiet, cas, &number.to_be_bytes()),
        };
        let extras =
            [&delta.to_be_bytes()[..], &initial.to_be_bytes(), &seconds.to_be_bytes()].concat();
        (packet(opcode, &extras, key.as_bytes(), b"", 0), answer)
    }

    fn binary_join(&mut self, key: &str, quiet: bool) -> Exchange {
        let prepends = self.chance(500);
        let opcode = [[0x0e, 0x0f], [0x19, 0x1a]][usize::from(quiet)][usize::from(prepends)];
        let mut value = self.value();
        if !self.may_join(key, &value) {
            value.truncate(0);
        }
        let request = packet(opcode, b"", key.as_bytes(), &value, 0);
        let how = if prepends { "prepend" } else { "append" };
        let answer = match self.store(how, key, Known { value, ..Known::default() }, None, None) {
            Ok(cas) => done(opcode, quiet, cas, b""),
            Err(_) => failed(opcode, NOT_STORED),
        };
        (request, answer)
    }

    fn binary_store(&mut self, key: &str, quiet: bool) -> Exchange {
        let (how, opcode) =
            [("set", 0x01), ("add", 0x02), ("replace", 0x03)][self.below(3) as usize];
        let opcode = if quiet { opcode + 0x10 } else { opcode };
        let (value, flags, seconds) =
            (self.value(), self.below(1 << 32) as u32, self.below(60) as u32);
        let compare = (how == "set" && self.chance(300)).then(|| self.compare(key));
        let extras = [flags.to_be_bytes(), seconds.to_be_bytes()].concat();
        let request = packet(opcode, &extras, key.as_bytes(), &value, compare.unwrap_or(0));
        let exptime = self.seconds_from_now(seconds);
        let is_there = self.find(key).is_some();
        let answer = match self.store(
            how,
            key,
            Known { value, flags, exptime, ..Known::default() },
            compare,
            None,
        ) {
            Ok(cas) => done(opcode, quiet, cas, b""),
            Err(_) if is_there => failed(opcode, EXISTS),
            Err(_) => failed(opcode, NOT_FOUND),
        };
        (request, answer)
    }
}

/// What is answered to success: nothing, if the request is of the quiet kind.
fn done(opcode: u8, quiet: bool, cas: u64, value: &[u8]) -> Vec<u8> {
    if quiet { vec![] } else { answer(opcode, 0, cas, b"", b"", value) }
}

/// An answer of the binary protocol.
fn answer(opcode: u8, status: u16, cas: u64, extras: &[u8], key: &[u8], value: &[u8]) -> Vec<u8> {
    let body = [extras, key, value].concat();
    let head =
        [&[0x81, opcode, 0, key.len() as u8, extras.len() as u8, 0][..], &status.to_be_bytes()]
            .concat();
    [&head, &(body.len() as u32).to_be_bytes()[..], b"opaq", &cas.to_be_bytes(), &body].concat()
}

//! Parses lines of the meta protocol. Input: a line. Output: its key and flags, or an error. As in
//! memcached, the parser treats flags the same for all commands. Each command then uses the flags
//! that it knows.

use crate::app::memcached::base64;
use crate::app::memcached::number::{signed, unsigned, unsigned32};
use crate::app::memcached::text::{BAD_FORMAT, KEY_MAX_BYTES};
use crate::app::memcached::time::{Times, expiry};
use crate::app::memcached::tokens::Tokens;

/// The longest opaque, with its `O`.
pub(super) const OPAQUE_MAX_BYTES: usize = 32;
const OPAQUE_TOO_LONG: &[u8] = b"CLIENT_ERROR opaque token too long";
/// The maximum number of tokens in a line.
const TOKENS_MAX: usize = 20;
const BAD_TOKEN: &[u8] = b"CLIENT_ERROR bad token in command line format";

/// A meta command.
#[derive(Debug)]
pub(super) struct Meta<'a> {
    pub(super) tokens: Tokens<'a>,
    /// Index of the first flag among the tokens.
    first_flag: usize,
    binary_key: [u8; KEY_MAX_BYTES],
    binary_key_len: Option<u8>,
    pub(super) flags: Flags,
}

/// The values of the flags, independent of their order. Expiration times stay as sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flags {
    /// `N`: create a missing item with this expiration time.
    pub(super) vivify: Option<i32>,
    /// `T`: set this expiration time.
    pub(super) ttl: Option<i32>,
    /// `R`: let the client win the right to recache if less than this time is left.
    pub(super) recache: Option<i32>,
    /// `v`.
    pub(super) value: bool,
    /// `u`: do not count a hit.
    pub(super) no_update: bool,
    /// `q`: suppress the expected answer.
    pub(super) quiet: bool,
    /// `x`: clear the value instead of deleting the item.
    pub(super) remove_value: bool,
    /// `I`: mark the item stale, or store over a newer one as stale.
    pub(super) invalidate: bool,
    /// `F`.
    pub(super) client_flags: u32,
    /// `C`: only for an item with this CAS number.
    pub(super) cas: Option<u64>,
    /// `E`: the new CAS number.
    pub(super) new_cas: Option<u64>,
    /// `M`. A space if the flag has no argument.
    pub(super) mode: Option<u8>,
    /// `J`: the initial number.
    pub(super) initial: u64,
    /// `D`.
    pub(super) delta: u64,
}

impl Default for Flags {
    fn default() -> Flags {
        Flags {
            vivify: None,
            ttl: None,
            recache: None,
            value: false,
            no_update: false,
            quiet: false,
            remove_value: false,
            invalidate: false,
            client_flags: 0,
            cas: None,
            new_cas: None,
            mode: None,
            initial: 0,
            delta: 1,
        }
    }
}

impl<'a> Meta<'a> {
    /// Splits a line. `first_flag` is 2, or 3 for a command with a length. Returns `None` if tokens
    /// are missing or if a token in a flag's position is not a flag.
    pub(super) fn of(line: &'a [u8], first_flag: usize) -> Option<Meta<'a>> {
        let tokens = Tokens::of(line);
        let could_be = |flag: &[u8]| matches!(flag[0], b'0'..=b'9' | b'A'..=b'z');
        if tokens.len() < first_flag || !tokens.from(first_flag).all(could_be) {
            return None;
        }
        let (binary_key, binary_key_len) = ([0; KEY_MAX_BYTES], None);
        Some(Meta { tokens, first_flag, binary_key, binary_key_len, flags: Flags::default() })
    }

    /// The flags in the order of the line.
    pub(super) fn in_order(&self) -> impl Iterator<Item = &'a [u8]> + '_ {
        self.tokens.from(self.first_flag)
    }

    /// Which of two flags is last.
    pub(super) fn last_of(&self, a: u8, b: u8) -> Option<u8> {
        self.in_order().map(|flag| flag[0]).filter(|flag| [a, b].contains(flag)).last()
    }

    /// The expiration time of an item after a flag took effect, in the order of the line, as in
    /// memcached.
    pub(super) fn exptime_after(&self, flag: u8, exptime: u32, created: bool, times: Times) -> u32 {
        match (flag, self.flags.ttl, self.flags.vivify) {
            (b'T', Some(ttl), _) => expiry(ttl, times),
            (b'N', _, Some(vivify)) if created => expiry(vivify, times),
            _ => exptime,
        }
    }

    /// The decoded key.
    pub(super) fn key(&self) -> &[u8] {
        match self.binary_key_len {
            Some(len) => &self.binary_key[..usize::from(len)],
            None => self.tokens.get(1),
        }
    }

    /// Whether the client sent the key in base64.
    pub(super) fn has_binary_key(&self) -> bool {
        self.binary_key_len.is_some()
    }

    /// Parses the flags.
    pub(super) fn read(&mut self) -> Result<(), &'static [u8]> {
        if self.tokens.get(1).len() > KEY_MAX_BYTES {
            return Err(BAD_FORMAT);
        }
        if self.tokens.len() > TOKENS_MAX {
            return Err(b"CLIENT_ERROR options flags are too long");
        }
        let mut seen = 0u128;
        let mut outcome = Ok(());
        for index in self.first_flag..self.tokens.len() {
            let token = self.tokens.get(index);
            if seen & 1 << token[0] != 0 {
                return Err(b"CLIENT_ERROR duplicate flag");
            }
            seen |= 1 << token[0];
            // Continue after an invalid flag: the answer reports the last error.
            match self.read_flag(token[0], &token[1..]) {
                Flag::Read => {}
                Flag::Bad(text) => outcome = Err(text),
                Flag::BadClientFlags => outcome = outcome.and(Err(BAD_FORMAT)),
                Flag::Unknown => return Err(b"CLIENT_ERROR invalid flag"),
            }
        }
        outcome
    }

    /// Checks before the command takes effect. memcached checks when half of the effects are done.
    pub(super) fn check_opaque(&self) -> Result<(), &'static [u8]> {
        let is_long = |flag: &[u8]| flag[0] == b'O' && flag.len() > OPAQUE_MAX_BYTES;
        if self.in_order().any(is_long) { Err(OPAQUE_TOO_LONG) } else { Ok(()) }
    }

    fn read_flag(&mut self, flag: u8, argument: &[u8]) -> Flag {
        let flags = &mut self.flags;
        match flag {
            b'b' => return self.decode_key(),
            b'N' => return set(&mut flags.vivify, given(argument).and_then(signed), BAD_TOKEN),
            b'T' => return set(&mut flags.ttl, given(argument).and_then(signed), BAD_TOKEN),
            b'R' => return set(&mut flags.recache, given(argument).and_then(signed), BAD_TOKEN),
            b'C' => return set(&mut flags.cas, given(argument).and_then(unsigned), BAD_TOKEN),
            b'E' => return set(&mut flags.new_cas, given(argument).and_then(unsigned), BAD_TOKEN),
            b'F' => match given(argument).and_then(unsigned32) {
                Some(client_flags) => flags.client_flags = client_flags,
                None => return Flag::BadClientFlags,
            },
            b'J' => match given(argument).and_then(unsigned) {
                Some(initial) => flags.initial = initial,
                None => return Flag::Bad(b"CLIENT_ERROR invalid numeric initial value"),
            },
            b'D' => match given(argument).and_then(unsigned) {
                Some(delta) => flags.delta = delta,
                None => return Flag::Bad(b"CLIENT_ERROR invalid numeric delta value"),
            },
            b'M' => flags.mode = Some(argument.first().copied().unwrap_or(b' ')),
            b'v' => flags.value = true,
            b'u' => flags.no_update = true,
            b'q' => flags.quiet = true,
            b'x' => flags.remove_value = true,
            b'I' => flags.invalidate = true,
            b'O' | b'P' | b'L' | b'k' | b's' | b't' | b'c' | b'f' | b'l' | b'h' => {}
            _ => return Flag::Unknown,
        }
        Flag::Read
    }

    fn decode_key(&mut self) -> Flag {
        match base64::decode(self.tokens.get(1), &mut self.binary_key) {
            Some(len) => {
                self.binary_key_len = Some(len as u8);
                Flag::Read
            }
            None => Flag::Bad(b"CLIENT_ERROR error decoding key"),
        }
    }
}

/// The result of parsing one flag.
enum Flag {
    Read,
    Bad(&'static [u8]),
    /// memcached has no text of its own for these errors.
    BadClientFlags,
    Unknown,
}

fn given(argument: &[u8]) -> Option<&[u8]> {
    Some(argument).filter(|argument| !argument.is_empty())
}

fn set<T>(field: &mut Option<T>, value: Option<T>, error: &'static [u8]) -> Flag {
    if value.is_none() {
        return Flag::Bad(error);
    }
    *field = value;
    Flag::Read
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;

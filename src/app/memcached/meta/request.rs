//! Lines of the meta protocol: a line in, its key and flags or an error out. Flags are read the
//! same for all commands, as memcached does; each command then heeds those that mean something to
//! it.

use crate::app::memcached::base64;
use crate::app::memcached::number::{signed, unsigned, unsigned32};
use crate::app::memcached::text::{BAD_FORMAT, KEY_MAX_BYTES};
use crate::app::memcached::time::{Times, expiry};
use crate::app::memcached::tokens::Tokens;

/// Longest opaque, its `O` included.
pub(super) const OPAQUE_MAX_BYTES: usize = 32;
const OPAQUE_TOO_LONG: &[u8] = b"CLIENT_ERROR opaque token too long";
/// Most tokens of a line.
const TOKENS_MAX: usize = 20;
const BAD_TOKEN: &[u8] = b"CLIENT_ERROR bad token in command line format";

/// A meta command.
#[derive(Debug)]
pub(super) struct Meta<'a> {
    pub(super) tokens: Tokens<'a>,
    /// Where the flags begin among the tokens.
    first_flag: usize,
    binary_key: [u8; KEY_MAX_BYTES],
    binary_key_len: Option<u8>,
    pub(super) flags: Flags,
}

/// What the flags say, in whatever order they came. Expiration times are as the client gave them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flags {
    /// `N`: create what is missing, to expire then.
    pub(super) vivify: Option<i32>,
    /// `T`: expire then.
    pub(super) ttl: Option<i32>,
    /// `R`: win the right to recache if less time than this is left.
    pub(super) recache: Option<i32>,
    /// `v`.
    pub(super) value: bool,
    /// `u`: a hit does not count.
    pub(super) no_update: bool,
    /// `q`: say nothing that could be expected.
    pub(super) quiet: bool,
    /// `x`: empty it instead of deleting it.
    pub(super) remove_value: bool,
    /// `I`: mark it stale; or store over a newer one as stale.
    pub(super) invalidate: bool,
    /// `F`.
    pub(super) client_flags: u32,
    /// `C`: only with this number.
    pub(super) cas: Option<u64>,
    /// `E`: the new number.
    pub(super) new_cas: Option<u64>,
    /// `M`; a space if it has no argument.
    pub(super) mode: Option<u8>,
    /// `J`: the number that counting begins with.
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
    /// Takes a line apart. `first_flag` is 2, or 3 for a command with a length. `None` if there are
    /// too few tokens, or what stands for a flag can be none.
    pub(super) fn of(line: &'a [u8], first_flag: usize) -> Option<Meta<'a>> {
        let tokens = Tokens::of(line);
        let could_be = |flag: &[u8]| matches!(flag[0], b'0'..=b'9' | b'A'..=b'z');
        if tokens.len() < first_flag || !tokens.from(first_flag).all(could_be) {
            return None;
        }
        let (binary_key, binary_key_len) = ([0; KEY_MAX_BYTES], None);
        Some(Meta { tokens, first_flag, binary_key, binary_key_len, flags: Flags::default() })
    }

    /// The flags, in their order.
    pub(super) fn in_order(&self) -> impl Iterator<Item = &'a [u8]> + '_ {
        self.tokens.from(self.first_flag)
    }

    /// Which of two flags comes last.
    pub(super) fn last_of(&self, a: u8, b: u8) -> Option<u8> {
        self.in_order().map(|flag| flag[0]).filter(|flag| [a, b].contains(flag)).last()
    }

    /// The exptime of an item once a flag has been heeded, in memcached's order: that of the line.
    pub(super) fn exptime_after(&self, flag: u8, exptime: u32, created: bool, times: Times) -> u32 {
        match (flag, self.flags.ttl, self.flags.vivify) {
            (b'T', Some(ttl), _) => expiry(ttl, times),
            (b'N', _, Some(vivify)) if created => expiry(vivify, times),
            _ => exptime,
        }
    }

    /// The key, decoded.
    pub(super) fn key(&self) -> &[u8] {
        match self.binary_key_len {
            Some(len) => &self.binary_key[..usize::from(len)],
            None => self.tokens.get(1),
        }
    }

    /// Whether the key was given in base64.
    pub(super) fn has_binary_key(&self) -> bool {
        self.binary_key_len.is_some()
    }

    /// Reads the flags.
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
            // Flags behind a bad one are looked at, too: the last complaint is the one that is
            // heard.
            match self.read_flag(token[0], &token[1..]) {
                Flag::Read => {}
                Flag::Bad(text) => outcome = Err(text),
                Flag::BadClientFlags => outcome = outcome.and(Err(BAD_FORMAT)),
                Flag::Unknown => return Err(b"CLIENT_ERROR invalid flag"),
            }
        }
        outcome
    }

    /// Before anything is done: memcached looks when half of it is.
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

/// How reading one flag went.
enum Flag {
    Read,
    Bad(&'static [u8]),
    /// Memcached has no words of its own for these.
    BadClientFlags,
    Unknown,
}

fn given(argument: &[u8]) -> Option<&[u8]> {
    Some(argument).filter(|argument| !argument.is_empty())
}

fn set<T>(place: &mut Option<T>, value: Option<T>, complaint: &'static [u8]) -> Flag {
    if value.is_none() {
        return Flag::Bad(complaint);
    }
    *place = value;
    Flag::Read
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;

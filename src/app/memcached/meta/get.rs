//! `mg`: retrieves an item or some of its properties, with the side effects that the flags select.

use super::super::counters::Count;
use super::super::out::Out;
use super::super::scan;
use super::super::text::{BAD_FORMAT, KEY_MAX_BYTES};
use super::super::time::{expiry, seconds_until};
use super::super::{COPY_MAX_BYTES, Memcached};
use super::request::{Flags, Meta, OPAQUE_MAX_BYTES};
use super::{push_opaque, push_ttl};
use crate::app::Blob;
use crate::store::{self, Fetch, Fetched};
use simoom_io::Reply;

/// What the return flags tell of an item.
struct Properties<'a> {
    key: &'a [u8],
    value_bytes: u64,
    exptime: u32,
    known: &'a store::Meta,
    now: u32,
}

impl Properties<'_> {
    /// Appends what `flag` asks for. Returns whether it is a return flag.
    #[inline]
    fn push(&self, flag: &[u8], out: &mut Out) -> bool {
        let known = self.known;
        match flag[0] {
            b's' => out.flag(b's', self.value_bytes),
            b't' => push_ttl(out, self.exptime, self.now),
            b'c' => out.flag(b'c', known.cas),
            b'f' => out.flag(b'f', known.flags.into()),
            b'l' => out.flag(b'l', self.now.saturating_sub(known.last_access).into()),
            b'h' => out.flag(b'h', known.fetched.into()),
            b'O' => push_opaque(out, flag),
            b'k' => out.key(self.key, known.binary_key),
            _ => return false,
        };
        true
    }
}

/// A line that has nothing but a key, return flags, each once, and `v` and `q`.
struct Plain<'a> {
    key: &'a [u8],
    /// The flags, each with a space in front.
    flags: &'a [u8],
    with_value: bool,
    /// The length of the line with its end.
    wire_len: usize,
}

/// The plain line at the start of `bytes`, with one space between tokens. `None` if the line has to
/// be parsed in full.
#[inline]
fn plain(bytes: &[u8]) -> Option<Plain<'_>> {
    const START: usize = b"mg ".len();
    if !bytes.starts_with(b"mg ") {
        return None;
    }
    let key_end = scan::blank(bytes, START);
    let key = &bytes[START..key_end];
    if !(1..=KEY_MAX_BYTES).contains(&key.len()) {
        return None;
    }
    let (mut end, mut seen) = (key_end, 0u128);
    loop {
        let wire_len = match *bytes.get(end..)? {
            [b'\r', b'\n', ..] => end + 2,
            [b'\n', ..] => end + 1,
            [b' ', flag, ..] => {
                end = match flag {
                    b's' | b't' | b'c' | b'f' | b'l' | b'h' | b'k' | b'v' | b'q' => end + 2,
                    b'O' => opaque_end(bytes, end + 1)?,
                    _ => return None,
                };
                if seen & 1 << flag != 0 {
                    return None;
                }
                seen |= 1 << flag;
                continue;
            }
            _ => return None,
        };
        let with_value = seen & 1 << b'v' != 0;
        return Some(Plain { key, flags: &bytes[key_end..end], with_value, wire_len });
    }
}

/// The end of the flag `O` at `start`; `None` if it is too long.
fn opaque_end(bytes: &[u8], start: usize) -> Option<usize> {
    Some(scan::blank(bytes, start)).filter(|end| end - start <= OPAQUE_MAX_BYTES)
}

impl Memcached {
    pub(super) fn meta_get(
        &mut self,
        line: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> Result<(), &'static [u8]> {
        let mut meta = Meta::of(line, 2).ok_or(BAD_FORMAT)?;
        meta.read()?;
        meta.check_opaque()?;
        let Flags { ttl, recache, no_update, .. } = meta.flags;
        let how = Fetch {
            touch: ttl.map(|exptime| expiry(exptime, self.times())),
            peek: no_update,
            recache_below: recache.map(|exptime| seconds_until(exptime, self.times())),
            recache_after_touch: meta.last_of(b'T', b'R') == Some(b'R'),
            vivify: self.exptime_created(&meta),
            vivify_cas: meta.flags.new_cas,
            binary_key: meta.has_binary_key(),
        };
        if meta.flags.value && self.must_wait(meta.key(), reply) {
            self.hold_back();
            return Ok(());
        }
        match self.store.fetch(meta.key(), &how, self.now) {
            Some(fetched) => self.meta_hit(&meta, fetched, reply),
            None => self.meta_miss(&meta, reply),
        }
        Ok(())
    }

    /// Answers a plain request for a small item that is not stale, with a guard instead of a pin.
    /// Returns the length of its line; `None`, and has done nothing, in any other case.
    #[inline]
    pub(in crate::app::memcached) fn meta_get_plain(
        &mut self,
        bytes: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> Option<usize> {
        let Plain { key, flags, with_value, wire_len } = plain(bytes)?;
        let (guard, known) = self.store.guard_fresh(key, COPY_MAX_BYTES, self.now)?;
        let value = guard.value_range();
        let properties = Properties {
            key,
            value_bytes: value.len() as u64,
            exptime: known.exptime,
            known: &known,
            now: self.now,
        };
        let has_only_value = flags == b" v";
        let flags = flags.split(|byte| *byte == b' ').filter(|flag| !flag.is_empty());
        let out = self.out.clear();
        match with_value {
            true => out.push(b"VA ").number(value.len() as u64),
            false => out.push(b"HD"),
        };
        if !has_only_value {
            flags.for_each(|flag| _ = properties.push(flag, out));
        }
        let head = out.push(b"\r\n").bytes();
        if with_value {
            reply.copy_all([head, &guard.line()[value.start..value.end + 2]]);
        } else {
            reply.copy_all([head]);
        }
        drop(guard);
        self.count_fetch(false, true);
        Some(wire_len)
    }

    fn meta_hit(&mut self, meta: &Meta<'_>, fetched: Fetched, reply: &mut Reply<'_, Blob>) {
        let Fetched { item, meta: known, created, won, token_sent } = fetched;
        let value = item.value_range();
        let with_value = meta.flags.value && meta.flags.cas != Some(known.cas);
        let (now, times) = (self.now, self.times());
        let out = self.out.clear();
        match with_value {
            true => out.push(b"VA ").number(value.len() as u64),
            false => out.push(b"HD"),
        };
        let mut properties = Properties {
            key: item.key(),
            value_bytes: value.len() as u64,
            exptime: if created { 0 } else { known.exptime },
            known: &known,
            now,
        };
        for flag in meta.in_order() {
            if !properties.push(flag, out) {
                let exptime = properties.exptime;
                properties.exptime = meta.exptime_after(flag[0], exptime, created, times);
            }
        }
        for (mark, is_set) in [(b" Z", token_sent), (b" X", known.stale), (b" W", won)] {
            if is_set {
                out.push(mark);
            }
        }
        reply.copy(out.push(b"\r\n").bytes());
        if with_value {
            self.send(item, value.start..value.end + 2, reply);
        }
        let touches = meta.flags.ttl.is_some();
        if touches {
            self.count(Count::CmdTouch);
        }
        self.count_fetch(touches, true);
    }

    fn meta_miss(&mut self, meta: &Meta<'_>, reply: &mut Reply<'_, Blob>) {
        self.count_fetch(false, false);
        if !meta.flags.quiet {
            self.out.clear().push(b"EN");
            self.push_echo(meta);
            reply.copy(self.out.push(b"\r\n").bytes());
        }
    }
}

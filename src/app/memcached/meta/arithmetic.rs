//! `ma`: increments or decrements a number.

use super::super::Memcached;
use super::super::text::{BAD_FORMAT, NON_NUMERIC};
use super::super::time::expiry;
use super::request::{Flags, Meta};
use super::{push_opaque, push_ttl};
use crate::app::Blob;
use crate::store::{Count as Counting, Counted};
use simoom_io::Reply;

impl Memcached {
    pub(super) fn meta_arithmetic(
        &mut self,
        line: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> Result<(), &'static [u8]> {
        let mut meta = Meta::of(line, 2).ok_or(BAD_FORMAT)?;
        meta.read().map_err(|_| &b"CLIENT_ERROR invalid or duplicate flag"[..])?;
        let Flags { ttl, cas, new_cas, mode, initial, delta, quiet, .. } = meta.flags;
        let decrement = match mode {
            None | Some(b'I' | b'+') => false,
            Some(b'D' | b'-') => true,
            Some(_) => return Err(b"CLIENT_ERROR invalid mode for ma M token"),
        };
        meta.check_opaque()?;
        let new_exptime = self.reported_exptime(&meta);
        let how = Counting {
            delta,
            decrement,
            compare: cas.filter(|cas| *cas != 0),
            cas: new_cas,
            exptime: ttl.map(|exptime| expiry(exptime, self.times())),
            create: self.exptime_created(&meta).map(|exptime| (initial, exptime)),
            binary_key: meta.has_binary_key(),
        };
        let counted = self.store.count(meta.key(), &how, self.now);
        self.count_arithmetic(!decrement, &counted);
        match counted {
            Counted::Value { value, meta: known, created } => {
                let exptime = if created { 0 } else { new_exptime.unwrap_or(known.exptime) };
                self.push_counted(&meta, value, known.cas, exptime, created);
                if quiet {
                    return Ok(());
                }
            }
            Counted::NonNumeric => return Err(NON_NUMERIC),
            Counted::OutOfMemory => return Err(b"SERVER_ERROR out of memory"),
            Counted::NotFound | Counted::Exists => {
                self.out.clear().push(if counted == Counted::Exists { b"EX" } else { b"NF" });
                self.push_echo(&meta);
                self.out.push(b"\r\n");
            }
        }
        reply.copy(self.out.bytes());
        Ok(())
    }

    /// The exptime for a `t` before a `T`: the old one. `None` means the new one.
    fn reported_exptime(&self, meta: &Meta<'_>) -> Option<u32> {
        meta.flags.ttl?;
        let first = meta.in_order().find(|flag| matches!(flag[0], b't' | b'T'))?;
        if first[0] == b'T' {
            return None;
        }
        self.store.peek(meta.key(), self.now).map(|item| item.meta().exptime)
    }

    fn push_counted(
        &mut self,
        meta: &Meta<'_>,
        value: u64,
        cas: u64,
        mut exptime: u32,
        created: bool,
    ) {
        let (now, times) = (self.now, self.times());
        let out = self.out.clear();
        match meta.flags.value {
            true => out.push(b"VA ").number(u64::from(value.checked_ilog10().unwrap_or(0)) + 1),
            false => out.push(b"HD"),
        };
        for flag in meta.in_order() {
            match flag[0] {
                b'c' => out.flag(b'c', cas),
                b't' => push_ttl(out, exptime, now),
                b'O' => push_opaque(out, flag),
                b'k' => out.key(meta.key(), meta.has_binary_key()),
                flag => {
                    exptime = meta.exptime_after(flag, exptime, created, times);
                    continue;
                }
            };
        }
        out.push(b"\r\n");
        if meta.flags.value {
            out.number(value).push(b"\r\n");
        }
    }
}

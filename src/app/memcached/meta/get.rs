//! `mg`: retrieves an item or some of its properties, with the side effects that the flags select.

use super::super::Memcached;
use super::super::counters::Count;
use super::super::text::BAD_FORMAT;
use super::super::time::{expiry, seconds_until};
use super::request::{Flags, Meta};
use super::{push_opaque, push_ttl};
use crate::app::Blob;
use crate::store::{Fetch, Fetched};
use simoom_io::Reply;

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

    fn meta_hit(&mut self, meta: &Meta<'_>, fetched: Fetched, reply: &mut Reply<'_, Blob>) {
        let Fetched { item, meta: known, created, won, token_sent } = fetched;
        let mut exptime = if created { 0 } else { known.exptime };
        let value = item.value_range();
        let with_value = meta.flags.value && meta.flags.cas != Some(known.cas);
        let (now, times) = (self.now, self.times());
        let out = self.out.clear();
        match with_value {
            true => out.push(b"VA ").number(value.len() as u64),
            false => out.push(b"HD"),
        };
        for flag in meta.in_order() {
            match flag[0] {
                b's' => out.flag(b's', value.len() as u64),
                b't' => push_ttl(out, exptime, now),
                b'c' => out.flag(b'c', known.cas),
                b'f' => out.flag(b'f', known.flags.into()),
                b'l' => out.flag(b'l', now.saturating_sub(known.last_access).into()),
                b'h' => out.flag(b'h', known.fetched.into()),
                b'O' => push_opaque(out, flag),
                b'k' => out.key(item.key(), known.binary_key),
                flag => {
                    exptime = meta.exptime_after(flag, exptime, created, times);
                    continue;
                }
            };
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

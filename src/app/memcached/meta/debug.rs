//! `me`: reports all properties of an item, for people.

use super::super::counters::Count;
use super::super::text::{BAD_FORMAT, KEY_MAX_BYTES};
use super::super::{Memcached, base64};
use super::request::Meta;
use crate::app::Blob;
use simoom_io::Reply;

impl Memcached {
    pub(super) fn meta_debug(
        &mut self,
        line: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> Result<(), &'static [u8]> {
        let meta = Meta::of(line, 2).ok_or(BAD_FORMAT)?;
        let mut decoded = [0; KEY_MAX_BYTES];
        let mut key = meta.tokens.get(1);
        if key.len() > KEY_MAX_BYTES {
            return Err(BAD_FORMAT);
        }
        if meta.tokens.get(2) == b"b" {
            let len = base64::decode(key, &mut decoded).ok_or(BAD_FORMAT)?;
            key = &decoded[..len];
        }
        self.count(Count::CmdMeta);
        let Some(item) = self.store.peek(key, self.now) else {
            self.write_line(b"EN", reply);
            return Ok(());
        };
        let known = item.meta();
        let out = self.out.clear().push(b"ME ");
        if known.binary_key {
            out.base64(item.key())
        } else {
            out.push(item.key())
        };
        match known.exptime {
            0 => out.push(b" exp=-1"),
            exptime => out.push(b" exp=").number(exptime.saturating_sub(self.now).into()),
        };
        out.push(b" la=").number(self.now.saturating_sub(known.last_access).into());
        out.push(b" cas=").number(known.cas);
        out.push(if known.fetched { b" fetch=yes" } else { b" fetch=no" });
        out.push(b" cls=1 size=").number(item.size_bytes() as u64).push(b"\r\n");
        reply.copy(out.bytes());
        Ok(())
    }
}

//! The meta protocol: executes and answers command lines with flags.

mod arithmetic;
mod debug;
mod get;
mod request;
mod set;

pub(super) use set::Echo;

use super::Memcached;
use super::connection::Connection;
use super::counters::Count;
use super::text::{BAD_FORMAT, MetaKind};
use super::time::expiry;
use crate::app::Blob;
use crate::store::{Delete, Outcome};
use request::{Flags, Meta};
use simoom_io::Reply;

impl Memcached {
    /// Executes a line. Returns the number of consumed bytes after it.
    pub(super) fn meta(
        &mut self,
        conn: &mut Connection,
        kind: MetaKind,
        line: &[u8],
        behind: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> usize {
        let done = match kind {
            MetaKind::Get => self.meta_get(line, reply),
            MetaKind::Set => return self.meta_set(conn, line, behind, reply),
            MetaKind::Delete => self.meta_delete(line, reply),
            MetaKind::Arithmetic => self.meta_arithmetic(line, reply),
            MetaKind::Debug => self.meta_debug(line, reply),
            MetaKind::Noop => {
                self.write_line(b"MN", reply);
                Ok(())
            }
        };
        if let Err(text) = done {
            self.complain(text, reply);
        }
        0
    }

    #[cold]
    fn complain(&mut self, text: &[u8], reply: &mut Reply<'_, Blob>) {
        self.count(Count::Refused);
        self.write_line(text, reply);
    }

    /// The expiration time of a created item: of `N` and `T` the last flag counts.
    fn exptime_created(&self, meta: &Meta<'_>) -> Option<u32> {
        let Flags { vivify, ttl, .. } = meta.flags;
        let exptime = if meta.last_of(b'N', b'T') == Some(b'T') { ttl } else { vivify };
        vivify.and(exptime).map(|exptime| expiry(exptime, self.times()))
    }

    /// The return flags of answers without an item.
    fn push_echo(&mut self, meta: &Meta<'_>) {
        for flag in meta.in_order() {
            match flag[0] {
                b'O' => push_opaque(&mut self.out, flag),
                b'k' => self.out.key(meta.key(), meta.has_binary_key()),
                _ => continue,
            };
        }
    }

    fn meta_delete(
        &mut self,
        line: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> Result<(), &'static [u8]> {
        let mut meta = Meta::of(line, 2).ok_or(BAD_FORMAT)?;
        meta.read()?;
        meta.check_opaque()?;
        let Flags { ttl, cas, new_cas, invalidate, remove_value, client_flags, quiet, .. } =
            meta.flags;
        self.out.clear().push(b"HD");
        self.push_echo(&meta);
        let exptime = ttl.map(|exptime| expiry(exptime, self.times()));
        let emptied = remove_value.then(|| (client_flags, exptime.unwrap_or(0)));
        let how = Delete { compare: cas, cas: new_cas, invalidate, exptime, emptied };
        let code: &[u8; 2] = match self.store.delete(meta.key(), &how, self.now) {
            Outcome::Stored { .. } if quiet => return Ok(()),
            Outcome::Stored { .. } => b"HD",
            Outcome::Exists => b"EX",
            Outcome::OutOfMemory | Outcome::TooLarge => return Err(b"SERVER_ERROR out of memory"),
            Outcome::NotFound | Outcome::NotStored => b"NF",
        };
        match (code, invalidate) {
            (b"HD", false) => self.count(Count::DeleteHits),
            (b"HD", true) => {}
            _ => self.count(Count::DeleteMisses),
        }
        reply.copy(code);
        reply.copy(&self.out.push(b"\r\n").bytes()[2..]);
        Ok(())
    }
}

fn push_opaque<'a>(out: &'a mut super::Out, flag: &[u8]) -> &'a mut super::Out {
    out.push(b" ").push(flag)
}

/// The return flag `t`: remaining seconds, or -1 for no limit.
fn push_ttl(out: &mut super::Out, exptime: u32, now: u32) -> &mut super::Out {
    match exptime {
        0 => out.push(b" t-1"),
        exptime => out.flag(b't', u64::from(exptime.wrapping_sub(now))),
    }
}

//! The meta protocol: lines of flags in, what they ask for done and answered.

mod request;

use super::conn::{Conn, Phase};
use super::number::signed;
use super::tally::Count;
use super::text::{BAD_FORMAT, MetaKind, NON_NUMERIC};
use super::time::{expiry, seconds_until};
use super::upload::{Ending, Job};
use super::{Memcached, base64};
use crate::app::Blob;
use crate::store::{Commit, Count as Counting, Counted, Delete, Fetch, Fetched, Mode, New, Outcome, Reservation};
use request::{Flags, Meta, OPAQUE_MAX_BYTES};
use simoom_stack::Reply;

/// What an answer to `ms` gives back of the request, which is gone when the value is complete.
#[derive(Clone, Copy, Debug)]
pub(super) struct Echo {
    opaque: [u8; OPAQUE_MAX_BYTES],
    opaque_len: u8,
    /// Which of `O`, `k`, `c` and `s` were asked for, in their order; 0 ends them.
    order: [u8; 4],
    binary_key: bool,
    quiet: bool,
}

impl Echo {
    fn of(meta: &Meta<'_>) -> Result<Echo, &'static [u8]> {
        meta.check_opaque()?;
        let mut echo = Echo {
            opaque: [0; OPAQUE_MAX_BYTES],
            opaque_len: 0,
            order: [0; 4],
            binary_key: meta.has_binary_key(),
            quiet: meta.flags.quiet,
        };
        let asked = meta.in_order().filter(|flag| matches!(flag[0], b'O' | b'k' | b'c' | b's'));
        for (place, flag) in echo.order.iter_mut().zip(asked) {
            *place = flag[0];
            if flag[0] == b'O' {
                echo.opaque[..flag.len()].copy_from_slice(flag);
                echo.opaque_len = flag.len() as u8;
            }
        }
        Ok(echo)
    }

    fn opaque(&self) -> &[u8] {
        &self.opaque[..usize::from(self.opaque_len)]
    }
}

impl Memcached {
    /// Does what a line says; returns how many of the bytes behind it are consumed.
    pub(super) fn meta(
        &mut self,
        conn: &mut Conn,
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
                self.say(b"MN", reply);
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
        self.say(text, reply);
    }

    fn meta_get(&mut self, line: &[u8], reply: &mut Reply<'_, Blob>) -> Result<(), &'static [u8]> {
        let mut meta = Meta::of(line, 2).ok_or(BAD_FORMAT)?;
        meta.read()?;
        meta.check_opaque()?;
        let Flags { ttl, recache, no_update, .. } = meta.flags;
        let how = Fetch {
            touch: ttl.map(|exptime| expiry(exptime, self.now)),
            peek: no_update,
            recache_below: recache.map(|exptime| seconds_until(exptime, self.now)),
            recache_after_touch: meta.last_of(b'T', b'R') == Some(b'R'),
            vivify: self.exptime_created(&meta),
            vivify_cas: meta.flags.new_cas,
            binary_key: meta.has_binary_key(),
        };
        match self.store.fetch(meta.key(), &how, self.now) {
            Some(fetched) => self.meta_hit(&meta, fetched, reply),
            None => self.meta_miss(&meta, reply),
        }
        Ok(())
    }

    /// When what is created expires: of `N` and `T` the last one counts.
    fn exptime_created(&self, meta: &Meta<'_>) -> Option<u32> {
        let Flags { vivify, ttl, .. } = meta.flags;
        let exptime = if meta.last_of(b'N', b'T') == Some(b'T') { ttl } else { vivify };
        vivify.and(exptime).map(|exptime| expiry(exptime, self.now))
    }

    fn meta_hit(&mut self, meta: &Meta<'_>, fetched: Fetched, reply: &mut Reply<'_, Blob>) {
        let Fetched { item, meta: known, created, won, token_sent } = fetched;
        let mut exptime = if created { 0 } else { known.exptime };
        let value = item.value_range();
        let with_value = meta.flags.value && meta.flags.cas != Some(known.cas);
        let now = self.now;
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
                    exptime = meta.exptime_after(flag, exptime, created, now);
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

    /// The flags that answers without an item have.
    fn push_echo(&mut self, meta: &Meta<'_>) {
        for flag in meta.in_order() {
            match flag[0] {
                b'O' => push_opaque(&mut self.out, flag),
                b'k' => self.out.key(meta.key(), meta.has_binary_key()),
                _ => continue,
            };
        }
    }

    fn meta_set(&mut self, conn: &mut Conn, line: &[u8], behind: &[u8], reply: &mut Reply<'_, Blob>) -> usize {
        let meta = Meta::of(line, 3);
        let announced = meta.as_ref().and_then(|meta| signed(meta.tokens.get(2)));
        let announced = announced.filter(|len| (0..=i32::MAX - 2).contains(len));
        let (Some(mut meta), Some(len)) = (meta, announced) else {
            self.complain(BAD_FORMAT, reply);
            return 0;
        };
        match self.begin_meta_set(&mut meta, len as usize) {
            Ok((reservation, job)) => self.begin_upload(conn, reservation, job, behind, reply),
            Err(text) => {
                self.complain(text, reply);
                conn.phase = Phase::Skip(len as u64 + 2);
                0
            }
        }
    }

    fn begin_meta_set(&mut self, meta: &mut Meta<'_>, len: usize) -> Result<(Reservation, Job), &'static [u8]> {
        meta.read()?;
        let commit = commit_of(&meta.flags)?;
        let exptime = if commit.vivify { meta.flags.vivify } else { meta.flags.ttl };
        let new = New {
            key: meta.key(),
            flags: meta.flags.client_flags,
            exptime: expiry(exptime.unwrap_or(0), self.now),
            value_bytes: len,
            binary_key: meta.has_binary_key(),
        };
        let reservation = self.reserve(&new).map_err(|refused| {
            self.forget(meta.key());
            refused.text()
        })?;
        let echo = Echo::of(meta)?;
        Ok((reservation, Job { commit, ending: Ending::Meta(echo) }))
    }

    /// Stores a value that is complete, and answers `ms`.
    pub(super) fn finish_meta(
        &mut self,
        reservation: Reservation,
        commit: &Commit,
        echo: &Echo,
        reply: &mut Reply<'_, Blob>,
    ) {
        let mut key = [0; super::text::KEY_MAX_BYTES];
        let key_len = reservation.key().len();
        key[..key_len].copy_from_slice(reservation.key());
        let key = &key[..key_len];
        let own_len = reservation.value_bytes();
        let outcome = self.commit(reservation, commit);
        let (code, cas) = match outcome {
            Outcome::Stored { cas } => (b"HD", cas),
            Outcome::Exists => (b"EX", 0),
            Outcome::NotFound => (b"NF", 0),
            Outcome::NotStored | Outcome::TooLarge | Outcome::OutOfMemory => (b"NS", 0),
        };
        if echo.quiet && code == b"HD" {
            return;
        }
        let joined = matches!(commit.mode, Mode::Append | Mode::Prepend) && code == b"HD";
        self.out.clear().push(code);
        for flag in echo.order {
            match flag {
                b'O' => self.out.push(b" ").push(echo.opaque()),
                b'k' => self.out.key(key, echo.binary_key),
                b'c' => self.out.flag(b'c', cas),
                b's' => {
                    let len = if joined { self.value_len(key).unwrap_or(own_len) } else { own_len };
                    self.out.flag(b's', len as u64)
                }
                _ => break,
            };
        }
        reply.copy(self.out.push(b"\r\n").bytes());
    }

    fn value_len(&self, key: &[u8]) -> Option<usize> {
        self.store.peek(key, self.now).map(|item| item.value_range().len())
    }

    fn meta_delete(&mut self, line: &[u8], reply: &mut Reply<'_, Blob>) -> Result<(), &'static [u8]> {
        let mut meta = Meta::of(line, 2).ok_or(BAD_FORMAT)?;
        meta.read()?;
        meta.check_opaque()?;
        let Flags { ttl, cas, new_cas, invalidate, remove_value, client_flags, quiet, .. } = meta.flags;
        self.out.clear().push(b"HD");
        self.push_echo(&meta);
        let exptime = ttl.map(|exptime| expiry(exptime, self.now));
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

    fn meta_arithmetic(&mut self, line: &[u8], reply: &mut Reply<'_, Blob>) -> Result<(), &'static [u8]> {
        let mut meta = Meta::of(line, 2).ok_or(BAD_FORMAT)?;
        meta.read().map_err(|_| &b"CLIENT_ERROR invalid or duplicate flag"[..])?;
        let Flags { ttl, cas, new_cas, mode, initial, delta, quiet, .. } = meta.flags;
        let decrement = match mode {
            None | Some(b'I' | b'+') => false,
            Some(b'D' | b'-') => true,
            Some(_) => return Err(b"CLIENT_ERROR invalid mode for ma M token"),
        };
        meta.check_opaque()?;
        let told = self.exptime_told(&meta);
        let how = Counting {
            delta,
            decrement,
            compare: cas.filter(|cas| *cas != 0),
            cas: new_cas,
            exptime: ttl.map(|exptime| expiry(exptime, self.now)),
            create: self.exptime_created(&meta).map(|exptime| (initial, exptime)),
            binary_key: meta.has_binary_key(),
        };
        let counted = self.store.count(meta.key(), &how, self.now);
        self.count_arithmetic(!decrement, &counted);
        match counted {
            Counted::Value { value, meta: known, created } => {
                let exptime = if created { 0 } else { told.unwrap_or(known.exptime) };
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

    /// The exptime that a `t` before a `T` tells of a number: the one before it. `None`: the one after.
    fn exptime_told(&self, meta: &Meta<'_>) -> Option<u32> {
        meta.flags.ttl?;
        let first = meta.in_order().find(|flag| matches!(flag[0], b't' | b'T'))?;
        if first[0] == b'T' {
            return None;
        }
        self.store.peek(meta.key(), self.now).map(|item| item.meta().exptime)
    }

    fn push_counted(&mut self, meta: &Meta<'_>, value: u64, cas: u64, mut exptime: u32, created: bool) {
        let (out, now) = (self.out.clear(), self.now);
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
                    exptime = meta.exptime_after(flag, exptime, created, now);
                    continue;
                }
            };
        }
        out.push(b"\r\n");
        if meta.flags.value {
            out.number(value).push(b"\r\n");
        }
    }

    fn meta_debug(&mut self, line: &[u8], reply: &mut Reply<'_, Blob>) -> Result<(), &'static [u8]> {
        let meta = Meta::of(line, 2).ok_or(BAD_FORMAT)?;
        let mut decoded = [0; super::text::KEY_MAX_BYTES];
        let mut key = meta.tokens.get(1);
        if key.len() > super::text::KEY_MAX_BYTES {
            return Err(BAD_FORMAT);
        }
        if meta.tokens.get(2) == b"b" {
            let len = base64::decode(key, &mut decoded).ok_or(BAD_FORMAT)?;
            key = &decoded[..len];
        }
        self.count(Count::CmdMeta);
        let Some(item) = self.store.peek(key, self.now) else {
            self.say(b"EN", reply);
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

/// How `ms` stores, by its mode and the rest.
fn commit_of(flags: &Flags) -> Result<Commit, &'static [u8]> {
    let mode = match flags.mode {
        None | Some(b'S') => Mode::Set,
        Some(b'E') => Mode::Add,
        Some(b'A') => Mode::Append,
        Some(b'P') => Mode::Prepend,
        Some(b'R') => Mode::Replace,
        Some(_) => return Err(b"CLIENT_ERROR invalid mode for ms M token"),
    };
    let joins = matches!(mode, Mode::Append | Mode::Prepend);
    let compare = match mode {
        Mode::Set | Mode::Replace => flags.cas,
        Mode::Append | Mode::Prepend => flags.cas.filter(|cas| *cas != 0),
        Mode::Add => None,
    };
    let invalidate = flags.invalidate && compare.is_some() && !joins;
    let vivify = joins && flags.vivify.is_some();
    Ok(Commit { mode, compare, cas: flags.new_cas, invalidate, vivify })
}

fn push_opaque<'a>(out: &'a mut super::Out, flag: &[u8]) -> &'a mut super::Out {
    out.push(b" ").push(flag)
}

/// The return flag `t`: seconds left, or -1 for ever.
fn push_ttl(out: &mut super::Out, exptime: u32, now: u32) -> &mut super::Out {
    match exptime {
        0 => out.push(b" t-1"),
        exptime => out.flag(b't', u64::from(exptime.wrapping_sub(now))),
    }
}

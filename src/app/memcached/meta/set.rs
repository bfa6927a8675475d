//! `ms`: stores a value. The answer repeats parts of the request.

use super::super::Memcached;
use super::super::connection::Connection;
use super::super::number::signed;
use super::super::text::{BAD_FORMAT, KEY_MAX_BYTES};
use super::super::time::expiry;
use super::super::upload::{Ending, Job};
use super::request::{Flags, Meta, OPAQUE_MAX_BYTES};
use crate::app::Blob;
use crate::store::{Commit, Mode, NewItem, Outcome, Reservation};
use simoom_io::Reply;

/// The parts of the request that the answer to `ms` repeats. The request itself is gone when the
/// value is complete.
#[derive(Clone, Copy, Debug)]
pub(in crate::app::memcached) struct Echo {
    opaque: [u8; OPAQUE_MAX_BYTES],
    opaque_len: u8,
    /// The requested flags of `O`, `k`, `c` and `s`, in order. 0 ends them.
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
        for (slot, flag) in echo.order.iter_mut().zip(asked) {
            *slot = flag[0];
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
    pub(super) fn meta_set(
        &mut self,
        conn: &mut Connection,
        line: &[u8],
        behind: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> usize {
        let meta = Meta::of(line, 3);
        let announced = meta.as_ref().and_then(|meta| signed(meta.tokens.get(2)));
        let announced = announced.filter(|len| (0..=i32::MAX - 2).contains(len));
        let (Some(mut meta), Some(len)) = (meta, announced) else {
            self.complain(BAD_FORMAT, reply);
            return 0;
        };
        match self.begin_meta_set(conn, &mut meta, len as usize, behind) {
            Ok((reservation, job)) => self.begin_upload(conn, reservation, job, behind, reply),
            // The request waits for other senders.
            Err(_) if self.holds_back => 0,
            Err(text) => {
                self.complain(text, reply);
                conn.begin_skip(len as u64 + 2, self.now);
                0
            }
        }
    }

    fn begin_meta_set(
        &mut self,
        conn: &Connection,
        meta: &mut Meta<'_>,
        len: usize,
        behind: &[u8],
    ) -> Result<(Reservation, Job), &'static [u8]> {
        meta.read()?;
        let commit = commit_of(&meta.flags)?;
        let exptime = if commit.vivify { meta.flags.vivify } else { meta.flags.ttl };
        let new = NewItem {
            key: meta.key(),
            flags: meta.flags.client_flags,
            exptime: expiry(exptime.unwrap_or(0), self.times()),
            value_bytes: len,
            binary_key: meta.has_binary_key(),
        };
        let reservation = self.reserve(conn, &new, behind, 2).map_err(|refused| {
            if !self.holds_back {
                self.forget(meta.key());
            }
            refused.text()
        })?;
        let echo = Echo::of(meta)?;
        Ok((reservation, Job { commit, ending: Ending::Meta(echo) }))
    }

    /// Stores a complete value, and answers `ms`.
    pub(in crate::app::memcached) fn finish_meta(
        &mut self,
        reservation: Reservation,
        commit: &Commit,
        echo: &Echo,
        reply: &mut Reply<'_, Blob>,
    ) {
        let mut key = [0; KEY_MAX_BYTES];
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
}

/// The storage operation of `ms`, for its mode and flags.
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

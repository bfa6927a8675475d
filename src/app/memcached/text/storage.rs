//! `set`, `add`, `replace`, `append`, `prepend` and `cas`: reserves space for the value that a line
//! announces.

use super::super::Memcached;
use super::super::connection::Connection;
use super::super::counters::Count;
use super::super::time::expiry;
use super::super::upload::{Ending, Job, outcome_text};
use super::request::{How, ProtocolError, Store};
use crate::app::Blob;
use crate::store::{Commit, Delete, Mode, NewItem, Outcome};
use simoom_io::Reply;

impl Memcached {
    pub(super) fn store(
        &mut self,
        conn: &mut Connection,
        store: &Store<'_>,
        behind: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> usize {
        let new = self.new_item(store);
        let (mode, compare) = match store.how {
            How::Set => (Mode::Set, None),
            How::Add => (Mode::Add, None),
            How::Replace => (Mode::Replace, None),
            How::Append => (Mode::Append, None),
            How::Prepend => (Mode::Prepend, None),
            How::Cas(cas) => (Mode::Set, Some(cas)),
        };
        match self.reserve(conn, &new, behind, 2) {
            Ok(reservation) => {
                let commit = Commit { mode, compare, ..Commit::default() };
                let job = Job { commit, ending: Ending::Text { noreply: store.noreply } };
                self.begin_upload(conn, reservation, job, behind, reply)
            }
            Err(_) if self.holds_back => 0,
            Err(refused) => {
                if store.how == How::Set {
                    self.forget(store.key);
                }
                let refusal = ProtocolError {
                    text: refused.text(),
                    value_bytes: store.len + 2,
                    noreply: store.noreply,
                };
                self.refuse(conn, &refusal, reply);
                0
            }
        }
    }

    /// Stores the value of a plain set that arrived whole. Returns the bytes of the value with its
    /// end; `None`, and has done nothing, if the value is incomplete, ends wrongly or is refused.
    #[inline]
    pub(super) fn store_whole(
        &mut self,
        store: &Store<'_>,
        behind: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> Option<usize> {
        let (value, end) = behind.split_at_checked(store.len as usize)?;
        if !end.starts_with(b"\r\n") {
            return None;
        }
        let outcome = self.store.set(&self.new_item(store), value, self.now).ok()?;
        self.count(Count::CmdSet);
        if store.noreply {
        } else if let Outcome::Stored { .. } = outcome {
            reply.copy_all([b"STORED\r\n"]);
        } else {
            reply.copy(outcome_text(outcome));
        }
        Some(value.len() + 2)
    }

    #[inline]
    fn new_item<'a>(&self, store: &Store<'a>) -> NewItem<'a> {
        NewItem {
            key: store.key,
            flags: store.client_flags,
            exptime: expiry(store.exptime, self.times()),
            value_bytes: store.len as usize,
            binary_key: false,
        }
    }

    /// A client must not take the old value for the new one.
    pub(in crate::app::memcached) fn forget(&self, key: &[u8]) {
        self.store.delete(key, &Delete::default(), self.now);
    }
}

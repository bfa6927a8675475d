//! `set`, `add`, `replace`, `append`, `prepend` and `cas`: reserves space for the value that a line
//! announces.

use super::super::Memcached;
use super::super::connection::Connection;
use super::super::time::expiry;
use super::super::upload::{Ending, Job};
use super::request::{How, ProtocolError, Store};
use crate::app::Blob;
use crate::store::{Commit, Delete, Mode, NewItem};
use simoom_io::Reply;

impl Memcached {
    pub(super) fn store(
        &mut self,
        conn: &mut Connection,
        store: &Store<'_>,
        behind: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> usize {
        let new = NewItem {
            key: store.key,
            flags: store.client_flags,
            exptime: expiry(store.exptime, self.times()),
            value_bytes: store.len as usize,
            binary_key: false,
        };
        let (mode, compare) = match store.how {
            How::Set => (Mode::Set, None),
            How::Add => (Mode::Add, None),
            How::Replace => (Mode::Replace, None),
            How::Append => (Mode::Append, None),
            How::Prepend => (Mode::Prepend, None),
            How::Cas(cas) => (Mode::Set, Some(cas)),
        };
        match self.reserve(&new, behind, 2) {
            Ok(reservation) => {
                let commit = Commit { mode, compare, ..Commit::default() };
                let job = Job { commit, ending: Ending::Text { noreply: store.noreply } };
                self.begin_upload(conn, reservation, job, behind, reply)
            }
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

    /// A client must not take the old value for the new one.
    pub(in crate::app::memcached) fn forget(&self, key: &[u8]) {
        self.store.delete(key, &Delete::default(), self.now);
    }
}

//! The bytes of a file, held once for all paths, fields and codings that serve them.
//!
//! A reload keeps the bytes of files that did not change. [`Identity`] tells whether a file did.

use super::coding::{CODINGS, Coding};
use super::on_disk::OnDisk;
use crate::app::Checksummed;
use rustix::fs::Stat;
use std::hash::Hash;
use std::sync::{Arc, OnceLock};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// Files have times of the kernel's clock ticks, of up to 10 ms.
const TIME_GRAIN_NS: i128 = 20_000_000;

/// The version of a file. Each change of a file changes its ctime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    pub(super) fn of(stat: &Stat) -> Identity {
        // The types of the fields differ between architectures.
        #[allow(clippy::unnecessary_cast, reason = "not on all architectures")]
        Identity {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            bytes: stat.st_size as u64,
            modified: (stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            changed: (stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        }
    }

    /// The identity of some file of this length.
    #[cfg(test)]
    pub(super) fn of_size(inode: u64, bytes: u64) -> Identity {
        let (modified, changed) = ((0, 0), (0, 0));
        Identity { device: 0, inode, bytes, modified, changed }
    }

    /// The identity of no version: for bytes that were read while the file changed.
    pub(super) fn of_no_version(self) -> Identity {
        Identity { inode: 0, ..self }
    }

    /// Whether [`Identity::of_no_version`] made it.
    pub(super) fn is_of_no_version(&self) -> bool {
        self.inode == 0
    }

    /// Whether the file changed so shortly before `now`, in nanoseconds since the epoch, that a
    /// further change could have the same time.
    pub(super) fn is_recent(&self, now: i128) -> bool {
        let changed = i128::from(self.changed.0) * 1_000_000_000 + i128::from(self.changed.1);
        now - changed < TIME_GRAIN_NS
    }

    /// Whether both are the same inode with the same bytes. Other names and permissions may differ.
    pub(super) fn is_same_file(&self, other: &Identity) -> bool {
        (self.device, self.inode) == (other.device, other.inode) && self.has_same_bytes(other)
    }

    /// Whether an open file that had one version has the same bytes in the other.
    pub(super) fn has_same_bytes(&self, other: &Identity) -> bool {
        (self.bytes, self.modified) == (other.bytes, other.modified)
    }

    /// The last modification in unix seconds, never in the future (RFC 9110 §8.8.2.1).
    pub(super) fn modified(&self, now: u64) -> Option<u64> {
        u64::try_from(self.modified.0).ok().map(|seconds| seconds.min(now))
    }
}

/// The bytes of a file and the forms that were compressed from them.
#[derive(Debug)]
pub(super) struct Data {
    /// Empty for a file that is read from disk.
    bytes: Arc<Checksummed>,
    on_disk: Option<Arc<OnDisk>>,
    hash: u64,
    /// Forms made by `--compress`. `None` inside: not shorter.
    coded: [OnceLock<Option<Arc<Data>>>; CODINGS],
}

impl Data {
    pub(super) fn new(bytes: Box<[u8]>) -> Data {
        let hash = xxh3_64(&bytes);
        let bytes = Arc::new(Checksummed::new(bytes));
        Data { bytes, on_disk: None, hash, coded: Default::default() }
    }

    /// A file that is read from disk. Its entity tag depends on its length and the time of its last
    /// modification, so that copies on several servers can have the same; `version` distinguishes
    /// versions with the same time.
    pub(super) fn on_disk(file: OnDisk, identity: &Identity, version: u64) -> Data {
        let mut hasher = Xxh3::new();
        (identity.modified, version).hash(&mut hasher);
        let (bytes, hash) = (Arc::new(Checksummed::new(Box::default())), hasher.digest());
        Data { bytes, on_disk: Some(Arc::new(file)), hash, coded: Default::default() }
    }

    /// The file, if it is read from disk.
    pub(super) fn file(&self) -> Option<&Arc<OnDisk>> {
        self.on_disk.as_ref()
    }

    /// The length of the file.
    pub(super) fn len(&self) -> u64 {
        self.on_disk.as_ref().map_or(self.bytes().len() as u64, |file| file.len())
    }

    /// The bytes in memory. None for a file that is read from disk.
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.as_slice()
    }

    /// The same with their checksums, for responses to share.
    pub(super) fn checksummed(&self) -> &Arc<Checksummed> {
        &self.bytes
    }

    /// Bytes of memory, without compressed forms.
    pub(super) fn memory_bytes(&self) -> usize {
        Data::memory_bytes_of(&self.bytes)
    }

    /// Bytes of memory of data with these bytes.
    pub(super) fn memory_bytes_of(bytes: &Checksummed) -> usize {
        // Each of the two is counted by an `Arc`.
        let structs = size_of::<Data>() + size_of::<Checksummed>() + 4 * size_of::<usize>();
        bytes.memory_bytes() + structs
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    /// The strong entity tag, with quotes. Depends on the bytes alone.
    pub(super) fn etag(&self) -> String {
        format!("\"{:016x}-{:x}\"", self.hash, self.len())
    }

    pub(super) fn coded(&self, coding: Coding) -> &OnceLock<Option<Arc<Data>>> {
        &self.coded[coding as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entity_tag_follows_the_content_alone() {
        let tag = |content: &[u8]| Data::new(content.into()).etag();
        assert_eq!(tag(b"one"), tag(b"one"));
        assert_ne!(tag(b"one"), tag(b"two"));
        assert_eq!(tag(b""), "\"2d06800538d394c2-0\"", "the published hash of no bytes");
    }
}

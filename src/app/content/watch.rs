//! Watches the directories of the content (inotify(7)). Input: directories. Output: whether
//! anything in them changed.

use crate::clock::timespec;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::{Errno, retry_on_intr};
use std::collections::{HashMap, HashSet};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Changes of names, of finished files and of permissions.
const CHANGES: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::ONLYDIR);

/// Events of directories, and the loss of events.
const NOT_OF_FILES: ReadFlags = ReadFlags::ISDIR
    .union(ReadFlags::QUEUE_OVERFLOW)
    .union(ReadFlags::IGNORED)
    .union(ReadFlags::UNMOUNT);
/// Names that are remembered.
const CHANGES_MAX: usize = 100_000;

/// A watch of directories.
pub(crate) struct Watch {
    inotify: OwnedFd,
    /// The directories by their watch descriptors.
    directories: HashMap<i32, PathBuf>,
    /// The descriptors of the directories that the current load found.
    found: HashSet<i32>,
    /// Why the kernel refused to watch a directory.
    refusal: Option<Errno>,
    /// The names that changed; `None` if more than names of files changed.
    changes: Option<Vec<Changed>>,
}

/// A name in a directory that changed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Changed {
    pub(crate) directory: PathBuf,
    pub(crate) name: Vec<u8>,
}

/// The result of [`Watch::wait`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Something changed in a directory.
    Files,
    /// The other descriptor is readable.
    Woken,
    /// The time passed.
    Nothing,
}

/// Waits for `other` to become readable, or for `timeout`.
pub(crate) fn wait(other: BorrowedFd<'_>, timeout: Duration) -> Change {
    match poll_for(&mut [PollFd::from_borrowed_fd(other, PollFlags::IN)], timeout) {
        true => Change::Woken,
        false => Change::Nothing,
    }
}

/// Whether any of the descriptors became readable within `timeout`, however many signals come.
fn poll_for(fds: &mut [PollFd<'_>], timeout: Duration) -> bool {
    let end = Instant::now() + timeout;
    let left = || timespec(end.saturating_duration_since(Instant::now()));
    retry_on_intr(|| poll(fds, Some(&left()))).is_ok_and(|readable| readable > 0)
}

impl Watch {
    pub(crate) fn new() -> io::Result<Watch> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let (directories, found) = Default::default();
        Ok(Watch { inotify, directories, found, refusal: None, changes: Some(Vec::new()) })
    }

    /// A load begins, which calls [`Watch::add`] for each directory.
    pub(super) fn begin(&mut self) {
        self.found.clear();
    }

    /// Watches a directory. Call it before the directory is read, so that no change is missed.
    pub(super) fn add(&mut self, directory: &Path) {
        if self.refusal.is_some() {
            return;
        }
        // A directory that was replaced has a watch under the same path already, but not this one.
        // inotify(7) keeps one watch for each inode.
        match inotify::add_watch(&self.inotify, directory, CHANGES) {
            Ok(watch) => {
                self.found.insert(watch);
                self.directories.insert(watch, directory.to_owned());
            }
            // It was removed, which an event of its parent tells.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => {}
            Err(error) => self.refusal = Some(error),
        }
    }

    /// The load has found all directories: ends the watch of others.
    pub(super) fn finish(&mut self) {
        let gone = self.directories.extract_if(|watch, _| !self.found.contains(watch));
        for (watch, _) in gone {
            // Fails if the directory was removed.
            let _ = inotify::remove_watch(&self.inotify, watch);
        }
    }

    /// Fails if the kernel refused to watch a directory.
    pub(crate) fn check(&self) -> io::Result<()> {
        self.refusal.map_or(Ok(()), |error| Err(error.into()))
    }

    /// The names of files that changed since the last call; `None` if all files must be looked at.
    pub(crate) fn take_changes(&mut self) -> Option<Vec<Changed>> {
        self.changes.replace(Vec::new())
    }

    /// Adds names that changed as if the kernel had told them.
    pub(crate) fn add_changes(&mut self, changed: impl IntoIterator<Item = Changed>) {
        if let Some(changes) = &mut self.changes {
            changes.extend(changed);
        }
    }

    /// Whether all files must be looked at.
    pub(crate) fn has_lost_changes(&self) -> bool {
        self.changes.is_none()
    }

    /// Forgets which names changed: the next time, all files must be looked at.
    pub(crate) fn lose_changes(&mut self) {
        self.changes = None;
    }

    /// Waits for a change, for `other` to become readable, or for `timeout`.
    pub(crate) fn wait(&mut self, other: BorrowedFd<'_>, timeout: Duration) -> Change {
        let mut fds = [
            PollFd::new(&self.inotify, PollFlags::IN),
            PollFd::from_borrowed_fd(other, PollFlags::IN),
        ];
        let is_readable = poll_for(&mut fds, timeout);
        if is_readable && fds[1].revents().contains(PollFlags::IN) {
            Change::Woken
        } else if is_readable && self.drain() {
            Change::Files
        } else {
            Change::Nothing
        }
    }

    /// Reads all events. Returns whether there was any.
    fn drain(&mut self) -> bool {
        let mut buffer = [MaybeUninit::uninit(); 16 << 10];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        let mut any = false;
        loop {
            match reader.next() {
                Ok(event) => {
                    let directory = self.directories.get(&event.wd());
                    let is_lost = event.events().contains(ReadFlags::QUEUE_OVERFLOW);
                    if directory.is_none() && !is_lost {
                        // Of a directory whose watch has ended.
                        continue;
                    }
                    any = true;
                    let is_of_file = !event.events().intersects(NOT_OF_FILES);
                    let changed = directory.zip(event.file_name()).filter(|_| is_of_file);
                    match (changed, &mut self.changes) {
                        (Some((directory, name)), Some(changes)) if changes.len() < CHANGES_MAX => {
                            let (directory, name) = (directory.clone(), name.to_bytes().to_vec());
                            changes.push(Changed { directory, name });
                        }
                        _ => self.changes = None,
                    }
                }
                Err(Errno::INTR) => {}
                Err(_) => return any,
            }
        }
    }
}

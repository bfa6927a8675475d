//! Watches the directories of the content (inotify(7)). Input: directories. Output: whether
//! anything in them changed.

use super::Content;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use std::collections::{HashMap, HashSet};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

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
    watched: HashSet<PathBuf>,
    /// The directories by their watch descriptors.
    directories: HashMap<i32, PathBuf>,
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

/// Whether any of the descriptors became readable within `timeout`.
fn poll_for(fds: &mut [PollFd<'_>], timeout: Duration) -> bool {
    let (tv_sec, tv_nsec) = (timeout.as_secs() as i64, timeout.subsec_nanos().into());
    poll(fds, Some(&Timespec { tv_sec, tv_nsec })).is_ok_and(|readable| readable > 0)
}

impl Watch {
    pub(crate) fn new() -> io::Result<Watch> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let (watched, directories) = (HashSet::new(), HashMap::new());
        Ok(Watch { inotify, watched, directories, changes: Some(Vec::new()) })
    }

    /// Watches the directories of `content`. Returns whether any was not watched before: what
    /// changed there meanwhile was missed.
    pub(crate) fn follow(&mut self, content: &Content) -> io::Result<bool> {
        let mut is_new = false;
        let directories: HashSet<PathBuf> = content.directories().iter().cloned().collect();
        self.directories.clear();
        for directory in &directories {
            // A directory that was replaced has a watch under the same path already, but not this
            // one. So add all again: inotify(7) keeps one watch for each inode.
            match inotify::add_watch(&self.inotify, directory, CHANGES) {
                Ok(watch) => {
                    is_new |= !self.watched.contains(directory);
                    self.directories.insert(watch, directory.clone());
                }
                // It was removed, which an event of its parent tells.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.watched = directories;
        Ok(is_new)
    }

    /// The names of files that changed since the last call; `None` if all files must be looked at.
    pub(crate) fn take_changes(&mut self) -> Option<Vec<Changed>> {
        self.changes.replace(Vec::new())
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
                    any = true;
                    let directory = self.directories.get(&event.wd());
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

//! Watches the directories of the content (inotify(7)). Input: directories. Output: whether
//! anything in them changed.

use super::Content;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use std::collections::HashSet;
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

/// A watch of directories.
pub(crate) struct Watch {
    inotify: OwnedFd,
    watched: HashSet<PathBuf>,
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
        Ok(Watch { inotify, watched: HashSet::new() })
    }

    /// Watches the directories of `content`. Returns whether any was not watched before: what
    /// changed there meanwhile was missed.
    pub(crate) fn follow(&mut self, content: &Content) -> io::Result<bool> {
        let mut is_new = false;
        let directories: HashSet<PathBuf> = content.directories().iter().cloned().collect();
        for directory in &directories {
            // A directory that was replaced has a watch under the same path already, but not this
            // one. So add all again: inotify(7) keeps one watch for each inode.
            match inotify::add_watch(&self.inotify, directory, CHANGES) {
                Ok(_) => is_new |= !self.watched.contains(directory),
                // It was removed, which an event of its parent tells.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.watched = directories;
        Ok(is_new)
    }

    /// Waits for a change, for `other` to become readable, or for `timeout`.
    pub(crate) fn wait(&self, other: BorrowedFd<'_>, timeout: Duration) -> Change {
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
    fn drain(&self) -> bool {
        let mut buffer = [MaybeUninit::uninit(); 16 << 10];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        let mut any = false;
        loop {
            match reader.next() {
                Ok(_) => any = true,
                Err(Errno::INTR) => {}
                Err(_) => return any,
            }
        }
    }
}

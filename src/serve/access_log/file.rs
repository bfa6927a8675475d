//! The file of the access log. Input: whole lines. Output: the number of lines that are lost.
//!
//! The file has whole lines only. If it accepts the first part of a line, as a full disk does, the
//! rest is kept and comes first when it accepts more. If it does not until the end, a regular file
//! is cut where the line begins.
//!
//! The file may be a FIFO. Opening it never waits for a reader, and a reader that stops is waited
//! for only until the caller gives up.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Interval of asking whether to give up.
const ASK_PERIOD: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    /// The rest of a line that the file has the first part of.
    rest: Vec<u8>,
    /// The length of the file at the end of that part.
    rest_at: Option<u64>,
    /// The length of that part.
    part_bytes: u64,
    /// Lines that are lost, and that [`LogFile::write`] has not returned yet.
    lost: u64,
}

impl LogFile {
    pub(super) fn open(path: &Path) -> io::Result<LogFile> {
        let file = open(path)?;
        let path = path.to_owned();
        Ok(LogFile { path, file, rest: Vec::new(), rest_at: None, part_bytes: 0, lost: 0 })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file ends within a line.
    pub(super) fn is_within_line(&self) -> bool {
        !self.rest.is_empty()
    }

    /// Opens the path again. If that fails, the former file stays open.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        let file = open(&self.path)?;
        // The line belongs to the former file.
        self.lost += self.end_line();
        self.file = file;
        Ok(())
    }

    /// Ends the line that the file has a part of: writes the rest, or removes the part from a
    /// regular file. Returns the number of lost lines, 0 or 1.
    pub(super) fn end_line(&mut self) -> u64 {
        let rest = std::mem::take(&mut self.rest);
        if rest.is_empty() {
            return 0;
        }
        if self.len() != self.rest_at {
            // Another process truncated the file, or wrote to it.
            return 1;
        }
        let (written, outcome) = self.write_bytes(&rest, || true);
        if outcome.is_ok() {
            return 0;
        }
        let end = self.rest_at.map(|at| at + written as u64);
        if let (Some(at), true) = (self.rest_at, self.len() == end) {
            // An error leaves the part, which nothing else can remove.
            let _ = self.file.set_len(at - self.part_bytes);
        }
        1
    }

    /// Appends `lines`. Asks `gives_up` while a FIFO does not accept more. Returns the number of
    /// lost lines, and why they are lost.
    pub(super) fn write(
        &mut self,
        lines: &[u8],
        gives_up: impl Fn() -> bool,
    ) -> (u64, io::Result<()>) {
        let mut lost = std::mem::take(&mut self.lost);
        if self.is_within_line() && self.len() != self.rest_at {
            // Another process truncated the file, or wrote to it.
            self.rest.clear();
            lost += 1;
        }
        let joined;
        let mut bytes = lines;
        if self.is_within_line() {
            joined = [&std::mem::take(&mut self.rest), lines].concat();
            bytes = &joined;
        }
        let (written, outcome) = self.write_bytes(bytes, gives_up);
        let is_whole = written == 0 || bytes[written - 1] == b'\n';
        let mut left = &bytes[written..];
        // The first bytes may be the rest of a line that began before.
        let has_rest = bytes.len() > lines.len();
        let is_rest = written == 0 && has_rest;
        if outcome.is_err() && (!is_whole || is_rest) {
            let end = memchr::memchr(b'\n', left).map_or(left.len(), |at| at + 1);
            self.rest.extend_from_slice(&left[..end]);
            self.rest_at = self.len();
            let begin = memchr::memrchr(b'\n', &bytes[..written]).map(|at| at + 1);
            // The line goes on that the earlier part began.
            let earlier_bytes = if begin.is_none() && has_rest { self.part_bytes } else { 0 };
            self.part_bytes = earlier_bytes + (written - begin.unwrap_or(0)) as u64;
            left = &left[end..];
        }
        lost += memchr::memchr_iter(b'\n', left).count() as u64;
        (lost, outcome)
    }

    /// The length of a regular file.
    fn len(&self) -> Option<u64> {
        let metadata = self.file.metadata().ok()?;
        metadata.is_file().then_some(metadata.len())
    }

    /// Returns the number of written bytes. Without an error all are written.
    fn write_bytes(&self, bytes: &[u8], gives_up: impl Fn() -> bool) -> (usize, io::Result<()>) {
        let mut written = 0;
        while written < bytes.len() {
            match (&self.file).write(&bytes[written..]) {
                Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
                Ok(n) => written += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !gives_up() => {
                    let mut fds = [PollFd::new(&self.file, PollFlags::OUT)];
                    if let Err(errno) = poll(&mut fds, Some(&ASK_PERIOD))
                        && errno != Errno::INTR
                    {
                        return (written, Err(errno.into()));
                    }
                }
                Err(error) => return (written, Err(error)),
            }
        }
        (written, Ok(()))
    }
}

/// A FIFO without a reader is an error, instead of a wait for one.
fn open(path: &Path) -> io::Result<File> {
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    OpenOptions::new().append(true).create(true).custom_flags(nonblocking).open(path)
}

/// The text of an error of [`LogFile::open`].
pub(super) fn reason(error: &io::Error) -> String {
    match Errno::from_io_error(error) {
        Some(Errno::NXIO) => "a FIFO that no process reads".into(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn lines(numbers: std::ops::Range<u32>) -> String {
        numbers.map(|number| format!("{number:099}\n")).collect()
    }

    /// A FIFO of a page, and its reader.
    fn fifo() -> (tempfile::TempDir, LogFile, File) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fifo");
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        let error = LogFile::open(&path).err().unwrap();
        assert_eq!(reason(&error), "a FIFO that no process reads");
        let nonblocking = rustix::fs::OFlags::NONBLOCK.bits() as i32;
        let reader = OpenOptions::new().read(true).custom_flags(nonblocking).open(&path).unwrap();
        let file = LogFile::open(&path).unwrap();
        rustix::pipe::fcntl_setpipe_size(&file.file, 4096).unwrap();
        (directory, file, reader)
    }

    /// Reads all that is there.
    fn read(reader: &mut File) -> String {
        let mut text = Vec::new();
        let error = reader.read_to_end(&mut text).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_file_that_accepts_a_part_gets_whole_lines_and_the_others_are_counted() {
        let (_directory, mut file, mut reader) = fifo();
        let (lost, outcome) = file.write(lines(0..100).as_bytes(), || true);
        assert!(outcome.is_err() && file.is_within_line());
        // Of the 41st line the FIFO has 96 bytes.
        assert_eq!(lost, 59);
        let (lost, outcome) = file.write(lines(100..102).as_bytes(), || true);
        assert!(outcome.is_err(), "it is still full");
        assert_eq!(lost, 2);
        let mut text = read(&mut reader);
        assert_eq!(file.write(b"", || true).0, 0);
        assert!(!file.is_within_line());
        assert_eq!(file.write(lines(102..104).as_bytes(), || true).0, 0);
        text += &read(&mut reader);
        assert_eq!(text, lines(0..41) + &lines(102..104));
    }

    #[test]
    fn a_reader_that_stops_is_waited_for_until_the_caller_gives_up() {
        let (_directory, mut file, mut reader) = fifo();
        let asked = std::cell::Cell::new(0);
        let gives_up = || {
            asked.set(asked.get() + 1);
            if asked.get() == 2 {
                read(&mut reader.try_clone().unwrap());
            }
            asked.get() == 3
        };
        let (lost, outcome) = file.write(lines(0..100).as_bytes(), gives_up);
        assert_eq!((lost, asked.get()), (100 - 82, 3), "two times 4096 bytes");
        assert!(outcome.is_err());
        read(&mut reader);
        drop(reader);
        let (lost, outcome) = file.write(lines(0..2).as_bytes(), || false);
        let error = outcome.unwrap_err();
        assert_eq!((lost, error.kind()), (2, io::ErrorKind::BrokenPipe));
    }

    #[test]
    fn the_rest_of_a_line_stays_out_of_a_file_that_was_truncated_or_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let text = || std::fs::read_to_string(&path).unwrap();
        let within_line = || {
            std::fs::write(&path, "begun ").unwrap();
            let mut file = LogFile::open(&path).unwrap();
            (file.rest, file.rest_at) = (b"and ended\n".to_vec(), file.len());
            file
        };
        assert_eq!(within_line().write(b"new\n", || true).0, 0);
        assert_eq!(text(), "begun and ended\nnew\n");
        let mut file = within_line();
        std::fs::write(&path, "").unwrap();
        assert_eq!(file.write(b"new\n", || true).0, 1);
        assert_eq!(text(), "new\n");
        let mut file = within_line();
        std::fs::rename(&path, directory.path().join("old")).unwrap();
        file.reopen().unwrap();
        assert_eq!(file.write(b"new\n", || true).0, 0);
        assert_eq!(text(), "new\n");
        let old = std::fs::read_to_string(directory.path().join("old")).unwrap();
        assert_eq!(old, "begun and ended\n");
    }

    #[test]
    fn a_full_disk_loses_each_line() {
        let mut file = LogFile::open(Path::new("/dev/full")).unwrap();
        for _ in 0..2 {
            let (lost, outcome) = file.write(lines(0..3).as_bytes(), || false);
            let error = outcome.unwrap_err();
            assert_eq!((lost, error.kind()), (3, io::ErrorKind::StorageFull));
        }
    }
}

//! Records the files under the root that are not served, and the reasons. The number of log lines
//! is bounded.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use tracing::{info, warn};

/// Paths that the log names for each kind of reason.
const NAMED_MAX: usize = 8;

/// The reason that a path is not served.
#[derive(Debug)]
pub(super) enum Reason {
    /// A link to this path, outside the root.
    OutOfRoot(PathBuf),
    /// A link to a directory that contains the link.
    Loop,
    /// Neither a regular file nor a directory.
    Special(&'static str),
    /// Size in bytes, above the limit of one file.
    TooLarge(u64),
    /// The file is unreadable, or the link is dangling.
    Unreadable(io::Error),
    /// A path through several links. Enough other paths lead to the same directory.
    TooManyPaths,
    /// A name that begins with a dot.
    Dotfile,
    /// A link to a dotfile, or to a path under one.
    ToDotfile,
}

const KINDS: usize = 8;

impl Reason {
    fn kind(&self) -> usize {
        match self {
            Reason::OutOfRoot(_) => 0,
            Reason::Loop => 1,
            Reason::Special(_) => 2,
            Reason::TooLarge(_) => 3,
            Reason::Unreadable(_) => 4,
            Reason::TooManyPaths => 5,
            Reason::Dotfile => 6,
            Reason::ToDotfile => 7,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::OutOfRoot(to) => {
                write!(f, "a symbolic link out of the root, to {}", to.display())
            }
            Reason::Loop => write!(f, "a symbolic link to a directory that contains it"),
            Reason::Special(kind) => write!(f, "not a regular file or directory but {kind}"),
            Reason::TooLarge(bytes) => {
                write!(
                    f,
                    "its {bytes} bytes exceed the limit of {} bytes for one file",
                    super::walk::FILE_MAX_BYTES
                )
            }
            Reason::Unreadable(error) => write!(f, "{error}"),
            Reason::TooManyPaths => write!(
                f,
                "a path through several links; {} others lead to the same directory",
                super::walk::LINKED_PATHS_MAX
            ),
            Reason::Dotfile => write!(f, "its name begins with a dot; --dotfiles serves it"),
            Reason::ToDotfile => {
                write!(f, "a symbolic link to a name that begins with a dot; --dotfiles serves it")
            }
        }
    }
}

/// All paths that are not served.
#[derive(Default)]
pub(super) struct Skipped {
    kinds: [Kind; KINDS],
}

#[derive(Default)]
struct Kind {
    count: usize,
    /// The first paths of this kind.
    named: Vec<(PathBuf, Reason)>,
}

impl Skipped {
    pub(super) fn note(&mut self, path: &Path, reason: Reason) {
        let kind = &mut self.kinds[reason.kind()];
        kind.count += 1;
        let limit = match reason {
            // Nobody expects these paths to be served: one example is enough.
            Reason::TooManyPaths | Reason::Dotfile => 1,
            _ => NAMED_MAX,
        };
        if kind.named.len() < limit {
            kind.named.push((path.to_path_buf(), reason));
        }
    }

    /// Writes the lines to the log.
    pub(super) fn log(&self) {
        for (path, reason, alike) in self.lines() {
            let path = path.display();
            match (reason, alike) {
                (Reason::Dotfile, alike) => info!(%path, alike, "not served: {reason}"),
                (_, 0) => warn!(%path, "not served: {reason}"),
                _ => warn!(%path, alike, "not served: {reason}"),
            }
        }
    }

    /// Each line as text.
    pub(super) fn text(&self) -> Vec<String> {
        self.lines()
            .map(|(path, reason, alike)| format!("{}: {reason} (+{alike})", path.display()))
            .collect()
    }

    /// The log lines: path, reason, and the number of unnamed paths with the same kind of reason.
    /// Only the last line of each kind has a number above 0.
    fn lines(&self) -> impl Iterator<Item = (&Path, &Reason, usize)> {
        self.kinds.iter().flat_map(|kind| {
            let alike = kind.count - kind.named.len();
            kind.named.iter().enumerate().map(move |(at, (path, reason))| {
                (path.as_path(), reason, if at + 1 == kind.named.len() { alike } else { 0 })
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_reason_has_its_place() {
        let reasons = [
            Reason::OutOfRoot(PathBuf::new()),
            Reason::Loop,
            Reason::Special("a FIFO"),
            Reason::TooLarge(1),
            Reason::Unreadable(io::Error::other("x")),
            Reason::TooManyPaths,
            Reason::Dotfile,
            Reason::ToDotfile,
        ];
        let mut skipped = Skipped::default();
        let kinds = reasons.len();
        for reason in reasons {
            skipped.note(Path::new("a"), reason);
        }
        assert_eq!((skipped.lines().count(), kinds), (KINDS, KINDS));
    }

    #[test]
    fn however_many_there_are_the_lines_are_few() {
        let mut skipped = Skipped::default();
        for name in 0..100_000 {
            skipped.note(Path::new(&name.to_string()), Reason::Special("a FIFO"));
            skipped.note(Path::new(&name.to_string()), Reason::Dotfile);
        }
        let lines = skipped.text();
        assert_eq!(lines.len(), NAMED_MAX + 1);
        assert!(lines[0].starts_with("0: ") && lines[0].ends_with(" (+0)"), "{}", lines[0]);
        assert!(lines[NAMED_MAX - 1].ends_with(" (+99992)"), "{}", lines[NAMED_MAX - 1]);
        assert!(
            lines[NAMED_MAX].ends_with("--dotfiles serves it (+99999)"),
            "{}",
            lines[NAMED_MAX]
        );
    }
}

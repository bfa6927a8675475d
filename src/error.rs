//! The error of a command: a message for the user, and the exit code.

use std::fmt;
use std::io;
use std::process::ExitCode;

/// Why a command failed. The message says what the user can do about it.
#[derive(Clone, PartialEq, Eq)]
pub enum Error {
    /// The command line or the configuration file is wrong: exit code 2.
    Usage(String),
    /// The command line is right, but the command failed: exit code 1.
    Failed(String),
}

/// The result of a command or of a part of it.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A usage error with this message.
    pub fn usage(text: impl Into<String>) -> Error {
        Error::Usage(text.into())
    }

    /// A failure with this message.
    pub fn failed(text: impl Into<String>) -> Error {
        Error::Failed(text.into())
    }

    /// A failure of an operation (`doing`: "reading /srv/www"), because of `cause`.
    pub fn because(doing: impl fmt::Display, cause: impl fmt::Display) -> Error {
        Error::Failed(format!("{doing}: {cause}"))
    }

    /// An error about what the command line names: a usage error if that does not exist, or else a
    /// failure.
    pub(crate) fn about_named(cause: &io::Error, text: impl Into<String>) -> Error {
        match cause.kind() {
            io::ErrorKind::NotFound => Error::Usage(text.into()),
            _ => Error::Failed(text.into()),
        }
    }

    /// The exit code of a process that ends with this error.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Error::Usage(_) => ExitCode::from(2),
            Error::Failed(_) => ExitCode::from(1),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Usage(text) | Error::Failed(text) => f.write_str(text),
        }
    }
}

/// As [`Display`](fmt::Display): a `main` that returns a [`Result`] prints this form.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_main_that_returns_an_error_prints_its_message_alone() {
        assert_eq!(
            format!("{:?}", Error::usage("--cores \"x\": a number")),
            "--cores \"x\": a number"
        );
    }
}

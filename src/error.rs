//! How a command fails: a sentence for the user, and the exit code that goes with it.

use std::fmt;
use std::process::ExitCode;

/// Why a command could not do what was asked. Its text says what the user can do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The command line or the configuration file is wrong: exit code 2.
    Usage(String),
    /// The request was sound but could not be carried out: exit code 1.
    Failed(String),
}

/// The result of a command, or of a part of one.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A usage error that says `text`.
    pub fn usage(text: impl Into<String>) -> Error {
        Error::Usage(text.into())
    }

    /// A failure that says `text`.
    pub fn failed(text: impl Into<String>) -> Error {
        Error::Failed(text.into())
    }

    /// A failure of what was being done (`doing`: "reading /srv/www"), because of `cause`.
    pub fn because(doing: impl fmt::Display, cause: impl fmt::Display) -> Error {
        Error::Failed(format!("{doing}: {cause}"))
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

impl std::error::Error for Error {}

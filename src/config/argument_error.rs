//! An invalid argument as one line: `--connections 5000000000: at most 16777216; …`.

use super::hints;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use std::error::Error as _;
use std::fmt;

/// The reason of an error about a flag that does not exist.
const UNKNOWN: &str = "unknown flag";

/// An invalid argument.
#[derive(Debug)]
pub(crate) struct ArgumentError {
    /// The flag, with its dashes.
    pub(crate) flag: String,
    /// The given value, if the value is invalid.
    pub(crate) value: Option<String>,
    /// What is wrong with it.
    pub(crate) reason: String,
    /// A similar flag, with its dashes.
    pub(crate) suggestion: Option<String>,
}

impl ArgumentError {
    /// Parses clap's error if it concerns one flag or its value; `None` for others, whose text is
    /// printed as it is.
    pub(crate) fn of(error: &clap::Error) -> Option<ArgumentError> {
        let text = |kind| match error.get(kind) {
            Some(ContextValue::String(text)) => Some(text.clone()),
            Some(ContextValue::Strings(texts)) => texts.first().cloned(),
            _ => None,
        };
        // clap names an argument with its value: `--connections <N>`, `--busy-poll[=<BOOL>]`.
        let argument =
            text(ContextKind::InvalidArg).filter(|argument| argument.starts_with("--"))?;
        let flag = argument.split([' ', '=', '[']).next()?.to_owned();
        let value = text(ContextKind::InvalidValue);
        let (value, reason) = match error.kind() {
            ErrorKind::ValueValidation => (value, error.source()?.to_string()),
            ErrorKind::InvalidValue if value.as_deref() == Some("") => {
                (None, missing_value(error, &argument))
            }
            ErrorKind::InvalidValue => {
                (value, format!("expected one of {}", possible_values(error)?))
            }
            ErrorKind::UnknownArgument => (None, UNKNOWN.to_owned()),
            ErrorKind::ArgumentConflict => (None, "given more than once".to_owned()),
            _ => return None,
        };
        Some(ArgumentError { flag, value, reason, suggestion: text(ContextKind::SuggestedArg) })
    }
}

impl fmt::Display for ArgumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.flag)?;
        if let Some(value) = &self.value {
            write!(f, " {value}")?;
        }
        write!(f, ": {}", self.reason)?;
        match &self.suggestion {
            Some(suggestion) => write!(f, "; did you mean {suggestion}?"),
            None => Ok(()),
        }
    }
}

/// `argument` is the flag with its value: `--memcached <[ADDR:]PORT>`.
fn missing_value(error: &clap::Error, argument: &str) -> String {
    match possible_values(error) {
        Some(values) => format!("a value is missing; expected one of {values}"),
        None => format!("a value is missing; write {}", argument.replace(['<', '>'], "")),
    }
}

/// The end of the error of a command of this name: what to write instead of an unknown flag, or
/// where the flags are listed.
pub(crate) fn remedy(error: &ArgumentError, command: Option<&str>) -> Option<String> {
    if error.reason != UNKNOWN {
        return None;
    }
    let help = match command {
        Some("serve") => match hints::meant(error.flag.trim_start_matches('-'), "--") {
            Some(meant) => return Some(meant),
            None => "`simoom serve --help` lists the flags".to_owned(),
        },
        Some(command) => format!("`simoom {command} --help` lists the flags"),
        None => "`simoom --help` lists the commands".to_owned(),
    };
    error.suggestion.is_none().then_some(help)
}

fn possible_values(error: &clap::Error) -> Option<String> {
    match error.get(ContextKind::ValidValue)? {
        ContextValue::Strings(values) if !values.is_empty() => Some(values.join(", ")),
        _ => None,
    }
}

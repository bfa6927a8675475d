//! An invalid argument as one line: `--connections 5000000000: at most 16777216; …`.

use super::hints;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use std::error::Error as _;
use std::ffi::OsString;
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
        // clap also suggests flags that only share some letters.
        let name = flag.trim_start_matches('-');
        let is_near = |known: &String| hints::is_near(name, known.trim_start_matches('-'));
        let suggestion = text(ContextKind::SuggestedArg).filter(is_near);
        Some(ArgumentError { flag, value, reason, suggestion })
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

/// What to write instead of `--autoindex true`, where clap finds the second argument unexpected:
/// the value of such a flag follows `=`. `None` for other errors.
pub(crate) fn detached(error: &clap::Error, arguments: &[OsString]) -> Option<String> {
    let Some(ContextValue::String(value)) = error.get(ContextKind::InvalidArg) else { return None };
    if error.kind() != ErrorKind::UnknownArgument || !matches!(&**value, "true" | "false") {
        return None;
    }
    let at = arguments.iter().position(|argument| argument == value.as_str())?;
    let flag = arguments.get(at.checked_sub(1)?)?.to_str()?;
    let takes_one = flag.starts_with("--") && !flag.contains('=');
    takes_one.then(|| format!("{flag} {value}: write {flag}={value}"))
}

/// Joins a negative number to the flag before it, as `--memory=-1`: alone, clap takes it for a flag
/// of its own. So the error names the flag and the range of its value.
pub(crate) fn join_negative(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut joined: Vec<OsString> = Vec::new();
    for argument in arguments {
        let is_flag =
            |flag: &[u8]| flag.len() > 2 && flag.starts_with(b"--") && !flag.contains(&b'=');
        let is_negative = matches!(argument.as_encoded_bytes(), [b'-', b'0'..=b'9' | b'.', ..]);
        match joined.last_mut() {
            Some(flag) if is_negative && is_flag(flag.as_encoded_bytes()) => {
                flag.push("=");
                flag.push(argument);
            }
            _ => joined.push(argument),
        }
    }
    joined
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

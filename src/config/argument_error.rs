//! An invalid argument as one line: `--connections 5000000000: at most 16777216; …`.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use std::error::Error as _;
use std::fmt;

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
            ErrorKind::InvalidValue if value.as_deref() == Some("") => (None, missing_value(error)),
            ErrorKind::InvalidValue => {
                (value, format!("expected one of {}", possible_values(error)?))
            }
            ErrorKind::UnknownArgument => (None, "unknown flag".to_owned()),
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

fn missing_value(error: &clap::Error) -> String {
    match possible_values(error) {
        Some(values) => format!("a value is missing; expected one of {values}"),
        None => "a value is missing".to_owned(),
    }
}

fn possible_values(error: &clap::Error) -> Option<String> {
    match error.get(ContextKind::ValidValue)? {
        ContextValue::Strings(values) if !values.is_empty() => Some(values.join(", ")),
        _ => None,
    }
}

//! The configuration file: TOML that stands for flags, and tables for sites ([`super::sites`]).
//!
//! Any other key is the name of a flag and uses the parser of the flag. So every flag is available,
//! and both report an invalid value alike. Errors name the file, the line, the key and the value.

use super::argument_error::ArgumentError;
use super::options::ServeOptions;
use super::{hints, sites};
use crate::error::{Error, Result};
use clap::{ArgAction, Args, Command, FromArgMatches};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use toml::de::{DeTable, DeValue};

/// A flag that is not allowed in the file: it names the file.
const NOT_A_KEY: &str = "config";

/// The only flag whose value is a list.
const LIST_KEY: &str = "cores";

/// Limit of the file size: a thousand times what all flags take.
const FILE_MAX_BYTES: u64 = 1 << 20;

/// Reads the file at `path`.
pub(super) fn read(path: &Path) -> Result<ServeOptions> {
    let refuse =
        |what: &dyn std::fmt::Display| Error::usage(format!("--config {}: {what}", path.display()));
    let cannot_read =
        |error| refuse(&format!("{error}; name a TOML file with the flags of `simoom serve`"));
    let file = File::open(path).map_err(cannot_read)?;
    let mut text = String::new();
    // A pipe is allowed. A device may never end.
    let read = file.take(FILE_MAX_BYTES + 1).read_to_string(&mut text);
    if text.len() as u64 > FILE_MAX_BYTES {
        return Err(refuse(
            &"longer than 1 MiB; give a TOML file with the flags of `simoom serve`",
        ));
    }
    read.map_err(cannot_read)?;
    parse(&text, &path.display().to_string())
}

/// Parses the text. `name` is the file name in errors.
fn parse(text: &str, name: &str) -> Result<ServeOptions> {
    let refuse = |at: usize, what: &str| {
        let line = text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
        Error::usage(format!("{name}:{line}: {what}"))
    };
    let flags = ServeOptions::augment_args(
        Command::new("serve").no_binary_name(true).disable_help_flag(true),
    );
    let table = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let what = unquoted(&flags, text, at).unwrap_or_else(|| error.message().to_owned());
        refuse(at, &what)
    })?;
    let mut entries: Vec<_> = table.get_ref().iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);

    let mut options = ServeOptions::default();
    for (key, value) in entries {
        if sites::is_key(key.get_ref()) {
            sites::set(&mut options.sites, key, value).map_err(|(at, what)| refuse(at, &what))?;
            continue;
        }
        set(&mut options, &flags, key.get_ref(), value.get_ref())
            .map_err(|what| refuse(key.span().start, &what))?;
    }
    Ok(options)
}

/// Sets the flag that `key` names. An error says what is wrong.
fn set(
    options: &mut ServeOptions,
    flags: &Command,
    key: &str,
    value: &DeValue<'_>,
) -> Result<(), String> {
    if key == NOT_A_KEY {
        return Err(format!("{key}: a configuration file cannot name another"));
    }
    let flag = flags.get_arguments().find(|flag| flag.get_long() == Some(key)).ok_or_else(
        || match value {
            DeValue::Table(_) => unknown_table(key),
            DeValue::Array(array) if array.iter().any(|value| value.get_ref().is_table()) => {
                unknown_table(key)
            }
            _ => unknown(flags, key),
        },
    )?;
    let values = match (value, flag.get_action()) {
        (DeValue::Array(array), ArgAction::Append) => {
            array.iter().map(|value| scalar(key, value.get_ref())).collect::<Result<Vec<_>, _>>()?
        }
        (DeValue::Array(_), _) if key != LIST_KEY => {
            return Err(format!("{key}: one value, not a list"));
        }
        (DeValue::Array(array), _) => {
            let parts: Result<Vec<_>, _> =
                array.iter().map(|value| scalar(key, value.get_ref())).collect();
            vec![parts?.join(",")]
        }
        _ => vec![scalar(key, value)?],
    };
    let arguments = values.iter().map(|value| format!("--{key}={value}"));
    flags
        .clone()
        .try_get_matches_from(arguments)
        .and_then(|matches| options.update_from_arg_matches(&matches))
        .map_err(|error| match ArgumentError::of(&error) {
            Some(ArgumentError { value: Some(value), reason, .. }) => {
                format!("{key} = {value}: {reason}")
            }
            Some(ArgumentError { reason, .. }) => format!("{key}: {reason}"),
            None => format!("{key}: {error}"),
        })
}

/// The text of a single value on the command line.
fn scalar(key: &str, value: &DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Integer(integer) => i128::from_str_radix(integer.as_str(), integer.radix())
            .map(|integer| integer.to_string())
            .map_err(|_| format!("{key} = {integer}: the number is too large")),
        DeValue::Float(float) => Ok(float.as_str().to_owned()),
        DeValue::Boolean(boolean) => Ok(boolean.to_string()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
            Err(format!("{key}: {} is not a value of this key", value.type_str()))
        }
    }
}

/// What is wrong with the line around `at`, if it has one value that needs quotes.
fn unquoted(flags: &Command, text: &str, at: usize) -> Option<String> {
    let at = text.floor_char_boundary(at);
    let start = text[..at].rfind('\n').map_or(0, |end| end + 1);
    let (key, value) = text[start..].lines().next()?.split_once('=')?;
    let (key, value) = (key.trim(), value.split('#').next()?.trim());
    let is_key = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let is_bare = !value.is_empty() && !value.contains(['"', '\'', '[', '{', ' ', '\t']);
    let is_valid = || DeTable::parse(&format!("key = {value}")).is_ok();
    if key.is_empty() || !key.bytes().all(is_key) || !is_bare || is_valid() {
        return None;
    }
    let flag = flags.get_arguments().find(|flag| flag.get_long() == Some(key));
    let values = flag.and_then(|flag| flag.get_value_names());
    let is_boolean = values.is_some_and(|names| names.iter().any(|name| name == "BOOL"));
    Some(match is_boolean {
        true => format!("{key} = {value}: write true or false, without quotes"),
        false => format!("{key} = {value}: a text stands in quotes; write {key} = \"{value}\""),
    })
}

fn unknown_table(key: &str) -> String {
    if let Some(meant) = hints::meant(key, "") {
        return format!("{key}: unknown table; {meant}");
    }
    let like = hints::table(key).map_or_else(String::new, |like| format!("did you mean {like}? "));
    let tables = hints::TABLES;
    format!("{key}: unknown table; {like}Keys of the server stand above all tables; {tables}")
}

fn unknown(flags: &Command, key: &str) -> String {
    if let Some(meant) = hints::meant(key, "") {
        return format!("{key}: unknown key; {meant}");
    }
    let error = flags.clone().try_get_matches_from([format!("--{key}")]).err();
    let like = error.as_ref().and_then(ArgumentError::of).and_then(|error| error.suggestion);
    let like = like.map_or_else(String::new, |like| {
        format!("; did you mean {}?", like.trim_start_matches('-'))
    });
    format!("{key}: unknown key (keys are the flags of `simoom serve`, without the dashes){like}")
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;

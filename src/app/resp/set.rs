//! SET key value \[EX seconds | PX milliseconds\] \[NX | XX\]

use super::codec::{Resp, Value, number};
use super::commands::{Arguments, Commands, is_key, now};
use crate::app::codec::Call;
use crate::store::{Commit, KEY_MAX_BYTES, Mode, NewItem, Outcome, ReserveError};

/// The conditions and the time to live of SET.
#[derive(Clone, Copy, Debug, Default)]
struct Options {
    mode: Option<Mode>,
    /// Seconds.
    ttl: Option<u32>,
}

pub(super) fn run(commands: &Commands, words: &mut Arguments<'_>, call: &mut Call<'_, Resp>) {
    let (Some(key), Some(value)) = (words.next(), words.next()) else { return };
    let answer = match options(words) {
        Ok(options) => set(commands, key, value, options, now(call)),
        Err(error) => Value::Error(error),
    };
    call.answer(answer);
}

fn options(words: &mut Arguments<'_>) -> Result<Options, &'static str> {
    const SYNTAX: &str = "ERR syntax error";
    let mut options = Options::default();
    while let Some(word) = words.next() {
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        if (is("NX") || is("XX")) && options.mode.is_none() {
            options.mode = Some(if is("NX") { Mode::Add } else { Mode::Replace });
        } else if (is("EX") || is("PX")) && options.ttl.is_none() {
            let time = number(words.next().ok_or(SYNTAX)?)
                .ok_or("ERR value is not an integer or out of range")?;
            let seconds =
                if is("EX") { time } else { time.div_euclid(1000) + i64::from(time % 1000 != 0) };
            let seconds = u32::try_from(seconds).ok().filter(|seconds| *seconds > 0);
            options.ttl = Some(seconds.ok_or("ERR invalid expire time in 'set' command")?);
        } else {
            return Err(SYNTAX);
        }
    }
    Ok(options)
}

fn set(
    commands: &Commands,
    key: &[u8],
    value: &[u8],
    options: Options,
    now: u32,
) -> Value<'static> {
    if !is_key(key) {
        return Value::Error("ERR invalid key: must have 1 to 250 bytes");
    }
    let exptime = options.ttl.map_or(0, |ttl| now.saturating_add(ttl));
    let stored = store(
        commands,
        key,
        value,
        0,
        exptime,
        now,
        &Commit { mode: options.mode.unwrap_or_default(), ..Commit::default() },
    );
    match stored {
        Ok(Outcome::Stored { .. }) => Value::Simple("OK"),
        Ok(Outcome::TooLarge) | Err(ReserveError::TooLarge) => {
            Value::Error("ERR string exceeds maximum allowed size")
        }
        Ok(Outcome::OutOfMemory) | Err(ReserveError::OutOfMemory) => Value::Error(OUT_OF_MEMORY),
        Ok(Outcome::NotStored | Outcome::Exists | Outcome::NotFound) => commands.null(),
    }
}

/// Redis' answer when memory is full.
pub(super) const OUT_OF_MEMORY: &str = "OOM command not allowed when used memory > 'maxmemory'.";

const _: () = assert!(KEY_MAX_BYTES == 250, "the text of an error says so");

/// Stores a whole value.
pub(super) fn store(
    commands: &Commands,
    key: &[u8],
    value: &[u8],
    flags: u32,
    exptime: u32,
    now: u32,
    commit: &Commit,
) -> Result<Outcome, ReserveError> {
    let store = commands.store();
    // A text command of memcached cannot carry such a key: its meta commands encode it.
    let binary_key = key.iter().any(|byte| *byte <= b' ' || *byte == 0x7f);
    let new = NewItem { key, flags, exptime, value_bytes: value.len(), binary_key };
    let mut reservation = store.reserve(&new, now)?;
    reservation.write(value);
    Ok(store.commit(reservation, commit, now))
}

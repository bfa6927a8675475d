//! INCR, DECR, INCRBY and DECRBY count with signed 64-bit numbers, unlike memcached's counters. The
//! value is replaced by compare-and-swap. If another client changed it meanwhile, the command
//! retries.

use super::codec::{Resp, Value, number};
use super::commands::{Arguments, Commands, is_key, now};
use super::set::{self, OUT_OF_MEMORY};
use crate::app::codec::Call;
use crate::store::{Commit, Mode, Outcome, ReserveError};

const NOT_A_NUMBER: &str = "ERR value is not an integer or out of range";

/// Adds `delta`.
pub(super) fn run(
    commands: &Commands,
    words: &mut Arguments<'_>,
    delta: i64,
    call: &mut Call<'_, Resp>,
) {
    let Some(key) = words.next() else { return };
    let answer = match add(commands, key, delta, now(call)) {
        Ok(number) => Value::Integer(number),
        Err(error) => Value::Error(error),
    };
    call.answer(answer);
}

/// INCRBY.
pub(super) fn increment(commands: &Commands, words: &mut Arguments<'_>, call: &mut Call<'_, Resp>) {
    by(commands, words, call, Some);
}

/// DECRBY.
pub(super) fn decrement(commands: &Commands, words: &mut Arguments<'_>, call: &mut Call<'_, Resp>) {
    by(commands, words, call, i64::checked_neg);
}

fn by(
    commands: &Commands,
    words: &mut Arguments<'_>,
    call: &mut Call<'_, Resp>,
    delta: fn(i64) -> Option<i64>,
) {
    let (Some(key), Some(text)) = (words.next(), words.next()) else { return };
    match number(text).map(delta) {
        None => call.answer(Value::Error(NOT_A_NUMBER)),
        Some(None) => call.answer(Value::Error("ERR decrement would overflow")),
        Some(Some(delta)) => run(commands, &mut std::iter::once(key), delta, call),
    }
}

/// Adds `delta` to the number under `key`. A missing item counts as 0.
fn add(commands: &Commands, key: &[u8], delta: i64, now: u32) -> Result<i64, &'static str> {
    if !is_key(key) {
        return Err("ERR invalid key: must have 1 to 250 bytes");
    }
    loop {
        let old = commands.store().get(key, now);
        let (value, meta) = match &old {
            Some(item) => (number(item.value()).ok_or(NOT_A_NUMBER)?, Some(item.meta())),
            None => (0, None),
        };
        let sum = value.checked_add(delta).ok_or("ERR increment or decrement would overflow")?;
        let (flags, exptime) = meta.map_or((0, 0), |meta| (meta.flags, meta.exptime));
        let commit = match meta {
            Some(meta) => Commit { compare: Some(meta.cas), ..Commit::default() },
            None => Commit { mode: Mode::Add, ..Commit::default() },
        };
        let text = sum.to_string();
        drop(old);
        match set::store(commands, key, text.as_bytes(), flags, exptime, now, &commit) {
            Ok(Outcome::Stored { .. }) => return Ok(sum),
            Ok(Outcome::TooLarge) | Err(ReserveError::TooLarge) => return Err(NOT_A_NUMBER),
            Ok(Outcome::OutOfMemory) | Err(ReserveError::OutOfMemory) => return Err(OUT_OF_MEMORY),
            // Another client changed the item meanwhile.
            Ok(Outcome::NotStored | Outcome::Exists | Outcome::NotFound) => {}
        }
    }
}

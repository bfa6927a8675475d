//! Executes the commands.

use super::codec::{Command, Resp, Value};
use super::hello::{self, Protocol};
use super::{count, set};
use crate::app::Bytes;
use crate::app::codec::{Call, Service};
use crate::handler::Seconds;
use crate::store::{Delete, KEY_MAX_BYTES, Outcome, Store};
use std::sync::Arc;

/// Bytes of arguments that an error message repeats.
const REPEATED_MAX_BYTES: usize = 128;

/// The commands over a store, for one worker.
#[derive(Debug)]
pub struct Commands {
    store: Arc<Store>,
    /// The version that the client of the current command speaks.
    protocol: Protocol,
}

/// A command: its name, its number of words with the name, and its function.
struct Entry {
    name: &'static str,
    /// The minimum and maximum number of words.
    words: (usize, usize),
    run: fn(&Commands, &mut Arguments<'_>, &mut Call<'_, Resp>),
}

/// The arguments of a command, in order.
pub(super) type Arguments<'a> = dyn Iterator<Item = &'a [u8]> + 'a;

const MANY: usize = usize::MAX;

#[rustfmt::skip]
static COMMANDS: [Entry; 12] = [
    Entry { name: "get", words: (2, 2), run: Commands::get },
    Entry { name: "set", words: (3, MANY), run: set::run },
    Entry { name: "del", words: (2, MANY), run: Commands::del },
    Entry { name: "exists", words: (2, MANY), run: Commands::exists },
    Entry { name: "incr", words: (2, 2), run: |it, words, call| count::run(it, words, 1, call) },
    Entry { name: "decr", words: (2, 2), run: |it, words, call| count::run(it, words, -1, call) },
    Entry { name: "incrby", words: (3, 3), run: count::increment },
    Entry { name: "decrby", words: (3, 3), run: count::decrement },
    Entry { name: "ttl", words: (2, 2), run: Commands::ttl },
    Entry { name: "ping", words: (1, 2), run: Commands::ping },
    Entry { name: "echo", words: (2, 2), run: Commands::echo },
    Entry { name: "quit", words: (1, MANY), run: Commands::quit },
];

impl Commands {
    /// The commands over `store`.
    pub fn new(store: Arc<Store>) -> Commands {
        Commands { store, protocol: Protocol::default() }
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    pub(super) fn null(&self) -> Value<'static> {
        self.protocol.null()
    }

    fn get(&self, words: &mut Arguments<'_>, call: &mut Call<'_, Resp>) {
        let item =
            words.next().filter(|key| is_key(key)).and_then(|key| self.store.get(key, now(call)));
        call.answer(match item.map(|item| Bytes::of_item(&self.store, item)) {
            Some(Some(value)) => Value::Shared(value),
            Some(None) => Value::Error(set::OUT_OF_MEMORY),
            None => self.null(),
        });
    }

    fn del(&self, words: &mut Arguments<'_>, call: &mut Call<'_, Resp>) {
        let now = now(call);
        let is_deleted = |key: &&[u8]| {
            let deleted = self.store.delete(key, &Delete::default(), now);
            matches!(deleted, Outcome::Stored { .. })
        };
        let count = words.filter(|key| is_key(key)).filter(is_deleted).count();
        call.answer(Value::Integer(count as i64));
    }

    fn exists(&self, words: &mut Arguments<'_>, call: &mut Call<'_, Resp>) {
        let now = now(call);
        let is_there = |key: &&[u8]| self.store.peek(key, now).is_some();
        let count = words.filter(|key| is_key(key)).filter(is_there).count();
        call.answer(Value::Integer(count as i64));
    }

    fn ttl(&self, words: &mut Arguments<'_>, call: &mut Call<'_, Resp>) {
        let now = now(call);
        let item = words.next().filter(|key| is_key(key)).and_then(|key| self.store.peek(key, now));
        call.answer(Value::Integer(match item.map(|item| item.meta().exptime) {
            None => -2,
            Some(0) => -1,
            Some(exptime) => i64::from(exptime.saturating_sub(now)),
        }));
    }

    fn ping(&self, words: &mut Arguments<'_>, call: &mut Call<'_, Resp>) {
        call.answer(words.next().map_or(Value::Simple("PONG"), Value::Bulk));
    }

    fn echo(&self, words: &mut Arguments<'_>, call: &mut Call<'_, Resp>) {
        call.answer(words.next().map_or(self.null(), Value::Bulk));
    }

    fn quit(&self, _: &mut Arguments<'_>, call: &mut Call<'_, Resp>) {
        call.answer(Value::Simple("OK"));
        call.close();
    }
}

impl Service<Resp> for Commands {
    type Session = Protocol;

    fn call(&mut self, protocol: &mut Protocol, command: Command<'_>, call: &mut Call<'_, Resp>) {
        let count = command.len();
        let mut words = command.words();
        let Some(name) = words.next() else { return };
        if name.eq_ignore_ascii_case(b"hello") {
            *protocol = hello::run(*protocol, &mut words, call);
            return;
        }
        self.protocol = *protocol;
        let entry = COMMANDS.iter().find(|entry| name.eq_ignore_ascii_case(entry.name.as_bytes()));
        let Some(Entry { name, words: (least, most), run }) = entry else {
            return call.answer(Value::Error(&unknown(name, words)));
        };
        if !(*least..=*most).contains(&count) {
            let text = format!("ERR wrong number of arguments for '{name}' command");
            return call.answer(Value::Error(&text));
        }
        run(self, &mut words, call);
    }

    fn malformed(&mut self, _: &mut Protocol, reason: &str, call: &mut Call<'_, Resp>) {
        call.answer(Value::Error(&format!("ERR {reason}")));
    }

    fn clock(&mut self, seconds: Seconds) {
        self.store.maintain(time(seconds));
    }

    fn is_sound(&self) -> bool {
        self.store.is_sound()
    }
}

/// The store's time.
pub(super) fn now(call: &Call<'_, Resp>) -> u32 {
    time(call.seconds())
}

fn time(seconds: Seconds) -> u32 {
    u32::try_from(seconds.steady).unwrap_or(u32::MAX)
}

/// Whether `key` is valid in the store.
pub(super) fn is_key(key: &[u8]) -> bool {
    (1..=KEY_MAX_BYTES).contains(&key.len())
}

/// Redis' answer to an unknown command.
fn unknown<'a>(name: &[u8], words: impl Iterator<Item = &'a [u8]>) -> String {
    let mut text = format!(
        "ERR unknown command '{}', with args beginning with: ",
        printable(&name[..name.len().min(REPEATED_MAX_BYTES)])
    );
    let start = text.len();
    for word in words {
        let left = REPEATED_MAX_BYTES.saturating_sub(text.len() - start);
        if left == 0 {
            break;
        }
        text.push_str(&format!("'{}' ", printable(&word[..word.len().min(left)])));
    }
    text
}

/// Removes line ends: an error is one line.
fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace(['\r', '\n'], " ")
}

//! The plain map: the expected items and the effect of each request.

use simoom_tcp::testing::Random;
use std::collections::HashMap;

const KEYS: u64 = 12;

#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    pub(super) value: Vec<u8>,
    pub(super) flags: u32,
    pub(super) exptime: u32,
    pub(super) cas: u64,
    pub(super) stale: bool,
    pub(super) token_sent: bool,
    /// The key was given in base64, and is told so.
    pub(super) binary_key: bool,
}

/// What the handler should know, and what it should answer.
pub(super) struct Model {
    pub(super) random: Random,
    pub(super) known: HashMap<String, Known>,
    pub(super) cas: u64,
    pub(super) now: u32,
    pub(super) flush_at: u32,
}

impl Model {
    /// Knows nothing yet.
    pub(super) fn new(seed: u64, now: u32) -> Model {
        Model { random: Random::new(seed), known: HashMap::new(), cas: 0, now, flush_at: u32::MAX }
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.random.below(end)
    }

    pub(super) fn key(&mut self) -> String {
        let number = self.below(KEYS);
        // A few long keys among short ones.
        format!("key{number}{}", "k".repeat((number % 4) as usize * 70))
    }

    pub(super) fn value(&mut self) -> Vec<u8> {
        match self.below(40) {
            0 => self.filler(1_000_000),
            1..=4 => self.filler(20_000),
            5..=20 => self.below(300).to_string().into_bytes(),
            _ => self.filler(300),
        }
    }

    pub(super) fn filler(&mut self, end: u64) -> Vec<u8> {
        let (len, first) = (self.below(end) as usize, self.below(26) as u8);
        (0..len).map(|at| b'a' + (first + (at % 17) as u8) % 26).collect()
    }

    /// As a request says it, and as a date.
    pub(super) fn exptime(&mut self) -> (i64, u32) {
        match self.below(8) {
            0 => (-1, 1),
            1..=3 => {
                let seconds = 1 + self.below(60) as u32;
                (seconds.into(), self.now + seconds)
            }
            4 => (i64::from(self.now) + 5, self.now + 5),
            _ => (0, 0),
        }
    }

    /// Yes, now and then.
    pub(super) fn chance(&mut self, in_thousand: u32) -> bool {
        self.random.chance(in_thousand)
    }

    /// A cas unique for a request to choose, or none.
    pub(super) fn cas_chosen(&mut self) -> Option<u64> {
        self.chance(300).then(|| 2_000_000 + self.below(1000))
    }

    /// A cas unique that is the item's, or is not.
    pub(super) fn compare(&mut self, key: &str) -> u64 {
        match self.find(key) {
            Some(known) if self.random.chance(600) => known.cas,
            _ => 1_000_000 + self.below(5),
        }
    }

    /// Time passes; what has expired is forgotten.
    pub(super) fn pass(&mut self, seconds: u32) {
        self.now += seconds;
        self.flush_if_due();
        let now = self.now;
        self.known.retain(|_, known| known.exptime == 0 || known.exptime > now);
    }

    pub(super) fn flush_if_due(&mut self) {
        if self.flush_at <= self.now {
            self.known.clear();
            self.flush_at = u32::MAX;
        }
    }

    pub(super) fn find(&self, key: &str) -> Option<Known> {
        self.known.get(key).cloned()
    }

    /// Stores under this cas unique, or one that is new; returns it.
    pub(super) fn put(&mut self, key: &str, known: Known, cas: Option<u64>) -> u64 {
        self.cas += u64::from(cas.is_none());
        let cas = cas.unwrap_or(self.cas);
        self.known.insert(key.to_owned(), Known { cas, ..known });
        self.pass(0);
        cas
    }

    /// What becomes of a value; `Ok` is its cas unique.
    pub(super) fn store(
        &mut self,
        how: &str,
        key: &str,
        new: Known,
        compare: Option<u64>,
        cas: Option<u64>,
    ) -> Result<u64, &'static str> {
        let old = self.find(key);
        let joined = |first: &[u8], second: &[u8], old: &Known| {
            let value = [first, second].concat();
            Known { value, stale: false, token_sent: false, ..old.clone() }
        };
        let known = match (how, old) {
            ("set" | "replace", None) if compare.is_some() => return Err("NOT_FOUND"),
            ("replace" | "append" | "prepend", None) | ("add", Some(_)) => {
                return Err("NOT_STORED");
            }
            (_, Some(old)) if compare.is_some_and(|cas| cas != old.cas) => return Err("EXISTS"),
            ("append", Some(old)) if old.value.len() + new.value.len() < 1_000_000 => {
                joined(&old.value, &new.value, &old)
            }
            ("prepend", Some(old)) if old.value.len() + new.value.len() < 1_000_000 => {
                joined(&new.value, &old.value, &old)
            }
            _ => new,
        };
        Ok(self.put(key, known, cas))
    }

    /// Whether a value may be joined to another without becoming too large.
    pub(super) fn may_join(&self, key: &str, value: &[u8]) -> bool {
        self.find(key).is_none_or(|old| old.value.len() + value.len() < 1_000_000)
    }

    /// The number counted on, and its cas unique.
    pub(super) fn count(
        &mut self,
        key: &str,
        delta: u64,
        decrement: bool,
        cas: Option<u64>,
    ) -> Option<Result<(u64, u64), ()>> {
        let old = self.find(key)?;
        let text = String::from_utf8(old.value.clone()).unwrap();
        // A number ends at the first blank, which another one may have left that something was
        // joined to since.
        let digits = text.split(' ').next().unwrap_or_default();
        let Ok(number) = digits.parse::<u64>() else { return Some(Err(())) };
        let number =
            if decrement { number.saturating_sub(delta) } else { number.wrapping_add(delta) };
        let value = format!("{number:<width$}", width = old.value.len()).into_bytes();
        let stays = value.len() == old.value.len();
        let (stale, token_sent) = (old.stale && stays, old.token_sent && stays);
        Some(Ok((number, self.put(key, Known { value, stale, token_sent, ..old }, cas))))
    }

    pub(super) fn touch(&mut self, key: &str, exptime: u32) -> bool {
        let found = self.known.get_mut(key).map(|known| known.exptime = exptime).is_some();
        self.pass(0);
        found
    }
}

//! The whole handler against a plain map: text, meta and binary requests on three connections to two workers with one
//! store, pipelines cut anywhere, values from nothing to nearly 1 MB, and a clock that only the test moves.
//!
//! SIMOOM_SEED=N repeats the run that failed, SIMOOM_RUNS=N makes more of them.

use super::*;
use crate::store::Settings;
use simoom_stack::testing::{Random, seeds};
use std::collections::HashMap;

const KEYS: u64 = 12;
/// Requests of a run.
const REQUESTS: usize = 600;

#[derive(Clone, Debug, Default)]
struct Known {
    value: Vec<u8>,
    flags: u32,
    exptime: u32,
    cas: u64,
    stale: bool,
    token_sent: bool,
}

/// What the handler should know, and what it should answer.
struct Model {
    random: Random,
    known: HashMap<String, Known>,
    cas: u64,
    now: u32,
    flush_at: u32,
}

/// A request, and its answer.
type Exchange = (Vec<u8>, Vec<u8>);

impl Model {
    fn below(&mut self, end: u64) -> u64 {
        self.random.below(end)
    }

    fn key(&mut self) -> String {
        let number = self.below(KEYS);
        // A few long keys among short ones.
        format!("key{number}{}", "k".repeat((number % 4) as usize * 70))
    }

    fn value(&mut self) -> Vec<u8> {
        match self.below(40) {
            0 => self.filler(1_000_000),
            1..=4 => self.filler(20_000),
            5..=20 => self.below(300).to_string().into_bytes(),
            _ => self.filler(300),
        }
    }

    fn filler(&mut self, end: u64) -> Vec<u8> {
        let (len, first) = (self.below(end) as usize, self.below(26) as u8);
        (0..len).map(|at| b'a' + (first + (at % 17) as u8) % 26).collect()
    }

    /// As a request says it, and as a date.
    fn exptime(&mut self) -> (i64, u32) {
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

    /// A cas unique that is the item's, or is not.
    fn compare(&mut self, key: &str) -> u64 {
        match self.find(key) {
            Some(known) if self.random.chance(600) => known.cas,
            _ => 1_000_000 + self.below(5),
        }
    }

    /// Time passes; what has expired is forgotten.
    fn pass(&mut self, seconds: u32) {
        self.now += seconds;
        self.flush_if_due();
        let now = self.now;
        self.known.retain(|_, known| known.exptime == 0 || known.exptime > now);
    }

    fn flush_if_due(&mut self) {
        if self.flush_at <= self.now {
            self.known.clear();
            self.flush_at = u32::MAX;
        }
    }

    fn find(&self, key: &str) -> Option<Known> {
        self.known.get(key).cloned()
    }

    /// Stores under a cas unique that is new; returns that.
    fn put(&mut self, key: &str, known: Known) -> u64 {
        self.cas += 1;
        self.known.insert(key.to_owned(), Known { cas: self.cas, ..known });
        self.pass(0);
        self.cas
    }

    /// What becomes of a value; `Ok` is its cas unique.
    fn store(&mut self, how: &str, key: &str, new: Known, compare: Option<u64>) -> Result<u64, &'static str> {
        let old = self.find(key);
        let joined = |first: &[u8], second: &[u8], old: &Known| {
            let value = [first, second].concat();
            Known { value, flags: old.flags, exptime: old.exptime, ..Known::default() }
        };
        let known = match (how, old) {
            ("set" | "replace", None) if compare.is_some() => return Err("NOT_FOUND"),
            ("replace" | "append" | "prepend", None) | ("add", Some(_)) => return Err("NOT_STORED"),
            (_, Some(old)) if compare.is_some_and(|cas| cas != old.cas) => return Err("EXISTS"),
            ("append", Some(old)) if old.value.len() + new.value.len() < 1_000_000 => {
                joined(&old.value, &new.value, &old)
            }
            ("prepend", Some(old)) if old.value.len() + new.value.len() < 1_000_000 => {
                joined(&new.value, &old.value, &old)
            }
            _ => new,
        };
        Ok(self.put(key, known))
    }

    /// Whether a value may be joined to another without becoming too large.
    fn may_join(&self, key: &str, value: &[u8]) -> bool {
        self.find(key).is_none_or(|old| old.value.len() + value.len() < 1_000_000)
    }

    /// The number counted on, and its cas unique.
    fn count(&mut self, key: &str, delta: u64, decrement: bool) -> Option<Result<(u64, u64), ()>> {
        let old = self.find(key)?;
        let text = String::from_utf8(old.value.clone()).unwrap();
        // A number ends at the first blank, which another one may have left that something was joined to since.
        let digits = text.split(' ').next().unwrap_or_default();
        let Ok(number) = digits.parse::<u64>() else { return Some(Err(())) };
        let number = if decrement { number.saturating_sub(delta) } else { number.wrapping_add(delta) };
        let value = format!("{number:<width$}", width = old.value.len()).into_bytes();
        let stays = value.len() == old.value.len();
        let (stale, token_sent) = (old.stale && stays, old.token_sent && stays);
        Some(Ok((number, self.put(key, Known { value, stale, token_sent, ..old }))))
    }

    fn text(&mut self) -> Exchange {
        let key = self.key();
        match self.below(10) {
            0..=3 => self.text_store(&key),
            4 | 5 => self.text_get(),
            6 => {
                let (delta, decrement) = (self.below(400), self.random.chance(500));
                let answer = match self.count(&key, delta, decrement) {
                    None => "NOT_FOUND\r\n".to_owned(),
                    Some(Err(())) => "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n".to_owned(),
                    Some(Ok((number, _))) => format!("{number}\r\n"),
                };
                let command = if decrement { "decr" } else { "incr" };
                (format!("{command} {key} {delta}\r\n").into(), answer.into())
            }
            7 => {
                let answer = if self.known.remove(&key).is_some() { "DELETED\r\n" } else { "NOT_FOUND\r\n" };
                (format!("delete {key}\r\n").into(), answer.into())
            }
            8 => {
                let (told, exptime) = self.exptime();
                let answer = if self.touch(&key, exptime) { "TOUCHED\r\n" } else { "NOT_FOUND\r\n" };
                (format!("touch {key} {told}\r\n").into(), answer.into())
            }
            _ => {
                let delay = self.below(40) as u32;
                self.flush_at = self.now + delay.saturating_sub(1);
                self.flush_if_due();
                (format!("flush_all {delay}\r\n").into(), b"OK\r\n".to_vec())
            }
        }
    }

    fn touch(&mut self, key: &str, exptime: u32) -> bool {
        let found = self.known.get_mut(key).map(|known| known.exptime = exptime).is_some();
        self.pass(0);
        found
    }

    fn text_store(&mut self, key: &str) -> Exchange {
        let (mut how, value) =
            (["set", "set", "add", "replace", "append", "prepend", "cas"][self.below(7) as usize], self.value());
        if !self.may_join(key, &value) {
            how = "set";
        }
        let ((told, exptime), flags) = (self.exptime(), self.below(1 << 32) as u32);
        let compare = (how == "cas").then(|| self.compare(key));
        let noreply = if self.random.chance(200) { " noreply" } else { "" };
        let unique = compare.map(|cas| format!(" {cas}")).unwrap_or_default();
        let line = format!("{how} {key} {flags} {told} {}{unique}{noreply}\r\n", value.len());
        let request = [line.as_bytes(), &value, b"\r\n"].concat();
        let new = Known { value, flags, exptime, ..Known::default() };
        let word = match self.store(if how == "cas" { "set" } else { how }, key, new, compare) {
            Ok(_) => "STORED",
            Err(word) => word,
        };
        (request, if noreply.is_empty() { format!("{word}\r\n").into() } else { vec![] })
    }

    fn text_get(&mut self) -> Exchange {
        let command = ["get", "gets", "gat", "gats"][self.below(4) as usize];
        let touch = command.starts_with("gat").then(|| self.exptime());
        let keys: Vec<String> = (0..=self.below(4)).map(|_| self.key()).collect();
        let mut answer = Vec::new();
        for key in &keys {
            let Some(known) = self.find(key) else { continue };
            let unique = if command.ends_with('s') { format!(" {}", known.cas) } else { String::new() };
            answer.extend(format!("VALUE {key} {} {}{unique}\r\n", known.flags, known.value.len()).into_bytes());
            answer.extend([&known.value[..], b"\r\n"].concat());
            touch.map(|(_, exptime)| self.touch(key, exptime));
        }
        answer.extend(b"END\r\n");
        let told = touch.map(|(told, _)| format!(" {told}")).unwrap_or_default();
        (format!("{command}{told} {}\r\n", keys.join(" ")).into(), answer)
    }

    fn meta(&mut self) -> Exchange {
        let key = self.key();
        match self.below(4) {
            0 => self.meta_set(&key),
            1 => self.meta_delete(&key),
            2 => self.meta_count(&key),
            _ => self.meta_get(&key),
        }
    }

    fn meta_set(&mut self, key: &str) -> Exchange {
        let (mut at, value) = (self.below(5) as usize, self.value());
        if !self.may_join(key, &value) {
            at = 0;
        }
        let (how, mode) = [("set", "S"), ("add", "E"), ("append", "A"), ("prepend", "P"), ("replace", "R")][at];
        let ((told, exptime), flags) = (self.exptime(), self.below(1 << 32) as u32);
        let compare = (how != "add" && self.random.chance(300)).then(|| self.compare(key));
        let unique = compare.map(|cas| format!(" C{cas}")).unwrap_or_default();
        let line = format!("ms {key} {} M{mode} F{flags} T{told}{unique} c k\r\n", value.len());
        let request = [line.as_bytes(), &value, b"\r\n"].concat();
        let answer = match self.store(how, key, Known { value, flags, exptime, ..Known::default() }, compare) {
            Ok(cas) => format!("HD c{cas} k{key}\r\n"),
            Err("NOT_STORED") => format!("NS c0 k{key}\r\n"),
            Err("NOT_FOUND") => format!("NF c0 k{key}\r\n"),
            Err(_) => format!("EX c0 k{key}\r\n"),
        };
        (request, answer.into())
    }

    fn meta_delete(&mut self, key: &str) -> Exchange {
        let compare = self.random.chance(300).then(|| self.compare(key));
        let (told, exptime) = self.exptime();
        let invalidates = self.random.chance(700);
        let answer = match self.find(key) {
            None => "NF",
            Some(known) if compare.is_some_and(|cas| cas != known.cas) => "EX",
            Some(known) if invalidates => {
                self.put(key, Known { exptime, stale: true, token_sent: false, ..known });
                "HD"
            }
            Some(_) => {
                self.known.remove(key);
                "HD"
            }
        };
        let unique = compare.map(|cas| format!(" C{cas}")).unwrap_or_default();
        let how = if invalidates { format!(" I T{told}") } else { String::new() };
        (format!("md {key} O5{unique}{how}\r\n").into(), format!("{answer} O5\r\n").into())
    }

    fn meta_count(&mut self, key: &str) -> Exchange {
        let (delta, decrement, initial) = (self.below(400), self.random.chance(500), self.below(1000));
        let created = match self.find(key) {
            Some(_) => None,
            None => Some(self.put(key, Known { value: initial.to_string().into(), ..Known::default() })),
        };
        let counted = match created {
            Some(cas) => Ok((initial, cas)),
            None => self.count(key, delta, decrement).expect("just seen"),
        };
        let answer = match counted {
            Ok((number, cas)) => format!("VA {} c{cas}\r\n{number}\r\n", number.to_string().len()),
            Err(()) => "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n".to_owned(),
        };
        let mode = if decrement { "MD" } else { "MI" };
        (format!("ma {key} {mode} D{delta} N0 J{initial} v c\r\n").into(), answer.into())
    }

    fn meta_get(&mut self, key: &str) -> Exchange {
        let (vivifies, recache) = (self.random.chance(300), self.below(60) as u32);
        let mut marks = String::new();
        if self.find(key).is_none() && vivifies {
            self.put(key, Known { exptime: self.now + 30, token_sent: true, ..Known::default() });
            marks.push_str(" W");
        } else if let Some(known) = self.known.get_mut(key) {
            let soon = known.exptime != 0 && known.exptime - self.now < recache;
            let won = !known.token_sent && (known.stale || soon);
            for (mark, is_set) in [(" Z", known.token_sent), (" X", known.stale), (" W", won)] {
                marks.push_str(if is_set { mark } else { "" });
            }
            known.token_sent |= won;
        }
        let answer = match self.find(key) {
            None => format!("EN O8 k{key}\r\n").into_bytes(),
            Some(Known { value, flags, exptime, cas, .. }) => {
                let ttl = if exptime == 0 { "-1".to_owned() } else { (exptime - self.now).to_string() };
                let head = format!("VA {} O8 k{key} f{flags} c{cas} t{ttl}{marks}\r\n", value.len());
                [head.as_bytes(), &value, b"\r\n"].concat()
            }
        };
        let vivify = if vivifies { " N30" } else { "" };
        (format!("mg {key} v O8 k f c{vivify} R{recache} t\r\n").into(), answer)
    }

    fn binary(&mut self) -> Exchange {
        let key = self.key();
        match self.below(8) {
            0 => {
                let answer = match self.find(&key) {
                    Some(known) => answer(0, 0, known.cas, &[&known.flags.to_be_bytes(), &known.value]),
                    None => answer(0, 1, 0, &[b"", b"Not found"]),
                };
                (packet(0, b"", key.as_bytes(), b"", 0), answer)
            }
            1 => {
                let answer = match self.find(&key) {
                    Some(known) => {
                        self.touch(&key, self.now + 50);
                        answer(29, 0, known.cas, &[&known.flags.to_be_bytes(), &known.value])
                    }
                    None => answer(29, 1, 0, &[b"", b"Not found"]),
                };
                (packet(29, &50u32.to_be_bytes(), key.as_bytes(), b"", 0), answer)
            }
            2 => {
                let compare = if self.random.chance(500) { self.compare(&key) } else { 0 };
                let answer = match self.find(&key) {
                    None => answer(4, 1, 0, &[b"", b"Not found"]),
                    Some(known) if compare != 0 && compare != known.cas => {
                        answer(4, 2, 0, &[b"", b"Data exists for key."])
                    }
                    Some(_) => {
                        self.known.remove(&key);
                        answer(4, 0, 0, &[])
                    }
                };
                (packet(4, b"", key.as_bytes(), b"", compare), answer)
            }
            3 => self.binary_count(&key),
            _ => self.binary_store(&key),
        }
    }

    fn binary_count(&mut self, key: &str) -> Exchange {
        let delta = self.below(400);
        let counted = self.count(key, delta, false);
        let answer = match counted {
            None => answer(5, 1, 0, &[b"", b"Not found"]),
            Some(Err(())) => answer(5, 6, 0, &[b"", b"Non-numeric server-side value for incr or decr"]),
            Some(Ok((number, cas))) => answer(5, 0, cas, &[b"", &number.to_be_bytes()]),
        };
        let extras = [&delta.to_be_bytes()[..], &[0; 8], &[0xff; 4]].concat();
        (packet(5, &extras, key.as_bytes(), b"", 0), answer)
    }

    fn binary_store(&mut self, key: &str) -> Exchange {
        let (how, opcode) = [("set", 1), ("add", 2), ("replace", 3)][self.below(3) as usize];
        let (value, flags, seconds) = (self.value(), self.below(1 << 32) as u32, self.below(60) as u32);
        let compare = (how == "set" && self.random.chance(300)).then(|| self.compare(key));
        let extras = [flags.to_be_bytes(), seconds.to_be_bytes()].concat();
        let request = packet(opcode, &extras, key.as_bytes(), &value, compare.unwrap_or(0));
        let exptime = if seconds == 0 { 0 } else { self.now + seconds };
        let is_there = self.find(key).is_some();
        let answer = match self.store(how, key, Known { value, flags, exptime, ..Known::default() }, compare) {
            Ok(cas) => answer(opcode, 0, cas, &[]),
            Err(_) if is_there => answer(opcode, 2, 0, &[b"", b"Data exists for key."]),
            Err(_) => answer(opcode, 1, 0, &[b"", b"Not found"]),
        };
        (request, answer)
    }
}

/// An answer of the binary protocol, with these extras and this value.
fn answer(opcode: u8, status: u16, cas: u64, parts: &[&[u8]]) -> Vec<u8> {
    let extras_len = parts.first().map_or(0, |extras| extras.len()) as u8;
    let body = parts.concat();
    let head = [&[0x81, opcode, 0, 0, extras_len, 0][..], &status.to_be_bytes()].concat();
    [&head, &(body.len() as u32).to_be_bytes()[..], b"opaq", &cas.to_be_bytes(), &body].concat()
}

/// A pipeline on one connection, cut anywhere; both are at the model's time.
fn exchange(line: &mut Line<Memcached>, model: &mut Model, next: fn(&mut Model) -> Exchange, seed: u64) -> usize {
    line.app.clock(model.now.into());
    let requests = 1 + model.below(12) as usize;
    let (asked, expected): (Vec<_>, Vec<_>) = (0..requests).map(|_| next(model)).unzip();
    let (input, expected) = (asked.concat(), expected.concat());
    let (mut answers, mut rest) = (Vec::new(), &input[..]);
    while !rest.is_empty() {
        let end = [20, 2000, 100_000][model.below(3) as usize];
        let (piece, behind) = rest.split_at(rest.len().min(1 + model.below(end) as usize));
        line.offer(piece);
        answers.extend(line.take());
        rest = behind;
    }
    if answers != expected || line.kept() != 0 {
        let told = |bytes: &[u8]| bytes[..bytes.len().min(400)].escape_ascii().to_string();
        let same = answers.iter().zip(&expected).take_while(|(a, b)| a == b).count().saturating_sub(40);
        let asked: Vec<String> = asked.iter().map(|request| told(request)).collect();
        panic!(
            "SIMOOM_SEED={seed}: behind\n  {}\n  answered …{}\n  expected …{}",
            asked.join("\n  "),
            told(&answers[same..]),
            told(&expected[same..])
        );
    }
    requests
}

#[test]
fn every_answer_is_that_of_a_plain_map() {
    for seed in seeds(4) {
        let settings = Settings { memory_bytes: 64 << 20, hash_key: Some([seed, 2]), ..Settings::default() };
        let options = Options { workers: 2, threads: 2, ..Options::default() };
        let shared = Shared::new(Store::new(&settings).unwrap(), options, NOW);
        let mut lines = [0, 1, 1].map(|worker| Line::open(Memcached::new(shared.clone(), worker, 4), 11211));
        let known = HashMap::new();
        let mut model = Model { random: Random::new(seed), known, cas: 0, now: NOW as u32, flush_at: u32::MAX };
        let mut done = 0;
        while done < REQUESTS {
            let at = model.below(3) as usize;
            let next = [Model::text, Model::meta, Model::binary][at];
            done += exchange(&mut lines[at], &mut model, next, seed);
            if model.random.chance(300) {
                let seconds = model.below(20) as u32;
                model.pass(seconds);
            }
        }
        assert_eq!(
            shared.store().statistics().evictions,
            0,
            "SIMOOM_SEED={seed}: the store forgot what it had room for"
        );
    }
}

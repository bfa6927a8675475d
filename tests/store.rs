//! The store beside the memcached that is installed: the same stream of requests, the same memory,
//! whose hit ratio is higher.
//!
//! A client gets, and sets what it misses. Keys are drawn from a Zipf distribution; each has its
//! own size and time to live, of which there are two mixes. `SIMOOM_HIT_RATIO_REQUESTS=3000000`
//! makes the runs longer than they are by default.
//!
//! The clock is the test's own: a second passes every [`REQUESTS_A_SECOND`] requests, however fast
//! the machine is. memcached cannot be given a clock, so the client deletes each item in the second
//! in which it expires. Both caches thus hold each item equally long, and only eviction tells them
//! apart.

#![allow(clippy::print_stdout, reason = "rows, seeds and the table are what tests are run for")]
#![allow(unreachable_pub, reason = "a test binary has no outside")]

#[path = "store/client.rs"]
mod client;
mod common;
#[path = "store/measured.rs"]
mod measured;

use common::zipf::{Random, Zipf};
use common::{Process, memcached, need_program};
use simoom::store::{Commit, NewItem, Settings, Store};
use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

const MEMORY_BYTES: u64 = 64 << 20;
const KEYS: usize = 300_000;
/// Requests of one round: all are asked for, then what was missed is set.
const ROUND: usize = 50;
/// Requests in a second of the test's clock.
const REQUESTS_A_SECOND: usize = 20_000;
/// When the test's clock begins, in seconds since 1970.
const START: u32 = 1_700_000_000;

fn requests() -> usize {
    let given = std::env::var("SIMOOM_HIT_RATIO_REQUESTS").ok();
    given.map_or(600_000, |text| text.parse().expect("SIMOOM_HIT_RATIO_REQUESTS is a number"))
}

/// What is asked for, besides how skewed that is.
struct Stream {
    name: &'static str,
    seed: u64,
    /// Of so many keys in a hundred the values have from so many bytes to so many.
    sizes: [(u64, u64, u64); 4],
    /// Each for a tenth of the keys, in seconds; 0 is for ever.
    ttls: [u32; 10],
}

const STREAMS: [Stream; 2] = [
    Stream {
        name: "values of 10 B to 100 kB, half of them for ever",
        seed: 42,
        sizes: [(60, 10, 200), (30, 200, 2000), (9, 2000, 10_000), (1, 10_000, 100_000)],
        ttls: [0, 0, 0, 0, 0, 3600, 3600, 300, 60, 2],
    },
    Stream {
        name: "small values, most of them for a short time",
        seed: 2026,
        sizes: [(50, 20, 100), (35, 100, 800), (14, 800, 4000), (1, 4000, 8000)],
        ttls: [0, 0, 600, 600, 60, 30, 10, 5, 3, 1],
    },
];

/// A key with its size and time to live, which it always has.
struct Key {
    number: usize,
    name: String,
    value_bytes: usize,
    ttl: u32,
}

impl Key {
    fn new(stream: &Stream, n: usize) -> Key {
        let mut random = Random::new(n as u64);
        let mut left = random.below(100);
        let size = stream.sizes.iter().find(|(percent, ..)| match left.checked_sub(*percent) {
            Some(rest) => {
                left = rest;
                false
            }
            None => true,
        });
        let (_, low, high) = size.expect("the parts are a hundred");
        let value_bytes = (low + random.below(high - low)) as usize;
        let ttl = stream.ttls[(random.below(10)) as usize];
        Key { number: n, name: format!("key:{n:08}"), value_bytes, ttl }
    }
}

/// Something that can be asked for keys and given values.
trait Cache {
    /// For each key whether it was there.
    fn get(&mut self, keys: &[&Key], now: u32) -> Vec<bool>;
    fn set(&mut self, keys: &[&Key], now: u32);
}

struct Simoom(std::sync::Arc<Store>, Vec<u8>);

impl Cache for Simoom {
    fn get(&mut self, keys: &[&Key], now: u32) -> Vec<bool> {
        self.0.maintain(now);
        keys.iter().map(|key| self.0.get(key.name.as_bytes(), now).is_some()).collect()
    }

    fn set(&mut self, keys: &[&Key], now: u32) {
        for key in keys {
            let exptime = if key.ttl == 0 { 0 } else { now + key.ttl };
            let value_bytes = key.value_bytes;
            let new = NewItem {
                key: key.name.as_bytes(),
                flags: 0,
                exptime,
                value_bytes,
                binary_key: false,
            };
            let mut reservation = self.0.reserve(&new, now).expect("nothing is pinned");
            reservation.write(&self.1[..value_bytes]);
            self.0.commit(reservation, &Commit::default(), now);
        }
    }
}

struct Memcached {
    _process: Process,
    stream: BufReader<UnixStream>,
    bytes: Vec<u8>,
    expiry: Expiry,
}

/// When each item expires.
struct Expiry {
    /// The second in which the key's item expires; 0 for never.
    exptimes: Vec<u32>,
    /// Keys whose items may expire in a second: one that was set again since expires later.
    due: BTreeMap<u32, Vec<usize>>,
}

impl Expiry {
    fn new() -> Expiry {
        Expiry { exptimes: vec![0; KEYS], due: BTreeMap::new() }
    }

    fn set(&mut self, key: &Key, now: u32) {
        let exptime = if key.ttl == 0 { 0 } else { now + key.ttl };
        self.exptimes[key.number] = exptime;
        if exptime > 0 {
            self.due.entry(exptime).or_default().push(key.number);
        }
    }

    /// Takes the keys whose items have expired by `now`.
    fn take(&mut self, now: u32) -> Vec<usize> {
        let later = self.due.split_off(&(now + 1));
        let due = std::mem::replace(&mut self.due, later);
        due.into_iter()
            .flat_map(|(exptime, keys)| keys.into_iter().map(move |key| (exptime, key)))
            .filter(|(exptime, key)| self.exptimes[*key] == *exptime)
            .map(|(_, key)| key)
            .collect()
    }
}

impl Memcached {
    fn start(directory: &Path) -> Memcached {
        let (process, stream) = memcached::start(directory, MEMORY_BYTES >> 20);
        Memcached { _process: process, stream, bytes: vec![b'v'; 100_000], expiry: Expiry::new() }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).expect("memcached reads");
    }
}

impl Cache for Memcached {
    fn get(&mut self, keys: &[&Key], now: u32) -> Vec<bool> {
        let expired = self.expiry.take(now);
        let deletes: String =
            expired.iter().map(|n| format!("delete key:{n:08} noreply\r\n")).collect();
        self.send(deletes.as_bytes());
        let names: Vec<_> = keys.iter().map(|key| key.name.as_str()).collect();
        self.send(format!("get {}\r\n", names.join(" ")).as_bytes());
        let mut found = vec![false; keys.len()];
        let (mut line, mut at) = (String::new(), 0);
        loop {
            line.clear();
            self.stream.read_line(&mut line).expect("memcached answers");
            let words: Vec<_> = line.split_ascii_whitespace().collect();
            match words[..] {
                ["END"] => return found,
                ["VALUE", name, _, bytes] => {
                    // Answers come in the order of the keys.
                    at += names[at..]
                        .iter()
                        .position(|asked| *asked == name)
                        .expect("it was asked for");
                    found[at] = true;
                    at += 1;
                    let bytes: usize = bytes.parse().expect("a length");
                    self.stream.read_exact(&mut vec![0; bytes + 2]).expect("the value");
                }
                _ => panic!("memcached answers {line:?}"),
            }
        }
    }

    fn set(&mut self, keys: &[&Key], now: u32) {
        let mut request = Vec::new();
        for key in keys {
            let Key { name, value_bytes, .. } = key;
            self.expiry.set(key, now);
            request
                .extend_from_slice(format!("set {name} 0 0 {value_bytes} noreply\r\n").as_bytes());
            request.extend_from_slice(&self.bytes[..*value_bytes]);
            request.extend_from_slice(b"\r\n");
        }
        self.send(&request);
    }
}

/// The outcome for one alpha.
struct Row {
    alpha: f64,
    simoom: f64,
    memcached: f64,
    /// Twice the standard error of the difference.
    error: f64,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Row { alpha, simoom, memcached, error } = self;
        let difference = 100.0 * (simoom - memcached);
        let (simoom, memcached, error) = (100.0 * simoom, 100.0 * memcached, 100.0 * error);
        write!(f, "{alpha:5}  {simoom:6.2} %  {memcached:9.2} %  {difference:+10.2} ± {error:.2}")
    }
}

/// Lets both caches answer the same requests; the first third only fills them.
fn compare(
    alpha: f64,
    seed: u64,
    keys: &[Key],
    simoom: &mut Simoom,
    memcached: &mut Memcached,
) -> Row {
    let zipf = Zipf::new(alpha, KEYS);
    let mut random = Random::new(seed);
    let rounds = requests() / ROUND;
    let mut hits: Vec<[f64; 2]> = Vec::new();
    for round in 0..rounds {
        let now = START + (round * ROUND / REQUESTS_A_SECOND) as u32;
        let asked: Vec<&Key> = (0..ROUND).map(|_| &keys[zipf.draw(&mut random)]).collect();
        let caches: [&mut dyn Cache; 2] = [simoom, memcached];
        let found = caches.map(|cache| {
            let found = cache.get(&asked, now);
            let missed =
                asked.iter().zip(&found).filter(|(_, found)| !**found).map(|(key, _)| *key);
            cache.set(&missed.collect::<Vec<_>>(), now);
            found.iter().filter(|found| **found).count() as f64 / ROUND as f64
        });
        if round >= rounds / 3 {
            hits.push(found);
        }
    }
    let count = hits.len() as f64;
    let [simoom, memcached] =
        [0, 1].map(|of| hits.iter().map(|found| found[of]).sum::<f64>() / count);
    let mean = simoom - memcached;
    let variance =
        hits.iter().map(|found| (found[0] - found[1] - mean).powi(2)).sum::<f64>() / count;
    Row { alpha, simoom, memcached, error: 2.0 * (variance / count).sqrt() }
}

#[test]
fn the_hit_ratio_is_at_least_that_of_memcached_at_equal_memory() {
    if !need_program("memcached") {
        return;
    }
    let mut table = Vec::new();
    let mut worse = Vec::new();
    for stream in &STREAMS {
        let keys: Vec<Key> = (0..KEYS).map(|n| Key::new(stream, n)).collect();
        table.push(stream.name.to_owned());
        table.push("alpha    simoom   memcached  difference (points)".to_owned());
        for alpha in [0.7, 0.9, 1.0, 1.2] {
            let directory = tempfile::tempdir().expect("a directory for the socket");
            let settings = Settings { memory_bytes: MEMORY_BYTES, ..Settings::default() };
            let mut simoom = Simoom(Store::new(&settings).expect("memory"), vec![b'v'; 100_000]);
            let mut memcached = Memcached::start(directory.path());
            let row = compare(alpha, stream.seed, &keys, &mut simoom, &mut memcached);
            table.push(row.to_string());
            table.push(format!("       {:?}", simoom.0.statistics()));
            if row.simoom + row.error < row.memcached {
                worse.push((stream.name, alpha));
            }
        }
    }
    println!("{}", table.join("\n"));
    assert!(worse.is_empty(), "memcached is better at {worse:?}:\n{}", table.join("\n"));
}

//! Hit ratios at equal memory: the store, memcached beside it if it is installed, and simulations
//! of LRU, S3-FIFO and W-TinyLFU as bounds.
//!
//! A client gets each key of a stream, and sets what it misses. Arguments: files with a request in
//! each line, `time,object,bytes`; public traces can be converted to it. Without a file the streams
//! are synthetic. `SIMOOM_MEMORY_MIB` sets the memory, 64 by default. memcached takes a page for
//! each size of items even above its limit, and its hash table is not within the limit, so the
//! pages that it took are printed.
//!
//! The simulations know sizes, but no fragments: an item costs its key, its value and 50 bytes.

#![allow(clippy::print_stdout, reason = "the table is what this program is run for")]

#[path = "../tests/common/mod.rs"]
mod common;

use common::zipf::{Random, Zipf};
use common::{Process, memcached, need_program};
use simoom::store::{NewItem, Settings, Store};
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

const NOW: u32 = 1_000_000;
const ITEM_MAX_BYTES: u64 = 1 << 20;
const KEY_BYTES: u64 = 12;
const OVERHEAD_BYTES: u64 = 50;

/// A key and the bytes of its value.
type Request = (u64, u64);

/// Whether the key was there. If not, it is set.
trait Cache {
    fn ask(&mut self, request: Request) -> bool;
}

struct Simoom(Arc<Store>, Vec<u8>);

impl Cache for Simoom {
    fn ask(&mut self, (key, bytes): Request) -> bool {
        let (name, value_bytes) = (name(key), bytes as usize);
        if self.0.get(name.as_bytes(), NOW).is_some() {
            return true;
        }
        let key = name.as_bytes();
        let new = NewItem { key, flags: 0, exptime: 0, value_bytes, binary_key: false };
        let _ = self.0.set(&new, &self.1[..value_bytes], NOW);
        false
    }
}

fn name(key: u64) -> String {
    format!("key:{key:08}")
}

struct Memcached {
    _process: Process,
    stream: BufReader<UnixStream>,
    value: Vec<u8>,
}

impl Memcached {
    fn start(memory_mib: u64) -> Option<Memcached> {
        if !need_program("memcached") {
            return None;
        }
        let directory = tempfile::tempdir().expect("a directory of our own");
        let (process, stream) = memcached::start(directory.path(), memory_mib);
        Some(Memcached { _process: process, stream, value: vec![b'v'; ITEM_MAX_BYTES as usize] })
    }

    fn pages_mib(&mut self) -> u64 {
        self.stream.get_mut().write_all(b"stats slabs\r\n").expect("memcached reads");
        let (mut line, mut bytes) = (String::new(), 0);
        while line != "END\r\n" {
            line.clear();
            self.stream.read_line(&mut line).expect("memcached answers");
            let malloced = line.strip_prefix("STAT total_malloced ");
            bytes = malloced.map_or(bytes, |number| number.trim().parse().expect("a number"));
        }
        bytes >> 20
    }
}

impl Cache for Memcached {
    fn ask(&mut self, (key, bytes): Request) -> bool {
        // Without the value: only whether the item is there counts.
        let (name, mut line) = (name(key), String::new());
        write!(self.stream.get_mut(), "mg {name}\r\n").expect("memcached reads");
        self.stream.read_line(&mut line).expect("memcached answers");
        if line.starts_with("HD") {
            return true;
        }
        let mut request = format!("set {name} 0 0 {bytes} noreply\r\n").into_bytes();
        request.extend_from_slice(&self.value[..bytes as usize]);
        request.extend_from_slice(b"\r\n");
        self.stream.get_mut().write_all(&request).expect("memcached reads");
        false
    }
}

/// Keys in order, with their sizes. A key that was removed or moved is skipped at the front.
#[derive(Default)]
struct Queue {
    order: VecDeque<(u64, u64)>,
    items: HashMap<u64, (u64, u64)>,
    bytes: u64,
    stamp: u64,
}

impl Queue {
    fn push(&mut self, key: u64, bytes: u64) {
        self.remove(key);
        self.stamp += 1;
        self.order.push_back((key, self.stamp));
        self.items.insert(key, (self.stamp, bytes));
        self.bytes += bytes;
    }

    fn remove(&mut self, key: u64) -> Option<u64> {
        let (_, bytes) = self.items.remove(&key)?;
        self.bytes -= bytes;
        Some(bytes)
    }

    fn front(&mut self) -> Option<u64> {
        while let Some((key, stamp)) = self.order.front() {
            if self.items.get(key).is_some_and(|(newest, _)| newest == stamp) {
                return Some(*key);
            }
            self.order.pop_front();
        }
        None
    }

    fn pop(&mut self) -> Option<(u64, u64)> {
        let key = self.front()?;
        Some((key, self.remove(key)?))
    }

    /// Moves a key to the end. Returns whether it was there.
    fn touch(&mut self, key: u64) -> bool {
        let bytes = self.remove(key);
        bytes.map(|bytes| self.push(key, bytes)).is_some()
    }
}

fn cost(bytes: u64) -> u64 {
    bytes + KEY_BYTES + OVERHEAD_BYTES
}

struct Lru {
    queue: Queue,
    memory: u64,
}

impl Cache for Lru {
    fn ask(&mut self, (key, bytes): Request) -> bool {
        if self.queue.touch(key) {
            return true;
        }
        self.queue.push(key, cost(bytes));
        while self.queue.bytes > self.memory {
            self.queue.pop();
        }
        false
    }
}

/// "FIFO queues are all you need for cache eviction" (SOSP 2023).
struct S3Fifo {
    small: Queue,
    main: Queue,
    ghost: Queue,
    uses: HashMap<u64, u8>,
    memory: u64,
}

impl S3Fifo {
    fn evict(&mut self) {
        if self.small.bytes * 10 > self.memory || self.main.bytes == 0 {
            let Some((key, bytes)) = self.small.pop() else { return };
            if self.uses.get(&key).is_some_and(|uses| *uses > 1) {
                self.uses.insert(key, 0);
                self.main.push(key, bytes);
            } else {
                self.uses.remove(&key);
                self.ghost.push(key, bytes);
                while self.ghost.bytes * 10 > self.memory * 9 {
                    self.ghost.pop();
                }
            }
        } else if let Some((key, bytes)) = self.main.pop() {
            match self.uses.get_mut(&key) {
                Some(uses @ 1..) => {
                    *uses -= 1;
                    self.main.push(key, bytes);
                }
                _ => _ = self.uses.remove(&key),
            }
        }
    }
}

impl Cache for S3Fifo {
    fn ask(&mut self, (key, bytes): Request) -> bool {
        if let Some(uses) = self.uses.get_mut(&key) {
            *uses = (*uses + 1).min(3);
            return true;
        }
        let is_known = self.ghost.remove(key).is_some();
        let queue = if is_known { &mut self.main } else { &mut self.small };
        queue.push(key, cost(bytes));
        self.uses.insert(key, 0);
        while self.small.bytes + self.main.bytes > self.memory {
            self.evict();
        }
        false
    }
}

/// "TinyLFU" (2017), with a window of 1 % and a segmented LRU.
struct WTinyLfu {
    window: Queue,
    probation: Queue,
    protected: Queue,
    counts: Vec<u8>,
    counted: usize,
    memory: u64,
}

impl WTinyLfu {
    fn places(&self, key: u64) -> [usize; 4] {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(key);
        std::array::from_fn(|n| {
            (hash.rotate_left(16 * n as u32) ^ n as u64) as usize % self.counts.len()
        })
    }

    fn count(&mut self, key: u64) {
        for place in self.places(key) {
            self.counts[place] = (self.counts[place] + 1).min(15);
        }
        self.counted += 1;
        if self.counted > self.counts.len() * 2 {
            self.counted = 0;
            self.counts.iter_mut().for_each(|count| *count /= 2);
        }
    }

    fn frequency(&self, key: u64) -> u8 {
        self.places(key).map(|place| self.counts[place]).into_iter().min().unwrap_or(0)
    }

    fn admit(&mut self, key: u64, bytes: u64) {
        let main = self.memory - self.memory / 100;
        while self.probation.bytes + self.protected.bytes + bytes > main {
            let from =
                if self.probation.bytes > 0 { &mut self.probation } else { &mut self.protected };
            let Some(victim) = from.front() else { return };
            if self.frequency(key) <= self.frequency(victim) {
                return;
            }
            self.probation.remove(victim);
            self.protected.remove(victim);
        }
        self.probation.push(key, bytes);
    }
}

impl Cache for WTinyLfu {
    fn ask(&mut self, (key, bytes): Request) -> bool {
        self.count(key);
        if self.window.touch(key) || self.protected.touch(key) {
            return true;
        }
        if let Some(bytes) = self.probation.remove(key) {
            self.protected.push(key, bytes);
            while self.protected.bytes > self.memory / 5 * 4 {
                let Some((key, bytes)) = self.protected.pop() else { break };
                self.probation.push(key, bytes);
            }
            return true;
        }
        self.window.push(key, cost(bytes));
        while self.window.bytes > self.memory / 100 {
            let Some((key, bytes)) = self.window.pop() else { break };
            self.admit(key, bytes);
        }
        false
    }
}

/// `count` requests for `keys` keys, the n-th in proportion to n^-alpha.
fn zipf(alpha: f64, keys: u64, count: usize, seed: u64) -> Vec<u64> {
    let (zipf, mut random) = (Zipf::new(alpha, keys as usize), Random::new(seed));
    (0..count).map(|_| zipf.draw(&mut random) as u64).collect()
}

/// Values of 10 to 10,000 bytes; each key always has the same.
fn mixed(key: u64) -> u64 {
    let mut random = Random::new(key);
    match random.below(100) {
        0..60 => 10 + random.below(190),
        60..90 => 200 + random.below(1800),
        _ => 2000 + random.below(8000),
    }
}

/// `passes` passes in the same order over keys from `first` on, of 200 bytes, that take `part`
/// percent of the memory.
fn passes(first: u64, memory: u64, part: u64, passes: usize) -> Vec<Request> {
    let keys = memory * part / 100 / cost(200);
    (0..passes).flat_map(|_| (first..first + keys).map(|key| (key, 200))).collect()
}

fn streams(memory: u64) -> Vec<(String, Vec<Request>)> {
    let keys = memory / 200;
    let count = 4 * keys as usize;
    let mut streams = Vec::new();
    for alpha in [0.7, 0.9, 1.0, 1.2] {
        let requests = zipf(alpha, keys, count, 1);
        streams.push((
            format!("Zipf {alpha}, 10 B to 10 kB"),
            requests.into_iter().map(|key| (key, mixed(key))).collect(),
        ));
    }
    let changed = [passes(0, memory, 150, 3), passes(1 << 32, memory, 85, 5)].concat();
    streams.push(("3 passes over 150 %, then 5 over 85 %".to_owned(), changed));
    for part in [90, 97, 105, 120] {
        streams.push((format!("8 passes over {part} %"), passes(0, memory, part, 8)));
    }
    let scans = zipf(1.0, keys, count, 2).into_iter().enumerate().map(|(n, key)| match n % 3 {
        0 => ((1 << 32) + n as u64, 200),
        _ => (key, mixed(key)),
    });
    streams.push(("Zipf 1.0, every third a new key".to_owned(), scans.collect()));
    let sizes = [100, 1000, 10_000, 100_000, 500_000, 100_000, 10_000, 1000, 100];
    let growth = sizes.iter().enumerate().flat_map(|(n, bytes)| {
        let keys = (2 * memory / cost(*bytes)).max(20);
        let requests = zipf(0.9, keys, (3 * keys as usize).max(400), n as u64);
        requests.into_iter().map(move |key| ((n as u64) << 32 | key, *bytes))
    });
    streams.push(("values grow from 100 B to 500 kB and shrink".to_owned(), growth.collect()));
    streams
}

fn file(path: &str) -> Vec<Request> {
    let text = std::fs::read_to_string(path).expect("the file of requests");
    let fields = text.lines().map(|line| line.split(',').map(str::trim).collect::<Vec<_>>());
    fields
        .filter_map(|fields| {
            let bytes: u64 = fields.get(2)?.parse().ok()?;
            Some((fields.get(1)?.parse().ok()?, bytes.min(ITEM_MAX_BYTES / 2)))
        })
        .collect()
}

fn ratio(cache: &mut dyn Cache, requests: &[Request]) -> String {
    let hits = requests.iter().filter(|request| cache.ask(**request)).count();
    format!("{:5.1}", 100.0 * hits as f64 / requests.len() as f64)
}

fn main() {
    let given = std::env::var("SIMOOM_MEMORY_MIB").ok();
    let memory_mib: u64 = given.map_or(64, |text| text.parse().expect("a number of MiB"));
    let memory = memory_mib << 20;
    let files: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let streams = match files.is_empty() {
        true => streams(memory),
        false => files.iter().map(|path| (path.clone(), file(path))).collect(),
    };
    println!(
        "| % of hits, {memory_mib} MiB | keys | Simoom | memcached | LRU | S3-FIFO | W-TinyLFU |"
    );
    println!("|---|---|---|---|---|---|---|");
    let is_quick = std::env::args().any(|word| word == "--quick");
    for (name, requests) in streams.iter().take(if is_quick { 1 } else { usize::MAX }) {
        let keys: HashSet<u64> = requests.iter().map(|(key, _)| *key).collect();
        let settings = Settings {
            memory_bytes: memory,
            item_max_bytes: ITEM_MAX_BYTES,
            ..Settings::default()
        };
        let store = Store::new(&settings).expect("memory");
        let simoom = ratio(&mut Simoom(store, vec![b'v'; ITEM_MAX_BYTES as usize]), requests);
        let memcached = Memcached::start(memory_mib).map_or("-".to_owned(), |mut memcached| {
            let ratio = ratio(&mut memcached, requests);
            format!("{ratio} in {} MiB", memcached.pages_mib())
        });
        let lru = ratio(&mut Lru { queue: Queue::default(), memory }, requests);
        let s3_fifo = ratio(
            &mut S3Fifo {
                small: Queue::default(),
                main: Queue::default(),
                ghost: Queue::default(),
                uses: HashMap::new(),
                memory,
            },
            requests,
        );
        let w_tiny_lfu = ratio(
            &mut WTinyLfu {
                window: Queue::default(),
                probation: Queue::default(),
                protected: Queue::default(),
                counts: vec![0; (memory / 50) as usize],
                counted: 0,
                memory,
            },
            requests,
        );
        println!(
            "| {name} | {} | {simoom} | {memcached} | {lru} | {s3_fifo} | {w_tiny_lfu} |",
            keys.len()
        );
    }
}

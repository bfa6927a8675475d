//! Hit ratios at equal memory: the store, memcached beside it if it is installed, and simulations
//! of LRU, S3-FIFO, W-TinyLFU and Segcache as bounds.
//!
//! A client gets each key of a stream, and sets what it misses. Arguments: files with a request in
//! each line, `time,object,bytes`; public traces can be converted to it. Without a file the streams
//! are synthetic. `SIMOOM_MEMORY_MIB` sets memcached's `-m`, 64 by default. memcached takes a page
//! for each size of items even above its limit, and its hash table is not within the limit. So
//! memcached runs first, and the others get the memory by which its resident set grew, as a whole:
//! Simoom's `--memory` bounds its tables, too. Without memcached they get `SIMOOM_MEMORY_MIB`.
//!
//! The simulations know sizes, but no fragments: an item costs its key, its value and 50 bytes.

#![allow(clippy::print_stdout, reason = "the table is what this program is run for")]

#[path = "../tests/common/mod.rs"]
mod common;

use common::zipf::{Random, Zipf};
use common::{Process, memcached, need_program};
use simoom::store::{NewItem, Settings, Store};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

/// When the streams begin, in Unix seconds.
const START: u32 = 1_000_000;
const ITEM_MAX_BYTES: u64 = 1 << 20;
const KEY_BYTES: u64 = 12;
const OVERHEAD_BYTES: u64 = 50;

/// A get of a key, and what is set if it is missing.
#[derive(Clone, Copy)]
struct Request {
    key: u64,
    bytes: u64,
    /// Time to live, in seconds; 0 means for ever.
    ttl: u32,
    /// Seconds that pass before the request.
    pause: u32,
}

fn request(key: u64, bytes: u64) -> Request {
    Request { key, bytes, ttl: 0, pause: 0 }
}

trait Cache {
    /// Whether the key was there. If not, it is set.
    fn ask(&mut self, request: Request) -> bool;
}

/// A simulation that knows no times to live: an expired item stays, but a request for it misses.
struct Expiring {
    cache: Box<dyn Cache>,
    now: u32,
    /// When the items expire that are not for ever.
    exptimes: HashMap<u64, u32>,
}

impl Cache for Expiring {
    fn ask(&mut self, request: Request) -> bool {
        self.now += request.pause;
        let is_there = self.cache.ask(request);
        let is_alive = self.exptimes.get(&request.key).is_none_or(|exptime| *exptime > self.now);
        if request.ttl > 0 && !(is_there && is_alive) {
            self.exptimes.insert(request.key, self.now + request.ttl);
        }
        is_there && is_alive
    }
}

struct Simoom {
    store: Arc<Store>,
    value: Vec<u8>,
    now: u32,
}

impl Simoom {
    fn new(memory_bytes: u64) -> Simoom {
        let settings =
            Settings { memory_bytes, item_max_bytes: ITEM_MAX_BYTES, ..Settings::default() };
        let store = Store::new(&settings).expect("memory");
        Simoom { store, value: vec![b'v'; ITEM_MAX_BYTES as usize], now: START }
    }
}

impl Cache for Simoom {
    fn ask(&mut self, Request { key, bytes, ttl, pause }: Request) -> bool {
        self.now += pause;
        let (name, value_bytes) = (name(key), bytes as usize);
        if self.store.get(name.as_bytes(), self.now).is_some() {
            return true;
        }
        let (key, exptime) = (name.as_bytes(), if ttl == 0 { 0 } else { self.now + ttl });
        let new = NewItem { key, flags: 0, exptime, value_bytes, binary_key: false };
        let _ = self.store.set(&new, &self.value[..value_bytes], self.now);
        false
    }
}

fn name(key: u64) -> String {
    format!("key:{key:08}")
}

struct Memcached {
    process: Process,
    /// Its resident set before the first request.
    empty_bytes: u64,
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
        let empty_bytes = resident_bytes(process.id());
        let value = vec![b'v'; ITEM_MAX_BYTES as usize];
        Some(Memcached { process, empty_bytes, stream, value })
    }

    /// Bytes by which its resident set grew.
    fn grown_bytes(&self) -> u64 {
        resident_bytes(self.process.id()) - self.empty_bytes
    }
}

fn resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

impl Cache for Memcached {
    fn ask(&mut self, Request { key, bytes, ttl, pause }: Request) -> bool {
        std::thread::sleep(Duration::from_secs(pause.into()));
        // Without the value: only whether the item is there counts.
        let (name, mut line) = (name(key), String::new());
        write!(self.stream.get_mut(), "mg {name}\r\n").expect("memcached reads");
        self.stream.read_line(&mut line).expect("memcached answers");
        if line.starts_with("HD") {
            return true;
        }
        let mut request = format!("set {name} 0 {ttl} {bytes} noreply\r\n").into_bytes();
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

impl Lru {
    fn new(memory: u64) -> Lru {
        Lru { queue: Queue::default(), memory }
    }
}

impl Cache for Lru {
    fn ask(&mut self, Request { key, bytes, .. }: Request) -> bool {
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
    fn new(memory: u64) -> S3Fifo {
        let [small, main, ghost] = Default::default();
        S3Fifo { small, main, ghost, uses: HashMap::new(), memory }
    }

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
    fn ask(&mut self, Request { key, bytes, .. }: Request) -> bool {
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
    fn new(memory: u64) -> WTinyLfu {
        let [window, probation, protected] = Default::default();
        let counts = vec![0; (memory / 50) as usize];
        WTinyLfu { window, probation, protected, counts, counted: 0, memory }
    }

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
    fn ask(&mut self, Request { key, bytes, .. }: Request) -> bool {
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

/// Parts of the memory that a segment takes, and segments that are merged into one.
const SEGMENTS: u64 = 256;
const MERGED: usize = 4;

/// "Segcache" (NSDI 2021): a chain of segments for each class of times to live. Expired segments
/// leave as a whole. If none is, some successive ones of a chain are merged into one that keeps the
/// items with the most hits for their size.
struct Segcache {
    chains: BTreeMap<u32, VecDeque<Segment>>,
    /// The hits of each item since it was written or merged, and its bytes.
    items: HashMap<u64, (u64, u64)>,
    used: u64,
    now: u32,
    /// The chain whose turn it is.
    turn: u32,
    memory: u64,
}

#[derive(Default)]
struct Segment {
    keys: Vec<u64>,
    bytes: u64,
    /// When its items have expired.
    exptime: u32,
}

impl Segcache {
    fn new(memory: u64) -> Segcache {
        let (chains, items) = (BTreeMap::new(), HashMap::new());
        Segcache { chains, items, used: 0, now: START, turn: 0, memory }
    }

    fn segment_bytes(&self) -> u64 {
        self.memory / SEGMENTS
    }

    fn write(&mut self, key: u64, bytes: u64, ttl: u32) {
        let (full, exptime) = (self.segment_bytes(), self.now.saturating_add(ttl));
        let chain = self.chains.entry((ttl + 1).next_power_of_two()).or_default();
        if chain.back().is_none_or(|last| last.bytes > 0 && last.bytes + bytes > full) {
            chain.push_back(Segment { exptime, ..Segment::default() });
        }
        let last = chain.back_mut().expect("just pushed");
        last.keys.push(key);
        (last.bytes, last.exptime) = (last.bytes + bytes, last.exptime.max(exptime));
        self.items.insert(key, (0, bytes));
        self.used += bytes;
    }

    /// Removes the segments of which all items have expired.
    fn expire(&mut self) {
        let chains = self.chains.iter_mut().filter(|(ttl, _)| **ttl > 1);
        for (_, chain) in chains {
            while chain.front().is_some_and(|first| first.exptime <= self.now) {
                let segment = chain.pop_front().expect("just seen");
                segment.keys.iter().for_each(|key| _ = self.items.remove(key));
                self.used -= segment.bytes;
            }
        }
    }

    /// Merges segments at the front of the next chain. What is kept takes their place.
    fn merge(&mut self) {
        let turns = self.chains.iter().filter(|(_, chain)| !chain.is_empty()).map(|(ttl, _)| *ttl);
        let turns: Vec<u32> = turns.collect();
        self.turn = *turns.iter().find(|ttl| **ttl > self.turn).unwrap_or(&turns[0]);
        let chain = self.chains.get_mut(&self.turn).expect("it has segments");
        let count = MERGED.min(chain.len().saturating_sub(1)).max(1);
        let merged: Vec<Segment> = chain.drain(..count).collect();
        self.used -= merged.iter().map(|segment| segment.bytes).sum::<u64>();
        let mut keys: Vec<u64> = merged.iter().flat_map(|segment| segment.keys.clone()).collect();
        let hits = |key: &u64| self.items[key].0 as f64 / self.items[key].1 as f64;
        keys.sort_by(|a, b| hits(b).total_cmp(&hits(a)));
        let exptime = merged.iter().map(|segment| segment.exptime).max().unwrap_or(0);
        let mut kept = Segment { exptime, ..Segment::default() };
        for key in keys {
            let (hits, bytes) = self.items[&key];
            if hits == 0 || count == 1 || kept.bytes + bytes > self.memory / SEGMENTS {
                self.items.remove(&key);
                continue;
            }
            self.items.insert(key, (0, bytes));
            kept.keys.push(key);
            kept.bytes += bytes;
        }
        self.used += kept.bytes;
        // Merged segments go behind the others: each is merged once in a pass over the chain.
        let chain = self.chains.get_mut(&self.turn).expect("it has segments");
        let at = chain.len().saturating_sub(1);
        if !kept.keys.is_empty() {
            chain.insert(at, kept);
        }
    }
}

impl Cache for Segcache {
    fn ask(&mut self, Request { key, bytes, ttl, pause }: Request) -> bool {
        self.now += pause;
        if let Some((hits, _)) = self.items.get_mut(&key) {
            *hits += 1;
            return true;
        }
        self.write(key, cost(bytes), ttl);
        if pause > 0 || self.used > self.memory {
            self.expire();
        }
        while self.used > self.memory {
            self.merge();
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
    (0..passes).flat_map(|_| (first..first + keys).map(|key| request(key, 200))).collect()
}

fn streams(memory: u64) -> Vec<(String, Vec<Request>)> {
    let keys = memory / 200;
    let count = 4 * keys as usize;
    let mut streams = Vec::new();
    for alpha in [0.7, 0.9, 1.0, 1.2] {
        let requests = zipf(alpha, keys, count, 1);
        streams.push((
            format!("Zipf {alpha}, 10 B to 10 kB"),
            requests.into_iter().map(|key| request(key, mixed(key))).collect(),
        ));
    }
    let changed = [passes(0, memory, 150, 3), passes(1 << 32, memory, 85, 5)].concat();
    streams.push(("3 passes over 150 %, then 5 over 85 %".to_owned(), changed));
    for part in [90, 97, 105, 120] {
        streams.push((format!("8 passes over {part} %"), passes(0, memory, part, 8)));
    }
    let scans = zipf(1.0, keys, count, 2).into_iter().enumerate().map(|(n, key)| match n % 3 {
        0 => request((1 << 32) + n as u64, 200),
        _ => request(key, mixed(key)),
    });
    streams.push(("Zipf 1.0, every third a new key".to_owned(), scans.collect()));
    let sizes = [100, 1000, 10_000, 100_000, 500_000, 100_000, 10_000, 1000, 100];
    let growth = sizes.iter().enumerate().flat_map(|(n, bytes)| {
        let keys = (2 * memory / cost(*bytes)).max(20);
        let requests = zipf(0.9, keys, (3 * keys as usize).max(400), n as u64);
        requests.into_iter().map(move |key| request((n as u64) << 32 | key, *bytes))
    });
    streams.push(("values grow from 100 B to 500 kB and shrink".to_owned(), growth.collect()));
    streams.push(("values of 200 B to 1/80 of the memory".to_owned(), wide(memory)));
    streams.push(("Zipf 1.0 with bursts of TTL 10 s".to_owned(), bursts(memory)));
    streams
}

/// Keys whose values take 1.2 times the memory, the first more often.
fn wide(memory: u64) -> Vec<Request> {
    let (bytes_max, keys) = (memory as f64 / 80.0, 800.0);
    let bytes = |key| (200.0 * (bytes_max / 200.0).powf(Random::new(key).unit())) as u64;
    let mut random = Random::new(3);
    let keys = (0..30_000).map(|_| (keys * random.unit().powi(2)) as u64);
    keys.map(|key| request(key, bytes(key))).collect()
}

/// A working set of half the memory for ever, and now and then new keys for a short time, of as
/// many bytes as the memory, all of which have expired when the next requests come.
fn bursts(memory: u64) -> Vec<Request> {
    let (keys, ttl) = (memory / 2 / cost(200), 10);
    let working_set = zipf(1.0, keys, 15 * keys as usize, 4);
    let burst = |n: u64| {
        let first = (n + 1) << 32;
        (first..first + memory / cost(200)).map(move |key| Request { ttl, ..request(key, 200) })
    };
    let part = |(n, keys): (usize, &[u64])| {
        let mut part: Vec<Request> = keys.iter().map(|key| request(*key, 200)).collect();
        part[0].pause = if n == 0 { 0 } else { ttl + 1 };
        part.extend(burst(n as u64));
        part
    };
    working_set.chunks(5 * keys as usize).enumerate().flat_map(part).collect()
}

fn file(path: &str) -> Vec<Request> {
    let text = std::fs::read_to_string(path).expect("the file of requests");
    let fields = text.lines().map(|line| line.split(',').map(str::trim).collect::<Vec<_>>());
    fields
        .filter_map(|fields| {
            let bytes: u64 = fields.get(2)?.parse().ok()?;
            Some(request(fields.get(1)?.parse().ok()?, bytes.min(ITEM_MAX_BYTES / 2)))
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
        "| % of hits, memcached -m {memory_mib} | keys | memory | Simoom | memcached | LRU | \
         S3-FIFO | W-TinyLFU | Segcache |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let is_quick = std::env::args().any(|word| word == "--quick");
    for (name, requests) in streams.iter().take(if is_quick { 1 } else { usize::MAX }) {
        print_row(name, requests, memory_mib);
    }
}

fn print_row(name: &str, requests: &[Request], memory_mib: u64) {
    let keys: HashSet<u64> = requests.iter().map(|request| request.key).collect();
    let (memcached, memory) = match Memcached::start(memory_mib) {
        Some(mut memcached) => (ratio(&mut memcached, requests), memcached.grown_bytes()),
        None => ("-".to_owned(), memory_mib << 20),
    };
    let expiring = |cache: Box<dyn Cache>| {
        ratio(&mut Expiring { cache, now: START, exptimes: HashMap::new() }, requests)
    };
    println!(
        "| {name} | {} | {:.1} MiB | {} | {memcached} | {} | {} | {} | {} |",
        keys.len(),
        memory as f64 / f64::from(1 << 20),
        ratio(&mut Simoom::new(memory), requests),
        expiring(Box::new(Lru::new(memory))),
        expiring(Box::new(S3Fifo::new(memory))),
        expiring(Box::new(WTinyLfu::new(memory))),
        expiring(Box::new(Segcache::new(memory))),
    );
}

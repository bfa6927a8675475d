//! What the store keeps of what it was given, seen through the protocol, beside memcached.
//!
//! Each test is one row of a table. By default it runs in small, against Simoom alone, and asserts
//! what must hold. With `SIMOOM_STORE_TABLE=1` it runs with 64 MiB and prints its row for Simoom
//! and for the memcached that is installed:
//!
//! ```sh
//! SIMOOM_STORE_TABLE=1 cargo test --release --test store measured -- --test-threads 1 --nocapture
//! ```

use super::Random;
use super::client::{Client, Target};
use crate::common::{need_program, seed, wait_until};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

const SMALL_BYTES: u64 = 8 << 20;
const TABLE_BYTES: u64 = 64 << 20;

/// Runs one row: in small against Simoom, or as a table against both. `measure` gets the factor by
/// which the memory is larger than in small, and returns the row's text.
fn row(name: &str, measure: impl Fn(&Target, usize) -> String) {
    if std::env::var_os("SIMOOM_STORE_TABLE").is_none() {
        println!("{name}: {}", measure(&Target::simoom(SMALL_BYTES), 1));
        return;
    }
    let scale = (TABLE_BYTES / SMALL_BYTES) as usize;
    let simoom = measure(&Target::simoom(TABLE_BYTES), scale);
    let memcached = match need_program("memcached") {
        true => measure(&Target::memcached(TABLE_BYTES), scale),
        false => "-".to_owned(),
    };
    println!("| {name} | {memcached} | {simoom} |");
}

/// As [`row`], over a network: in small against Simoom in this process. With
/// `SIMOOM_STORE_SECONDS=60` it prints a row for memcached over TCP, and for Simoom over io_uring
/// and over AF_XDP, and once more with the memory by which memcached grew. `measure` also returns
/// whether what must hold of Simoom held. All rows are printed before that is asserted.
fn row_over_network(
    name: &str,
    measure: impl Fn(&Target, usize, Option<Duration>) -> (String, bool),
) {
    let Ok(seconds) = std::env::var("SIMOOM_STORE_SECONDS") else {
        let (text, holds) = measure(&Target::simoom(SMALL_BYTES), 1, None);
        println!("{name}: {text}");
        return assert!(holds, "{text}");
    };
    let failed = RefCell::new(Vec::new());
    let time = Duration::from_secs(seconds.parse().expect("SIMOOM_STORE_SECONDS is a number"));
    let scale = (TABLE_BYTES / SMALL_BYTES) as usize;
    // Returns the bytes by which the resident set grew.
    let print = |of: &str, bytes: u64, target: Option<Target>| -> Option<u64> {
        let target = target?;
        let before = target.resident_bytes()?;
        let (text, holds) = measure(&target, scale, Some(time));
        println!("| {name}, {seconds} s, {of}, {} MiB | {text} |", bytes >> 20);
        if target.is_simoom() && !holds {
            failed.borrow_mut().push(format!("{of}, {} MiB: {text}", bytes >> 20));
        }
        Some(target.resident_bytes()? - before)
    };
    let mut grown = None;
    if need_program("memcached") {
        let target = Target::memcached_over_tcp(TABLE_BYTES);
        grown = print("memcached", TABLE_BYTES, target);
    }
    for (transport, bytes) in
        [("io-uring", Some(TABLE_BYTES)), ("xdp", Some(TABLE_BYTES)), ("xdp", grown)]
    {
        if let Some(bytes) = bytes {
            print(transport, bytes, Target::simoom_over(transport, bytes));
        }
    }
    assert!(failed.borrow().is_empty(), "{failed:?}");
}

fn percent(part: usize, all: usize) -> String {
    format!("{:.1} %", 100.0 * part as f64 / all as f64)
}

/// Eight connections get, and set what they miss; each looks again for what it was told is stored.
#[test]
fn stored_items_of_any_size_are_there_for_eight_connections() {
    const CONNECTIONS: usize = 8;
    let seed = seed();
    row("8 connections, values of 200 B to 800 KB: refused / missing / hits", |target, scale| {
        let mut clients: Vec<Client> = (0..CONNECTIONS).map(|_| target.connect()).collect();
        let mut random = Random::new(seed);
        // In small up to 100 KB, the same part of the memory.
        let bytes_max = 100_000.0 * scale as f64;
        let bytes_of = |key: u64| {
            let part = Random::new(key).unit();
            (200.0 * (bytes_max / 200.0).powf(part)) as usize
        };
        let value = vec![b'v'; bytes_max as usize + 1];
        // Twice what fits, the first keys more often.
        let keys = 800.0;
        let (mut refused, mut missing, mut sets, mut hits) = (0, 0, 0, 0);
        let rounds = 1500;
        for _ in 0..rounds {
            let drawn: Vec<u64> =
                clients.iter().map(|_| (keys * random.unit().powi(2)) as u64).collect();
            let names: Vec<String> = drawn.iter().map(|key| format!("key{key}")).collect();
            let mut missed = Vec::new();
            for (n, client) in clients.iter_mut().enumerate() {
                match client.get(&names[n]) {
                    true => hits += 1,
                    false => missed.push(n),
                }
            }
            for n in &missed {
                clients[*n].send_set(&names[*n], &value[..bytes_of(drawn[*n])]);
            }
            let is_stored = |n: &usize| clients[*n].line() == "STORED\r\n";
            let stored: Vec<usize> = missed.iter().copied().filter(is_stored).collect();
            sets += missed.len();
            refused += missed.len() - stored.len();
            missing += stored.iter().filter(|n| !clients[**n].get(&names[**n])).count();
        }
        let answer =
            format!("{refused} / {missing} of {sets} / {}", percent(hits, CONNECTIONS * rounds));
        assert!(!target.is_simoom() || refused + missing == 0, "{answer}");
        answer
    });
}

/// What one connection was told.
#[derive(Clone, Copy, Default)]
struct Told {
    gets: usize,
    hits: usize,
    sets: usize,
    refused: usize,
    missing: usize,
    /// Of these, before a sixteenth of the memory was written after them.
    lost: usize,
}

impl Told {
    fn add(self, other: Told) -> Told {
        Told {
            gets: self.gets + other.gets,
            hits: self.hits + other.hits,
            sets: self.sets + other.sets,
            refused: self.refused + other.refused,
            missing: self.missing + other.missing,
            lost: self.lost + other.lost,
        }
    }
}

/// As [`stored_items_of_any_size_are_there_for_eight_connections`], each connection at its own pace
/// and on a thread of its own.
#[test]
fn stored_items_are_there_while_others_store() {
    const CONNECTIONS: u64 = 8;
    let seed = seed();
    let name = "8 connections at once, values of 200 B to 800 KB: refused / missing, \
                of these the newest / hits";
    row_over_network(name, |target, scale, time| {
        let bytes_max = 100_000.0 * scale as f64;
        let bytes_of =
            |key: u64| (200.0 * (bytes_max / 200.0).powf(Random::new(key).unit())) as usize;
        let value = vec![b'v'; bytes_max as usize + 1];
        let (began, started, ended) = (Instant::now(), AtomicUsize::new(0), AtomicUsize::new(0));
        let goes_on = |gets| time.map_or(gets < 1500, |time| began.elapsed() < time);
        let ask = |client: &mut Client, mut random: Random| {
            let mut told = Told::default();
            while goes_on(told.gets) {
                let key = (1600.0 * random.unit().powi(2)) as u64;
                let name = format!("key{key}");
                told.gets += 1;
                if client.get(&name) {
                    told.hits += 1;
                    continue;
                }
                told.sets += 1;
                let bytes = bytes_of(key);
                // All that may be stored after this one: what started by the get, and had not ended
                // when this started.
                let before = ended.load(SeqCst);
                started.fetch_add(bytes, SeqCst);
                let is_stored = client.set(&name, &value[..bytes]);
                let is_there = is_stored && client.get(&name);
                let since = started.load(SeqCst) - before - bytes;
                ended.fetch_add(bytes, SeqCst);
                let is_newest = since < SMALL_BYTES as usize * scale / 16;
                told.refused += usize::from(!is_stored);
                told.missing += usize::from(is_stored && !is_there);
                told.lost += usize::from(is_stored && !is_there && is_newest);
            }
            told
        };
        let told: Vec<Told> = std::thread::scope(|scope| {
            let connections = (0..CONNECTIONS).map(|n| {
                let (mut client, random) = (target.connect(), Random::new(seed * CONNECTIONS + n));
                let ask = &ask;
                scope.spawn(move || ask(&mut client, random))
            });
            let connections: Vec<_> = connections.collect();
            connections.into_iter().map(|thread| thread.join().expect("answers")).collect()
        });
        let told = told.into_iter().fold(Told::default(), Told::add);
        let Told { gets, hits, sets, refused, missing, lost } = told;
        let answer =
            format!("{refused} / {missing}, {lost} of {sets} sets / {}", percent(hits, gets));
        (answer, refused + lost == 0)
    });
}

/// A small value, then `large` large ones, then a get of each: in a full memory, too.
fn just_stored(small: usize, large: usize, count: usize, rounds: usize) {
    let name = format!("a set of {small} B, then {count} of {large} B: the first / last missed");
    row(&name, |target, scale| {
        let mut client = target.connect();
        let parts = 8 / scale;
        let (small, large) = (vec![b's'; small / parts], vec![b'l'; large / parts]);
        let fills = (1.2 * SMALL_BYTES as f64 * scale as f64) as usize / (large.len() * count);
        let (mut missed, mut missed_large) = (0, 0);
        for round in 0..fills + rounds {
            let first = format!("first{round}");
            assert!(client.set(&first, &small));
            for n in 0..count {
                assert!(client.set(&format!("large{round}-{n}"), &large));
            }
            missed_large += usize::from(!client.get(&format!("large{round}-{}", count - 1)));
            missed += usize::from(round >= fills && !client.get(&first));
        }
        let answer = format!("{missed} / {missed_large} of {rounds}");
        assert!(!target.is_simoom() || missed + missed_large == 0, "{answer}");
        answer
    });
}

#[test]
fn what_was_just_stored_outlives_one_large_value() {
    just_stored(20_000, 500_000, 1, 446);
}

#[test]
fn what_was_just_stored_outlives_three_large_values() {
    just_stored(20_000, 500_000, 3, 248);
}

/// Three passes over keys A, then five over fewer keys B: the hit ratio of the last.
#[test]
fn a_changed_working_set_is_hit() {
    let least = [(200, 85), (100, 96), (1, 100)];
    for (bytes, percent_min) in least {
        row(&format!("working set changes, {bytes} B: B reaches"), |target, scale| {
            let (mut client, value) = (target.connect(), "v".repeat(bytes));
            let mut pass = |name: &str, keys: usize| {
                let keys: Vec<String> = (0..keys).map(|n| format!("{name}{n:08}")).collect();
                let mut hits = 0;
                for keys in keys.chunks(50) {
                    let found = client.are_there(keys);
                    hits += found.iter().filter(|found| **found).count();
                    let missed = keys.iter().zip(&found).filter(|(_, found)| !**found);
                    let missed: Vec<String> = missed.map(|(key, _)| key.clone()).collect();
                    client.set_all(&missed, 0, &value);
                }
                hits
            };
            (0..3).for_each(|_| _ = pass("a", 50_000 * scale));
            let keys = 30_000 * scale;
            let hits: Vec<usize> = (0..5).map(|_| pass("b", keys)).collect();
            let reached = percent(hits[4], keys);
            let is_reached = hits[4] * 100 >= keys * percent_min;
            assert!(!target.is_simoom() || is_reached, "{bytes} B: {hits:?} of {keys}");
            reached
        });
    }
}

#[test]
fn as_many_items_fit_as_in_memcached() {
    row("items of 1 B that fit", |target, scale| {
        let mut client = target.connect();
        let items = (0..).step_by(1000).find_map(|first| {
            let keys: Vec<String> = (first..first + 1000).map(|n| format!("k{n:08}")).collect();
            client.set_all(&keys, 0, "1");
            (client.stat("evictions") > 0).then(|| client.stat("curr_items"))
        });
        let items = items.expect("evictions") as usize;
        assert!(!target.is_simoom() || items >= 699_008 / 8 * scale, "{items}");
        items.to_string()
    });
}

#[test]
fn what_is_stored_after_a_flush_is_found() {
    row("one-byte items, flush_all, 3,000 sets of 100 B: missed", |target, scale| {
        let mut client = target.connect();
        let keys: Vec<String> = (0..62_500 * scale).map(|n| n.to_string()).collect();
        client.set_all(&keys, 0, "1");
        assert_eq!(client.ask("flush_all"), "OK\r\n");
        let keys: Vec<String> = (0..3000).map(|n| format!("new{n}")).collect();
        client.set_all(&keys, 0, &"y".repeat(100));
        let missed = client.are_there(&keys).into_iter().filter(|found| !found).count();
        assert!(!target.is_simoom() || missed == 0, "{missed}");
        missed.to_string()
    });
}

/// A dump while another connection writes, in turn.
#[test]
fn a_dump_lists_what_does_not_change_once() {
    let seed = seed();
    row("metadump beside writers, 20,000 constant keys: missing / twice", |target, _| {
        let (mut reader, mut writer) = (target.connect(), target.connect());
        let mut random = Random::new(seed);
        let key = |n: u64| format!("constant{n}");
        let constant: Vec<String> = (0..20_000).map(key).collect();
        writer.set_all(&constant, 0, "1");
        let mut found: HashMap<String, usize> = HashMap::new();
        reader.send(b"lru_crawler metadump all\r\n");
        loop {
            let line = reader.line();
            if line == "END\r\n" {
                break;
            }
            let dumped = line.strip_prefix("key=").and_then(|rest| rest.split(' ').next());
            *found.entry(dumped.unwrap_or_default().to_owned()).or_default() += 1;
            if random.below(16) == 0 {
                let keys: Vec<String> =
                    (0..100).map(|_| format!("changes{}", random.below(5000))).collect();
                writer.set_all(&keys, 0, &"w".repeat(random.below(300) as usize));
            }
        }
        let missing = constant.iter().filter(|key| !found.contains_key(*key)).count();
        let twice = constant.iter().filter(|key| found.get(*key).is_some_and(|n| *n > 1)).count();
        let answer = format!("{missing} / {twice}");
        assert!(!target.is_simoom() || missing + twice == 0, "{answer}");
        answer
    });
}

/// Items that expire are removed though nobody asks for them.
#[test]
fn expired_items_leave_by_themselves() {
    row("a full memory expires: until `bytes` tells it", |target, scale| {
        let mut client = target.connect();
        let keys: Vec<String> = (0..40_000 * scale).map(|n| format!("k{n}")).collect();
        client.set_all(&keys, 3, &"e".repeat(100));
        let (full, began) = (client.stat("bytes"), Instant::now());
        wait_until("the expired items have left", Duration::from_secs(120), || {
            client.stat("bytes") < full / 100
        });
        format!("{:.1} s after the last set, {full} B", began.elapsed().as_secs_f64())
    });
}

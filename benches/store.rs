//! The store alone: get and set of 100-byte values among 100,000 keys, on one thread and on two;
//! the items that fit, beside memcached; and the times of single sets while the store evicts.

#![allow(clippy::print_stdout, reason = "criterion reports neither counts nor percentiles")]

#[path = "../tests/common/mod.rs"]
mod common;

use common::{memcached, need_program};
use criterion::{Criterion, Throughput, criterion_group};
use simoom::store::{NewItem, Outcome, Settings, Store};
use std::hint::black_box;
use std::io::{BufRead, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const KEYS: usize = 100_000;
const NOW: u32 = 1_000_000;
const VALUE: [u8; 100] = [b'v'; 100];

fn keys(prefix: &str) -> Vec<Vec<u8>> {
    (0..KEYS).map(|n| format!("{prefix}:{n:010}").into_bytes()).collect()
}

fn set(store: &Store, key: &[u8]) {
    set_value(store, key, &VALUE);
}

fn set_value(store: &Store, key: &[u8], value: &[u8]) {
    let new = NewItem { key, flags: 0, exptime: 0, value_bytes: value.len(), binary_key: false };
    let outcome = black_box(store.set(&new, value, NOW));
    assert!(matches!(outcome, Ok(Outcome::Stored { .. })), "{outcome:?}");
}

fn store(memory_bytes: u64) -> Arc<Store> {
    Store::new(&Settings { memory_bytes, ..Settings::default() }).expect("memory")
}

/// Memory of the stores whose items are counted.
const FIT_BYTES: u64 = 64 << 20;

/// Items of one size that are stored before the first is evicted.
fn fit(value_bytes: usize) -> u64 {
    let (store, value) = (store(FIT_BYTES), vec![b'v'; value_bytes]);
    for n in 0.. {
        set_value(&store, format!("k{n:08}").as_bytes(), &value);
        // Statistics cost more than a set.
        if (n % 64 == 0 || value_bytes > 10_000) && store.statistics().evictions > 0 {
            return store.statistics().curr_items;
        }
    }
    0
}

/// As [`fit`], for the memcached that is installed.
fn fit_memcached(value_bytes: usize) -> Option<u64> {
    if !need_program("memcached") {
        return None;
    }
    let directory = tempfile::tempdir().expect("a directory of our own");
    let (_process, mut stream) = memcached::start(directory.path(), FIT_BYTES >> 20);
    let value = "v".repeat(value_bytes);
    (0..).step_by(64).find_map(|first| {
        let sets: String = (first..first + 64)
            .map(|n| format!("set k{n:08} 0 0 {value_bytes} noreply\r\n{value}\r\n"))
            .collect();
        stream.get_mut().write_all(format!("{sets}stats\r\n").as_bytes()).ok()?;
        let number = |line: &str, name| line.strip_prefix(name)?.trim().parse::<u64>().ok();
        let (mut items, mut evictions) = (0, 0);
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).ok()?;
            items = number(&line, "STAT curr_items ").unwrap_or(items);
            evictions = number(&line, "STAT evictions ").unwrap_or(evictions);
            if line == "END\r\n" {
                break;
            }
        }
        (evictions > 0).then_some(items)
    })
}

fn print_fit() {
    println!("items that fit in {} MiB, with keys of 9 bytes", FIT_BYTES >> 20);
    for bytes in [1, 10, 100, 1000, 100_000] {
        let (simoom, memcached) = (fit(bytes), fit_memcached(bytes));
        let overhead = FIT_BYTES as f64 / simoom as f64 - (bytes + 9) as f64;
        let memcached = memcached.map_or("-".to_owned(), |items| items.to_string());
        println!("{bytes:>7} B: {simoom:>7}, memcached {memcached:>7}; {overhead:.0} B more each");
    }
}

/// Times of single sets of new keys in a full store: each evicts.
fn print_times_of_sets() {
    const SETS: usize = 500_000;
    let store = store(FIT_BYTES);
    let keys: Vec<_> = (0..2 * SETS).map(|n| format!("k{n:08}").into_bytes()).collect();
    keys[..SETS].iter().for_each(|key| set(&store, key));
    let evictions = store.statistics().evictions;
    let mut times: Vec<Duration> = keys[SETS..]
        .iter()
        .map(|key| {
            let began = Instant::now();
            set(&store, key);
            began.elapsed()
        })
        .collect();
    times.sort_unstable();
    let at = |part: f64| times[(part * SETS as f64) as usize];
    let [median, p99, p999] = [at(0.5), at(0.99), at(0.999)];
    let evictions = store.statistics().evictions - evictions;
    println!(
        "{SETS} sets of new keys, {evictions} evictions: median {median:?}, 99 % {p99:?}, \
         99.9 % {p999:?}, {:.1} times the median, longest {:?}",
        p999.as_secs_f64() / median.as_secs_f64(),
        times[SETS - 1]
    );
}

/// Time that `threads` threads take for `count` calls each. Each call gets another number, in
/// scattered order.
fn timed(threads: usize, count: u64, call: &(impl Fn(usize) + Sync)) -> Duration {
    let go = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                let go = &go;
                scope.spawn(move || {
                    let mut at = thread * 7919;
                    while !go.load(Ordering::Acquire) {
                        std::hint::spin_loop();
                    }
                    let began = Instant::now();
                    for _ in 0..count {
                        call(at % KEYS);
                        at += 40_503;
                    }
                    began.elapsed()
                })
            })
            .collect();
        go.store(true, Ordering::Release);
        workers
            .into_iter()
            .map(|worker| worker.join().expect("no call panics"))
            .max()
            .expect("a thread")
    })
}

fn store_calls(c: &mut Criterion) {
    let store: Arc<Store> =
        Store::new(&Settings { memory_bytes: 256 << 20, workers: 2, ..Settings::default() })
            .expect("memory");
    let (there, missing) = (keys("key"), keys("none"));
    there.iter().for_each(|key| set(&store, key));
    let mut group = c.benchmark_group("store");
    for threads in [1, 2] {
        group.throughput(Throughput::Elements(threads as u64));
        let hit = |n: usize| drop(black_box(store.get(&there[n], NOW).expect("it was set")));
        let hot = |n: usize| drop(black_box(store.get(&there[n % 64], NOW).expect("it was set")));
        let miss = |n: usize| assert!(black_box(store.get(&missing[n], NOW)).is_none());
        let put = |n: usize| set(&store, &there[n]);
        group.bench_function(format!("get_hit_{threads}_threads"), |b| {
            b.iter_custom(|count| timed(threads, count, &hit));
        });
        group.bench_function(format!("get_hit_64_hot_keys_{threads}_threads"), |b| {
            b.iter_custom(|count| timed(threads, count, &hot));
        });
        group.bench_function(format!("get_miss_{threads}_threads"), |b| {
            b.iter_custom(|count| timed(threads, count, &miss));
        });
        group.bench_function(format!("set_{threads}_threads"), |b| {
            b.iter_custom(|count| timed(threads, count, &put));
        });
    }
    group.finish();
}

criterion_group!(benches, store_calls);

fn main() {
    print_fit();
    print_times_of_sets();
    benches();
    Criterion::default().configure_from_args().final_summary();
}

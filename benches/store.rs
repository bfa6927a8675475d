//! The store alone: get and set of 100-byte values among 100,000 keys, on one thread and on two.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use simoom::store::{Commit, NewItem, Settings, Store};
use std::hint::black_box;
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
    let new = NewItem { key, flags: 0, exptime: 0, value_bytes: VALUE.len(), binary_key: false };
    let mut reservation = store.reserve(&new, NOW).expect("nothing is pinned");
    reservation.write(&VALUE);
    black_box(store.commit(reservation, &Commit::default(), NOW));
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
criterion_main!(benches);

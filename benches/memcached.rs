//! The memcached handler and its store, in memory: parse requests, build responses, release their
//! ranges.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use simoom::app::memcached::Memcached;
use simoom::app::testing::{Line, memcached};
use std::hint::black_box;

/// Keys requested in turn: too many for the items to stay in the nearest cache.
const KEYS: usize = 10_000;

fn round(line: &mut Line<Memcached>, input: &[u8]) {
    let consumed = line.offer_in_place(black_box(input));
    assert_eq!(consumed, input.len());
    line.acknowledge(line.queued());
}

/// A handler with a store of [`KEYS`] values of `len` bytes.
fn filled(len: usize) -> Line<Memcached> {
    let mut line = Line::open(memcached(), 11211);
    for key in 0..KEYS {
        let set = format!("set key:{key:08} 0 0 {len} noreply\r\n{}\r\n", "x".repeat(len));
        round(&mut line, set.as_bytes());
    }
    line
}

fn each_key(request: impl Fn(usize) -> String) -> Vec<Vec<u8>> {
    // The step has no common divisor with KEYS, so it visits all keys, far apart.
    (0..KEYS).map(|index| request(index * 7919 % KEYS).into_bytes()).collect()
}

fn requests(c: &mut Criterion) {
    let mut group = c.benchmark_group("memcached");
    let value = "x".repeat(100);
    let ten = |key: usize| {
        (0..10).map(|step| format!(" key:{:08}", (key + step * 997) % KEYS)).collect::<String>()
    };
    let cases: [(&str, usize, Vec<Vec<u8>>); 6] = [
        ("get_100_bytes", 100, each_key(|key| format!("get key:{key:08}\r\n"))),
        ("get_300_bytes", 300, each_key(|key| format!("get key:{key:08}\r\n"))),
        ("get_700_bytes", 700, each_key(|key| format!("get key:{key:08}\r\n"))),
        ("mg_100_bytes", 100, each_key(|key| format!("mg key:{key:08} v t f\r\n"))),
        ("set_100_bytes", 100, each_key(|key| format!("set key:{key:08} 0 0 100\r\n{value}\r\n"))),
        ("get_10_keys_of_100_bytes", 100, each_key(|key| format!("get{}\r\n", ten(key)))),
    ];
    for (name, len, inputs) in cases {
        let mut line = filled(len);
        let mut inputs = inputs.iter().cycle();
        group.throughput(Throughput::Elements(1));
        group.bench_function(name, |b| {
            b.iter(|| round(&mut line, inputs.next().expect("it cycles")));
        });
    }
    group.finish();
}

criterion_group!(benches, requests);
criterion_main!(benches);

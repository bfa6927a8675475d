//! The stack alone, in memory: a request segment in, a response segment out, with 1 to 1,000,000
//! connections open and the requests spread over them in random order.
//!
//! What is timed is a worker's turn without its system calls: a burst of 64 segments received,
//! timers, flush. Making the requests is not. A response is acknowledged by the client's next
//! request or, when that has not come eight bursts later, by a segment of its own: 512 requests are
//! in flight. The first group leaves those segments out of the time, the second has them in. Memory
//! for each size is printed.

#![allow(clippy::print_stdout, reason = "memory is not a time, so criterion does not report it")]

mod turn;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::time;
use turn::Bench;

/// That of the program.
#[global_allocator]
static ALLOCATOR: simoom::HugePages = simoom::HugePages;

fn requests(c: &mut Criterion) {
    let mut group = c.benchmark_group("stack");
    group.throughput(Throughput::Elements(1));
    group.sample_size(20);
    for connections in [1, 1000, 10_000, 1_000_000] {
        let mut bench = None;
        for (what, with_acks) in [("request", false), ("request and acknowledgement", true)] {
            group.bench_function(format!("{what}, {connections} connections"), |b| {
                let bench = bench.get_or_insert_with(|| Bench::new(connections));
                b.iter_custom(|iterations| {
                    let size = bench.size() as u64;
                    let bursts = iterations.div_ceil(size);
                    let counted = |(took, acks)| if with_acks { took + acks } else { took };
                    let total: time::Duration = (0..bursts).map(|_| counted(bench.burst())).sum();
                    total.mul_f64(iterations as f64 / (bursts * size) as f64)
                });
            });
        }
        if let Some(bench) = bench {
            let (counters, drops) = bench.stack.counters();
            assert_eq!(counters.retransmissions, 0, "{drops:?}");
            assert_eq!(bench.stack.connections(), connections as usize);
        }
    }
    group.finish();
}

criterion_group!(benches, requests);
criterion_main!(benches);

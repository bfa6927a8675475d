//! The stack alone, in memory: request segments in, response segments out, with 1 to 1,000,000 open
//! connections and requests in random order.
//!
//! Measures one iteration of a worker without its system calls: receive a burst of 64 segments,
//! expire timers, flush. Building the requests is not measured. The client's next request
//! acknowledges a response. If there is none within eight bursts, a separate segment does; so 512
//! requests are in flight. The first group excludes those segments from the time, the second
//! includes them. Prints the memory for each number of connections.

#![allow(clippy::print_stdout, reason = "memory is not a time, so criterion does not report it")]

mod stack_bench;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use stack_bench::Bench;
use std::time;

/// The allocator of the program `simoom`.
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

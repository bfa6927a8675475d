//! The HTTP handler alone, in memory: parse requests, build responses, release their ranges.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use simoom::app::http::Http;
use simoom::app::testing::{Line, http};
use std::hint::black_box;

/// A request of wrk.
const GET: &[u8] = b"GET /12 HTTP/1.1\r\nHost: 198.18.0.1:8080\r\n\r\n";
const MISSING: &[u8] = b"GET /none HTTP/1.1\r\nHost: 198.18.0.1:8080\r\n\r\n";
const LARGE: &[u8] = b"GET /large HTTP/1.1\r\nHost: 198.18.0.1:8080\r\n\r\n";
const CACHED: &[u8] =
    b"GET /12 HTTP/1.1\r\nHost: 198.18.0.1:8080\r\nIf-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n";
/// A request of a browser.
const BROWSER: &[u8] = b"GET /12 HTTP/1.1\r\nHost: 198.18.0.1:8080\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
    Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\n\
    Upgrade-Insecure-Requests: 1\r\nPriority: u=0, i\r\n\r\n";

fn round(line: &mut Line<Http>, input: &[u8]) {
    let consumed = line.offer_in_place(black_box(input));
    assert_eq!(consumed, input.len());
    line.acknowledge(line.queued());
}

fn requests(c: &mut Criterion) {
    let mut group = c.benchmark_group("http");
    let pipeline = GET.repeat(16);
    let cases: [(&str, &[u8], u64); 6] = [
        ("get_12_bytes", GET, 1),
        ("get_12_bytes_16_deep", &pipeline, 16),
        ("get_20_kilobytes", LARGE, 1),
        ("get_12_bytes_as_a_browser", BROWSER, 1),
        ("not_found", MISSING, 1),
        ("not_modified", CACHED, 1),
    ];
    for (name, input, count) in cases {
        let mut line = Line::open(http(), 80);
        group.throughput(Throughput::Elements(count));
        group.bench_function(name, |b| b.iter(|| round(&mut line, input)));
    }
    group.finish();
}

criterion_group!(benches, requests);
criterion_main!(benches);

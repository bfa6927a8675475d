//! Reloads and files on disk while hostile clients do what they can: half requests, resets, readers
//! that do not read, storms of ranges, more answers than buffers.

use crate::client::{Client, get};
use crate::over_all;
use crate::site::{LARGE, Plan, Site, Transport};
use rustix::process::Signal;
use simoom_io::testing::Random;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

over_all!(reloads_under_load_cost_no_request, hostile_readers_of_files_on_disk_leave_others_alone,);

/// Replacements of both files.
const VERSIONS: usize = 60;
const IN_MEMORY_BYTES: usize = 100_000;
const ON_DISK_BYTES: usize = 1_500_000;
/// Ranges of one request, far apart.
const STORM_RANGES: usize = 64;

/// Both files with the content of one version: a single letter.
fn write_version(root: &Path, version: usize) {
    for (name, len) in [("v", IN_MEMORY_BYTES), ("w", ON_DISK_BYTES)] {
        let letter = b'a' + (version % 26) as u8;
        fs::write(root.join("new"), vec![letter; len]).unwrap();
        fs::rename(root.join("new"), root.join(name)).unwrap();
    }
}

fn expect_one_version(client: &mut Client, len: usize) {
    let answer = client.answer();
    assert_eq!((answer.status, answer.body.len()), (200, len), "{}", answer.head);
    assert!(answer.body.iter().all(|byte| *byte == answer.body[0]), "mixed content");
}

/// A request that reloads meet half sent.
fn send_slowly(client: &mut Client, random: &mut Random, request: &str) {
    let mut rest = request.as_bytes();
    while !rest.is_empty() {
        let (now, later) = rest.split_at(1 + random.index(rest.len()));
        client.send(now);
        std::thread::sleep(Duration::from_millis(random.index(20) as u64));
        rest = later;
    }
}

/// One request of a kind that reloads could harm, and its answer.
fn ask(client: &mut Client, random: &mut Random) {
    match random.index(5) {
        0 => {
            send_slowly(client, random, &get("/v"));
            expect_one_version(client, IN_MEMORY_BYTES);
        }
        1 => {
            let content = "c".repeat(1000);
            let head = "GET /w HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n";
            send_slowly(client, random, &[head, &content].concat());
            expect_one_version(client, ON_DISK_BYTES);
        }
        2 => {
            let pipeline: String = (0..10).map(|n| get(["/v", "/w"][n % 2])).collect();
            client.send(pipeline);
            for n in 0..10 {
                expect_one_version(client, [IN_MEMORY_BYTES, ON_DISK_BYTES][n % 2]);
            }
        }
        3 => {
            let range = "Range: bytes=5-104,1000000-1299999\r\n";
            client.send(format!("GET /w HTTP/1.1\r\nHost: a\r\n{range}\r\n"));
            let answer = client.answer();
            assert_eq!(answer.status, 206, "{}", answer.head);
            assert!(answer.body.len() > 300_100);
        }
        _ => {
            client.send(&get("/w")[..20]);
            std::thread::sleep(Duration::from_millis(random.index(30) as u64));
            client.send(&get("/w")[20..]);
            expect_one_version(client, ON_DISK_BYTES);
        }
    }
}

/// Every answer is one version whole, whatever the time of the reload.
fn reloads_under_load_cost_no_request(transport: Transport) {
    let flags = "--large-file-size 1M --file-buffers 4M --drain-timeout 1s";
    let plan = Plan::new(transport).with(flags);
    let Some(network) = plan.network() else { return };
    let root = crate::site::files();
    write_version(root.path(), 0);
    let site = plan.start_with(network, root);
    site.wait_for("content_files_on_disk", 2);
    let seed = crate::common::seed();
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for number in 0..4 {
            let (site, ends) = (&site, &ends);
            scope.spawn(move || {
                let mut random = Random::new(seed ^ (number + 1) << 32);
                let mut client = site.connect();
                while !ends.load(Ordering::Relaxed) {
                    ask(&mut client, &mut random);
                    if random.index(4) == 0 {
                        let mut rude = std::mem::replace(&mut client, site.connect());
                        rude.send(&get("/w")[..10 + random.index(20)]);
                        rude.reset();
                    }
                }
            });
        }
        for version in 1..=VERSIONS {
            write_version(site.root(), version);
            if version % 2 == 0 {
                site.process.signal(Signal::HUP);
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        ends.store(true, Ordering::Relaxed);
    });
    let last = |len| vec![b'a' + (VERSIONS % 26) as u8; len];
    let mut client = site.connect();
    for (path, len) in [("/v", IN_MEMORY_BYTES), ("/w", ON_DISK_BYTES)] {
        crate::common::wait_until("the last version is served", crate::TEST_TIMEOUT, || {
            client.request(path);
            client.answer().body == last(len)
        });
    }
    for name in ["http_file_failures", "http_file_refusals", "handler_panics"] {
        assert_eq!(site.counter(name), 0, "{name}, SIMOOM_TEST_SEED={seed}:\n{}", site.log());
    }
    assert_eq!(site.counter("content_reload_failures"), 0, "{}", site.log());
}

/// Ranges all over [`LARGE`].
fn storm() -> String {
    let ranges: Vec<String> =
        (0..STORM_RANGES).map(|n| format!("{}-{}", n * 160_000, n * 160_000 + 99)).collect();
    format!("GET {LARGE} HTTP/1.1\r\nHost: a\r\nRange: bytes={}\r\n\r\n", ranges.join(","))
}

/// More readers than buffers, storms of ranges, and files that change under their readers.
fn hostile_readers_of_files_on_disk_leave_others_alone(transport: Transport) {
    let flags = "--large-file-size 1M --file-buffers 1M --file-threads 2 --drain-timeout 1s";
    let Some(site) = Plan::new(transport).with(flags).start() else { return };
    site.wait_for("content_files_on_disk", 1);
    // Three quarters of 1 MiB are for 384 answers.
    let mut slow: Vec<Client> = (0..400).map(|_| site.connect()).collect();
    slow.iter_mut().for_each(|client| client.request(LARGE));
    let refused =
        slow.iter_mut().filter_map(|client| client.head().contains(" 503 ").then_some(()));
    assert_eq!(refused.count(), 400 - 384);
    site.serves_others();
    slow.drain(100..).for_each(Client::reset);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| storm_for_a_while(&site));
        }
        site.serves_others();
    });
    let path = site.root().join(&LARGE[1..]);
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(3_000_000).unwrap();
    site.serves_others();
    let new = vec![b'n'; 2_000_000];
    fs::write(path.with_extension("new"), &new).unwrap();
    fs::rename(path.with_extension("new"), &path).unwrap();
    drop(slow);
    crate::common::wait_until("the new file is served", crate::TEST_TIMEOUT, || {
        let mut client = site.connect();
        client.request(LARGE);
        client.answer().body == new
    });
    // The memory of all answers is free again.
    let mut again: Vec<Client> = (0..384).map(|_| site.connect()).collect();
    again.iter_mut().for_each(|client| client.request(LARGE));
    for client in &mut again {
        let head = client.head();
        assert!(head.contains(" 200 "), "{head}");
    }
    again.into_iter().for_each(Client::reset);
    site.serves_others();
    assert_eq!(site.counter("handler_panics"), 0, "{}", site.log());
}

fn storm_for_a_while(site: &Site) {
    for number in 0..20 {
        let mut client = site.connect();
        client.send(storm().repeat(5));
        if number % 2 == 0 {
            client.reset();
            continue;
        }
        for _ in 0..5 {
            let answer = client.answer();
            assert_eq!(answer.status, 206, "{}", answer.head);
            let parts = memchr::memmem::find_iter(&answer.body, b"Content-Range: ").count();
            assert_eq!(parts, STORM_RANGES);
        }
    }
}

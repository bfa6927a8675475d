//! Simoom beside an installed memcached: both are sent the same randomised requests, in the same
//! pieces, and must give the same answers, byte for byte, but for cas uniques, the clock's last
//! second and what is listed in [`differences`].
//!
//! The memcached taken is the one in the path; SIMOOM_TEST_MEMCACHED names another.
//! SIMOOM_TEST_SEED=N draws other requests, SIMOOM_TEST_SEED=new others each time; the seed is
//! printed.

#![allow(
    clippy::print_stdout,
    reason = "the seed and what was compared are seen in a test's output"
)]
#![allow(unreachable_pub, reason = "a test binary has no outside")]

#[path = "memcached/beside.rs"]
mod beside;
#[path = "common/mod.rs"]
mod common;
#[path = "memcached/differences.rs"]
mod differences;
#[path = "memcached/peer.rs"]
mod peer;
#[path = "memcached/requests.rs"]
mod requests;
#[path = "memcached/stats.rs"]
mod stats;
#[path = "memcached/udp.rs"]
mod udp;

use beside::Beside;
use simoom_io::testing::Random;

/// A request that this version of memcached takes for what Simoom does.
fn next(random: &mut Random, version: &str) -> Vec<u8> {
    loop {
        let request = requests::text(random);
        if differences::is_understood(version, &request) {
            return request;
        }
    }
}

#[test]
fn each_text_request_gets_the_answer_that_memcached_gives() {
    Beside::run(|mut beside, mut random| {
        for _ in 0..6000 {
            let request = next(&mut random, beside.version());
            beside.ask(&request);
        }
    });
}

/// Requests are sent alone first: those go into the pipeline whose answers were the same and would
/// be behind others.
#[test]
fn pipelines_in_any_pieces_get_the_answers_that_memcached_gives() {
    Beside::run(|mut beside, mut random| {
        for _ in 0..150 {
            let mut pipeline = Vec::new();
            let mut closes = false;
            // What is behind a request that closes may be unread by then, and takes answers along
            // as it is thrown away.
            while pipeline.len() < 30 && !closes {
                let request = next(&mut random, beside.version());
                let alone = beside.ask(&request);
                let is_old = differences::is_old(beside.version());
                let may_differ = !alone.exactly
                    || differences::may_differ(&request, true)
                    || is_old && differences::is_refusal(&alone.answer);
                if !may_differ {
                    pipeline.push(request);
                    closes = alone.closes();
                }
            }
            beside.pipeline(&pipeline, &requests::cuts(&mut random));
        }
    });
}

#[test]
fn binary_packets_get_the_answers_that_memcached_gives() {
    Beside::run(|mut beside, mut random| {
        for _ in 0..4000 {
            beside.exchange(&requests::packet(&mut random));
        }
    });
}

/// The stats that monitoring reads have memcached's names and types.
#[test]
fn stats_have_the_names_and_types_that_memcached_gives() {
    Beside::run(|mut beside, _| {
        let mine = stats::compared(&mut beside, "");
        for name in [
            "pid",
            "uptime",
            "time",
            "version",
            "pointer_size",
            "rusage_user",
            "rusage_system",
            "curr_connections",
            "total_connections",
            "cmd_get",
            "cmd_set",
            "cmd_flush",
            "cmd_touch",
            "get_hits",
            "get_misses",
            "delete_misses",
            "delete_hits",
            "incr_misses",
            "incr_hits",
            "decr_misses",
            "decr_hits",
            "cas_misses",
            "cas_hits",
            "cas_badval",
            "touch_hits",
            "touch_misses",
            "bytes_read",
            "bytes_written",
            "limit_maxbytes",
            "accepting_conns",
            "threads",
            "bytes",
            "curr_items",
            "total_items",
            "expired_unfetched",
            "evicted_unfetched",
            "evictions",
            "reclaimed",
        ] {
            assert!(mine.iter().any(|(known, _)| known == name), "{name} is missing");
        }
    });
}

/// The same of each topic, with an item in the store. What stands for a slab class is not compared.
#[test]
fn topics_of_stats_have_the_names_and_types_that_memcached_gives() {
    Beside::run(|mut beside, _| {
        beside.ask(
            b"set a 0 0 100\r\n"
                .iter()
                .chain(&[b'x'; 100])
                .chain(b"\r\n")
                .copied()
                .collect::<Vec<u8>>()
                .as_slice(),
        );
        for (topic, least) in [
            (
                " settings",
                &["maxbytes", "maxconns", "tcpport", "udpport", "num_threads", "item_size_max"][..],
            ),
            (
                " items",
                &[
                    "items:#:number",
                    "items:#:age",
                    "items:#:mem_requested",
                    "items:#:evicted",
                    "items:#:evicted_nonzero",
                    "items:#:evicted_time",
                    "items:#:evicted_unfetched",
                    "items:#:expired_unfetched",
                    "items:#:outofmemory",
                    "items:#:reclaimed",
                ],
            ),
            (
                " slabs",
                &[
                    "#:chunk_size",
                    "#:cmd_set",
                    "#:cas_hits",
                    "#:cas_badval",
                    "#:used_chunks",
                    "#:total_pages",
                    "active_slabs",
                    "total_malloced",
                ],
            ),
            (" sizes", &["sizes_status"]),
            (" conns", &["#:UDP", "#:addr", "#:listen_addr", "#:state", "#:secs_since_last_cmd"]),
        ] {
            let mine = stats::compared(&mut beside, topic);
            for name in least {
                assert!(
                    mine.iter().any(|(known, _)| known == name),
                    "stats{topic}: {name} is missing"
                );
            }
        }
    });
}

/// Listeners and connections, one of text and one of the binary protocol, in the same words line by
/// line.
#[test]
fn connections_are_told_as_memcached_tells_them() {
    Beside::run(|mut beside, _| {
        // Each has been served, so each is known. Not `mn`: its answer is also the mark behind
        // answers.
        beside.ask(b"get none\r\n");
        beside.exchange(&[&[0x80, 10][..], &[0; 22]].concat());
        let [mine, theirs] = stats::connections(&mut beside);
        assert_eq!(mine, theirs);
        let count = |wanted: &str| mine.iter().filter(|line| *line == wanted).count();
        assert_eq!(count("#:listen_addr tcp:127.0.0.1:#"), 2);
        assert_eq!(count("#:addr tcp:127.0.0.1:#"), 3, "the listener and two connections");
        assert_eq!(count("#:addr udp:127.0.0.1:#"), 1);
        assert_eq!(count("#:state conn_parse_cmd"), 1);
    });
}

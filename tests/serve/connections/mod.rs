//! Fuzzing of whole connections: hostile clients do everything a client can do, drawn from a seed,
//! while good clients ask and check every byte. The server's limits are small, so that the clients
//! reach all of them.
//!
//! `SIMOOM_TEST_SEED=N` draws another schedule, `SIMOOM_TEST_SEED=new` one that was not tried
//! before. `SIMOOM_FUZZ_SECONDS=3600` fuzzes each transport for an hour, and then compares
//! latencies as well. The seed fixes what each client does; how the clients interleave is up to the
//! machine.

mod good;
mod hostile;
mod invariants;
mod requests;

use crate::over_all;
use crate::site::{Plan, Site, Transport};
use crate::wire::Wire;
use hostile::Hostile;
use simoom_io::testing::Random;
use std::net::{SocketAddr, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

over_all!(hostile_connections_harm_nobody_else);

/// Connections that the server takes. The hostile clients try to have more.
const CONNECTIONS: usize = 128;
/// Hostile threads.
const THREADS: u64 = 3;
/// Connections that each hostile thread holds at most.
const HELD: usize = 45;
const MEMCACHED: u16 = 11211;

/// How long one transport is fuzzed, and whether that was asked for.
fn duration() -> (Duration, bool) {
    let given = std::env::var("SIMOOM_FUZZ_SECONDS").ok();
    let parse = |text: &String| text.parse().expect("SIMOOM_FUZZ_SECONDS is a number");
    (Duration::from_secs(given.as_ref().map_or(2, parse)), given.is_some())
}

/// A generator for one client: its own for each seed and number.
fn random(seed: u64, number: u64) -> Random {
    let mut random = Random::new(seed ^ (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    // The first numbers of similar states are similar.
    for _ in 0..8 {
        random.next_u64();
    }
    random
}

fn memcached(site: &Site) -> SocketAddr {
    SocketAddr::new(site.address().ip(), MEMCACHED)
}

fn start(transport: Transport) -> Option<Site> {
    let on_all = if transport == Transport::Xdp { "" } else { "0.0.0.0:" };
    let flags = format!(
        "--connections {CONNECTIONS} --memory 16M --header-timeout 2s --send-timeout 2s \
         --idle-timeout 10m --memcached {on_all}{MEMCACHED} --memcached-udp {on_all}{MEMCACHED}"
    );
    Plan::new(transport).with(&flags).start()
}

fn hostile_connections_harm_nobody_else(transport: Transport) {
    let (seed, (time, is_long)) = (crate::common::seed(), duration());
    let Some(mut site) = start(transport) else { return };
    let (mut http, mut cache) = (good::Http::new(&site), good::Cache::new(&site));
    let calm = [good::median(300, || http.ask()), good::median(300, || cache.ask())];
    let before = invariants::Baseline::take(&site);
    let what = format!("SIMOOM_TEST_SEED={seed} over {transport:?}");
    let busy = beside_hostile_clients(&site, seed, transport, || {
        ask_all_the_time(&mut http, &mut cache, time)
    });
    let busy = busy.unwrap_or_else(|_| {
        panic!("{what}: a good client failed; the server's log:\n{}", site.log())
    });
    println!("{what}: medians {calm:?} calm, {busy:?} busy; {} misses", cache.misses);
    before.is_reached_again(&mut site, &what);
    http.ask();
    cache.ask();
    if is_long {
        // In a short run the machine's other work would decide, and below some milliseconds always.
        for (calm, busy) in calm.into_iter().zip(busy) {
            let max = 10 * calm + Duration::from_millis(20);
            assert!(busy <= max, "{what}: a median of {busy:?}; without hostile clients {calm:?}");
        }
    }
}

/// Runs `work` while the hostile clients attack; an error if it panicked.
fn beside_hostile_clients<T>(
    site: &Site,
    seed: u64,
    transport: Transport,
    work: impl FnOnce() -> T,
) -> std::thread::Result<T> {
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for number in 0..THREADS {
            let ends = &ends;
            scope.spawn(move || {
                site.network.client.run(|| attack(site, random(seed, number), ends));
            });
        }
        if transport == Transport::Xdp {
            scope.spawn(|| send_frames(site, random(seed, THREADS), &ends));
        }
        let outcome = catch_unwind(AssertUnwindSafe(work));
        ends.store(true, Ordering::Relaxed);
        outcome
    })
}

/// One hostile thread: its connections, and datagrams beside.
fn attack(site: &Site, mut random: Random, ends: &AtomicBool) {
    let services = [site.address(), memcached(site)];
    let datagrams = UdpSocket::bind("0.0.0.0:0").unwrap();
    let mut hostile = Hostile::new(services, HELD);
    while !ends.load(Ordering::Relaxed) {
        hostile.act(&mut random);
        if random.index(16) == 0 {
            // Lost when the socket's buffer is full, or when the server has ended.
            let _ = datagrams.send_to(&requests::datagram(&mut random), services[1]);
        }
    }
}

/// Frames that no kernel would send, to connections that exist and to others.
fn send_frames(site: &Site, mut random: Random, ends: &AtomicBool) {
    let mut wire = Wire::new(site);
    while !ends.load(Ordering::Relaxed) {
        crate::hostile::noise(&mut wire, &mut random, 60);
        // The pace of a client, as for connections.
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Asks both services in turn for `time`; the median of each one's latencies.
fn ask_all_the_time(
    http: &mut good::Http,
    cache: &mut good::Cache,
    time: Duration,
) -> [Duration; 2] {
    let began = Instant::now();
    let mut latencies = [Vec::new(), Vec::new()];
    while began.elapsed() < time {
        latencies[0].push(good::time(|| http.ask()));
        latencies[1].push(good::time(|| cache.ask()));
    }
    latencies.map(good::middle)
}

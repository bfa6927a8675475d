//! Which items eviction keeps, as hit ratios of streams of requests: a get of a key, and a set if
//! it is missing.

use super::tests::{NOW, set};
use super::*;
use simoom_io::testing::Random;

const MEMORY_BYTES: u64 = 4 << 20;

struct Client {
    store: Arc<Store>,
    random: Random,
    value: Vec<u8>,
}

impl Client {
    fn new() -> Client {
        let (memory_bytes, item_max_bytes) = (MEMORY_BYTES, MEMORY_BYTES / 8);
        let settings =
            Settings { memory_bytes, item_max_bytes, workers: 1, hash_key: Some([1, 2]) };
        let value = vec![b'v'; item_max_bytes as usize];
        Client { store: Store::new(&settings).unwrap(), random: Random::new(1), value }
    }

    /// Whether the key was there. If not, it is set.
    fn ask(&self, key: &str, value_bytes: usize) -> bool {
        let is_there = self.store.get(key.as_bytes(), NOW).is_some();
        if !is_there {
            set(&self.store, key.as_bytes(), &self.value[..value_bytes]);
        }
        is_there
    }

    /// The share of hits of so many requests for keys of a working set.
    fn ask_for_working_set(&mut self, keys: u32, requests: u32, value_bytes: usize) -> f64 {
        let hits = (0..requests).filter(|_| {
            let n = self.random.below(keys.into());
            self.ask(&format!("used{n}"), value_bytes)
        });
        hits.count() as f64 / f64::from(requests)
    }

    /// Asks once for so many new keys.
    fn scan(&self, name: &str, keys: u32, value_bytes: usize) {
        (0..keys).for_each(|n| _ = self.ask(&format!("{name}{n}"), value_bytes));
    }
}

/// The first scan looks like a change of the working set. The clients' requests after it tell that
/// it was none.
#[test]
#[cfg_attr(miri, ignore = "200,000 items take an hour")]
fn what_is_used_survives_all_scans_but_the_first() {
    let mut client = Client::new();
    let (keys, requests) = (7000, 30_000);
    client.ask_for_working_set(keys, requests, 200);
    let after_scans = [1, 2, 3, 4].map(|n| {
        client.scan(&format!("scan{n}-"), 48_000, 200);
        let ratio = client.ask_for_working_set(keys, 2000, 200);
        client.ask_for_working_set(keys, requests, 200);
        ratio
    });
    assert!(after_scans[1] > 0.6 && after_scans[3] > 0.9, "{after_scans:?}");
}

/// A value larger than a frame takes a run of frames. They come from the scan, too.
#[test]
#[cfg_attr(miri, ignore = "megabytes take an hour")]
fn what_is_used_survives_a_scan_of_large_values() {
    let mut client = Client::new();
    let keys = 7000;
    client.ask_for_working_set(keys, 70_000, 200);
    let mut hits = 0.0;
    for n in 0..2000 {
        client.ask(&format!("scan{n}"), 50_000);
        hits += client.ask_for_working_set(keys, 20, 200) / 2000.0;
    }
    assert!(hits > 0.87, "{hits}");
}

/// Sizes of a hundred to one: of two items with as many uses, the smaller one stays.
#[test]
#[cfg_attr(miri, ignore = "100,000 items take an hour")]
fn small_items_stay_before_large_ones_that_are_used_as_often() {
    let mut client = Client::new();
    let (mut small, mut large, mut requests) = (0, 0, 0);
    for n in 0..200_000 {
        let key = client.random.below(6000);
        let is_large = key.is_multiple_of(8);
        let is_hit = client.ask(&format!("key{key}"), if is_large { 10_000 } else { 100 });
        if n >= 100_000 {
            requests += 1;
            small += u32::from(is_hit && !is_large);
            large += u32::from(is_hit && is_large);
        }
    }
    let ratio = f64::from(small + large) / f64::from(requests);
    assert!(ratio > 0.85, "{ratio:.3}: {small} small, {large} large of {requests}");
}

/// Clients may read back what they stored: to check it, or because a reader waits for it. Then an
/// item that nobody else asks for must not stay as if it was used. If the first fetch of an item
/// counted as a use, the ratios would be 0.76 without this and 0.68 with it.
#[test]
#[cfg_attr(miri, ignore = "80,000 items take an hour")]
fn what_was_only_read_back_is_not_kept() {
    let ratio = |reads_back: bool| {
        let mut client = Client::new();
        let (mut hits, requests) = (0, 40_000);
        for n in 0..2 * requests {
            // Twice what fits, the first keys more often.
            let key = client.random.below(1600) * client.random.below(1600) / 1600;
            let name = format!("key{key}");
            let is_hit = client.ask(&name, 200 << (key % 8));
            if reads_back && !is_hit {
                assert!(client.store.get(name.as_bytes(), NOW).is_some());
            }
            hits += u32::from(is_hit && n >= requests);
        }
        f64::from(hits) / f64::from(requests)
    };
    let [without, with] = [false, true].map(ratio);
    assert!(without > 0.81 && with > 0.74, "{without:.3} without, {with:.3} with");
}

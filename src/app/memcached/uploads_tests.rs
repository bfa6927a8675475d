//! Which upload loses its space to which.

use super::super::peers::Held;
use super::*;
use crate::app::testing::NOW;
use crate::store::{Commit, Full, NewItem, ReserveError, Settings, Store};
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use std::sync::Arc;

/// A store of 4 MiB of which unfinished values may take a quarter, and the uploads of one worker.
struct Bed {
    store: Arc<Store>,
    uploads: Uploads,
    held: Vec<u32>,
}

impl Bed {
    fn new() -> Bed {
        let settings =
            Settings { memory_bytes: 4 << 20, item_max_bytes: 256 << 10, ..Settings::default() };
        let store = Store::new(&Settings { hash_key: Some([1, 2]), ..settings }).unwrap();
        Bed { store, uploads: Uploads::new(5000), held: Vec::new() }
    }

    /// Two peers that do not share a slot.
    fn two_peers(&self) -> [Peer; 2] {
        let peers = (0..).map(|n| self.uploads.peer(IpAddr::from([198, 18, 0, n])));
        let mut peers = peers.skip_while(|peer| *peer == self.uploads.peer([10, 0, 0, 1].into()));
        [peers.next().unwrap(), self.uploads.peer([10, 0, 0, 1].into())]
    }

    /// Begins an upload; returns its place and how many others lost theirs.
    fn begin(&mut self, peer: Peer, bytes: usize) -> (u32, usize) {
        let new =
            NewItem { key: b"k", flags: 0, exptime: 0, value_bytes: bytes, binary_key: false };
        let mut displaced = 0;
        let reserved: Result<Reservation, ReserveError> =
            self.store.reserve_incoming(&new, NOW as u32, || {
                let found = self.uploads.displace(NOW as u32, |_| {});
                displaced += usize::from(found);
                Full::unless_dropped(found)
            });
        let job = Job { commit: Commit::default(), ending: Ending::Text { noreply: false } };
        let upload = Upload::new(reserved.unwrap(), job, peer, NOW as u32);
        let slot = self.uploads.put(upload).unwrap();
        self.held.push(slot);
        (slot, displaced)
    }

    fn write(&mut self, slot: u32, bytes: &[u8]) {
        let Found::Coming(upload) = self.uploads.find(slot) else { panic!("displaced") };
        upload.reservation.write(bytes);
        self.uploads.progressed(slot, NOW as u32);
    }

    fn is_coming(&mut self, slot: u32) -> bool {
        matches!(self.uploads.find(slot), Found::Coming(_))
    }
}

#[test]
fn a_peer_with_many_uploads_takes_space_from_itself_alone() {
    // Large ones, and small ones that share frames with those of the other peer.
    for (bytes, count) in [(200_000, 50), (10_000, 400), (60, 4000)] {
        let mut bed = Bed::new();
        let [greedy, good] = bed.two_peers();
        let (first, _) = bed.begin(good, 100_000);
        let mut displaced = 0;
        for n in 0..count {
            displaced += bed.begin(greedy, bytes).1;
            if n == count / 2 {
                bed.begin(good, 100_000);
            }
        }
        assert!(displaced > 0 || bytes < 100, "{bytes}");
        let of_good: Vec<u32> = vec![first, bed.held[count / 2 + 2]];
        for slot in of_good {
            assert!(bed.is_coming(slot), "{bytes}");
            bed.write(slot, &[b'x'; 100_000]);
            assert_eq!(bed.uploads.take(slot).unwrap().reservation.remaining(), 0);
        }
    }
}

#[test]
fn among_peers_that_hold_equally_much_the_most_stalled_gives_way() {
    let mut bed = Bed::new();
    let [one, other] = bed.two_peers();
    let (stalled, _) = bed.begin(one, 200_000);
    let (moving, _) = bed.begin(other, 200_000);
    let (last, _) = bed.begin(one, 200_000);
    let (next, _) = bed.begin(other, 200_000);
    bed.write(stalled, &[b'x'; 10]);
    bed.write(moving, &[b'x'; 4096]);
    let mut order = Vec::new();
    for _ in 0..4 {
        let before: Vec<u32> =
            bed.held.iter().copied().filter(|slot| !order.contains(slot)).collect();
        assert!(bed.uploads.displace(NOW as u32, |_| {}));
        order.extend(before.into_iter().filter(|slot| !bed.is_coming(*slot)));
    }
    // Each time from the peer that holds more; of equals from the one that waits longest.
    assert_eq!(order, [stalled, next, last, moving]);
    assert!(!bed.uploads.displace(NOW as u32, |_| {}));
}

#[test]
fn who_gives_way_depends_on_the_rate_and_on_what_was_wasted() {
    let mut bed = Bed::new();
    let [one, other] = bed.two_peers();
    let now = NOW as u32;
    let (slot, _) = bed.begin(one, 200_000);
    assert_eq!(bed.uploads.way(now + 1, other), Some(Way::Kept), "it has just begun");
    let Found::Coming(upload) = bed.uploads.find(slot) else { panic!("displaced") };
    upload.reservation.write(&[b'x'; 60_000]);
    bed.uploads.progressed(slot, now + 2);
    assert_eq!(bed.uploads.way(now + 2, other), Some(Way::Kept), "a quarter after a second");
    assert_eq!(bed.uploads.way(now + 3, other), Some(Way::GivenLater), "a third after two");
    let stalled = now + 2 + STALLED_SECONDS;
    assert_eq!(bed.uploads.way(stalled, other), Some(Way::Given), "none for two seconds");
    assert_eq!(bed.uploads.way(stalled, one), Some(Way::Given), "to its own peer, too");
    // Each begins values and goes away.
    let waste = |bed: &mut Bed, peer, values: usize| {
        for _ in 0..values {
            let (slot, _) = bed.begin(peer, 10_000);
            bed.uploads.cancel(slot, now);
        }
    };
    waste(&mut bed, other, 10);
    assert_eq!(bed.uploads.way(now + 3, other), Some(Way::GivenLater), "half of a value");
    waste(&mut bed, other, 20);
    assert_eq!(bed.uploads.way(now + 3, other), Some(Way::Kept), "more than a value");
    assert_eq!(bed.uploads.way(now + 3, one), Some(Way::GivenLater));
    waste(&mut bed, one, 120);
    assert_eq!(bed.uploads.way(now + 1, other), Some(Way::Given), "on time, of a waster");
    // Waste is forgotten.
    for later in (0..400).step_by(7) {
        bed.uploads.peers.forget(now + later);
    }
    assert_eq!([one, other].map(|peer| bed.uploads.peers.wasted(peer)), [0; 2]);
}

#[test]
fn what_ends_is_held_by_nobody() {
    let mut bed = Bed::new();
    let peers = bed.two_peers();
    for n in 0..60 {
        let (slot, _) = bed.begin(peers[n % 2], [60, 9000, 200_000][n % 3]);
        if n % 5 == 0 {
            bed.uploads.cancel(slot, NOW as u32);
            bed.held.pop();
        }
    }
    for slot in std::mem::take(&mut bed.held) {
        if bed.is_coming(slot) {
            drop(bed.uploads.take(slot));
        } else {
            assert!(bed.uploads.take_displaced(slot).is_some());
        }
    }
    for peer in peers {
        assert_eq!(*bed.uploads.peers.bytes(peer), 0);
        assert_eq!(*bed.uploads.peers.held(peer), Held::NOTHING);
    }
    assert_eq!(bed.uploads.free.len(), 5000);
}

#[test]
fn a_small_upload_is_complete_although_large_ones_of_its_peer_fill_the_space() {
    let mut bed = Bed::new();
    let [peer, _] = bed.two_peers();
    for n in 0..40 {
        let (large, _) = bed.begin(peer, 200_000);
        bed.write(large, &[b'x'; 5000]);
        let (small, _) = bed.begin(peer, 30_000);
        // Large ones begin, and all of them make progress, between its segments.
        for _ in 0..10 {
            bed.begin(peer, 200_000);
            for slot in bed.held.clone() {
                if slot != small && bed.is_coming(slot) {
                    bed.write(slot, &[b'x'; PROGRESS_BYTES]);
                }
            }
            assert!(bed.is_coming(small), "{n}");
            bed.write(small, &[b'x'; 3000]);
        }
        assert_eq!(bed.uploads.take(small).unwrap().reservation.remaining(), 0);
        bed.held.retain(|slot| *slot != small);
    }
}

#[test]
fn an_upload_that_has_stalled_gives_way_before_larger_ones() {
    let mut bed = Bed::new();
    let [peer, _] = bed.two_peers();
    let (small, _) = bed.begin(peer, 10_000);
    let (large, _) = bed.begin(peer, 200_000);
    let later = NOW as u32 + STALLED_SECONDS;
    let Found::Coming(upload) = bed.uploads.find(large) else { panic!("displaced") };
    upload.reservation.write(&[b'x'; PROGRESS_BYTES]);
    bed.uploads.progressed(large, later);
    assert!(bed.uploads.displace(later - 1, |_| {}));
    assert!(!bed.is_coming(large) && bed.is_coming(small), "neither has stalled");
    let (large, _) = bed.begin(peer, 200_000);
    let Found::Coming(upload) = bed.uploads.find(large) else { panic!("displaced") };
    upload.reservation.write(&[b'x'; PROGRESS_BYTES]);
    bed.uploads.progressed(large, later);
    assert!(bed.uploads.displace(later, |_| {}));
    assert!(bed.is_coming(large) && !bed.is_coming(small), "the small one has stalled");
}

/// The property's record of an upload: its slot, its peer and its size.
type Known = (u32, Peer, u64);

/// Removes the upload that has just lost its space. Fails if it was the wrong one.
fn check_displaced(uploads: &mut Uploads, known: &mut Vec<Known>, newcomer: u64) -> TestCaseResult {
    let is_displaced = |(slot, ..): &Known| matches!(uploads.find(*slot), Found::Displaced);
    let at = known.iter().position(is_displaced).expect("one has lost its space");
    let (slot, peer, bytes) = known[at];
    let of_peer: Vec<u64> =
        known.iter().filter(|known| known.1 == peer).map(|known| known.2).collect();
    let mean = of_peer.iter().sum::<u64>() / of_peer.len() as u64;
    let bound = if of_peer.len() <= SEARCHED_MAX { mean } else { mean / 2 };
    prop_assert!(
        bytes >= bound || bytes >= newcomer,
        "{bytes} bytes gave way to {newcomer}, though the mean of {of_peer:?} is {mean}"
    );
    known.remove(at);
    uploads.take_displaced(slot);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None,
        ..ProptestConfig::default() })]

    #[test]
    fn an_upload_below_the_mean_never_gives_way_to_a_larger_one(
        steps in prop::collection::vec((0..2usize, 11..18u32, 0..1000u32, 0..3usize), 1..200),
    ) {
        let mut bed = Bed::new();
        let peers = bed.two_peers();
        let mut known: Vec<Known> = Vec::new();
        for (peer, log2, more, then) in steps {
            let bytes = (1usize << log2) + ((more as usize) << log2) / 1000;
            let Bed { store, uploads, .. } = &mut bed;
            let new =
                NewItem { key: b"k", flags: 0, exptime: 0, value_bytes: bytes, binary_key: false };
            let mut checked = Ok(());
            let reserved = store.reserve_incoming(&new, NOW as u32, || {
                let found = uploads.displace(NOW as u32, |_| {});
                if found && checked.is_ok() {
                    checked = check_displaced(uploads, &mut known, bytes as u64);
                }
                Full::unless_dropped(found)
            });
            checked?;
            let Ok(reservation) = reserved else { continue };
            let size = reservation.memory_bytes();
            let job = Job { commit: Commit::default(), ending: Ending::Text { noreply: false } };
            let upload = Upload::new(reservation, job, peers[peer], NOW as u32);
            let slot = uploads.put(upload).unwrap();
            known.push((slot, peers[peer], size));
            // One of those under way ends, or makes progress.
            let at = more as usize % known.len();
            match then {
                0 => {
                    uploads.cancel(known.remove(at).0, NOW as u32);
                }
                1 => bed.write(known[at].0, &[b'x'; PROGRESS_BYTES]),
                _ => {}
            }
        }
    }
}

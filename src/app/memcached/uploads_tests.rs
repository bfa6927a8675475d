//! Who gives space up to whom.

use super::super::peers::Held;
use super::*;
use crate::app::testing::NOW;
use crate::store::{Commit, NewItem, ReserveError, Settings, Store};
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
                let found = self.uploads.displace(|_| {});
                displaced += usize::from(found);
                found
            });
        let job = Job { commit: Commit::default(), ending: Ending::Text { noreply: false } };
        let upload = Upload::new(reserved.unwrap(), job, peer);
        let place = self.uploads.put(upload).unwrap();
        self.held.push(place);
        (place, displaced)
    }

    fn write(&mut self, place: u32, bytes: &[u8]) {
        let Found::Coming(upload) = self.uploads.find(place) else { panic!("displaced") };
        upload.reservation.write(bytes);
        self.uploads.progressed(place);
    }

    fn is_coming(&mut self, place: u32) -> bool {
        matches!(self.uploads.find(place), Found::Coming(_))
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
        for place in of_good {
            assert!(bed.is_coming(place), "{bytes}");
            bed.write(place, &[b'x'; 100_000]);
            assert_eq!(bed.uploads.take(place).unwrap().reservation.remaining(), 0);
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
            bed.held.iter().copied().filter(|place| !order.contains(place)).collect();
        assert!(bed.uploads.displace(|_| {}));
        order.extend(before.into_iter().filter(|place| !bed.is_coming(*place)));
    }
    // Each time from the peer that holds more; of equals from the one that waits longest.
    assert_eq!(order, [stalled, next, last, moving]);
    assert!(!bed.uploads.displace(|_| {}));
}

#[test]
fn what_ends_is_held_by_nobody() {
    let mut bed = Bed::new();
    let peers = bed.two_peers();
    for n in 0..60 {
        let (place, _) = bed.begin(peers[n % 2], [60, 9000, 200_000][n % 3]);
        if n % 5 == 0 {
            bed.uploads.cancel(place);
            bed.held.pop();
        }
    }
    for place in std::mem::take(&mut bed.held) {
        if bed.is_coming(place) {
            drop(bed.uploads.take(place));
        } else {
            assert!(bed.uploads.take_displaced(place).is_some());
        }
    }
    for peer in peers {
        let Held { bytes, first, last } = *bed.uploads.peers.held(peer);
        assert_eq!((bytes, first, last), (0, NONE, NONE));
    }
    assert_eq!(bed.uploads.free.len(), 5000);
}

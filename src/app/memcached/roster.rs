//! Who is connected: a worker notes the connections that it opens and closes, and what each is
//! doing; every worker may read the notes of all, while they change. Nobody waits for anybody, and
//! a request costs nothing but once a second.
//!
//! A record is guarded by a version that is odd while it is written: who reads looks at it before
//! and behind, and does not take what changed meanwhile (a sequence lock, of atomics alone).

use super::conn::Doing;
use simoom_io::Ends;
use simoom_tcp::Address;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicU32, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release, fence,
};

/// How often a record is read that changes meanwhile, before it is taken for one of nobody.
const READS: usize = 8;
const WORD_BITS: usize = u64::BITS as usize;

/// A connection, as its worker has noted it.
#[derive(Debug, Default)]
struct Record {
    /// Odd while the ends are being written.
    version: AtomicU32,
    /// Of the remote and the local end.
    ports: AtomicU32,
    remote: [AtomicU64; 2],
    local: [AtomicU64; 2],
    doing: AtomicU64,
}

/// The connections of one worker.
#[derive(Debug)]
pub(super) struct Roster {
    records: Box<[Record]>,
    /// A bit for each record that is somebody's.
    used: Box<[AtomicU64]>,
}

impl Roster {
    fn new(connections: usize) -> Roster {
        Roster {
            records: (0..connections).map(|_| Record::default()).collect(),
            used: (0..connections.div_ceil(WORD_BITS)).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// How many connections it can hold.
    pub(super) fn places(&self) -> usize {
        self.records.len()
    }

    /// The first place from `from` on that is somebody's.
    pub(super) fn next(&self, from: usize) -> Option<usize> {
        let first = from / WORD_BITS;
        let words = self.used.iter().enumerate().skip(first);
        words
            .map(|(at, word)| (at, word.load(Acquire)))
            .map(|(at, word)| {
                (at, if at == first { word & u64::MAX << (from % WORD_BITS) } else { word })
            })
            .find(|(_, word)| *word != 0)
            .map(|(at, word)| at * WORD_BITS + word.trailing_zeros() as usize)
    }

    /// Both ends of the connection at `place`, and what it is doing; `None` if it is just opened or
    /// closed.
    pub(super) fn get(&self, place: usize) -> Option<(Ends, Doing)> {
        let record = self.records.get(place)?;
        (0..READS).find_map(|_| record.read())
    }

    /// The worker that owns it, and no other thread, writes.
    fn mark(&self, place: usize, is_used: bool) {
        let (word, bit) = (&self.used[place / WORD_BITS], 1 << (place % WORD_BITS));
        let old = word.load(Relaxed);
        word.store(if is_used { old | bit } else { old & !bit }, Release);
    }
}

impl Record {
    fn read(&self) -> Option<(Ends, Doing)> {
        let version = self.version.load(Acquire);
        let ports = self.ports.load(Relaxed);
        let [remote, local] =
            [&self.remote, &self.local].map(|end| end.each_ref().map(|half| half.load(Relaxed)));
        let doing = Doing::from_bits(self.doing.load(Relaxed));
        fence(Acquire);
        let is_whole = version.is_multiple_of(2) && self.version.load(Relaxed) == version;
        let ends = Ends {
            remote: address(remote, (ports >> 16) as u16),
            local: address(local, ports as u16),
        };
        is_whole.then_some((ends, doing))
    }

    fn write(&self, ends: Ends, doing: Doing) {
        let version = self.version.load(Relaxed);
        self.version.store(version.wrapping_add(1), Relaxed);
        fence(Release);
        self.ports
            .store(u32::from(ends.remote.port()) << 16 | u32::from(ends.local.port()), Relaxed);
        for (record, end) in [(&self.remote, ends.remote), (&self.local, ends.local)] {
            let (low, high) = Address::from(end.ip()).halves();
            record[0].store(low, Relaxed);
            record[1].store(high, Relaxed);
        }
        self.doing.store(doing.to_bits(), Relaxed);
        self.version.store(version.wrapping_add(2), Release);
    }
}

fn address(halves: [u64; 2], port: u16) -> SocketAddr {
    SocketAddr::new(Address::from_halves(halves[0], halves[1]).into(), port)
}

/// A connection's place in its worker's roster, counted from 1.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place(NonZeroU32);

impl Place {
    fn index(&self) -> usize {
        self.0.get() as usize - 1
    }

    /// The number by which no other connection of this worker goes.
    pub(super) fn number(&self) -> u32 {
        self.0.get()
    }
}

/// The one that writes a roster.
#[derive(Debug)]
pub(super) struct Registrar {
    roster: Arc<Roster>,
    free: Vec<Place>,
}

impl Registrar {
    /// With room for so many connections at once.
    pub(super) fn new(connections: usize) -> Registrar {
        let count = u32::try_from(connections)
            .expect("limits bound the connections of a worker below 2^32");
        Registrar {
            roster: Arc::new(Roster::new(connections)),
            free: (1..=count).rev().filter_map(NonZeroU32::new).map(Place).collect(),
        }
    }

    /// Bytes of memory that [`Registrar::new`] takes.
    pub(super) const fn memory_bytes(connections: usize) -> usize {
        connections * (size_of::<Record>() + size_of::<Place>())
            + connections.div_ceil(WORD_BITS) * size_of::<u64>()
    }

    /// What it writes, to be read by all.
    pub(super) fn roster(&self) -> &Arc<Roster> {
        &self.roster
    }

    /// Notes a connection; returns its place, or `None` if there is none left.
    pub(super) fn enter(&mut self, ends: Ends, doing: Doing) -> Option<Place> {
        let place = self.free.pop()?;
        self.roster.records[place.index()].write(ends, doing);
        self.roster.mark(place.index(), true);
        Some(place)
    }

    /// Notes what the connection at `place` is doing.
    pub(super) fn tell(&mut self, place: &Place, doing: Doing) {
        self.roster.records[place.index()].doing.store(doing.to_bits(), Relaxed);
    }

    /// The connection at `place` is over.
    pub(super) fn leave(&mut self, place: Place) {
        self.roster.mark(place.index(), false);
        self.free.push(place);
    }
}

#[cfg(test)]
#[path = "roster_tests.rs"]
mod tests;

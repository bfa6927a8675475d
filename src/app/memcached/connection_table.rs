//! The connection table of a worker. The worker records the connections that it opens and closes,
//! and their activity. All workers may read the tables of all others at any time, without locks. A
//! connection costs a write once a second.
//!
//! A version protects each record; it is odd while the record is being written. A reader checks it
//! before and after reading, and discards a record that changed (a sequence lock of atomics).

use super::connection::Activity;
use simoom_io::Ends;
use simoom_tcp::Address;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicU32, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release, fence,
};

/// Attempts to read a record that keeps changing.
const READS: usize = 8;
const WORD_BITS: usize = u64::BITS as usize;

/// The record of a connection.
#[derive(Debug, Default)]
struct Record {
    /// Odd while the ends are being written.
    version: AtomicU32,
    /// The remote port in the upper half, the local port in the lower.
    ports: AtomicU32,
    remote: [AtomicU64; 2],
    local: [AtomicU64; 2],
    activity: AtomicU64,
}

/// The connections of one worker.
#[derive(Debug)]
pub(super) struct ConnectionTable {
    records: Box<[Record]>,
    /// A bit for each record in use.
    used: Box<[AtomicU64]>,
}

impl ConnectionTable {
    fn new(connections: usize) -> ConnectionTable {
        ConnectionTable {
            records: (0..connections).map(|_| Record::default()).collect(),
            used: (0..connections.div_ceil(WORD_BITS)).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// The capacity of the table.
    pub(super) fn slots(&self) -> usize {
        self.records.len()
    }

    /// The first record in use from `from` on.
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

    /// The addresses and the activity of the connection at `slot`. `None` while the connection
    /// opens or closes.
    pub(super) fn get(&self, slot: usize) -> Option<(Ends, Activity)> {
        let record = self.records.get(slot)?;
        (0..READS).find_map(|_| record.read())
    }

    /// Only the worker that owns the table calls this.
    fn mark(&self, slot: usize, is_used: bool) {
        let (word, bit) = (&self.used[slot / WORD_BITS], 1 << (slot % WORD_BITS));
        let old = word.load(Relaxed);
        word.store(if is_used { old | bit } else { old & !bit }, Release);
    }
}

impl Record {
    fn read(&self) -> Option<(Ends, Activity)> {
        let version = self.version.load(Acquire);
        let ports = self.ports.load(Relaxed);
        let [remote, local] =
            [&self.remote, &self.local].map(|end| end.each_ref().map(|half| half.load(Relaxed)));
        let activity = Activity::from_bits(self.activity.load(Relaxed));
        fence(Acquire);
        let is_whole = version.is_multiple_of(2) && self.version.load(Relaxed) == version;
        let ends = Ends {
            remote: address(remote, (ports >> 16) as u16),
            local: address(local, ports as u16),
        };
        is_whole.then_some((ends, activity))
    }

    fn write(&self, ends: Ends, activity: Activity) {
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
        self.activity.store(activity.to_bits(), Relaxed);
        self.version.store(version.wrapping_add(2), Release);
    }
}

fn address(halves: [u64; 2], port: u16) -> SocketAddr {
    SocketAddr::new(Address::from_halves(halves[0], halves[1]).into(), port)
}

/// Index of a connection in its worker's table, plus 1.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TableSlot(NonZeroU32);

impl TableSlot {
    #[cfg(test)]
    pub(super) fn numbered(number: u32) -> TableSlot {
        TableSlot(NonZeroU32::new(number).expect("numbers start at 1"))
    }

    fn index(&self) -> usize {
        self.0.get() as usize - 1
    }

    /// The slot's number. No other open connection of this worker has the same number.
    pub(super) fn number(&self) -> u32 {
        self.0.get()
    }
}

/// The writer of a table.
#[derive(Debug)]
pub(super) struct TableWriter {
    connection_table: Arc<ConnectionTable>,
    free: Vec<TableSlot>,
}

impl TableWriter {
    /// A table for up to `connections` connections.
    pub(super) fn new(connections: usize) -> TableWriter {
        let count = u32::try_from(connections)
            .expect("limits bound the connections of a worker below 2^32");
        TableWriter {
            connection_table: Arc::new(ConnectionTable::new(connections)),
            free: (1..=count).rev().filter_map(NonZeroU32::new).map(TableSlot).collect(),
        }
    }

    /// Bytes of memory that [`TableWriter::new`] allocates.
    pub(super) const fn memory_bytes(connections: usize) -> usize {
        connections * (size_of::<Record>() + size_of::<TableSlot>())
            + connections.div_ceil(WORD_BITS) * size_of::<u64>()
    }

    /// The table, for readers.
    pub(super) fn connection_table(&self) -> &Arc<ConnectionTable> {
        &self.connection_table
    }

    /// Adds a connection. Returns its slot, or `None` if the table is full.
    pub(super) fn enter(&mut self, ends: Ends, activity: Activity) -> Option<TableSlot> {
        let slot = self.free.pop()?;
        self.connection_table.records[slot.index()].write(ends, activity);
        self.connection_table.mark(slot.index(), true);
        Some(slot)
    }

    /// Updates the activity of the connection at `slot`.
    pub(super) fn set_activity(&mut self, slot: &TableSlot, activity: Activity) {
        self.connection_table.records[slot.index()].activity.store(activity.to_bits(), Relaxed);
    }

    /// Removes the connection at `slot`.
    pub(super) fn leave(&mut self, slot: TableSlot) {
        self.connection_table.mark(slot.index(), false);
        self.free.push(slot);
    }
}

#[cfg(test)]
#[path = "connection_table_tests.rs"]
mod tests;

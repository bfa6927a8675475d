//! The memory that a stack with given limits takes, part by part.

use crate::config::Limits;
use crate::demux::Demux;
use crate::listen::HalfOpenTable;
use crate::neighbour::Neighbours;
use crate::prefix::Prefixes;
use crate::tcp::Tcb;
use crate::tcp::congestion::Congestion;
use crate::time_wait::TimeWaitTable;
use crate::{flight, reassembly};
use simoom_io::application::Application;
use simoom_io::timer::Wheel;
use simoom_io::{input, send};

impl Limits {
    /// Each part's name, number of elements, and bytes. `algorithms` are those of the listening
    /// ports ([`crate::Config::congestion`]).
    pub fn memory<A: Application>(
        &self,
        algorithms: &[Congestion],
    ) -> impl Iterator<Item = (&'static str, u64, u64)> + use<A> {
        let is_sampled = algorithms.iter().any(Congestion::is_rate_based);
        let (owners, timers) = (self.connections + self.half_open + self.time_wait, self.timers());
        let row = |what, count: u32, bytes: usize| (what, u64::from(count), bytes as u64);
        [
            row(
                "connections",
                self.connections,
                self.connections as usize * size_of::<Tcb<A::Conn>>(),
            ),
            row(
                "congestion controllers",
                self.connections,
                Congestion::memory_bytes(algorithms, self.connections),
            ),
            row(
                "half-open connections",
                self.half_open,
                HalfOpenTable::memory_bytes(self.half_open),
            ),
            row("counts of source prefixes", Prefixes::slots(self), Prefixes::memory_bytes(self)),
            row("TIME-WAIT entries", self.time_wait, TimeWaitTable::memory_bytes(self.time_wait)),
            row("demultiplexing slots", owners, Demux::memory_bytes(owners)),
            row(
                "timers",
                timers,
                Wheel::memory_bytes(timers) + 3 * self.connections as usize * size_of::<u32>(),
            ),
            row(
                "send ranges and chunks",
                self.send_entries,
                send::Pool::<A::Blob>::memory_bytes(
                    self.send_entries as usize,
                    self.send_chunks as usize,
                ),
            ),
            row(
                "neighbours",
                self.neighbours,
                Neighbours::memory_bytes(self.neighbours, self.unresolved),
            ),
            row(
                "runs in flight",
                self.connections + self.flight_runs,
                flight::Pool::memory_bytes(self.connections, self.flight_runs, is_sampled),
            ),
            row(
                "input buffers",
                self.small_input_buffers + self.large_input_buffers,
                input::Pool::memory_bytes(
                    self.small_input_buffers as usize,
                    self.large_input_buffers as usize,
                ),
            ),
            row("input scratch bytes", input::LARGE_BYTES as u32, input::LARGE_BYTES),
            row(
                "reassembly blocks",
                self.reassembly_blocks,
                reassembly::Pool::memory_bytes(self.reassembly_blocks as usize),
            ),
        ]
        .into_iter()
    }
}

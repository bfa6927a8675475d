//! What a stack holds of its tables and pools, for tests that nothing leaks.

use super::Stack;
use simoom_io::application::Application;

/// What a stack holds of its tables and pools. After everything was answered, only idle connections
/// remain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnershipCounts {
    /// Connections with a control block.
    pub connections: usize,
    /// Half-open connections.
    pub half_open: usize,
    /// Connections as counted by source prefixes; 0 without a limit for prefixes.
    pub counted_by_prefix: usize,
    /// Connections as counted by listening ports.
    pub counted_by_port: usize,
    /// Entries of the send pool in use.
    pub send_entries: usize,
    /// Chunks of the send pool in use.
    pub send_chunks: usize,
    /// Input buffers in use.
    pub input_buffers: usize,
    /// Bytes by which auto-tuning has grown receive windows.
    pub extra_window_bytes: usize,
    /// Reassembly blocks in use.
    pub reassembly_blocks: usize,
    /// Scoreboard runs in use beyond the first of each connection.
    pub flight_runs: usize,
    /// Connections whose SYN waits for a neighbour's hardware address.
    pub unresolved: usize,
}

impl<A: Application> Stack<A> {
    /// The resources in use.
    pub fn ownership(&self) -> OwnershipCounts {
        let limits = &self.shared.config.limits;
        let (entries, chunks) = self.shared.send.free();
        let (small, large) = self.shared.inputs.buffers.free();
        OwnershipCounts {
            connections: self.connections(),
            half_open: self.half_open.len() as usize,
            counted_by_prefix: self.prefixes.total(),
            counted_by_port: self.ports.iter().map(|port| port.open as usize).sum(),
            send_entries: limits.send_entries as usize - entries,
            send_chunks: limits.send_chunks as usize - chunks,
            input_buffers: (limits.small_input_buffers + limits.large_input_buffers) as usize
                - small
                - large,
            unresolved: self.shared.neighbours.waiting(),
            flight_runs: limits.flight_runs as usize - self.shared.flight.spare(),
            extra_window_bytes: (self.shared.config.window_budget_bytes()
                - self.shared.window_budget) as usize,
            reassembly_blocks: limits.reassembly_blocks as usize
                - self.shared.inputs.reassembly.free(),
        }
    }
}

//! What a stack holds at a moment: for tests that nothing leaks, and for whoever asks.

use super::Stack;
use simoom_io::application::Application;

/// What a stack holds; all zero but for idle connections after everything was answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Connections with a control block.
    pub connections: usize,
    /// Half-open connections.
    pub half_open: usize,
    /// Both, as counted by source prefixes; 0 without a limit for these.
    pub counted_by_prefix: usize,
    /// Both, as counted by listening ports.
    pub counted_by_port: usize,
    /// Entries of the send pool in use.
    pub send_entries: usize,
    /// Chunks of the send pool in use.
    pub send_chunks: usize,
    /// Buffers with kept input.
    pub kept: usize,
    /// Bytes by which receive windows are wider than at first.
    pub widened_bytes: usize,
    /// Reassembly blocks in use.
    pub reassembly_blocks: usize,
    /// Runs of the scoreboards in use beyond the first of each connection.
    pub flight_runs: usize,
    /// Connections whose SYN waits for a neighbour's hardware address.
    pub unresolved: usize,
}

impl<A: Application> Stack<A> {
    /// What is held.
    pub fn census(&self) -> Census {
        let limits = &self.shared.config.limits;
        let (entries, chunks) = self.shared.send.free();
        let (small, large) = self.shared.inputs.buffers.free();
        Census {
            connections: self.connections(),
            half_open: self.half_open.len() as usize,
            counted_by_prefix: self.prefixes.total(),
            counted_by_port: self.ports.iter().map(|port| port.open as usize).sum(),
            send_entries: limits.send_entries as usize - entries,
            send_chunks: limits.send_chunks as usize - chunks,
            kept: (limits.keep_small + limits.keep_large) as usize - small - large,
            unresolved: self.shared.neighbours.waiting(),
            flight_runs: limits.flight_runs as usize - self.shared.flight.spare(),
            widened_bytes: (self.shared.config.window_budget_bytes() - self.shared.window_budget)
                as usize,
            reassembly_blocks: limits.reassembly_blocks as usize
                - self.shared.inputs.reassembly.free(),
        }
    }
}

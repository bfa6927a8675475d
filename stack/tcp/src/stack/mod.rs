//! The stack of one worker: its tables, and the path of a segment through them.

mod address;
mod control;
mod flush;
mod memory;
mod next_hop;
mod ownership;
mod passive;
mod path;
mod receive;
mod time_wait;

pub use control::{ConnId, Connect, ConnectError};
pub use next_hop::NextHop;
pub use ownership::OwnershipCounts;

use crate::config::Config;
use crate::counters::Counters;
use crate::demux::{Demux, Owner, Tuple};
use crate::drop::Drops;
use crate::keyed::Keyed;
use crate::listen::HalfOpenTable;
use crate::neighbour::Neighbours;
use crate::path_mtu::Paths;
use crate::ports::{Port, Ports};
use crate::prefix::Prefixes;
use crate::rate_limit::RateLimiter;
use crate::tcp::congestion::Controllers;
use crate::tcp::{ConnFlags, Inputs, Outcome, Shared, State, Tcb, Transmit};
use crate::time_wait::TimeWaitTable;
use crate::{flight, reassembly};
use simoom_io::application::{Application, Closed};
use simoom_io::timer::{Tick, Wheel};
use simoom_io::{input, send};
use smoltcp::time::{Duration, Instant};
use std::collections::VecDeque;

#[cfg(any(test, feature = "testing"))]
#[path = "../testing/inspect.rs"]
mod inspect;
#[cfg(any(test, feature = "testing"))]
pub use inspect::Inspection;
#[cfg(any(test, feature = "testing"))]
pub(crate) use inspect::{SIMULTANEOUS, Standing};

/// Largest number of packets for one call of [`Stack::receive`].
pub const BURST: usize = 64;
/// Timers that are handled together, so that their cache misses overlap. A burst of up to this many
/// packets counts as small.
const GROUP: usize = 16;

/// The TCP stack of one worker, with the application's state for each of its connections.
///
/// The caller owns the clock, the frames and the application. In each iteration of its loop it
/// calls:
///
/// 1. [`Stack::receive`] with the received packets, at most [`BURST`] at a time;
/// 2. [`Stack::expire`], if [`Stack::next_deadline`] has passed: timers, and connections whose
///    application yielded in an earlier iteration;
/// 3. [`Stack::flush`], which sends the results.
///
/// Nothing is sent later than the flush that follows its cause, and nothing happens between calls.
/// `now` must never go back.
pub struct Stack<A: Application> {
    shared: Shared<A::Blob>,
    keyed: Keyed,
    ports: Ports,
    accepts: bool,
    demux: Demux,
    tcbs: Vec<Tcb<A::Conn>>,
    free: Vec<u32>,
    half_open: HalfOpenTable,
    prefixes: Prefixes,
    time_wait: TimeWaitTable,
    /// Where the next search for a connection that holds input too long starts.
    evict_from: u32,
    /// The list that a flush works through, while `shared.ready` collects connections for the next
    /// flush.
    flushing: Vec<u32>,
    /// Connections in `shared.yielded` that yielded before this iteration.
    yielded_before: usize,
}

impl<A: Application> Stack<A> {
    /// A stack without listening ports. All its memory is allocated here.
    pub fn new(config: Config, now: Instant) -> Self {
        let limits = config.limits;
        let owners = limits.connections + limits.half_open + limits.time_wait;
        let timers = limits.timers();
        let tick = Tick::at(now);
        let keyed = Keyed::new(config.secret);
        let controllers = Controllers::new(&config);
        let shared = Shared {
            now,
            tick,
            send: send::Pool::new(limits.send_entries as usize, limits.send_chunks as usize),
            inputs: Inputs {
                buffers: input::Pool::new(
                    limits.small_input_buffers as usize,
                    limits.large_input_buffers as usize,
                ),
                reassembly: reassembly::Pool::new(limits.reassembly_blocks as usize),
                scratch: vec![0; input::LARGE_BYTES].into(),
                short: false,
            },
            flight: flight::Pool::new(
                limits.connections,
                limits.flight_runs,
                controllers.are_sampled(),
            ),
            controllers,
            paths: Paths::new(),
            window_budget: config.window_budget_bytes(),
            wheel: Wheel::new(timers, tick),
            neighbours: Neighbours::new(&config, keyed, tick),
            ready: Vec::with_capacity(limits.connections as usize),
            waiting: VecDeque::with_capacity(limits.connections as usize),
            yielded: VecDeque::with_capacity(limits.connections as usize),
            rate_limiter: RateLimiter::new(config.responses_per_second, keyed),
            opened: 0,
            counters: Counters::default(),
            drops: Drops::default(),
            config,
        };
        let mut stack = Stack {
            keyed,
            shared,
            ports: Ports::default(),
            accepts: true,
            demux: Demux::new(owners),
            tcbs: (0..limits.connections).map(|_| Tcb::default()).collect(),
            free: (0..limits.connections).rev().collect(),
            half_open: HalfOpenTable::new(limits.half_open),
            prefixes: Prefixes::new(&limits, keyed),
            time_wait: TimeWaitTable::new(limits.time_wait),
            evict_from: 0,
            flushing: Vec::with_capacity(limits.connections as usize),
            yielded_before: 0,
        };
        if stack.shared.config.announces {
            // Sent by the first expiry, which has a transmitter.
            stack.shared.wheel.schedule(limits.neighbour_timer(), tick);
        }
        stack
    }

    /// Answers SYNs to this port from now on.
    pub fn listen(&mut self, port: u16) {
        let limit = self.shared.config.limits.connections_per_port;
        self.listen_with_limit(port, if limit == 0 { u32::MAX } else { limit });
    }

    /// Answers SYNs to this port from now on, while it has fewer than `limit` connections.
    pub fn listen_with_limit(&mut self, port: u16, limit: u32) {
        self.ports.listen(port, limit);
    }

    /// The listening ports, each with its connections.
    pub fn ports(&self) -> impl Iterator<Item = &Port> {
        self.ports.iter()
    }

    /// The stack's [`Counters`] and [`Drops`].
    pub fn counters(&self) -> (&Counters, &Drops) {
        (&self.shared.counters, &self.shared.drops)
    }

    /// Connections with a control block: open, opening or closing.
    pub fn connections(&self) -> usize {
        self.tcbs.len() - self.free.len()
    }

    /// The maximum number of connections with a control block.
    pub fn capacity(&self) -> usize {
        self.tcbs.len()
    }

    /// When to call [`Stack::expire`] next, as time from now; `None` while no timer is set and no
    /// application has yielded.
    pub fn next_deadline(&self) -> Option<Duration> {
        if !self.shared.yielded.is_empty() {
            return Some(Duration::ZERO);
        }
        let next = self.shared.wheel.next_deadline()?;
        Some(Duration::from_millis(self.shared.tick.until(next).max(0) as u64))
    }

    pub(super) fn set_clock(&mut self, now: Instant) {
        self.shared.now = now;
        self.shared.tick = Tick::at(now);
    }

    pub(super) fn half_open_timer(&self, index: u32) -> u32 {
        2 * self.shared.config.limits.connections + index
    }

    pub(super) fn time_wait_timer(&self, index: u32) -> u32 {
        2 * self.shared.config.limits.connections + self.shared.config.limits.half_open + index
    }

    /// Counts a connection that begins.
    fn count_in(&mut self, tuple: &Tuple) {
        self.prefixes.add(&tuple.remote);
        self.ports.add(tuple.local_port);
    }

    /// Counts a connection that has ended.
    fn count_out(&mut self, tuple: &Tuple) {
        self.prefixes.remove(&tuple.remote);
        self.ports.remove(tuple.local_port);
    }

    /// Applies the outcome of an event to a connection.
    #[inline]
    pub(super) fn apply<T: Transmit>(
        &mut self,
        (id, hash): (u32, impl FnOnce(&Self) -> u32),
        outcome: Outcome,
        app: &mut A,
        tx: &mut T,
    ) {
        match outcome {
            Outcome::Continue => {}
            Outcome::TimeWait => self.enter_time_wait(id, hash(self), app, tx),
            Outcome::Closed(how) => self.end_hashed(id, hash(self), how, app),
        }
    }

    /// The hash of a connection's four-tuple.
    pub(super) fn hash_of(&self, id: u32) -> u32 {
        self.keyed.hash(&self.tcbs[id as usize].hot.tuple)
    }

    /// Closes the connection: tells the application, and frees the control block.
    pub(super) fn end(&mut self, id: u32, how: Closed, app: &mut A) {
        self.end_hashed(id, self.hash_of(id), how, app);
    }

    /// As [`Stack::end`], with the hash of the four-tuple.
    pub(super) fn end_hashed(&mut self, id: u32, hash: u32, how: Closed, app: &mut A) {
        self.demux.remove(hash, Owner::Connection(id));
        self.free_tcb(id, how, app);
    }

    pub(super) fn free_tcb(&mut self, id: u32, how: Closed, app: &mut A) {
        let tcb = &mut self.tcbs[id as usize];
        self.shared.count_closed(how);
        tcb.release(&mut self.shared);
        let tuple = tcb.hot.tuple;
        if tcb.hot.state == State::SynSent {
            self.shared.neighbours.forget(id);
        }
        if tcb.hot.flags.has(ConnFlags::OPENED)
            || tcb.hot.state == State::SynSent
            || tcb.hot.state == State::SynReceived
        {
            app.closed(&mut tcb.conn, how);
        }
        tcb.reset_block();
        self.free.push(id);
        self.count_out(&tuple);
    }
}

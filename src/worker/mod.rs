//! The loop of a worker, which connects frames, stack and application.
//!
//! A [`Worker`] owns one or more receive queues, a [`Stack`] and an application, and shares none of
//! them. A queue is an AF_XDP [`Queue`] or another implementation of [`FrameIo`]. Each iteration of
//! [`Worker::run`] reads the clock once and runs these steps:
//!
//! 1. [`inbound`]: up to [`BURST`] frames of each queue become packets for the stack, which
//!    delivers requests to the application without a copy;
//! 2. [`handover`]: packets for another worker are passed on, and packets of other workers are
//!    received;
//! 3. timers, then the flush: the stack writes segments directly into free frames ([`outbound`]);
//! 4. the kernel is told which frames to send, and sent frames return to the pool.
//!
//! An idle worker sleeps in poll(2) until a packet, a command or a deadline, or spins or naps for a
//! few microseconds ([`idle`]).

mod conflicts;
pub mod handover;
mod idle;
mod inbound;
mod outbound;
pub(crate) mod stack_config;

use crate::clock::{Clock, NEVER};
use crate::control::{Command, CommandReceiver};
use crate::handler::{Handler, count_port};
use crate::metrics::{CONNECTIONS_LIMIT, CONNECTIONS_OPEN, Exporter, Snapshot};
use af_xdp::{BURST, Frame, FrameIo, FramePool, GsoSender, Queue, Umem};
use conflicts::Conflicts;
use handover::Handover;
pub use idle::MAX_QUEUES;
use idle::{Idle, Step};
pub use outbound::Outbound;
pub(crate) use outbound::metric_of;
use simoom_io::Instant;
use simoom_tcp::{Config, Stack};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Completions of other threads that are handled in one iteration.
const COMPLETIONS_MAX: usize = 64;
/// Delay until a worker retries to send after an incomplete flush, in microseconds.
const UNSENT_LOOK_US: u64 = 1_000;
/// Interval at which a draining worker checks for idle connections, in microseconds.
const DRAIN_LOOK_US: u64 = 5_000;
/// Time that an idle connection has to send its next request while draining, in microseconds. The
/// same as on kernel sockets.
const DRAIN_IDLE_US: u64 = 500_000;
/// Time for the peer to close a connection after it has acknowledged everything, in milliseconds.
/// Connection pools notice a FIN only when they next use the connection.
const DRAIN_CLOSE_MS: u32 = 500;
/// Bursts that a leaving worker still receives: more than the RX ring holds.
const LAST_BURSTS: usize = 256;

/// The parts of a worker.
pub struct Parts<A, Q = Queue> {
    /// Receive queues, at least one. The first also transmits.
    pub queues: Vec<(Q, FramePool)>,
    /// The application.
    pub app: A,
    /// The stack's configuration.
    pub stack: Config,
    /// Ports that the application serves, each with its maximum of connections.
    pub ports: Vec<(u16, u32)>,
    /// Channels to and from the other workers of the device.
    pub handover: Handover,
    /// Receiver of the commands of the control thread.
    pub commands: CommandReceiver,
    /// Destination of the counters.
    pub snapshot: Arc<Snapshot>,
    /// Whether the worker never sleeps.
    pub busy_poll: bool,
    /// Set when the worker has drained. It then refuses connections and passes segments on until
    /// [`Command::Leave`], so that its queues are served while they are claimed. `None`: the worker
    /// leaves as soon as it has drained.
    pub drained: Option<Arc<AtomicBool>>,
    /// Sends packets of several segments in one, if that costs less than their frames.
    pub gso: Option<GsoSender>,
}

/// A worker, ready to [`run`](Worker::run).
pub struct Worker<A: Handler, Q = Queue> {
    stack: Stack<A>,
    app: A,
    outbound: Outbound<Q>,
    /// That of `outbound`: received packets are read while the stack transmits.
    umem: Arc<Umem>,
    frames: Vec<Frame>,
    handover: Handover,
    commands: CommandReceiver,
    clock: Clock,
    now_us: u64,
    idle: Idle,
    drain: Option<Drain>,
    drained: Option<Arc<AtomicBool>>,
    leaves: bool,
    conflicts: Conflicts,
    exporter: Exporter,
}

/// Access to the worker for clients that initiate work.
pub struct WorkerContext<'a, A: Handler, Q = Queue> {
    /// Time at the start of this iteration, in microseconds since the worker started.
    pub now_us: u64,
    /// The same time, as the stack counts it.
    pub now: Instant,
    /// The stack.
    pub stack: &'a mut Stack<A>,
    /// The application.
    pub app: &'a mut A,
    /// The queues that the stack transmits through.
    pub outbound: &'a mut Outbound<Q>,
    clock: &'a Clock,
}

impl<A: Handler, Q> WorkerContext<'_, A, Q> {
    /// Reads the clock again: for callers that have worked long in this iteration and measure
    /// times.
    pub fn read_clock_us(&self) -> u64 {
        self.clock.now_us()
    }
}

/// State of a drain.
///
/// A request that crosses the FIN of an idle connection is lost. So is a request with the last
/// segment of a handshake, if the worker has left. So idle connections and handshakes have up to
/// 500 ms first.
#[derive(Clone, Copy)]
struct Drain {
    /// End of the drain: connections still open then are reset.
    until_us: u64,
    /// Idle connections and handshakes are kept until this time.
    keeps_idle_until_us: u64,
    /// Time of the next check for idle connections.
    look_at_us: u64,
}

impl Drain {
    fn new(now_us: u64, at_most_us: u64) -> Drain {
        let keeps_idle_until_us = now_us + DRAIN_IDLE_US.min(at_most_us / 2);
        Drain {
            until_us: now_us.saturating_add(at_most_us),
            keeps_idle_until_us,
            look_at_us: keeps_idle_until_us,
        }
    }

    /// Moves the end to `until_us` if that is earlier.
    fn shorten(&mut self, until_us: u64) {
        for at_us in [&mut self.until_us, &mut self.keeps_idle_until_us, &mut self.look_at_us] {
            *at_us = until_us.min(*at_us);
        }
    }
}

/// Whether the loop continues.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LoopControl {
    Continue,
    Exit,
}

impl<A: Handler, Q: FrameIo> Worker<A, Q> {
    /// Allocates all memory of the worker.
    pub fn new(parts: Parts<A, Q>) -> Worker<A, Q> {
        let Parts {
            queues,
            app,
            mut stack,
            ports,
            handover,
            commands,
            snapshot,
            busy_poll,
            drained,
            gso,
        } = parts;
        stack.reports_strays = handover.has_others();
        let clock = Clock::since_boot();
        let now_us = clock.now_us();
        let mut stack = Stack::new(stack, Instant::from_micros(now_us as i64));
        for (port, limit) in ports {
            stack.listen_with_limit(port, limit);
        }
        let outbound = Outbound::new(queues).with_gso(gso);
        let umem = outbound.umem().clone();
        Worker {
            stack,
            app,
            outbound,
            umem,
            frames: Vec::with_capacity(4 * BURST),
            handover,
            commands,
            clock,
            now_us,
            idle: Idle::new(busy_poll),
            drain: None,
            drained,
            leaves: false,
            conflicts: Conflicts::default(),
            exporter: Exporter::new(snapshot),
        }
    }

    /// Serves until the worker has drained, or the device is gone.
    pub fn run(self) -> io::Result<()> {
        self.run_with(|_| true).map(drop)
    }

    /// Runs as [`Worker::run`], and calls `act` at the start of each iteration, for clients that
    /// initiate work. Also ends when `act` returns false. Returns the application.
    pub fn run_with(
        mut self,
        mut act: impl FnMut(WorkerContext<'_, A, Q>) -> bool,
    ) -> io::Result<A> {
        Idle::prepare_thread();
        self.tick();
        while self.control() == LoopControl::Continue {
            let (now_us, now) = (self.now_us, self.now());
            let Worker { stack, app, outbound, clock, .. } = &mut self;
            if !act(WorkerContext { now_us, now, stack, app, outbound, clock }) {
                break;
            }
            let taken = self.receive() + self.take_handed_over() + self.take_completions();
            let now = self.now();
            let timers = self.stack.expire(now, &mut self.app, &mut self.outbound);
            self.stack.flush(now, &mut self.app, &mut self.outbound);
            self.outbound.flush().map_err(io::Error::other)?;
            if taken + timers > 0 {
                self.exporter.touch();
            }
            if taken > 0 {
                self.idle.worked(self.now_us, taken);
            } else {
                self.idle()?;
            }
            self.tick();
        }
        self.empty_rings();
        self.stack.abort_all(&mut self.app, &mut self.outbound);
        self.outbound.flush().map_err(io::Error::other)?;
        self.publish();
        Ok(self.app)
    }

    /// Handles the packets left in the receive rings when the worker leaves. No more packets are
    /// steered there.
    fn empty_rings(&mut self) {
        if !self.leaves {
            return;
        }
        for _ in 0..LAST_BURSTS {
            if self.receive() + self.take_handed_over() == 0 {
                break;
            }
            let now = self.now();
            self.stack.flush(now, &mut self.app, &mut self.outbound);
        }
    }

    fn now(&self) -> Instant {
        Instant::from_micros(self.now_us as i64)
    }

    /// Reads the clock, once in each iteration.
    fn tick(&mut self) {
        self.now_us = self.clock.now_us();
        if let Some(seconds) = self.clock.new_second(self.now_us / 1000) {
            self.app.clock(seconds);
        }
    }

    /// Passes completions of other threads to the handlers. Returns their number.
    fn take_completions(&mut self) -> usize {
        let now = self.now();
        let Worker { stack, app, commands, .. } = self;
        for count in 0..COMPLETIONS_MAX {
            let Some((id, completed)) = commands.completions().take() else { return count };
            let is_open = stack.complete_later(now, id, app, |app, conn, reply| {
                app.completed(conn, completed, reply);
            });
            if !is_open {
                commands.completions().unclaimed();
            }
        }
        COMPLETIONS_MAX
    }

    /// Takes commands, drains and publishes.
    fn control(&mut self) -> LoopControl {
        // All of them: a worker that sleeps next is not woken again for those that it left.
        while let Some(command) = self.commands.take().filter(|_| !self.leaves) {
            match command {
                Command::Drain(limit) => self.begin_to_drain(limit),
                Command::SetMtu(mtu) => self.stack.set_mtu(mtu),
                Command::Serve(at) => self.stack.serve(at.ip().into(), at.port()),
                Command::Host(address, has) => self.stack.host_has(address.into(), has),
                Command::Forget(at) => self.stack.forget(at.ip().into(), at.port()),
                // A worker of kernel sockets has them.
                Command::Accept(_) => {}
                Command::Leave => self.leaves = true,
            }
        }
        if self.exporter.is_due(self.now_us / 1000) {
            self.publish();
        }
        if self.leaves { LoopControl::Exit } else { self.go_on_draining() }
    }

    /// Begins to drain. A second command can only shorten the time of the first.
    fn begin_to_drain(&mut self, limit: std::time::Duration) {
        let at_most_us = u64::try_from(limit.as_micros()).unwrap_or(u64::MAX);
        if let Some(drain) = &mut self.drain {
            return drain.shorten(self.now_us.saturating_add(at_most_us));
        }
        self.drain = Some(Drain::new(self.now_us, at_most_us));
        self.stack.stop_accepting();
        self.stack.shorten_close_timeout(DRAIN_CLOSE_MS);
        self.app.drain();
    }

    fn go_on_draining(&mut self) -> LoopControl {
        let Some(drain) = &mut self.drain else { return LoopControl::Continue };
        if self.now_us >= drain.look_at_us {
            drain.look_at_us = self.now_us + DRAIN_LOOK_US;
            let app = &self.app;
            self.stack.close_idle(|conn| app.idle(conn));
        }
        let is_opening = self.stack.is_opening() && self.now_us < drain.keeps_idle_until_us;
        let is_over =
            self.now_us >= drain.until_us || (self.stack.connections() == 0 && !is_opening);
        match &self.drained {
            _ if !is_over => LoopControl::Continue,
            Some(drained) => {
                drained.store(true, Ordering::Release);
                LoopControl::Continue
            }
            None => LoopControl::Exit,
        }
    }

    /// Spins or sleeps after an iteration without work.
    fn idle(&mut self) -> io::Result<()> {
        self.idle.check_now_and_then(self.now_us, self.outbound.queues())?;
        if self.idle.always_spins() {
            if self.idle.is_long(self.now_us) {
                self.outbound.refill();
            }
            std::hint::spin_loop();
            return Ok(());
        }
        let step = self.idle.step(self.now_us);
        if step == Step::Spin {
            std::hint::spin_loop();
            return Ok(());
        }
        let until_us = self.next_deadline_us();
        if step == Step::Nap && Idle::can_nap(self.now_us, until_us) {
            Idle::nap();
            return Ok(());
        }
        self.outbound.refill();
        self.idle.sleep(self.outbound.queues(), &self.commands, self.now_us, until_us)
    }

    /// The time until which the worker may sleep.
    fn next_deadline_us(&mut self) -> u64 {
        let after = |us: u64| self.now_us.saturating_add(us);
        let stack_us = self.stack.next_deadline().map_or(NEVER, |left| after(left.total_micros()));
        let drain_us = if self.drain.is_some() { after(DRAIN_LOOK_US) } else { NEVER };
        // Frames that the kernel did not accept, and segments without a free frame, are retried
        // soon.
        let unsent_us = if self.outbound.is_behind() { after(UNSENT_LOOK_US) } else { NEVER };
        let publish_us = self.exporter.next_ms().map_or(NEVER, |at_ms| at_ms * 1000);
        stack_us.min(drain_us).min(unsent_us).min(publish_us)
    }

    fn publish(&mut self) {
        let conflicts = self.stack.counters().0.address_conflicts;
        if let Some(conflicts) = self.conflicts.due(self.now_us, conflicts)
            && let Some(conflict) = self.stack.take_conflict()
        {
            tracing::warn!(%conflict, conflicts, "another host claims an address of Simoom; remove the duplicate");
        }
        self.exporter.publish(self.now_us / 1000, |counts| {
            let (counters, drops) = self.stack.counters();
            counts.push((&CONNECTIONS_OPEN, self.stack.connections() as u64));
            counts.push((&CONNECTIONS_LIMIT, self.stack.capacity() as u64));
            self.stack.ports().for_each(|port| count_port(&self.app, port, counts));
            counts.extend(counters.iter().chain(drops.iter()));
            counts.extend(self.handover.counters().iter());
            self.outbound.count(counts);
            self.commands.completions().publish(&mut |metric, value| counts.push((metric, value)));
            self.app.publish(&mut |metric, value| counts.push((metric, value)));
        });
    }
}

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;

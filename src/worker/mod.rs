//! The per-core loop: the one place where frames, stack and application meet.
//!
//! A [`Worker`] owns one or more receive queues, a [`Stack`] and an application, and nothing of it
//! is shared. A queue is an AF_XDP [`Queue`], or anything else that receives and transmits frames
//! ([`FrameIo`]). Each turn of [`Worker::run`] reads the clock once and then goes down the list and
//! out again:
//!
//! 1. [`inbound`]: up to [`BURST`] frames from each queue become packets for the stack, which
//!    hands requests to the application where they lie;
//! 2. [`handover`]: packets that reached the wrong worker are passed on, those passed here are
//!    taken;
//! 3. timers, then the flush: the stack writes what is to be sent straight into free frames
//!    ([`outbound`]);
//! 4. the kernel is told of the frames to send, and those sent come back to the pool.
//!
//! With nothing to do it spins for a moment and then sleeps in poll(2) until a packet, an order or
//! a deadline ([`idle`]).

mod conflicts;
pub mod handover;
mod idle;
mod inbound;
mod outbound;

use crate::clock::{Clock, NEVER};
use crate::control::{Command, CommandReceiver};
use crate::handler::{Handler, count_port};
use crate::metrics::{CONNECTIONS_LIMIT, CONNECTIONS_OPEN, Exporter, Snapshot};
use af_xdp::{BURST, Frame, FrameIo, FramePool, Queue};
use conflicts::Conflicts;
use handover::Handover;
use idle::Idle;
pub use idle::MAX_QUEUES;
pub use outbound::Outbound;
pub(crate) use outbound::metric_of;
use simoom_io::Instant;
use simoom_tcp::{Config, Stack};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Completions of other threads that are taken in one turn.
const COMPLETIONS_MAX: usize = 64;
/// How soon a worker that could not send everything tries again, in microseconds.
const UNSENT_LOOK_US: u64 = 1_000;
/// How often a draining worker looks for connections that have become idle, in microseconds.
const DRAIN_LOOK_US: u64 = 5_000;
/// How long an idle connection of a draining worker has for its next request, in microseconds: as
/// on kernel sockets.
const DRAIN_IDLE_US: u64 = 500_000;
/// How long a draining worker waits for a peer to close that has acknowledged everything, in
/// milliseconds: connection pools notice a FIN only when they next use the connection.
const DRAIN_CLOSE_MS: u32 = 500;
/// Bursts that a leaving worker still takes from its queues: more than the RX ring holds.
const LAST_BURSTS: usize = 256;

/// What a worker is made of.
pub struct Parts<A, Q = Queue> {
    /// Its receive queues, at least one; the first one also transmits.
    pub queues: Vec<(Q, FramePool)>,
    /// The application.
    pub app: A,
    /// The stack's configuration.
    pub stack: Config,
    /// The ports that the application serves, each with the largest number of connections at once.
    pub ports: Vec<(u16, u32)>,
    /// The way to and from the other workers of the device.
    pub handover: Handover,
    /// CommandSender from the control thread.
    pub commands: CommandReceiver,
    /// Where counters are published.
    pub snapshot: Arc<Snapshot>,
    /// Never sleep.
    pub busy_poll: bool,
    /// Set when the worker has drained. It then refuses connections and passes segments on until
    /// [`Command::Leave`], so that its queues are served as long as they are claimed. Without it, a
    /// worker leaves when it has drained.
    pub drained: Option<Arc<AtomicBool>>,
}

/// A worker, ready to [`run`](Worker::run).
pub struct Worker<A: Handler, Q = Queue> {
    stack: Stack<A>,
    app: A,
    outbound: Outbound<Q>,
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

/// What a worker lends to whoever acts of its own accord.
pub struct WorkerContext<'a, A: Handler, Q = Queue> {
    /// The time of this turn, in microseconds since the worker began.
    pub now_us: u64,
    /// The same, for the stack.
    pub now: Instant,
    /// The stack.
    pub stack: &'a mut Stack<A>,
    /// The application.
    pub app: &'a mut A,
    /// What the stack transmits through.
    pub outbound: &'a mut Outbound<Q>,
    clock: &'a Clock,
}

impl<A: Handler, Q> WorkerContext<'_, A, Q> {
    /// Reads the clock once more: for who has done much since the turn began, and takes times of
    /// what comes next.
    pub fn read_clock_us(&self) -> u64 {
        self.clock.now_us()
    }
}

/// An order to drain that is being carried out.
///
/// A request that crosses the FIN of an idle connection is lost, and so is one that comes with the
/// last segment of a handshake to a worker that has left. So idle connections, and handshakes, have
/// some time first.
#[derive(Clone, Copy)]
struct Drain {
    /// Whatever is open then is cut off.
    until_us: u64,
    /// Connections that are idle from then on are closed, and no handshake is waited for.
    keeps_idle_until_us: u64,
    /// When to look for idle connections next.
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

    /// Ends no later than `until_us`.
    fn shorten(&mut self, until_us: u64) {
        for at_us in [&mut self.until_us, &mut self.keeps_idle_until_us, &mut self.look_at_us] {
            *at_us = until_us.min(*at_us);
        }
    }
}

/// Whether the loop goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LoopControl {
    Continue,
    Exit,
}

impl<A: Handler, Q: FrameIo> Worker<A, Q> {
    /// Takes all the memory that the worker will ever use.
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
        } = parts;
        stack.reports_strays = handover.has_others();
        let clock = Clock::since_boot();
        let now_us = clock.now_us();
        let mut stack = Stack::new(stack, Instant::from_micros(now_us as i64));
        for (port, limit) in ports {
            stack.listen_with_limit(port, limit);
        }
        Worker {
            stack,
            app,
            outbound: Outbound::new(queues),
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

    /// Serves until an order to drain has been carried out, or the device is gone.
    pub fn run(self) -> io::Result<()> {
        self.run_with(|_| true).map(drop)
    }

    /// As [`Worker::run`], but at the start of each turn `act` is lent what is needed to act of its
    /// own accord, as a client does. Ends when `act` says no, too. Returns the application.
    pub fn run_with(
        mut self,
        mut act: impl FnMut(WorkerContext<'_, A, Q>) -> bool,
    ) -> io::Result<A> {
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
                self.idle.worked(self.now_us);
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

    /// Answers what is in the receive rings when the worker leaves; nothing more is steered there.
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

    /// The one reading of the clock in a turn.
    fn tick(&mut self) {
        self.now_us = self.clock.now_us();
        if let Some(seconds) = self.clock.new_second(self.now_us / 1000) {
            self.app.clock(seconds);
        }
    }

    /// Lets handlers go on with what other threads have completed. Returns how many there were.
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
        match self.commands.take() {
            Some(Command::Drain(limit)) => self.begin_to_drain(limit),
            Some(Command::Leave) => self.leaves = true,
            None => {}
        }
        if self.exporter.is_due(self.now_us / 1000) {
            self.publish();
        }
        if self.leaves { LoopControl::Exit } else { self.go_on_draining() }
    }

    /// A second order can only shorten the time that the first one gave.
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

    /// Nothing came: spins on, or sleeps until something does.
    fn idle(&mut self) -> io::Result<()> {
        self.idle.check_now_and_then(self.now_us, self.outbound.queues())?;
        if self.idle.is_near_work(self.now_us) {
            std::hint::spin_loop();
            return Ok(());
        }
        self.outbound.refill();
        if self.idle.always_spins() {
            return Ok(());
        }
        let after = |us: u64| self.now_us.saturating_add(us);
        let stack_us = self.stack.next_deadline().map_or(NEVER, |left| after(left.total_micros()));
        let drain_us = if self.drain.is_some() { after(DRAIN_LOOK_US) } else { NEVER };
        // What the kernel did not take at once, or what found no free frame, is offered again soon.
        let unsent_us = if self.outbound.is_behind() { after(UNSENT_LOOK_US) } else { NEVER };
        let publish_us = self.exporter.next_ms().map_or(NEVER, |at_ms| at_ms * 1000);
        let until_us = stack_us.min(drain_us).min(unsent_us).min(publish_us);
        self.idle.sleep(self.outbound.queues(), &self.commands, self.now_us, until_us)
    }

    fn publish(&mut self) {
        let conflicts = self.stack.counters().0.address_conflicts;
        if let Some(conflicts) = self.conflicts.due(self.now_us, conflicts)
            && let Some(conflict) = self.stack.take_conflict()
        {
            tracing::warn!(%conflict, conflicts, "another host claims an address of ours");
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

//! The loop of one worker. Visits the connections that have events of the [`Driver`], an expired
//! deadline or a command. Blocks only in the driver, at most until the next deadline.

use super::accept::reset;
use super::admission::Admission;
use super::counters::Counters;
use super::drain::{DRAIN_LINGER_MS, Drain, is_idle};
use super::listener::Listener;
use super::run_queue::{CROWD, RunQueue};
use super::session::{AppDriver, Due, Phase, Session};
use super::socket::{Part, Socket};
use super::table::{Key, Table};
use super::visit::{Next, VisitContext, visit, write};
use super::wait_queue::WaitQueue;
use super::{INPUT_BYTES, Settings};
use crate::clock::{Clock, NEVER, look_at};
use crate::control::CommandReceiver;
use crate::handler::{Handler, count_port};
use crate::metrics::{CONNECTIONS_LIMIT, CONNECTIONS_OPEN, Exporter, Snapshot};
use rustix::io::Errno;
use rustix::net::sockopt;
use simoom_io::input;
use simoom_io::send::{Pool, Queue};
use simoom_io::timer::{Tick, Wheel};
use simoom_io::{Application, Closed, ConnectionId};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

/// 1 day. The timing wheel must advance while its ticks still compare, and every kernel accepts
/// this timeout.
const LONGEST_SLEEP_MS: u64 = 86_400_000;
/// Visits of yielding connections between two polls for events: each of these visits is one of the
/// longest.
const YIELDS_MAX: usize = 4;

/// Waits for events and moves bytes: epoll or io_uring.
pub(super) trait Driver: Sized {
    type Part: Part<Shared = Self::Shared>;
    type Shared;

    /// Bytes of the tables of the driver, without the parts.
    fn memory_bytes(settings: &Settings) -> usize;

    fn new(settings: &Settings, commands: &CommandReceiver) -> io::Result<Self>;

    fn shared(&mut self) -> &mut Self::Shared;

    /// Waits for events, at most [`Server::sleep`]. Then calls [`Server::tick`] and handles all
    /// events.
    fn wait<A: Handler>(server: &mut Server<A, Self>) -> io::Result<()>;

    /// Prepares the socket of a new connection for its first visit.
    fn prepare(&mut self, socket: &mut Socket<Self::Part>);

    /// Arranges for the event that a connection waits for after a visit. Returns false if it
    /// cannot.
    fn arrange<A: Application>(
        &mut self,
        key: Key,
        session: &mut Session<A, Socket<Self::Part>>,
    ) -> bool;

    /// Closes the socket of a connection that has ended.
    fn close(&mut self, key: Key, socket: Socket<Self::Part>);

    /// Watches a listener from now on. `number` is that of the listeners before it.
    fn add_listener(&mut self, number: usize, listener: &Listener) -> io::Result<()>;

    /// Stops or resumes watching the listeners.
    fn watch_listeners(&mut self, listeners: &[Option<Listener>], watch: bool) -> io::Result<()>;

    /// Stops to watch a listener, which is closed next.
    fn remove_listener(&mut self, number: usize);

    /// Releases the listeners. All accepted connections are in the table when this returns.
    fn release_listeners<A: Handler>(server: &mut Server<A, Self>) -> io::Result<()>;

    /// Handles all pending events. When this returns, undelivered input is in the sockets.
    fn settle<A: Handler>(server: &mut Server<A, Self>) -> io::Result<()>;
}

/// Readiness of a socket as the kernel reports it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Readiness {
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// The peer's FIN has arrived.
    pub(super) peer_done: bool,
    pub(super) error: bool,
}

/// One worker of the kernel transport.
pub(super) struct Server<A: Application, D: Driver> {
    pub(super) app_driver: AppDriver<A>,
    pub(super) settings: Settings,
    pub(super) table: Table<Session<A, Socket<D::Part>>>,
    pub(super) admission: Admission,
    pub(super) wheel: Wheel,
    /// Connections with new events, or with more work than one visit allows.
    pub(super) run_queue: RunQueue,
    /// Events of the current batch that the driver has not handled yet.
    pub(super) pending_events: usize,
    /// Connections that wait for space in the send pool.
    starved: WaitQueue,
    /// Connections whose input stays in the kernel until an input buffer of either size is free.
    bufferless: WaitQueue,
    /// Connections that fill a small input buffer and wait for a large one.
    outgrown: WaitQueue,
    /// By number; `None` once closed.
    pub(super) listeners: Vec<Option<Listener>>,
    pub(super) accept_again_ms: Option<u64>,
    pub(super) drain: Option<Drain>,
    pub(super) commands: CommandReceiver,
    /// Whether the command receiver may hold commands.
    pub(super) commands_pending: bool,
    pub(super) driver: D,
    scratch: Vec<u8>,
    clock: Clock,
    pub(super) exporter: Exporter,
}

/// Bytes of the tables that grow with the number of connections, and of the buffers of the loop.
pub(super) fn memory_bytes<A: Application, D: Driver>(settings: &Settings) -> usize {
    let connections = settings.connections;
    Table::<Session<A, Socket<D::Part>>>::memory_bytes(connections)
        + Wheel::memory_bytes(connections as u32)
        + RunQueue::memory_bytes(connections)
        + 3 * WaitQueue::memory_bytes(connections)
        + Admission::memory_bytes(settings)
        + INPUT_BYTES
        + D::memory_bytes(settings)
}

/// Sets the timer for the next deadline of a connection, if it has one and no earlier timer.
pub(super) fn arm<A: Application, S>(
    wheel: &mut Wheel,
    key: Key,
    session: &Session<A, S>,
    now_ms: u64,
) {
    let deadline_ms = session.next_deadline_ms();
    if deadline_ms != NEVER {
        wheel.bring_forward(key.index, look_at(deadline_ms, now_ms));
    }
}

fn set_keep_alive(listener: &Listener, settings: &Settings) -> io::Result<()> {
    let (_, keep_alive) = settings.timeouts_of(listener.address().port());
    Ok(listener.set_keep_alive(keep_alive)?)
}

impl<A: Handler, D: Driver> Server<A, D> {
    /// Allocates all memory and registers the listeners and the command receiver.
    pub(super) fn new(
        settings: &Settings,
        listeners: Vec<Listener>,
        app: A,
        commands: CommandReceiver,
        snapshot: Arc<Snapshot>,
    ) -> io::Result<Self> {
        settings.check()?;
        let mut driver = D::new(settings, &commands)?;
        for (number, listener) in listeners.iter().enumerate() {
            set_keep_alive(listener, settings)?;
            driver.add_listener(number, listener)?;
        }
        Ok(Server {
            app_driver: AppDriver {
                app,
                pool: Pool::new(settings.send_entries, settings.send_chunks),
                inputs: input::Pool::with_large_bytes(
                    settings.small_inputs,
                    settings.large_inputs,
                    INPUT_BYTES,
                ),
                counters: Counters::default(),
                now_ms: 0,
                linger_timeout: settings.linger_timeout,
            },
            settings: settings.clone(),
            table: Table::new(settings.connections),
            admission: Admission::new(settings),
            wheel: Wheel::new(settings.connections as u32, Tick::from_millis(0)),
            run_queue: RunQueue::new(settings.connections),
            pending_events: 0,
            starved: WaitQueue::new(settings.connections),
            bufferless: WaitQueue::new(settings.connections),
            outgrown: WaitQueue::new(settings.connections),
            listeners: listeners.into_iter().map(Some).collect(),
            accept_again_ms: None,
            drain: None,
            commands,
            commands_pending: false,
            driver,
            scratch: vec![0; INPUT_BYTES],
            clock: Clock::new(),
            exporter: Exporter::new(snapshot),
        })
    }

    /// Accepts connections of a listening socket from now on, unless the worker drains.
    pub(super) fn add_listener(&mut self, socket: OwnedFd) -> io::Result<()> {
        if self.drain.is_some() {
            return Ok(());
        }
        let listener = Listener::of_socket(socket)?;
        set_keep_alive(&listener, &self.settings)?;
        self.driver.add_listener(self.listeners.len(), &listener)?;
        self.listeners.push(Some(listener));
        Ok(())
    }

    /// Closes the listener of an address, if there is one.
    pub(super) fn close_listener(&mut self, at: SocketAddr) {
        let is_at = |listener: &Option<Listener>| {
            listener.as_ref().is_some_and(|listener| listener.address() == at)
        };
        if let Some(number) = self.listeners.iter().position(is_at) {
            self.driver.remove_listener(number);
            self.listeners[number] = None;
        }
    }

    /// Serves until the worker has drained, or a system call fails that it cannot do without.
    pub(super) fn run(mut self, ready: impl FnOnce()) -> io::Result<()> {
        self.tick();
        self.publish();
        ready();
        while !self.is_done() {
            if self.exporter.is_due(self.app_driver.now_ms) {
                self.publish();
            }
            D::wait(&mut self)?;
            if std::mem::take(&mut self.commands_pending) {
                self.handle_commands()?;
                self.take_completions();
            }
            self.fire_deadlines();
            self.give_turns();
            self.give_room();
            self.give_buffers();
            self.resume_accepting()?;
            self.go_on_draining()?;
        }
        self.cut_off();
        self.publish();
        Ok(())
    }

    fn publish(&mut self) {
        let app_driver = &mut self.app_driver;
        let (open, limit) = (self.table.len() as u64, u64::from(self.table.capacity()));
        let ports = self.admission.ports();
        let completions = self.commands.completions();
        self.exporter.publish(app_driver.now_ms, |counts| {
            counts.push((&CONNECTIONS_OPEN, open));
            counts.extend(app_driver.counters.iter());
            counts.push((&CONNECTIONS_LIMIT, limit));
            ports.for_each(|port| count_port(&app_driver.app, port, counts));
            completions.publish(&mut |metric, value| counts.push((metric, value)));
            app_driver.app.publish(&mut |metric, value| counts.push((metric, value)));
        });
    }

    pub(super) fn tick(&mut self) {
        self.app_driver.now_ms = self.clock.now_ms();
        if let Some(seconds) = self.clock.new_second(self.app_driver.now_ms) {
            self.app_driver.app.clock(seconds);
        }
    }

    /// Passes completions of other threads to the handlers. What a handler does may lead to further
    /// ones at once: those wait for the next iteration.
    fn take_completions(&mut self) {
        for _ in 0..self.commands.completions().len() {
            let Some((ConnectionId(id), completed)) = self.commands.completions().take() else {
                return;
            };
            self.exporter.touch();
            let key = Key::from_bits(id);
            let session = self.table.get_mut(key);
            if session.is_some_and(|session| self.app_driver.complete(session, completed)) {
                self.visit(key);
            } else {
                self.commands.completions().unclaimed();
            }
        }
        self.commands_pending |= !self.commands.completions().is_empty();
    }

    /// Longest time to block in the driver.
    pub(super) fn sleep(&self) -> Duration {
        let inputs = &self.app_driver.inputs;
        if !self.run_queue.is_empty()
            || self.commands_pending
            || (!self.starved.is_empty() && self.pool_has_capacity())
            || (!self.bufferless.is_empty() && inputs.largest_free() > 0)
            || (!self.outgrown.is_empty() && inputs.largest_free() == INPUT_BYTES)
        {
            return Duration::ZERO;
        }
        let drain_ms = self.drain.map(|drain| drain.next_ms());
        let duties = [self.accept_again_ms, drain_ms, self.exporter.next_ms()];
        let duties =
            duties.into_iter().flatten().map(|at_ms| at_ms.saturating_sub(self.app_driver.now_ms));
        let now = Tick::from_millis(self.app_driver.now_ms);
        let deadline = self.wheel.next_deadline().map(|at| now.until(at).max(0) as u64);
        Duration::from_millis(
            duties.chain(deadline).min().unwrap_or(LONGEST_SLEEP_MS).min(LONGEST_SLEEP_MS),
        )
    }

    /// Records the readiness of a connection's socket. Ends the connection after a socket error.
    /// The caller visits it if it is still open.
    pub(super) fn note(&mut self, key: Key, readiness: Readiness) {
        let Some(session) = self.table.get_mut(key) else { return };
        if readiness.error {
            let how = match sockopt::socket_error(&session.io.fd) {
                Ok(Ok(())) => None,
                Ok(Err(Errno::TIMEDOUT)) => Some(Closed::TimedOut),
                Ok(Err(_)) | Err(_) => Some(Closed::ResetByPeer),
            };
            if let Some(how) = how {
                return self.end(key, how);
            }
        }
        session.io.peer_done |= readiness.peer_done;
        session.io.readable |= readiness.peer_done || readiness.readable;
        session.io.writable |= readiness.writable;
    }

    /// Visits a connection, then arranges what it waits for.
    pub(super) fn visit(&mut self, key: Key) {
        let Some(session) = self.table.get_mut(key) else { return };
        // Not only events lead here: a connection that yielded goes on without one.
        self.exporter.touch();
        let is_crowded = self.run_queue.len() + self.pending_events > CROWD;
        let shared = self.driver.shared();
        let mut context = VisitContext::new(&mut self.scratch, shared, is_crowded);
        let next = visit(&mut self.app_driver, session, &mut context);
        self.leave(key, next);
    }

    /// Arranges what a connection waits for.
    pub(super) fn leave(&mut self, key: Key, next: Next) {
        if let Next::Over(how) = next {
            return self.end(key, how);
        }
        let Some(session) = self.table.get_mut(key) else { return };
        if let Some(drain) = &self.drain {
            if drain.closes_idle() && next == Next::Event && is_idle(&self.app_driver, session) {
                self.app_driver.close(session);
                return self.visit(key);
            }
            if session.phase() == Phase::Lingering {
                self.app_driver.shorten_linger(session, DRAIN_LINGER_MS);
            }
        }
        self.app_driver.limit_wait(session, matches!(next, Next::SendSpace | Next::Buffer));
        if !self.driver.arrange(key, session) {
            return self.end(key, Closed::Aborted);
        }
        arm(&mut self.wheel, key, session, self.app_driver.now_ms);
        match next {
            Next::Iteration => self.run_queue.push_again(key.index),
            Next::SendSpace => self.starved.push(key.index),
            Next::Buffer if session.connection.input.is_empty() => self.bufferless.push(key.index),
            Next::Buffer => self.outgrown.push(key.index),
            Next::Event | Next::Over(_) => {}
        }
    }

    /// Ends a connection. A reset tells the peer that an answer is incomplete.
    pub(super) fn end(&mut self, key: Key, how: Closed) {
        let Some(session) = self.table.remove(key) else { return };
        self.wheel.cancel(key.index);
        self.admission.release(key.index);
        let cut_off = how == Closed::Aborted || !session.connection.queue.is_empty();
        let socket = self.app_driver.end(session, how);
        if cut_off {
            reset(&socket.fd);
        }
        self.driver.close(key, socket);
    }

    fn fire_deadlines(&mut self) {
        let now = Tick::from_millis(self.app_driver.now_ms);
        let mut due = [0];
        while self.wheel.expire(now, &mut due) > 0 {
            self.exporter.touch();
            let Some(key) = self.table.key_at(due[0]) else { continue };
            let Some(session) = self.table.get_mut(key) else { continue };
            match self.app_driver.due(session) {
                Due::Nothing | Due::Application => self.visit(key),
                Due::Held => {
                    // A FIN would look like the end of an answer.
                    reset(&session.io.fd);
                    self.end(key, Closed::TimedOut);
                }
                Due::Linger => self.end_linger(key),
                Due::Send => self.retry_send(key),
            }
        }
    }

    /// Retries to send at the send timeout. epoll reports a socket as writable only when a good
    /// part of its buffer is free. A slow peer may need longer than the send timeout for that. The
    /// progress of the peer shows in the bytes that the socket accepts now.
    fn retry_send(&mut self, key: Key) {
        let Some(session) = self.table.get_mut(key) else { return };
        if session.io.part.is_sending() {
            return self.visit(key);
        }
        let (before, taken) = (session.connection.queue.len(), session.taken_bytes);
        let shared = self.driver.shared();
        let mut context = VisitContext::new(&mut self.scratch, shared, false);
        match write(&mut self.app_driver, session, &mut context) {
            Err(how) => self.end(key, how),
            Ok(())
                if !session.connection.queue.is_empty()
                    && session.took_too_little(
                        taken + (before - session.connection.queue.len()) as u32,
                    ) =>
            {
                self.end(key, Closed::TimedOut);
            }
            Ok(()) => self.visit(key),
        }
    }

    fn give_turns(&mut self) {
        let (fresh, again) = self.run_queue.round();
        let mut yields = 0;
        for n in 0..fresh + again {
            let is_fresh = n < fresh;
            let next =
                if is_fresh { self.run_queue.next_fresh() } else { self.run_queue.next_again() };
            let Some(key) = next.and_then(|index| self.table.key_at(index)) else { continue };
            self.visit(key);
            yields += usize::from(!is_fresh && self.has_yielded(key));
            if yields == YIELDS_MAX {
                return;
            }
        }
    }

    fn has_yielded(&self, key: Key) -> bool {
        self.table.get(key).is_some_and(|session| session.connection.flow.has_yielded())
    }

    fn give_room(&mut self) {
        for _ in 0..self.starved.len() {
            if !self.pool_has_capacity() {
                return;
            }
            if let Some(key) = self.starved.pop().and_then(|index| self.table.key_at(index)) {
                self.visit(key);
            }
        }
    }

    fn give_buffers(&mut self) {
        for _ in 0..self.outgrown.len() {
            if self.app_driver.inputs.largest_free() < INPUT_BYTES {
                break;
            }
            let first = self.outgrown.pop();
            self.read_what_was_held_back(first);
        }
        for _ in 0..self.bufferless.len() {
            if self.app_driver.inputs.largest_free() == 0 {
                break;
            }
            let first = self.bufferless.pop();
            self.read_what_was_held_back(first);
        }
    }

    fn read_what_was_held_back(&mut self, index: Option<u32>) {
        let Some(key) = index.and_then(|index| self.table.key_at(index)) else { return };
        let Some(session) = self.table.get_mut(key) else { return };
        session.io.readable |= session.io.held_back;
        self.visit(key);
    }

    fn pool_has_capacity(&self) -> bool {
        self.app_driver.pool.has_capacity(&Queue::default())
    }
}

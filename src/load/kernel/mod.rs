//! Sending through ordinary kernel sockets: one thread, one epoll, as little as possible around the
//! client.
//!
//! In comes a [`Client`] and where it goes, out goes the client when its run is over. Readiness is
//! edge-triggered: a socket is read until it has no more, and written until it takes no more.

mod connect;
mod transfer;

use super::client::{Client, Plan, ReadThrottle};
use super::protocol::{Protocol, Text};
use super::watch::Watch;
use crate::clock::{Clock, NEVER};
use crate::error::{Error, Result};
use connect::allow_descriptors;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use simoom_io::send::{Pool, QUEUE_ENTRIES};
use simoom_io::timer::{Tick, Wheel};
use simoom_io::{Closed, Connection, input};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

/// Events that are taken from the kernel at once.
const EVENTS: usize = 512;
/// Bytes that are read from a socket at once.
const READ_BYTES: usize = 256 * 1024;
/// Buffers of [`READ_BYTES`] for input that is not consumed; each connection has a small one
/// besides. Memory is only used once one is.
const LARGE_INPUTS: usize = 256;
/// The loop looks round at least so often.
const SLEEP_US: u64 = 5_000;
/// How long the loop spins after the last event before it sleeps: to be woken for each answer would
/// cost the server's core, which sends the wake-up, more than the answer itself.
const SPIN_US: u64 = 100;
/// Deadlines that are looked at in one go.
const DUE: usize = 64;

/// One connection, or the place for it.
struct Session<P: Protocol> {
    socket: Option<OwnedFd>,
    connected: bool,
    connection: Connection<Client<P>>,
    /// It stands in the line for the pool.
    waits: bool,
    /// There may be something to read,
    readable: bool,
    /// and the end of the stream behind it.
    peer_done: bool,
    deadline_us: u64,
}

/// The loop's state.
struct Kernel<P: Protocol> {
    client: Client<P>,
    target: SocketAddr,
    epoll: OwnedFd,
    sessions: Vec<Session<P>>,
    pool: Pool<Text>,
    /// Where answers wait that did not come whole, or are to be read later.
    inputs: input::Pool,
    /// Connections that wait for the pool, each at most once.
    waiting: VecDeque<u32>,
    /// A timer for each session.
    wheel: Wheel,
    /// How much is read at once.
    read_bytes: usize,
    clock: Clock,
    now_us: u64,
    worked_us: u64,
}

/// Runs the client to its end; `watch` may end it sooner.
pub(super) fn run<P: Protocol>(
    plan: &Plan,
    protocol: P,
    target: SocketAddr,
    watch: &mut Watch,
) -> Result<Client<P>> {
    allow_descriptors(plan.connections)?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)
        .map_err(|error| Error::because("epoll", error))?;
    let session = || Session {
        socket: None,
        connected: false,
        connection: Connection::default(),
        waits: false,
        readable: false,
        peer_done: false,
        deadline_us: NEVER,
    };
    // A request on each connection, and as much again: half of a pool is for empty queues. Where
    // requests are copied, some long batches besides; they are gone as soon as the socket has taken
    // them.
    let batches = 2 * plan.connections as usize + 4 * usize::from(QUEUE_ENTRIES);
    let chunks = if protocol.copied_bytes() > 0 { batches } else { usize::from(QUEUE_ENTRIES) };
    let clock = Clock::since_boot();
    let mut kernel = Kernel {
        client: Client::new(plan.clone(), protocol),
        target,
        epoll,
        sessions: (0..plan.connections).map(|_| session()).collect(),
        pool: Pool::new(batches, chunks),
        inputs: input::Pool::with_large_bytes(
            plan.connections as usize,
            (plan.connections as usize).min(LARGE_INPUTS),
            READ_BYTES,
        ),
        waiting: VecDeque::with_capacity(plan.connections as usize),
        wheel: Wheel::new(plan.connections, Tick::from_millis(clock.now_ms())),
        read_bytes: plan.slow.map_or(READ_BYTES, ReadThrottle::bytes_per_read),
        clock,
        now_us: 0,
        worked_us: 0,
    };
    kernel.go_on(watch)?;
    Ok(kernel.client)
}

impl<P: Protocol> Kernel<P> {
    fn go_on(&mut self, watch: &mut Watch) -> Result<()> {
        let mut events: Vec<epoll::Event> = Vec::with_capacity(EVENTS);
        let mut buffer = vec![0; self.read_bytes];
        loop {
            self.tick();
            watch.poll(self.now_us, &mut self.client);
            if self.client.schedule().is_over() {
                return Ok(());
            }
            while let Some(conn) = self.client.next_to_open() {
                self.connect(conn)?;
            }
            self.send_in_turn();
            self.resume_waiting();
            self.meet_deadlines(&mut buffer);
            events.clear();
            // What was done so far took time; what follows is waiting.
            self.tick();
            let timeout = self.wait_timeout();
            let spins = timeout.tv_nsec == 0;
            match epoll::wait(
                &self.epoll,
                rustix::buffer::spare_capacity(&mut events),
                Some(&timeout),
            ) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => {
                    self.worked_us = self.now_us;
                    if spins {
                        self.client.worked();
                    }
                }
                Err(error) => return Err(Error::because("waiting for answers", error)),
            }
            for event in &events {
                // A batch takes milliseconds: each of its answers has its own time.
                self.tick();
                self.handle(event.data.u64() as usize, event.flags, &mut buffer);
            }
        }
    }

    /// How long to wait for the next event: not past the next request, and at its heels not at all,
    /// for to be woken takes time too.
    fn wait_timeout(&self) -> Timespec {
        let next_us =
            self.client.next_us().map_or(NEVER, |next_us| next_us.saturating_sub(SPIN_US));
        let deadline = self
            .wheel
            .next_deadline()
            .map_or(NEVER, |at| self.tick_now().until(at).max(0) as u64 * 1000);
        let left_us = next_us.saturating_sub(self.now_us).min(SLEEP_US).min(deadline);
        let spins = self.now_us - self.worked_us < SPIN_US;
        Timespec { tv_sec: 0, tv_nsec: if spins { 0 } else { left_us as i64 * 1000 } }
    }

    fn tick(&mut self) {
        self.now_us = self.clock.now_us();
        self.client.tick(self.now_us);
    }

    fn send_in_turn(&mut self) {
        while let Some(slot) = self.client.next_to_send() {
            let slot = slot as usize;
            let session = &self.sessions[slot];
            if session.socket.is_none()
                || !session.connected
                || session.connection.flow.is_closing()
            {
                continue;
            }
            let sent = self.event(slot, |client, exchange| {
                exchange.act(|conn, reply| client.send(conn, reply))
            });
            if sent == Some(false) {
                return;
            }
        }
    }

    /// Tells the client of deadlines that have passed, and reads on where that was put off until
    /// then.
    fn meet_deadlines(&mut self, buffer: &mut [u8]) {
        let mut due = [0; DUE];
        loop {
            let count = self.wheel.expire(self.tick_now(), &mut due);
            for slot in &due[..count] {
                self.meet_deadline(*slot as usize, buffer);
            }
            if count < due.len() {
                return;
            }
        }
    }

    fn meet_deadline(&mut self, slot: usize, buffer: &mut [u8]) {
        let session = &mut self.sessions[slot];
        if session.socket.is_none() {
            return;
        }
        if session.connection.flow.has_yielded() {
            self.event(slot, |client, exchange| exchange.iterate(client));
        }
        let session = &mut self.sessions[slot];
        if session.deadline_us > self.now_us {
            if session.deadline_us != NEVER {
                // It was put off.
                self.wheel.schedule(slot as u32, tick_of(session.deadline_us));
            }
            // Input may wait for a buffer.
            return self.read(slot, buffer);
        }
        session.deadline_us = NEVER;
        if session.connection.flow.is_closing() {
            // The server does not close its side.
            return self.end(slot, Closed::Finished);
        }
        self.event(slot, |client, exchange| exchange.expire(client));
        self.read(slot, buffer);
    }

    /// The tick that it is, in the time of the run.
    fn tick_now(&self) -> Tick {
        Tick::from_millis(self.now_us / 1000)
    }
}

/// The first tick at which a deadline has passed.
fn tick_of(deadline_us: u64) -> Tick {
    Tick::from_millis(deadline_us.div_ceil(1000))
}

//! The event loop of one worker: in come epoll's events, orders and the passing of time, out go visits to the
//! connections they are for. Never blocks but in epoll_wait(2), and there until the next deadline.

use super::Settings;
use super::accept::reset;
use super::counters::Counters;
use super::deadline::Wheel;
use super::drain::is_idle;
use super::input::{INPUT_BYTES, Inputs};
use super::listener::Listener;
use super::publish::Publisher;
use super::session::{Due, Host, Session};
use super::table::{Key, Table};
use super::turns::Turns;
use super::visit::{Next, Socket, visit, write};
use crate::clock::{Clock, NEVER};
use crate::control::Mailbox;
use crate::hosted::Hosted;
use crate::metrics::Sheet;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::sockopt;
use simoom_stack::send::{Pool, Queue};
use simoom_stack::{Application, Closed, Reply};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Events taken from the kernel at once.
const EVENTS: usize = 256;
/// What epoll calls the mailbox; listeners are called by their number, connections by their key.
const MAILBOX: u64 = u32::MAX as u64;

/// One worker of the kernel transport, ready to [`run`](Server::run).
pub struct Server<A: Application> {
    pub(super) host: Host<A>,
    pub(super) table: Table<Session<A, Socket>>,
    wheel: Wheel,
    /// Connections that have more to do than one visit allows.
    turns: Turns,
    /// Connections that wait for room in the pool for answers.
    starved: Turns,
    /// Connections whose input waits in the kernel for a block of either size.
    blockless: Turns,
    /// The same, for a large block: they fill a small one.
    outgrown: Turns,
    pub(super) listeners: Vec<Listener>,
    pub(super) accept_again_ms: Option<u64>,
    pub(super) drain_until_ms: Option<u64>,
    pub(super) mailbox: Mailbox,
    pub(super) epoll: OwnedFd,
    scratch: Vec<u8>,
    clock: Clock,
    publisher: Publisher,
}

/// Bytes of what grows with the number of connections, and of the loop's own buffers.
pub(super) const fn memory_bytes<A: Application>(connections: usize) -> usize {
    Table::<Session<A, Socket>>::memory_bytes(connections)
        + Wheel::memory_bytes(connections)
        + 4 * Turns::memory_bytes(connections)
        + INPUT_BYTES
        + EVENTS * size_of::<epoll::Event>()
}

impl<A: Hosted> Server<A> {
    /// Takes all the memory it will ever use, and registers what it waits for.
    pub fn new(
        settings: &Settings,
        listeners: Vec<Listener>,
        app: A,
        mailbox: Mailbox,
        sheet: Arc<Sheet>,
    ) -> io::Result<Server<A>> {
        settings.check()?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &mailbox, epoll::EventData::new_u64(MAILBOX), epoll::EventFlags::IN)?;
        for (number, listener) in listeners.iter().enumerate() {
            let data = epoll::EventData::new_u64(number as u64);
            epoll::add(&epoll, listener, data, epoll::EventFlags::IN)?;
        }
        Ok(Server {
            host: Host {
                app,
                pool: Pool::new(settings.send_entries, settings.send_chunks),
                inputs: Inputs::new(settings.small_inputs, settings.large_inputs),
                counters: Counters::default(),
                now_ms: 0,
                send_timeout: settings.send_timeout,
                linger_timeout: settings.linger_timeout,
            },
            table: Table::new(settings.connections),
            wheel: Wheel::new(settings.connections),
            turns: Turns::new(settings.connections),
            starved: Turns::new(settings.connections),
            blockless: Turns::new(settings.connections),
            outgrown: Turns::new(settings.connections),
            listeners,
            accept_again_ms: None,
            drain_until_ms: None,
            mailbox,
            epoll,
            scratch: vec![0; INPUT_BYTES],
            clock: Clock::new(),
            publisher: Publisher::new(sheet),
        })
    }

    /// Serves until an order to drain has been carried out, or the kernel refuses what a server cannot do without.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(EVENTS);
        self.tick();
        while !self.is_done() {
            self.publisher.publish_if_due(&mut self.host, self.table.len());
            self.wait(&mut events)?;
            self.tick();
            for event in events.drain(..) {
                self.handle(event)?;
            }
            self.fire_deadlines();
            self.give_turns();
            self.give_room();
            self.give_blocks();
            self.resume_accepting()?;
        }
        self.cut_off();
        self.publisher.publish(&mut self.host, self.table.len());
        Ok(())
    }

    fn tick(&mut self) {
        self.host.now_ms = self.clock.now_ms();
        if let Some(unix_seconds) = self.clock.new_second(self.host.now_ms) {
            self.host.app.clock(unix_seconds);
        }
    }

    fn wait(&mut self, events: &mut Vec<epoll::Event>) -> io::Result<()> {
        let timeout = self
            .sleep_ms()
            .map(|ms| Timespec { tv_sec: (ms / 1000) as i64, tv_nsec: (ms % 1000 * 1_000_000) as i64 });
        self.host.counters.wait_calls += 1;
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(events), timeout.as_ref()) {
            Ok(count) => self.publisher.stale |= count > 0,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// How long there is nothing to do unless something happens; `None`: for ever.
    fn sleep_ms(&self) -> Option<u64> {
        let inputs = &self.host.inputs;
        if !self.turns.is_empty()
            || (!self.starved.is_empty() && self.pool_has_room())
            || (!self.blockless.is_empty() && inputs.largest_free() > 0)
            || (!self.outgrown.is_empty() && inputs.largest_free() == INPUT_BYTES)
        {
            return Some(0);
        }
        let publish_ms = self.publisher.stale.then_some(self.publisher.next_ms);
        let first = [self.wheel.next_ms(), self.accept_again_ms, self.drain_until_ms, publish_ms];
        let first = first.into_iter().flatten().min()?;
        // A day at most, which fits every kernel's idea of a timeout.
        Some(first.saturating_sub(self.host.now_ms).min(86_400_000))
    }

    fn handle(&mut self, event: epoll::Event) -> io::Result<()> {
        match event.data.u64() {
            MAILBOX => self.obey(),
            number if number < MAILBOX => self.accept(number as usize)?,
            bits => self.connection_event(Key::from_bits(bits), event.flags),
        }
        Ok(())
    }

    fn connection_event(&mut self, key: Key, flags: epoll::EventFlags) {
        let Some(session) = self.table.get_mut(key) else { return };
        if flags.contains(epoll::EventFlags::ERR) {
            let how = match sockopt::socket_error(&session.io.fd) {
                Ok(Ok(())) => None,
                Ok(Err(Errno::TIMEDOUT)) => Some(Closed::TimedOut),
                Ok(Err(_)) | Err(_) => Some(Closed::ResetByPeer),
            };
            if let Some(how) = how {
                return self.end(key, how);
            }
        }
        let peer_done = flags.intersects(epoll::EventFlags::RDHUP | epoll::EventFlags::HUP);
        session.io.peer_done |= peer_done;
        session.io.readable |= peer_done || flags.contains(epoll::EventFlags::IN);
        session.io.writable |= flags.contains(epoll::EventFlags::OUT);
        self.visit(key);
    }

    /// Visits a connection and sees to what it waits for after that.
    pub(super) fn visit(&mut self, key: Key) {
        let Some(session) = self.table.get_mut(key) else { return };
        let next = visit(&mut self.host, session, &mut self.scratch);
        if let Next::Over(how) = next {
            return self.end(key, how);
        }
        if self.drain_until_ms.is_some() && next == Next::Event && is_idle(&self.host, session) {
            self.host.close(session);
            return self.visit(key);
        }
        if !session.io.writable && !session.io.polls_out && !poll_out(&self.epoll, key, session) {
            return self.end(key, Closed::Aborted);
        }
        let deadline_ms = session.next_deadline_ms();
        if deadline_ms != NEVER {
            self.wheel.arm(key.index, deadline_ms);
        }
        match next {
            Next::Turn => self.turns.join(key.index),
            Next::Room => self.starved.join(key.index),
            Next::Block if session.kept.is_empty() => self.blockless.join(key.index),
            Next::Block => self.outgrown.join(key.index),
            Next::Event | Next::Over(_) => {}
        }
    }

    /// Ends a connection. A reset tells the peer that an answer was cut off.
    pub(super) fn end(&mut self, key: Key, how: Closed) {
        let Some(session) = self.table.remove(key) else { return };
        self.wheel.disarm(key.index);
        let cut_off = how == Closed::Aborted || !session.queue.is_empty();
        let socket = self.host.end(session, how);
        if cut_off {
            reset(&socket.fd);
        }
    }

    fn fire_deadlines(&mut self) {
        while let Some(index) = self.wheel.expired(self.host.now_ms) {
            self.publisher.stale = true;
            let Some(key) = self.table.key_at(index) else { continue };
            let Some(session) = self.table.get_mut(key) else { continue };
            match self.host.due(session) {
                Due::Nothing | Due::Application => self.visit(key),
                Due::Linger => self.end(key, Closed::TimedOut),
                Due::Send => self.retry_send(key),
            }
        }
    }

    /// EPOLLOUT comes when a good part of the socket's buffer is free, which a slow peer may take longer for than
    /// the send timeout: only if the socket takes nothing at all has the peer taken nothing.
    fn retry_send(&mut self, key: Key) {
        let Some(session) = self.table.get_mut(key) else { return };
        let before = session.queue.len();
        match write(&mut self.host, session, &mut self.scratch) {
            Err(how) => self.end(key, how),
            Ok(()) if session.queue.len() == before => self.end(key, Closed::TimedOut),
            Ok(()) => self.visit(key),
        }
    }

    fn give_turns(&mut self) {
        for _ in 0..self.turns.len() {
            if let Some(key) = self.turns.next().and_then(|index| self.table.key_at(index)) {
                self.visit(key);
            }
        }
    }

    fn give_room(&mut self) {
        for _ in 0..self.starved.len() {
            if !self.pool_has_room() {
                return;
            }
            if let Some(key) = self.starved.next().and_then(|index| self.table.key_at(index)) {
                self.visit(key);
            }
        }
    }

    fn give_blocks(&mut self) {
        for _ in 0..self.outgrown.len() {
            if self.host.inputs.largest_free() < INPUT_BYTES {
                break;
            }
            let first = self.outgrown.next();
            self.read_what_was_held_back(first);
        }
        for _ in 0..self.blockless.len() {
            if self.host.inputs.largest_free() == 0 {
                break;
            }
            let first = self.blockless.next();
            self.read_what_was_held_back(first);
        }
    }

    fn read_what_was_held_back(&mut self, index: Option<u32>) {
        let Some(key) = index.and_then(|index| self.table.key_at(index)) else { return };
        let Some(session) = self.table.get_mut(key) else { return };
        session.io.readable |= session.io.held_back;
        self.visit(key);
    }

    fn pool_has_room(&self) -> bool {
        Reply::room(&self.host.pool, &Queue::default())
    }
}

/// Has epoll tell when the socket takes bytes again, from now on.
fn poll_out<A: Application>(epoll: &OwnedFd, key: Key, session: &mut Session<A, Socket>) -> bool {
    session.io.polls_out = true;
    let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
    epoll::modify(epoll, &session.io.fd, epoll::EventData::new_u64(key.to_bits()), flags).is_ok()
}

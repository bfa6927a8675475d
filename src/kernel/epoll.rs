//! The event loop of one worker: in come epoll's events, orders and the passing of time, out go visits to the
//! connections they are for. Never blocks but in epoll_wait(2), and there until the next deadline.

use super::accept::reset;
use super::counters::Counters;
use super::drain::is_idle;
use super::listener::Listener;
use super::session::{Due, Host, Session};
use super::table::{Key, Table};
use super::turns::Turns;
use super::visit::{Next, Socket, visit, write};
use super::{INPUT_BYTES, Settings};
use crate::clock::{Clock, NEVER, look_at};
use crate::control::Mailbox;
use crate::hosted::Hosted;
use crate::metrics::{Publisher, Sheet};
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::sockopt;
use simoom_stack::keep;
use simoom_stack::send::{Pool, Queue};
use simoom_stack::timer::{Tick, Wheel};
use simoom_stack::{Application, Closed, Reply};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Events taken from the kernel at once.
const EVENTS: usize = 256;
/// A day: the wheel must be turned while its ticks still compare, and every kernel knows such a timeout.
const LONGEST_SLEEP_MS: u64 = 86_400_000;
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
    /// Connections whose input waits in the kernel for a buffer of either size.
    bufferless: Turns,
    /// The same, for a large buffer: they fill a small one.
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
        + Wheel::memory_bytes(connections as u32)
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
                inputs: keep::Pool::with_large_bytes(settings.small_inputs, settings.large_inputs, INPUT_BYTES),
                counters: Counters::default(),
                now_ms: 0,
                send_timeout: settings.send_timeout,
                linger_timeout: settings.linger_timeout,
            },
            table: Table::new(settings.connections),
            wheel: Wheel::new(settings.connections as u32, Tick::from_millis(0)),
            turns: Turns::new(settings.connections),
            starved: Turns::new(settings.connections),
            bufferless: Turns::new(settings.connections),
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
            if self.publisher.is_due(self.host.now_ms) {
                self.publish();
            }
            self.wait(&mut events)?;
            self.tick();
            for event in events.drain(..) {
                self.handle(event)?;
            }
            self.fire_deadlines();
            self.give_turns();
            self.give_room();
            self.give_buffers();
            self.resume_accepting()?;
        }
        self.cut_off();
        self.publish();
        Ok(())
    }

    fn publish(&mut self) {
        let host = &mut self.host;
        host.counters.connections_open = self.table.len() as u64;
        self.publisher.publish(host.now_ms, |counts| {
            counts.extend(host.counters.iter());
            host.app.publish(&mut |name, value| counts.push((name, value)));
        });
    }

    fn tick(&mut self) {
        self.host.now_ms = self.clock.now_ms();
        if let Some(unix_seconds) = self.clock.new_second(self.host.now_ms) {
            self.host.app.clock(unix_seconds);
        }
    }

    fn wait(&mut self, events: &mut Vec<epoll::Event>) -> io::Result<()> {
        let ms = self.sleep_ms();
        let timeout = Timespec { tv_sec: (ms / 1000) as i64, tv_nsec: (ms % 1000 * 1_000_000) as i64 };
        self.host.counters.wait_calls += 1;
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(events), Some(&timeout)) {
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => self.publisher.touch(),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// How long there is nothing to do unless something happens.
    fn sleep_ms(&self) -> u64 {
        let inputs = &self.host.inputs;
        if !self.turns.is_empty()
            || (!self.starved.is_empty() && self.pool_has_room())
            || (!self.bufferless.is_empty() && inputs.largest_free() > 0)
            || (!self.outgrown.is_empty() && inputs.largest_free() == INPUT_BYTES)
        {
            return 0;
        }
        let duties = [self.accept_again_ms, self.drain_until_ms, self.publisher.next_ms()];
        let duties = duties.into_iter().flatten().map(|at_ms| at_ms.saturating_sub(self.host.now_ms));
        let now = Tick::from_millis(self.host.now_ms);
        let deadline = self.wheel.next_deadline().map(|at| now.until(at).max(0) as u64);
        duties.chain(deadline).min().unwrap_or(LONGEST_SLEEP_MS).min(LONGEST_SLEEP_MS)
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
            self.wheel.bring_forward(key.index, look_at(deadline_ms, self.host.now_ms));
        }
        match next {
            Next::Turn => self.turns.join(key.index),
            Next::Room => self.starved.join(key.index),
            Next::Buffer if session.kept.is_empty() => self.bufferless.join(key.index),
            Next::Buffer => self.outgrown.join(key.index),
            Next::Event | Next::Over(_) => {}
        }
    }

    /// Ends a connection. A reset tells the peer that an answer was cut off.
    pub(super) fn end(&mut self, key: Key, how: Closed) {
        let Some(session) = self.table.remove(key) else { return };
        self.wheel.cancel(key.index);
        let cut_off = how == Closed::Aborted || !session.queue.is_empty();
        let socket = self.host.end(session, how);
        if cut_off {
            reset(&socket.fd);
        }
    }

    fn fire_deadlines(&mut self) {
        let now = Tick::from_millis(self.host.now_ms);
        let mut due = [0];
        while self.wheel.expire(now, &mut due) > 0 {
            self.publisher.touch();
            let Some(key) = self.table.key_at(due[0]) else { continue };
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

    fn give_buffers(&mut self) {
        for _ in 0..self.outgrown.len() {
            if self.host.inputs.largest_free() < INPUT_BYTES {
                break;
            }
            let first = self.outgrown.next();
            self.read_what_was_held_back(first);
        }
        for _ in 0..self.bufferless.len() {
            if self.host.inputs.largest_free() == 0 {
                break;
            }
            let first = self.bufferless.next();
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

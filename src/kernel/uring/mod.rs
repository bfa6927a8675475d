//! The io_uring driver of a worker. Completions become calls of the application. One submission in
//! each iteration sends all answers and starts all waits.
//!
//! The first receive of a connection is a single operation, so that a connection with one request
//! has none to cancel. Later receives are multishot. All connections share the receive buffers
//! ([`input`]). The answers of an iteration are sent together ([`output`]), with the operations
//! that each connection waits for ([`operations`]). If the socket is full, the send pool is
//! exhausted or no input buffer is free, the connection is no longer received from. Its input then
//! stays in the kernel, is read by [`visit`](super::visit) and polled as over epoll, until the
//! connection is idle again.
//!
//! Completions appear only in calls that enter the ring (DEFER_TASKRUN). After all completions are
//! handled, undelivered input is in the kernel, and reading it there keeps the order. Before that
//! it would not, so a completion does not visit its connection: it adds it to the run queue.

pub(super) mod ability;
mod held;
mod input;
mod operations;
mod output;

use super::Settings;
use super::listener::Listener;
use super::server::{Driver, Readiness, Server};
use super::session::Session;
use super::socket::{Part, Socket};
use super::sys::{Completion, Ring};
use super::table::Key;
use super::wait_queue::WaitQueue;
use crate::control::CommandReceiver;
use crate::handler::Handler;
use held::Held;
use operations::Operations;
use output::Step;
use rustix::event::PollFlags;
use rustix::io::Errno;
use simoom_io::Application;
use std::io;
use std::time::Duration;

pub(super) struct Uring {
    /// The ring, and the receive buffers that connections hold.
    shared: Shared,
    /// Connections with data to send or operations to start.
    changed: WaitQueue,
    /// Operations to start in one submission, by connection.
    steps: Vec<Step>,
    /// Whether an accept is in progress, for each listener.
    accepting: Vec<bool>,
    /// Whether connections are to be accepted.
    accepts: bool,
    /// Whether a poll of the eventfd is in progress.
    wakes: bool,
}

/// State of receiving that all connections share.
pub(super) struct Shared {
    ring: Ring,
    held: Held,
}

impl Driver for Uring {
    type Part = Operations;
    type Shared = Shared;

    fn memory_bytes(settings: &Settings) -> usize {
        Ring::memory_bytes(settings.receive_buffers)
            + Held::memory_bytes(settings.receive_buffers)
            + WaitQueue::memory_bytes(settings.connections)
            + output::STEPS * size_of::<Step>()
    }

    fn new(settings: &Settings, _: &CommandReceiver) -> io::Result<Uring> {
        Ok(Uring {
            shared: Shared {
                ring: Ring::new(settings.receive_buffers)?,
                held: Held::new(settings.receive_buffers),
            },
            changed: WaitQueue::new(settings.connections),
            steps: Vec::with_capacity(output::STEPS),
            accepting: Vec::new(),
            accepts: true,
            wakes: false,
        })
    }

    fn shared(&mut self) -> &mut Shared {
        &mut self.shared
    }

    fn wait<A: Handler>(server: &mut Server<A, Uring>) -> io::Result<()> {
        output::submit(server)?;
        if !handle_all(server)? && server.driver.changed.is_empty() {
            let timeout = server.sleep();
            server.app_driver.counters.wait_calls += 1;
            server.driver.shared.ring.wait(timeout)?;
            handle_all(server)?;
        }
        Ok(())
    }

    fn prepare(&mut self, _: &mut Socket<Operations>) {}

    fn arrange<A: Application>(
        &mut self,
        key: Key,
        session: &mut Session<A, Socket<Operations>>,
    ) -> bool {
        let _ = session;
        self.changed.push(key.index);
        true
    }

    fn close(&mut self, key: Key, socket: Socket<Operations>) {
        socket.part.abandon(key, &mut self.shared);
        self.shared.ring.close(socket.fd);
    }

    fn add_listener(&mut self, _: usize, _: &Listener) -> io::Result<()> {
        self.accepting.push(false);
        Ok(())
    }

    fn remove_listener(&mut self, number: usize) {
        // The operation keeps the socket open until then.
        self.shared.ring.stop_accept(number);
    }

    fn watch_listeners(&mut self, _: &[Option<Listener>], watch: bool) -> io::Result<()> {
        self.accepts = watch;
        Ok(())
    }

    fn release_listeners<A: Handler>(server: &mut Server<A, Uring>) -> io::Result<()> {
        server.driver.accepts = false;
        let numbers = 0..server.driver.accepting.len();
        numbers.for_each(|number| server.driver.shared.ring.stop_accept(number));
        while server.driver.accepting.contains(&true) {
            server.driver.shared.ring.wait(Duration::from_secs(1))?;
            handle_all(server)?;
        }
        Ok(())
    }

    fn settle<A: Handler>(server: &mut Server<A, Uring>) -> io::Result<()> {
        output::submit(server)?;
        handle_all(server).map(drop)
    }
}

/// Handles all completions. Returns whether there were any.
fn handle_all<A: Handler>(server: &mut Server<A, Uring>) -> io::Result<bool> {
    server.tick();
    let mut any = false;
    while let Some(completion) = server.driver.shared.ring.next() {
        any = true;
        handle(server, completion)?;
    }
    if any {
        server.exporter.touch();
    }
    Ok(any)
}

fn handle<A: Handler>(server: &mut Server<A, Uring>, completion: Completion) -> io::Result<()> {
    match completion {
        Completion::Received { key, input, more } => input::received(server, key, input, more),
        Completion::Sent { key, taken } => output::sent(server, key, taken),
        Completion::Ready { key, events, more } => ready(server, key, events, more),
        Completion::HungUp { key, events } => hung_up(server, key, events),
        Completion::Accepted { listener, socket, more } => {
            server.driver.accepting[listener] = more;
            match socket {
                Err(Errno::CANCELED) => {}
                socket => server.accepted(listener, socket)?,
            }
        }
        Completion::Woken { more } => {
            server.driver.wakes = more;
            server.commands_pending = true;
        }
    }
    Ok(())
}

/// Handles a completion of a poll.
fn ready<A: Handler>(
    server: &mut Server<A, Uring>,
    key: Key,
    events: Result<PollFlags, Errno>,
    more: bool,
) {
    let Some(session) = server.table.get_mut(key) else { return };
    if !more {
        session.io.part.poll_ended();
    }
    server.run_queue.push(key.index);
    let Ok(events) = events else { return };
    // Input is received, unless receiving has ended or is to end.
    let reads = !session.io.part.receives();
    let readiness = Readiness {
        readable: reads && events.contains(PollFlags::IN),
        writable: events.contains(PollFlags::OUT) && !session.io.part.is_sending(),
        peer_done: reads && events.intersects(PollFlags::RDHUP | PollFlags::HUP),
        error: events.contains(PollFlags::ERR),
    };
    server.note(key, readiness);
}

/// Handles a completion of the hang-up poll. A FIN is received behind the input.
fn hung_up<A: Handler>(server: &mut Server<A, Uring>, key: Key, events: Result<PollFlags, Errno>) {
    let Some(session) = server.table.get_mut(key) else { return };
    session.io.part.hangup_told();
    let Ok(events) = events else { return };
    if events.intersects(PollFlags::ERR | PollFlags::HUP) {
        let error = events.contains(PollFlags::ERR);
        // If the error was already read, the next read finds the end.
        server.note(key, Readiness { readable: true, error, ..Readiness::default() });
        server.run_queue.push(key.index);
    }
}

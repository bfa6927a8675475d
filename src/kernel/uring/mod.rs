//! io_uring as a worker's driver: in come completions, out go calls to the application and, once a
//! turn, one submission with all that the turn has brought to send and to wait for.
//!
//! A connection is received from once, and then by a multishot operation: one that is for a single
//! request has none to end. All connections share the buffers for that ([`input`]). The answers of
//! a turn are sent together ([`output`]), and what each connection waits for is brought about with
//! them ([`operations`]). That is the way of a connection without trouble. One that has trouble,
//! because its socket is full, the application has no room or there is no buffer for its input, is
//! no longer received from: its input stays in the kernel, is read by [`visit`](super::visit) and
//! watched by poll, as over epoll, until it is idle again.
//!
//! Nothing happens outside the calls that enter the ring (DEFER_TASKRUN): once all completions are
//! handled, whatever a connection has not been given lies in the kernel, and reading it there keeps
//! the order. Until then it would not, so no completion has its connection visited at once: it
//! joins the line of those that wait for their turn.

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
    /// The ring and the buffers that connections hold.
    shared: Shared,
    /// Connections that have something to send or to have brought about.
    changed: WaitQueue,
    /// What the connections of one submission take part in it with.
    steps: Vec<Step>,
    /// For each listener, whether an accept is under way.
    accepting: Vec<bool>,
    /// Listeners are to be accepted from.
    accepts: bool,
    /// A wake-up is under way.
    wakes: bool,
}

/// What all connections' receiving shares.
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

    fn new(settings: &Settings, listeners: &[Listener], _: &CommandReceiver) -> io::Result<Uring> {
        Ok(Uring {
            shared: Shared {
                ring: Ring::new(settings.receive_buffers)?,
                held: Held::new(settings.receive_buffers),
            },
            changed: WaitQueue::new(settings.connections),
            steps: Vec::with_capacity(output::STEPS),
            accepting: vec![false; listeners.len()],
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

    fn watch_listeners(&mut self, _: &[Listener], watch: bool) -> io::Result<()> {
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

/// Handles what has happened, and says whether anything has.
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

/// A poll has told something of a connection's socket, or has ended.
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
    // What comes is received, unless receiving has ended or is to end.
    let reads = !session.io.part.receives();
    let readiness = Readiness {
        readable: reads && events.contains(PollFlags::IN),
        writable: events.contains(PollFlags::OUT) && !session.io.part.is_sending(),
        peer_done: reads && events.intersects(PollFlags::RDHUP | PollFlags::HUP),
        error: events.contains(PollFlags::ERR),
    };
    server.note(key, readiness);
}

/// The peer has reset or closed the connection. A FIN is received with the input before it.
fn hung_up<A: Handler>(server: &mut Server<A, Uring>, key: Key, events: Result<PollFlags, Errno>) {
    let Some(session) = server.table.get_mut(key) else { return };
    session.io.part.hangup_told();
    let Ok(events) = events else { return };
    if events.intersects(PollFlags::ERR | PollFlags::HUP) {
        let error = events.contains(PollFlags::ERR);
        // If something else has taken the error, reading finds the end.
        server.note(key, Readiness { readable: true, error, ..Readiness::default() });
        server.run_queue.push(key.index);
    }
}

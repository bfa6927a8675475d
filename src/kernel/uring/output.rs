//! The submission of an iteration: sends answers and starts the waits of the changed connections.
//! Later handles the number of bytes that the sockets accepted. A connection has at most one send
//! in progress.

use super::Uring;
use super::input::needs_visit;
use super::operations::{Receiving, Start, change};
use crate::handler::Handler;
use crate::kernel::run_queue::CROWD;
use crate::kernel::server::Server;
use crate::kernel::table::Key;
use crate::kernel::visit::{CROWDED_WRITE_MAX_BYTES, within, write_max};
use rustix::io::Errno;
use simoom_io::Closed;
use std::io;
use std::os::fd::AsFd;

/// Connections in one submission.
pub(super) const STEPS: usize = 256;

/// The operations to start for one connection.
pub(super) struct Step {
    key: Key,
    start: Start,
}

/// Submits all pending operations without waiting.
pub(super) fn submit<A: Handler>(server: &mut Server<A, Uring>) -> io::Result<()> {
    loop {
        collect(server);
        let driver = &server.driver;
        let listens = driver.accepts && server.accept_again_ms.is_none() && has_unaccepted(server);
        if driver.steps.is_empty() && driver.wakes && !listens {
            return Ok(());
        }
        server.app_driver.counters.wait_calls += 1;
        start_all(server, listens)?;
        if server.driver.changed.is_empty() {
            return Ok(());
        }
    }
}

/// Whether no accept is in progress for a listener.
fn has_unaccepted<A: Handler>(server: &Server<A, Uring>) -> bool {
    let all = server.listeners.iter().zip(&server.driver.accepting);
    all.filter(|(listener, _)| listener.is_some()).any(|(_, accepting)| !accepting)
}

/// Collects the operations of the changed connections.
fn collect<A: Handler>(server: &mut Server<A, Uring>) {
    let driver = &mut server.driver;
    driver.steps.clear();
    let write_max = write_max(driver.changed.len() + server.run_queue.len() > CROWD);
    while driver.steps.len() < STEPS
        && let Some(index) = driver.changed.pop()
    {
        let Some(key) = server.table.key_at(index) else { continue };
        let Some(session) = server.table.get_mut(key) else { continue };
        let start = change(key, session, &mut driver.shared, write_max);
        if !start.is_nothing() {
            driver.steps.push(Step { key, start });
        }
        server.app_driver.counters.write_calls += u64::from(start.send);
    }
}

fn start_all<A: Handler>(server: &mut Server<A, Uring>, listens: bool) -> io::Result<()> {
    let Server { driver, table, app_driver, commands, listeners, .. } = server;
    let Uring { shared, steps, accepting, wakes, .. } = driver;
    let (table, pool) = (&*table, &app_driver.pool);
    shared.ring.submit(|batch| {
        if !std::mem::replace(wakes, true) {
            batch.wake(commands.as_fd());
        }
        for (number, listener) in listeners.iter().enumerate().filter(|_| listens) {
            let Some(listener) = listener else { continue };
            if !std::mem::replace(&mut accepting[number], true) {
                batch.accept(listener.as_fd(), number);
            }
        }
        for Step { key, start } in steps.iter() {
            let Some(session) = table.get(*key) else { continue };
            let socket = session.io.fd.as_fd();
            if start.send {
                let len = session.io.part.sent_bytes() as usize;
                let slices = within(session.connection.queue.slices(pool), len);
                let is_last = session.sends_last_with(len as u64);
                batch.send(socket, *key, is_last, len, slices);
            }
            match start.receive {
                Some(Receiving::Once) => batch.receive_once(socket, *key),
                Some(Receiving::UntilStopped) => batch.receive(socket, *key),
                None => {}
            }
            if let Some((events, each_time)) = start.poll {
                batch.poll(socket, *key, events, each_time);
            }
            if start.hangup {
                batch.hangup(socket, *key);
            }
        }
    })
}

/// Handles a completion of a send.
pub(super) fn sent<A: Handler>(
    server: &mut Server<A, Uring>,
    key: Key,
    taken: Result<usize, Errno>,
) {
    let Some(session) = server.table.get_mut(key) else { return };
    let given = session.io.part.send_ended();
    let taken = match taken {
        Ok(taken) => taken,
        Err(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM | Errno::INTR) => 0,
        Err(Errno::TIMEDOUT) => return server.end(key, Closed::TimedOut),
        Err(_) => return server.end(key, Closed::ResetByPeer),
    };
    session.io.writable = taken as u64 == given;
    server.app_driver.counters.socket_full += u64::from(!session.io.writable);
    server.app_driver.sent(session, taken);
    let io = &session.io;
    if io.writable
        && given >= CROWDED_WRITE_MAX_BYTES as u64
        && !session.connection.queue.is_empty()
    {
        // The rest of a long answer: in turn with others like it.
        return server.run_queue.push_again(key.index);
    }
    let is_through =
        io.writable && session.connection.queue.is_empty() && !io.readable && !io.part.is_careful();
    if !is_through || needs_visit(session) || server.drain.is_some() {
        server.run_queue.push(key.index);
    }
}

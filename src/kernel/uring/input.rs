//! Received input of a connection: delivers filled receive buffers to the application without a
//! copy. The unconsumed rest is copied to an input buffer. If none is free, the receive buffer is
//! held for a visit. Every buffer is returned or held.

use super::{Shared, Uring};
use crate::handler::Handler;
use crate::kernel::server::Server;
use crate::kernel::session::{AppDriver, Phase, Session};
use crate::kernel::socket::Socket;
use crate::kernel::sys::Buffer;
use crate::kernel::table::Key;
use crate::kernel::visit::Next;
use rustix::io::Errno;
use simoom_io::{Application, Closed};

/// Handles a completion of a receive.
pub(super) fn received<A: Handler>(
    server: &mut Server<A, Uring>,
    key: Key,
    input: Result<Option<Buffer>, Errno>,
    more: bool,
) {
    let shared = &mut server.driver.shared;
    let Some(session) = server.table.get_mut(key) else {
        if let Ok(Some(buffer)) = input {
            shared.ring.give(buffer);
        }
        return;
    };
    if !more {
        session.io.part.receive_ended();
    }
    match input {
        Ok(Some(buffer)) => {
            take(&mut server.app_driver, session, shared, buffer);
            if session.phase() == Phase::Aborted {
                return server.end(key, Closed::Aborted);
            }
            if session.connection.flow.has_yielded() {
                server.app_driver.counters.shares_used_up +=
                    u64::from(!server.run_queue.contains(key.index));
                return server.leave(key, Next::Iteration);
            }
            if !session.io.readable && !needs_visit(session) {
                return server.leave(key, Next::Event);
            }
        }
        Ok(None) => {
            session.io.peer_done = true;
            session.io.eof = session.io.part.held.is_empty();
            if session.phase() == Phase::Lingering && session.io.eof {
                return server.end(key, Closed::Finished);
            }
            session.io.readable = !session.io.eof;
        }
        Err(Errno::NOBUFS) => {
            server.app_driver.counters.receive_buffers_exhausted += 1;
            session.io.readable = true;
        }
        Err(Errno::CANCELED | Errno::INTR | Errno::AGAIN) => {}
        Err(Errno::TIMEDOUT) => return server.end(key, Closed::TimedOut),
        Err(_) => return server.end(key, Closed::ResetByPeer),
    }
    server.run_queue.push(key.index);
}

/// Whether the session needs more than a send of its queue.
pub(super) fn needs_visit<A: Application>(session: &Session<A, Socket<super::Operations>>) -> bool {
    session.connection.queue.is_empty()
        && (session.connection.flow.wants_capacity() || session.phase() == Phase::Closing)
}

/// Delivers the bytes in `buffer`, or holds them.
fn take<A: Handler>(
    app_driver: &mut AppDriver<A>,
    session: &mut Session<A, Socket<super::Operations>>,
    shared: &mut Shared,
    buffer: Buffer,
) {
    app_driver.counters.read_calls += 1;
    if session.phase() != Phase::Open {
        if !app_driver.dropped(session, buffer.len()) {
            app_driver.abort(session);
        }
        return shared.ring.give(buffer);
    }
    let waits = session.connection.flow.is_paused()
        || session.io.held_back
        || !session.io.part.held.is_empty();
    let done = if waits { 0 } else { app_driver.receive(session, shared.ring.bytes(&buffer)) };
    app_driver.counters.bytes_received += done as u64;
    if done == buffer.len() {
        return shared.ring.give(buffer);
    }
    shared.held.push(&mut session.io.part.held, buffer, done);
    session.io.readable = true;
}

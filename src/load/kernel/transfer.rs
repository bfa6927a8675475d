//! Reading and writing: readiness in, calls of the client out, and what it queued to the socket.

use super::super::client::Client;
use super::super::protocol::{Protocol, Text};
use super::connect::ending;
use super::{Kernel, Session, tick_of};
use crate::clock::NEVER;
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, sockopt};
use simoom_io::connection::Buffered;
use simoom_io::{Application, Closed, ConnectionId, Exchange, Opened, Requests};

/// What an event of a connection works with.
type Event<'a, P> = Exchange<'a, <Client<P> as Application>::Conn, Text, Buffered<'a>>;

impl<P: Protocol> Kernel<P> {
    /// Handles an event of a connection, does what the client asks for, and writes what it queued.
    /// `None` if there is no connection.
    pub(super) fn event<R>(
        &mut self,
        slot: usize,
        event: impl FnOnce(&mut Client<P>, &mut Event<'_, P>) -> R,
    ) -> Option<R> {
        let result = self.event_unwritten(slot, event)?;
        self.write(slot);
        Some(result)
    }

    fn event_unwritten<R>(
        &mut self,
        slot: usize,
        event: impl FnOnce(&mut Client<P>, &mut Event<'_, P>) -> R,
    ) -> Option<R> {
        let session = &mut self.sessions[slot];
        session.socket.as_ref()?;
        let was_open = session.connection.flow.is_open();
        let mut exchange = session.connection.exchange(&mut self.pool, &mut self.inputs);
        let result = event(&mut self.client, &mut exchange);
        let requests = exchange.requests();
        self.serve(slot, requests, was_open);
        Some(result)
    }

    /// Does what only the transport can do.
    fn serve(&mut self, slot: usize, requests: Requests, was_open: bool) {
        let next_tick = self.tick_now().plus(1);
        let session = &mut self.sessions[slot];
        let Some(socket) = &session.socket else { return };
        let flow = session.connection.flow;
        if flow.is_aborted() {
            // Closing then resets.
            let _ = sockopt::set_socket_linger(socket, Some(std::time::Duration::ZERO));
            return self.end(slot, Closed::Aborted);
        }
        if requests.yields {
            // The next iteration is a tick away.
            self.wheel.bring_forward(slot as u32, next_tick);
        }
        let after = match requests.deadline {
            // The server may take as long to close its side.
            _ if was_open && flow.is_closing() => Some(self.client.answer_timeout()),
            Some(after) => after,
            None => return,
        };
        session.deadline_us = after.map_or(NEVER, |after| self.now_us + after.total_micros());
        if session.deadline_us != NEVER {
            self.wheel.bring_forward(slot as u32, tick_of(session.deadline_us));
        }
    }

    /// Writes what is queued, as far as the socket takes it, and lets the client queue more if it
    /// waits to.
    fn write(&mut self, slot: usize) {
        loop {
            self.write_queued(slot);
            let session = &mut self.sessions[slot];
            if session.socket.is_none() || !session.connection.flow.wants_capacity() {
                return;
            }
            if self.event_unwritten(slot, |client, exchange| exchange.resume(client)) != Some(true)
            {
                break;
            }
        }
        let session = &mut self.sessions[slot];
        if session.connection.queue.is_empty() && !session.waits {
            // Others hold the pool.
            session.waits = true;
            self.waiting.push_back(slot as u32);
        }
    }

    fn write_queued(&mut self, slot: usize) {
        let Session { socket: Some(socket), connection, .. } = &mut self.sessions[slot] else {
            return;
        };
        let queue = &mut connection.queue;
        while !queue.is_empty() {
            let bytes = queue.slices(&self.pool).next().unwrap_or_default();
            let sent = rustix::net::send(&*socket, bytes, SendFlags::NOSIGNAL);
            match sent {
                Ok(sent) => queue.acknowledge(&mut self.pool, sent as u64),
                Err(Errno::AGAIN | Errno::INTR) => return,
                // What the server did is found out when the socket is read.
                Err(_) => return queue.clear(&mut self.pool),
            }
        }
        if connection.flow.is_closing() {
            let _ = rustix::net::shutdown(&*socket, Shutdown::Write);
        }
    }

    /// Lets connections go on that waited for the pool, in the order in which they came.
    pub(super) fn resume_waiting(&mut self) {
        for _ in 0..self.waiting.len() {
            let Some(slot) = self.waiting.pop_front() else { return };
            self.sessions[slot as usize].waits = false;
            self.write(slot as usize);
        }
    }

    pub(super) fn handle(&mut self, slot: usize, flags: epoll::EventFlags, buffer: &mut [u8]) {
        let Some(socket) = &self.sessions[slot].socket else { return };
        if !self.sessions[slot].connected {
            match sockopt::socket_error(socket) {
                Ok(Ok(())) if flags.contains(epoll::EventFlags::OUT) => self.connected(slot),
                Ok(Ok(())) => return,
                Ok(Err(error)) | Err(error) => {
                    return self.end(slot, ending(error).unwrap_or(Closed::TimedOut));
                }
            }
        } else if !self.sessions[slot].connection.queue.is_empty() {
            self.write(slot);
        }
        let peer_done = epoll::EventFlags::RDHUP | epoll::EventFlags::HUP | epoll::EventFlags::ERR;
        if flags.intersects(epoll::EventFlags::IN | peer_done) {
            let session = &mut self.sessions[slot];
            session.readable = true;
            session.peer_done |= flags.intersects(peer_done);
            self.read(slot, buffer);
        }
    }

    fn connected(&mut self, slot: usize) {
        self.sessions[slot].connected = true;
        let (token, id) = (slot as u32, ConnectionId(slot as u64));
        let opened = Opened { local_port: 0, active: true, token, id, ends: None };
        self.event(slot, |client, exchange| exchange.open(client, opened));
    }

    /// Reads all that has come, to the end of the stream if that has come too; less if the client
    /// takes no input now.
    pub(super) fn read(&mut self, slot: usize, buffer: &mut [u8]) {
        loop {
            let session = &mut self.sessions[slot];
            let connection = &mut session.connection;
            let Some(socket) = session
                .socket
                .as_ref()
                .filter(|_| session.readable && !connection.flow.is_paused())
            else {
                return;
            };
            let is_held = !connection.input.is_empty();
            let space = if is_held {
                connection.input.spare(&mut self.inputs)
            } else {
                // No more than can be held if none of it is consumed.
                &mut buffer[..self.inputs.largest_free().min(self.read_bytes)]
            };
            let space = match space.len() {
                // Others hold the buffers: look again in a tick.
                0 => return self.wheel.bring_forward(slot as u32, self.tick_now().plus(1)),
                len => &mut space[..len.min(self.read_bytes)],
            };
            match rustix::net::recv(socket, &mut *space, RecvFlags::empty()) {
                Ok((_, 0)) => return self.end(slot, Closed::Finished),
                Ok((_, n)) => {
                    session.readable = n == space.len() || session.peer_done;
                    if is_held {
                        connection.input.extend(&mut self.inputs, n);
                        self.event(slot, |client, exchange| exchange.receive_held(client));
                    } else {
                        self.event(slot, |client, exchange| exchange.receive(client, &buffer[..n]));
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => session.readable = false,
                Err(error) => return self.end(slot, ending(error).unwrap_or(Closed::ResetByPeer)),
            }
        }
    }

    /// The connection is over.
    pub(super) fn end(&mut self, slot: usize, how: Closed) {
        let session = &mut self.sessions[slot];
        session.socket = None;
        session.connection.release(&mut self.pool, &mut self.inputs);
        self.client.closed(&mut session.connection.conn, how);
    }
}

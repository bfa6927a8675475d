//! Reading and writing: readiness in, calls of the client out, and what it queued to the socket.

use super::super::client::{Client, Conn};
use super::super::protocol::{Protocol, Text};
use super::connect::ending;
use super::{Kernel, NEVER, Session, tick_of};
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, sockopt};
use simoom_io::send::Wishes;
use simoom_io::{Application, Closed, Opened, Reply};

impl<P: Protocol> Kernel<P> {
    /// Lets the client act on a connection, and does what it asks for.
    pub(super) fn call<R>(
        &mut self,
        slot: usize,
        act: impl FnOnce(&mut Client<P>, &mut Conn<P::Progress>, &mut Reply<'_, Text>) -> R,
    ) -> Option<R> {
        let session = &mut self.sessions[slot];
        session.socket.as_ref()?;
        let mut wishes = Wishes::default();
        let mut reply = Reply::new(&mut self.pool, &mut session.queue, &mut wishes);
        let result = act(&mut self.client, &mut session.conn, &mut reply);
        session.reads_later |= wishes.read_later;
        if let Some(after) = wishes.timeout {
            session.deadline_us = after.map_or(NEVER, |after| self.now_us + after.total_micros());
            if session.deadline_us != NEVER {
                self.wheel.bring_forward(slot as u32, tick_of(session.deadline_us));
            }
        }
        if wishes.abort || wishes.overflow {
            let socket = self.sessions[slot].socket.as_ref()?;
            // Closing then resets.
            let _ = sockopt::set_socket_linger(socket, Some(std::time::Duration::ZERO));
            self.end(slot, Closed::Aborted);
            return Some(result);
        }
        session.closing |= wishes.close;
        self.write(slot);
        Some(result)
    }

    /// Writes what is queued, as far as the socket takes it.
    fn write(&mut self, slot: usize) {
        let Session { socket: Some(socket), queue, closing, .. } = &mut self.sessions[slot] else {
            return;
        };
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
        if *closing {
            let _ = rustix::net::shutdown(&*socket, Shutdown::Write);
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
        } else if !self.sessions[slot].queue.is_empty() {
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
        let opened = Opened { local_port: 0, active: true, token: slot as u32, ends: None };
        self.call(slot, |client, conn, reply| client.opened(conn, opened, reply));
    }

    /// Reads all that has come, to the end of the stream if that has come too; less if the client
    /// reads later.
    pub(super) fn read(&mut self, slot: usize, buffer: &mut [u8]) {
        loop {
            let session = &mut self.sessions[slot];
            let Some(socket) =
                session.socket.as_ref().filter(|_| session.readable && !session.reads_later)
            else {
                return;
            };
            match rustix::net::recv(socket, &mut *buffer, RecvFlags::empty()) {
                Ok((_, 0)) => return self.end(slot, Closed::Finished),
                Ok((_, n)) => {
                    session.readable = n == buffer.len() || session.peer_done;
                    self.offer(slot, &buffer[..n]);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => session.readable = false,
                Err(error) => return self.end(slot, ending(error).unwrap_or(Closed::ResetByPeer)),
            }
        }
    }

    /// Offers what was kept, and `bytes` behind it.
    pub(super) fn offer(&mut self, slot: usize, bytes: &[u8]) {
        let session = &mut self.sessions[slot];
        if session.closing || (session.kept.is_empty() && bytes.is_empty()) {
            return;
        }
        let mut kept = std::mem::take(&mut session.kept);
        if kept.is_empty() {
            let consumed =
                self.call(slot, |client, conn, reply| client.received(conn, bytes, reply));
            let left = &bytes[consumed.unwrap_or(bytes.len())..];
            self.sessions[slot].kept.extend_from_slice(left);
            return;
        }
        kept.extend_from_slice(bytes);
        let consumed = self.call(slot, |client, conn, reply| client.received(conn, &kept, reply));
        kept.drain(..consumed.unwrap_or(kept.len()));
        self.sessions[slot].kept = kept;
    }

    /// The connection is over.
    pub(super) fn end(&mut self, slot: usize, how: Closed) {
        let session = &mut self.sessions[slot];
        session.socket = None;
        session.queue.clear(&mut self.pool);
        session.kept.clear();
        self.client.closed(&mut session.conn, how);
    }
}

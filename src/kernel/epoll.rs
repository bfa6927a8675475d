//! The epoll driver of a worker. Turns epoll events into readiness of sockets, ready listeners and
//! pending commands. A connection is registered edge-triggered, once, and only when it has to wait:
//! a connection whose request arrives with the handshake and that is closed with the answer is
//! never registered.

use super::Settings;
use super::listener::Listener;
use super::server::{Driver, Readiness, Server};
use super::session::Session;
use super::socket::{Part, Socket};
use super::table::Key;
use crate::clock::timespec;
use crate::control::CommandReceiver;
use crate::handler::Handler;
use rustix::event::epoll;
use rustix::io::Errno;
use simoom_io::Application;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

/// Events returned by one call of epoll_wait(2).
const EVENTS: usize = 256;
/// Event data of the eventfd of the command receiver. The event data of a listener is its number,
/// that of a connection its key.
const COMMANDS: u64 = u32::MAX as u64;
/// Events of every registered connection. EPOLLOUT is added when the socket is full for the first
/// time.
const WATCHED: epoll::EventFlags =
    epoll::EventFlags::IN.union(epoll::EventFlags::RDHUP).union(epoll::EventFlags::ET);

pub(super) struct Epoll {
    epoll: OwnedFd,
    nothing: (),
}

/// State of a socket in the epoll driver.
#[derive(Debug, Default)]
pub(super) struct Registered {
    /// Whether the socket is registered for [`WATCHED`].
    watched: bool,
    /// Whether the socket is also registered for EPOLLOUT.
    polls_out: bool,
}

impl Part for Registered {
    type Shared = ();
}

impl Driver for Epoll {
    type Part = Registered;
    type Shared = ();

    fn memory_bytes(_: &Settings) -> usize {
        0
    }

    fn new(_: &Settings, commands: &CommandReceiver) -> io::Result<Epoll> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, commands, epoll::EventData::new_u64(COMMANDS), epoll::EventFlags::IN)?;
        Ok(Epoll { epoll, nothing: () })
    }

    fn shared(&mut self) -> &mut () {
        &mut self.nothing
    }

    fn wait<A: Handler>(server: &mut Server<A, Epoll>) -> io::Result<()> {
        let timeout = timespec(server.sleep());
        server.app_driver.counters.wait_calls += 1;
        let mut events = [const { MaybeUninit::<epoll::Event>::uninit() }; EVENTS];
        let events = match epoll::wait(&server.driver.epoll, &mut events, Some(&timeout)) {
            Ok((events, _)) => events,
            Err(Errno::INTR) => &mut [],
            Err(error) => return Err(error.into()),
        };
        server.tick();
        if !events.is_empty() {
            server.exporter.touch();
        }
        for (n, event) in events.iter().enumerate() {
            server.pending_events = events.len() - n;
            handle(server, *event)?;
        }
        server.pending_events = 0;
        Ok(())
    }

    fn prepare(&mut self, socket: &mut Socket<Registered>) {
        // The request may have arrived with the handshake. If it arrives after the first read, the
        // registration reports it as an edge.
        socket.readable = true;
    }

    fn arrange<A: Application>(
        &mut self,
        key: Key,
        session: &mut Session<A, Socket<Registered>>,
    ) -> bool {
        let socket = &mut session.io;
        let (watched, polls_out) = (socket.part.watched, socket.part.polls_out);
        if watched && (socket.writable || polls_out) {
            return true;
        }
        socket.part = Registered { watched: true, polls_out: polls_out || !socket.writable };
        let flags = if socket.part.polls_out { WATCHED | epoll::EventFlags::OUT } else { WATCHED };
        let data = epoll::EventData::new_u64(key.to_bits());
        let registered = if watched {
            epoll::modify(&self.epoll, &socket.fd, data, flags)
        } else {
            epoll::add(&self.epoll, &socket.fd, data, flags)
        };
        registered.is_ok()
    }

    fn close(&mut self, _: Key, socket: Socket<Registered>) {
        drop(socket);
    }

    fn add_listener(&mut self, number: usize, listener: &Listener) -> io::Result<()> {
        let data = epoll::EventData::new_u64(number as u64);
        Ok(epoll::add(&self.epoll, listener, data, epoll::EventFlags::IN)?)
    }

    fn remove_listener(&mut self, _: usize) {
        // Closing it removes it from the epoll instance.
    }

    fn watch_listeners(&mut self, listeners: &[Option<Listener>], watch: bool) -> io::Result<()> {
        let flags = if watch { epoll::EventFlags::IN } else { epoll::EventFlags::empty() };
        for (number, listener) in listeners.iter().enumerate() {
            let Some(listener) = listener else { continue };
            epoll::modify(&self.epoll, listener, epoll::EventData::new_u64(number as u64), flags)?;
        }
        Ok(())
    }

    fn release_listeners<A: Handler>(_: &mut Server<A, Epoll>) -> io::Result<()> {
        Ok(())
    }

    fn settle<A: Handler>(_: &mut Server<A, Epoll>) -> io::Result<()> {
        Ok(())
    }
}

fn handle<A: Handler>(server: &mut Server<A, Epoll>, event: epoll::Event) -> io::Result<()> {
    match event.data.u64() {
        COMMANDS => server.commands_pending = true,
        number if number < COMMANDS => server.accept(number as usize).map(drop)?,
        bits => {
            let key = Key::from_bits(bits);
            server.note(key, readiness(event.flags));
            // A connection in the run queue keeps its position.
            if !server.run_queue.contains(key.index) {
                server.visit(key);
            }
        }
    }
    Ok(())
}

fn readiness(flags: epoll::EventFlags) -> Readiness {
    Readiness {
        readable: flags.contains(epoll::EventFlags::IN),
        writable: flags.contains(epoll::EventFlags::OUT),
        peer_done: flags.intersects(epoll::EventFlags::RDHUP | epoll::EventFlags::HUP),
        error: flags.contains(epoll::EventFlags::ERR),
    }
}

//! The epoll driver of a worker. Turns epoll events into readiness of sockets, ready listeners and
//! pending commands. A connection is registered edge-triggered, once, and only when it has to wait:
//! a connection whose request arrives with the handshake and that is closed with the answer is
//! never registered. With --busy-poll waiting polls the NIC while [`Polling`] allows it.

use super::Settings;
use super::listener::Listener;
use super::polling::Polling;
use super::server::{Driver, Readiness, Server};
use super::session::Session;
use super::socket::{Part, Socket};
use super::sys;
use super::table::Key;
use crate::clock::timespec;
use crate::control::CommandReceiver;
use crate::handler::Handler;
use rustix::event::epoll;
use rustix::io::Errno;
use simoom_io::Application;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// Events returned by one call of epoll_wait(2).
const EVENTS: usize = 256;
/// Event data of the eventfd of the command receiver. The event data of a listener is its number,
/// that of a connection its key.
const COMMANDS: u64 = u32::MAX as u64;
/// Events of every registered connection. EPOLLOUT is added when the socket is full for the first
/// time.
const WATCHED: epoll::EventFlags =
    epoll::EventFlags::IN.union(epoll::EventFlags::RDHUP).union(epoll::EventFlags::ET);

/// Shortest time to wait: with 0 the kernel would not poll the NIC.
const POLL: Duration = Duration::from_nanos(1);

pub(super) struct Epoll {
    epoll: OwnedFd,
    polling: Polling,
    /// Whether `epoll` is set to poll the NIC.
    polls: bool,
    nothing: (),
}

/// State of a socket in the epoll driver.
#[derive(Debug, Default)]
pub(super) struct Registered {
    /// Whether the socket is registered for [`WATCHED`].
    watched: bool,
    /// Whether the socket is also registered for EPOLLOUT.
    polls_out: bool,
    /// Whether the connection is of another NAPI instance than the polled one, or of none.
    foreign: bool,
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

    fn new(settings: &Settings, commands: &CommandReceiver) -> io::Result<Epoll> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let polling = if settings.busy_poll {
            Polling::new(sys::prefer_busy_poll(epoll.as_fd(), false))
        } else {
            Polling::off()
        };
        epoll::add(&epoll, commands, epoll::EventData::new_u64(COMMANDS), epoll::EventFlags::IN)?;
        Ok(Epoll { epoll, polling, polls: false, nothing: () })
    }

    fn shared(&mut self) -> &mut () {
        &mut self.nothing
    }

    fn wait<A: Handler>(server: &mut Server<A, Epoll>) -> io::Result<()> {
        let polls = server.driver.polls;
        let timeout = timespec(server.sleep().max(if polls { POLL } else { Duration::ZERO }));
        server.app_driver.counters.wait_calls += 1;
        server.app_driver.counters.busy_polling = u64::from(polls);
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
        if !self.polling.is_off() {
            let napi = sys::incoming_napi(socket.fd.as_fd());
            socket.part.foreign = self.polling.accepted(napi);
            self.apply_polling();
        }
    }

    fn arrange<A: Application>(
        &mut self,
        key: Key,
        session: &mut Session<A, Socket<Registered>>,
    ) -> bool {
        let socket = &mut session.io;
        let Registered { watched, polls_out, .. } = socket.part;
        if watched && (socket.writable || polls_out) {
            return true;
        }
        socket.part.watched = true;
        socket.part.polls_out |= !socket.writable;
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
        self.polling.closed(socket.part.foreign);
        self.apply_polling();
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

impl Epoll {
    /// Has epoll_wait(2) poll the NIC, or no longer, after a change of `polling`.
    fn apply_polling(&mut self) {
        let on = self.polling.is_on();
        if on == self.polls {
            return;
        }
        self.polls = on;
        if let Err(error) = sys::prefer_busy_poll(self.epoll.as_fd(), on) {
            tracing::warn!(%error, on, "cannot set busy polling of epoll");
        }
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

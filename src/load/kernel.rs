//! Sending through ordinary kernel sockets: one thread, one epoll, as little as possible around the client.
//!
//! In comes a [`Client`] and where it goes, out goes the client when its run is over. Readiness is edge-triggered: a
//! socket is read until it has no more, and written until it takes no more.

use super::client::{Client, Conn, Plan, Sips};
use super::protocol::{Protocol, Text};
use super::watch::Watch;
use crate::clock::Clock;
use crate::error::{Error, Result};
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, ipproto, sockopt};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use simoom_stack::send::{Pool, QUEUE_ENTRIES, Queue, Wishes};
use simoom_stack::timer::{Tick, Wheel};
use simoom_stack::{Application, Closed, Opened, Reply};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

/// The smallest receive buffer that is asked for, of which the kernel makes twice as much. In one for hardly more than
/// a segment its window can come to rest at a few bytes, and it opens it no further.
const RECEIVE_BUFFER_MIN_BYTES: usize = 8192;
/// Events that are taken from the kernel at once.
const EVENTS: usize = 512;
/// Bytes that are read from a socket at once.
const READ_BYTES: usize = 256 * 1024;
/// The loop looks round at least so often.
const SLEEP_US: u64 = 5_000;
/// How long the loop spins after the last event before it sleeps: to be woken for each answer would cost the server's
/// core, which sends the wake-up, more than the answer itself.
const SPIN_US: u64 = 100;
/// Descriptors of the process besides its connections, with some to spare.
const OTHER_DESCRIPTORS: u64 = 64;
/// Deadlines that are looked at in one go.
const DUE: usize = 64;
const NEVER: u64 = u64::MAX;

/// One connection, or the place for it.
struct Session<S> {
    socket: Option<OwnedFd>,
    connected: bool,
    closing: bool,
    conn: Conn<S>,
    queue: Queue,
    /// What was read and not consumed: the beginning of a head, or what is to be read later.
    kept: Vec<u8>,
    /// There may be something to read,
    readable: bool,
    /// and the end of the stream behind it.
    peer_done: bool,
    /// Nothing is read before the deadline.
    reads_later: bool,
    deadline_us: u64,
}

/// The loop's state.
struct Kernel<P: Protocol> {
    client: Client<P>,
    target: SocketAddr,
    epoll: OwnedFd,
    sessions: Vec<Session<P::Progress>>,
    pool: Pool<Text>,
    /// A timer for each session.
    wheel: Wheel,
    /// How much is read at once.
    read_bytes: usize,
    clock: Clock,
    now_us: u64,
    worked_us: u64,
}

/// Runs the client to its end; `watch` may end it sooner.
pub(super) fn run<P: Protocol>(
    plan: &Plan,
    protocol: P,
    target: SocketAddr,
    watch: &mut Watch,
) -> Result<Client<P>> {
    allow_descriptors(plan.connections)?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|error| Error::because("epoll", error))?;
    let session = || Session {
        socket: None,
        connected: false,
        closing: false,
        conn: Conn::default(),
        queue: Queue::default(),
        kept: Vec::new(),
        readable: false,
        peer_done: false,
        reads_later: false,
        deadline_us: NEVER,
    };
    // A request on each connection, and as much again: half of a pool is for empty queues. Where requests are copied,
    // some long batches besides; they are gone as soon as the socket has taken them.
    let batches = 2 * plan.connections as usize + 4 * usize::from(QUEUE_ENTRIES);
    let chunks = if protocol.copied_bytes() > 0 { batches } else { usize::from(QUEUE_ENTRIES) };
    let clock = Clock::since_boot();
    let mut kernel = Kernel {
        client: Client::new(plan.clone(), protocol),
        target,
        epoll,
        sessions: (0..plan.connections).map(|_| session()).collect(),
        pool: Pool::new(batches, chunks),
        wheel: Wheel::new(plan.connections, Tick::from_millis(clock.now_ms())),
        read_bytes: plan.slow.map_or(READ_BYTES, Sips::sip_bytes),
        clock,
        now_us: 0,
        worked_us: 0,
    };
    kernel.go_on(watch)?;
    Ok(kernel.client)
}

/// Raises the limit of open files as far as needed.
fn allow_descriptors(connections: u32) -> Result<()> {
    let needed = u64::from(connections) + OTHER_DESCRIPTORS;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    let raised = Rlimit { current: Some(needed), maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).map_err(|_| {
        let most = limit.maximum.unwrap_or(0).saturating_sub(OTHER_DESCRIPTORS);
        Error::usage(format!(
            "--connections {connections}: at most {most} with this process's limit of open files; raise that \
             (`ulimit -Hn`), or send with --interface, which needs none"
        ))
    })
}

impl<P: Protocol> Kernel<P> {
    fn go_on(&mut self, watch: &mut Watch) -> Result<()> {
        let mut events: Vec<epoll::Event> = Vec::with_capacity(EVENTS);
        let mut buffer = vec![0; self.read_bytes];
        loop {
            self.tick();
            watch.look(self.now_us, &mut self.client);
            if self.client.course().is_over() {
                return Ok(());
            }
            while let Some(conn) = self.client.next_to_open() {
                self.connect(conn)?;
            }
            self.send_in_turn();
            self.meet_deadlines(&mut buffer);
            events.clear();
            // What was done so far took time; what follows is waiting.
            self.tick();
            let timeout = self.patience();
            let spins = timeout.tv_nsec == 0;
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&timeout)) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => {
                    self.worked_us = self.now_us;
                    if spins {
                        self.client.worked();
                    }
                }
                Err(error) => return Err(Error::because("waiting for answers", error)),
            }
            for event in &events {
                // A batch takes milliseconds: each of its answers has its own time.
                self.tick();
                self.handle(event.data.u64() as usize, event.flags, &mut buffer);
            }
        }
    }

    /// How long to wait for the next event: not past the next request, and at its heels not at all, for to be woken
    /// takes time too.
    fn patience(&self) -> Timespec {
        let next_us = self.client.next_us().map_or(NEVER, |next_us| next_us.saturating_sub(SPIN_US));
        let deadline =
            self.wheel.next_deadline().map_or(NEVER, |at| self.tick_now().until(at).max(0) as u64 * 1000);
        let left_us = next_us.saturating_sub(self.now_us).min(SLEEP_US).min(deadline);
        let spins = self.now_us - self.worked_us < SPIN_US;
        Timespec { tv_sec: 0, tv_nsec: if spins { 0 } else { left_us as i64 * 1000 } }
    }

    fn tick(&mut self) {
        self.now_us = self.clock.now_us();
        self.client.turn(self.now_us);
    }

    fn connect(&mut self, conn: Conn<P::Progress>) -> Result<()> {
        let slot = conn.slot() as usize;
        let target = self.target;
        let cannot = |error: Errno| Error::failed(format!("connecting to {target}: {}", explain(error)));
        let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket =
            rustix::net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP)).map_err(cannot)?;
        sockopt::set_tcp_nodelay(&socket, true).map_err(cannot)?;
        if let Some(sips) = self.client.slow() {
            // Before connecting: the window that is offered at first follows from it.
            let bytes = sips.window_bytes().max(RECEIVE_BUFFER_MIN_BYTES);
            sockopt::set_socket_recv_buffer_size(&socket, bytes).map_err(cannot)?;
        }
        let connected = rustix::net::connect(&socket, &target);
        let session = &mut self.sessions[slot];
        (session.conn, session.connected, session.closing) = (conn, false, false);
        (session.readable, session.peer_done, session.reads_later) = (false, false, false);
        session.deadline_us = NEVER;
        match connected {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => match ending(error) {
                Some(how) => {
                    self.end(slot, how);
                    return Ok(());
                }
                None => return Err(cannot(error)),
            },
        }
        let flags =
            epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
        epoll::add(&self.epoll, &socket, epoll::EventData::new_u64(slot as u64), flags).map_err(cannot)?;
        session.socket = Some(socket);
        Ok(())
    }

    fn send_in_turn(&mut self) {
        while let Some(slot) = self.client.next_to_send() {
            let slot = slot as usize;
            let usable =
                |session: &Session<P::Progress>| session.socket.is_some() && session.connected && !session.closing;
            if !usable(&self.sessions[slot]) {
                continue;
            }
            if self.call(slot, Client::send) == Some(false) {
                return;
            }
        }
    }

    /// Lets the client act on a connection, and does what it asks for.
    fn call<R>(
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
        let Session { socket: Some(socket), queue, closing, .. } = &mut self.sessions[slot] else { return };
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

    fn handle(&mut self, slot: usize, flags: epoll::EventFlags, buffer: &mut [u8]) {
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

    /// Reads all that has come, to the end of the stream if that has come too; less if the client reads later.
    fn read(&mut self, slot: usize, buffer: &mut [u8]) {
        loop {
            let session = &mut self.sessions[slot];
            let Some(socket) = session.socket.as_ref().filter(|_| session.readable && !session.reads_later) else {
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
    fn offer(&mut self, slot: usize, bytes: &[u8]) {
        let session = &mut self.sessions[slot];
        if session.closing || (session.kept.is_empty() && bytes.is_empty()) {
            return;
        }
        let mut kept = std::mem::take(&mut session.kept);
        if kept.is_empty() {
            let consumed = self.call(slot, |client, conn, reply| client.received(conn, bytes, reply));
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
    fn end(&mut self, slot: usize, how: Closed) {
        let session = &mut self.sessions[slot];
        session.socket = None;
        session.queue.clear(&mut self.pool);
        session.kept.clear();
        self.client.closed(&mut session.conn, how);
    }

    /// Tells the client of deadlines that have passed, and reads on where that was put off until then.
    fn meet_deadlines(&mut self, buffer: &mut [u8]) {
        let mut due = [0; DUE];
        loop {
            let count = self.wheel.expire(self.tick_now(), &mut due);
            for slot in &due[..count] {
                self.meet_deadline(*slot as usize, buffer);
            }
            if count < due.len() {
                return;
            }
        }
    }

    fn meet_deadline(&mut self, slot: usize, buffer: &mut [u8]) {
        let session = &mut self.sessions[slot];
        if session.socket.is_none() || session.deadline_us == NEVER {
            return;
        }
        if session.deadline_us > self.now_us {
            // It was put off.
            return self.wheel.schedule(slot as u32, tick_of(session.deadline_us));
        }
        session.deadline_us = NEVER;
        if session.closing {
            // The server does not close its side.
            return self.end(slot, Closed::Finished);
        }
        let put_off = std::mem::take(&mut session.reads_later);
        self.call(slot, Client::timeout);
        if put_off {
            self.offer(slot, &[]);
            self.read(slot, buffer);
        }
    }

    /// The tick that it is, in the time of the run.
    fn tick_now(&self) -> Tick {
        Tick::from_millis(self.now_us / 1000)
    }
}

/// The first tick at which a deadline has passed.
fn tick_of(deadline_us: u64) -> Tick {
    Tick::from_millis(deadline_us.div_ceil(1000))
}

/// How a connection that this error befell has ended; `None` for what is wrong on this side.
fn ending(error: Errno) -> Option<Closed> {
    match error {
        Errno::CONNREFUSED => Some(Closed::Refused),
        Errno::CONNRESET | Errno::PIPE => Some(Closed::ResetByPeer),
        Errno::TIMEDOUT | Errno::HOSTUNREACH => Some(Closed::TimedOut),
        _ => None,
    }
}

fn explain(error: Errno) -> String {
    match error {
        Errno::ADDRNOTAVAIL => format!(
            "{error}: all local ports are in use or in TIME_WAIT; widen net.ipv4.ip_local_port_range, open fewer \
             connections, or send with --interface and --source"
        ),
        Errno::NETUNREACH => format!("{error}: there is no route; see `ip route`"),
        _ => error.to_string(),
    }
}

//! Datagrams over UDP, through kernel sockets. One thread, which sleeps until a datagram arrives.
//! The only state of a client is its [`credit`].
//!
//! Unanswered requests are counted by reason ([`Counters`]). A datagram that the socket does not
//! accept is lost, as it may be on the network.

mod credit;

use crate::clock::{Clock, timespec};
use crate::control::CommandReceiver;
use crate::datagrams::{DatagramHandler, Fate};
use crate::kernel::listener::{Presence, set_freebind};
use crate::metrics::{Exporter, Snapshot};
use crate::panics::Containment;
use credit::{Credits, Exchange, UsedUp};
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};
use std::fmt;
use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

/// The longest datagram that IP carries.
const RECEIVED_MAX_BYTES: usize = 65_535;
/// Datagrams of one socket before the thread serves the others and the command receiver.
const BURST: usize = 64;
/// Events returned by one call of epoll_wait(2).
const EVENTS: usize = 16;
/// Event data of the eventfd of the command receiver. The event data of a socket is its number.
const COMMANDS: u64 = u64::MAX;

/// Bytes of memory of the thread, without the handler.
pub const fn memory_bytes() -> usize {
    size_of::<Udp<()>>() + RECEIVED_MAX_BYTES + Credits::MEMORY_BYTES
}

simoom_io::counters! {
    /// Counters of datagrams.
    pub struct Counters {
        /// Datagrams received.
        udp_received,
        /// Datagrams of answers sent.
        udp_sent,
        /// Datagrams dropped: no frame header, or a request in several datagrams.
        udp_malformed,
        /// Datagrams with an incomplete request.
        udp_incomplete,
        /// Requests over UDP whose handler panicked; they get no answer.
        udp_panicked,
        /// Answers refused because they need too many datagrams.
        udp_answer_too_large,
        /// Answers not sent because of the limit of the source address.
        udp_credit_used_up,
        /// Answers not sent because of the limit of the source network.
        udp_network_credit_used_up,
        /// Answers not sent because of the limit of all sources together.
        udp_total_credit_used_up,
        /// Datagrams of answers that the socket did not take.
        udp_send_failed,
        /// Errors that a UDP socket reported instead of a datagram.
        udp_receive_failed,
    }
}

/// A bound socket.
#[derive(Debug)]
pub struct Socket {
    socket: UdpSocket,
    address: SocketAddr,
}

impl Socket {
    /// Binds `address`; port 0 takes a free one. `[::]` takes IPv6 only.
    pub fn bind(address: SocketAddr, presence: Presence) -> Result<Socket, BindError> {
        bound(address, presence).map_err(|source| BindError { port: address.port(), source })
    }

    /// The bound address and port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn bound(address: SocketAddr, presence: Presence) -> Result<Socket, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::DGRAM, flags, Some(ipproto::UDP))?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if presence == Presence::AnyTime {
        set_freebind(&socket, address)?;
    }
    rustix::net::bind(&socket, &address)?;
    let address = rustix::net::getsockname(&socket)?.try_into()?;
    Ok(Socket { socket: socket.into(), address })
}

impl Counters {
    fn count(&mut self, used_up: UsedUp) {
        match used_up {
            UsedUp::Source => self.udp_credit_used_up += 1,
            UsedUp::Network => self.udp_network_credit_used_up += 1,
            UsedUp::Total => self.udp_total_credit_used_up += 1,
        }
    }
}

/// Failure to bind an address. The text says what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindError {
    port: u16,
    /// The error of the kernel.
    pub source: Errno,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BindError { port, source } = self;
        match *source {
            Errno::ADDRINUSE => write!(
                f,
                "{source}; stop the process that holds UDP port {port} (`ss -lunp 'sport = :{port}'` names it) or \
                 choose another port"
            ),
            Errno::ADDRNOTAVAIL => {
                write!(
                    f,
                    "{source}; UDP comes through the kernel: give an address that an interface has"
                )
            }
            _ => {
                write!(f, "{source}; check that the address can be bound in this network namespace")
            }
        }
    }
}

impl std::error::Error for BindError {}

/// The thread's state.
pub struct Udp<H> {
    sockets: Vec<UdpSocket>,
    handler: H,
    credits: Credits,
    containment: Containment,
    received: Box<[u8]>,
    counters: Counters,
    commands: CommandReceiver,
    exporter: Exporter,
    clock: Clock,
}

impl<H: DatagramHandler> Udp<H> {
    /// Allocates all memory.
    pub fn new(
        sockets: Vec<Socket>,
        handler: H,
        commands: CommandReceiver,
        snapshot: Arc<Snapshot>,
    ) -> Udp<H> {
        Udp {
            sockets: sockets.into_iter().map(|socket| socket.socket).collect(),
            handler,
            credits: Credits::new(),
            containment: Containment::default(),
            received: vec![0; RECEIVED_MAX_BYTES].into_boxed_slice(),
            counters: Counters::default(),
            commands,
            exporter: Exporter::new(snapshot),
            clock: Clock::new(),
        }
    }

    /// Serves until a command to drain, which takes effect at once: UDP has no connections.
    pub fn run(mut self) -> io::Result<()> {
        self.publish(0);
        let epoll = self.watch()?;
        while self.commands.take().is_none() {
            let ready = self.sleep(&epoll)?;
            let now_ms = self.clock.now_ms();
            if let Some(seconds) = self.clock.new_second(now_ms) {
                self.contain(|udp| udp.handler.clock(seconds));
            }
            for index in ready.into_iter().flatten() {
                self.serve(index, now_ms);
            }
            if self.exporter.is_due(now_ms) {
                self.publish(now_ms);
            }
        }
        self.publish(self.clock.now_ms());
        Ok(())
    }

    /// Registers the sockets and the eventfd of the command receiver.
    fn watch(&self) -> io::Result<OwnedFd> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(
            &epoll,
            &self.commands,
            epoll::EventData::new_u64(COMMANDS),
            epoll::EventFlags::IN,
        )?;
        for (index, socket) in self.sockets.iter().enumerate() {
            epoll::add(
                &epoll,
                socket,
                epoll::EventData::new_u64(index as u64),
                epoll::EventFlags::IN,
            )?;
        }
        Ok(epoll)
    }

    /// Sleeps until a datagram or a command arrives, or counters are to be published. Returns the
    /// readable sockets.
    fn sleep(&self, epoll: &OwnedFd) -> io::Result<[Option<usize>; EVENTS]> {
        let timeout = self.exporter.next_ms().map(|next_ms| {
            let left_ms = next_ms.saturating_sub(self.clock.now_ms());
            timespec(Duration::from_millis(left_ms))
        });
        let mut events = [const { MaybeUninit::<epoll::Event>::uninit() }; EVENTS];
        let events = match epoll::wait(epoll, &mut events, timeout.as_ref()) {
            Ok((events, _)) => &*events,
            Err(Errno::INTR) => &[],
            Err(error) => return Err(error.into()),
        };
        let mut ready = [None; EVENTS];
        for (place, event) in ready.iter_mut().zip(events) {
            match event.data.u64() {
                COMMANDS => self.commands.clear_wake(),
                index => *place = Some(index as usize),
            }
        }
        Ok(ready)
    }

    fn serve(&mut self, index: usize, now_ms: u64) {
        for _ in 0..BURST {
            match self.sockets[index].recv_from(&mut self.received) {
                Ok((len, source)) => self.answer(index, len, source, now_ms),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
                {
                    return;
                }
                Err(_) => self.counters.udp_receive_failed += 1,
            }
            self.exporter.touch();
        }
    }

    fn answer(&mut self, index: usize, len: usize, source: SocketAddr, now_ms: u64) {
        self.counters.udp_received += 1;
        let fate = self.contain(|udp| udp.handler.serve(&udp.received[..len]));
        let Some(fate) = fate else {
            self.counters.udp_panicked += 1;
            self.contain(|udp| udp.handler.begin_anew());
            return;
        };
        match fate {
            Fate::Done => {}
            Fate::Malformed => self.counters.udp_malformed += 1,
            Fate::Incomplete => self.counters.udp_incomplete += 1,
            Fate::TooLarge => self.counters.udp_answer_too_large += 1,
        }
        let exchange = Exchange {
            source: source.ip(),
            proven: self.handler.is_proven(source.ip()),
            received_bytes: len,
            answer_bytes: self.handler.answer().map(<[u8]>::len).sum(),
        };
        if let Err(which) = self.credits.take(exchange, now_ms) {
            return self.counters.count(which);
        }
        for datagram in self.handler.answer() {
            match self.sockets[index].send_to(datagram, source) {
                Ok(_) => self.counters.udp_sent += 1,
                Err(_) => self.counters.udp_send_failed += 1,
            }
        }
    }

    /// Calls the handler. `None` if it panicked. The shared store must be sound all the same.
    fn contain<R>(&mut self, call: impl FnOnce(&mut Self) -> R) -> Option<R> {
        let containment = std::mem::take(&mut self.containment);
        let result = containment.run(|| call(self));
        self.containment = containment;
        match result {
            Err(panic) if !self.handler.is_sound() => panic.resume(),
            result => result.ok(),
        }
    }

    fn publish(&mut self, now_ms: u64) {
        self.exporter.publish(now_ms, |counts| {
            counts.extend(self.counters.iter());
            let mut push = |metric, value| counts.push((metric, value));
            // A panic here loses one publication of the counters.
            let _ = self.containment.run(|| self.handler.publish(&mut push));
            self.containment.publish(&mut push);
        });
    }
}

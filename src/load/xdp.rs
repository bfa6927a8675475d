//! Sending over AF_XDP with Simoom's own stack as client: one worker, one core, source addresses of
//! its own.
//!
//! In comes a [`Client`] and where it goes, out goes the client when its run is over, with the
//! stack's counters. The source addresses are the stack's alone: it answers ARP or neighbour
//! discovery for them, and the kernel knows nothing of their connections.

use super::client::{Client, ClientConnection, Plan, ReadThrottle};
use super::protocol::{PendingRequest, Protocol};
use super::route::TargetRoute;
use super::sources::{Source, Sources};
use super::watch::Watch;
use crate::config::XdpMode;
use crate::error::{Error, Result};
use crate::limits::{self, Limit};
use crate::metrics::{Count, Sheet};
use crate::server::address_check;
use crate::server::xdp::{mode, suit_device};
use crate::steer::{Claim, Device};
use crate::worker::{Hand, Parts, Worker, handover};
use crate::{control, netns};
use af_xdp::{OpenOptions, RingSizes};
use simoom_io::input;
use simoom_io::send::{CHUNK_BYTES, QUEUE_ENTRIES};
use simoom_tcp::{Address, Config, ConnId, Connect, ConnectError, Limits, LocalAddress, NextHop};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Pairs of address and port that are tried before an attempt to connect is put off.
const PORT_TRIES_MAX: u32 = 64;
/// Connections that have copied requests under way at once, at most; with more of them, some wait
/// for room.
const ACTIVE_MAX: u32 = 65_536;
/// SYNs to one that does not answer: with the waits between them, seven seconds.
const SYN_RETRIES: u8 = 2;
/// How soon the question for the next hop's hardware address is repeated; three of them take three
/// and a half seconds.
const NEIGHBOUR_RETRY_MS: u32 = 500;
/// With thousands of connections the next request on one, which carries the acknowledgement of the
/// last answer, may be a while in coming. Other clients wait from 40 to 200 ms; a server sends
/// again after 200.
const DELAYED_ACK_MS: u32 = 100;
/// Room for whatever a server sends ahead: an answer of 64 KiB with its head is not to wait for a
/// window.
const RECEIVE_WINDOW_BYTES: u32 = 256 * 1024;
/// The pace of asking whether the source addresses are free: a run is not to wait for seconds, and
/// who has one answers within a millisecond.
const ADDRESS_PROBE: Duration = Duration::from_millis(20);
/// At the end connections are closed in order for at most this long; what is left then is reset.
const CLOSING_US: u64 = 5_000_000;
/// So many at once, as few as are opened at once.
const CLOSING_AT_ONCE: usize = 128;

/// Where to send from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct XdpOptions<'a> {
    /// The interface.
    pub(crate) interface: &'a str,
    /// The source addresses.
    pub(crate) source: Source,
    /// The next hop, if it is not as the kernel's routes say.
    pub(crate) gateway: Option<IpAddr>,
    /// How to bind to the interface.
    pub(crate) mode: XdpMode,
}

/// What came of a run.
pub(crate) struct Sent<P: Protocol> {
    pub(crate) client: Client<P>,
    /// How it was sent, in words.
    pub(crate) transport: String,
    /// The stack's and the queues' counters.
    pub(crate) counts: Vec<Count>,
}

/// Runs the client to its end; `watch` may end it sooner.
pub(super) fn run<P: Protocol>(
    plan: &Plan,
    protocol: P,
    target: SocketAddr,
    from: &XdpOptions<'_>,
    watch: &mut Watch,
) -> Result<Sent<P>> {
    let XdpOptions { interface, source, gateway, .. } = *from;
    let cannot = |error| Error::failed(format!("--interface {interface}: {error}"));
    if target.is_ipv6() != source.address.is_ipv6() {
        return Err(Error::usage(format!(
            "--source {}: {target} is of the other IP version; give source addresses of its version",
            source.address
        )));
    }
    let facts = netns::interface(interface).map_err(cannot)?;
    let addresses = source.addresses(plan.connections, plan.connection_per_request)?;
    check_addresses(&addresses, &facts, target.ip())?;
    let copied_bytes = protocol.copied_bytes();
    check_memory::<P>(plan, copied_bytes)?;
    address_check::check(interface, facts.mac, &addresses, ADDRESS_PROBE)?;
    let target_route = TargetRoute::find(interface, source, target.ip(), gateway)?;
    let options = open_options(from);
    let (mut device, queues) =
        Device::open(&options).map_err(|error| Error::failed(error.to_string()))?;
    let cannot_start = |error| Error::because("starting a worker", error);
    let (orders, mailbox) = control::mailbox().map_err(cannot_start)?;
    let mut places = handover::ring(&[orders.waker()], device.umem().chunks());
    let sheet = Sheet::new("load");
    let parts = Parts {
        app: Client::new(plan.clone(), protocol),
        stack: Config {
            routes: vec![target_route.route()],
            ..stack_config(plan, copied_bytes, &facts, &addresses, &device)?
        },
        ports: Vec::new(),
        handover: places.pop().expect("a ring of one has one place"),
        mailbox,
        sheet: sheet.clone(),
        busy_poll: true,
        drained: None,
        queues,
    };
    for address in &addresses {
        let claim = Claim::Dedicated(*address);
        device
            .add_claim(claim)
            .map_err(|error| Error::because(format!("claiming {claim}"), error))?;
    }
    let transport = format!("AF_XDP on {interface}, {} mode", device.mode());
    let mut driver = Driver {
        connections: vec![None; plan.connections as usize],
        sources: Sources::new(&addresses),
        target,
        hop: NextHop::Awaited,
        closing: None,
    };
    let client = Worker::new(parts).run_with(|hand| driver.iterate(hand, watch)).map_err(cannot)?;
    if driver.hop == NextHop::Unreachable {
        return Err(target_route.no_answer(interface));
    }
    Ok(Sent { client, transport, counts: sheet.read() })
}

/// Deeper rings than a server has: a generator that is held up for a moment must not lose what its
/// server answered.
fn open_options(from: &XdpOptions<'_>) -> OpenOptions {
    OpenOptions {
        mode: mode(from.mode),
        busy_poll: true,
        frames_per_queue: 16_384,
        rings: RingSizes { fill: 4096, rx: 4096, tx: 4096, completion: 4096 },
        ..OpenOptions::new(from.interface)
    }
}

/// The source addresses must be nobody else's.
fn check_addresses(addresses: &[IpAddr], facts: &netns::Interface, target: IpAddr) -> Result<()> {
    let owned = facts.addresses.iter().map(|(address, _)| *address).chain([target]);
    for taken in owned {
        if addresses.contains(&taken) {
            return Err(Error::usage(format!(
                "--source: {taken} is taken already, by {} or by the target; the source addresses must be \
                 nobody's, for the stack answers for them",
                facts.name
            )));
        }
    }
    Ok(())
}

fn check_memory<P: Protocol>(plan: &Plan, copied_bytes: usize) -> Result<()> {
    let memory = |connections| {
        stack_limits(connections, plan.slow, copied_bytes)
            .memory::<Client<P>>()
            .fold(limits::Plan::new(), |plan, (what, _, bytes)| plan.add(what, 1, bytes as usize))
            .add(
                "requests under target_route",
                connections as usize * usize::from(plan.pipeline),
                size_of::<PendingRequest<P::Request>>(),
            )
    };
    limits::check(Limit::from_flag(None), plan.connections, memory).map(drop)
}

fn stack_limits(connections: u32, slow: Option<ReadThrottle>, copied_bytes: usize) -> Limits {
    // A connection that is closed and one that takes its place may be there at once; nobody opens
    // one to a client.
    let most = connections.saturating_add(connections / 8 + 64);
    let mut limits = Limits { half_open: 1, ..Limits::for_connections(most) };
    if copied_bytes > 0 {
        // A batch on each connection, as far as a queue holds it, and as much again: half is for
        // empty queues.
        let chunks = (copied_bytes.div_ceil(CHUNK_BYTES) + 1).min(QUEUE_ENTRIES.into()) as u32;
        let active = most.min(ACTIVE_MAX);
        limits.send_chunks = limits.send_chunks.max(2 * active * chunks);
        limits.send_entries = limits.send_entries.max(2 * active * (chunks + 2));
    }
    match slow {
        None => limits,
        // Each may keep a window of input that it has not read.
        Some(throttle) if throttle.window_bytes() <= input::SMALL_BYTES => {
            Limits { keep_small: most, ..limits }
        }
        Some(_) => Limits { keep_small: most, keep_large: most, ..limits },
    }
}

fn stack_config(
    plan: &Plan,
    copied_bytes: usize,
    facts: &netns::Interface,
    addresses: &[IpAddr],
    device: &Device,
) -> Result<Config> {
    let local =
        |address: &IpAddr| LocalAddress { address: Address::from(*address), dedicated: true };
    let addresses = addresses.iter().map(local).collect();
    let mut stack = Config::new(
        facts.mac,
        addresses,
        secret()?,
        stack_limits(plan.connections, plan.slow, copied_bytes),
    );
    suit_device(&mut stack, facts, device);
    stack.syn_retries = SYN_RETRIES;
    stack.neighbour_retry_ms = NEIGHBOUR_RETRY_MS;
    stack.announces = true;
    stack.delayed_ack_ms = DELAYED_ACK_MS;
    stack.receive_window_bytes = RECEIVE_WINDOW_BYTES;
    stack.send_timeout_ms = plan.timeout.as_millis().clamp(1, 1 << 30) as u32;
    stack.close_timeout_ms = 5_000;
    if let Some(throttle) = plan.slow {
        stack.receive_window_bytes = throttle.window_bytes() as u32;
        stack.receive_window_most_bytes = 0;
    }
    Ok(stack)
}

/// A secret that lasts as long as the machine is up. One run after another then numbers its
/// connections as a single machine would, ever upwards, and so a server that still has a run's last
/// connections in TIME_WAIT knows those of the next for new ones (RFC 6191). Nobody is kept from
/// guessing it: a load generator talks to nobody but its target.
fn secret() -> Result<[u64; 4]> {
    let file = "/proc/sys/kernel/random/boot_id";
    let text =
        std::fs::read(file).map_err(|error| Error::because(format!("reading {file}"), error))?;
    let word = |at: usize| {
        u64::from_ne_bytes(std::array::from_fn(|byte| {
            text.get(8 * at + byte).copied().unwrap_or(1)
        }))
    };
    Ok(std::array::from_fn(word))
}

/// What the client wants, carried out on the stack.
struct Driver {
    /// The stack's connection for each of the client's slots.
    connections: Vec<Option<ConnId>>,
    sources: Sources,
    target: SocketAddr,
    /// What is known of the way to the target. Nothing is begun before it is known.
    hop: NextHop,
    closing: Option<Closing>,
}

/// The end of a run, while it is carried out.
struct Closing {
    until_us: u64,
    /// The next slot to look at.
    next: usize,
    /// Connections whose closing was begun.
    begun: usize,
    /// Connections that there were.
    open: usize,
}

impl Driver {
    /// One turn of the worker's loop; says whether to go on.
    fn iterate<P: Protocol>(&mut self, mut hand: Hand<'_, Client<P>>, watch: &mut Watch) -> bool {
        let now_us = hand.now_us;
        watch.poll(now_us, hand.app);
        if self.hop == NextHop::Awaited {
            let (local, remote) = (self.sources.first(), Address::from(self.target.ip()));
            self.hop = hand.stack.next_hop(hand.now, &local, &remote, hand.outbound);
            return self.hop != NextHop::Unreachable && !hand.app.schedule().is_over();
        }
        hand.app.tick(now_us);
        if hand.app.schedule().is_over() {
            return self.close_all(&mut hand);
        }
        while let Some(conn) = hand.app.next_to_open() {
            if !self.connect(&mut hand, &conn) {
                break;
            }
        }
        self.send_in_turn(&mut hand);
        if hand.app.has_worked() {
            // Sending took time, and what has come meanwhile must not seem to have come before.
            hand.app.tick(hand.read_clock_us());
            hand.app.worked();
        }
        true
    }

    /// Closes what is open, in order and not faster than the server takes it; says whether to go on
    /// with that.
    fn close_all<P: Protocol>(&mut self, hand: &mut Hand<'_, Client<P>>) -> bool {
        let Driver { connections, closing, .. } = self;
        let open = hand.stack.connections();
        let closing = closing.get_or_insert(Closing {
            until_us: hand.now_us + CLOSING_US,
            next: 0,
            begun: 0,
            open,
        });
        let gone = closing.open - open;
        while closing.begun < gone + CLOSING_AT_ONCE
            && let Some(connection) = connections.get(closing.next)
        {
            closing.next += 1;
            if let Some(id) = connection
                && hand.stack.with(*id, |conn, reply| hand.app.leave(conn, reply)).is_some()
            {
                closing.begun += 1;
            }
        }
        open > 0 && hand.now_us < closing.until_us
    }

    /// Begins to open a connection; says whether another may be tried in this turn.
    fn connect<P: Protocol>(
        &mut self,
        hand: &mut Hand<'_, Client<P>>,
        conn: &ClientConnection<P::Progress>,
    ) -> bool {
        let slot = conn.slot();
        for _ in 0..PORT_TRIES_MAX {
            let (local, local_port) = self.sources.next();
            let to = Connect {
                local,
                local_port,
                remote: Address::from(self.target.ip()),
                remote_port: self.target.port(),
                link: None,
                token: slot,
            };
            match hand.stack.connect_with(hand.now, &to, conn.clone(), hand.outbound) {
                Ok(id) => {
                    self.connections[slot as usize] = Some(id);
                    return true;
                }
                Err(ConnectError::InUse) => {}
                Err(ConnectError::NotOurs | ConnectError::NoRoute) => {
                    unreachable!("the stack has all source addresses, and a route to the target")
                }
                Err(_) => break,
            }
        }
        hand.app.postpone(slot);
        false
    }

    #[inline]
    fn send_in_turn<P: Protocol>(&mut self, hand: &mut Hand<'_, Client<P>>) {
        while let Some(slot) = hand.app.next_to_send() {
            let Some(id) = self.connections[slot as usize] else { continue };
            let app = &mut *hand.app;
            let sent =
                hand.stack.with(id, |conn, reply| conn.slot() != slot || app.send(conn, reply));
            if sent == Some(false) {
                return;
            }
        }
    }
}

//! The transport over AF_XDP, with Simoom's stack as client: one worker on one core, with source
//! addresses of its own.
//!
//! The source addresses belong to the stack alone. It answers ARP or neighbour discovery for them,
//! and the kernel does not know of their connections.

use super::client::{Client, ClientConnection, Plan, ReadThrottle};
use super::protocol::{PendingRequest, Protocol};
use super::route::TargetRoute;
use super::sources::{Source, Sources};
use super::watch::Watch;
use crate::config::{TxChecksum, XdpMode};
use crate::error::{Error, Result};
use crate::limits::{self, Limit};
use crate::metrics::{Count, Snapshot};
use crate::steer::{Claim, Device};
use crate::worker::stack_config::{DeviceFacts, suit_device};
use crate::worker::{Parts, Worker, WorkerContext, handover};
use crate::{address_check, control, netns};
use af_xdp::{OpenOptions, RingSizes};
use simoom_io::input;
use simoom_io::send::{CHUNK_BYTES, QUEUE_ENTRIES};
use simoom_tcp::{
    Address, Config, Congestion, ConnId, Connect, ConnectError, Limits, LocalAddress, NextHop,
};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Pairs of address and port tried before an attempt to connect is postponed.
const PORT_TRIES_MAX: u32 = 64;
/// Limit of the connections with copied requests in flight. With more, some wait for space.
const ACTIVE_MAX: u32 = 65_536;
/// SYN retransmissions to a target that does not answer: seven seconds in total.
const SYN_RETRIES: u8 = 2;
/// Interval at which the next hop's hardware address is asked for again. Three attempts take 3.5
/// seconds.
const NEIGHBOUR_RETRY_MS: u32 = 500;
/// With thousands of connections, the next request, which carries the acknowledgement, may come
/// late. Other clients delay acknowledgements by 40 to 200 ms. A server retransmits after 200 ms.
pub(super) const ACK_DELAY_DEFAULT: Duration = Duration::from_millis(100);
/// Receive window of a connection. An answer of 64 KiB with its head must not wait for it.
const RECEIVE_WINDOW_BYTES: u32 = 256 * 1024;
/// Interval of the duplicate-address check (RFC 5227). A run must not wait for seconds, and a host
/// with the address answers within a millisecond.
const ADDRESS_PROBE: Duration = Duration::from_millis(20);
/// Limit of the time for closing connections at the end; the rest is reset.
const CLOSING_US: u64 = 5_000_000;
/// Connections closed at the same time: as few as are opened at the same time.
const CLOSING_AT_ONCE: usize = 128;

/// How to send over AF_XDP.
#[derive(Clone, Copy, Debug)]
pub(crate) struct XdpOptions<'a> {
    /// The interface.
    pub(crate) interface: &'a str,
    /// The source addresses.
    pub(crate) source: Source,
    /// The next hop; `None` for the kernel's routes.
    pub(crate) gateway: Option<IpAddr>,
    /// The mode of the AF_XDP sockets.
    pub(crate) mode: XdpMode,
    /// Who completes the checksums of segments.
    pub(crate) tx_checksum: TxChecksum,
    /// Longest wait of an acknowledgement for a request that carries it.
    pub(crate) ack_delay: Duration,
}

/// The result of a run.
pub(crate) struct Sent<P: Protocol> {
    pub(crate) client: Client<P>,
    /// Description of the transport.
    pub(crate) transport: String,
    /// Counters of the stack and of the queues.
    pub(crate) counts: Vec<Count>,
}

/// Runs the client to its end. `watch` may end it earlier.
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
    let facts = netns::interface(interface)
        .map_err(|error| Error::about_named(&error, format!("--interface {interface}: {error}")))?;
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
    let (command_sender, commands) = control::command_channel().map_err(cannot_start)?;
    let mut handovers = handover::ring(&[command_sender.waker()], device.umem().chunks());
    let snapshot = Snapshot::new("load");
    let parts = Parts {
        app: Client::new(plan.clone(), protocol),
        stack: Config {
            routes: vec![target_route.route()],
            delayed_ack_ms: from.ack_delay.as_millis() as u32,
            ..stack_config(plan, copied_bytes, &facts, &addresses, &device)?
        },
        ports: Vec::new(),
        handover: handovers.pop().expect("a ring of one worker"),
        commands,
        snapshot: snapshot.clone(),
        busy_poll: true,
        drained: None,
        gso: None,
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
    let client =
        Worker::new(parts).run_with(|context| driver.iterate(context, watch)).map_err(cannot)?;
    if driver.hop == NextHop::Unreachable {
        return Err(target_route.no_answer(interface));
    }
    Ok(Sent { client, transport, counts: snapshot.read() })
}

/// Larger rings than a server has, so that a delayed generator does not lose answers.
fn open_options(from: &XdpOptions<'_>) -> OpenOptions {
    OpenOptions {
        mode: from.mode.forced(),
        busy_poll: true,
        checksum_offload: from.tx_checksum.may_offload(),
        frames_per_queue: 16_384,
        rings: RingSizes { fill: 4096, rx: 4096, tx: 4096, completion: 4096 },
        ..OpenOptions::new(from.interface)
    }
}

/// Checks that no other host has the source addresses.
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
            .memory::<Client<P>>(&[Congestion::default()])
            .fold(limits::Plan::new(), |plan, (what, _, bytes)| plan.add(what, 1, bytes as usize))
            .add(
                "requests under way",
                connections as usize * usize::from(plan.pipeline),
                size_of::<PendingRequest<P::Request>>(),
            )
    };
    limits::check(Limit::from_flag(None), plan.connections, memory).map(drop)
}

fn stack_limits(connections: u32, slow: Option<ReadThrottle>, copied_bytes: usize) -> Limits {
    // A closed connection and its successor may exist at the same time. Nobody connects to a
    // client.
    let most = connections.saturating_add(connections / 8 + 64);
    let mut limits = Limits { half_open: 1, ..Limits::for_connections(most) };
    if copied_bytes > 0 {
        // A batch on each connection, as far as its queue holds it, and as much again: half of it
        // is for empty queues.
        let chunks = (copied_bytes.div_ceil(CHUNK_BYTES) + 1).min(QUEUE_ENTRIES.into()) as u32;
        let active = most.min(ACTIVE_MAX);
        limits.send_chunks = limits.send_chunks.max(2 * active * chunks);
        limits.send_entries = limits.send_entries.max(2 * active * (chunks + 2));
    }
    match slow {
        None => limits,
        // Each connection may hold a window of unread input.
        Some(throttle) if throttle.window_bytes() <= input::SMALL_BYTES => {
            Limits { small_input_buffers: most, ..limits }
        }
        Some(_) => Limits { small_input_buffers: most, large_input_buffers: most, ..limits },
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
    let facts = DeviceFacts {
        driver: device.driver(),
        mtu_bytes: facts.mtu_bytes,
        frame_bytes: device.frame_bytes(),
        completes_checksums: device.checksum_offload().is_ok(),
    };
    suit_device(&mut stack, &facts);
    stack.syn_retries = SYN_RETRIES;
    stack.neighbour_retry_ms = NEIGHBOUR_RETRY_MS;
    stack.announces = true;
    stack.receive_window_bytes = RECEIVE_WINDOW_BYTES;
    stack.send_timeout_ms = plan.timeout.as_millis().clamp(1, 1 << 30) as u32;
    stack.close_timeout_ms = 5_000;
    if let Some(throttle) = plan.slow {
        stack.receive_window_bytes = throttle.window_bytes() as u32;
        stack.max_receive_window_bytes = 0;
    }
    Ok(stack)
}

/// A secret that lasts as long as the machine is up. With it, successive runs number their
/// connections upwards, as one machine does. So a server with connections of the last run in
/// TIME-WAIT accepts those of the next (RFC 6191). It need not be secret: a load generator talks to
/// its target only.
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

/// Carries out the client's wishes on the stack.
struct Driver {
    /// The stack's connection for each slot of the client.
    connections: Vec<Option<ConnId>>,
    sources: Sources,
    target: SocketAddr,
    /// The state of address resolution. No connection is opened before it succeeds.
    hop: NextHop,
    closing: Option<Closing>,
}

/// The closing of connections at the end of a run.
struct Closing {
    until_us: u64,
    /// The next slot to check.
    next: usize,
    /// Connections that are being closed.
    begun: usize,
    /// Connections that were open.
    open: usize,
}

impl Driver {
    /// One iteration of the worker. Returns whether to continue.
    fn iterate<P: Protocol>(
        &mut self,
        mut context: WorkerContext<'_, Client<P>>,
        watch: &mut Watch,
    ) -> bool {
        let now_us = context.now_us;
        watch.poll(now_us, context.app);
        if self.hop == NextHop::Awaited {
            let (local, remote) = (self.sources.first(), Address::from(self.target.ip()));
            self.hop = context.stack.next_hop(context.now, &local, &remote, context.outbound);
            return self.hop != NextHop::Unreachable && !context.app.schedule().is_over();
        }
        context.app.tick(now_us);
        if context.app.schedule().is_over() {
            return self.close_all(&mut context);
        }
        while let Some(conn) = context.app.next_to_open() {
            if !self.connect(&mut context, &conn) {
                break;
            }
        }
        self.send_in_turn(&mut context);
        if context.app.has_worked() {
            // Sending took time. Bytes that arrived meanwhile must not get an earlier time.
            context.app.tick(context.read_clock_us());
            context.app.worked();
        }
        true
    }

    /// Closes open connections no faster than the server does. Returns whether to continue.
    fn close_all<P: Protocol>(&mut self, context: &mut WorkerContext<'_, Client<P>>) -> bool {
        let Driver { connections, closing, .. } = self;
        let open = context.stack.connections();
        let closing = closing.get_or_insert(Closing {
            until_us: context.now_us + CLOSING_US,
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
                && context.stack.with(*id, |conn, reply| context.app.leave(conn, reply)).is_some()
            {
                closing.begun += 1;
            }
        }
        open > 0 && context.now_us < closing.until_us
    }

    /// Opens a connection. Returns whether another may be opened in this iteration.
    fn connect<P: Protocol>(
        &mut self,
        context: &mut WorkerContext<'_, Client<P>>,
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
            match context.stack.connect_with(context.now, &to, conn.clone(), context.outbound) {
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
        context.app.postpone(slot);
        false
    }

    #[inline]
    fn send_in_turn<P: Protocol>(&mut self, context: &mut WorkerContext<'_, Client<P>>) {
        while let Some(slot) = context.app.next_to_send() {
            let Some(id) = self.connections[slot as usize] else { continue };
            let app = &mut *context.app;
            let sent =
                context.stack.with(id, |conn, reply| conn.slot() != slot || app.send(conn, reply));
            if sent == Some(false) {
                return;
            }
        }
    }
}

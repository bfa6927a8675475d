//! Starts the AF_XDP transport of a server: opens the device, starts a worker for each core, then
//! claims traffic.

use super::addresses::Addresses;
use super::claims::{Claims, add_claim, end_tunnels, host_addresses};
use super::factories::{Factories, Ports};
use super::late_addresses::LateAddresses;
use super::{Common, Running, Server, count, kernel, plan};
use crate::config::{self, Transport};
use crate::control::{self, CommandReceiver, CommandSender};
use crate::error::{Error, Result};
use crate::listening::{Listening, Via};
use crate::metrics::Snapshot;
use crate::setup::Setup;
use crate::setup::endpoints::Claimed;
use crate::setup::host::Host;
use crate::steer::{Device, Tunnel};
use crate::worker::stack_config::{DeviceFacts, secret, suit_device};
use crate::worker::{self, Parts, Worker};
use crate::{address_check, probe, thread};
use af_xdp::{FramePool, GsoSender, Link, OpenOptions, Queue};
use simoom_tcp::{Address, Config, EcnPolicy, LocalAddress, PortTimeouts};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// Maximum of connections of the kernel worker for clients that do not come through the claimed
/// interface.
const BESIDE_CONNECTIONS: u32 = 1024;

/// A carrier that does not come within this time is the matter of the readiness check.
const CARRIER_DEADLINE: Duration = Duration::from_secs(10);
const CARRIER_PAUSE: Duration = Duration::from_millis(20);

/// An opened device without workers and claims.
pub(super) struct Opened {
    device: Device,
    queues: Vec<(Queue, FramePool)>,
    workers: usize,
    stack: Config,
    interface: String,
}

/// The result of `--transport auto`.
pub(super) enum Choice {
    /// The interface is open.
    Xdp(Box<Opened>),
    /// AF_XDP does not work on it, for this reason.
    KernelSockets(String),
}

/// Opens an interface if this machine supports it. Invalid configuration is an error.
pub(super) fn open_if_possible<L: Factories>(
    common: &Common<'_, L>,
    interface: &str,
) -> Result<Choice> {
    let facts = probe::facts(Some(interface))
        .map_err(|error| Error::failed(format!("--interface {interface}: {error}")))?;
    let choice = facts.interfaces.into_iter().next().map(|probed| probed.choice);
    if let Some(choice) = choice.filter(|choice| choice.transport != Transport::Xdp) {
        return Ok(Choice::KernelSockets(choice.reason));
    }
    match open(common, interface) {
        Err(Error::Failed(reason)) => Ok(Choice::KernelSockets(reason)),
        outcome => outcome.map(|opened| Choice::Xdp(Box::new(opened))),
    }
}

/// Opens an interface: all of its queues, in the best mode that works.
pub(super) fn open<L: Factories>(common: &Common<'_, L>, interface: &str) -> Result<Opened> {
    let setup = common.setup;
    let failed = |error: &str| Error::failed(format!("--interface {interface}: {error}"));
    let host = common.host.as_ref().ok_or_else(|| failed("the interface is gone"))?;
    let mut options = OpenOptions {
        mode: setup.xdp_mode.forced(),
        busy_poll: setup.busy_poll,
        checksum_offload: setup.tx_checksum.may_offload(),
        ..OpenOptions::new(interface)
    };
    let queues = options.queue_count().map_err(|error| Error::failed(error.to_string()))?;
    // The memory plan, the program and the sockets are for the same number of queues.
    options.queues = Some(queues);
    let workers = (queues as usize).min(setup.cores.len());
    check_sleepable(queues as usize, workers)?;
    plan::check_xdp(common, &options, queues, workers as u32, BESIDE_CONNECTIONS)?;
    let (device, queues) =
        Device::open(&options).map_err(|error| Error::failed(error.to_string()))?;
    let stack = stack_config(common, host, &device, workers as u32)?;
    Ok(Opened { device, queues, workers, stack, interface: interface.to_owned() })
}

/// Waits for the carrier: many drivers reset the link when a program is attached or detached, or a
/// queue is bound. A server that takes over from one that has just ended finds none even before.
fn await_carrier(claims: &Claims) {
    let began = Instant::now();
    while began.elapsed() < CARRIER_DEADLINE {
        match claims.link() {
            Ok(Link { up: true, carrier: false, .. }) => std::thread::sleep(CARRIER_PAUSE),
            _ => return,
        }
    }
    let interface = claims.interface();
    tracing::warn!(interface, "no carrier within {CARRIER_DEADLINE:?}, serving when it comes");
}

impl Server {
    /// Serves from the receive queues of the interface, and through kernel sockets beside them.
    ///
    /// Kernel sockets bind first and listen last: the stack would reset connections that were
    /// accepted before their address is claimed.
    pub(super) fn start_xdp<L: Factories>(
        &mut self,
        common: &Common<'_, L>,
        opened: Opened,
    ) -> Result<()> {
        let Opened { device, queues, workers, stack, interface } = opened;
        let claimed = &common.endpoints.claimed;
        let own: BTreeSet<IpAddr> = claimed
            .iter()
            .filter(|claimed| claimed.dedicated)
            .map(|claimed| claimed.at.ip())
            .collect();
        let own: Vec<IpAddr> = own.into_iter().collect();
        address_check::check(&interface, stack.mac, &own, common.setup.address_probe)?;
        let bound = kernel::reserve(common, 1)?;
        let mut ports: Vec<_> =
            claimed.iter().map(|claimed| (claimed.at.port(), claimed.service.clone())).collect();
        ports.dedup();
        let ports = Ports(ports);
        self.transport = format!(
            "AF_XDP, {} mode, {} on {}",
            device.mode(),
            count(queues.len(), "queue"),
            count(workers, "core")
        );
        let bound_queues = queues.len() as u32;
        let gso = open_gso(common.setup, &device, workers)?;
        self.start_stack_workers(common, (queues, gso), workers, &stack, &ports)?;
        self.claim(common, device, bound_queues, stack)?;
        let beside = BESIDE_CONNECTIONS.min(common.setup.connections);
        let waiting = kernel::Waiting::beside(common);
        self.start_kernel_workers(common, bound, beside, &[None], waiting)?;
        if let Some(claims) = &mut self.device {
            let mut beside = self.workers.iter().filter(|worker| worker.drained.is_none());
            claims.beside = beside.next().map(|worker| worker.command_sender.clone());
            await_carrier(claims);
        }
        Ok(())
    }

    /// Claims the traffic of the interface.
    fn claim<L>(
        &mut self,
        common: &Common<'_, L>,
        device: Device,
        queues: u32,
        stack: Config,
    ) -> Result<()> {
        let claimed = &common.endpoints.claimed;
        self.addresses = claimed.iter().map(|claimed| claimed.at).collect();
        for Claimed { service, at, .. } in claimed {
            let (service, address) = (service.name, *at);
            let listening = Listening { service, protocol: "tcp", address, via: Via::Xdp };
            self.listens(common, listening)?;
        }
        let snapshot = Snapshot::new("steering");
        self.registry.add(snapshot.clone());
        let workers = self.workers.iter().filter(|worker| worker.drained.is_some());
        let workers = workers.map(|worker| worker.command_sender.clone()).collect();
        let mtu_bytes = common.host.as_ref().map_or(0, |host| host.interface().mtu_bytes);
        let served = claimed.iter().map(|claimed| (claimed.at.ip(), claimed.dedicated)).collect();
        let own = common.host.iter().flat_map(Host::own_addresses);
        let addresses = Addresses::new(host_addresses(own), served);
        let late_addresses =
            LateAddresses::of(common.setup, device.ifindex(), self.listeners.clone());
        let claims = Claims {
            name: device.interface().to_owned(),
            addresses,
            late_addresses,
            waiting: BTreeSet::new(),
            device,
            queues,
            snapshot,
            mtu_bytes,
            stack,
            workers,
            beside: None,
        };
        let claims = self.device.insert(claims);
        claims.publish();
        let tunnels = &common.setup.tunnels;
        let ends = common.host.iter().flat_map(Host::own_addresses);
        for end in ends {
            end_tunnels(&mut claims.device, end, tunnels)?;
        }
        let mut all = claimed.iter().map(Claimed::claim);
        all.try_for_each(|claim| add_claim(&mut claims.device, claim))
    }

    /// Starts the workers and distributes the queues round-robin.
    fn start_stack_workers<L: Factories>(
        &mut self,
        common: &Common<'_, L>,
        (queues, mut gso): (Vec<(Queue, FramePool)>, Vec<GsoSender>),
        workers: usize,
        stack: &Config,
        ports: &Ports,
    ) -> Result<()> {
        let frames = queues.first().map_or(0, |(queue, _)| queue.umem().chunks());
        let mut dealt: Vec<Vec<_>> = (0..workers).map(|_| Vec::new()).collect();
        for (index, queue) in queues.into_iter().enumerate() {
            dealt[index % workers].push(queue);
        }
        let cannot = |error| Error::because("starting a worker", error);
        let ends: Vec<(CommandSender, CommandReceiver)> = (0..workers)
            .map(|_| control::command_channel())
            .collect::<Result<_, _>>()
            .map_err(cannot)?;
        let wakers: Vec<_> =
            ends.iter().map(|(command_sender, _)| command_sender.waker()).collect();
        let connections = stack.limits.connections as usize;
        let handovers = worker::handover::ring(&wakers, frames);
        for (index, ((queues, (command_sender, commands)), handover)) in
            dealt.into_iter().zip(ends).zip(handovers).enumerate()
        {
            let name = format!("xdp {index}");
            let snapshot = Snapshot::new(&name);
            let drained = Arc::new(AtomicBool::new(false));
            let core = Some(common.setup.cores[index]);
            let parts = Parts {
                queues,
                app: common.handlers(ports, core, connections, Via::Xdp, &command_sender)?,
                // One announcement is enough.
                stack: Config { announces: index == 0, ..stack.clone() },
                ports: plan::port_limits(common.setup, ports, connections, workers),
                handover,
                commands,
                snapshot: snapshot.clone(),
                busy_poll: common.setup.busy_poll,
                drained: Some(drained.clone()),
                gso: gso.pop(),
            };
            let thread = thread::spawn(name, core, common.failures.clone(), move || {
                Worker::new(parts).run()
            });
            self.workers.push(Running {
                command_sender,
                thread: thread.map_err(cannot)?,
                drained: Some(drained),
            });
            self.registry.add(snapshot);
        }
        Ok(())
    }
}

/// A sender of long packets for each worker, if they are to be used with the device.
fn open_gso(setup: &Setup, device: &Device, workers: usize) -> Result<Vec<GsoSender>> {
    let (interface, mode, offload) =
        (device.interface(), device.mode(), setup.segmentation_offload);
    if !offload.is_for(mode, setup.tx_checksum) {
        return Ok(Vec::new());
    }
    let cannot =
        |error| Error::failed(format!("--segmentation-offload {}: {error}", offload.name()));
    let opened: std::result::Result<Vec<_>, _> =
        (0..workers).map(|_| GsoSender::open(device.ifindex())).collect();
    let senders = opened.map_err(cannot)?;
    tracing::info!(interface, %mode, "the kernel or the NIC cuts long answers into segments");
    Ok(senders)
}

/// Checks that no worker has more queues than it can sleep on.
fn check_sleepable(queues: usize, workers: usize) -> Result<()> {
    let max = worker::MAX_QUEUES;
    if queues.div_ceil(workers) <= max {
        return Ok(());
    }
    Err(Error::usage(format!(
        "--cores: {queues} queues on {}: at most {max} queues per core; give at least {}",
        count(workers, "core"),
        count(queues.div_ceil(max), "core")
    )))
}

/// The configuration of every stack.
fn stack_config<L>(
    common: &Common<'_, L>,
    host: &Host,
    device: &Device,
    workers: u32,
) -> Result<Config> {
    let (setup, facts) = (common.setup, host.interface());
    let claimed = &common.endpoints.claimed;
    let mut addresses: Vec<LocalAddress> = Vec::new();
    for Claimed { at, dedicated, .. } in claimed {
        let address = Address::from(at.ip());
        if !addresses.iter().any(|known| known.address == address) {
            addresses.push(LocalAddress { address, dedicated: *dedicated });
        }
    }
    let limits = plan::stack_limits(setup, setup.connections, workers);
    let ports: BTreeSet<u16> = claimed.iter().map(|claimed| claimed.at.port()).collect();
    let everywhere = claimed.len() == addresses.len() * ports.len();
    let mut stack = Config::new(facts.mac, addresses, secret()?, limits);
    if !everywhere {
        stack.listen_addresses =
            claimed.iter().map(|claimed| (claimed.at.ip().into(), claimed.at.port())).collect();
    }
    stack.no_peers = host.no_peers();
    stack.zone = facts.index;
    let has_ipv6_end = host.own_addresses().any(|end| end.is_ipv6());
    stack.tunnel_bytes = Tunnel::max_bytes(&setup.tunnels, has_ipv6_end);
    stack.ecn = match setup.ecn {
        config::Ecn::Accept => EcnPolicy::Accept,
        config::Ecn::Off => EcnPolicy::Off,
    };
    stack.congestion = setup.congestion;
    stack.congestion_of_ports = setup.congestion_of_ports();
    let millis = |time: Duration| time.as_millis().min(1 << 30) as u32;
    stack.keep_alive_ms = millis(setup.keep_alive);
    stack.send_timeout_ms = millis(setup.send_timeout).max(1);
    let of_ports = setup.timeouts_of_ports().into_iter();
    stack.timeouts_of_ports = of_ports
        .map(|(port, send, keep_alive)| PortTimeouts {
            port,
            send_timeout_ms: millis(send).max(1),
            keep_alive_ms: millis(keep_alive),
        })
        .collect();
    let facts = DeviceFacts {
        driver: device.driver(),
        mtu_bytes: facts.mtu_bytes,
        frame_bytes: device.frame_bytes(),
        completes_checksums: device.checksum_offload().is_ok(),
    };
    suit_device(&mut stack, &facts);
    Ok(stack)
}

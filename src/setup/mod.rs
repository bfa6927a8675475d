//! What a server is to do, without the code of its handlers: services with their endpoints, limits
//! and timeouts, and the distribution of connections.
//!
//! [`endpoints`] resolves the endpoints on a host, of which [`host`] has the addresses.

pub(crate) mod endpoints;
pub(crate) mod host;

use crate::config::{
    ADDRESS_PROBE_DEFAULT, CONNECTIONS_DEFAULT, Ecn, Endpoint, InterfaceChange,
    SegmentationOffload, TIMEOUTS_DEFAULT, Transport, TxChecksum, XdpMode,
};
use crate::handler::PortNames;
use crate::steer::Tunnel;
use simoom_tcp::Congestion;
use simoom_tcp::prefix::PrefixLengths;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Option of memcached over UDP.
pub(crate) const UDP_OPTION: &str = "--memcached-udp";
/// The part of a worker's connections that a service leaves to the others: 1/8.
const RESERVE_SHIFT: u32 = 3;

/// The configuration of a server.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// The interface whose queues are bound; `None`: kernel sockets only.
    pub(crate) interface: Option<String>,
    /// Addresses to claim from the interface. Empty: those of the interface.
    pub(crate) addresses: Vec<IpAddr>,
    /// Interval of the duplicate-address check (RFC 5227). Zero disables the check.
    pub(crate) address_probe: Duration,
    /// Kinds of tunnels that packets are taken out of.
    pub(crate) tunnels: Vec<Tunnel>,
    /// Cores with a worker each, ascending. Upper bound for the number of workers.
    pub(crate) cores: Vec<usize>,
    /// Maximum of open connections over all workers.
    pub(crate) connections: u32,
    /// Maximum of connections of one worker from one /24 of IPv4 or /64 of IPv6.
    pub(crate) connections_per_prefix: Option<u32>,
    pub(crate) prefix_lengths: PrefixLengths,
    pub(crate) transport: Transport,
    pub(crate) xdp_mode: XdpMode,
    pub(crate) tx_checksum: TxChecksum,
    pub(crate) segmentation_offload: SegmentationOffload,
    pub(crate) ecn: Ecn,
    /// The congestion control of services without one of their own.
    pub(crate) congestion: Congestion,
    pub(crate) on_interface_change: InterfaceChange,
    /// Whether workers poll the NIC, over AF_XDP or epoll.
    pub(crate) busy_poll: bool,
    /// Upper limit of the memory plan.
    pub(crate) memory_limit_bytes: Option<u64>,
    /// Address of the admin endpoint.
    pub(crate) admin: Option<SocketAddr>,
    /// Time in which a client must accept a part of its answer.
    pub(crate) send_timeout: Duration,
    /// Silence after which a client is probed. Zero disables probes.
    pub(crate) keep_alive: Duration,
    /// Time for open answers to finish at shutdown. May be zero.
    pub(crate) drain_timeout: Duration,
    /// Services with their endpoints, in the order of the configuration.
    pub(crate) services: Vec<Arc<Service>>,
    /// The service over UDP, if any.
    pub(crate) datagrams: Option<Datagrams>,
}

/// A handler in the configuration of a server.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    /// The name in the log and in metrics.
    pub(crate) name: &'static str,
    /// The option that requests the service, as errors name it: `--http`.
    pub(crate) option: String,
    /// The option that limits its connections, as errors name it.
    pub(crate) connections_option: String,
    /// The names of the metrics of its connections.
    pub(crate) port_names: PortNames,
    /// Endpoints of the service.
    pub(crate) endpoints: Vec<Endpoint>,
    /// Maximum of open connections. `None`: see [`Setup::connection_limit`].
    pub(crate) connections: Option<u32>,
    /// The option for its congestion control, as errors name it.
    pub(crate) congestion_option: String,
    /// Congestion control. `None`: [`Setup::congestion`].
    pub(crate) congestion: Option<Congestion>,
    /// Send timeout. `None`: [`Setup::send_timeout`].
    pub(crate) send_timeout: Option<Duration>,
    /// Silence before keep-alive probes. `None`: [`Setup::keep_alive`].
    pub(crate) keep_alive: Option<Duration>,
    /// Not requested explicitly: if its port is in use, the other services are served without it.
    pub(crate) optional: bool,
}

/// The names of services are unique in a server.
impl PartialEq for Service {
    fn eq(&self, other: &Service) -> bool {
        self.name == other.name
    }
}

impl Eq for Service {}

/// The service over UDP.
#[derive(Clone, Debug)]
pub(crate) struct Datagrams {
    pub(crate) service: Arc<Service>,
    pub(crate) endpoint: Endpoint,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            interface: None,
            addresses: Vec::new(),
            address_probe: ADDRESS_PROBE_DEFAULT,
            tunnels: Vec::new(),
            cores: Vec::new(),
            connections: CONNECTIONS_DEFAULT,
            connections_per_prefix: None,
            prefix_lengths: PrefixLengths::default(),
            transport: Transport::default(),
            xdp_mode: XdpMode::default(),
            tx_checksum: TxChecksum::default(),
            segmentation_offload: SegmentationOffload::default(),
            ecn: Ecn::default(),
            congestion: Congestion::default(),
            on_interface_change: InterfaceChange::default(),
            busy_poll: false,
            memory_limit_bytes: None,
            admin: None,
            send_timeout: TIMEOUTS_DEFAULT.send,
            keep_alive: TIMEOUTS_DEFAULT.keep_alive,
            drain_timeout: TIMEOUTS_DEFAULT.drain,
            services: Vec::new(),
            datagrams: None,
        }
    }
}

impl Setup {
    /// Maximum of workers: one for each core, one for clients that do not come through the
    /// interface, one for UDP.
    pub(crate) fn workers(&self) -> usize {
        self.cores.len() + 1 + usize::from(self.datagrams.is_some())
    }

    /// Each service with each of its endpoints.
    pub(crate) fn endpoints(&self) -> impl Iterator<Item = (&Arc<Service>, Endpoint)> {
        self.services
            .iter()
            .flat_map(|service| service.endpoints.iter().map(move |endpoint| (service, *endpoint)))
    }

    /// The port of each service with its own congestion control, and that.
    pub(crate) fn congestion_of_ports(&self) -> Vec<(u16, Congestion)> {
        let own = |(service, at): (&Arc<Service>, Endpoint)| Some((at.port, service.congestion?));
        self.endpoints().filter_map(own).collect()
    }

    /// The port of each service with a timeout of its own, its send timeout and the silence before
    /// its keep-alive probes.
    pub(crate) fn timeouts_of_ports(&self) -> Vec<(u16, Duration, Duration)> {
        let own = |(service, at): (&Arc<Service>, Endpoint)| {
            service.send_timeout.or(service.keep_alive)?;
            let send = service.send_timeout.unwrap_or(self.send_timeout);
            Some((at.port, send, service.keep_alive.unwrap_or(self.keep_alive)))
        };
        self.endpoints().filter_map(own).collect()
    }

    /// The congestion controls of the server.
    pub(crate) fn congestion_controls(&self) -> Vec<Congestion> {
        let own = self.services.iter().filter_map(|service| service.congestion);
        std::iter::once(self.congestion).chain(own).collect()
    }

    /// Each endpoint with its option, as errors name it: `--http 80`. Includes UDP.
    pub(crate) fn given(&self) -> impl Iterator<Item = (&str, Endpoint)> {
        let udp = self.datagrams.as_ref().map(|datagrams| (UDP_OPTION, datagrams.endpoint));
        let services = self.endpoints().map(|(service, at)| (service.option.as_str(), at));
        services.chain(udp)
    }

    /// Sets loopback for endpoints without an address if there is no interface.
    pub(crate) fn default_to_loopback(&mut self) {
        for service in &mut self.services {
            for endpoint in &mut Arc::make_mut(service).endpoints {
                endpoint.address.get_or_insert(Ipv4Addr::LOCALHOST.into());
            }
        }
    }

    /// Maximum of connections of `service` in one of `workers` workers, which holds `connections`.
    /// A service beside others leaves them 1/8, unless it has a limit of its own.
    pub(crate) fn connection_limit(
        &self,
        service: &Service,
        connections: u32,
        workers: u32,
    ) -> u32 {
        let is_shared = self.services.len() > 1;
        let reserve =
            if is_shared && connections > 1 { (connections >> RESERVE_SHIFT).max(1) } else { 0 };
        let share = |given: u32| given.div_ceil(workers).min(connections);
        service.connections.map_or(connections - reserve, share)
    }
}

//! What is asked of a server, apart from its handlers' code: plain values, and how connections are
//! shared out.

use crate::config::{
    ADDRESS_PROBE_DEFAULT, CONNECTIONS_DEFAULT, Ecn, Endpoint, InterfaceChange, TIMEOUTS_DEFAULT,
    Transport, XdpMode,
};
use crate::handler::PortNames;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Of the connections of a worker, the part that a service leaves to the others: 1/8.
const RESERVE_SHIFT: u32 = 3;

/// What is asked of a server.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// The interface whose queues are bound; `None`: kernel sockets only.
    pub(crate) interface: Option<String>,
    /// The addresses claimed from the interface; none: those that it has.
    pub(crate) addresses: Vec<IpAddr>,
    /// The pace of asking whether another host has one of them (RFC 5227); zero asks nobody.
    pub(crate) address_probe: Duration,
    /// One worker on each of these cores, at most; ascending.
    pub(crate) cores: Vec<usize>,
    /// Connections held at once, by all workers together.
    pub(crate) connections: u32,
    /// Connections that one worker holds from one source /24 of IPv4 or /64 of IPv6.
    pub(crate) connections_per_prefix: Option<u32>,
    pub(crate) transport: Transport,
    pub(crate) xdp_mode: XdpMode,
    pub(crate) ecn: Ecn,
    pub(crate) on_interface_change: InterfaceChange,
    /// Whether workers spin for ever.
    pub(crate) busy_poll: bool,
    /// The most memory that may be planned for.
    pub(crate) memory_limit_bytes: Option<u64>,
    /// Where metrics are served.
    pub(crate) admin: Option<SocketAddr>,
    /// For a client to take something of its answer.
    pub(crate) send_timeout: Duration,
    /// For a silent client to be asked whether it is still there; zero: never.
    pub(crate) keep_alive: Duration,
    /// For open answers to finish at shutdown; may be zero.
    pub(crate) drain_timeout: Duration,
    /// What is served where, in the order in which it was asked for.
    pub(crate) services: Vec<Arc<Service>>,
    /// What is served over UDP beside it, if anything.
    pub(crate) datagrams: Option<Datagrams>,
}

/// A handler as a server knows it.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    /// The name in the log and in metrics.
    pub(crate) name: &'static str,
    /// What errors call the option that asks for it: `--http`.
    pub(crate) option: String,
    /// The same of the option that limits its connections.
    pub(crate) connections_option: String,
    /// The names of the metrics of its connections.
    pub(crate) port_names: PortNames,
    /// Where it is reached.
    pub(crate) endpoints: Vec<Endpoint>,
    /// Connections at once; `None`: see [`Setup::connection_limit`].
    pub(crate) connections: Option<u32>,
    /// Nobody asked for it: where its port is taken, the rest is served without it.
    pub(crate) optional: bool,
}

/// Names are unique in a server.
impl PartialEq for Service {
    fn eq(&self, other: &Service) -> bool {
        self.name == other.name
    }
}

impl Eq for Service {}

/// What is served over UDP.
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
            cores: Vec::new(),
            connections: CONNECTIONS_DEFAULT,
            connections_per_prefix: None,
            transport: Transport::default(),
            xdp_mode: XdpMode::default(),
            ecn: Ecn::default(),
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
    /// Workers at most: one for each core, one beside them for clients that do not come through the
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

    /// What is given for each endpoint, as errors call it: `--http 80`, UDP too.
    pub(crate) fn given(&self) -> impl Iterator<Item = (&str, Endpoint)> {
        let udp = self.datagrams.as_ref().map(|datagrams| (super::UDP_OPTION, datagrams.endpoint));
        let services = self.endpoints().map(|(service, at)| (service.option.as_str(), at));
        services.chain(udp)
    }

    /// Without an interface an endpoint without an address is on loopback.
    pub(super) fn default_to_loopback(&mut self) {
        for service in &mut self.services {
            for endpoint in &mut Arc::make_mut(service).endpoints {
                endpoint.address.get_or_insert(Ipv4Addr::LOCALHOST.into());
            }
        }
    }

    /// The most connections of `service` to one of `workers` workers, which holds `connections`. A
    /// service that has others beside it leaves an eighth for them, unless it has a limit of its
    /// own.
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

//! Checks the combination of options in a [`Setup`]. The error names the option that conflicts.

use crate::config::{
    Ecn, Endpoint, InterfaceChange, SegmentationOffload, Transport, TxChecksum, XdpMode,
};
use crate::error::{Error, Result};
use crate::setup::{Service, Setup};
use crate::steer::{Tunnel, is_host_address};
use simoom_tcp::Congestion;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

impl Setup {
    /// Runs all checks that need no information about the machine.
    pub(crate) fn check(&self) -> Result<()> {
        self.check_transport()?;
        self.check_ports_differ()?;
        self.check_shares()
    }

    /// Checks that server sockets can be bound to each endpoint. Loopback and unspecified addresses
    /// are served by kernel sockets only.
    pub(crate) fn check_endpoints(&self) -> Result<()> {
        for (option, endpoint) in self.given() {
            let Some(address) = endpoint.address else { continue };
            if address.is_unspecified() || address.is_loopback() {
                continue;
            }
            if !is_host_address(address) {
                return Err(Error::usage(format!(
                    "{option} {endpoint}: {address} is not the address of one host on a network; give an address that this \
                     host has, or the port alone"
                )));
            }
        }
        Ok(())
    }

    /// Checks that addresses come with an interface, each once.
    pub(crate) fn check_addresses(&self) -> Result<()> {
        let addresses = &self.addresses;
        if let (None, Some(address)) = (&self.interface, addresses.first()) {
            let write: Vec<String> = self
                .given()
                .map(|(option, at)| format!("{option} {}", SocketAddr::new(*address, at.port)))
                .collect();
            return Err(Error::usage(format!(
                "--address {address}: cannot be used without --interface; name the network interface, or write {} to \
                 listen there through kernel sockets",
                write.join(" ")
            )));
        }
        let twice =
            addresses.iter().enumerate().find(|(at, address)| addresses[..*at].contains(address));
        if let Some((_, address)) = twice {
            return Err(Error::usage(format!("--address {address}: given twice")));
        }
        Tunnel::check(&self.tunnels).map_err(|tunnel| {
            Error::usage(format!(
                "--tunnel {tunnel}: this kind is given twice; name each kind once"
            ))
        })?;
        Ok(())
    }

    /// Checks that no service has more connections than the server.
    fn check_shares(&self) -> Result<()> {
        for service in &self.services {
            if let Some(limit) = service.connections.filter(|limit| *limit > self.connections) {
                return Err(Error::usage(format!(
                    "{} {limit}: at most {}, as many as --connections",
                    service.connections_option, self.connections
                )));
            }
        }
        Ok(())
    }

    /// Checks that options of AF_XDP are not used with kernel sockets.
    fn check_transport(&self) -> Result<()> {
        let (without, remedy) = match (&self.interface, self.transport) {
            (None, _) => ("without --interface", "name the network interface"),
            (Some(_), Transport::Epoll) => ("with --transport epoll", "leave one of the two out"),
            (Some(_), Transport::IoUring) => {
                ("with --transport io-uring", "leave one of the two out")
            }
            (Some(_), _) => return Ok(()),
        };
        let refuse =
            |flag: &str| Err(Error::usage(format!("{flag}: cannot be used {without}; {remedy}")));
        if self.transport == Transport::Xdp {
            return refuse("--transport xdp");
        }
        if self.xdp_mode != XdpMode::Auto {
            return refuse(&format!("--xdp-mode {}", self.xdp_mode.name()));
        }
        if self.tx_checksum == TxChecksum::Software {
            return refuse("--tx-checksum software");
        }
        if self.segmentation_offload != SegmentationOffload::Auto {
            let when = self.segmentation_offload.name();
            return refuse(&format!("--segmentation-offload {when}"));
        }
        if let Some(tunnel) = self.tunnels.first() {
            return refuse(&format!("--tunnel {tunnel}"));
        }
        if self.ecn == Ecn::Off {
            return refuse("--ecn off");
        }
        if self.congestion != Congestion::default() {
            return refuse(&format!("--congestion {}", self.congestion));
        }
        let own = |service: &Arc<Service>| {
            Some(format!("{} {}", service.congestion_option, service.congestion?))
        };
        if let Some(flag) = self.services.iter().find_map(own) {
            return refuse(&flag);
        }
        if self.on_interface_change == InterfaceChange::End {
            return refuse("--on-interface-change end");
        }
        self.check_busy_poll()
    }

    /// Checks that --busy-poll is not used with kernel sockets other than over epoll.
    fn check_busy_poll(&self) -> Result<()> {
        if !self.busy_poll || self.transport == Transport::Epoll {
            return Ok(());
        }
        let without = match self.transport {
            Transport::IoUring => {
                "with --transport io-uring, which cannot suspend interrupts; give --transport epoll"
            }
            _ => {
                "without --interface; name the network interface for AF_XDP, or give --transport epoll"
            }
        };
        Err(Error::usage(format!("--busy-poll: cannot be used {without}")))
    }

    /// Checks that ports are valid and not used twice.
    fn check_ports_differ(&self) -> Result<()> {
        for (service, at) in self.endpoints() {
            let (option, name) = (&service.option, service.name);
            if at.port == 0 && self.interface.is_some() {
                return Err(Error::usage(format!(
                    "{option} 0: with --interface, a port from 1 to 65535"
                )));
            }
            // Without an address the service listens at several, also loopback.
            let overlap = |admin: &SocketAddr| {
                let is_same = |address: IpAddr| address == admin.ip() || address.is_unspecified();
                admin.ip().is_unspecified() || at.address.is_none_or(is_same)
            };
            let clashes =
                |admin: &SocketAddr| overlap(admin) && admin.port() == at.port && at.port != 0;
            if let Some(admin) = self.admin.filter(clashes) {
                return Err(Error::usage(format!(
                    "--admin {admin}: {name} is served on port {} already; choose another port",
                    admin.port()
                )));
            }
        }
        self.check_ports()
    }

    /// Checks that each port has one service: a worker finds the service of a connection by the
    /// port alone.
    fn check_ports(&self) -> Result<()> {
        let all: Vec<_> = self.endpoints().collect();
        for (index, (service, at)) in all.iter().enumerate() {
            let is_same = |(other, there): &&(&Arc<Service>, Endpoint)| {
                there.port == at.port && at.port != 0 && other != service
            };
            if let Some((other, _)) = all[..index].iter().find(is_same) {
                return Err(Error::usage(format!(
                    "{} {at}: {} is served on port {} already; choose another port",
                    service.option, other.name, at.port
                )));
            }
        }
        Ok(())
    }
}

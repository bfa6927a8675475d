//! Serves addresses that the interface gets while the server runs: of a failover, of router
//! advertisements, by hand. They are served as if the interface had had them at the start, but not
//! by kernel sockets.

use super::xdp::{add_claim, end_tunnels};
use crate::config::Endpoint;
use crate::control::{Command, CommandSender};
use crate::error::{Error, Result};
use crate::kernel::{Presence, Reserved};
use crate::setup::Setup;
use crate::setup::endpoints::scoped;
use crate::steer::{Claim, Device, Tunnel};
use std::net::{IpAddr, SocketAddr};

/// The services of every address of the interface.
pub(super) struct LateAddresses {
    /// Their ports; none if the flags name addresses.
    ports: Vec<u16>,
    tunnels: Vec<Tunnel>,
    ifindex: u32,
}

impl LateAddresses {
    pub(super) fn of(setup: &Setup, ifindex: u32) -> LateAddresses {
        let everywhere = |endpoint: Endpoint| endpoint.address.is_none().then_some(endpoint.port);
        let endpoints = setup.endpoints().filter(|_| setup.addresses.is_empty());
        let ports = endpoints.filter_map(|(_, endpoint)| everywhere(endpoint)).collect();
        LateAddresses { ports, tunnels: setup.tunnels.clone(), ifindex }
    }

    /// Whether a new address of the interface is to be served.
    pub(super) fn are_served(&self) -> bool {
        !self.ports.is_empty()
    }

    /// Has the stacks of `workers` serve `address`, and claims it. An error means that nothing of
    /// it is claimed: another process listens there, or too many addresses are claimed.
    pub(super) fn serve(
        &self,
        address: IpAddr,
        device: &mut Device,
        workers: &[CommandSender],
    ) -> Result<()> {
        for port in &self.ports {
            let at = scoped(address, *port, self.ifindex);
            let free = Reserved::bind(at, Presence::AnyTime, 1);
            free.map_err(|error| Error::failed(error.to_string()))?;
        }
        // The stacks first: they drop segments to an address that they do not have.
        for port in &self.ports {
            let serve = Command::Serve(SocketAddr::new(address, *port));
            workers.iter().for_each(|worker| worker.send(serve));
        }
        let claimed = self.claim(address, device);
        if claimed.is_err() {
            for port in &self.ports {
                // An error means that it is not claimed.
                let _ = device.remove_claim(Claim::Port(SocketAddr::new(address, *port)));
            }
        }
        claimed
    }

    fn claim(&self, address: IpAddr, device: &mut Device) -> Result<()> {
        end_tunnels(device, address, &self.tunnels)?;
        let mut claims = self.ports.iter().map(|port| Claim::Port(SocketAddr::new(address, *port)));
        claims.try_for_each(|claim| add_claim(device, claim))
    }
}

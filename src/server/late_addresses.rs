//! Serves addresses that the interface gets while the server runs: of a failover, of router
//! advertisements, by hand. They are served as if the interface had had them at the start.

use super::claims::{add_claim, end_tunnels};
use super::kernel::BACKLOG;
use crate::control::{Command, CommandSender};
use crate::error::{Error, Result};
use crate::kernel::{Presence, Reserved};
use crate::listening::{Listeners, Listening, Via};
use crate::open_files;
use crate::setup::Setup;
use crate::setup::endpoints::scoped;
use crate::steer::{Claim, Device, Tunnel};
use std::net::{IpAddr, SocketAddr};

/// File descriptors that listeners of new addresses leave, for clients of the admin endpoint, local
/// clients, and log files that are opened again. Without one, the clients wait for ever.
pub(super) const FILES_RESERVED: usize = 32;

/// The services of every address of the interface.
pub(super) struct LateAddresses {
    /// None if the flags name addresses.
    services: Vec<Everywhere>,
    tunnels: Vec<Tunnel>,
    ifindex: u32,
    listeners: Listeners,
}

/// A service whose flag is a port alone, `0.0.0.0` or `[::]`.
#[derive(Clone, Copy)]
struct Everywhere {
    name: &'static str,
    port: u16,
    /// The address of the flag: kernel sockets accept connections to every address of this version
    /// of IP already.
    wildcard: Option<IpAddr>,
}

impl Everywhere {
    fn includes(&self, address: IpAddr) -> bool {
        self.wildcard.is_none_or(|wildcard| wildcard.is_ipv4() == address.is_ipv4())
    }

    fn listening(&self, address: IpAddr, via: Via) -> Listening {
        let address = SocketAddr::new(address, self.port);
        Listening { service: self.name, protocol: "tcp", address, via }
    }
}

impl LateAddresses {
    pub(super) fn of(setup: &Setup, ifindex: u32, listeners: Listeners) -> LateAddresses {
        let endpoints = setup.endpoints().filter(|_| setup.addresses.is_empty());
        let everywhere = endpoints.filter_map(|(service, endpoint)| {
            let wildcard = endpoint.address;
            let is_everywhere = wildcard.is_none_or(|address| address.is_unspecified());
            let (name, port) = (service.name, endpoint.port);
            is_everywhere.then_some(Everywhere { name, port, wildcard })
        });
        let services = everywhere.collect();
        LateAddresses { services, tunnels: setup.tunnels.clone(), ifindex, listeners }
    }

    /// Whether a new address of the interface is to be served.
    pub(super) fn include(&self, address: IpAddr) -> bool {
        self.services.iter().any(|service| service.includes(address))
    }

    /// The number of new addresses, up to `most`, that there are file descriptors for: local
    /// clients need a listener at each port.
    pub(super) fn affordable(&self, most: usize) -> usize {
        let own = self.services.iter().filter(|service| service.wildcard.is_none()).count();
        open_files::spare(most * own, FILES_RESERVED).checked_div(own).unwrap_or(most)
    }

    /// Has the `stacks` serve a new address of the interface, claims it, and has the worker of
    /// `kernel` sockets accept the connections of local clients. An error means that nothing of it
    /// is claimed: another process listens there, or too many addresses are claimed.
    pub(super) fn serve(
        &self,
        address: IpAddr,
        device: &mut Device,
        stacks: &[CommandSender],
        kernel: Option<&CommandSender>,
    ) -> Result<()> {
        let included = self.services.iter().filter(|service| service.includes(address));
        let services: Vec<Everywhere> = included.copied().collect();
        let own = services.iter().filter(|service| service.wildcard.is_none());
        let bound: Vec<(Everywhere, Reserved)> =
            own.map(|service| self.bind(*service, address)).collect::<Result<_>>()?;
        // The stacks first: they drop segments to an address that they do not have. The kernel
        // last: the stack would reset connections that were accepted before.
        for service in &services {
            let at = SocketAddr::new(address, service.port);
            stacks.iter().for_each(|stack| stack.send(Command::Serve(at)));
        }
        self.claim(address, &services, device)?;
        for service in &services {
            self.listeners.add(service.listening(address, Via::Xdp));
        }
        if let Some(kernel) = kernel {
            bound.into_iter().for_each(|(service, socket)| self.accept(service, socket, kernel));
        }
        Ok(())
    }

    fn bind(&self, service: Everywhere, address: IpAddr) -> Result<(Everywhere, Reserved)> {
        let at = scoped(address, service.port, self.ifindex);
        let mut bound = Reserved::bind(at, Presence::AnyTime, 1)
            .map_err(|error| Error::failed(error.to_string()))?;
        let socket = bound.pop().ok_or_else(|| Error::failed(format!("no socket for {at}")))?;
        Ok((service, socket))
    }

    /// Ends the tunnels at a new address of the interface, be it served or not. Returns whether
    /// there are any.
    pub(super) fn end_tunnels(&self, address: IpAddr, device: &mut Device) -> Result<bool> {
        end_tunnels(device, address, &self.tunnels)?;
        Ok(!self.tunnels.is_empty())
    }

    /// Gives up an address that the interface has lost, the opposite of [`LateAddresses::serve`].
    pub(super) fn forget(
        &self,
        address: IpAddr,
        device: &mut Device,
        stacks: &[CommandSender],
        kernel: Option<&CommandSender>,
    ) {
        for service in self.services.iter().filter(|service| service.includes(address)) {
            let at = SocketAddr::new(address, service.port);
            // An error means that it is not claimed.
            let _ = device.remove_claim(Claim::Port(at));
            stacks.iter().for_each(|stack| stack.send(Command::Forget(at)));
            if let Some(kernel) = kernel {
                kernel.send(Command::Forget(scoped(address, service.port, self.ifindex)));
            }
            self.listeners.remove(at);
        }
    }

    /// Claims an address whole, or nothing of it.
    fn claim(&self, address: IpAddr, services: &[Everywhere], device: &mut Device) -> Result<()> {
        let claims = || {
            let ports = services.iter().map(|service| service.port);
            ports.map(|port| Claim::Port(SocketAddr::new(address, port)))
        };
        let claimed = claims().try_for_each(|claim| add_claim(device, claim));
        if claimed.is_err() {
            for claim in claims() {
                // An error means that it is not claimed.
                let _ = device.remove_claim(claim);
            }
        }
        claimed
    }

    /// Has the worker of kernel sockets accept the connections of a bound socket.
    fn accept(&self, service: Everywhere, socket: Reserved, kernel: &CommandSender) {
        let address = socket.address().ip();
        match socket.listen(BACKLOG) {
            Ok(listener) => {
                kernel.send(Command::Accept(listener.into_socket()));
                self.listeners.add(service.listening(address, Via::Kernel));
            }
            Err(error) => tracing::error!("local clients are refused: {error}"),
        }
    }
}

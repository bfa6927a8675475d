//! The endpoints of services: computes from the configuration and the addresses of the host which
//! addresses to claim, and which kernel sockets listen on.
//!
//! | a service's flag | claimed from the interface | kernel sockets |
//! |---|---|---|
//! | a port alone | each of `--address`, or each address of the interface | those of them that the kernel has; loopback |
//! | an address of `--address` or of the interface | that one | the same, if the kernel has it |
//! | `0.0.0.0` or `[::]` | as with a port alone, of that version of IP | the whole of that version |
//! | loopback, or an address of another interface | none | that one |
//!
//! Any other address is an error: only `--address` adds an address that the kernel does not have.

use super::host::Host;
use super::{Datagrams, Service, Setup, UDP_OPTION};
use crate::config::{Endpoint, Transport};
use crate::error::{Error, Result};
use crate::netns::Interface;
use crate::steer::{Claim, is_host_address};
use rustix::io::Errno;
use simoom_tcp::wire::ipv6;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::Arc;

/// An address to claim for a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claimed {
    pub(crate) service: Arc<Service>,
    pub(crate) at: SocketAddr,
    /// The kernel does not have the address.
    pub(crate) dedicated: bool,
}

impl Claimed {
    /// A dedicated address is claimed whole.
    pub(crate) fn claim(&self) -> Claim {
        if self.dedicated { Claim::Dedicated(self.at.ip()) } else { Claim::Port(self.at) }
    }
}

/// An address that kernel sockets listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listening {
    pub(crate) service: Arc<Service>,
    pub(crate) at: SocketAddr,
    pub(crate) origin: Origin,
}

/// The reason why kernel sockets listen on an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A flag names it.
    Named,
    /// The interface has it. It may be tentative or come back later (IP_FREEBIND).
    Interface,
    /// A loopback address, beside those of the interface. Skipped on a host without this version of
    /// IP.
    Loopback,
}

impl Origin {
    /// Whether the other endpoints are served if binding this address fails with `reason`.
    pub(crate) fn may_lack(self, reason: Errno) -> bool {
        self == Origin::Loopback && matches!(reason, Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL)
    }
}

/// The endpoints of all services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ResolvedEndpoints {
    pub(crate) claimed: Vec<Claimed>,
    pub(crate) listening: Vec<Listening>,
    /// Kernel sockets of memcached over UDP.
    pub(crate) datagrams: Vec<Listening>,
}

impl ResolvedEndpoints {
    /// The endpoints of `setup` on `host`. `host` is known if an interface is named.
    pub(crate) fn of(setup: &Setup, host: Option<&Host>) -> Result<ResolvedEndpoints> {
        let mut resolved = ResolvedEndpoints::default();
        for (service, endpoint) in setup.endpoints() {
            match host {
                Some(host) => resolved.add(service, endpoint, setup, host)?,
                None => resolved.listening.push(named(service, endpoint)),
            }
        }
        if let Some(Datagrams { service, endpoint }) = &setup.datagrams {
            match host {
                Some(host) => resolved.add_datagrams(service, *endpoint, setup, host)?,
                None => resolved.datagrams.push(named(service, *endpoint)),
            }
        }
        if let Some(host) = host {
            resolved.check(setup, host)?;
        }
        Ok(resolved)
    }

    fn add(
        &mut self,
        service: &Arc<Service>,
        endpoint: Endpoint,
        setup: &Setup,
        host: &Host,
    ) -> Result<()> {
        let flag = &service.option;
        match endpoint.address {
            None => {
                self.claim(service, endpoint, chosen(setup, host, |_| true)?, host);
                let kernels = chosen(setup, host, |address| host.has(address))?;
                self.listening.extend(listening(service, endpoint, &kernels, host));
            }
            Some(any) if any.is_unspecified() => {
                let same_version = |address: IpAddr| address.is_ipv4() == any.is_ipv4();
                self.claim(service, endpoint, chosen(setup, host, same_version)?, host);
                self.listening.push(named(service, endpoint));
            }
            Some(address)
                if host.has(address) || chosen(setup, host, |_| true)?.contains(&address) =>
            {
                self.claim(service, endpoint, vec![address], host);
                if host.has(address) {
                    self.listening.push(on_interface(service, address, endpoint.port, host));
                }
            }
            Some(address) if address.is_loopback() || host.other_with(address).is_some() => {
                self.listening.push(named(service, endpoint));
            }
            Some(address) => {
                let name = &host.interface().name;
                return Err(Error::usage(format!(
                    "{flag} {endpoint}: no interface here has {address}; give it to {name} (ip address add \
                     {address}/PREFIX dev {name}), or make it Simoom's own with --address {address}"
                )));
            }
        }
        Ok(())
    }

    fn claim(
        &mut self,
        service: &Arc<Service>,
        endpoint: Endpoint,
        addresses: Vec<IpAddr>,
        host: &Host,
    ) {
        self.claimed.extend(addresses.into_iter().map(|address| Claimed {
            service: service.clone(),
            at: SocketAddr::new(address, endpoint.port),
            dedicated: !host.has(address),
        }));
    }

    /// Adds the UDP endpoints. Datagrams come through the kernel, so it must have the address.
    fn add_datagrams(
        &mut self,
        service: &Arc<Service>,
        endpoint: Endpoint,
        setup: &Setup,
        host: &Host,
    ) -> Result<()> {
        match endpoint.address {
            None => {
                let kernels = chosen(setup, host, |address| host.has(address))?;
                self.datagrams.extend(listening(service, endpoint, &kernels, host));
            }
            Some(address) if host.has(address) => {
                self.datagrams.push(on_interface(service, address, endpoint.port, host));
            }
            Some(address)
                if address.is_unspecified()
                    || address.is_loopback()
                    || host.other_with(address).is_some() =>
            {
                self.datagrams.push(named(service, endpoint));
            }
            Some(address) => {
                return Err(Error::usage(format!(
                    "{UDP_OPTION} {endpoint}: datagrams come through the kernel, and no interface here has {address}; name \
                     an address that the kernel has, such as 127.0.0.1:{}",
                    endpoint.port
                )));
            }
        }
        Ok(())
    }

    /// Checks that a service uses each `--address`, and that at least one address is claimed if an
    /// interface is named.
    fn check(&self, setup: &Setup, host: &Host) -> Result<()> {
        let is_claimed =
            |address: &IpAddr| self.claimed.iter().any(|claimed| claimed.at.ip() == *address);
        if let Some(address) = setup.addresses.iter().find(|address| !is_claimed(address)) {
            return Err(Error::usage(format!(
                "--address {address}: no service is served there; leave it out, or give a port without an address with --http or \
                 --memcached"
            )));
        }
        let Interface { name, mtu_bytes, loopback, .. } = host.interface();
        let wants_queues = matches!(setup.transport, Transport::Auto | Transport::Xdp);
        if self.claimed.is_empty() && wants_queues && !loopback {
            return Err(Error::usage(format!(
                "--interface {name}: no service is served at its addresses; leave it out, or give a port without an address with \
                 --http or --memcached"
            )));
        }
        let (mtu, least) = (*mtu_bytes, ipv6::MIN_MTU);
        let too_long =
            self.claimed.iter().find(|claimed| claimed.at.is_ipv6() && mtu < u32::from(least));
        if let Some(address) = too_long.map(|claimed| claimed.at.ip()) {
            return Err(Error::usage(format!(
                "--address {address}: {name} takes packets of {mtu} bytes, and IPv6 needs an MTU of at least {least}; \
                 raise it (ip link set {name} mtu {least}) or leave the address out"
            )));
        }
        Ok(())
    }

    /// Dedicated addresses outside the networks of the interface: they are routed to this host, or
    /// mistyped.
    pub(crate) fn off_link(&self, host: &Host) -> BTreeSet<IpAddr> {
        let dedicated =
            self.claimed.iter().filter(|claimed| claimed.dedicated).map(|claimed| claimed.at.ip());
        dedicated
            .filter(|address| !host.interface().addresses.is_empty() && !host.is_on_link(*address))
            .collect()
    }

    /// Checks that no address is dedicated: kernel sockets cannot serve it.
    pub(crate) fn check_kernel_alone(&self) -> Result<()> {
        let dedicated = self.claimed.iter().find(|claimed| claimed.dedicated);
        dedicated.map_or(Ok(()), |claimed| {
            let address = claimed.at.ip();
            Err(Error::usage(format!(
                "--address {address}: no interface here has it, and kernel sockets serve only what the kernel has; give it \
                 to the interface (ip address add {address}/PREFIX dev IF), or serve over AF_XDP (--transport xdp \
                 reports the obstacle)"
            )))
        })
    }
}

/// The addresses to claim that pass `wanted`: those of `--address`, or all addresses of the
/// interface.
fn chosen(setup: &Setup, host: &Host, wanted: impl Fn(IpAddr) -> bool) -> Result<Vec<IpAddr>> {
    let name = &host.interface().name;
    for address in &setup.addresses {
        if let Some(other) = host.other_with(*address).filter(|_| !host.has(*address)) {
            return Err(Error::usage(format!(
                "--address {address}: {other} has it, not {name}; name {other} with --interface, or serve it through \
                 kernel sockets with --http {address}:PORT"
            )));
        }
        if host.broadcasts().any(|broadcast| broadcast == *address) {
            return Err(Error::usage(format!(
                "--address {address}: it is the broadcast address of {name}'s network; choose the address of one host"
            )));
        }
    }
    let own = host.interface().addresses.iter().map(|(address, _)| *address);
    let own: Vec<IpAddr> = own.filter(|address| is_host_address(*address)).collect();
    let all = if setup.addresses.is_empty() { own } else { setup.addresses.clone() };
    if all.is_empty() && !host.interface().loopback {
        return Err(Error::usage(format!(
            "--interface {name}: it has no address; give it one (ip address add ADDRESS/PREFIX dev {name}), or name \
             an address that only Simoom uses with --address"
        )));
    }
    Ok(all.into_iter().filter(|address| wanted(*address)).collect())
}

/// Kernel sockets of an endpoint without an address: the `addresses` of the interface, and
/// loopback.
fn listening(
    service: &Arc<Service>,
    endpoint: Endpoint,
    addresses: &[IpAddr],
    host: &Host,
) -> impl Iterator<Item = Listening> {
    let loopbacks: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    let on_loopback = move |address| {
        let at = SocketAddr::new(address, endpoint.port);
        Listening { service: service.clone(), at, origin: Origin::Loopback }
    };
    addresses
        .iter()
        .map(move |address| on_interface(service, *address, endpoint.port, host))
        .chain(loopbacks.map(on_loopback))
}

fn named(service: &Arc<Service>, endpoint: Endpoint) -> Listening {
    let service = service.clone();
    Listening { service, at: endpoint.at(Ipv4Addr::LOCALHOST.into()), origin: Origin::Named }
}

/// An address of the interface.
fn on_interface(service: &Arc<Service>, address: IpAddr, port: u16, host: &Host) -> Listening {
    let at = scoped(address, port, host.interface().index);
    Listening { service: service.clone(), at, origin: Origin::Interface }
}

/// An address of the interface with this index, for a kernel socket. A link-local address needs the
/// interface as its scope (RFC 4007 §6).
pub(crate) fn scoped(address: IpAddr, port: u16, ifindex: u32) -> SocketAddr {
    match address {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => {
            SocketAddrV6::new(v6, port, 0, ifindex).into()
        }
        _ => SocketAddr::new(address, port),
    }
}

#[cfg(test)]
#[path = "endpoints_tests.rs"]
mod tests;

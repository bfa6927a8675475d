//! What is served where: the flags that name services, ports and addresses in, one endpoint for
//! each service out, and the addresses to claim.

use super::{Endpoint, MEMCACHED_PORT_DEFAULT, PORT_DEFAULT, ServeOptions};
use crate::app::Service;
use crate::error::{Error, Result};
use crate::steer::is_host_address;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The flag of memcached over UDP.
pub(crate) const UDP_FLAG: &str = "--memcached-udp";

/// What is to be served where, as far as flags say.
pub(super) struct Endpoints {
    pub(super) http: Option<Endpoint>,
    pub(super) memcached: Option<Endpoint>,
    pub(super) memcached_udp: Option<Endpoint>,
    pub(super) memcached_is_optional: bool,
}

impl Endpoints {
    /// A flag of one service asks for that one; without any, both are served, but memcached not to
    /// a network: it would be open to all of it. Without an interface an endpoint without an
    /// address is on loopback.
    pub(super) fn of(options: &ServeOptions) -> Endpoints {
        let asks_for_http = options.http.is_some() || options.root.is_some();
        let asks_for_memcached = options.memcached.is_some()
            || options.memcached_udp.is_some()
            || options.memory.is_some()
            || options.item_size_max.is_some();
        let default_address =
            options.interface.is_none().then_some(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let at = |given: Option<Endpoint>, port| {
            let Endpoint { address, port } = given.unwrap_or(Endpoint { address: None, port });
            Endpoint { address: address.or(default_address), port }
        };
        let memcached_is_optional =
            !asks_for_memcached && !asks_for_http && options.interface.is_none();
        let memcached = (asks_for_memcached || memcached_is_optional)
            .then_some(at(options.memcached, MEMCACHED_PORT_DEFAULT));
        // Over UDP at the address of TCP, unless another is given.
        let beside = memcached.and_then(|memcached| memcached.address);
        Endpoints {
            http: (asks_for_http || !asks_for_memcached).then_some(at(options.http, PORT_DEFAULT)),
            memcached,
            memcached_udp: options
                .memcached_udp
                .map(|udp| Endpoint { address: udp.address.or(beside), ..udp }),
            memcached_is_optional,
        }
    }

    fn given(&self) -> impl Iterator<Item = (&'static str, Endpoint)> {
        let http = self.http.map(|endpoint| (Service::Http.flag(), endpoint));
        let memcached = self.memcached.map(|endpoint| (Service::Memcached.flag(), endpoint));
        let udp = self.memcached_udp.map(|endpoint| (UDP_FLAG, endpoint));
        http.into_iter().chain(memcached).chain(udp)
    }

    /// Each endpoint is one that a server's socket can be bound to. Loopback and the unspecified
    /// addresses are for kernel sockets alone.
    pub(super) fn check(&self) -> Result<()> {
        for (flag, endpoint) in self.given() {
            let Some(address) = endpoint.address else { continue };
            if address.is_unspecified() || address.is_loopback() {
                continue;
            }
            if !is_host_address(address) {
                return Err(Error::usage(format!(
                    "{flag} {endpoint}: {address} is not the address of one host on a network; give an address that this \
                     host has, or the port alone"
                )));
            }
        }
        Ok(())
    }
}

/// What `--address` says.
pub(super) fn claimed_addresses(
    options: &ServeOptions,
    endpoints: &Endpoints,
) -> Result<Vec<IpAddr>> {
    let addresses = options.address.clone().unwrap_or_default();
    if let (None, Some(address)) = (&options.interface, addresses.first()) {
        let write: Vec<String> = endpoints
            .given()
            .map(|(flag, at)| format!("{flag} {}", SocketAddr::new(*address, at.port)))
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
    Ok(addresses)
}

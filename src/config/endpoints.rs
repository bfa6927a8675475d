//! What is served where: the flags that name services, ports and addresses in, one place for each service out, and the
//! addresses to claim.

use super::{Endpoint, MEMCACHED_PORT_DEFAULT, PORT_DEFAULT, ServeOptions};
use crate::app::Service;
use crate::error::{Error, Result};
use std::net::{IpAddr, SocketAddr};

/// What is to be served where, as far as flags say.
pub(super) struct Endpoints {
    pub(super) http: Option<Endpoint>,
    pub(super) memcached: Option<Endpoint>,
    pub(super) memcached_is_optional: bool,
}

impl Endpoints {
    /// A flag of one service asks for that one; without any, both are served, but memcached not to a network: it
    /// would be open to all of it.
    pub(super) fn of(options: &ServeOptions) -> Endpoints {
        let asks_for_http = options.http.is_some() || options.root.is_some();
        let asks_for_memcached = options.memcached.is_some()
            || options.memcached_udp.is_some()
            || options.memory.is_some()
            || options.item_size_max.is_some();
        let at = |given: Option<Endpoint>, port| given.unwrap_or(Endpoint { address: None, port });
        let memcached_is_optional = !asks_for_memcached && !asks_for_http && options.interface.is_none();
        Endpoints {
            http: (asks_for_http || !asks_for_memcached).then_some(at(options.http, PORT_DEFAULT)),
            memcached: (asks_for_memcached || memcached_is_optional)
                .then_some(at(options.memcached, MEMCACHED_PORT_DEFAULT)),
            memcached_is_optional,
        }
    }

    pub(super) fn given(&self) -> impl Iterator<Item = (Service, Endpoint)> {
        let http = self.http.map(|endpoint| (Service::Http, endpoint));
        http.into_iter().chain(self.memcached.map(|endpoint| (Service::Memcached, endpoint)))
    }
}

/// What `--address` and the addresses in `--http` and `--memcached` say together.
pub(super) fn claimed_addresses(options: &ServeOptions, endpoints: &Endpoints) -> Result<Vec<IpAddr>> {
    let mut addresses = options.address.clone().unwrap_or_default();
    if let (None, Some(address)) = (&options.interface, addresses.first()) {
        let write: Vec<String> = endpoints
            .given()
            .map(|(service, at)| format!("{} {}", service.flag(), SocketAddr::new(*address, at.port)))
            .collect();
        return Err(Error::usage(format!(
            "--address {address}: means nothing without --interface; name the network interface, or write {} to \
             listen there through kernel sockets",
            write.join(" ")
        )));
    }
    let twice = addresses.iter().enumerate().find(|(at, address)| addresses[..*at].contains(address));
    if let Some((_, address)) = twice {
        return Err(Error::usage(format!("--address {address}: given twice")));
    }
    for (service, Endpoint { address, port }) in endpoints.given() {
        let Some(address) = address.filter(|address| options.interface.is_some() && !address.is_unspecified())
        else {
            continue;
        };
        if addresses.is_empty() {
            addresses.push(address);
        } else if !addresses.contains(&address) {
            let flag = service.flag();
            return Err(Error::usage(format!(
                "{flag} {}: not one of the addresses given with other flags; write {flag} {port}",
                SocketAddr::new(address, port)
            )));
        }
    }
    Ok(addresses)
}

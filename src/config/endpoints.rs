//! The endpoint of each service, from the flags for services, ports and addresses.

use super::{Endpoint, MEMCACHED_PORT_DEFAULT, PORT_DEFAULT, ServeOptions};
use std::net::{IpAddr, Ipv4Addr};

/// The services to serve, as far as flags name them.
pub(super) struct Endpoints {
    pub(super) http: Option<Endpoint>,
    pub(super) memcached: Option<Endpoint>,
    pub(super) memcached_udp: Option<Endpoint>,
    pub(super) memcached_is_optional: bool,
}

impl Endpoints {
    /// A flag of one service selects that service. Without any, both are served, but memcached not
    /// on an interface: it would be open to the whole network. Without an interface, an endpoint
    /// without an address is on loopback.
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
        // UDP uses the address of TCP unless another is given.
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
}

//! Routes of active opens. Passive connections reply to where their segments come from.

use crate::wire::Address;
use std::net::IpAddr;

/// A route to the addresses of one prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    prefix: u128,
    /// Length of the prefix in bits, for an IPv6 address or an IPv4 one mapped into it.
    len: u8,
    gateway: Option<Address>,
}

impl Route {
    /// A route to `address/len` through `gateway`. Without a gateway these addresses are on the
    /// link. `len` is at most 32 for IPv4 and 128 for IPv6; larger values count as these.
    pub fn new(address: IpAddr, len: u8, gateway: Option<IpAddr>) -> Route {
        let len = if address.is_ipv4() { 96 + len.min(32) } else { len.min(128) };
        Route { prefix: bits(address) & mask(len), len, gateway: gateway.map(Address::from) }
    }

    fn leads_to(&self, to: u128) -> bool {
        to & mask(self.len) == self.prefix
    }
}

/// The next hop to `to`, by the route with the longest prefix.
pub(crate) fn next_hop(routes: &[Route], to: &Address) -> Option<Address> {
    let bits = bits(IpAddr::from(*to));
    let route = routes.iter().filter(|route| route.leads_to(bits)).max_by_key(|route| route.len)?;
    Some(route.gateway.unwrap_or(*to))
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn mask(len: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn rfc_1122_section_3_3_1_the_longest_prefix_leads_on_link_or_to_a_gateway() {
        let routes = [
            Route::new(ip("0.0.0.0"), 0, Some(ip("198.18.0.254"))),
            Route::new(ip("198.18.0.77"), 24, None),
            Route::new(ip("198.18.0.9"), 32, Some(ip("198.18.0.253"))),
            Route::new(ip("2001:db8::"), 64, None),
        ];
        for (to, through) in [
            ("198.18.0.1", Some("198.18.0.1")),
            ("198.18.1.1", Some("198.18.0.254")),
            ("198.18.0.9", Some("198.18.0.253")),
            ("2001:db8::5", Some("2001:db8::5")),
            ("2001:db8:1::5", None),
        ] {
            let expected = through.map(|through| Address::from(ip(through)));
            assert_eq!(next_hop(&routes, &Address::from(ip(to))), expected, "{to}");
        }
        assert_eq!(next_hop(&[], &Address::from(ip("198.18.0.1"))), None);
    }
}

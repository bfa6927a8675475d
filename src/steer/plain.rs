//! The claims of one address that the steering program finds without a lookup of the address: ports
//! of an IPv4 address, without a flag.

use super::claims::{AddressKey, ClaimValue};
use af_xdp::aya::maps::{Array, Map, MapData, MapError};

/// `PLAIN_PORTS` of bpf/layout.h.
pub(crate) const PLAIN_PORTS: usize = 6;
/// The start of an IPv4 address mapped into an IPv6 one.
const MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

/// `struct plain_claim` of bpf/layout.h. The address is 0.0.0.0 if there is none, which nobody can
/// claim. Ports are in network byte order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PlainClaim {
    pub(crate) ip: [u8; 4],
    pub(crate) ports: [u16; PLAIN_PORTS],
}

impl PlainClaim {
    const BYTES: usize = 4 + 2 * PLAIN_PORTS;

    /// The claims of an address, if they are plain.
    pub(crate) fn of(key: &AddressKey, value: &ClaimValue) -> Option<PlainClaim> {
        let ip = key.strip_prefix(&MAPPED)?.try_into().ok()?;
        let mut claimed = value.ports.iter().copied().filter(|port| *port != 0);
        let ports = std::array::from_fn(|_| claimed.next().unwrap_or(0));
        let is_plain = value.flags == 0 && claimed.next().is_none();
        is_plain.then_some(PlainClaim { ip, ports })
    }

    /// The map's value: the members of the C structure, which has no padding.
    fn bytes(&self) -> [u8; PlainClaim::BYTES] {
        let ports = self.ports.iter().flat_map(|port| port.to_ne_bytes());
        let mut members = self.ip.into_iter().chain(ports);
        std::array::from_fn(|_| members.next().expect("as many bytes as the members have"))
    }
}

/// The map.
pub(super) struct PlainClaims {
    map: Array<MapData, [u8; PlainClaim::BYTES]>,
    current: PlainClaim,
}

impl PlainClaims {
    pub(super) fn new(map: Map) -> Result<PlainClaims, MapError> {
        Ok(PlainClaims { map: Array::try_from(map)?, current: PlainClaim::default() })
    }

    /// Changes the claim. The program runs meanwhile, and may see half of a change: so the ports
    /// change while there is no address, and the address alone.
    pub(super) fn set(&mut self, claim: PlainClaim) -> Result<(), MapError> {
        if claim == self.current {
            return Ok(());
        }
        let none = [0; 4];
        for step in
            [PlainClaim { ip: none, ..self.current }, PlainClaim { ip: none, ..claim }, claim]
        {
            self.map.set(0, step.bytes(), 0)?;
            self.current = step;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steer::claims::CLAIM_EARLIER;

    fn value(flags: u32, ports: &[u16]) -> ClaimValue {
        let mut value = ClaimValue { flags, ..ClaimValue::default() };
        value.ports.iter_mut().zip(ports).for_each(|(slot, port)| *slot = port.to_be());
        value
    }

    #[test]
    fn ports_of_an_ipv4_address_without_flags_are_plain() {
        let v4: AddressKey = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 198, 18, 0, 1];
        let v6: AddressKey = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let plain = PlainClaim::of(&v4, &value(0, &[0, 80, 0, 443])).expect("two ports");
        let (http, https) = (80u16.to_be(), 443u16.to_be());
        assert_eq!(plain, PlainClaim { ip: [198, 18, 0, 1], ports: [http, https, 0, 0, 0, 0] });
        assert_eq!(plain.bytes()[..8], [198, 18, 0, 1, 0, 80, 1, 187]);
        assert!(PlainClaim::of(&v4, &value(0, &[1, 2, 3, 4, 5, 6])).is_some());
        assert_eq!(PlainClaim::of(&v4, &value(0, &[1, 2, 3, 4, 5, 6, 7])), None);
        assert_eq!(PlainClaim::of(&v4, &value(CLAIM_EARLIER, &[80])), None);
        assert_eq!(PlainClaim::of(&v6, &value(0, &[80])), None);
    }

    #[test]
    fn the_layout_is_that_of_the_header() {
        let header = include_str!("../../bpf/layout.h");
        assert!(header.contains(&format!("#define PLAIN_PORTS {PLAIN_PORTS}\n")));
        assert!(
            header.contains("struct plain_claim {\n\t__be32 ip;\n\t__be16 ports[PLAIN_PORTS];\n};")
        );
    }
}

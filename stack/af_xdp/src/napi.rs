//! The interrupt settings of each NAPI instance of an interface, over netlink (Linux 6.13 or
//! later).
//!
//! In: an interface. Out: its NAPI instances with their settings, and a way to set them. A write to
//! the settings of the whole interface in sysfs overwrites those of its instances.

use super::netdev::{self, attribute, find, number};
use std::io;

/// `<linux/netdev.h>`
const NETDEV_CMD_NAPI_GET: u8 = 11;
const NETDEV_CMD_NAPI_SET: u8 = 14;
const NETDEV_A_NAPI_IFINDEX: u16 = 1;
const NETDEV_A_NAPI_ID: u16 = 2;
const NETDEV_A_NAPI_DEFER_HARD_IRQS: u16 = 5;
const NETDEV_A_NAPI_GRO_FLUSH_TIMEOUT: u16 = 6;

/// A NAPI instance with its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Napi {
    /// Its number, unique in the network namespace.
    pub(crate) id: u32,
    /// Polls without a packet until interrupts are unmasked.
    pub(crate) defer_hard_irqs: u32,
    /// Nanoseconds after which the kernel polls.
    pub(crate) gro_flush_timeout: u64,
}

/// The NAPI instances of an interface. Empty on kernels that do not report their settings.
pub(crate) fn of(ifindex: u32) -> io::Result<Vec<Napi>> {
    let request = attribute(NETDEV_A_NAPI_IFINDEX, &ifindex.to_ne_bytes());
    let replies = netdev::dump(NETDEV_CMD_NAPI_GET, &request)?;
    Ok(replies.iter().filter_map(|reply| parse(reply)).collect())
}

fn parse(attributes: &[u8]) -> Option<Napi> {
    let value = |kind| find(attributes, kind).map(number);
    Some(Napi {
        id: value(NETDEV_A_NAPI_ID)? as u32,
        defer_hard_irqs: value(NETDEV_A_NAPI_DEFER_HARD_IRQS)? as u32,
        gro_flush_timeout: value(NETDEV_A_NAPI_GRO_FLUSH_TIMEOUT)?,
    })
}

/// Sets the settings of an instance.
pub(crate) fn set(napi: &Napi) -> io::Result<()> {
    netdev::command(NETDEV_CMD_NAPI_SET, &request(napi))
}

/// The kernel accepts the timeout as a number of 4 or 8 bytes, and its answers have either.
fn request(napi: &Napi) -> Vec<u8> {
    let mut request = attribute(NETDEV_A_NAPI_ID, &napi.id.to_ne_bytes());
    let defer = napi.defer_hard_irqs.to_ne_bytes();
    request.extend(attribute(NETDEV_A_NAPI_DEFER_HARD_IRQS, &defer));
    let timeout = napi.gro_flush_timeout.to_ne_bytes();
    request.extend(attribute(NETDEV_A_NAPI_GRO_FLUSH_TIMEOUT, &timeout));
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_what_is_read() {
        let napi = Napi { id: 8193, defer_hard_irqs: 2, gro_flush_timeout: 30_000 };
        assert_eq!(parse(&request(&napi)), Some(napi));
    }

    #[test]
    fn an_older_kernel_reports_no_settings() {
        assert_eq!(parse(&attribute(NETDEV_A_NAPI_ID, &1u32.to_ne_bytes())), None);
    }

    /// The loopback interface has no NAPI instance, and a kernel before 6.8 no such request.
    #[test]
    fn the_loopback_interface_has_none() {
        assert!(of(1).is_ok_and(|napis| napis.is_empty()) || of(1).is_err());
    }
}

//! The interrupt settings of NAPI instances, over netlink (Linux 6.13 or later).
//!
//! In: an interface, or the number of an instance, as SO_INCOMING_NAPI_ID reports it for a socket.
//! Out: instances with their settings, and a way to set them, which takes CAP_NET_ADMIN. A write to
//! the settings of the whole interface in sysfs overwrites those of its instances.

use super::netdev::{self, attribute, find, number};
use std::io;

/// `<linux/netdev.h>`
const NETDEV_CMD_NAPI_GET: u8 = 11;
const NETDEV_CMD_NAPI_SET: u8 = 14;
const NETDEV_A_NAPI_IFINDEX: u16 = 1;
const NETDEV_A_NAPI_ID: u16 = 2;
const NETDEV_A_NAPI_IRQ: u16 = 3;
const NETDEV_A_NAPI_DEFER_HARD_IRQS: u16 = 5;
const NETDEV_A_NAPI_GRO_FLUSH_TIMEOUT: u16 = 6;
const NETDEV_A_NAPI_IRQ_SUSPEND_TIMEOUT: u16 = 7;

/// The interrupt settings of a NAPI instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Napi {
    /// The number of the instance, unique on this host.
    pub id: u32,
    /// Polls without a packet until interrupts are unmasked.
    pub defer_hard_irqs: u32,
    /// Nanoseconds after which the kernel polls.
    pub gro_flush_timeout: u64,
    /// Nanoseconds for which interrupts stay masked after epoll_wait(2) with preferred busy polling
    /// has returned events. 0: they are not suspended.
    pub irq_suspend_timeout: u64,
}

/// A NAPI instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Its interface.
    pub ifindex: u32,
    /// Its interrupt, if the driver reports one.
    pub irq: Option<u32>,
    /// `None` on kernels that do not report them, before 6.13.
    pub settings: Option<Napi>,
}

/// The NAPI instance with this number. An error if there is none in this network namespace, or on
/// kernels without the query, before 6.8.
pub fn get(id: u32) -> io::Result<Instance> {
    let request = attribute(NETDEV_A_NAPI_ID, &id.to_ne_bytes());
    let reply = netdev::query(NETDEV_CMD_NAPI_GET, &request)?;
    let value = |kind| find(&reply, kind).map(|value| number(value) as u32);
    Ok(Instance {
        ifindex: value(NETDEV_A_NAPI_IFINDEX).unwrap_or_default(),
        irq: value(NETDEV_A_NAPI_IRQ),
        settings: parse(&reply),
    })
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
        irq_suspend_timeout: value(NETDEV_A_NAPI_IRQ_SUSPEND_TIMEOUT)?,
    })
}

/// Sets the settings of an instance.
pub fn set(napi: &Napi) -> io::Result<()> {
    netdev::command(NETDEV_CMD_NAPI_SET, &request(napi))
}

/// The kernel accepts a timeout as a number of 4 or 8 bytes, and its answers have either.
fn request(napi: &Napi) -> Vec<u8> {
    let mut request = attribute(NETDEV_A_NAPI_ID, &napi.id.to_ne_bytes());
    let defer = napi.defer_hard_irqs.to_ne_bytes();
    request.extend(attribute(NETDEV_A_NAPI_DEFER_HARD_IRQS, &defer));
    let timeout = napi.gro_flush_timeout.to_ne_bytes();
    request.extend(attribute(NETDEV_A_NAPI_GRO_FLUSH_TIMEOUT, &timeout));
    let timeout = napi.irq_suspend_timeout.to_ne_bytes();
    request.extend(attribute(NETDEV_A_NAPI_IRQ_SUSPEND_TIMEOUT, &timeout));
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_what_is_read() {
        let napi = Napi {
            id: 8193,
            defer_hard_irqs: 2,
            gro_flush_timeout: 30_000,
            irq_suspend_timeout: 20_000_000,
        };
        assert_eq!(parse(&request(&napi)), Some(napi));
    }

    #[test]
    fn an_older_kernel_reports_no_settings() {
        assert_eq!(parse(&attribute(NETDEV_A_NAPI_ID, &1u32.to_ne_bytes())), None);
    }

    /// Numbers up to that of CPUs are no NAPI instances.
    #[test]
    fn an_instance_that_is_not_there_is_an_error() {
        assert!(get(1).is_err());
    }

    /// The loopback interface has no NAPI instance, and a kernel before 6.8 no such request.
    #[test]
    fn the_loopback_interface_has_none() {
        assert!(of(1).is_ok_and(|napis| napis.is_empty()) || of(1).is_err());
    }
}

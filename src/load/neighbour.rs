//! The next hop's hardware address, by way of the kernel: it is given a datagram to send, asks by ARP or
//! neighbour discovery, and its neighbour table then has the answer.

use crate::error::{Error, Result};
use crate::netns;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// How long an answer is waited for: the kernel asks three times, a second apart.
const PATIENCE: Duration = Duration::from_secs(4);
/// How often the table is looked at.
const LOOK: Duration = Duration::from_millis(2);
/// The discard port: whatever is there, or is not, nobody minds.
const DISCARD_PORT: u16 = 9;

/// The hardware address at which `target`, which is on the interface's own network, is reached.
pub(super) fn resolve(interface: &str, target: IpAddr) -> Result<[u8; 6]> {
    let cannot = |error| Error::failed(format!("--interface {interface}: {error}"));
    if let Some(mac) = netns::neighbour(interface, target).map_err(cannot)? {
        return Ok(mac);
    }
    let anywhere = if target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(anywhere, 0)).map_err(cannot)?;
    let no_route = |error| {
        Error::failed(format!(
            "{target} is not reached from here: {error}; the kernel asks for its hardware address, so {interface} \
             needs an address in that network (ip address add ADDRESS/PREFIX dev {interface})"
        ))
    };
    socket.send_to(&[0], SocketAddr::new(target, DISCARD_PORT)).map_err(no_route)?;
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(mac) = netns::neighbour(interface, target).map_err(cannot)? {
            return Ok(mac);
        }
        std::thread::sleep(LOOK);
    }
    Err(Error::failed(format!(
        "nobody on {interface} answered for {target} within {PATIENCE:?}; is it on that network, and up?"
    )))
}

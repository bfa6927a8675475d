//! What the kernel and an interface offer, found out by asking.
//!
//! Everything is asked in the calling thread's network namespace, by ioctl and netlink, because /sys may show another
//! namespace.

use super::netdev;
use super::sys::{self, EthtoolChannels, EthtoolDriver, EthtoolValue};
use super::{Error, Program};
use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use std::io;

pub use super::netdev::XdpFeatures;

/// Whether an AF_XDP socket can be made; the error says what is missing.
pub fn can_open_sockets() -> Result<(), Error> {
    sys::xdp_socket().map(drop).map_err(Error::Socket)
}

/// Whether the kernel accepts and runs an XDP program, the built-in one; the error names the step that failed.
pub fn can_load_program() -> Result<(), Error> {
    Program::redirect_all(1)?.test_run(&[0; 64]).map(drop)
}

/// The running kernel's version, major and minor; zeros if it does not look like one.
pub fn kernel_version() -> (u32, u32) {
    parse_version(&rustix::system::uname().release().to_string_lossy())
}

fn parse_version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// The index of an interface.
pub fn interface_index(interface: &str) -> Result<u32, Error> {
    let missing = |source| Error::NoInterface { name: interface.to_owned(), source };
    if interface.is_empty() || interface.len() >= libc::IFNAMSIZ {
        return Err(missing(io::Error::from_raw_os_error(libc::ENODEV)));
    }
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None);
    let index = socket.and_then(|socket| name_to_index(socket, interface));
    index.map_err(|error| missing(error.into()))
}

/// The name of an interface's driver.
pub fn driver(interface: &str) -> io::Result<String> {
    let mut request = EthtoolDriver::request();
    sys::ethtool(interface, &mut request)?;
    Ok(request.driver())
}

/// Has the kernel's TCP leave it to an interface to cut long segments (`ethtool -K IF tso on`), or not. The one thing
/// here that changes anything.
pub fn set_segmentation_offload(interface: &str, on: bool) -> io::Result<()> {
    sys::ethtool(interface, &mut EthtoolValue::segmentation_offload(on))
}

/// How many queues an interface has in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queues {
    /// That packets are received on.
    pub rx: u32,
    /// That packets are sent from.
    pub tx: u32,
    /// The most that could be set for receiving; the same as `rx` if the driver does not tell.
    pub max_rx: u32,
}

/// How many queues an interface has.
pub fn queues(interface: &str) -> io::Result<Queues> {
    let mut request = EthtoolChannels::request();
    let asked = sys::ethtool(interface, &mut request);
    let (rx, tx) = (request.rx + request.combined, request.tx + request.combined);
    match asked {
        Ok(()) if rx > 0 => Ok(Queues { rx, tx, max_rx: request.max_rx + request.max_combined }),
        Err(error) if error.raw_os_error() != Some(libc::EOPNOTSUPP) => Err(error),
        // A driver that does not tell has a fixed number.
        _ => {
            let index = interface_index(interface).map_err(io::Error::other)?;
            let (rx, tx) = netdev::queues(index)?;
            Ok(Queues { rx, tx, max_rx: rx })
        }
    }
}

/// How many receive queues an interface has; every one must have a socket, or claimed segments reach the kernel.
pub fn rx_queues(interface: &str) -> Result<u32, Error> {
    interface_index(interface)?;
    let queues = queues(interface).map_err(|source| Error::NoInterface { name: interface.to_owned(), source })?;
    Ok(queues.rx)
}

/// What an interface says of its XDP abilities. Kernels before 6.3 have no such question (ENOENT).
pub fn xdp_features(interface: &str) -> io::Result<XdpFeatures> {
    let index = interface_index(interface).map_err(io::Error::other)?;
    netdev::features(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_off_the_release() {
        assert_eq!(parse_version("6.1.0-18-amd64"), (6, 1));
        assert_eq!(parse_version("5.10.0+"), (5, 10));
        assert_eq!(parse_version("7.0-rc1"), (7, 0));
        assert_eq!(parse_version("strange"), (0, 0));
        assert_ne!(kernel_version(), (0, 0));
    }

    #[test]
    fn an_interface_that_cannot_be_is_an_error_that_names_it() {
        for name in ["", "no-such-if", "a-name-that-is-too-long"] {
            let error = interface_index(name).expect_err(name).to_string();
            assert!(error.contains(&format!("{name:?}")), "{error}");
        }
    }
}

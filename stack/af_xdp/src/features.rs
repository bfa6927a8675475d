//! What the kernel and an interface support.
//!
//! All functions ask by ioctl or netlink in the calling thread's network namespace. /sys may show
//! another namespace.

use super::netdev;
use super::sys::{self, EthtoolChannels, EthtoolDriver, EthtoolValue};
use super::{Error, Program, Umem};
use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, sockopt};
use std::path::Path;
use std::{fs, io};

pub use super::netdev::XdpFeatures;

/// Whether an AF_XDP socket can be opened; the error names what is missing.
pub fn can_open_sockets() -> Result<(), Error> {
    sys::xdp_socket().map(drop).map_err(Error::Socket)
}

/// Whether the kernel accepts and runs an XDP program, the built-in one; the error names the step
/// that failed.
pub fn can_load_program() -> Result<(), Error> {
    Program::redirect_all(1)?.test_run(&[0; 64]).map(drop)
}

/// Whether the kernel accepts space for TX metadata before transmitted frames; the error is the
/// reason why not.
pub fn can_register_metadata() -> Result<(), String> {
    let reason = |error: &dyn std::fmt::Display| {
        format!("the kernel accepts no TX metadata (XDP_UMEM_TX_METADATA_LEN: Linux 6.11): {error}")
    };
    let socket = sys::xdp_socket().map_err(|error| reason(&error))?;
    let (umem, _) = Umem::with_metadata(2, 4096, 1).map_err(|error| reason(&error))?;
    sockopt::set_xdp_umem_reg(&socket, umem.registration()).map_err(|error| reason(&error))
}

/// The running kernel's version, major and minor. Zeros if it cannot be parsed.
pub fn kernel_version() -> (u32, u32) {
    parse_version(&rustix::system::uname().release().to_string_lossy())
}

fn parse_version(release: &str) -> (u32, u32) {
    let mut numbers =
        release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
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

/// The reason why zero-copy mode cannot work with the device of an interface, if there is one: its
/// driver reports the mode for all of its devices.
pub fn zero_copy_obstacle(interface: &str) -> Option<String> {
    let mut request = EthtoolDriver::request();
    sys::ethtool(interface, &mut request).ok()?;
    if request.driver() != "virtio_net" {
        return None;
    }
    virtio_obstacle(&virtio_features(Path::new("/sys/bus"), &request.bus())?)
}

/// The feature bits of the virtio device with this name on its bus, as text, the lowest first.
/// These folders are the same in all network namespaces.
fn virtio_features(buses: &Path, device: &str) -> Option<String> {
    ["pci", "platform", "ccw"].iter().find_map(|bus| {
        let entries = fs::read_dir(buses.join(bus).join("devices").join(device)).ok()?;
        let virtio = entries
            .flatten()
            .find(|entry| entry.file_name().to_string_lossy().starts_with("virtio"))?;
        fs::read_to_string(virtio.path().join("features")).ok()
    })
}

/// Without this feature the device has physical addresses, for which the driver makes no mapping:
/// bind(2) fails with EINVAL (`virtqueue_dma_dev` in drivers/net/virtio_net.c).
fn virtio_obstacle(features: &str) -> Option<String> {
    const VIRTIO_F_ACCESS_PLATFORM: usize = 33;
    let has = features.as_bytes().get(VIRTIO_F_ACCESS_PLATFORM) == Some(&b'1');
    (!has).then(|| {
        "zero-copy of virtio_net needs a device with VIRTIO_F_ACCESS_PLATFORM \
         (QEMU: iommu_platform=on,disable-legacy=on)"
            .to_owned()
    })
}

/// Turns TCP segmentation offload of an interface on or off (`ethtool -K IF tso on`). The only
/// function of this module that changes a setting.
pub fn set_segmentation_offload(interface: &str, on: bool) -> io::Result<()> {
    sys::ethtool(interface, &mut EthtoolValue::segmentation_offload(on))
}

/// Queues of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queues {
    /// Receive queues in use.
    pub rx: u32,
    /// Transmit queues in use.
    pub tx: u32,
    /// The largest number of receive queues that can be set; the same as `rx` if the driver does
    /// not report it.
    pub max_rx: u32,
}

/// The queues of an interface.
pub fn queues(interface: &str) -> io::Result<Queues> {
    let mut request = EthtoolChannels::request();
    let asked = sys::ethtool(interface, &mut request);
    let (rx, tx) = (request.rx + request.combined, request.tx + request.combined);
    match asked {
        Ok(()) if rx > 0 => Ok(Queues { rx, tx, max_rx: request.max_rx + request.max_combined }),
        Err(error) if error.raw_os_error() != Some(libc::EOPNOTSUPP) => Err(error),
        // A driver that does not report them has a fixed number.
        _ => {
            let index = interface_index(interface).map_err(io::Error::other)?;
            let (rx, tx) = netdev::queues(index)?;
            Ok(Queues { rx, tx, max_rx: rx })
        }
    }
}

/// Receive queues of an interface. The kernel's stack gets the frames of each queue without a
/// socket.
pub fn rx_queues(interface: &str) -> Result<u32, Error> {
    interface_index(interface)?;
    let queues = queues(interface)
        .map_err(|source| Error::NoInterface { name: interface.to_owned(), source })?;
    Ok(queues.rx)
}

/// The XDP features of an interface. The error is ENOENT on kernels before 6.3.
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

    #[test]
    fn a_virtio_device_without_access_platform_has_no_zero_copy() {
        let features = |bit: char| format!("{}{bit}{}\n", "1".repeat(33), "0".repeat(30));
        assert_eq!(virtio_obstacle(&features('1')), None);
        assert!(virtio_obstacle(&features('0')).unwrap().contains("VIRTIO_F_ACCESS_PLATFORM"));

        let buses = std::env::temp_dir().join(format!("af_xdp-{}-buses", std::process::id()));
        let device = buses.join("pci/devices/0000:00:03.0");
        fs::create_dir_all(device.join("virtio2")).unwrap();
        fs::write(device.join("virtio2/features"), features('1')).unwrap();
        assert_eq!(virtio_features(&buses, "0000:00:03.0"), Some(features('1')));
        assert_eq!(virtio_features(&buses, "0000:00:04.0"), None);
        fs::remove_dir_all(buses).unwrap();
    }
}

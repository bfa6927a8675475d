//! System calls of AF_XDP and packet sockets without a safe wrapper in rustix.

use super::memory::Mapping;
use super::ring::Layout;
use rustix::net::xdp::XdpRingOffset;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};
use std::ffi::c_int;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

/// `<linux/if_xdp.h>`, from Linux 6.17: TX descriptors taken by one sendto in copy mode.
const XDP_MAX_TX_SKB_BUDGET: c_int = 9;
/// `<linux/if_packet.h>`: a `struct virtio_net_hdr` precedes each packet.
const PACKET_VNET_HDR: c_int = 15;
/// Packets handled in one busy poll.
const BUSY_POLL_BUDGET: c_int = 64;
/// Time a busy poll may take; any value but 0 turns it on for non-blocking use.
const BUSY_POLL_US: c_int = 20;

/// Opens an AF_XDP socket in the calling thread's network namespace.
pub(crate) fn xdp_socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(AddressFamily::XDP, SocketType::RAW, flags, None)?)
}

fn set_option(fd: BorrowedFd<'_>, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    let len = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: the kernel reads `len` bytes of `value`, which lives through the call.
    let result =
        unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const value).cast(), len) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Lets one sendto take up to `budget` descriptors in copy mode: at least 32, at most the TX ring's
/// size.
pub(crate) fn set_tx_budget(fd: BorrowedFd<'_>, budget: u32) -> io::Result<()> {
    set_option(fd, libc::SOL_XDP, XDP_MAX_TX_SKB_BUDGET, budget as c_int)
}

/// Moves the driver's work from interrupts to this socket's system calls.
pub(crate) fn set_busy_poll(fd: BorrowedFd<'_>) -> io::Result<()> {
    set_option(fd, libc::SOL_SOCKET, libc::SO_PREFER_BUSY_POLL, 1)?;
    set_option(fd, libc::SOL_SOCKET, libc::SO_BUSY_POLL, BUSY_POLL_US)?;
    set_option(fd, libc::SOL_SOCKET, libc::SO_BUSY_POLL_BUDGET, BUSY_POLL_BUDGET)
}

/// Returns the driver's work to interrupts.
pub(crate) fn end_busy_poll(fd: BorrowedFd<'_>) -> io::Result<()> {
    set_option(fd, libc::SOL_SOCKET, libc::SO_PREFER_BUSY_POLL, 0)?;
    set_option(fd, libc::SOL_SOCKET, libc::SO_BUSY_POLL, 0)
}

/// Opens a packet socket that sends on an interface and receives nothing.
pub(crate) fn packet_socket(ifindex: u32, send_buffer_bytes: c_int) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    // Without a protocol, no packet is received.
    let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None)?;
    let fd = socket.as_fd();
    set_option(fd, libc::SOL_PACKET, PACKET_VNET_HDR, 1)?;
    // Above the limit of the host with CAP_NET_ADMIN; up to it without.
    set_option(fd, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, send_buffer_bytes)
        .or_else(|_| set_option(fd, libc::SOL_SOCKET, libc::SO_SNDBUF, send_buffer_bytes))?;
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: 0,
        sll_ifindex: ifindex as c_int,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let len = size_of_val(&address) as libc::socklen_t;
    // SAFETY: the kernel reads `len` bytes of `address`, which lives through the call.
    let result = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), len) };
    if result == 0 { Ok(socket) } else { Err(io::Error::last_os_error()) }
}

/// Sends one packet on a packet socket.
pub(crate) fn send_packet(fd: impl AsFd, packet: &[u8]) -> io::Result<()> {
    Ok(send(fd, packet, SendFlags::DONTWAIT).map(drop)?)
}

/// Starts transmission of the frames on the TX ring.
pub(crate) fn kick_tx(fd: impl AsFd) -> rustix::io::Result<()> {
    send(fd, &[], SendFlags::DONTWAIT).map(drop)
}

/// Wakes the driver to read the fill ring, and in busy-poll mode to poll the NIC.
pub(crate) fn kick_rx(fd: impl AsFd) -> rustix::io::Result<()> {
    recv(fd, &mut [0u8; 0], RecvFlags::DONTWAIT).map(drop)
}

/// Maps a ring of `size` slots. The layout points into the mapping and is returned with it.
pub(crate) fn map_ring<T: Copy>(
    fd: BorrowedFd<'_>,
    page_offset: u64,
    offsets: &XdpRingOffset,
    size: u32,
) -> io::Result<(Layout<T>, Box<Mapping>)> {
    let slots = offsets.desc as usize;
    let mapping = Mapping::of_ring(fd, page_offset, slots + size as usize * size_of::<T>())?;
    let within = |offset: u64, len: usize, align: usize| {
        let offset = offset as usize;
        if offset + len > mapping.len() || !offset.is_multiple_of(align) {
            return Err(io::Error::other("the kernel's ring offsets are not within the ring"));
        }
        // SAFETY: the offset was just found to be within the mapping.
        Ok(unsafe { mapping.base().add(offset) })
    };
    let index = |offset| within(offset, 4, 4).map(NonNull::cast);
    let layout = Layout {
        producer: index(offsets.producer)?,
        consumer: index(offsets.consumer)?,
        flags: offsets.flags.map(index).transpose()?,
        slots: within(offsets.desc, size as usize * size_of::<T>(), align_of::<T>())?.cast(),
        size,
    };
    Ok((layout, Box::new(mapping)))
}

/// `struct ifreq` of `<linux/if.h>` as ethtool uses it.
#[repr(C)]
struct EthtoolRequest {
    name: [u8; libc::IFNAMSIZ],
    data: *mut libc::c_void,
    /// The rest of the kernel's union.
    _rest: [u64; 2],
}

/// One ethtool command on the interface `name`: `command` is a structure of `<linux/ethtool.h>`,
/// which begins with the command's number and has the size that the kernel takes for it.
pub(crate) fn ethtool<T: EthtoolCommand>(name: &str, command: &mut T) -> io::Result<()> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    let mut request = EthtoolRequest {
        name: [0; libc::IFNAMSIZ],
        data: std::ptr::from_mut(command).cast(),
        _rest: [0; 2],
    };
    // One byte stays 0 to end the name.
    let name = name.as_bytes();
    if name.len() >= libc::IFNAMSIZ {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    request.name[..name.len()].copy_from_slice(name);
    // SAFETY: the request is laid out as the kernel's, and `data` leads to a structure that
    // `EthtoolCommand` promises to be the one that its number says, exclusively borrowed through
    // the call.
    let result =
        unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A structure of `<linux/ethtool.h>`.
///
/// # Safety
/// The type is `repr(C)`, begins with the number of a command, and is at least as large as what the
/// kernel reads and writes for that command.
pub(crate) unsafe trait EthtoolCommand {}

/// `struct ethtool_channels`: how many queues there are of each kind.
#[repr(C)]
#[derive(Debug, Default)]
pub(crate) struct EthtoolChannels {
    cmd: u32,
    pub(crate) max_rx: u32,
    pub(crate) max_tx: u32,
    pub(crate) max_other: u32,
    pub(crate) max_combined: u32,
    pub(crate) rx: u32,
    pub(crate) tx: u32,
    pub(crate) other: u32,
    pub(crate) combined: u32,
}

impl EthtoolChannels {
    const GCHANNELS: u32 = 0x3c;

    pub(crate) fn request() -> Self {
        EthtoolChannels { cmd: Self::GCHANNELS, ..Self::default() }
    }
}

// SAFETY: laid out as the kernel's `struct ethtool_channels`, and made only by `request` with its
// command.
unsafe impl EthtoolCommand for EthtoolChannels {}

/// `struct ethtool_drvinfo`: which driver an interface has.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct EthtoolDriver {
    cmd: u32,
    driver: [u8; 32],
    _versions: [u8; 2 * 32],
    bus: [u8; 32],
    _rest: [u8; 32 + 12 + 5 * 4],
}

impl EthtoolDriver {
    const GDRVINFO: u32 = 0x03;

    pub(crate) fn request() -> Self {
        EthtoolDriver {
            cmd: Self::GDRVINFO,
            driver: [0; 32],
            _versions: [0; 64],
            bus: [0; 32],
            _rest: [0; 64],
        }
    }

    pub(crate) fn driver(&self) -> String {
        text(&self.driver)
    }

    /// The device's name on its bus.
    pub(crate) fn bus(&self) -> String {
        text(&self.bus)
    }
}

/// A field of text, which ends with a zero byte.
fn text(field: &[u8]) -> String {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).into_owned()
}

// SAFETY: laid out as the kernel's `struct ethtool_drvinfo` (196 bytes), and made only by `request`
// with its command.
unsafe impl EthtoolCommand for EthtoolDriver {}

const _: () = assert!(size_of::<EthtoolDriver>() == 196 && size_of::<EthtoolChannels>() == 36);

/// `struct ethtool_value`: one number to be set.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct EthtoolValue {
    cmd: u32,
    data: u32,
}

impl EthtoolValue {
    const STSO: u32 = 0x1f;

    /// Switches TCP segmentation offload.
    pub(crate) fn segmentation_offload(on: bool) -> Self {
        EthtoolValue { cmd: Self::STSO, data: on.into() }
    }
}

// SAFETY: laid out as the kernel's `struct ethtool_value` (8 bytes), which is what its command
// takes.
unsafe impl EthtoolCommand for EthtoolValue {}

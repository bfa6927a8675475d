//! Opens and binds the socket of each queue: registers or shares the UMEM, sizes and maps the four
//! rings.

use super::queue::{Capabilities, Queue, Rings};
use super::ring::{Consumer, Producer};
use super::{Error, Mode, RingSizes, Umem, sys};
use rustix::io::Errno;
use rustix::net::xdp::{
    SocketAddrXdp, SocketAddrXdpFlags, SocketAddrXdpWithSharedUmem, XDP_PGOFF_RX_RING,
    XDP_PGOFF_TX_RING, XDP_UMEM_PGOFF_COMPLETION_RING, XDP_UMEM_PGOFF_FILL_RING, XdpOptionsFlags,
};
use rustix::net::{bind, sockopt};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// The kernel releases an unbound queue a little later. Retry EBUSY for this time.
const BUSY_DEADLINE: Duration = Duration::from_secs(2);
const BUSY_PAUSE: Duration = Duration::from_millis(5);
/// Send buffer of a socket in copy mode, in bytes of packets. The default holds about 90 frames.
const SEND_BUFFER_BYTES: usize = 8 << 20;

/// What all sockets of a device have in common.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) ifindex: u32,
    pub(crate) mode: Mode,
    pub(crate) multi_buffer: bool,
    pub(crate) rings: RingSizes,
    pub(crate) busy_poll: bool,
}

/// Opens and binds the sockets of queues 0 to `count`. The first registers the UMEM, the others
/// share it.
pub(crate) fn open_queues(plan: &Plan, count: u32, umem: &Arc<Umem>) -> Result<Vec<Queue>, Error> {
    let mut queues: Vec<Queue> = Vec::with_capacity(count as usize);
    for id in 0..count {
        let queue = open_queue(plan, id, umem, queues.first())?;
        queues.push(queue);
    }
    Ok(queues)
}

fn open_queue(
    plan: &Plan,
    id: u32,
    umem: &Arc<Umem>,
    first: Option<&Queue>,
) -> Result<Queue, Error> {
    let socket = sys::xdp_socket().map_err(Error::Socket)?;
    if first.is_none() {
        let failed =
            |error: Errno| Error::Umem { bytes: umem.memory_bytes(), source: error.into() };
        sockopt::set_xdp_umem_reg(&socket, umem.registration()).map_err(failed)?;
    }
    let rings =
        make_rings(&socket, &plan.rings).map_err(|source| Error::Ring { queue: id, source })?;
    tune(&socket, plan);
    let refused = |error: Errno| Error::Bind { queue: id, mode: plan.mode, source: error.into() };
    bind_patiently(|| match first {
        None => bind(&socket, &address(plan, id)),
        Some(first) => bind(&socket, &shared_address(plan, id, first.as_fd())),
    })
    .map_err(refused)?;
    let options = sockopt::xdp_options(&socket).map_err(refused)?;
    let capabilities = Capabilities {
        zero_copy: options.contains(XdpOptionsFlags::XDP_OPTIONS_ZEROCOPY),
        multi_buffer: plan.multi_buffer,
        // Generic mode has no driver to poll.
        busy_poll: plan.busy_poll && plan.mode != Mode::Generic,
    };
    Ok(Queue::new(id, socket, rings, umem.clone(), capabilities))
}

fn make_rings(socket: &OwnedFd, sizes: &RingSizes) -> io::Result<Rings> {
    sockopt::set_xdp_umem_fill_ring_size(socket, sizes.fill)?;
    sockopt::set_xdp_umem_completion_ring_size(socket, sizes.completion)?;
    sockopt::set_xdp_rx_ring_size(socket, sizes.rx)?;
    sockopt::set_xdp_tx_ring_size(socket, sizes.tx)?;
    let offsets = sockopt::xdp_mmap_offsets(socket)?;
    let fd = socket.as_fd();
    let (fill, fill_memory) = sys::map_ring(fd, XDP_UMEM_PGOFF_FILL_RING, &offsets.fr, sizes.fill)?;
    let (rx, rx_memory) = sys::map_ring(fd, XDP_PGOFF_RX_RING, &offsets.rx, sizes.rx)?;
    let (tx, tx_memory) = sys::map_ring(fd, XDP_PGOFF_TX_RING, &offsets.tx, sizes.tx)?;
    let (completion, completion_memory) =
        sys::map_ring(fd, XDP_UMEM_PGOFF_COMPLETION_RING, &offsets.cr, sizes.completion)?;
    // SAFETY: `map_ring` found each layout to be within and aligned in the mapping that goes along
    // with it. The socket is new, so the kernel is the only other party of each ring: it consumes
    // fill and TX, produces RX and completions. Fill and completion slots are u64, RX and TX slots
    // `struct xdp_desc`, as `if_xdp.h` says.
    unsafe {
        Ok(Rings {
            fill: Producer::new(fill, fill_memory),
            rx: Consumer::new(rx, rx_memory),
            tx: Producer::new(tx, tx_memory),
            completion: Consumer::new(completion, completion_memory),
        })
    }
}

/// Options for speed that not every kernel has.
fn tune(socket: &OwnedFd, plan: &Plan) {
    if let Err(error) = sockopt::set_socket_send_buffer_size_force(socket, SEND_BUFFER_BYTES) {
        tracing::debug!(%error, "the send buffer stays at its default");
    }
    if let Err(error) = sys::set_tx_budget(socket.as_fd(), plan.rings.tx) {
        tracing::debug!(%error, "one system call sends at most 32 frames in copy mode (XDP_MAX_TX_SKB_BUDGET: Linux 6.17)");
    }
    if plan.busy_poll
        && let Err(error) = sys::set_busy_poll(socket.as_fd())
    {
        tracing::warn!(%error, "preferred busy polling is not available (Linux 5.11 or later); polling without it");
    }
}

fn address(plan: &Plan, queue: u32) -> SocketAddrXdp {
    let mode = match plan.mode {
        Mode::ZeroCopy => SocketAddrXdpFlags::XDP_ZEROCOPY,
        Mode::Copy | Mode::Generic => SocketAddrXdpFlags::XDP_COPY,
    };
    let chains = if plan.multi_buffer {
        SocketAddrXdpFlags::XDP_USE_SG
    } else {
        SocketAddrXdpFlags::empty()
    };
    SocketAddrXdp::new(mode | chains | SocketAddrXdpFlags::XDP_USE_NEED_WAKEUP, plan.ifindex, queue)
}

/// The first socket's flags apply to all. Any other flag beside this one is an error.
fn shared_address<'a>(
    plan: &Plan,
    queue: u32,
    first: BorrowedFd<'a>,
) -> SocketAddrXdpWithSharedUmem<'a> {
    let addr = SocketAddrXdp::new(SocketAddrXdpFlags::XDP_SHARED_UMEM, plan.ifindex, queue);
    SocketAddrXdpWithSharedUmem { addr, shared_umem_fd: first }
}

fn bind_patiently(mut bind: impl FnMut() -> Result<(), Errno>) -> Result<(), Errno> {
    let deadline = Instant::now() + BUSY_DEADLINE;
    loop {
        match bind() {
            Err(Errno::BUSY) if Instant::now() < deadline => thread::sleep(BUSY_PAUSE),
            done => return done,
        }
    }
}

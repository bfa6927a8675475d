//! Opens and binds the socket of each queue: registers or shares the UMEM, sizes and maps the four
//! rings.

use super::queue::{Capabilities, Queue, Rings};
use super::ring::{Consumer, Producer};
use super::{Error, FramePool, Mode, RingSizes, Umem, sys};
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

/// Opens and binds a socket for each pool, on the queue with the pool's index. The first registers
/// the UMEM, the others share it. After an error every frame is in its pool again.
pub(crate) fn open_queues(
    plan: &Plan,
    umem: &Arc<Umem>,
    pools: &mut [FramePool],
) -> Result<Vec<Queue>, Error> {
    let mut queues: Vec<Queue> = Vec::with_capacity(pools.len());
    for (id, pool) in (0..).zip(&mut *pools) {
        let opened = open_queue(plan, id, umem, queues.first(), pool);
        match opened {
            Ok(queue) => queues.push(queue),
            Err(error) => {
                queues.into_iter().zip(pools).for_each(|(queue, pool)| queue.close(pool));
                return Err(error);
            }
        }
    }
    Ok(queues)
}

fn open_queue(
    plan: &Plan,
    id: u32,
    umem: &Arc<Umem>,
    first: Option<&Queue>,
    pool: &mut FramePool,
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
    let capabilities = Capabilities {
        zero_copy: plan.mode == Mode::ZeroCopy,
        multi_buffer: plan.multi_buffer,
        // Generic mode has no driver to poll.
        busy_poll: plan.busy_poll && plan.mode != Mode::Generic,
        checksums: false,
    };
    let mut queue = Queue::new(id, socket, rings, umem.clone(), capabilities);
    // A driver that finds no frame when it is bound may look again only seconds later (igb).
    queue.refill(pool);
    match bind_queue(plan, &queue, first) {
        Ok(zero_copy) => Ok(queue.bound(zero_copy)),
        Err(error) => {
            queue.close(pool);
            Err(Error::Bind { queue: id, mode: plan.mode, source: error.into() })
        }
    }
}

/// Binds the socket of a queue. Returns whether it has zero-copy.
fn bind_queue(plan: &Plan, queue: &Queue, first: Option<&Queue>) -> Result<bool, Errno> {
    bind_patiently(|| match first {
        None => bind(queue, &address(plan, queue.id())),
        Some(first) => bind(queue, &shared_address(plan, queue.id(), first.as_fd())),
    })?;
    let options = sockopt::xdp_options(queue)?;
    Ok(options.contains(XdpOptionsFlags::XDP_OPTIONS_ZEROCOPY))
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

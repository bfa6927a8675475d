//! An interface opened through AF_XDP: the program attached, every receive queue bound, in the best
//! mode that works.
//!
//! In come [`OpenOptions`] and a [`Program`], out go a [`Device`] for control, and for each receive
//! queue a [`Queue`] with a pool of frames. No frame passes through here.

use super::deferral::Deferral;
use super::features::XdpFeatures;
use super::netdev::{self, LinkState};
use super::program::Place;
use super::socket::{Plan, open_queues};
use super::umem::MAX_QUEUES;
use super::{
    Error, FramePool, Mode, Ownership, Program, Queue, RingSizes, Umem, drivers, features,
};
use std::io;
use std::sync::Arc;

/// What to open and how.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// The interface, in the calling thread's network namespace.
    pub interface: String,
    /// The mode to try. `None`: all of them, the fastest first.
    pub mode: Option<Mode>,
    /// Receive queues to bind, from queue 0. `None`: all that the interface has. The kernel's stack
    /// gets the frames of queues that are not bound.
    pub queues: Option<u32>,
    /// Chunks of packet memory for each queue: at least the sizes of the fill ring and the TX ring
    /// plus [`super::BURST`].
    pub frames_per_queue: u32,
    /// Bytes of a chunk, 2048 or 4096.
    pub chunk_bytes: u32,
    /// Slots of the rings.
    pub rings: RingSizes,
    /// Drive the NIC from the packet loop instead of interrupts (SO_PREFER_BUSY_POLL, with
    /// `napi_defer_hard_irqs` and `gro_flush_timeout` of the interface changed until the queues are
    /// dropped). A queue that cannot send this way returns to interrupts. Without effect in generic
    /// mode.
    pub busy_poll: bool,
    /// Have the kernel or the NIC complete checksums on request, where it can: see
    /// [`Device::checksum_offload`]. Takes 24 bytes of each chunk.
    pub checksum_offload: bool,
}

impl OpenOptions {
    /// The defaults for an interface: all modes, all queues, 16,384 frames of 4096 bytes for each
    /// queue. The receive rings have 8192 slots, for a kernel that delivers ten thousand small
    /// packets at once.
    pub fn new(interface: impl Into<String>) -> Self {
        OpenOptions {
            interface: interface.into(),
            mode: None,
            queues: None,
            frames_per_queue: 16384,
            chunk_bytes: 4096,
            rings: RingSizes { fill: 8192, rx: 8192, tx: 4096, completion: 4096 },
            busy_poll: false,
            checksum_offload: false,
        }
    }

    /// Bytes of packet memory for `queues` queues.
    pub fn memory_bytes(&self, queues: u32) -> usize {
        self.frames_per_queue as usize * self.chunk_bytes as usize * queues as usize
    }

    /// Receive queues to bind: [`OpenOptions::queues`], or all that the interface has. An error
    /// names an option that is out of bounds, or the interface if it does not exist.
    pub fn queue_count(&self) -> Result<u32, Error> {
        self.validate()?;
        features::interface_index(&self.interface)?;
        let count = match self.queues {
            Some(count) => count,
            None => features::rx_queues(&self.interface)?,
        };
        let interface = &self.interface;
        let bound = || {
            format!("1 to {MAX_QUEUES} are needed; `ethtool -L {interface} combined N` sets them")
        };
        check((1..=MAX_QUEUES).contains(&count), "queues", count, bound)?;
        // A socket transmits on the queue that has the number of its receive queue, or not at all.
        if let Ok(queues) = features::queues(interface) {
            let tx = queues.tx;
            let bound = || {
                format!(
                    "{interface} has {tx} transmit queues, one is needed for each; see `ethtool -L`"
                )
            };
            check(count <= tx, "queues", count, bound)?;
        }
        let frames = u64::from(count) * u64::from(self.frames_per_queue);
        let bound = || {
            format!("{count} queues of {} frames are more than 4294967295", self.frames_per_queue)
        };
        check(u32::try_from(frames).is_ok(), "frames_per_queue", self.frames_per_queue, bound)?;
        Ok(count)
    }

    fn validate(&self) -> Result<(), Error> {
        let RingSizes { fill, rx, tx, completion } = self.rings;
        for (name, size) in [
            ("rings.fill", fill),
            ("rings.rx", rx),
            ("rings.tx", tx),
            ("rings.completion", completion),
        ] {
            let good = size.is_power_of_two() && (64..=1 << 20).contains(&size);
            check(good, name, size, || "a power of two from 64 to 1048576 is needed".into())?;
        }
        check(rx >= fill, "rings.rx", rx, || {
            format!("at least rings.fill, {fill}, or received packets are dropped")
        })?;
        let good = [2048, 4096].contains(&self.chunk_bytes);
        check(good, "chunk_bytes", self.chunk_bytes, || "2048 or 4096 is needed".into())?;
        let least = fill + tx + super::BURST as u32;
        check(
            self.frames_per_queue >= least && self.frames_per_queue <= 1 << 22,
            "frames_per_queue",
            self.frames_per_queue,
            || format!("{least} (fill ring, TX ring and a burst) to {} are needed", 1 << 22),
        )
    }
}

fn check(
    good: bool,
    name: &'static str,
    value: u32,
    bound: impl FnOnce() -> String,
) -> Result<(), Error> {
    if good { Ok(()) } else { Err(Error::Option { name, value: value.into(), bound: bound() }) }
}

/// The state of an interface's link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Whether it was brought up.
    pub up: bool,
    /// Whether it has a carrier.
    pub carrier: bool,
    /// Whether the device's program is on it.
    pub has_program: bool,
    /// Times the carrier came or went. 0 if the kernel does not report it.
    pub carrier_changes: u32,
    /// Packets that the driver has received.
    pub rx_packets: u64,
    /// The largest IP packet, in bytes. 0 if the kernel does not report it.
    pub mtu_bytes: u32,
}

/// An open interface. Dropping it detaches the program; drop it before the queues.
#[derive(Debug)]
pub struct Device {
    interface: String,
    ifindex: u32,
    driver: String,
    mode: Mode,
    multi_buffer: bool,
    /// The error is the reason why not.
    checksum_offload: Result<(), String>,
    program: Program,
    umem: Arc<Umem>,
}

/// One attempt to open the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Attempt {
    mode: Mode,
    multi_buffer: bool,
}

/// All attempts, the best first, and the skipped modes with the reasons. An attempt costs many NICs
/// their link for seconds, so none is made that is known to fail. `no_zero_copy`: why the device
/// cannot have zero-copy, although its driver has.
fn attempts(
    requested: Option<Mode>,
    driver: &str,
    kernel: (u32, u32),
    features: Option<XdpFeatures>,
    no_zero_copy: Option<&str>,
) -> (Vec<Attempt>, Vec<(Mode, String)>) {
    let mut left_out = Vec::new();
    let modes = match requested {
        Some(mode) => vec![mode],
        None if drivers::prefers_generic(driver) => vec![Mode::Generic],
        None => {
            let mut modes = Vec::with_capacity(3);
            for mode in [Mode::ZeroCopy, Mode::Copy, Mode::Generic] {
                let device = no_zero_copy.filter(|_| mode == Mode::ZeroCopy).map(str::to_owned);
                match drivers::obstacle(mode, driver, kernel, features).or(device) {
                    Some(reason) => left_out.push((mode, reason)),
                    None => modes.push(mode),
                }
            }
            modes
        }
    };
    let both = |mode: Mode| {
        multi_buffer(mode, features)
            .iter()
            .map(move |chains| Attempt { mode, multi_buffer: *chains })
    };
    (modes.into_iter().flat_map(both).collect(), left_out)
}

/// Whether to try a mode with multi-buffer, without, or first with and then without. Kernels that
/// report no features (before Linux 6.3) have no multi-buffer for AF_XDP.
fn multi_buffer(mode: Mode, features: Option<XdpFeatures>) -> &'static [bool] {
    match features {
        None => &[false],
        Some(features) if mode == Mode::ZeroCopy => match features.zero_copy_max_segments {
            0 | 1 => &[false],
            _ => &[true],
        },
        Some(_) => &[true, false],
    }
}

/// Where to attach the program, and in which form.
fn place(mode: Mode, driver: &str) -> Place {
    match mode {
        Mode::ZeroCopy | Mode::Copy => Place::Native,
        Mode::Generic if drivers::prefers_generic(driver) => Place::Generic,
        Mode::Generic => Place::GenericLinear,
    }
}

impl Device {
    /// Opens an interface: attaches `program` and binds a socket to each receive queue, in the best
    /// mode that works.
    ///
    /// Returns, with the device, each bound queue and a pool with the frames that its fill ring
    /// left over. The program must have been loaded for at least [`OpenOptions::queue_count`]
    /// queues.
    pub fn open(
        options: &OpenOptions,
        mut program: Program,
    ) -> Result<(Device, Vec<(Queue, FramePool)>), Error> {
        let interface = options.interface.as_str();
        let count = options.queue_count()?;
        let bound = || {
            format!("the program was loaded for {} queues; load it for as many", program.queues())
        };
        check(count <= program.queues(), "queues", count, bound)?;
        let ifindex = features::interface_index(interface)?;
        let driver = features::driver(interface).unwrap_or_else(|_| "unknown".into());
        let metadata = match options.checksum_offload {
            true => features::can_register_metadata(),
            false => Err("not asked for".to_owned()),
        };
        let make = if metadata.is_ok() { Umem::with_metadata } else { Umem::new };
        let (umem, mut pools) = make(options.frames_per_queue * count, options.chunk_bytes, count)?;
        let umem = Arc::new(umem);
        let (attempt, mut queues) =
            open_somehow(options, ifindex, &driver, &umem, &mut pools, &mut program)?;
        let is_offered = netdev::features(ifindex).is_ok_and(|found| found.tx_checksum());
        let obstacle = drivers::checksum_obstacle(attempt.mode, &driver, is_offered);
        let checksum_offload = metadata.and_then(|()| obstacle.map_or(Ok(()), Err));
        queues.iter_mut().for_each(|queue| queue.complete_checksums(checksum_offload.is_ok()));
        for queue in &queues {
            program.set_socket(queue.id(), queue)?;
        }
        let Attempt { mode, multi_buffer } = attempt;
        if mode == Mode::Generic && !multi_buffer {
            let max_bytes = umem.receive_bytes();
            tracing::warn!(
                interface,
                "longer packets than {max_bytes} bytes are dropped (multi-buffer: Linux 6.6); \
                 `ethtool -K {interface} gro off` avoids them"
            );
        }
        if let Some(aftermath) = drivers::aftermath(mode, &driver) {
            tracing::warn!(interface, "{aftermath}");
        }
        if options.busy_poll && mode != Mode::Generic {
            defer_interrupts(interface, ifindex, &mut queues);
        }
        let parts = queues.into_iter().zip(pools).collect();
        let pages = umem.pages();
        tracing::info!(
            interface, driver, %mode, multi_buffer, queues = count, ?pages, "AF_XDP is open"
        );
        let interface = interface.to_owned();
        let device = Device {
            interface,
            ifindex,
            driver,
            mode,
            multi_buffer,
            checksum_offload,
            program,
            umem,
        };
        Ok((device, parts))
    }

    /// The interface's name.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// The interface's index.
    pub fn ifindex(&self) -> u32 {
        self.ifindex
    }

    /// The interface's driver, "unknown" if it is not reported.
    pub fn driver(&self) -> &str {
        &self.driver
    }

    /// The mode in use.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether packets longer than a chunk are received, as chains of frames.
    pub fn multi_buffer(&self) -> bool {
        self.multi_buffer
    }

    /// Whether the kernel or the NIC completes checksums on request ([`Umem::request_checksum`]).
    /// The error is the reason why not.
    pub fn checksum_offload(&self) -> Result<(), &str> {
        self.checksum_offload.as_ref().copied().map_err(String::as_str)
    }

    /// The packet memory of all queues.
    pub fn umem(&self) -> &Arc<Umem> {
        &self.umem
    }

    /// The XDP program that is attached to it.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The state of the interface's link. Call it in the interface's network namespace.
    pub fn link(&self) -> io::Result<Link> {
        let LinkState { up, carrier, programs, carrier_changes, rx_packets, mtu_bytes } =
            netdev::link_state(self.ifindex)?;
        let has_program = programs.contains(&self.program.id());
        Ok(Link { up, carrier, has_program, carrier_changes, rx_packets, mtu_bytes })
    }

    /// Attaches the program again: after another process has detached it, or after the driver has
    /// stopped to run it.
    pub fn attach_again(&mut self) -> Result<(), Error> {
        self.program.attach_again(self.ifindex)
    }

    /// Attaches the guard `name` again, to the interface of this name: see
    /// [`Program::attach_guard`].
    pub fn attach_guard(&mut self, interface: &str, name: &str) -> Result<(), Error> {
        self.program.attach_guard(interface, name)
    }

    /// Whether the guard `name` is attached: see [`Program::has_guard`].
    pub fn has_guard(&mut self, name: &str) -> Result<bool, Error> {
        self.program.has_guard(self.ifindex, name)
    }

    /// The chunks of the packet memory by holder.
    pub fn ownership(&self) -> Ownership {
        self.umem.ownership()
    }
}

/// Keeps interrupts masked while the queues poll, if the interface has the settings.
fn defer_interrupts(interface: &str, ifindex: u32, queues: &mut [Queue]) {
    match Deferral::of(interface, ifindex).map(Arc::new) {
        Ok(deferral) => {
            queues.iter_mut().for_each(|queue| queue.defer_interrupts(deferral.clone()));
        }
        Err(error) => tracing::warn!(
            interface,
            %error,
            "interrupts are not deferred while busy polling \
             (napi_defer_hard_irqs, gro_flush_timeout: Linux 5.10)"
        ),
    }
}

/// Tries one way after the other, and logs why each failed.
fn open_somehow(
    options: &OpenOptions,
    ifindex: u32,
    driver: &str,
    umem: &Arc<Umem>,
    pools: &mut [FramePool],
    program: &mut Program,
) -> Result<(Attempt, Vec<Queue>), Error> {
    let features = netdev::features(ifindex).ok();
    let kernel = features::kernel_version();
    let no_zero_copy = features::zero_copy_obstacle(&options.interface);
    let (attempts, mut tried) =
        attempts(options.mode, driver, kernel, features, no_zero_copy.as_deref());
    for (mode, reason) in &tried {
        tracing::info!(interface = options.interface, %mode, "not tried: {reason}");
    }
    let mut settled = None;
    for Attempt { mode, multi_buffer } in attempts {
        if settled == Some(mode) {
            continue;
        }
        let OpenOptions { rings, busy_poll, .. } = *options;
        let plan = Plan { ifindex, mode, multi_buffer, rings, busy_poll };
        let attached = program.attach_at(ifindex, place(mode, driver));
        match attached.and_then(|()| open_queues(&plan, umem, pools)) {
            Ok(queues) => return Ok((Attempt { mode, multi_buffer }, queues)),
            // Without these no mode will do.
            Err(error @ (Error::Socket(_) | Error::Umem { .. })) => return Err(error),
            Err(error) => {
                let with = if multi_buffer { "with" } else { "without" };
                let reason = format!("{with} multi-buffer: {error}");
                tracing::info!(interface = options.interface, %mode, "does not work {reason}");
                tried.push((mode, reason));
                settled = (!may_be_for_multi_buffer(&error)).then_some(mode);
            }
        }
    }
    Err(Error::NoMode { interface: options.interface.clone(), tried })
}

/// Whether a mode that was refused may work without multi-buffer: an old kernel does not know the
/// flag (EINVAL), a driver may not support it (EOPNOTSUPP).
fn may_be_for_multi_buffer(error: &Error) -> bool {
    let Error::Bind { source, .. } = error else { return false };
    matches!(source.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP))
}

#[cfg(test)]
#[path = "device_tests.rs"]
mod tests;

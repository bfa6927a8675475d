//! An interface opened through AF_XDP, and the claims on its traffic.

use super::steering::{GUARD, SteerCounters};
use super::{Claim, Error, Groups, Steering, Tunnel};
use af_xdp::{FramePool, Link, Mode, OpenOptions, Queue, Umem, features};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

/// An open interface whose program is the steering program. Dropping it detaches the program; drop
/// it before the queues.
#[derive(Debug)]
pub struct Device {
    device: af_xdp::Device,
    steering: Steering,
    guard: Guard,
    groups: Groups,
}

/// The state of the guard at tc ingress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Guard {
    /// The kernel does not take it.
    None,
    Attached,
    /// Another process has detached it.
    Detached,
}

/// What a check of the guard has found and done.
#[derive(Debug)]
pub enum GuardCheck {
    /// It is attached, or never was.
    Unchanged,
    /// Another process has detached it.
    Detached {
        /// Whether the check before did not find this.
        is_new: bool,
        /// Whether it is attached again.
        again: Result<(), Error>,
    },
}

impl Device {
    /// Opens an interface, with nothing claimed yet: call [`Device::add_claim`] when the workers
    /// are ready.
    ///
    /// Returns the device, each bound queue, and for each a pool with the frames left over by its
    /// fill ring.
    pub fn open(options: &OpenOptions) -> Result<(Device, Vec<(Queue, FramePool)>), Error> {
        let count = options.queue_count()?;
        let options = &OpenOptions { queues: Some(count), ..options.clone() };
        let (mut program, mut steering) = Steering::load(count)?;
        let ifindex = features::interface_index(&options.interface)?;
        let groups = Groups::new(ifindex).map_err(af_xdp::Error::Socket)?;
        let guarded = program.attach_guard(&options.interface, GUARD);
        let guard = if guarded.is_ok() { Guard::Attached } else { Guard::None };
        if let Err(error) = guarded {
            tracing::warn!(
                interface = options.interface,
                "the kernel resets connections whose segments tc redirects or duplicates: {error}"
            );
        }
        let (device, queues) = af_xdp::Device::open(options, program)?;
        let interface = device.interface();
        let offload = device.checksum_offload();
        let by = if offload.is_ok() { "offload" } else { "software" };
        let reason = offload.err();
        tracing::info!(interface, by, reason, "checksums of transmitted segments");
        if guard == Guard::Attached {
            steering.learn_sources();
        }
        Ok((Device { device, steering, guard, groups }, queues))
    }

    /// The interface's name.
    pub fn interface(&self) -> &str {
        self.device.interface()
    }

    /// The interface's index.
    pub fn ifindex(&self) -> u32 {
        self.device.ifindex()
    }

    /// The interface's driver, "unknown" if it does not tell.
    pub fn driver(&self) -> &str {
        self.device.driver()
    }

    /// The mode of its sockets.
    pub fn mode(&self) -> Mode {
        self.device.mode()
    }

    /// Whether the kernel or the NIC completes checksums on request. The error is the reason why
    /// not.
    pub fn checksum_offload(&self) -> Result<(), &str> {
        self.device.checksum_offload()
    }

    /// The memory of all its frames.
    pub fn umem(&self) -> &Arc<Umem> {
        self.device.umem()
    }

    /// The longest frame that the queues carry in both directions, in bytes. Without multi-buffer a
    /// received frame must fit into the chunk behind the headroom of the kernel.
    pub fn frame_bytes(&self) -> usize {
        let umem = self.device.umem();
        if self.device.multi_buffer() { umem.transmit_bytes() } else { umem.receive_bytes() }
    }

    /// Steers claimed traffic to the queues from now on.
    pub fn add_claim(&mut self, claim: Claim) -> Result<(), Error> {
        if let Claim::Dedicated(address) = claim {
            self.groups.join(address).map_err(Error::Group)?;
        }
        self.steering.add_claim(claim)
    }

    /// Addresses that may still be claimed beside those that are.
    pub fn room(&self) -> usize {
        self.steering.room()
    }

    /// Takes claimed packets out of these tunnels, which end at `address`.
    pub fn end_tunnels(&mut self, address: IpAddr, tunnels: &[Tunnel]) -> Result<(), Error> {
        self.steering.end_tunnels(address, tunnels)
    }

    /// Ends no tunnel at `address` any more.
    pub fn remove_tunnels(&mut self, address: IpAddr) {
        self.steering.remove_tunnels(address);
    }

    /// Returns traffic to the kernel. No effect if it is not claimed.
    pub fn remove_claim(&mut self, claim: Claim) -> Result<(), Error> {
        self.steering.remove_claim(claim)?;
        match claim {
            Claim::Dedicated(address) => self.groups.leave(address).map_err(Error::Group),
            Claim::Port(_) => Ok(()),
        }
    }

    /// Returns all traffic to the kernel.
    pub fn remove_all_claims(&mut self) -> Result<(), Error> {
        self.steering.remove_all_claims()?;
        self.groups.leave_all().map_err(Error::Group)
    }

    /// The state of the link. Call it in the network namespace of the interface.
    pub fn link(&self) -> io::Result<Link> {
        self.device.link()
    }

    /// Attaches the steering program again after another process has detached it.
    pub fn attach_again(&mut self) -> Result<(), Error> {
        self.ask_again()?;
        Ok(self.device.attach_again()?)
    }

    /// The program has not steered all segments for a while: connections that the kernel has got
    /// stay its own. [`Device::attach_again`] does this itself.
    pub fn ask_again(&mut self) -> Result<(), Error> {
        self.steering.ask_again()
    }

    /// Whether claimed segments that the steering program does not see are kept from the kernel.
    pub fn is_guarded(&self) -> bool {
        self.guard == Guard::Attached
    }

    /// Looks whether another process has detached the guard, and attaches it again, to the
    /// interface of this name. Call it as [`Device::link`].
    pub fn check_guard(&mut self, interface: &str) -> GuardCheck {
        let is_attached = match self.guard {
            Guard::None => return GuardCheck::Unchanged,
            Guard::Attached => self.device.has_guard(GUARD).unwrap_or(true),
            Guard::Detached => false,
        };
        if is_attached {
            return GuardCheck::Unchanged;
        }
        let is_new = self.guard == Guard::Attached;
        let attached = self.device.attach_guard(interface, GUARD);
        self.guard = if attached.is_ok() { Guard::Attached } else { Guard::Detached };
        GuardCheck::Detached { is_new, again: attached.map_err(Error::from) }
    }

    /// Has the steering program no longer ask for connections that the kernel had before the
    /// claims, where there are none left. Call it as [`Device::link`].
    pub fn settle(&mut self) -> Result<(), Error> {
        self.steering.settle()
    }

    /// Whether the steering program has seen a frame since the last call.
    pub fn take_seen(&mut self) -> Result<bool, Error> {
        self.steering.take_seen()
    }

    /// The steering program's counters.
    pub fn counters(&self) -> Result<SteerCounters, Error> {
        self.steering.counters()
    }
}

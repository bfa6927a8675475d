//! The claims of a device while the server runs: what the interface has and gets is served, what it
//! has lost may be a peer's.

use super::addresses::{Addresses, Effect};
use super::late_addresses::LateAddresses;
use crate::control::{Command, CommandSender};
use crate::error::{Error, Result};
use crate::metrics::Snapshot;
use crate::netns::{self, Named};
use crate::steer::{Claim, Device, GuardCheck, Tunnel, is_host_address};
use crate::worker::stack_config::stack_mtu;
use af_xdp::{Link, Mode, rx_queues};
use simoom_tcp::Config;
use simoom_tcp::wire::ipv6;
use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// Lost addresses that stay claimed, in case they come back, beside those within their grace.
const LOST_MAX: usize = 32;

/// The use of a new address of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NewAddress {
    Served,
    /// Tunnels end there. The flags name the addresses that are served.
    EndsTunnels,
    /// The flags name others.
    Unused,
    /// As many addresses are claimed as can be. It waits until others go.
    Waits,
    /// There is no file descriptor for its listeners. It waits until there is.
    WaitsForFiles,
}

/// A device and its claims. Dropping it detaches the program from the interface.
pub(super) struct Claims {
    pub(super) device: Device,
    /// The current name of the interface.
    pub(super) name: String,
    pub(super) queues: u32,
    pub(super) snapshot: Arc<Snapshot>,
    /// The MTU of the interface.
    pub(super) mtu_bytes: u32,
    /// The addresses of the interface.
    pub(super) addresses: Addresses,
    pub(super) late_addresses: LateAddresses,
    /// Addresses of the interface that wait for room among the claims, or for file descriptors.
    pub(super) waiting: BTreeSet<IpAddr>,
    /// The configuration of the stacks.
    pub(super) stack: Config,
    /// The workers of the device.
    pub(super) workers: Vec<CommandSender>,
    /// The worker of kernel sockets beside them.
    pub(super) beside: Option<CommandSender>,
}

impl Claims {
    pub(super) fn mode(&self) -> Mode {
        self.device.mode()
    }

    pub(super) fn interface(&self) -> &str {
        &self.name
    }

    pub(super) fn link(&self) -> io::Result<Link> {
        self.device.link()
    }

    pub(super) fn attach_again(&mut self) -> Result<()> {
        self.device.attach_again().map_err(|error| Error::failed(error.to_string()))
    }

    /// Looks after the guard. See [`Device::check_guard`].
    pub(super) fn check_guard(&mut self) -> GuardCheck {
        self.device.check_guard(&self.name)
    }

    /// What becomes of claimed segments that the XDP program does not see.
    pub(super) fn unseen(&self) -> &'static str {
        match self.device.is_guarded() {
            true => "connections stall",
            false => "the kernel resets all connections",
        }
    }

    /// Makes the stacks follow the MTU of the interface. Returns the earlier MTU if it has changed.
    pub(super) fn follow_mtu(&mut self, mtu_bytes: u32) -> Option<u32> {
        if mtu_bytes == 0 || mtu_bytes == self.mtu_bytes {
            return None;
        }
        let mtu = stack_mtu(mtu_bytes, self.device.frame_bytes(), &self.stack);
        self.workers.iter().for_each(|worker| worker.send(Command::SetMtu(mtu)));
        Some(std::mem::replace(&mut self.mtu_bytes, mtu_bytes))
    }

    /// Looks at the name and the addresses of the interface. Returns its earlier name if that has
    /// changed, and the addresses that it has got or lost since the last call. A peer may have one
    /// that it has lost. Of many lost ones the first are given up.
    pub(super) fn follow_interface(&mut self) -> (Option<String>, Vec<(IpAddr, bool, Effect)>) {
        let Named { name, addresses, tentative } = match netns::named(self.device.ifindex()) {
            Ok(named) => named,
            Err(error) => {
                tracing::debug!(%error, "cannot read the addresses of the interface");
                return (None, Vec::new());
            }
        };
        let is_new = !name.is_empty() && name != self.name;
        let earlier = is_new.then(|| std::mem::replace(&mut self.name, name));
        // A new address is the interface's once no other host has it.
        let is_own = |address: &IpAddr| !tentative.contains(address) || self.addresses.has(address);
        let now = host_addresses(addresses.into_iter().filter(is_own));
        let changes = self.addresses.compare(now, Instant::now());
        for (address, has, effect) in &changes {
            // Simoom answers for its own addresses in any case.
            if !matches!(effect, Effect::TwoOwners | Effect::OneOwner) {
                let host = |worker: &CommandSender| worker.send(Command::Host(*address, *has));
                self.workers.iter().for_each(host);
            }
            if *effect == Effect::None {
                self.device.remove_tunnels(*address);
            }
        }
        self.forget_lost(LOST_MAX);
        (earlier, changes)
    }

    /// Gives up as many lost addresses for others that wait, the first ones first.
    fn forget_for(&mut self, others: usize) {
        let late = &self.late_addresses;
        let lost = self.addresses.lost().filter(|lost| late.include(*lost)).count();
        self.forget_lost(lost.saturating_sub(others));
    }

    /// Gives up all lost addresses but `most`, the first ones first.
    fn forget_lost(&mut self, most: usize) {
        let late = &self.late_addresses;
        let forgotten = self.addresses.forget(most, Instant::now(), |lost| late.include(lost));
        for address in forgotten {
            late.forget(address, &mut self.device, &self.workers, self.beside.as_ref());
            self.device.remove_tunnels(address);
        }
    }

    /// Those waiting addresses that the interface still has and that there is room for now, and
    /// file descriptors, be they those of lost ones. Those that were served at the start come
    /// first. The descriptors of lost ones are free once the worker has closed them, at a later
    /// call.
    pub(super) fn take_waiting(&mut self) -> Vec<IpAddr> {
        self.waiting.retain(|address| self.addresses.has(address));
        let wanted = self.waiting.len();
        self.forget_for(wanted.saturating_sub(self.device.room()));
        let room = wanted.min(self.device.room());
        let affordable = self.late_addresses.affordable(room);
        self.forget_for(room.saturating_sub(affordable));
        let mut taken: Vec<IpAddr> = self.waiting.iter().copied().collect();
        taken.sort_by_key(|address| !self.addresses.is_first(address));
        taken.truncate(affordable);
        self.waiting.retain(|address| !taken.contains(address));
        taken
    }

    /// Ends the tunnels at a new address of the interface, and serves it if a service is for all
    /// addresses.
    pub(super) fn serve_address(&mut self, address: IpAddr) -> Result<NewAddress> {
        let has_tunnels = self.late_addresses.end_tunnels(address, &mut self.device)?;
        if !self.late_addresses.include(address) {
            return Ok(if has_tunnels { NewAddress::EndsTunnels } else { NewAddress::Unused });
        }
        if address.is_ipv6() && self.mtu_bytes < u32::from(ipv6::MIN_MTU) {
            let (mtu, least) = (self.mtu_bytes, ipv6::MIN_MTU);
            return Err(Error::failed(format!("an MTU of {mtu}; IPv6 needs at least {least}")));
        }
        if self.device.room() == 0 {
            self.forget_for(1);
        }
        if self.device.room() == 0 {
            self.waiting.insert(address);
            return Ok(NewAddress::Waits);
        }
        if self.late_addresses.affordable(1) == 0 {
            self.waiting.insert(address);
            return Ok(NewAddress::WaitsForFiles);
        }
        let (device, beside) = (&mut self.device, self.beside.as_ref());
        self.late_addresses.serve(address, device, &self.workers, beside)?;
        self.addresses.serves(address);
        Ok(NewAddress::Served)
    }

    /// Has the program stop asking for earlier connections of the kernel where none are left. An
    /// error leaves it asking.
    pub(super) fn settle(&mut self) {
        if let Err(error) = self.device.settle() {
            tracing::debug!("{error}");
        }
    }

    /// Has the program ask for connections that the kernel gets because the program does not steer
    /// all segments.
    pub(super) fn ask_again(&mut self) {
        if let Err(error) = self.device.ask_again() {
            tracing::debug!("{error}");
        }
    }

    /// Whether the program has seen a frame since the last call. Unknown counts as yes.
    pub(super) fn take_seen(&mut self) -> bool {
        self.device.take_seen().unwrap_or(true)
    }

    /// The receive queues that have a socket.
    pub(super) fn queues(&self) -> u32 {
        self.queues
    }

    /// The current number of receive queues of the interface, if known.
    pub(super) fn queues_now(&self) -> Option<u32> {
        rx_queues(&self.name).ok()
    }

    /// Returns all traffic to the kernel. Errors are ignored: the end of the process detaches the
    /// program.
    pub(super) fn release(&mut self) {
        if let Err(error) = self.device.remove_all_claims() {
            tracing::warn!("{error}");
        }
    }

    /// Publishes the counters of the steering program, which no worker reads.
    pub(super) fn publish(&self) {
        if let Ok(counters) = self.device.counters() {
            self.snapshot.publish(counters.iter());
        }
    }
}

/// Those addresses that a host on a network can have.
pub(super) fn host_addresses(all: impl IntoIterator<Item = IpAddr>) -> BTreeSet<IpAddr> {
    all.into_iter().filter(|address| is_host_address(*address)).collect()
}

/// Ends `tunnels`, if there are any, at an address of the interface.
pub(super) fn end_tunnels(device: &mut Device, end: IpAddr, tunnels: &[Tunnel]) -> Result<()> {
    if tunnels.is_empty() {
        return Ok(());
    }
    let ended = device.end_tunnels(end, tunnels);
    ended.map_err(|error| Error::because(format!("tunnels to {end}"), error))
}

pub(super) fn add_claim(device: &mut Device, claim: Claim) -> Result<()> {
    device.add_claim(claim).map_err(|error| Error::because(format!("claiming {claim}"), error))
}

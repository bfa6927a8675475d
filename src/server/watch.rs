//! Checks for external changes: the link of the interface, its MTU, its addresses, its XDP program,
//! its queues, and free connections. Each change is logged once and counted. A bad state is a
//! reason not to be ready while it lasts.

use super::addresses::Effect;
use super::blindness::Blindness;
use super::change_log::ChangeLog;
use super::claims::{Claims, NewAddress};
use super::health;
use super::late_addresses::FILES_RESERVED;
use crate::config::InterfaceChange;
use crate::error::{Error, Result};
use crate::log;
use crate::metrics::{Registry, Snapshot};
use crate::readiness::{Readiness, Reason};
use crate::setup::Service;
use crate::steer::GuardCheck;
use af_xdp::{Link, Mode};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// Lines about addresses after one check.
const ADDRESS_LINES: usize = 16;

simoom_io::counters! {
    /// Counters of external changes.
    pub struct Events {
        /// Times the interface lost its link or was set down.
        link_losses,
        /// Times the XDP program was found detached.
        xdp_detachments,
        /// Times the XDP program was attached again.
        xdp_reattachments,
        /// Times the driver received packets without showing them to the XDP program.
        xdp_blindnesses,
        /// Times the guard at tc ingress was found detached.
        guard_detachments,
        /// Times the guard was attached again.
        guard_reattachments,
        /// Times receive queues were found without a socket.
        queue_additions,
        /// Times the MTU of the interface has changed.
        mtu_changes,
        /// Addresses that the interface has got or lost.
        address_changes,
        /// Addresses that the interface has got and that cannot be served.
        addresses_unserved,
        /// Times all connections of a worker, or of a service on it, were in use.
        connection_exhaustions,
        /// Lines of the log that were lost because standard error did not take them.
        log_lines_lost,
    }
}

/// State of the checks. Call [`Watch::check`] twice a second, in the network namespace of the
/// interface.
pub(super) struct Watch {
    policy: InterfaceChange,
    readiness: Arc<Readiness>,
    services: Vec<Arc<Service>>,
    events: Events,
    snapshot: Arc<Snapshot>,
    blindness: Blindness,
    link_log: ChangeLog,
    connections_log: ChangeLog,
}

impl Watch {
    pub(super) fn new(
        policy: InterfaceChange,
        readiness: Arc<Readiness>,
        registry: &Registry,
        services: &[Arc<Service>],
    ) -> Watch {
        let watch = Watch {
            policy,
            readiness,
            services: services.to_vec(),
            events: Events::default(),
            snapshot: Snapshot::new("server"),
            blindness: Blindness::default(),
            link_log: ChangeLog::default(),
            connections_log: ChangeLog::default(),
        };
        registry.add(watch.snapshot.clone());
        watch.publish();
        watch
    }

    /// Runs all checks. An error means that the process must end.
    pub(super) fn check(&mut self, claims: Option<&mut Claims>, registry: &Registry) -> Result<()> {
        let (services, log) = (&self.services, &mut self.connections_log);
        let now = Instant::now();
        let exhausted = health::check_connections(registry, &self.readiness, services, log, now);
        self.events.connection_exhaustions += u64::from(exhausted);
        let looked = claims.map_or(Ok(()), |claims| self.check_interface(claims));
        self.events.log_lines_lost = log::lines_lost();
        self.publish();
        looked
    }

    fn publish(&self) {
        self.snapshot.publish(self.events.iter());
    }

    /// Checks the interface. A state that cannot be read is left unchanged: if the interface is
    /// gone, a worker reports it.
    fn check_interface(&mut self, claims: &mut Claims) -> Result<()> {
        claims.settle();
        if let Ok(link) = claims.link() {
            self.note_link(claims.interface(), link.up, link.carrier, Instant::now());
            self.note_mtu(claims, link.mtu_bytes);
            self.note_addresses(claims);
            // Before the program: while that is detached, the guard is all there is.
            let check = claims.check_guard();
            self.note_guard(claims.interface(), check);
            self.note_program(claims, link.has_program)?;
            self.note_frames(claims, &link)?;
        }
        let (bound, Some(now)) = (claims.queues(), claims.queues_now()) else { return Ok(()) };
        if now > bound {
            // Those of the other queues come to these as soon as the others are removed.
            claims.ask_again();
        }
        self.note_queues(claims.interface(), bound, now)
    }

    fn note_link(&mut self, interface: &str, up: bool, carrier: bool, now: Instant) {
        let is_lost = !(up && carrier);
        let is_new = self.readiness.update(Reason::LinkDown, is_lost);
        self.events.link_losses += u64::from(is_new && is_lost);
        let Some(suppressed) = self.link_log.due(is_new, now) else { return };
        match (up, carrier) {
            (true, true) => tracing::info!(interface, suppressed, "the link is up again"),
            (false, _) => tracing::warn!(
                interface,
                suppressed,
                "the interface was set down (`ip link set {interface} up`)"
            ),
            (true, false) => {
                tracing::warn!(interface, suppressed, "the interface has lost its link");
            }
        }
    }

    fn note_mtu(&mut self, claims: &mut Claims, mtu_bytes: u32) {
        if let Some(before_bytes) = claims.follow_mtu(mtu_bytes) {
            self.events.mtu_changes += 1;
            let interface = claims.interface();
            tracing::warn!(interface, before_bytes, mtu_bytes, "the MTU of the interface changed");
        }
    }

    fn note_addresses(&mut self, claims: &mut Claims) {
        let (earlier, changes) = claims.follow_interface();
        if let Some(earlier) = earlier {
            let interface = claims.interface();
            tracing::warn!(interface, earlier, "the interface has another name");
        }
        self.events.address_changes += changes.len() as u64;
        if let Some(suppressed) = changes.len().checked_sub(ADDRESS_LINES).filter(|n| *n > 0) {
            let interface = claims.interface();
            tracing::warn!(interface, suppressed, "many addresses of the interface changed");
        }
        let (mut told, mut unserved) = (0..ADDRESS_LINES, Vec::new());
        for (address, _, effect) in changes {
            let is_told = told.next().is_some();
            if effect == Effect::New {
                unserved.extend(note_new_address(claims, address, is_told));
            } else if is_told {
                tell_effect(claims.interface(), address, effect);
            }
        }
        for address in claims.take_waiting() {
            unserved.extend(note_new_address(claims, address, told.next().is_some()));
        }
        self.note_unserved(claims.interface(), &unserved);
    }

    /// Logs the addresses that cannot be served, each with its reason, as many as there is space
    /// for.
    fn note_unserved(&mut self, interface: &str, unserved: &[(IpAddr, String)]) {
        self.events.addresses_unserved += unserved.len() as u64;
        for (address, reason) in unserved.iter().take(ADDRESS_LINES) {
            tracing::error!(interface, %address, "the interface was given an address that cannot be served: {reason}");
        }
        if let Some(suppressed) = unserved.len().checked_sub(ADDRESS_LINES).filter(|n| *n > 0) {
            tracing::error!(
                interface,
                suppressed,
                "more addresses of the interface cannot be served"
            );
        }
    }

    /// A detached guard is attached again, whatever the policy: the interface itself has not
    /// changed.
    fn note_guard(&mut self, interface: &str, check: GuardCheck) {
        let GuardCheck::Detached { is_new, again } = check else { return };
        if is_new {
            self.events.guard_detachments += 1;
            tracing::error!(
                interface,
                "the guard at tc ingress was detached from outside: the kernel resets connections \
                 whose segments the XDP program does not see"
            );
        }
        match again {
            Ok(()) => {
                self.events.guard_reattachments += 1;
                tracing::warn!(interface, "the guard is attached again");
            }
            Err(error) if is_new => {
                tracing::error!(interface, "cannot attach the guard again yet: {error}");
            }
            Err(error) => tracing::debug!(interface, "cannot attach the guard again yet: {error}"),
        }
    }

    fn note_program(&mut self, claims: &mut Claims, is_attached: bool) -> Result<()> {
        let interface = claims.interface().to_owned();
        if is_attached {
            self.readiness.clear(Reason::Detached);
            return Ok(());
        }
        let is_new = self.readiness.set(Reason::Detached);
        if is_new {
            self.events.xdp_detachments += 1;
            let effect = claims.unseen();
            tracing::error!(interface, "the XDP program was detached from outside: {effect}");
        }
        if self.policy == InterfaceChange::End {
            return Err(Error::failed(format!(
                "--interface {interface}: the XDP program was detached from outside"
            )));
        }
        match claims.attach_again() {
            Ok(()) => {
                self.events.xdp_reattachments += 1;
                self.readiness.clear(Reason::Detached);
                tracing::warn!(interface, "the XDP program is attached again");
            }
            Err(error) if is_new => {
                tracing::error!(interface, "cannot attach the XDP program again yet: {error}");
            }
            Err(error) => {
                tracing::debug!(interface, "cannot attach the XDP program again yet: {error}");
            }
        }
        Ok(())
    }

    /// Attaches the program again if the driver has stopped to run it.
    fn note_frames(&mut self, claims: &mut Claims, link: &Link) -> Result<()> {
        // In generic mode the kernel runs the program, not the driver.
        if claims.mode() == Mode::Generic || !self.blindness.note(link, claims.take_seen()) {
            return Ok(());
        }
        self.events.xdp_blindnesses += 1;
        let interface = claims.interface().to_owned();
        let text = format!(
            "the driver receives packets and does not show them to the XDP program, since a change \
             of the link: {}",
            claims.unseen()
        );
        if self.policy == InterfaceChange::End {
            return Err(Error::failed(format!("--interface {interface}: {text}")));
        }
        tracing::error!(interface, "{text}");
        match claims.attach_again() {
            Ok(()) => {
                self.events.xdp_reattachments += 1;
                tracing::warn!(interface, "the XDP program is attached again");
            }
            Err(error) => tracing::error!(interface, "cannot attach the XDP program: {error}"),
        }
        Ok(())
    }

    fn note_queues(&mut self, interface: &str, bound: u32, now: u32) -> Result<()> {
        if !self.readiness.update(Reason::QueuesUnserved, now > bound) {
            return Ok(());
        }
        if now <= bound {
            tracing::info!(interface, queues = now, "every receive queue has a socket again");
            return Ok(());
        }
        self.events.queue_additions += 1;
        let text = format!(
            "{interface} has {now} receive queues now, and {bound} have a socket: the kernel gets what the others receive; \
             restart, or remove them (`ethtool -L {interface} combined {bound}`)"
        );
        if self.policy == InterfaceChange::End {
            return Err(Error::failed(text));
        }
        tracing::error!("{text}");
        Ok(())
    }
}

/// Logs the effect of an address that the interface has got or lost.
fn tell_effect(interface: &str, address: IpAddr, effect: Effect) {
    match effect {
        Effect::Unreachable => tracing::warn!(
            interface,
            %address,
            "the interface has lost a served address, or another host has it: clients do not find \
             it here any more"
        ),
        Effect::Back => {
            tracing::info!(interface, %address, "the interface has a served address again");
        }
        Effect::TwoOwners => tracing::warn!(
            interface,
            %address,
            "the interface was given an address of Simoom's own: the kernel answers for it, too; \
             remove it"
        ),
        Effect::OneOwner => tracing::info!(
            interface,
            %address,
            "the interface has lost an address of Simoom's own: Simoom alone answers for it again"
        ),
        Effect::New => {}
        Effect::None => {
            tracing::info!(interface, %address, "the interface has lost an address");
        }
    }
}

/// Serves an address that the interface was given, if a service is for all of its addresses.
/// Returns it with the reason if it cannot be served.
fn note_new_address(
    claims: &mut Claims,
    address: IpAddr,
    is_told: bool,
) -> Option<(IpAddr, String)> {
    let text = match claims.serve_address(address) {
        Ok(NewAddress::Served) => "it is served from now on",
        Ok(NewAddress::EndsTunnels) => "tunnels end there, and the flags name what is served",
        Ok(NewAddress::Unused) => "it is not served, as the flags name others",
        Ok(NewAddress::Waits) => {
            let reason = "as many addresses are served as can be; it is served when others go";
            return Some((address, reason.to_owned()));
        }
        Ok(NewAddress::WaitsForFiles) => {
            let reason = format!(
                "the last {FILES_RESERVED} file descriptors are for clients and logs; it is served \
                 when there are more: raise the limit (`ulimit -n`, LimitNOFILE= in a unit)"
            );
            return Some((address, reason));
        }
        Err(error) => {
            let remedy = "once that is mended, remove the address and add it again";
            return Some((address, format!("{error}; {remedy}")));
        }
    };
    if is_told {
        let interface = claims.interface();
        tracing::info!(interface, %address, "the interface was given an address: {text}");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(policy: InterfaceChange) -> Watch {
        let readiness = Readiness::starting();
        readiness.clear(Reason::Starting);
        Watch::new(policy, Arc::new(readiness), &Registry::default(), &[])
    }

    #[test]
    fn a_link_that_goes_and_comes_is_counted_once() {
        let mut watch = watch(InterfaceChange::Repair);
        for (up, carrier, ready, losses) in [
            (true, true, true, 0),
            (true, false, false, 1),
            (false, false, false, 1),
            (true, true, true, 1),
            (false, true, false, 2),
        ] {
            watch.note_link("s0", up, carrier, Instant::now());
            assert_eq!(
                (watch.readiness.is_ready(), watch.events.link_losses),
                (ready, losses),
                "{up} {carrier}"
            );
        }
    }

    #[test]
    fn added_queues_end_the_server_or_are_told() {
        let mut carries_on = watch(InterfaceChange::Repair);
        for (now, ready, additions) in
            [(2, true, 0), (4, false, 1), (3, false, 1), (2, true, 1), (1, true, 1)]
        {
            carries_on.note_queues("s0", 2, now).unwrap();
            assert_eq!(
                (carries_on.readiness.is_ready(), carries_on.events.queue_additions),
                (ready, additions),
                "{now}"
            );
        }
        let error = watch(InterfaceChange::End).note_queues("s0", 2, 4).unwrap_err().to_string();
        assert!(error.contains("s0 has 4 receive queues now, and 2 have a socket"), "{error}");
    }
}

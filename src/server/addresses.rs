//! Compares the addresses of the interface with those at the last check. A change has an effect on
//! clients, which the log must state.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Time that a lost address stays served for certain: the kernel removes the IPv6 addresses of an
/// interface that is set down, and its manager, or a router's advertisement, adds them again.
pub(super) const LOST_GRACE: Duration = Duration::from_secs(10);

/// The effect of an address that the interface has got or lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// A served address is gone: the kernel answers no ARP or neighbour discovery for it.
    Unreachable,
    /// A served address is there again.
    Back,
    /// The kernel has got an address that Simoom answers for.
    TwoOwners,
    /// The kernel has given up an address that Simoom answers for.
    OneOwner,
    /// A new address, which is not served.
    New,
    /// The address was not served.
    None,
}

/// The addresses of the interface.
#[derive(Debug)]
pub(super) struct Addresses {
    known: BTreeSet<IpAddr>,
    /// Served addresses, each with whether the kernel lacks it.
    served: Vec<(IpAddr, bool)>,
    /// Served addresses that the kernel has lost, and when, the first one first.
    lost: Vec<(IpAddr, Instant)>,
    /// Addresses that were served when the server started.
    first: BTreeSet<IpAddr>,
}

impl Addresses {
    /// `known`: the addresses when the server started.
    pub(super) fn new(known: BTreeSet<IpAddr>, served: Vec<(IpAddr, bool)>) -> Addresses {
        let first = served.iter().map(|(address, _)| *address).collect();
        Addresses { known, served, lost: Vec::new(), first }
    }

    /// `address`, which the interface has, is served from now on.
    pub(super) fn serves(&mut self, address: IpAddr) {
        self.served.push((address, false));
    }

    /// Each address that has come (true) or gone since the last call, and the effect.
    pub(super) fn compare(
        &mut self,
        has: BTreeSet<IpAddr>,
        now: Instant,
    ) -> Vec<(IpAddr, bool, Effect)> {
        let changed: Vec<IpAddr> = self.known.symmetric_difference(&has).copied().collect();
        self.known = has;
        let effect = |address: IpAddr| {
            let has = self.known.contains(&address);
            let served = self.served.iter().find(|(served, _)| *served == address);
            let effect = match (served, has) {
                (Some((_, false)), false) => Effect::Unreachable,
                (Some((_, false)), true) => Effect::Back,
                (Some((_, true)), true) => Effect::TwoOwners,
                (Some((_, true)), false) => Effect::OneOwner,
                (None, true) => Effect::New,
                (None, false) => Effect::None,
            };
            (address, has, effect)
        };
        let changes: Vec<_> = changed.into_iter().map(effect).collect();
        for (address, _, effect) in &changes {
            match effect {
                Effect::Unreachable => self.lost.push((*address, now)),
                Effect::Back => self.lost.retain(|(lost, _)| lost != address),
                _ => {}
            }
        }
        changes
    }

    /// Whether the interface had the address at the last call of [`Addresses::compare`].
    pub(super) fn has(&self, address: &IpAddr) -> bool {
        self.known.contains(address)
    }

    /// Whether the address was served when the server started.
    pub(super) fn is_first(&self, address: &IpAddr) -> bool {
        self.first.contains(address)
    }

    /// The served addresses that the kernel has lost.
    pub(super) fn lost(&self) -> impl Iterator<Item = IpAddr> {
        self.lost.iter().map(|(lost, _)| *lost)
    }

    /// Serves the addresses no longer that were lost first, if more than `most` of those that `may`
    /// be forgotten are lost, and only those that were lost [`LOST_GRACE`] ago. Returns them.
    pub(super) fn forget(
        &mut self,
        most: usize,
        now: Instant,
        may: impl Fn(IpAddr) -> bool,
    ) -> Vec<IpAddr> {
        let lost: Vec<_> = self.lost.iter().copied().filter(|(lost, _)| may(*lost)).collect();
        let surplus = &lost[..lost.len().saturating_sub(most)];
        let is_over = |at: Instant| now.saturating_duration_since(at) >= LOST_GRACE;
        let forgotten: Vec<IpAddr> = surplus
            .iter()
            .filter(|(_, lost_at)| is_over(*lost_at))
            .map(|(address, _)| *address)
            .collect();
        self.lost.retain(|(lost, _)| !forgotten.contains(lost));
        self.served.retain(|(served, _)| !forgotten.contains(served));
        forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_has_its_effect_and_is_told_once() {
        let address = |host: u8| IpAddr::from([198, 18, 0, host]);
        let set = |hosts: &[u8]| hosts.iter().map(|host| address(*host)).collect::<BTreeSet<_>>();
        let mut addresses =
            Addresses::new(set(&[1, 2]), vec![(address(1), false), (address(9), true)]);
        for (now, expected) in [
            (set(&[1, 2]), vec![]),
            (set(&[2]), vec![(1, false, Effect::Unreachable)]),
            (set(&[2]), vec![]),
            (set(&[1, 2, 9]), vec![(1, true, Effect::Back), (9, true, Effect::TwoOwners)]),
            (
                set(&[1, 3]),
                vec![
                    (2, false, Effect::None),
                    (3, true, Effect::New),
                    (9, false, Effect::OneOwner),
                ],
            ),
        ] {
            let expected: Vec<_> = expected
                .into_iter()
                .map(|(host, has, effect)| (address(host), has, effect))
                .collect();
            assert_eq!(addresses.compare(now, Instant::now()), expected);
        }
    }

    #[test]
    fn of_lost_addresses_the_first_are_forgotten() {
        let address = |host: u8| IpAddr::from([198, 18, 0, host]);
        let set = |hosts: &[u8]| hosts.iter().map(|host| address(*host)).collect::<BTreeSet<_>>();
        let served = (1..=5).map(|host| (address(host), false)).collect();
        let mut addresses = Addresses::new(set(&[1, 2, 3, 4, 5]), served);
        let start = Instant::now();
        for (second, has) in [&[1, 2, 4, 5][..], &[1, 4, 5], &[1, 2, 5], &[2, 5]].iter().enumerate()
        {
            addresses.compare(set(has), start + Duration::from_secs(second as u64));
        }
        // 3, then 4 and 1 are lost, and 2 has come back.
        let at = |second| start + Duration::from_secs(second);
        assert!(addresses.forget(3, at(20), |_| true).is_empty());
        assert_eq!(addresses.forget(1, at(20), |lost| lost != address(3)), [address(4)]);
        assert!(addresses.forget(0, at(9), |_| true).is_empty(), "they may come back");
        assert_eq!(addresses.forget(0, at(10), |_| true), [address(3)]);
        assert_eq!(addresses.forget(0, at(13), |_| true), [address(1)]);
        let changes = addresses.compare(set(&[1, 2, 5]), at(14));
        assert_eq!(changes, [(address(1), true, Effect::New)], "served anew");
        assert!(addresses.is_first(&address(1)) && !addresses.is_first(&address(6)));
    }
}

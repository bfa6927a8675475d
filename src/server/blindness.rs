//! Whether a driver shows what it receives to the XDP program.
//!
//! Some drivers go on without the program after the link was down, although it is attached
//! (vmxnet3). In: the state of the link and whether the program has seen a frame, twice a second.
//! Out: whether to attach the program again. Only a change of the link raises the question: some
//! NICs count packets that they never deliver.

use af_xdp::Link;

/// Packets that the driver counts, and the program does not see, before it is thought blind.
const UNSEEN_MAX: u64 = 8;

/// State of the question.
#[derive(Debug, Default)]
pub(super) struct Blindness {
    last: Option<Link>,
    /// Packets that the driver has received since the link changed. `None`: the program has seen
    /// one of them, or was attached again.
    unseen: Option<u64>,
    /// The program was attached again and has seen nothing since.
    is_repaired: bool,
}

impl Blindness {
    /// Takes the state of the link, and whether the program has seen a frame since the last call.
    /// Returns whether to attach the program again.
    pub(super) fn note(&mut self, link: &Link, seen: bool) -> bool {
        let Some(last) = self.last.replace(*link) else { return false };
        if seen {
            self.unseen = None;
            self.is_repaired = false;
        }
        let state = |link: &Link| (link.up, link.carrier, link.carrier_changes);
        if state(&last) != state(link) {
            self.unseen = (!self.is_repaired).then_some(0);
            return false;
        }
        let Some(unseen) = &mut self.unseen else { return false };
        *unseen += link.rx_packets.saturating_sub(last.rx_packets);
        if *unseen < UNSEEN_MAX {
            return false;
        }
        self.unseen = None;
        self.is_repaired = true;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(changes: u32, rx_packets: u64) -> Link {
        Link {
            up: true,
            carrier: true,
            has_program: true,
            carrier_changes: changes,
            rx_packets,
            mtu_bytes: 1500,
        }
    }

    #[test]
    fn packets_that_the_program_does_not_see_after_a_link_change_are_noticed_once() {
        let mut blindness = Blindness::default();
        for (changes, rx_packets, seen, attach) in [
            (1, 100, true, false),
            (1, 900, false, false), // without a change of the link it is not asked
            (3, 950, false, false),
            (3, 957, false, false),
            (3, 958, false, true),
            (5, 990, false, false), // attaching has reset the link
            (5, 2000, false, false),
            (5, 2010, true, false),
            (7, 2020, false, false),
            (7, 2030, false, true),
        ] {
            let noted = blindness.note(&link(changes, rx_packets), seen);
            assert_eq!(noted, attach, "{changes} {rx_packets} {seen}");
        }
    }

    #[test]
    fn a_program_that_sees_frames_is_left_alone() {
        let mut blindness = Blindness::default();
        for (changes, rx_packets, seen) in
            [(1, 0, false), (3, 10, false), (3, 12, true), (3, 1000, false), (5, 2000, true)]
        {
            assert!(!blindness.note(&link(changes, rx_packets), seen), "{rx_packets}");
        }
    }
}

//! Congestion control: how much may be in flight, and how fast it is sent.
//!
//! [`Controller`] is the contract, one module beside it for each controller, and
//! [`Congestion::ALL`] their list. [`control`] calls the controller of a connection. Controllers
//! keep their state in tables that exist only for those in use ([`table`]).
//!
//! [`super::recovery`] decides what is lost, and [`super::prr`] how a window comes down during fast
//! recovery. [`super::pace`] spreads what is sent, and [`super::rate`] measures how fast it is
//! delivered.

mod bbr;
pub(crate) mod control;
mod controller;
mod cubic;
mod hystart;
mod newreno;
mod table;

pub use super::rate::RateSample;
pub(crate) use control::Control;
pub use controller::{Ack, Controller, Idle, Lost, Path, Signal, Window};
pub use table::Congestion;
pub(crate) use table::Controllers;

/// The controllers that can be chosen by name.
impl Congestion {
    /// CUBIC, what most of the Internet uses.
    pub const CUBIC: Congestion = Congestion::of::<cubic::Cubic>(
        "cubic",
        "CUBIC (RFC 9438) with HyStart++ (RFC 9406): by loss",
    );
    /// NewReno, RFC 5681 as it stands.
    pub const NEWRENO: Congestion =
        Congestion::of::<newreno::NewReno>("newreno", "NewReno (RFC 5681, RFC 6582): by loss");

    /// BBR version 3 (draft-ietf-ccwg-bbr).
    pub const BBR: Congestion =
        Congestion::of::<bbr::Bbr>("bbr", "BBRv3 (draft-ietf-ccwg-bbr): by delivery rate");
    /// The same for paths that lose more than 2 % for other reasons than congestion. It takes a
    /// larger share of a path than others, and may cause as much loss.
    pub const BBR_LOSSY: Congestion =
        Congestion::of::<bbr::Bbr<20>>("bbr-lossy", "BBRv3 that ignores up to 20 % of loss");

    /// All of them, the default first.
    pub const ALL: &[Congestion] =
        &[Congestion::CUBIC, Congestion::NEWRENO, Congestion::BBR, Congestion::BBR_LOSSY];
}

/// RFC 6928 §2: the initial window for a maximum segment size. A single segment if the SYN or
/// SYN-ACK was retransmitted more than once.
#[inline]
pub(crate) fn initial_window(mss: u32, handshake_retransmissions: u8) -> u32 {
    if handshake_retransmissions > 1 {
        return mss;
    }
    (10 * mss).min((2 * mss).max(14_600))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_6928_section_2_initial_window() {
        assert_eq!(initial_window(1460, 0), 14_600);
        assert_eq!(initial_window(536, 1), 5360);
        assert_eq!(initial_window(8960, 0), 17_920);
        assert_eq!(initial_window(1460, 2), 1460);
    }

    #[test]
    fn names_are_unique_and_found() {
        for algorithm in Congestion::ALL {
            assert_eq!(Congestion::named(algorithm.name()), Some(*algorithm));
            assert!(!algorithm.about().is_empty());
        }
        assert_eq!(Congestion::named("vegas"), None);
        assert_eq!(Congestion::default(), Congestion::ALL[0]);
    }
}

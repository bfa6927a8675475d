//! SYN cookies (RFC 4987 §3.6): when SYNs arrive faster than handshakes complete, the SYN-ACK
//! carries the state of the handshake, and the handshake's last segment returns it.
//!
//! The initial sequence number encodes the minute and the MSS under two keyed hashes. The
//! timestamp's low bits, if the peer has timestamps, encode window scale, SACK-permitted and ECN.
//! Without timestamps a connection goes without those three. The module's only state is the secret
//! and the time of the last cookie, and the caller passes the time.

use crate::demux::Tuple;
use crate::keyed::Keyed;
use crate::seq::Seq;
use crate::tcp::handshake::default_mss;
use crate::wire::Options;
use simoom_io::timer::Tick;
use smoltcp::time::Instant;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// The MSS values that a cookie can encode. A peer's MSS is rounded down to one of them.
const MSS: [u16; 8] = [88, 536, 1220, 1360, 1440, 1452, 1460, 8960];
/// A cookie is valid in this period and the next.
const PERIOD_SECS: i64 = 64;
const PERIODS: u32 = 2;
/// The low bits of TSval that carry options.
const OPTION_BITS: u32 = 6;
const OPTION_MASK: u32 = (1 << OPTION_BITS) - 1;
const SACK_BIT: u32 = 1 << 4;
const ECN_BIT: u32 = 1 << 5;
/// The code for no window scale; shifts are at most 14.
const NO_SCALE: u32 = 15;
const LOW: u32 = 0x00ff_ffff;
/// Where the MSS stands in the low bits: a number beside a cookie is none.
const INDEX_SHIFT: u32 = 21;

/// How long after the last cookie was sent a cookie may come back, in milliseconds.
const LIFE_MS: u32 = PERIODS * PERIOD_SECS as u32 * 1000;

/// Until when a SYN cookie may come back. The workers of a device share it, as they share the
/// secret: what comes back may reach another worker than the SYN did.
#[derive(Clone, Debug, Default)]
pub struct Outstanding(Arc<AtomicU32>);

impl Outstanding {
    /// A cookie was sent.
    pub(crate) fn sent(&self, now: Tick) {
        self.0.store(now.plus(LIFE_MS).millis(), Ordering::Relaxed);
    }

    /// Whether a cookie may come back.
    pub(crate) fn is_any(&self, now: Tick) -> bool {
        match self.0.load(Ordering::Relaxed) {
            0 => false,
            until if Tick::from_millis(until.into()).is_due(now) => {
                self.0.store(0, Ordering::Relaxed);
                false
            }
            _ => true,
        }
    }
}

/// The initial sequence number that answers a SYN numbered `irs`.
pub(crate) fn make(keyed: &Keyed, tuple: &Tuple, irs: Seq, mss: Option<u16>, now: Instant) -> Seq {
    let offered = mss.unwrap_or(default_mss(&tuple.remote));
    let index = MSS.iter().rposition(|&mss| mss <= offered).unwrap_or(0) as u32;
    let count = period(now);
    let low = keyed.cookie(tuple, Some((count, irs))).wrapping_add(index << INDEX_SHIFT) & LOW;
    Seq(keyed.cookie(tuple, None).wrapping_add(count << 24).wrapping_add(low))
}

/// The MSS that the cookie `iss` encodes; `None` if it is not a cookie of this stack, or too old.
pub(crate) fn check(keyed: &Keyed, tuple: &Tuple, irs: Seq, iss: Seq, now: Instant) -> Option<u16> {
    let bare = iss.0.wrapping_sub(keyed.cookie(tuple, None));
    let count = sent_in(bare, now)?;
    let index = bare.wrapping_sub(keyed.cookie(tuple, Some((count, irs)))) & LOW;
    let is_whole = index & ((1 << INDEX_SHIFT) - 1) == 0;
    MSS.get((index >> INDEX_SHIFT) as usize).copied().filter(|_| is_whole)
}

/// Whether `iss` can be a cookie, without knowing the SYN's sequence number. One in 128 other
/// numbers passes too.
pub(crate) fn may_be(keyed: &Keyed, tuple: &Tuple, iss: Seq, now: Instant) -> bool {
    sent_in(iss.0.wrapping_sub(keyed.cookie(tuple, None)), now).is_some()
}

/// The period in which a cookie was sent; `None` if it has expired.
fn sent_in(bare: u32, now: Instant) -> Option<u32> {
    let age = (period(now).wrapping_sub(bare >> 24)) & 0xff;
    (age < PERIODS).then(|| period(now).wrapping_sub(age))
}

fn period(now: Instant) -> u32 {
    (now.secs() / PERIOD_SECS) as u32
}

/// The TSval of a SYN-ACK at `clock`: not later than `clock`, with the SYN's options in its low
/// bits.
pub(crate) fn timestamp(clock: u32, syn: &Options, ecn: bool) -> u32 {
    let scale = syn.window_scale.map_or(NO_SCALE, u32::from);
    let bits =
        scale | if syn.sack_permitted { SACK_BIT } else { 0 } | if ecn { ECN_BIT } else { 0 };
    let value = clock & !OPTION_MASK | bits;
    if value > clock { value.wrapping_sub(1 << OPTION_BITS) } else { value }
}

/// The options in the TSval of a SYN-ACK: window scale, SACK and ECN.
pub(crate) fn options_of(echo: u32) -> (Option<u8>, bool, bool) {
    let scale = echo & 0xf;
    ((scale != NO_SCALE).then_some(scale as u8), echo & SACK_BIT != 0, echo & ECN_BIT != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keyed() -> Keyed {
        Keyed::new([1, 2, 3, 4])
    }

    #[test]
    fn rfc_4987_section_3_6_a_cookie_comes_back_in_time_for_its_own_connection_only() {
        let (tuple, other) = (
            Tuple { remote_port: 1, ..Tuple::default() },
            Tuple { remote_port: 2, ..Tuple::default() },
        );
        let at = |secs| Instant::from_secs(secs);
        let cookie = make(&keyed(), &tuple, Seq(77), Some(1460), at(1000));
        assert_eq!(check(&keyed(), &tuple, Seq(77), cookie, at(1001)), Some(1460));
        assert_eq!(check(&keyed(), &tuple, Seq(77), cookie, at(1000 + 64)), Some(1460));
        assert_eq!(check(&keyed(), &tuple, Seq(77), cookie, at(1000 + 128)), None);
        assert_eq!(check(&keyed(), &other, Seq(77), cookie, at(1001)), None);
        assert_eq!(check(&keyed(), &tuple, Seq(78), cookie, at(1001)), None);
        assert_eq!(check(&keyed(), &tuple, Seq(77), cookie + 1, at(1001)), None);
        assert_eq!(check(&Keyed::new([9, 2, 3, 4]), &tuple, Seq(77), cookie, at(1001)), None);
    }

    #[test]
    fn most_of_what_is_no_cookie_cannot_be_one() {
        let (tuple, now) = (Tuple::default(), Instant::from_secs(1000));
        for irs in 0..1000 {
            assert!(may_be(
                &keyed(),
                &tuple,
                make(&keyed(), &tuple, Seq(irs), Some(1460), now),
                now
            ));
        }
        let can = (0..1 << 16).filter(|n| may_be(&keyed(), &tuple, Seq(n << 16), now));
        assert_eq!(can.count(), (1 << 16) / 128);
    }

    #[test]
    fn a_guess_is_right_once_in_hundreds_of_millions() {
        let tuple = Tuple::default();
        let right = (0..2_000_000u32).filter(|n| {
            let guess = Seq(n.wrapping_mul(2_654_435_761));
            check(&keyed(), &tuple, Seq(5), guess, Instant::from_secs(9)).is_some()
        });
        assert!(right.count() <= 1);
    }

    proptest! {
        #[test]
        fn options_survive(
            clock: u32, scale in proptest::option::of(0u8..15), sack: bool, ecn: bool, mss in 0u16..,
        ) {
            let syn = Options { window_scale: scale, sack_permitted: sack, ..Options::default() };
            let value = timestamp(clock, &syn, ecn);
            prop_assert_eq!(options_of(value), (scale, sack, ecn));
            prop_assert!(clock.wrapping_sub(value) < 64 + 64);
            let cookie = make(&keyed(), &Tuple::default(), Seq(clock), Some(mss), Instant::from_secs(5));
            let told = check(&keyed(), &Tuple::default(), Seq(clock), cookie, Instant::from_secs(5));
            prop_assert!(told.is_some_and(|told| told <= mss.max(88)));
        }
    }
}

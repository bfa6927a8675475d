//! Values that a stranger must not be able to guess: initial sequence numbers, timestamp offsets,
//! hash keys. SipHash derives them all from one secret, so the stack needs no randomness of its
//! own.

use crate::demux::{HashKey, Tuple};
use crate::seq::Seq;
use crate::wire::Address;
use siphasher::sip::SipHasher24;
use smoltcp::time::Instant;
use std::hash::Hasher;

/// The secret, ready for use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keyed {
    key: (u64, u64),
    hash: HashKey,
}

impl Keyed {
    pub(crate) fn new(secret: [u64; 4]) -> Keyed {
        let [a, b, c, d] = secret;
        let derived = |n| {
            let mut hasher = SipHasher24::new_with_keys(c, d);
            hasher.write_u64(n);
            hasher.finish()
        };
        Keyed { key: (a, b), hash: HashKey([derived(0), derived(1), derived(2), derived(3)]) }
    }

    /// The demultiplexing hash.
    #[inline]
    pub(crate) fn hash(&self, tuple: &Tuple) -> u32 {
        self.hash.hash(tuple)
    }

    /// ISN = M + F(four-tuple, secret), M counting every 4 microseconds (RFC 6528 §3). A later
    /// connection between the same ports starts beyond the earlier one.
    pub(crate) fn initial_seq(&self, tuple: &Tuple, now: Instant) -> Seq {
        let clock = (now.total_micros() as u64 / 4) as u32;
        Seq(clock.wrapping_add(self.sip(tuple, 0) as u32))
    }

    /// The offset between the clock and this connection's TSval (RFC 7323 §5.4).
    pub(crate) fn timestamp_offset(&self, tuple: &Tuple) -> u32 {
        self.sip(tuple, 1) as u32
    }

    /// A hash for SYN cookies: of the four-tuple alone, or with a count and the peer's initial
    /// sequence number.
    pub(crate) fn cookie(&self, tuple: &Tuple, with: Option<(u32, Seq)>) -> u32 {
        let domain =
            with.map_or(2, |(count, irs)| 1 << 63 | u64::from(count) << 32 | u64::from(irs.0));
        self.sip(tuple, domain) as u32
    }

    /// A hash of a source prefix, whose other bits are cleared.
    pub(crate) fn prefix(&self, prefix: &Address) -> u32 {
        self.sip(&Tuple { remote: *prefix, ..Tuple::default() }, 3) as u32
    }

    /// An unpredictable number below `bound`, different for each `place`.
    pub(crate) fn below(&self, bound: u32, place: u32) -> u32 {
        let mut hasher = SipHasher24::new_with_keys(self.key.0, self.key.1);
        hasher.write_u32(place);
        (hasher.finish() % u64::from(bound.max(1))) as u32
    }

    fn sip(&self, tuple: &Tuple, domain: u64) -> u64 {
        let mut hasher = SipHasher24::new_with_keys(self.key.0, self.key.1);
        let ((r0, r1), (l0, l1)) = (tuple.remote.halves(), tuple.local.halves());
        for word in [r0, r1, l0, l1] {
            hasher.write_u64(word);
        }
        hasher.write_u16(tuple.remote_port);
        hasher.write_u16(tuple.local_port);
        hasher.write_u64(domain);
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_6528_section_3_numbers_differ_by_tuple_and_secret_and_advance_with_time() {
        let tuple = Tuple { remote_port: 1, ..Tuple::default() };
        let other = Tuple { remote_port: 2, ..Tuple::default() };
        let (ours, theirs) = (Keyed::new([1, 2, 3, 4]), Keyed::new([2, 2, 3, 4]));
        let (start, later) = (Instant::from_micros(0), Instant::from_micros(4000));
        let isn = ours.initial_seq(&tuple, start);
        assert_eq!(ours.initial_seq(&tuple, later), isn + 1000);
        assert_ne!(ours.initial_seq(&other, start), isn);
        assert_ne!(theirs.initial_seq(&tuple, start), isn);
        assert_ne!(ours.timestamp_offset(&tuple), ours.timestamp_offset(&other));
    }
}

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

    /// The initial sequence number of a connection, and its timestamp offset.
    ///
    /// ISN = M + F(four-tuple, secret), M counting every 4 microseconds (RFC 6528 §3). A later
    /// connection between the same ports starts beyond the earlier one. The offset is a half of the
    /// hash that F does not use: who knows one half learns nothing of the other.
    pub(crate) fn initial(&self, tuple: &Tuple, now: Instant) -> (Seq, u32) {
        let (clock, hash) = ((now.total_micros() as u64 / 4) as u32, self.sip(tuple, 0));
        (Seq(clock.wrapping_add(hash as u32)), (hash >> 32) as u32)
    }

    /// The offset between the clock and this connection's TSval (RFC 7323 §5.4).
    pub(crate) fn timestamp_offset(&self, tuple: &Tuple) -> u32 {
        (self.sip(tuple, 0) >> 32) as u32
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

    /// The hash of a four-tuple for one purpose. An IPv4 address is its four bytes, because each
    /// eight bytes cost two rounds. The length is a part of the hash, so that no input over IPv4 is
    /// one over IPv6.
    fn sip(&self, tuple: &Tuple, domain: u64) -> u64 {
        let hasher = SipHasher24::new_with_keys(self.key.0, self.key.1);
        let ports = (tuple.remote_port.to_le_bytes(), tuple.local_port.to_le_bytes());
        let ([a, b], [c, d]) = ports;
        let ports = [a, b, c, d];
        if tuple.remote.is_v4() && tuple.local.is_v4() {
            let mut input = [0; 20];
            input[..8].copy_from_slice(&domain.to_le_bytes());
            input[8..12].copy_from_slice(&tuple.remote.v4());
            input[12..16].copy_from_slice(&tuple.local.v4());
            input[16..].copy_from_slice(&ports);
            return hasher.hash(&input);
        }
        let mut input = [0; 44];
        input[..8].copy_from_slice(&domain.to_le_bytes());
        input[8..24].copy_from_slice(&tuple.remote.octets());
        input[24..40].copy_from_slice(&tuple.local.octets());
        input[40..].copy_from_slice(&ports);
        hasher.hash(&input)
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
        let (isn, offset) = ours.initial(&tuple, start);
        assert_eq!(ours.initial(&tuple, later), (isn + 1000, offset));
        assert_eq!(ours.timestamp_offset(&tuple), offset);
        for (keyed, tuple) in [(ours, other), (theirs, tuple)] {
            let (another, its_offset) = keyed.initial(&tuple, start);
            assert_ne!(another, isn);
            assert_ne!(its_offset, offset);
        }
    }

    /// Each part of a four-tuple, and the purpose, change the hash, over both versions of IP.
    #[test]
    fn no_two_inputs_have_one_hash() {
        let v6 =
            |last| Address::from_v6([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
        let v4 = |last| Address::from_v4([198, 18, 0, last]);
        let mut hashes = std::collections::HashSet::new();
        let (mut inputs, ours) = (0, Keyed::new([1, 2, 3, 4]));
        let both: [&dyn Fn(u8) -> Address; 2] = [&v4, &v6];
        for address in both {
            for (remote, local) in [(1, 2), (2, 1), (1, 3), (3, 2)] {
                let (remote, local) = (address(remote), address(local));
                for (remote_port, local_port) in [(1, 2), (2, 1), (1, 3), (256, 2)] {
                    for domain in [0, 2, 3, 1 << 63, 1 << 63 | 1 << 32] {
                        let tuple = Tuple { remote, local, remote_port, local_port };
                        hashes.insert(ours.sip(&tuple, domain));
                        inputs += 1;
                    }
                }
            }
        }
        assert_eq!(hashes.len(), inputs);
    }
}

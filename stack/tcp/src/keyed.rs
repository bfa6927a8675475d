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
    /// eight bytes cost two rounds; for the same reason nothing stands for the purpose 0. The
    /// length is a part of the hash: it differs between these three.
    fn sip(&self, tuple: &Tuple, domain: u64) -> u64 {
        let ports = u32::from(tuple.local_port) << 16 | u32::from(tuple.remote_port);
        if tuple.remote.is_v4() && tuple.local.is_v4() {
            let [remote, local] =
                [tuple.remote, tuple.local].map(|end| u32::from_le_bytes(end.v4()));
            let ends = u64::from(local) << 32 | u64::from(remote);
            return match domain {
                0 => sip_24(self.key, [ends], ports),
                _ => sip_24(self.key, [domain, ends], ports),
            };
        }
        let ((r0, r1), (l0, l1)) = (tuple.remote.halves(), tuple.local.halves());
        sip_24(self.key, [domain, r0, r1, l0, l1], ports)
    }
}

/// SipHash-2-4 of some words and half a word. The length is known to the compiler, which is what
/// costs most of the time of a hasher for any bytes.
#[inline(always)]
fn sip_24<const N: usize>(key: (u64, u64), words: [u64; N], half: u32) -> u64 {
    let mut state = [
        key.0 ^ 0x736f_6d65_7073_6575,
        key.1 ^ 0x646f_7261_6e64_6f6d,
        key.0 ^ 0x6c79_6765_6e65_7261,
        key.1 ^ 0x7465_6462_7974_6573,
    ];
    let mut take = |word| {
        state[3] ^= word;
        state = sip_round(sip_round(state));
        state[0] ^= word;
    };
    words.into_iter().for_each(&mut take);
    take((8 * N as u64 + 4) << 56 | u64::from(half));
    state[2] ^= 0xff;
    let [v0, v1, v2, v3] = sip_round(sip_round(sip_round(sip_round(state))));
    v0 ^ v1 ^ v2 ^ v3
}

#[inline(always)]
fn sip_round([mut v0, mut v1, mut v2, mut v3]: [u64; 4]) -> [u64; 4] {
    v0 = v0.wrapping_add(v1);
    v2 = v2.wrapping_add(v3);
    v1 = v1.rotate_left(13) ^ v0;
    v3 = v3.rotate_left(16) ^ v2;
    v0 = v0.rotate_left(32).wrapping_add(v3);
    v2 = v2.wrapping_add(v1);
    v3 = v3.rotate_left(21) ^ v0;
    v1 = v1.rotate_left(17) ^ v2;
    [v0, v1, v2.rotate_left(32), v3]
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

    /// Another implementation yields the same for the bytes of the words.
    #[test]
    fn words_are_hashed_as_bytes_are() {
        let key = (0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908);
        let other = SipHasher24::new_with_keys(key.0, key.1);
        let words = [0x0123_4567_89ab_cdef, 1 << 63, u64::MAX, 0, 7];
        let bytes: Vec<u8> = words.iter().flat_map(|word: &u64| word.to_le_bytes()).collect();
        for half in [0, 1, 0x89ab_cdef, u32::MAX] {
            let with_half = |words: usize| [&bytes[..8 * words], &half.to_le_bytes()].concat();
            assert_eq!(sip_24(key, [words[0]], half), other.hash(&with_half(1)));
            assert_eq!(sip_24(key, [words[0], words[1]], half), other.hash(&with_half(2)));
            assert_eq!(sip_24(key, words, half), other.hash(&with_half(5)));
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

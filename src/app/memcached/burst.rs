//! The inputs of one burst: their first keys, found and hashed while they are prefetched, so that
//! it is not done again when they are delivered. An input is recognized by its place in memory.
//! Nothing is kept beyond the burst.

use super::prefetch::{Key, Keys};
use super::text::single_get;
use crate::store::Store;

/// Inputs of one burst whose keys are kept. A transport delivers no more at once.
const BURST_MAX: usize = 64;

/// The first keys of the inputs of a burst, found and hashed when they are prefetched. An input is
/// recognized by its place in memory, which holds no other bytes until [`Burst::clear`].
pub(super) struct Burst {
    inputs: [Input; BURST_MAX],
    next: usize,
    len: usize,
}

/// An input, and its first key.
#[derive(Clone, Copy, Default)]
struct Input {
    address: usize,
    len: usize,
    /// Its `wire_len` is 0 unless the input is one plain get of one key.
    key: Key,
}

impl Default for Burst {
    fn default() -> Burst {
        Burst { inputs: [Input::default(); BURST_MAX], next: 0, len: 0 }
    }
}

impl Burst {
    /// Forgets the inputs: their memory will hold others.
    #[inline]
    pub(super) fn clear(&mut self) {
        (self.next, self.len) = (0, 0);
    }

    /// Adds inputs that come next, and prefetches the items of their first keys.
    pub(super) fn note(&mut self, store: &Store, inputs: &[(u16, &[u8])]) {
        let (from, mut free) = (self.len, self.inputs[self.len..].iter_mut());
        for (_, bytes) in inputs {
            let Some((name, wire_len)) = first_key(bytes) else { continue };
            let Some(input) = free.next() else { break };
            let key = Key { len: name.len(), wire_len, hash: store.hash(name) };
            *input = Input { address: bytes.as_ptr().addr(), len: bytes.len(), key };
            self.len += 1;
        }
        let noted = self.inputs[from..self.len].iter_mut();
        store.prefetch_hashed(noted.map(|input| &mut input.key.hash));
    }

    /// The key of an input that is delivered now, if it is one plain get that was noted.
    #[inline(always)]
    pub(super) fn take(&mut self, bytes: &[u8]) -> Option<Key> {
        let input = self.inputs[..self.len].get(self.next)?;
        if !input.is(bytes) {
            return self.take_later(bytes);
        }
        self.next += 1;
        (input.key.wire_len > 0).then_some(input.key)
    }

    /// As [`Burst::take`], past inputs that were not delivered.
    #[cold]
    fn take_later(&mut self, bytes: &[u8]) -> Option<Key> {
        let place = self.inputs[self.next..self.len].iter().position(|input| input.is(bytes))?;
        self.next += place;
        self.take(bytes)
    }
}

impl Input {
    #[inline(always)]
    fn is(&self, bytes: &[u8]) -> bool {
        (self.address, self.len) == (bytes.as_ptr().addr(), bytes.len())
    }
}

/// The first key of an input. Also the length of its line, if that is all of the input, and a plain
/// get of one key; otherwise 0.
#[inline(always)]
fn first_key(bytes: &[u8]) -> Option<(&[u8], usize)> {
    match single_get(bytes) {
        Some((key, wire_len)) if wire_len == bytes.len() => Some((key, wire_len)),
        _ => other_first_key(bytes).map(|key| (key, 0)),
    }
}

#[inline(never)]
fn other_first_key(bytes: &[u8]) -> Option<&[u8]> {
    Keys::of(bytes).next()
}

#[cfg(test)]
#[path = "burst_tests.rs"]
mod tests;

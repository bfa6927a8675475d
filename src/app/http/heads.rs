//! Heads of requests whose content arrives. Input: a head. Output: its slot, and later the head.
//!
//! The answer to a request is selected when its content has arrived, from the content that is
//! served then. So a reload meanwhile costs no request, and the access log knows the request.
//!
//! The number of slots is fixed. A request that finds no slot is answered before its content.

use std::time::Instant;

/// Slots of one handler.
const SLOTS: usize = 256;
/// A longer buffer is freed with its head, so that few long heads do not take memory for ever.
const KEPT_BYTES: usize = 2048;

/// The slot of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::app) struct Slot(u16);

/// A head and the time of its arrival.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) head: Vec<u8>,
    pub(super) began: Option<Instant>,
}

/// The heads of one handler. Slots are allocated when they are first used.
#[derive(Debug, Default)]
pub(super) struct Heads {
    slots: Vec<Kept>,
    free: Vec<u16>,
}

impl Heads {
    /// Copies a head to a free slot. `None` if there is none.
    #[cold]
    pub(super) fn keep(&mut self, head: &[u8], began: Option<Instant>) -> Option<Slot> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.slots.len() < SLOTS => {
                self.slots.push(Kept::default());
                self.slots.len() as u16 - 1
            }
            None => return None,
        };
        let kept = self.slots.get_mut(usize::from(slot))?;
        kept.head.extend_from_slice(head);
        kept.began = began;
        Some(Slot(slot))
    }

    /// Takes the head of a slot and frees the slot. A panic of the caller costs the buffer alone.
    pub(super) fn take(&mut self, Slot(slot): Slot) -> Kept {
        let Some(place) = self.slots.get_mut(usize::from(slot)) else { return Kept::default() };
        self.free.push(slot);
        std::mem::take(place)
    }

    /// Returns the buffer of a head to the slot, for the next head. Call it before another
    /// [`Heads::keep`].
    #[cold]
    pub(super) fn give_back(&mut self, Slot(slot): Slot, mut kept: Kept) {
        kept.head.clear();
        if kept.head.capacity() > KEPT_BYTES {
            kept.head = Vec::new();
        }
        if let Some(place) = self.slots.get_mut(usize::from(slot)) {
            *place = kept;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_bounded_and_used_again() {
        let mut heads = Heads::default();
        let slots: Vec<Slot> =
            (0..SLOTS).map(|n| heads.keep(n.to_string().as_bytes(), None).unwrap()).collect();
        assert_eq!(heads.keep(b"one more", None), None);
        let kept = heads.take(slots[7]);
        assert_eq!(kept.head, b"7");
        heads.give_back(slots[7], kept);
        assert_eq!(heads.keep(&[b'x'; 5000], None), Some(slots[7]));
        let kept = heads.take(slots[7]);
        assert_eq!(kept.head.len(), 5000, "nothing of the former head");
        heads.give_back(slots[7], kept);
        assert!(heads.slots[7].head.capacity() <= KEPT_BYTES);
    }

    #[test]
    fn a_panic_while_a_request_is_answered_costs_no_slot() {
        let mut heads = Heads::default();
        for _ in 0..2 * SLOTS {
            let slot = heads.keep(b"head", None).unwrap();
            // Unwinding drops the head, and `give_back` is not called.
            assert_eq!(heads.take(slot).head, b"head");
        }
        assert_eq!(heads.free.len(), 1);
    }
}

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

    /// Takes the head of a slot, which stays in use until [`Heads::free`].
    pub(super) fn take(&mut self, Slot(slot): Slot) -> Kept {
        self.slots.get_mut(usize::from(slot)).map(std::mem::take).unwrap_or_default()
    }

    /// Frees a slot. `kept` is what [`Heads::take`] returned, whose buffer is used again.
    #[cold]
    pub(super) fn free(&mut self, Slot(slot): Slot, mut kept: Kept) {
        kept.head.clear();
        if kept.head.capacity() > KEPT_BYTES {
            kept.head = Vec::new();
        }
        if let Some(place) = self.slots.get_mut(usize::from(slot)) {
            *place = kept;
            self.free.push(slot);
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
        heads.free(slots[7], kept);
        assert_eq!(heads.keep(&[b'x'; 5000], None), Some(slots[7]));
        let kept = heads.take(slots[7]);
        assert_eq!(kept.head.len(), 5000, "nothing of the former head");
        heads.free(slots[7], kept);
        assert!(heads.slots[7].head.capacity() <= KEPT_BYTES);
    }
}

//! The memory of the buffers.
//!
//! Each answer has [`ADMISSION_BYTES`] of its own, so it always goes on. The rest is shared: an
//! answer gets up to an eighth of what is free, so that many slow clients leave memory for others.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The longest part of a file that is read at once.
pub(crate) const PART_MAX_BYTES: usize = 256 << 10;
/// Memory that each answer has of its own.
const ADMISSION_BYTES: usize = 4 << 10;
/// The shortest part that shared memory is used for.
const SHARED_MIN_BYTES: usize = 16 << 10;
/// The part of the free memory that one answer gets.
const SHARE: usize = 8;
/// Buffers that are kept for further parts.
const SPARE_MAX: usize = 8;
/// Memory of the kept buffers, beside that of the buffers in use.
pub(crate) const SPARE_BYTES: usize = SPARE_MAX * PART_MAX_BYTES;

/// The memory of all buffers.
#[derive(Debug)]
pub(super) struct Memory {
    max_bytes: usize,
    used_bytes: AtomicUsize,
    spare: Mutex<Vec<Vec<u8>>>,
}

impl Memory {
    pub(super) fn new(max_bytes: usize) -> Arc<Memory> {
        let spare = Mutex::new(Vec::with_capacity(SPARE_MAX));
        Arc::new(Memory { max_bytes, used_bytes: AtomicUsize::new(0), spare })
    }

    /// The maximum of answers at one time.
    pub(super) fn answers_max(&self) -> usize {
        self.max_bytes / ADMISSION_BYTES
    }

    /// Takes the bytes that `bytes` returns for the bytes in use; `None` if it returns 0.
    fn take(&self, mut bytes: impl FnMut(usize) -> usize) -> Option<usize> {
        let mut taken = 0;
        let update = |used| {
            taken = bytes(used);
            (taken > 0).then_some(used + taken)
        };
        let result = self.used_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, update);
        result.ok().map(|_| taken)
    }

    fn give_back(&self, bytes: usize) {
        self.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Takes shared memory for up to `wanted` bytes.
    pub(super) fn grant(memory: &Arc<Memory>, wanted: u64) -> Option<Charge> {
        let wanted = usize::try_from(wanted).map_or(PART_MAX_BYTES, |n| n.min(PART_MAX_BYTES));
        let bytes = memory.take(|used| {
            let share = (memory.max_bytes - used) / SHARE;
            if share < SHARED_MIN_BYTES { 0 } else { wanted.min(share) }
        })?;
        Some(Charge(Owner::Shared(memory.clone()), bytes))
    }

    /// An empty buffer with space for `bytes`.
    fn buffer(&self, bytes: usize) -> Vec<u8> {
        let spare = || self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let kept = if bytes == PART_MAX_BYTES { spare() } else { None };
        kept.unwrap_or_else(|| Vec::with_capacity(bytes))
    }

    /// Keeps a buffer for further parts, or frees it.
    fn keep(&self, mut buffer: Vec<u8>) {
        if buffer.capacity() == PART_MAX_BYTES {
            buffer.clear();
            let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
            if spare.len() < SPARE_MAX {
                spare.push(buffer);
            }
        }
    }
}

/// The memory that one answer has of its own, until it and its buffers are dropped.
#[derive(Debug)]
pub(crate) struct Admission(Arc<Memory>);

impl Admission {
    pub(super) fn new(memory: &Arc<Memory>) -> Option<Arc<Admission>> {
        let fits =
            |used| if used + ADMISSION_BYTES <= memory.max_bytes { ADMISSION_BYTES } else { 0 };
        memory.take(fits)?;
        Some(Arc::new(Admission(memory.clone())))
    }

    /// The memory for a part of up to `wanted` bytes. For an answer that has no other buffer.
    pub(crate) fn charge(self: &Arc<Self>, wanted: u64) -> Charge {
        let bytes = usize::try_from(wanted).map_or(ADMISSION_BYTES, |n| n.min(ADMISSION_BYTES));
        Charge(Owner::Answer(self.clone()), bytes)
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.0.give_back(ADMISSION_BYTES);
    }
}

/// Memory for a buffer of some length.
#[derive(Debug)]
pub(crate) struct Charge(Owner, usize);

#[derive(Debug)]
enum Owner {
    Shared(Arc<Memory>),
    Answer(Arc<Admission>),
}

impl Charge {
    /// The length of the buffer.
    pub(crate) fn bytes(&self) -> usize {
        self.1
    }

    fn memory(&self) -> &Memory {
        match &self.0 {
            Owner::Shared(memory) => memory,
            Owner::Answer(admission) => &admission.0,
        }
    }

    /// An empty buffer.
    pub(super) fn buffer(&self) -> Vec<u8> {
        self.memory().buffer(self.1)
    }

    /// Takes a buffer back.
    pub(super) fn keep(&self, buffer: Vec<u8>) {
        self.memory().keep(buffer);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if let Owner::Shared(memory) = &self.0 {
            memory.give_back(self.1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_answers_share_the_memory_and_each_keeps_its_own() {
        let memory = Memory::new(1 << 20);
        let wanted = u64::MAX;
        let admissions: Vec<_> = (0..128).map(|_| Admission::new(&memory).unwrap()).collect();
        let mut charges: Vec<_> = std::iter::from_fn(|| Memory::grant(&memory, wanted)).collect();
        let sizes: Vec<usize> = charges.iter().map(Charge::bytes).collect();
        assert!(sizes.is_sorted_by(|a, b| a >= b) && sizes[0] == 64 << 10, "{sizes:?}");
        let used: usize = sizes.iter().sum::<usize>() + 128 * ADMISSION_BYTES;
        assert_eq!(memory.used_bytes.load(Ordering::Relaxed), used);
        assert!(used <= memory.max_bytes);
        let own = admissions[0].charge(wanted);
        assert_eq!((own.bytes(), admissions[1].charge(5).bytes()), (ADMISSION_BYTES, 5));
        charges.clear();
        drop(admissions);
        // A buffer in the send queue keeps the memory of an answer that has ended.
        assert_eq!(memory.used_bytes.load(Ordering::Relaxed), ADMISSION_BYTES);
        drop(own);
        assert_eq!(memory.used_bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn no_more_answers_are_admitted_than_the_memory_holds() {
        let memory = Memory::new(1 << 20);
        let all: Vec<_> = std::iter::from_fn(|| Admission::new(&memory)).collect();
        assert_eq!(all.len(), memory.answers_max());
        assert!(Memory::grant(&memory, 1).is_none());
    }

    #[test]
    fn a_few_buffers_are_kept() {
        let memory = Memory::new(32 << 20);
        let charges: Vec<_> = (0..20).map(|_| Memory::grant(&memory, u64::MAX).unwrap()).collect();
        for charge in &charges {
            charge.keep(charge.buffer());
        }
        assert_eq!(memory.spare.lock().unwrap().len(), 1);
        let buffers: Vec<_> = charges.iter().map(Charge::buffer).collect();
        buffers.into_iter().for_each(|buffer| charges[0].keep(buffer));
        assert_eq!(memory.spare.lock().unwrap().len(), SPARE_MAX);
    }
}

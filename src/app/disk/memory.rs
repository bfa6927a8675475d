//! The memory of the buffers.
//!
//! Three quarters are for the answers: each has [`ADMISSION_BYTES`] of its own, so it always goes
//! on, and slow clients cannot keep new ones out. The last quarter is shared: an answer gets up to
//! an eighth of what is free, so that many slow clients leave memory for fast ones.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The longest part of a file that is read at once.
pub(crate) const PART_MAX_BYTES: usize = 256 << 10;
/// Memory that each answer has of its own.
const ADMISSION_BYTES: usize = 2 << 10;
/// The shortest part that shared memory is used for.
const SHARED_MIN_BYTES: usize = 16 << 10;
/// The part of all memory that is shared.
const SHARED_PART: usize = 4;
/// The part of the free shared memory that one answer gets.
const SHARE: usize = 8;
/// Buffers that are kept for further parts.
const SPARE_MAX: usize = 8;
/// Memory of the kept buffers, beside that of the buffers in use.
pub(crate) const SPARE_BYTES: usize = SPARE_MAX * PART_MAX_BYTES;

/// The memory of all buffers.
#[derive(Debug)]
pub(super) struct Memory {
    shared_max_bytes: usize,
    shared_bytes: AtomicUsize,
    answers_max: usize,
    answers: AtomicUsize,
    spare: Mutex<Vec<Vec<u8>>>,
}

impl Memory {
    pub(super) fn new(max_bytes: usize) -> Arc<Memory> {
        let spare = Mutex::new(Vec::with_capacity(SPARE_MAX));
        let shared_max_bytes = max_bytes / SHARED_PART;
        Arc::new(Memory {
            shared_max_bytes,
            shared_bytes: AtomicUsize::new(0),
            answers_max: (max_bytes - shared_max_bytes) / ADMISSION_BYTES,
            answers: AtomicUsize::new(0),
            spare,
        })
    }

    /// The maximum of answers at one time.
    pub(super) fn answers_max(&self) -> usize {
        self.answers_max
    }

    /// Takes shared memory for up to `wanted` bytes.
    pub(super) fn grant(memory: &Arc<Memory>, wanted: u64) -> Option<Charge> {
        let wanted = usize::try_from(wanted).map_or(PART_MAX_BYTES, |n| n.min(PART_MAX_BYTES));
        let mut bytes = 0;
        let take = |used| {
            let share = (memory.shared_max_bytes - used) / SHARE;
            bytes = wanted.min(share);
            (share >= SHARED_MIN_BYTES).then_some(used + bytes)
        };
        memory.shared_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()?;
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
        let take = |answers| (answers < memory.answers_max).then_some(answers + 1);
        memory.answers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()?;
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
        self.0.answers.fetch_sub(1, Ordering::Relaxed);
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
            memory.shared_bytes.fetch_sub(self.1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_answers_share_the_memory_and_each_keeps_its_own() {
        let memory = Memory::new(4 << 20);
        let used =
            || [&memory.shared_bytes, &memory.answers].map(|count| count.load(Ordering::Relaxed));
        let wanted = u64::MAX;
        let mut charges: Vec<_> = std::iter::from_fn(|| Memory::grant(&memory, wanted)).collect();
        let sizes: Vec<usize> = charges.iter().map(Charge::bytes).collect();
        assert!(sizes.is_sorted_by(|a, b| a >= b) && sizes[0] == 128 << 10, "{sizes:?}");
        assert!(sizes.iter().sum::<usize>() <= 1 << 20);
        // Whatever is shared, answers are admitted.
        let admissions: Vec<_> = (0..128).map(|_| Admission::new(&memory).unwrap()).collect();
        assert_eq!(used(), [sizes.iter().sum(), 128]);
        let own = admissions[0].charge(wanted);
        assert_eq!((own.bytes(), admissions[1].charge(5).bytes()), (ADMISSION_BYTES, 5));
        charges.clear();
        drop(admissions);
        // A buffer in the send queue keeps the memory of an answer that has ended.
        assert_eq!(used(), [0, 1]);
        drop(own);
        assert_eq!(used(), [0, 0]);
    }

    #[test]
    fn no_more_answers_are_admitted_than_the_memory_holds() {
        let memory = Memory::new(1 << 20);
        let all: Vec<_> = std::iter::from_fn(|| Admission::new(&memory)).collect();
        assert_eq!(all.len(), memory.answers_max());
        assert_eq!(all.len() * ADMISSION_BYTES, 3 << 18);
        assert!(Memory::grant(&memory, 1).is_some());
    }

    #[test]
    fn a_few_buffers_are_kept() {
        let memory = Memory::new(32 << 20);
        let charges: Vec<_> = (0..15).map(|_| Memory::grant(&memory, u64::MAX).unwrap()).collect();
        for charge in &charges {
            charge.keep(charge.buffer());
        }
        assert_eq!(memory.spare.lock().unwrap().len(), 1);
        let buffers: Vec<_> = charges.iter().map(Charge::buffer).collect();
        buffers.into_iter().for_each(|buffer| charges[0].keep(buffer));
        assert_eq!(memory.spare.lock().unwrap().len(), SPARE_MAX);
    }
}

//! Input that an application has not consumed yet, kept in blocks of two sizes from a fixed pool.
//!
//! In come the bytes left over by a read, or the read itself goes straight into a block's tail; out go all kept
//! bytes of a connection in one piece. A connection holds at most one block, the smallest that serves, so a
//! request that comes in pieces is copied once, and twice if it outgrows the small block. Never drops a byte: who
//! reads asks for [`Inputs::largest_free`] first, and reads no more than can be kept.

use std::ops::Range;

/// Bytes of input that are kept for one connection.
pub const INPUT_BYTES: usize = 16 * 1024;
const SMALL_BYTES: usize = 2 * 1024;
/// Less space than this in a small block's tail is not worth a read if a large block is free.
const LEAST_SPACE_BYTES: usize = 512;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Small,
    Large,
}

/// What is kept of one connection's input: bytes `start..end` of a block, of which there is none if it is empty.
///
/// Must be given to [`Inputs::release`] before it is dropped, or the block stays taken.
#[derive(Debug, Default)]
pub(super) struct Kept {
    block: Option<(Class, u32)>,
    start: u16,
    end: u16,
}

impl Kept {
    pub(super) fn len(&self) -> usize {
        usize::from(self.end - self.start)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.block.is_none()
    }
}

/// Blocks of one size.
#[derive(Default)]
struct Blocks {
    block_bytes: usize,
    bytes: Vec<u8>,
    free: Vec<u32>,
}

impl Blocks {
    fn new(block_bytes: usize, count: usize) -> Blocks {
        let indices = u32::try_from(count).expect("settings bound the blocks below 2^32");
        Blocks { block_bytes, bytes: vec![0; block_bytes * count], free: (0..indices).rev().collect() }
    }

    fn range(&self, index: u32) -> Range<usize> {
        let base = index as usize * self.block_bytes;
        base..base + self.block_bytes
    }
}

/// The blocks of one worker.
#[derive(Default)]
pub(super) struct Inputs {
    small: Blocks,
    large: Blocks,
}

impl Inputs {
    pub(super) fn new(small: usize, large: usize) -> Inputs {
        Inputs { small: Blocks::new(SMALL_BYTES, small), large: Blocks::new(INPUT_BYTES, large) }
    }

    pub(super) const fn memory_bytes(small: usize, large: usize) -> usize {
        small * (SMALL_BYTES + size_of::<u32>()) + large * (INPUT_BYTES + size_of::<u32>())
    }

    /// How many bytes can surely be kept of a connection that holds no block.
    pub(super) fn largest_free(&self) -> usize {
        match (self.small.free.is_empty(), self.large.free.is_empty()) {
            (_, false) => INPUT_BYTES,
            (false, true) => SMALL_BYTES,
            (true, true) => 0,
        }
    }

    /// Blocks that nobody holds, small and large.
    #[cfg(test)]
    pub(super) fn free(&self) -> (usize, usize) {
        (self.small.free.len(), self.large.free.len())
    }

    /// The kept bytes.
    pub(super) fn bytes(&self, kept: &Kept) -> &[u8] {
        let Some((class, index)) = kept.block else { return &[] };
        let blocks = self.blocks(class);
        &blocks.bytes[blocks.range(index)][usize::from(kept.start)..usize::from(kept.end)]
    }

    /// Keeps a copy of `bytes` for a connection that holds nothing yet: at most [`Inputs::largest_free`].
    pub(super) fn keep(&mut self, kept: &mut Kept, bytes: &[u8]) {
        assert!(kept.is_empty(), "kept input would be overwritten");
        if bytes.is_empty() {
            return;
        }
        let block = self.take(bytes.len()).expect("no more was read than a free block can keep");
        self.block_mut(block)[..bytes.len()].copy_from_slice(bytes);
        *kept = Kept { block: Some(block), start: 0, end: bytes.len() as u16 };
    }

    /// The tail of the connection's block, to read into; follow with [`Inputs::extend`]. `None` if the block is
    /// full and none larger is free, or if there is no block.
    pub(super) fn space(&mut self, kept: &mut Kept) -> Option<&mut [u8]> {
        let (class, index) = kept.block?;
        let (start, end) = (usize::from(kept.start), usize::from(kept.end));
        if class == Class::Small && SMALL_BYTES - kept.len() < LEAST_SPACE_BYTES && !self.large.free.is_empty() {
            self.move_to(kept, Class::Large);
        } else if start > 0 {
            self.block_mut((class, index)).copy_within(start..end, 0);
            (kept.start, kept.end) = (0, (end - start) as u16);
        }
        let end = usize::from(kept.end);
        let space = &mut self.block_mut(kept.block?)[end..];
        if space.is_empty() { None } else { Some(space) }
    }

    /// `n` bytes were read into [`Inputs::space`].
    pub(super) fn extend(&mut self, kept: &mut Kept, n: usize) {
        let block_bytes = kept.block.map_or(0, |(class, _)| self.blocks(class).block_bytes);
        assert!(usize::from(kept.end) + n <= block_bytes, "more was read than there was space for");
        kept.end += n as u16;
    }

    /// The first `n` bytes are consumed. An empty block goes back to the pool, and so does a large one whose rest
    /// fits a small one with space to spare.
    pub(super) fn consume(&mut self, kept: &mut Kept, n: usize) {
        assert!(n <= kept.len(), "consumed {n} bytes of {}", kept.len());
        kept.start += n as u16;
        if kept.start == kept.end {
            self.release(kept);
        } else if matches!(kept.block, Some((Class::Large, _)))
            && kept.len() <= SMALL_BYTES / 2
            && !self.small.free.is_empty()
        {
            self.move_to(kept, Class::Small);
        }
    }

    /// Gives the block back, whatever it holds.
    pub(super) fn release(&mut self, kept: &mut Kept) {
        if let Some((class, index)) = std::mem::take(kept).block {
            self.blocks_mut(class).free.push(index);
        }
    }

    /// Moves the kept bytes to the front of a free block of the other class.
    fn move_to(&mut self, kept: &mut Kept, class: Class) {
        let Some((from_class, from)) = kept.block else { return };
        let Some(to) = self.blocks_mut(class).free.pop() else { return };
        let (small, large) = (&mut self.small, &mut self.large);
        let (source, target) = if from_class == Class::Small { (small, large) } else { (large, small) };
        let (source_range, target_range) = (source.range(from), target.range(to));
        let held = &source.bytes[source_range][usize::from(kept.start)..usize::from(kept.end)];
        target.bytes[target_range][..held.len()].copy_from_slice(held);
        *kept = Kept { block: Some((class, to)), start: 0, end: held.len() as u16 };
        source.free.push(from);
    }

    /// The smallest free block that holds `bytes`.
    fn take(&mut self, bytes: usize) -> Option<(Class, u32)> {
        let small = if bytes <= SMALL_BYTES { self.small.free.pop() } else { None };
        match small {
            Some(index) => Some((Class::Small, index)),
            None => self.large.free.pop().map(|index| (Class::Large, index)),
        }
    }

    fn block_mut(&mut self, (class, index): (Class, u32)) -> &mut [u8] {
        let blocks = self.blocks_mut(class);
        let range = blocks.range(index);
        &mut blocks.bytes[range]
    }

    fn blocks(&self, class: Class) -> &Blocks {
        if class == Class::Small { &self.small } else { &self.large }
    }

    fn blocks_mut(&mut self, class: Class) -> &mut Blocks {
        if class == Class::Small { &mut self.small } else { &mut self.large }
    }
}

#[cfg(test)]
#[path = "input_tests.rs"]
mod tests;

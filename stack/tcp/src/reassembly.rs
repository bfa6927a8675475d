//! Out-of-order data, stored until the gap before it is filled.
//!
//! A connection's [`Reassembly`] is a list of blocks, sorted by sequence number, that never
//! overlap. Of duplicate data the first copy is stored. All blocks lie in a [`Pool`] of fixed size.
//! One connection holds at most [`MAX_BLOCKS`], however small the segments of its peer are (compare
//! CVE-2018-5390, SegmentSmack). A connection with a large window may hold more, as long as a
//! quarter of the pool is left for the others.

use crate::seq::Seq;
use crate::wire::Payload;

/// Bytes of one block: more than a segment of an Ethernet's MTU holds.
pub const BLOCK_BYTES: usize = 2 * 1024;
/// One connection holds at most this many blocks, unless its window is large.
pub const MAX_BLOCKS: u16 = 48;
const NONE: u32 = u32::MAX;

/// The blocks of one worker.
pub struct Pool {
    blocks: Vec<Block>,
    bytes: Vec<u8>,
    free: u32,
    free_count: usize,
    /// Counts [`Reassembly::mark_latest`], modulo 2³².
    marked: u32,
}

#[derive(Clone, Copy)]
struct Block {
    seq: Seq,
    len: u32,
    next: u32,
    /// The pool's `marked` when this block was marked last.
    marked: u32,
}

impl Block {
    fn end(&self) -> Seq {
        self.seq + self.len
    }
}

impl Pool {
    /// A pool of `blocks` blocks.
    pub fn new(blocks: usize) -> Pool {
        let count = u32::try_from(blocks).expect("limits bound the pool below 2^32 blocks");
        let link = |next| Block {
            seq: Seq(0),
            len: 0,
            next: if next == count { NONE } else { next },
            marked: 0,
        };
        Pool {
            blocks: (1..=count).map(link).collect(),
            bytes: vec![0; blocks * BLOCK_BYTES],
            free: if count == 0 { NONE } else { 0 },
            free_count: blocks,
            marked: 0,
        }
    }

    /// Bytes of memory that [`Pool::new`] takes.
    pub const fn memory_bytes(blocks: usize) -> usize {
        blocks * (BLOCK_BYTES + size_of::<Block>())
    }

    /// Blocks that no connection holds.
    pub fn free(&self) -> usize {
        self.free_count
    }

    /// Whether less than a quarter of the pool is free.
    fn is_scarce(&self) -> bool {
        self.free_count < self.blocks.len() / 4
    }

    fn allocate(&mut self) -> Option<u32> {
        let index = self.free;
        self.free = self.blocks.get(index as usize)?.next;
        self.free_count -= 1;
        Some(index)
    }

    fn release(&mut self, index: u32) {
        self.blocks[index as usize].next = self.free;
        self.free = index;
        self.free_count += 1;
    }

    /// Copies the front of `data` behind the first `at` bytes of the block. Returns how many bytes.
    fn fill(&mut self, index: u32, at: usize, data: Payload<'_>) -> usize {
        let base = index as usize * BLOCK_BYTES;
        let mut spare = &mut self.bytes[base + at..base + BLOCK_BYTES];
        let data = data.take(spare.len());
        for part in data.parts() {
            let (front, back) = spare.split_at_mut(part.len());
            front.copy_from_slice(part);
            spare = back;
        }
        data.len()
    }
}

/// The out-of-order data of one connection. It must be [`clear`](Reassembly::clear)ed before it is
/// dropped.
#[derive(Clone, Copy, Debug)]
pub struct Reassembly {
    head: u32,
    count: u16,
}

impl Default for Reassembly {
    fn default() -> Reassembly {
        Reassembly { head: NONE, count: 0 }
    }
}

/// Not all of the data could be stored. The peer has to retransmit it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl Reassembly {
    /// Whether nothing is held.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.head == NONE
    }

    /// Stores the new part of `data`, which starts at `seq`, in at most `max_blocks` blocks.
    pub fn insert(
        &mut self,
        pool: &mut Pool,
        max_blocks: u16,
        mut seq: Seq,
        mut data: Payload<'_>,
    ) -> Result<(), Full> {
        let mut before = NONE;
        let mut at = self.head;
        while !data.is_empty() {
            let gap = match pool.blocks.get(at as usize) {
                Some(block) => (block.seq.since(seq) as usize).min(data.len()),
                None => data.len(),
            };
            if gap > 0 {
                self.fill_gap(pool, max_blocks, before, seq, data.take(gap))?;
                seq += gap as u32;
                data = data.skip(gap);
            }
            let Some(block) = pool.blocks.get(at as usize) else { break };
            let held = (block.end().since(seq) as usize).min(data.len());
            seq += held as u32;
            data = data.skip(held);
            (before, at) = (at, block.next);
        }
        Ok(())
    }

    /// Stores `data`, which overlaps nothing, behind the block `before`, and in that block as far
    /// as it adjoins and fits.
    fn fill_gap(
        &mut self,
        pool: &mut Pool,
        max_blocks: u16,
        mut before: u32,
        mut seq: Seq,
        mut data: Payload<'_>,
    ) -> Result<(), Full> {
        if let Some(block) = pool.blocks.get(before as usize).copied()
            && block.end() == seq
        {
            let n = pool.fill(before, block.len as usize, data);
            pool.blocks[before as usize].len += n as u32;
            (seq, data) = (seq + n as u32, data.skip(n));
        }
        while !data.is_empty() {
            if self.count >= max_blocks || (self.count >= MAX_BLOCKS && pool.is_scarce()) {
                return Err(Full);
            }
            let index = pool.allocate().ok_or(Full)?;
            let n = pool.fill(index, 0, data);
            let link = if before == NONE {
                &mut self.head
            } else {
                &mut pool.blocks[before as usize].next
            };
            let next = std::mem::replace(link, index);
            pool.blocks[index as usize] = Block { seq, len: n as u32, next, marked: pool.marked };
            self.count += 1;
            (before, seq, data) = (index, seq + n as u32, data.skip(n));
        }
        Ok(())
    }

    /// The bytes from `seq` on, in one block; `None` if they are missing. Frees blocks that end
    /// before `seq`.
    pub fn front<'a>(&mut self, pool: &'a mut Pool, seq: Seq) -> Option<&'a [u8]> {
        loop {
            let block = *pool.blocks.get(self.head as usize)?;
            if block.seq.after(seq) {
                return None;
            }
            if block.end().after(seq) {
                let base = self.head as usize * BLOCK_BYTES;
                return Some(
                    &pool.bytes[base + seq.since(block.seq) as usize..base + block.len as usize],
                );
            }
            pool.release(std::mem::replace(&mut self.head, block.next));
            self.count -= 1;
        }
    }

    /// Copies the bytes from `seq` on, up to the first gap, to `buf`, as many as fit. Returns how
    /// many.
    pub fn copy(&self, pool: &Pool, mut seq: Seq, buf: &mut [u8]) -> usize {
        let mut filled = 0;
        let mut at = self.head;
        while let Some(block) = pool.blocks.get(at as usize) {
            if block.seq.after(seq) || filled == buf.len() {
                break;
            }
            if block.end().after(seq) {
                let base = at as usize * BLOCK_BYTES;
                let bytes =
                    &pool.bytes[base + seq.since(block.seq) as usize..base + block.len as usize];
                let n = bytes.len().min(buf.len() - filled);
                buf[filled..filled + n].copy_from_slice(&bytes[..n]);
                filled += n;
                seq += n as u32;
            }
            at = block.next;
        }
        filled
    }

    /// Marks the run at `seq` as the latest: its segment has just arrived.
    pub fn mark_latest(&self, pool: &mut Pool, seq: Seq) {
        pool.marked = pool.marked.wrapping_add(1);
        let mut at = self.head;
        while let Some(block) = pool.blocks.get_mut(at as usize)
            && block.seq.at_or_before(seq)
        {
            if block.end().after(seq) {
                block.marked = pool.marked;
            }
            at = block.next;
        }
    }

    /// The runs of data, in order, each as `[left, right)`.
    pub fn runs<'a>(&self, pool: &'a Pool) -> impl Iterator<Item = (Seq, Seq)> + use<'a> {
        self.runs_with_age(pool).map(|(_, run)| run)
    }

    /// The `N` latest runs that begin at `from` or after, the latest first.
    pub fn latest_runs<const N: usize>(
        &self,
        pool: &Pool,
        from: Seq,
    ) -> impl Iterator<Item = (Seq, Seq)> + use<N> {
        let mut latest = [None; N];
        for mut run in self.runs_with_age(pool).filter(|(_, run)| run.0.at_or_after(from)) {
            for slot in &mut latest {
                match slot {
                    Some((age, _)) if *age <= run.0 => {}
                    Some(younger) => std::mem::swap(younger, &mut run),
                    None => {
                        *slot = Some(run);
                        break;
                    }
                }
            }
        }
        latest.into_iter().flatten().map(|(_, run)| run)
    }

    /// The runs in order, each with its age: how many marks came after it.
    fn runs_with_age<'a>(
        &self,
        pool: &'a Pool,
    ) -> impl Iterator<Item = (u32, (Seq, Seq))> + use<'a> {
        let mut at = self.head;
        let age = |block: &Block| pool.marked.wrapping_sub(block.marked);
        std::iter::from_fn(move || {
            let first = pool.blocks.get(at as usize)?;
            let (mut last, mut youngest) = (first, age(first));
            while let Some(next) = pool.blocks.get(last.next as usize)
                && next.seq == last.end()
            {
                last = next;
                youngest = youngest.min(age(next));
            }
            at = last.next;
            Some((youngest, (first.seq, last.end())))
        })
    }

    /// The first part between `left` and `right` that is stored already.
    pub fn held_of(&self, pool: &Pool, left: Seq, right: Seq) -> Option<(Seq, Seq)> {
        let overlap = |run: (Seq, Seq)| (run.0.max(left), run.1.min(right));
        self.runs(pool).map(overlap).find(|(left, right)| left.before(*right))
    }

    /// Frees all blocks.
    pub fn clear(&mut self, pool: &mut Pool) {
        while let Some(block) = pool.blocks.get(self.head as usize).copied() {
            pool.release(std::mem::replace(&mut self.head, block.next));
        }
        self.count = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn byte_at(seq: Seq) -> u8 {
        (seq.0 ^ seq.0 >> 8) as u8
    }

    proptest! {
        /// Pieces of a stream in any order, overlapping at random: the output is the stream, and
        /// the runs list exactly the stored bytes.
        #[test]
        fn any_order_comes_out_in_order(
            start: u32,
            pieces in proptest::collection::vec((0u32..9000, 1usize..4000, 0usize..4000), 1..40),
        ) {
            let start = Seq(start);
            let (mut pool, mut held) = (Pool::new(64), Reassembly::default());
            let mut model = vec![false; 20_000];
            for (offset, len, cut) in pieces {
                let seq = start + offset;
                let bytes: Vec<u8> = (0..len as u32).map(|i| byte_at(seq + i)).collect();
                let (first, rest) = bytes.split_at(cut.min(len));
                let rest = [rest];
                if held.insert(&mut pool, MAX_BLOCKS, seq, Payload::new(first, &rest, rest[0].len())).is_err() {
                    break;
                }
                model[offset as usize..offset as usize + len].fill(true);
                for (left, right) in held.runs(&pool) {
                    prop_assert!(model[left.since(start) as usize..right.since(start) as usize].iter().all(|&b| b));
                    prop_assert!(!model[right.since(start) as usize]);
                }
                let total: u32 = held.runs(&pool).map(|(left, right)| right.since(left)).sum();
                prop_assert_eq!(total as usize, model.iter().filter(|&&b| b).count());
            }
            let mut next = start + model.iter().position(|&b| b).unwrap_or(0) as u32;
            while let Some(bytes) = held.front(&mut pool, next) {
                for (i, &byte) in bytes.iter().enumerate() {
                    prop_assert_eq!(byte, byte_at(next + i as u32));
                }
                next += bytes.len() as u32;
            }
            held.clear(&mut pool);
            prop_assert_eq!(pool.free(), 64);
        }
    }

    /// RFC 2018 §4: the order in which runs are to be reported, whatever grows together meanwhile.
    #[test]
    fn rfc_2018_section_4_the_latest_runs_come_first() {
        let (mut pool, mut held) = (Pool::new(64), Reassembly::default());
        let mut come = |seq: u32| {
            held.insert(&mut pool, MAX_BLOCKS, Seq(seq), Payload::new(&[0; 10], &[], 0))
                .expect("there is space");
            held.mark_latest(&mut pool, Seq(seq));
            held.latest_runs::<3>(&pool, Seq(1)).map(|(left, _)| left.0).collect::<Vec<_>>()
        };
        assert_eq!(come(30), [30]);
        assert_eq!(come(10), [10, 30]);
        assert_eq!(come(50), [50, 10, 30]);
        assert_eq!(come(70), [70, 50, 10]);
        // What comes in order behind a run leaves the order of the others alone.
        assert_eq!((come(80), come(90)), (vec![70, 50, 10], vec![70, 50, 10]));
        assert_eq!(come(20), [10, 70, 50]);
        // A segment that was stored already was retransmitted.
        assert_eq!(come(50), [50, 10, 70]);
        held.clear(&mut pool);
    }

    #[test]
    fn single_bytes_with_gaps_are_bounded() {
        let (mut pool, mut held) = (Pool::new(1000), Reassembly::default());
        let inserted = (0..1000).filter(|i| {
            held.insert(&mut pool, MAX_BLOCKS, Seq(i * 2), Payload::new(&[0], &[], 0)).is_ok()
        });
        assert_eq!(inserted.count(), usize::from(MAX_BLOCKS));
    }

    #[test]
    fn more_blocks_are_for_one_only_while_there_are_enough_for_others() {
        let (mut pool, mut held) = (Pool::new(200), Reassembly::default());
        let insert = |i: u32| held.insert(&mut pool, 1000, Seq(i * 2), Payload::new(&[0], &[], 0));
        assert_eq!((0..1000).map(insert).filter(Result::is_ok).count(), 151);
        let mut other = Reassembly::default();
        let insert =
            |i: u32| other.insert(&mut pool, MAX_BLOCKS, Seq(i * 2), Payload::new(&[0], &[], 0));
        assert_eq!((0..1000).map(insert).filter(Result::is_ok).count(), usize::from(MAX_BLOCKS));
    }

    #[test]
    fn single_bytes_without_gaps_share_blocks() {
        let (mut pool, mut held) = (Pool::new(4), Reassembly::default());
        for i in 0..4096 {
            assert_eq!(
                held.insert(&mut pool, MAX_BLOCKS, Seq(i), Payload::new(&[0], &[], 0)),
                Ok(())
            );
        }
        assert_eq!(pool.free(), 2);
    }
}

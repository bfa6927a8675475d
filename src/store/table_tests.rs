//! The table alone: entries, chains, splits.

use super::*;

/// Units of a frame, 8 kB, in powers of 2; each has 128 buckets.
const FRAME_SHIFT: u32 = 10;
const FRAME_BUCKETS: usize = 128;

/// A table with one frame of spare buckets, in a memory of `frames` frames.
fn table(frames: usize) -> Table {
    let memory = Arc::new(Memory::new(frames, FRAME_SHIFT).unwrap());
    let table = Table::new(&[TableFrame::of(0)], memory);
    table.grow(&TableFrame::of(frames as u32 - 1));
    table
}

/// The hash of item `n`: its group and its entry are those of random keys.
fn hash(n: u64) -> u64 {
    (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (n + 1).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 20
}

fn insert(table: &Table, n: u64) {
    let _held = table.lock(hash(n));
    table.free_slot(hash(n)).unwrap().store(Entry::new(hash(n), n));
}

fn is_there(table: &Table, n: u64) -> bool {
    table.slots(hash(n)).filter(|slot| slot.load() == Entry::new(hash(n), n)).count() == 1
}

#[test]
fn entries_tell_a_part_of_the_hash_and_the_place() {
    let entry = Entry::new(0xdead_beef_0000_0001, 0);
    assert!(entry.may_be(0x1234_5678_0000_0001) && !entry.may_be(2) && entry.offset() == 0);
    let last = (1 << OFFSET_BITS) - 2;
    assert_eq!(Entry::new(u64::MAX, last).offset(), last);
    assert!(Entry::new(u64::MAX, last).may_be(u64::MAX) && Entry::new(7, last).may_be(7));
    assert!(!Entry::NONE.may_be(0));
}

#[test]
fn a_candidate_is_any_entry_with_the_bits_of_a_hash_but_no_empty_slot() {
    let bucket = Bucket::default();
    for hash in [0, 1, 0xff_ffff, 1 << HASH_BITS] {
        let other = Entry::new(hash ^ 1, 7);
        for at in 0..SLOTS {
            bucket.slots.iter().for_each(|slot| slot.store(Entry::NONE));
            assert_eq!(bucket.candidate(0, hash), None);
            bucket.slots[at].store(Entry::new(hash, 3));
            bucket.slots[(at + 1) % SLOTS].store(other);
            let found = Some((at, Entry::new(hash, 3)));
            assert!((0..=at).all(|from| bucket.candidate(from, hash) == found), "{hash} at {at}");
            assert_eq!(bucket.candidate(at + 1, hash), None);
            let at_slot = |at| bucket.candidate_at(at, hash).map(|(_, entry)| entry);
            assert_eq!(at_slot(at), Some(Entry::new(hash, 3)));
            assert!((0..=SLOTS).all(|other| other == at || at_slot(other).is_none()));
        }
    }
}

#[test]
fn a_chain_grows_into_spare_buckets_and_gives_them_back() {
    let table = table(3);
    assert_eq!(table.spare(), (FRAME_BUCKETS, FRAME_BUCKETS));
    let _held = table.lock(0);
    let mut used = 0;
    let mut fill = || {
        while let Some(slot) = table.free_slot(0) {
            slot.store(Entry::new(0, used as Offset));
            used += 1;
        }
        used
    };
    assert_eq!((fill(), table.spare().0), ((FRAME_BUCKETS + 1) * SLOTS, 0));
    assert!(table.is_short() && !table.is_crowded());
    table.grow(&TableFrame::of(1));
    assert_eq!((table.spare().0, table.is_short()), (FRAME_BUCKETS, false));
    assert_eq!((fill(), table.spare().0), ((2 * FRAME_BUCKETS + 1) * SLOTS, 0));
    assert_eq!(table.slots(0).count(), used);
    for slot in table.slots(0) {
        slot.store(Entry::NONE);
    }
    table.shrink(0);
    assert_eq!((table.spare().0, table.slots(0).count()), (2 * FRAME_BUCKETS, SLOTS));
}

#[test]
fn every_hash_has_a_chain() {
    let table = table(4);
    table.widen(&TableFrame::of(1));
    while table.split_next() {
        let chains = table.chains.load(Relaxed);
        assert!(table.chain(u64::MAX) < chains && table.chain(0) == 0);
        let seen =
            (0..20_000).map(|n| table.chain(hash(n))).collect::<std::collections::HashSet<_>>();
        assert!(cfg!(miri) || seen.len() == chains, "{} of {chains} chains", seen.len());
    }
    assert_eq!(table.chains.load(Relaxed), 2 * FRAME_BUCKETS);
}

/// Growth to seven times the chains, with items stored all the time. Each item is in its chain once
/// after each split, chains are short in the end, and no bucket is lost.
#[test]
fn a_table_grows_with_its_items() {
    let (table, count) = (table(11), if cfg!(miri) { 700 } else { 4200 });
    table.grow(&TableFrame::of(8));
    table.grow(&TableFrame::of(9));
    for n in 0..count {
        if let Some(frame) = table.wanted_frame(n)
            && frame < 7
        {
            table.widen(&TableFrame::of(frame));
        }
        if table.is_crowded() {
            table.split(n);
        }
        insert(&table, n);
        if n % 100 == 0 {
            assert!((0..=n).all(|n| is_there(&table, n)), "after {n}");
        }
    }
    let chains = table.chains.load(Relaxed);
    assert!(cfg!(miri) || chains > count as usize / LOAD * 9 / 10, "{chains} chains");
    for n in 0..count {
        let slot = table.slots(hash(n)).find(|slot| slot.load() == Entry::new(hash(n), n));
        slot.unwrap().store(Entry::NONE);
        table.shrink(hash(n));
    }
    assert_eq!(table.spare(), (3 * FRAME_BUCKETS, 3 * FRAME_BUCKETS));
}

/// A split that finds no spare bucket for what moves leaves everything as it was.
#[test]
fn a_split_without_spare_buckets_changes_nothing() {
    let table = table(5);
    // All of these move from chain 0 to the first new one.
    let hash = |n: u64| n << (64 - 10) >> 8 | 1;
    let all = (FRAME_BUCKETS + 1) * SLOTS;
    for n in 0..all as u64 {
        table.free_slot(hash(n)).unwrap().store(Entry::new(hash(n), n));
    }
    table.widen(&TableFrame::of(1));
    assert!(!table.split_next());
    assert_eq!((table.chains.load(Relaxed), table.spare().0), (FRAME_BUCKETS, 0));
    assert_eq!(table.slots(1).filter(|slot| slot.load() != Entry::NONE).count(), all);
    table.grow(&TableFrame::of(2));
    table.grow(&TableFrame::of(3));
    assert!(table.split_next());
    assert_eq!(table.slots(1).filter(|slot| slot.load() != Entry::NONE).count(), all);
    assert_eq!((table.slots(0).count(), table.chain(1)), (SLOTS, FRAME_BUCKETS));
}

/// A dump in which a chain is split before each step.
#[test]
fn a_dump_shows_entries_once_while_chains_are_split() {
    let table = table(9);
    let count = if cfg!(miri) { 100 } else { 600 };
    (0..count).for_each(|n| insert(&table, n));
    (1..7).for_each(|frame| table.widen(&TableFrame::of(frame)));
    let (mut position, mut seen) = (Some(0), Vec::new());
    while let Some(from) = position {
        table.split_next();
        let mut first = None;
        let end = table.dump(from, |next, entry, _| {
            first = Some(first.filter(|(least, _)| *least < next).unwrap_or((next, entry)));
        });
        seen.extend(first.map(|(_, entry)| entry.offset()));
        position = first.map(|(next, _)| next).or(end);
    }
    assert!(table.chains.load(Relaxed) > 2 * FRAME_BUCKETS);
    seen.sort_unstable();
    assert_eq!(seen, (0..count).collect::<Vec<_>>());
}

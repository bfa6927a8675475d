use super::*;
use crate::checksum::Sum;
use crate::reply::{Effects, Reply};
use proptest::prelude::*;
use std::sync::LazyLock;

static TEXT: &[u8] = b"The quick brown fox jumps over the lazy dog";

/// Bytes with stored sums.
static LONG: LazyLock<Vec<u8>> =
    LazyLock::new(|| (0..7000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect());
static LONG_SUMS: LazyLock<PrefixSums> = LazyLock::new(|| PrefixSums::of(&LONG));

/// Bytes with and without stored sums.
#[derive(Clone, Copy)]
struct Text(&'static [u8], Option<&'static PrefixSums>);

impl Blob for Text {
    fn bytes(&self) -> &[u8] {
        self.0
    }

    fn sums(&self) -> Option<&PrefixSums> {
        self.1
    }
}

/// What one step of a connection's life may do to its send queue.
#[derive(Clone, Debug)]
enum Step {
    Copy(usize),
    Share(usize, usize),
    ShareSummed(usize, usize),
    Read(usize),
    /// Parts of one length, by one [`Reader`].
    ReadParts(usize, usize),
    ReadAt(usize, usize),
    Acknowledge(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..1500usize).prop_map(Step::Copy),
        (0..TEXT.len(), 0..=TEXT.len()).prop_map(|(a, b)| Step::Share(a.min(b), a.max(b))),
        (0..LONG.len(), 0..=LONG.len()).prop_map(|(a, b)| Step::ShareSummed(a.min(b), a.max(b))),
        (0..2000usize).prop_map(Step::Read),
        (0..2000usize, 1..6usize).prop_map(|(n, times)| Step::ReadParts(n, times)),
        (0..2000usize, 0..600usize).prop_map(|(at, n)| Step::ReadAt(at, n)),
        (0..1200usize).prop_map(Step::Acknowledge),
    ]
}

/// The same queue as a plain vector: `held` bytes from `start` on, of which `read` were read.
#[derive(Default)]
struct Model {
    held: Vec<u8>,
    start: u32,
    read: usize,
}

proptest! {
    #[test]
    fn a_queue_is_a_byte_vector(steps in proptest::collection::vec(step(), 1..80)) {
        let mut pool: Pool<Text> = Pool::new(400, 400);
        let (mut queue, mut model) = (Queue::default(), Model::default());
        let mut counter = 0u8;
        for step in steps {
            match step {
                Step::Copy(n) => {
                    let bytes: Vec<u8> = (0..n).map(|_| { counter = counter.wrapping_add(1); counter }).collect();
                    if queue.count < QUEUE_ENTRIES {
                        prop_assert!(queue.copy(&mut pool, &bytes));
                        model.held.extend(&bytes);
                    }
                }
                Step::Share(start, end) => {
                    let mut effects = Effects::default();
                    let mut reply = Reply::new(&mut pool, &mut queue, &mut effects);
                    reply.share(Text(TEXT, None), start..end);
                    prop_assert!(!effects.asked.has_overflowed());
                    model.held.extend(&TEXT[start..end]);
                }
                Step::ShareSummed(start, end) => {
                    let mut effects = Effects::default();
                    let mut reply = Reply::new(&mut pool, &mut queue, &mut effects);
                    reply.share(Text(&LONG, Some(&LONG_SUMS)), start..end);
                    prop_assert!(!effects.asked.has_overflowed());
                    model.held.extend(&LONG[start..end]);
                }
                Step::ReadParts(n, times) => {
                    let mut buf = vec![0; n];
                    for sums in [false, true] {
                        let mut left = queue.unread() as usize;
                        let mut reader = Reader::new(&mut queue, &pool, sums);
                        for _ in 0..times {
                            let n = n.min(left);
                            left -= n;
                            let sum = reader.read(&mut buf[..n]);
                            prop_assert_eq!(&buf[..n], &model.held[model.read..model.read + n]);
                            let expected = Sum::default().add_bytes(&buf[..n]);
                            prop_assert!(sum.is_same(expected) || !sums);
                            model.read += n;
                        }
                    }
                }
                Step::Read(n) => {
                    let mut buf = vec![0; n];
                    let got = queue.read_next(&pool, &mut buf);
                    let want = &model.held[model.read..(model.read + n).min(model.held.len())];
                    prop_assert_eq!(&buf[..got], want);
                    model.read += got;
                }
                Step::ReadAt(at, n) => {
                    let mut buf = vec![0; n];
                    let got = queue.read_at(&pool, at as u64, &mut buf);
                    let at = at.min(model.held.len());
                    prop_assert_eq!(&buf[..got], &model.held[at..(at + n).min(model.held.len())]);
                }
                Step::Acknowledge(n) => {
                    let n = n.min(model.held.len());
                    queue.acknowledge(&mut pool, n as u64);
                    model.held.drain(..n);
                    model.read = model.read.saturating_sub(n);
                    model.start = model.start.wrapping_add(n as u32);
                }
            }
            prop_assert_eq!(queue.len(), model.held.len() as u64);
            prop_assert_eq!(queue.start(), model.start);
            prop_assert_eq!(queue.unread(), (model.held.len() - model.read) as u64);
            prop_assert_eq!(queue.slices(&pool).flatten().copied().collect::<Vec<u8>>(), model.held.clone());
        }
        queue.clear(&mut pool);
        prop_assert_eq!(pool.free(), (400, 400));
    }
}

#[test]
fn a_reader_takes_the_stored_sums() {
    let (mut pool, mut queue): (Pool<Text>, _) = (Pool::new(8, 8), Queue::default());
    static OTHER: LazyLock<PrefixSums> = LazyLock::new(|| PrefixSums::of(&[1; 7000]));
    let mut effects = Effects::default();
    Reply::new(&mut pool, &mut queue, &mut effects).share(Text(&LONG, Some(&OTHER)), 0..7000);
    let mut buf = [0; 1024];
    let sum = Reader::new(&mut queue, &pool, true).read(&mut buf);
    assert!(sum.is_same(Sum::default().add_bytes(&[1; 1024])));
    assert_eq!(buf, LONG[..1024]);
}

/// After 4 GiB of one connection the count of its bytes begins anew.
#[test]
fn the_place_in_the_stream_wraps() {
    let mut pool: Pool<&'static [u8]> = Pool::new(8, 8);
    for (acknowledged, start) in [(3, u32::MAX), (4, 0), (5, 1), (10, 6), (20, 16)] {
        let mut queue = Queue { start: u32::MAX - 3, ..Queue::default() };
        assert!(
            queue.copy(&mut pool, b"0123456789") && queue.share(&mut pool, b"abcdefghij", 0, 10)
        );
        assert_eq!(queue.read_next(&pool, &mut [0; 7]), 7);
        queue.acknowledge(&mut pool, acknowledged);
        assert_eq!((queue.start(), queue.len()), (start, 20 - acknowledged));
        // The bytes lie where they lay: those after the acknowledged ones, and after the read ones.
        let all = b"0123456789abcdefghij";
        let held: Vec<u8> = queue.slices(&pool).flatten().copied().collect();
        assert_eq!(held, all[acknowledged as usize..]);
        let mut buf = [0; 20];
        let read = queue.read_next(&pool, &mut buf);
        assert_eq!(buf[..read], all[(acknowledged as usize).max(7)..]);
        // What is left is counted when it is freed, too.
        queue.clear(&mut pool);
        assert_eq!((queue.start(), queue.len()), (16, 0));
    }
    assert_eq!(pool.free(), (8, 8));
}

#[test]
fn small_copies_share_a_chunk() {
    let mut pool: Pool<&'static [u8]> = Pool::new(8, 8);
    let mut queue = Queue::default();
    for _ in 0..10 {
        assert!(queue.copy(&mut pool, b"0123456789"));
    }
    assert_eq!(pool.free(), (7, 7));
    assert_eq!(queue.len(), 100);
}

#[test]
fn refused_capacity_ends_with_an_acknowledgement() {
    let mut pool: Pool<&'static [u8]> = Pool::new(64, 64);
    let mut queue = Queue::default();
    let mut effects = Effects::default();
    let mut reply = Reply::new(&mut pool, &mut queue, &mut effects);
    let mut answers = 0;
    while reply.has_capacity() {
        reply.copy(b"head");
        reply.share(TEXT, 0..TEXT.len());
        answers += 1;
    }
    assert!(answers > 0 && effects.asked.wants_capacity() && !effects.asked.has_overflowed());
    assert!(!pool.has_capacity(&queue));
    queue.acknowledge(&mut pool, queue.len());
    assert!(pool.has_capacity(&queue));
}

#[test]
fn a_pool_too_small_for_an_answer_aborts_rather_than_sending_half() {
    let mut pool: Pool<&'static [u8]> = Pool::new(1, 1);
    let mut queue = Queue::default();
    let mut effects = Effects::default();
    let mut reply = Reply::new(&mut pool, &mut queue, &mut effects);
    reply.copy(&[0; CHUNK_BYTES + 1]);
    assert!(effects.asked.has_overflowed());
    queue.clear(&mut pool);
    assert_eq!(pool.free(), (1, 1));
}

/// Queues what one that never reads can.
fn fill(pool: &mut Pool<&'static [u8]>, queue: &mut Queue) {
    let mut effects = Effects::default();
    let mut reply = Reply::new(pool, queue, &mut effects);
    while reply.has_capacity() {
        reply.copy(&[0; CHUNK_BYTES]);
    }
    assert!(!effects.asked.has_overflowed());
}

#[test]
fn when_three_in_eight_hold_what_they_can_one_more_finds_capacity() {
    const QUEUES: usize = 400;
    let chunks = QUEUES * ANSWER_BYTES as usize / CHUNK_BYTES;
    let mut pool: Pool<&'static [u8]> = Pool::new(2 * chunks, chunks);
    let mut queues = [Queue::default(); QUEUES * 3 / 8];
    queues.iter_mut().for_each(|queue| fill(&mut pool, queue));
    assert!(queues.iter().all(|queue| queue.len >= ANSWER_BYTES));
    assert!(pool.has_capacity(&Queue::default()));
}

#[test]
fn the_last_eighth_is_for_answers_that_were_begun() {
    let mut pool: Pool<&'static [u8]> = Pool::new(160, 80);
    let mut begun = Queue::default();
    let mut effects = Effects::default();
    Reply::new(&mut pool, &mut begun, &mut effects).copy(b"begun");
    let mut others = [Queue::default(); 20];
    others.iter_mut().for_each(|queue| {
        if pool.has_capacity(&Queue::default()) {
            fill(&mut pool, queue);
        }
    });
    assert!(!pool.has_capacity(&Queue::default()) && pool.has_capacity(&begun));
    fill(&mut pool, &mut begun);
    assert!(begun.len >= ANSWER_BYTES || !pool.can_promise());
}

#[test]
fn a_panic_while_the_pool_changes_is_noted_and_one_of_the_caller_is_not() {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    let mut pool: Pool<&'static [u8]> = Pool::new(4, 4);
    let (mut queue, mut effects) = (Queue::default(), Effects::default());
    let mut reply = Reply::new(&mut pool, &mut queue, &mut effects);
    reply.copy(b"whole");
    let past_the_end = catch_unwind(AssertUnwindSafe(|| reply.share(b"short", 0..6)));
    assert!(past_the_end.is_err() && !reply.is_broken());
    // No such chunk.
    pool.free_chunks.push(99);
    let mut reply = Reply::new(&mut pool, &mut queue, &mut effects);
    let cut_off = catch_unwind(AssertUnwindSafe(|| reply.copy(&[0; 2 * CHUNK_BYTES])));
    assert!(cut_off.is_err() && reply.is_broken());
}

#[test]
fn what_may_be_copied_leaves_others_their_part() {
    for (entries, chunks, most) in
        [(1024, 1024, 59), (1024, 100, 45), (100, 1024, 45), (64, 12, 1), (10, 10, 0)]
    {
        let mut pool = Pool::<&'static [u8]>::new(entries, chunks);
        let (mut queue, mut effects) = (Queue::default(), Effects::default());
        let mut reply = Reply::new(&mut pool, &mut queue, &mut effects);
        assert!(reply.has_capacity());
        let copyable = reply.copyable();
        assert_eq!(copyable, most * CHUNK_BYTES, "{entries}, {chunks}");
        reply.copy(&vec![b'x'; copyable]);
        // What was promised still fits.
        reply.copy(&[b'y'; CAPACITY_COPY_BYTES]);
        assert_eq!(
            (effects.asked.has_overflowed(), queue.len()),
            (false, (copyable + CAPACITY_COPY_BYTES) as u64)
        );
        queue.clear(&mut pool);
    }
}

#[test]
fn a_write_takes_what_there_is_capacity_for() {
    let mut pool: Pool<&'static [u8]> = Pool::new(64, 64);
    let (mut queue, mut effects) = (Queue::default(), Effects::default());
    let bytes: Vec<u8> = (0..100_000u32).map(|i| ((i * 31) >> 3) as u8).collect();
    let mut sent = 0;
    while sent < bytes.len() {
        let mut reply = Reply::new(&mut pool, &mut queue, &mut effects);
        let taken = reply.write(&bytes[sent..]);
        assert!(taken > 0 && !effects.asked.has_overflowed());
        assert_eq!(effects.asked.wants_capacity(), sent + taken < bytes.len());
        assert_eq!(queue.start(), sent as u32);
        assert_eq!(
            queue.slices(&pool).flatten().copied().collect::<Vec<u8>>(),
            bytes[sent..sent + taken]
        );
        queue.acknowledge(&mut pool, queue.len());
        (sent, effects) = (sent + taken, Effects::default());
    }
}

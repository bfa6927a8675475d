//! Rings in plain memory, with both sides in this process.

use super::*;
use std::cell::UnsafeCell;
use std::sync::Arc;

const SIZE: usize = 8;

/// A ring in plain memory, laid out as the kernel does: indices and flags first, slots behind.
#[repr(C)]
struct Plain<T> {
    producer: AtomicU32,
    consumer: AtomicU32,
    flags: AtomicU32,
    slots: UnsafeCell<[T; SIZE]>,
}

// SAFETY: the slots are only touched through one producer and one consumer, which is what is
// tested.
unsafe impl<T: Send> Sync for Plain<T> {}

fn plain<T: Copy>(start: u32, empty: T) -> Arc<Plain<T>> {
    Arc::new(Plain {
        producer: AtomicU32::new(start),
        consumer: AtomicU32::new(start),
        flags: AtomicU32::new(0),
        slots: UnsafeCell::new([empty; SIZE]),
    })
}

fn layout<T>(ring: &Arc<Plain<T>>) -> Layout<T> {
    Layout {
        producer: NonNull::from(&ring.producer),
        consumer: NonNull::from(&ring.consumer),
        flags: Some(NonNull::from(&ring.flags)),
        slots: NonNull::new(ring.slots.get().cast()).unwrap(),
        size: SIZE as u32,
    }
}

fn ends<T: Copy + Send + 'static>(ring: &Arc<Plain<T>>) -> (Producer<T>, Consumer<T>) {
    // SAFETY: the pointers lead into the Arc that goes along; one producer and one consumer are
    // made of it.
    unsafe {
        (
            Producer::new(layout(ring), Box::new(ring.clone())),
            Consumer::new(layout(ring), Box::new(ring.clone())),
        )
    }
}

/// Both sides of a fresh ring of [`PLAIN_SLOTS`] slots whose indices are about to wrap; nobody asks
/// to be woken.
pub(crate) fn pair<T: Copy + Send + 'static>(empty: T) -> (Producer<T>, Consumer<T>) {
    ends(&plain(u32::MAX - 2, empty))
}

/// Slots of a ring of [`pair`].
pub(crate) const PLAIN_SLOTS: u32 = SIZE as u32;

#[test]
fn values_come_out_in_order_across_the_end_of_the_indices() {
    let ring = plain(u32::MAX - 2 * SIZE as u32, 0u64);
    let (mut producer, mut consumer) = ends(&ring);
    let (mut sent, mut seen) = (0, 0);
    for round in 0..40 {
        let space = producer.free(SIZE as u32).min(round % 7 + 1);
        for _ in 0..space / 2 {
            producer.push(sent);
            sent += 1;
        }
        // One more value than there is space for is not taken, and fewer are no fault.
        let mut rest = sent..sent + u64::from(space) - u64::from(space / 2) + round as u64 % 3;
        let wanted = (rest.end - rest.start).min(u64::from(space - space / 2));
        let pushed = producer.push_all(space - space / 2, rest.by_ref());
        assert_eq!(u64::from(pushed), wanted);
        sent += wanted;
        assert_eq!(rest.start, sent);
        producer.submit();
        let take = consumer.available(SIZE as u32).min(round % 5 + 1);
        for ahead in 0..take {
            assert_eq!(consumer.peek(ahead), seen + u64::from(ahead));
        }
        assert!(consumer.values(take).eq(seen..seen + u64::from(take)));
        consumer.release(take);
        seen += u64::from(take);
        assert_eq!(u64::from(producer.pending()), sent - seen);
    }
    assert!(seen > 3 * SIZE as u64);
    assert!(ring.producer.load(Ordering::Relaxed) < SIZE as u32 * 20, "the indices did wrap");
}

#[test]
fn a_full_ring_has_no_free_slot_and_an_empty_one_nothing_to_read() {
    let ring = plain(u32::MAX, 0u64);
    let (mut producer, mut consumer) = ends(&ring);
    assert_eq!(consumer.available(1), 0);
    assert_eq!(producer.free(1), SIZE as u32);
    for value in 0..SIZE as u64 {
        producer.push(value);
    }
    assert_eq!(
        (producer.free(1), consumer.available(1)),
        (0, 0),
        "nothing is seen before it is submitted"
    );
    producer.submit();
    assert_eq!((consumer.available(1), producer.pending()), (SIZE as u32, SIZE as u32));
    consumer.release(3);
    assert_eq!((producer.free(1), producer.pending()), (3, SIZE as u32 - 3));
}

#[test]
fn an_index_that_cannot_be_changes_nothing() {
    let ring = plain(100, 0u64);
    let (mut producer, mut consumer) = ends(&ring);
    ring.producer.store(100 + SIZE as u32 + 1, Ordering::Relaxed);
    assert_eq!(consumer.available(1), 0);
    ring.producer.store(99, Ordering::Relaxed);
    assert_eq!(consumer.available(1), 0);
    ring.consumer.store(101, Ordering::Relaxed);
    assert_eq!(producer.free(1), 0, "a consumer ahead of its producer");
}

#[test]
#[should_panic(expected = "without a free slot")]
fn pushing_onto_a_full_ring_is_caught() {
    let ring = plain(0, 0u64);
    let (mut producer, _consumer) = ends(&ring);
    let free = producer.free(1);
    for value in 0..=u64::from(free) {
        producer.push(value);
    }
}

#[test]
#[should_panic(expected = "pushed past the free slots")]
fn pushing_more_than_the_free_slots_is_caught() {
    let ring = plain(0, 0u64);
    let (mut producer, _consumer) = ends(&ring);
    let free = producer.free(1);
    producer.push_all(free + 1, 0..);
}

#[test]
#[should_panic(expected = "read past the filled slots")]
fn reading_more_than_the_filled_slots_is_caught() {
    let ring = plain(0, 0u64);
    let (mut producer, mut consumer) = ends(&ring);
    let _ = producer.free(2);
    producer.push_all(2, 0..2);
    producer.submit();
    let filled = consumer.available(3);
    let _ = consumer.values(filled + 1).count();
}

#[test]
fn the_wakeup_flag_is_read_and_taken_for_set_where_there_is_none() {
    let ring = plain(0, 0u64);
    let (producer, _consumer) = ends(&ring);
    assert!(!producer.needs_wakeup());
    ring.flags.store(libc::XDP_RING_NEED_WAKEUP, Ordering::Relaxed);
    assert!(producer.needs_wakeup());
    // SAFETY: as in `ends`; nothing is pushed through this second producer.
    let old =
        unsafe { Producer::new(Layout { flags: None, ..layout(&ring) }, Box::new(ring.clone())) };
    ring.flags.store(0, Ordering::Relaxed);
    assert!(old.needs_wakeup());
}

/// Under Miri this also shows that no slot is touched by both sides at once.
#[test]
fn two_threads_pass_every_value_once() {
    let total: u64 = if cfg!(miri) { 300 } else { 200_000 };
    let ring = plain(u32::MAX - 100, 0u64);
    let (mut producer, mut consumer) = ends(&ring);
    let sender = std::thread::spawn(move || {
        let mut sent = 0;
        while sent < total {
            let count = producer.free(1).min((total - sent) as u32);
            sent += u64::from(producer.push_all(count, sent..));
            producer.submit();
            std::thread::yield_now();
        }
    });
    let mut seen = 0;
    while seen < total {
        let available = consumer.available(1);
        assert!(consumer.values(available).eq(seen..seen + u64::from(available)));
        consumer.release(available);
        seen += u64::from(available);
        std::thread::yield_now();
    }
    sender.join().unwrap();
}

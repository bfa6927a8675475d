//! A queue whose kernel is this test: the other sides of its rings, in plain memory.

use super::super::ring::tests::{PLAIN_SLOTS, pair};
use super::*;
use std::collections::{HashSet, VecDeque};

const CHUNKS: u32 = 64;
const CONTINUED: XdpDescOptions = XdpDescOptions::XDP_PKT_CONTD;

struct Kernel {
    fill: Consumer<u64>,
    rx: Producer<XdpDesc>,
    tx: Consumer<XdpDesc>,
    completion: Producer<u64>,
    /// Chunks taken from the fill ring.
    lent: VecDeque<u64>,
}

fn queue(id: u32) -> (Queue, Kernel, FramePool) {
    let nothing = XdpDesc { addr: 0, len: 0, options: XdpDescOptions::empty() };
    let (fill, fill_end) = pair(0);
    let (rx_end, rx) = pair(nothing);
    let (tx, tx_end) = pair(nothing);
    let (completion_end, completion) = pair(0);
    let (umem, mut pools) = Umem::new(CHUNKS, 2048, 1).unwrap();
    let capabilities =
        Capabilities { zero_copy: false, multi_buffer: true, busy_poll: false, checksums: false };
    // No ring asks to be woken, so the socket is never used.
    let socket = std::fs::File::open("/dev/null").unwrap().into();
    let queue =
        Queue::new(id, socket, Rings { fill, rx, tx, completion }, Arc::new(umem), capabilities);
    let kernel = Kernel {
        fill: fill_end,
        rx: rx_end,
        tx: tx_end,
        completion: completion_end,
        lent: VecDeque::new(),
    };
    (queue, kernel, pools.pop().unwrap())
}

impl Kernel {
    fn take_fill(&mut self) -> u32 {
        let filled = self.fill.available(PLAIN_SLOTS);
        self.lent.extend((0..filled).map(|ahead| self.fill.peek(ahead)));
        self.fill.release(filled);
        filled
    }

    fn push(&mut self, addr: u64, len: u32, options: XdpDescOptions) {
        assert!(self.rx.free(1) > 0);
        self.rx.push(XdpDesc { addr, len, options });
        self.rx.submit();
    }

    /// Receives a packet of as many frames as there are lengths.
    fn packet(&mut self, lens: &[u32]) {
        for (index, len) in lens.iter().enumerate() {
            let addr = self.lent.pop_front().expect("a lent chunk") + 256;
            let last = index + 1 == lens.len();
            self.push(addr, *len, if last { XdpDescOptions::empty() } else { CONTINUED });
        }
    }

    fn transmit_all(&mut self) -> Vec<XdpDesc> {
        let sent: Vec<XdpDesc> =
            (0..self.tx.available(PLAIN_SLOTS)).map(|ahead| self.tx.peek(ahead)).collect();
        self.tx.release(sent.len() as u32);
        for desc in &sent {
            assert!(self.completion.free(1) > 0);
            self.completion.push(desc.addr);
        }
        self.completion.submit();
        sent
    }
}

/// Lengths of the frames that one call brings.
fn receive(queue: &mut Queue, pool: &mut FramePool, max: usize) -> Vec<usize> {
    let mut frames = Vec::new();
    assert_eq!(queue.receive(pool, &mut frames, max), frames.len());
    let lens = frames.iter().map(Frame::len).collect();
    frames.into_iter().for_each(|frame| pool.give(frame));
    lens
}

#[test]
fn the_fill_ring_is_kept_full_and_no_fuller() {
    let (mut queue, mut kernel, mut pool) = queue(0);
    queue.refill(&mut pool);
    assert_eq!(queue.frames().receive, PLAIN_SLOTS as usize);
    assert_eq!(kernel.take_fill(), PLAIN_SLOTS);
    queue.refill(&mut pool);
    assert_eq!(kernel.take_fill(), 0, "there is a lent frame for each slot already");
    kernel.packet(&[60]);
    kernel.packet(&[61]);
    assert_eq!(receive(&mut queue, &mut pool, 64), [60, 61]);
    assert_eq!(pool.len() + queue.frames().receive, CHUNKS as usize);
}

#[test]
fn a_packet_is_never_split() {
    let (mut queue, mut kernel, mut pool) = queue(3);
    queue.refill(&mut pool);
    kernel.take_fill();
    kernel.packet(&[1]);
    kernel.packet(&[2, 3, 4]);
    kernel.packet(&[5]);
    assert_eq!(receive(&mut queue, &mut pool, 2), [1], "the next packet does not fit");
    assert_eq!(
        receive(&mut queue, &mut pool, 2),
        [2, 3, 4],
        "a packet longer than asked for comes whole"
    );
    // The head of a packet whose tail is not here yet.
    let [head, tail] = [kernel.lent.pop_front().unwrap(), kernel.lent.pop_front().unwrap()];
    kernel.push(head, 6, CONTINUED);
    assert_eq!(receive(&mut queue, &mut pool, 64), [5]);
    assert_eq!(receive(&mut queue, &mut pool, 64), [0; 0]);
    kernel.push(tail, 7, XdpDescOptions::empty());
    assert_eq!(receive(&mut queue, &mut pool, 64), [6, 7]);
    assert_eq!(queue.counters().rx_continued, 3);
}

#[test]
fn a_packet_that_fills_the_ring_without_an_end_does_not_block_it() {
    let (mut queue, mut kernel, mut pool) = queue(0);
    queue.refill(&mut pool);
    kernel.take_fill();
    for _ in 0..PLAIN_SLOTS {
        let addr = kernel.lent.pop_front().unwrap();
        kernel.push(addr, 9, CONTINUED);
    }
    assert_eq!(receive(&mut queue, &mut pool, 1).len(), PLAIN_SLOTS as usize);
    kernel.take_fill();
    kernel.packet(&[60]);
    assert_eq!(receive(&mut queue, &mut pool, 1), [60]);
}

#[test]
fn descriptors_that_cannot_be_are_counted_and_dropped() {
    let (mut queue, mut kernel, mut pool) = queue(0);
    queue.refill(&mut pool);
    kernel.take_fill();
    let good = kernel.lent.pop_front().unwrap();
    kernel.push(u64::MAX, 60, XdpDescOptions::empty());
    kernel.push(good, 2049, XdpDescOptions::empty());
    kernel.push(good, 60, XdpDescOptions::empty());
    kernel.push(good, 60, XdpDescOptions::empty());
    assert_eq!(receive(&mut queue, &mut pool, 64), [60], "the one good one, once");
    assert_eq!(queue.counters().rx_bad_descriptors, 3);
    kernel.completion.free(1);
    kernel.completion.push(good);
    kernel.completion.submit();
    queue.complete(&mut pool);
    assert_eq!(queue.counters().tx_bad_completions, 1, "never transmitted");
    assert_eq!(pool.len() + queue.frames().receive, CHUNKS as usize);
}

#[test]
fn frames_go_out_in_order_and_come_back_to_the_pool() {
    let (mut queue, mut kernel, mut pool) = queue(0);
    for round in 0..5u8 {
        for number in 0..PLAIN_SLOTS as u8 {
            let mut frame = pool.take().unwrap();
            queue.umem().chunk_mut(&mut frame)[0] = number;
            frame.set_len(usize::from(number) + 1);
            frame.set_more(number % 2 == 0);
            queue.transmit(frame).unwrap();
        }
        assert_eq!((queue.transmit_space(), queue.can_transmit()), (0, false));
        let refused = pool.take().unwrap();
        let mut refused = queue.transmit(refused).expect_err("no bytes");
        refused.set_len(1);
        pool.give(queue.transmit(refused).expect_err("the ring is full"));
        assert_eq!(queue.counters().tx_ring_full, u64::from(round) + 1);
        assert!(kernel.transmit_all().is_empty(), "nothing goes before the flush");
        queue.flush().unwrap();
        let sent = kernel.transmit_all();
        assert!(sent.iter().map(|desc| desc.len).eq(1..=PLAIN_SLOTS));
        assert!(
            sent.iter()
                .enumerate()
                .all(|(at, desc)| desc.options.contains(CONTINUED) == (at % 2 == 0))
        );
        assert_eq!((queue.unsent(), queue.frames().transmit), (0, PLAIN_SLOTS as usize));
        assert_eq!(queue.complete(&mut pool), PLAIN_SLOTS as usize);
        assert_eq!((queue.frames().transmit, pool.len()), (0, CHUNKS as usize));
    }
}

#[test]
fn a_batch_fills_the_ring_and_no_more() {
    let (mut queue, mut kernel, mut pool) = queue(0);
    let slots = PLAIN_SLOTS as usize;
    for round in 0..5 {
        let mut number = 0u8;
        let mut batch = |queue: &mut Queue, pool: &mut FramePool, count| {
            queue.transmit_batch(pool, count, None, |bytes| {
                (bytes[0], number) = (number, number + 1);
                usize::from(number)
            })
        };
        assert_eq!(batch(&mut queue, &mut pool, 3), 3);
        assert_eq!(batch(&mut queue, &mut pool, slots), slots - 3);
        assert_eq!(batch(&mut queue, &mut pool, 1), 0);
        assert_eq!(usize::from(number), slots, "a packet that finds no slot is not written");
        queue.flush().unwrap();
        let sent = kernel.transmit_all();
        assert!(sent.iter().map(|desc| desc.len).eq(1..=PLAIN_SLOTS));
        let chunks: HashSet<u64> = sent.iter().map(|desc| desc.addr).collect();
        assert_eq!(chunks.len(), slots);
        assert_eq!(queue.frames().transmit, slots);
        assert_eq!(queue.complete(&mut pool), slots);
        assert_eq!((queue.frames().transmit, pool.len()), (0, CHUNKS as usize));
        let counters = queue.counters();
        assert_eq!(counters.tx_frames, (round + 1) * u64::from(PLAIN_SLOTS));
        let bytes = u64::from(PLAIN_SLOTS * (PLAIN_SLOTS + 1) / 2);
        assert_eq!(counters.tx_bytes, (round + 1) * bytes);
        assert_eq!(counters.tx_ring_full, round + 1);
    }
}

#[test]
fn a_batch_ends_with_the_pool() {
    let (mut queue, _, mut pool) = queue(0);
    let taken: Vec<Frame> = std::iter::from_fn(|| pool.take()).collect();
    let mut taken = taken.into_iter();
    taken.by_ref().take(2).for_each(|frame| pool.give(frame));
    assert_eq!(queue.transmit_batch(&mut pool, 5, None, |_| 60), 2);
    assert_eq!(queue.transmit_batch(&mut pool, 5, None, |_| 60), 0);
    assert_eq!(queue.counters().tx_ring_full, 0);
    taken.for_each(|frame| pool.give(frame));
}

#[test]
fn an_empty_pool_leaves_the_fill_ring_short_and_is_counted() {
    let (mut queue, mut kernel, mut pool) = queue(0);
    let taken: Vec<Frame> = std::iter::from_fn(|| pool.take()).collect();
    queue.refill(&mut pool);
    assert_eq!((queue.frames().receive, queue.counters().rx_pool_empty), (0, 1));
    taken.into_iter().for_each(|frame| pool.give(frame));
    queue.refill(&mut pool);
    assert_eq!(kernel.take_fill(), PLAIN_SLOTS);
}

/// The kernel polls the NAPI of the receive queue alone, and the driver sends from another.
#[test]
#[cfg_attr(miri, ignore = "it calls send(2)")]
fn busy_polling_that_does_not_send_is_given_up() {
    let (mut queue, mut kernel, mut pool) = queue(0);
    queue.capabilities =
        Capabilities { zero_copy: true, multi_buffer: false, busy_poll: true, checksums: false };
    for _ in 0..2 {
        let mut frame = pool.take().unwrap();
        frame.set_len(60);
        queue.transmit(frame).unwrap();
    }
    queue.rings.tx.submit();
    for _ in 1..STALLED_KICKS_MAX {
        queue.prove_busy_polling(2);
    }
    assert!(queue.capabilities.busy_poll, "given up too soon");
    kernel.transmit_all();
    queue.prove_busy_polling(2);
    for _ in 1..STALLED_KICKS_MAX {
        queue.prove_busy_polling(0);
    }
    assert!(queue.capabilities.busy_poll, "a kick with an effect starts the count again");
    queue.prove_busy_polling(0);
    assert!(!queue.capabilities.busy_poll);
}

#[test]
fn a_closed_queue_returns_the_frames_that_the_kernel_held() {
    let (mut queue, mut kernel, mut pool) = queue(3);
    queue.refill(&mut pool);
    kernel.take_fill();
    let mut frame = pool.take().unwrap();
    frame.set_len(60);
    queue.transmit(frame).unwrap();
    let umem = queue.umem().clone();
    queue.close(&mut pool);
    assert_eq!((pool.len(), umem.ownership().user), (CHUNKS as usize, CHUNKS as usize));
}

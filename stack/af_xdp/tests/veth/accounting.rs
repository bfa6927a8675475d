//! Every frame is counted, in one place.

use crate::frames::{numbered, segment_from};
use crate::net::{DEDICATED, End, MODES, Net, until};
use af_xdp::{BURST, Device, Mode, RingSizes};
use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::packet::tcp::{TcpFlags, TcpPacket};
use pnet::transport::{TransportChannelType, TransportProtocol, transport_channel};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

/// Traffic over two queues that share the memory, each with a worker; then every frame is counted
/// in its place.
#[test]
fn no_frame_is_lost_or_owned_twice() {
    const FRAMES: u32 = 20_000;
    const FLOWS: u32 = 64;
    for mode in MODES {
        // In generic mode a veth takes the number of the queue a frame was sent from, less one, for
        // the one it came in on; in native mode the number itself, and there may be no more at the
        // peer than here.
        let client_queues = if mode == Mode::Generic { 3 } else { 2 };
        let Some(net) = Net::with(2, client_queues) else { return };
        let (device, parts) = net.open(|options| options.mode = Some(mode)).unwrap();
        assert_eq!(parts.len(), 2, "all queues of the interface");
        // The kernel spreads what a raw IP socket sends over the queues, by flow.
        let raw = TransportChannelType::Layer4(TransportProtocol::Ipv4(IpNextHeaderProtocols::Tcp));
        let (mut sender, _receiver) = net.client.run(|| transport_channel(4096, raw).unwrap());
        let received = AtomicU32::new(0);
        let sent = AtomicU32::new(u32::MAX);
        let workers: Vec<(End, BTreeSet<u64>)> = thread::scope(|scope| {
            let workers: Vec<_> = parts
                .into_iter()
                .map(|(queue, pool)| {
                    let (received, sent) = (&received, &sent);
                    scope.spawn(move || reflect(End { queue, pool }, received, sent))
                })
                .collect();
            // At most two hundred under way, so that none is dropped for want of room: a veth in
            // native mode has 256.
            for number in 0..FRAMES {
                until("the workers keep up", || number - received.load(Ordering::Relaxed) < 200);
                let bytes = numbered((number % FLOWS) as u16, number, 60);
                sender.send_to(TcpPacket::new(&bytes[34..]).unwrap(), DEDICATED.into()).unwrap();
            }
            sent.store(FRAMES, Ordering::Relaxed);
            workers.into_iter().map(|worker| worker.join().unwrap()).collect()
        });
        let umem = device.umem().clone();
        let mut frames = 0;
        let mut numbers = BTreeSet::new();
        for (mut end, seen) in workers {
            assert!(!seen.is_empty(), "{mode}: queue {} got none", end.queue.id());
            numbers.extend(seen);
            frames += end.settled();
            let counters = *end.queue.counters();
            assert_eq!((counters.rx_bad_descriptors, counters.tx_bad_completions), (0, 0));
            assert_eq!(counters.tx_frames, counters.tx_completed);
        }
        assert_eq!(numbers.len(), FRAMES as usize, "{mode}: each frame arrived, and once");
        assert_eq!(frames, umem.chunks(), "{mode}: pools, fill and RX rings hold all frames");
        let ownership = device.ownership();
        assert_eq!(
            (ownership.user + ownership.receive, ownership.transmit),
            (umem.chunks(), 0),
            "{mode}: so says the ownership table"
        );
    }
}

/// Sends everything back until `sent` frames were received by all; returns the numbers of those
/// seen here.
fn reflect(mut end: End, received: &AtomicU32, sent: &AtomicU32) -> (End, BTreeSet<u64>) {
    let umem = end.umem();
    let (mut seen, mut burst) = (BTreeSet::new(), Vec::new());
    until("all frames were received", || {
        end.queue.complete(&mut end.pool);
        let count = end.queue.receive(&mut end.pool, &mut burst, BURST);
        for frame in burst.drain(..) {
            let bytes = umem.bytes(&frame);
            let segment = TcpPacket::new(&bytes[34..]).unwrap();
            assert!(seen.insert(segment.get_sequence().into()), "received twice");
            if let Err(frame) = end.queue.transmit(frame) {
                end.pool.give(frame);
            }
        }
        end.queue.flush().unwrap();
        received.fetch_add(count as u32, Ordering::Relaxed) + count as u32
            == sent.load(Ordering::Relaxed)
    });
    (end, seen)
}

/// A device with rings of 64 slots and 256 frames, and its only queue.
fn with_small_rings(net: &Net) -> (Device, End) {
    let (device, mut parts) = net
        .open(|options| {
            options.rings = RingSizes { fill: 64, rx: 64, tx: 64, completion: 64 };
            options.frames_per_queue = 256;
        })
        .unwrap();
    let (queue, pool) = parts.pop().unwrap();
    (device, End { queue, pool })
}

#[test]
fn what_the_kernel_had_to_drop_is_counted() {
    let Some(net) = Net::new(1) else { return };
    let (_device, mut end) = with_small_rings(&net);
    let (mut sender, _receiver) = net.wire();
    for number in 0..200 {
        sender.send_to(&numbered(0, number, 10), None).unwrap().unwrap();
    }
    until("200 frames were received or dropped", || {
        let kernel = end.queue.kernel_counters().unwrap();
        kernel.xsk_rx_dropped + kernel.xsk_rx_ring_full + kernel.xsk_fill_ring_empty >= 200 - 64
    });
    let frames = end.receive(1000);
    assert_eq!(frames.len(), 64, "as many as the fill ring had");
    end.give_all(frames);
    // The ring is filled again: the next frame arrives.
    sender.send_to(&numbered(0, 777, 10), None).unwrap().unwrap();
    let frames = end.receive(BURST);
    let umem = end.umem();
    assert!(umem.bytes(&frames[0]) == numbered(0, 777, 10));
    end.give_all(frames);
    assert_eq!(end.settled(), 256);
}

#[test]
fn a_full_tx_ring_gives_the_frame_back() {
    let Some(net) = Net::new(1) else { return };
    let (_device, mut end) = with_small_rings(&net);
    let bytes = segment_from(1, 2, 3, 4, TcpFlags::ACK);
    assert_eq!(end.queue.transmit_space(), 64);
    for _ in 0..64 {
        end.put(&bytes);
    }
    let mut frame = end.pool.take().unwrap();
    frame.set_len(60);
    let frame = end.queue.transmit(frame).expect_err("the ring is full");
    assert_eq!(end.queue.counters().tx_ring_full, 1);
    end.flush();
    assert_eq!(end.queue.transmit(frame), Ok(()), "there is space again");
    let empty = end.pool.take().unwrap();
    let empty = end.queue.transmit(empty).expect_err("a frame without bytes is not sent");
    end.pool.give(empty);
    assert_eq!(end.settled(), 256);
}

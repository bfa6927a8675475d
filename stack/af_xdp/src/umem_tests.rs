use super::*;

const CHUNK: u64 = 4096;

fn umem(chunks: u32, pools: u32) -> (Umem, Vec<FramePool>) {
    Umem::new(chunks, CHUNK as u32, pools).unwrap()
}

fn desc(addr: u64, len: u32) -> XdpDesc {
    XdpDesc { addr, len, options: XdpDescOptions::empty() }
}

#[test]
fn frames_are_dealt_out_once_each() {
    let (umem, mut pools) = umem(11, 3);
    assert_eq!(pools.iter().map(FramePool::len).collect::<Vec<_>>(), [4, 4, 3]);
    let mut seen: Vec<u64> = Vec::new();
    for pool in &mut pools {
        while let Some(frame) = pool.take() {
            assert!(frame.is_empty() && !frame.more());
            seen.push(frame.addr());
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..11).map(|chunk| chunk * CHUNK).collect::<Vec<_>>());
    assert_eq!(umem.ownership(), Ownership { user: 11, ..Ownership::default() });
}

#[test]
fn many_frames_go_the_same_way_as_one() {
    let (umem, mut pools) = umem(5, 1);
    let pool = &mut pools[0];
    let one_by_one: Vec<u64> = std::iter::from_fn(|| pool.take()).map(|f| f.addr()).collect();
    assert_eq!(pool.take_all(1).count(), 0);
    pool.give_all(one_by_one.iter().rev().map(|addr| Frame::empty(addr + 60, umem.id)));
    let front: Vec<Frame> = pool.take_all(3).collect();
    assert_eq!(front.iter().map(Frame::addr).collect::<Vec<_>>(), one_by_one[..3]);
    let behind: Vec<Frame> = pool.take_all(9).collect();
    assert_eq!(behind.iter().map(Frame::addr).collect::<Vec<_>>(), one_by_one[3..]);
    // The last one given is the first one taken.
    pool.give_all(behind.into_iter().chain(front));
    let again: Vec<u64> = pool.take_all(5).map(|frame| frame.addr()).collect();
    let expected = [&one_by_one[..3], &one_by_one[3..]].map(|part| part.iter().rev()).into_iter();
    assert_eq!(again, expected.flatten().copied().collect::<Vec<_>>());
}

#[test]
fn bytes_written_are_read_back_and_other_frames_keep_theirs() {
    let (umem, mut pools) = umem(4, 1);
    let (mut a, mut b) = (pools[0].take().unwrap(), pools[0].take().unwrap());
    umem.chunk_mut(&mut a).fill(0xaa);
    umem.chunk_mut(&mut b)[..3].copy_from_slice(b"abc");
    b.set_len(3);
    assert_eq!(umem.bytes(&b), b"abc");
    assert_eq!(a.len(), CHUNK as usize);
    assert!(umem.bytes(&a).iter().all(|byte| *byte == 0xaa));
}

#[test]
fn a_descriptor_becomes_a_frame_only_if_it_names_bytes_of_a_chunk_that_the_ring_holds() {
    let (umem, mut pools) = umem(4, 1);
    let (ring, other) = (Holder::receive(0), Holder::receive(1));
    let frame = pools[0].take().unwrap();
    let base = umem.lend(&frame, ring).addr;
    assert_eq!(umem.take_back(desc(base, 60), other), None, "another queue's");
    assert_eq!(umem.take_back(desc(base, 60), Holder::transmit(0)), None, "the other direction's");
    assert_eq!(umem.take_back(desc(base + 256, CHUNK as u32 - 255), ring), None, "past the chunk");
    assert_eq!(umem.take_back(desc(base, u32::MAX), ring), None, "longer than anything");
    assert_eq!(umem.take_back(desc(4 * CHUNK, 60), ring), None, "past the memory");
    assert_eq!(umem.take_back(desc(u64::MAX, 60), ring), None, "far past the memory");
    let frame = umem.take_back(desc(base + 256, CHUNK as u32 - 256), ring).expect("a good one");
    assert_eq!((frame.addr(), frame.len()), (base + 256, CHUNK as usize - 256));
    assert_eq!(umem.take_back(desc(base + 256, 60), ring), None, "handed back twice");
    pools[0].give(frame);
}

#[test]
fn the_ownership_table_follows_chunks_to_the_kernel_and_back() {
    let (umem, mut pools) = umem(4, 1);
    let (receive, transmit) = (Holder::receive(7), Holder::transmit(7));
    let a = umem.lend(&pools[0].take().unwrap(), receive);
    let b = umem.lend(&pools[0].take().unwrap(), transmit);
    assert_eq!(umem.ownership(), Ownership { user: 2, receive: 1, transmit: 1 });
    assert!(umem.take_back(a, receive).is_some() && umem.take_back(b, transmit).is_some());
    assert_eq!(umem.ownership(), Ownership { user: 4, ..Ownership::default() });
}

#[test]
fn a_chain_keeps_its_mark_both_ways() {
    let (umem, mut pools) = umem(1, 1);
    let mut frame = pools[0].take().unwrap();
    frame.set_more(true);
    let desc = umem.lend(&frame, Holder::transmit(0));
    assert_eq!(desc.options, XdpDescOptions::XDP_PKT_CONTD);
    assert!(umem.take_back(desc, Holder::transmit(0)).unwrap().more());
}

#[test]
#[should_panic(expected = "longer than its chunk")]
fn a_frame_cannot_be_stretched_over_its_neighbour() {
    let (umem, mut pools) = umem(2, 1);
    let mut frame = pools[0].take().unwrap();
    frame.set_len(CHUNK as usize + 1);
    umem.bytes_mut(&mut frame);
}

#[test]
#[should_panic(expected = "another device")]
fn a_frame_is_not_used_with_another_memory() {
    let (_one, mut pools) = umem(1, 1);
    let (other, _) = umem(1, 1);
    let _ = other.bytes(&pools[0].take().unwrap());
}

#[test]
fn a_request_for_a_checksum_lies_before_the_frame_and_is_gone_with_the_next_packet() {
    let (umem, mut pools) = Umem::with_metadata(2, CHUNK as u32, 1).unwrap();
    assert_eq!(umem.transmit_bytes(), CHUNK as usize - 24);
    let mut frame = pools[0].take().unwrap();
    assert_eq!(frame.addr() % CHUNK, 24, "a free frame begins behind the metadata");
    assert_eq!(umem.chunk_mut(&mut frame).len(), umem.transmit_bytes());
    umem.request_checksum(&mut frame, Checksum { start: 34, offset: 16 });
    let desc = umem.lend(&frame, Holder::transmit(0));
    assert_eq!((desc.addr % CHUNK, desc.options.bits()), (24, metadata::XDP_TX_METADATA));
    let start = (desc.addr - 24) as usize;
    // SAFETY: within the mapping, and nobody writes.
    let bytes = unsafe { std::slice::from_raw_parts(umem.mapping.base().as_ptr().add(start), 12) };
    assert_eq!(
        bytes,
        [&2u64.to_ne_bytes()[..], &34u16.to_ne_bytes(), &16u16.to_ne_bytes()].concat()
    );

    let taken = XdpDesc { len: 0, ..desc };
    pools[0].give(umem.take_back(taken, Holder::transmit(0)).unwrap());
    let mut frame = pools[0].take().unwrap();
    umem.chunk_mut(&mut frame);
    assert_eq!(umem.lend(&frame, Holder::transmit(0)).options, XdpDescOptions::empty());
}

#[test]
#[should_panic(expected = "a UMEM without TX metadata")]
fn a_request_needs_the_space_for_it() {
    let (umem, mut pools) = umem(1, 1);
    let mut frame = pools[0].take().unwrap();
    umem.request_checksum(&mut frame, Checksum { start: 34, offset: 16 });
}

#[test]
#[should_panic(expected = "a frame without space for TX metadata")]
fn a_frame_at_the_start_of_its_chunk_is_not_transmitted() {
    let (umem, mut pools) = Umem::with_metadata(1, CHUNK as u32, 1).unwrap();
    let frame = pools[0].take().unwrap();
    let _ = umem.lend(&frame, Holder::receive(0));
    let received = umem.take_back(desc(0, 60), Holder::receive(0)).unwrap();
    let _ = umem.lend(&received, Holder::transmit(0));
}

#[test]
fn a_packet_is_written_and_lent_as_step_by_step() {
    for checksum in [None, Some(Checksum { start: 34, offset: 16 })] {
        let (umem, mut pools) = Umem::with_metadata(2, CHUNK as u32, 1).unwrap();
        let to = Holder::transmit(3);
        let (mut frame, written) = (pools[0].take().unwrap(), pools[0].take().unwrap());
        umem.chunk_mut(&mut frame)[..3].copy_from_slice(b"abc");
        frame.set_len(3);
        if let Some(checksum) = checksum {
            umem.request_checksum(&mut frame, checksum);
        }
        let steps = umem.lend(&frame, to);
        let at_once = umem.lend_written(written, to, checksum, |bytes| {
            assert_eq!(bytes.len(), umem.transmit_bytes());
            bytes[..3].copy_from_slice(b"abc");
            3
        });
        assert_eq!((at_once.addr % CHUNK, at_once.len), (steps.addr % CHUNK, steps.len));
        assert_eq!(at_once.options, steps.options);
        let chunk = |desc: XdpDesc| {
            let start = (desc.addr - 24) as usize;
            // SAFETY: within the mapping, and nobody writes.
            unsafe { std::slice::from_raw_parts(umem.mapping.base().as_ptr().add(start), 27) }
        };
        assert_eq!(chunk(at_once), chunk(steps));
        assert_eq!(umem.ownership(), Ownership { transmit: 2, ..Ownership::default() });
        for desc in [steps, at_once] {
            let taker = umem.taker(to);
            let frame = taker.take_sent(desc.addr + 100).expect("lent");
            assert_eq!((frame.addr(), frame.len()), (desc.addr, 0));
            assert_eq!(taker.take_sent(desc.addr), None, "handed back twice");
            assert_eq!(taker.take_sent(2 * CHUNK), None, "past the memory");
        }
        assert_eq!(umem.ownership(), Ownership { user: 2, ..Ownership::default() });
    }
}

#[test]
#[should_panic(expected = "a packet longer than its frame")]
fn a_packet_longer_than_its_frame_is_not_lent() {
    let (umem, mut pools) = Umem::with_metadata(2, CHUNK as u32, 1).unwrap();
    let frame = pools[0].take().unwrap();
    let _ = umem.lend_written(frame, Holder::transmit(0), None, |bytes| bytes.len() + 1);
}

#[test]
#[should_panic(expected = "another device")]
fn a_packet_is_not_written_to_another_memory() {
    let (_one, mut pools) = umem(1, 1);
    let (other, _) = umem(1, 1);
    let _ = other.lend_written(pools[0].take().unwrap(), Holder::transmit(0), None, |_| 60);
}

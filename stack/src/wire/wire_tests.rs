//! Frames built and read by other code (pnet, smoltcp) against what is built and read here.

use super::*;
use crate::seq::Seq;
use pnet::packet::ethernet::{EtherType, MutableEthernetPacket};
use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::packet::ipv4::{Ipv4Packet, MutableIpv4Packet};
use pnet::packet::tcp::{MutableTcpPacket, TcpOption, TcpPacket};
use pnet::packet::{Packet as _, ipv4 as pnet_ipv4, tcp as pnet_tcp};
use pnet::util::MacAddr;
use proptest::collection::vec;
use proptest::prelude::*;
use std::net::Ipv4Addr;

const OURS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
const THEIRS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const MACS: [MacAddr; 2] = [MacAddr(2, 0, 0, 0, 0, 1), MacAddr(2, 0, 0, 0, 0, 2)];

/// A segment, in this crate's words; pnet writes it.
#[derive(Clone, Debug)]
struct Spec {
    ports: (u16, u16),
    seq: u32,
    ack: u32,
    flags: u8,
    ecn: u8,
    window: u16,
    options: Options,
    text: Vec<u8>,
    vlan: u16,
    padding: usize,
}

fn options() -> impl Strategy<Value = Options> {
    let sack = vec((any::<u32>(), any::<u32>()), 0..=4);
    let parts =
        (any::<Option<u16>>(), proptest::option::of(0u8..=14), any::<bool>(), any::<Option<(u32, u32)>>(), sack);
    parts.prop_map(|(mss, window_scale, sack_permitted, timestamps, blocks)| {
        let mut options = Options { mss, window_scale, sack_permitted, timestamps, ..Options::default() };
        let used = 4 * usize::from(mss.is_some())
            + 4 * usize::from(window_scale.is_some())
            + 4 * usize::from(sack_permitted)
            + 12 * usize::from(timestamps.is_some());
        let room = (40usize - used).saturating_sub(4) / 8;
        for (place, block) in options.sack.iter_mut().zip(blocks.iter().take(room)) {
            *place = (Seq(block.0), Seq(block.1));
            options.sack_count += 1;
        }
        options
    })
}

prop_compose! {
    fn spec()(
        ports in (any::<u16>(), any::<u16>()), seq: u32, ack: u32, flags: u8, ecn in 0u8..4, window: u16,
        options in options(), text in vec(any::<u8>(), 0..1500), vlan in prop_oneof![Just(0u16), 1u16..4095],
        padding in 0usize..50,
    ) -> Spec {
        Spec { ports, seq, ack, flags: flags & Flags::KNOWN, ecn, window, options, text, vlan, padding }
    }
}

fn pnet_options(options: &Options) -> Vec<TcpOption> {
    let mut all = Vec::new();
    all.extend(options.mss.map(TcpOption::mss));
    if let Some(shift) = options.window_scale {
        all.extend([TcpOption::nop(), TcpOption::wscale(shift)]);
    }
    if options.sack_permitted {
        all.extend([TcpOption::nop(), TcpOption::nop(), TcpOption::sack_perm()]);
    }
    if let Some((value, echo)) = options.timestamps {
        all.extend([TcpOption::nop(), TcpOption::nop(), TcpOption::timestamp(value, echo)]);
    }
    if options.sack_count > 0 {
        let edges: Vec<u32> =
            options.sack[..usize::from(options.sack_count)].iter().flat_map(|(l, r)| [l.0, r.0]).collect();
        all.extend([TcpOption::nop(), TcpOption::nop(), TcpOption::selective_ack(&edges)]);
    }
    all
}

/// The frame as pnet writes it, from them to us.
fn pnet_frame(spec: &Spec) -> Vec<u8> {
    let options = pnet_options(&spec.options);
    let options_len: usize = options
        .iter()
        .map(|option| if option.number == pnet_tcp::TcpOptionNumbers::NOP { 1 } else { 2 + option.data.len() })
        .sum();
    let tcp_len = 20 + options_len.div_ceil(4) * 4 + spec.text.len();
    let at = if spec.vlan == 0 { 14 } else { 18 };
    let mut frame = vec![0; at + 20 + tcp_len];
    let mut ethernet = MutableEthernetPacket::new(&mut frame).expect("a frame has a header");
    ethernet.set_source(MACS[0]);
    ethernet.set_destination(MACS[1]);
    ethernet.set_ethertype(EtherType(if spec.vlan == 0 { 0x0800 } else { 0x8100 }));
    if spec.vlan != 0 {
        frame[14..16].copy_from_slice(&spec.vlan.to_be_bytes());
        frame[16..18].copy_from_slice(&[8, 0]);
    }
    let mut ip = MutableIpv4Packet::new(&mut frame[at..]).expect("room for a header");
    ip.set_version(4);
    ip.set_ecn(spec.ecn);
    ip.set_header_length(5);
    ip.set_total_length((20 + tcp_len) as u16);
    ip.set_ttl(64);
    ip.set_next_level_protocol(IpNextHeaderProtocols::Tcp);
    ip.set_source(THEIRS);
    ip.set_destination(OURS);
    let checksum = pnet_ipv4::checksum(&ip.to_immutable());
    ip.set_checksum(checksum);
    let mut tcp = MutableTcpPacket::new(&mut frame[at + 20..]).expect("room for a header");
    tcp.set_source(spec.ports.0);
    tcp.set_destination(spec.ports.1);
    tcp.set_sequence(spec.seq);
    tcp.set_acknowledgement(spec.ack);
    tcp.set_data_offset(((tcp_len - spec.text.len()) / 4) as u8);
    tcp.set_flags(spec.flags);
    tcp.set_window(spec.window);
    tcp.set_options(&options);
    tcp.set_payload(&spec.text);
    let checksum = pnet_tcp::ipv4_checksum(&tcp.to_immutable(), &THEIRS, &OURS);
    tcp.set_checksum(checksum);
    frame.resize(frame.len() + spec.padding, 0);
    frame
}

/// The frame as the code here writes it, from us to them, with the spec's ports the other way round.
fn our_frame(spec: &Spec) -> Vec<u8> {
    let (local, remote) = (Address::from(OURS), Address::from(THEIRS));
    let header = tcp::Header {
        local: &local,
        local_port: spec.ports.1,
        remote: &remote,
        remote_port: spec.ports.0,
        seq: Seq(spec.seq),
        ack: Seq(spec.ack),
        flags: Flags(spec.flags),
        ecn: Ecn::of(spec.ecn),
        window: spec.window,
    };
    let mut frame = vec![0; 1700];
    let at = ethernet::emit(
        &mut frame,
        &MACS[1].octets(),
        &Link { mac: MACS[0].octets(), vlan: spec.vlan },
        ethernet::IPV4,
    );
    let len = tcp::emit(&mut frame[at..], &header, &spec.options, spec.text.len(), |buf| {
        buf.copy_from_slice(&spec.text);
        buf.len()
    });
    frame.truncate(at + len);
    frame
}

fn parse_whole<'a>(parts: &'a [&'a [u8]]) -> Result<Incoming<'a>, DropReason> {
    parse(Packet(parts), ChecksumPolicy::Verify)
}

fn check_agrees(spec: &Spec, incoming: Result<Incoming<'_>, DropReason>) -> Result<(), TestCaseError> {
    let Ok(Incoming::Tcp(segment)) = incoming else { panic!("{incoming:?}") };
    prop_assert_eq!(segment.link, Link { mac: MACS[0].octets(), vlan: spec.vlan });
    prop_assert_eq!((segment.remote, segment.local), (Address::from(THEIRS), Address::from(OURS)));
    prop_assert_eq!((segment.remote_port, segment.local_port), spec.ports);
    prop_assert_eq!((segment.seq.0, segment.ack.0), (spec.seq, spec.ack));
    prop_assert_eq!((segment.flags.0, segment.window), (spec.flags, spec.window));
    prop_assert_eq!(segment.ecn, Ecn::of(spec.ecn));
    prop_assert_eq!(segment.options, spec.options);
    prop_assert_eq!(segment.payload.len(), spec.text.len());
    prop_assert_eq!(&segment.payload.parts().flatten().copied().collect::<Vec<u8>>(), &spec.text);
    Ok(())
}

proptest! {
    #[test]
    fn reads_what_pnet_writes(spec in spec()) {
        let frame = pnet_frame(&spec);
        check_agrees(&spec, parse_whole(&[&frame]))?;
    }

    /// Chains of buffers, cut anywhere behind the headers, with empty buffers among them.
    #[test]
    fn reads_chains(spec in spec(), cuts in vec(any::<prop::sample::Index>(), 0..6), skip in 0usize..1600) {
        let frame = pnet_frame(&spec);
        let headers = frame.len() - spec.padding - spec.text.len();
        let mut cuts: Vec<usize> =
            cuts.iter().map(|cut| headers + cut.index(frame.len() - headers + 1)).collect();
        cuts.sort_unstable();
        cuts.insert(0, 0);
        cuts.push(frame.len());
        let parts: Vec<&[u8]> = cuts.windows(2).map(|pair| &frame[pair[0]..pair[1]]).collect();
        check_agrees(&spec, parse_whole(&parts))?;
        let Ok(Incoming::Tcp(segment)) = parse_whole(&parts) else { unreachable!("it was just read") };
        let (front, back) = (segment.payload.take(skip.min(spec.text.len())), segment.payload.skip(skip));
        let joined: Vec<u8> = front.parts().chain(back.parts()).flatten().copied().collect();
        prop_assert_eq!(&joined, &spec.text);
        prop_assert_eq!(front.len() + back.len(), spec.text.len());
    }

    #[test]
    fn pnet_and_smoltcp_read_what_is_written(spec in spec()) {
        let frame = our_frame(&spec);
        let at = if spec.vlan == 0 { 14 } else { 18 };
        let ip = Ipv4Packet::new(&frame[at..]).expect("a header");
        prop_assert_eq!(ip.get_checksum(), pnet_ipv4::checksum(&ip));
        prop_assert_eq!((ip.get_source(), ip.get_destination()), (OURS, THEIRS));
        prop_assert_eq!(usize::from(ip.get_total_length()), frame.len() - at);
        let tcp = TcpPacket::new(ip.payload()).expect("a header");
        prop_assert_eq!(tcp.get_checksum(), pnet_tcp::ipv4_checksum(&tcp, &OURS, &THEIRS));
        prop_assert_eq!((tcp.get_destination(), tcp.get_source()), spec.ports);
        prop_assert_eq!((tcp.get_sequence(), tcp.get_acknowledgement()), (spec.seq, spec.ack));
        prop_assert_eq!((tcp.get_flags(), tcp.get_window()), (spec.flags, spec.window));
        prop_assert_eq!(tcp.payload(), &spec.text[..]);

        use smoltcp::phy::ChecksumCapabilities;
        use smoltcp::wire as other;
        let ip = other::Ipv4Packet::new_checked(&frame[at..]).expect("smoltcp takes the IP header");
        prop_assert!(other::Ipv4Repr::parse(&ip, &ChecksumCapabilities::default()).is_ok());
        let tcp = other::TcpPacket::new_checked(ip.payload()).expect("smoltcp takes the TCP header");
        prop_assert!(tcp.verify_checksum(&OURS.into(), &THEIRS.into()));
        prop_assert_eq!(tcp.payload(), &spec.text[..]);
        let mut read = tcp.options();
        let mut mss = None;
        while !read.is_empty() {
            let (rest, option) = other::TcpOption::parse(read).expect("smoltcp takes the options");
            if let other::TcpOption::MaxSegmentSize(value) = option { mss = Some(value); }
            read = rest;
        }
        prop_assert_eq!(mss, spec.options.mss);
    }

    /// No panic and no segment, whatever single byte is missing from the end.
    #[test]
    fn survives_truncation_at_every_byte(mut spec in spec()) {
        spec.padding = 0;
        let frame = pnet_frame(&spec);
        for len in 0..frame.len() {
            prop_assert!(parse_whole(&[&frame[..len]]).is_err(), "{} of {} bytes", len, frame.len());
        }
        // The first buffer ends within the headers: not a chain that is read, nor one that harms.
        for len in (0..frame.len() - spec.text.len()).step_by(3) {
            prop_assert!(parse_whole(&[&frame[..len], &frame[len..]]).is_err(), "cut at {}", len);
        }
    }

    /// One wrong bit behind the Ethernet header never yields a segment of other content.
    #[test]
    fn one_wrong_bit_is_noticed(spec in spec(), bit: prop::sample::Index) {
        let mut frame = our_frame(&spec);
        let at = if spec.vlan == 0 { 14 } else { 18 };
        let bit = bit.index((frame.len() - at) * 8);
        frame[at + bit / 8] ^= 1 << (bit % 8);
        prop_assert!(parse_whole(&[&frame]).is_err());
    }

    #[test]
    fn rubbish_is_survived(frame in vec(any::<u8>(), 0..200), rest in vec(any::<u8>(), 0..200)) {
        let _ = parse_whole(&[&frame, &rest]);
        let _ = parse(Packet(&[&frame]), ChecksumPolicy::AcceptPartial);
    }

    /// Rubbish behind right IP headers: the options and the TCP header meet it.
    #[test]
    fn rubbish_options_are_survived(mut spec in spec(), rubbish in vec(any::<u8>(), 40)) {
        spec.options = Options::default();
        let mut frame = our_frame(&spec);
        let at = if spec.vlan == 0 { 14 } else { 18 };
        let (front, text) = frame.split_at(at + 40);
        frame = [front, &rubbish, text].concat();
        frame[at + 32] = 0xf0;
        rewrite_checksums(&mut frame, at);
        let parts = [&frame[..]];
        match parse_whole(&parts) {
            Ok(Incoming::Tcp(segment)) => {
                prop_assert_eq!(segment.payload.len(), spec.text.len());
                prop_assert!(segment.options.sack_count <= 4);
                prop_assert!(segment.options.window_scale.is_none_or(|shift| shift <= 14));
            }
            other => prop_assert_eq!(other.err(), Some(DropReason::TcpOptions)),
        }
    }
}

/// Makes lengths and checksums right after the bytes of a frame were changed.
fn rewrite_checksums(frame: &mut [u8], at: usize) {
    let len = (frame.len() - at) as u16;
    let mut ip = MutableIpv4Packet::new(&mut frame[at..]).expect("a header");
    ip.set_total_length(len);
    let checksum = pnet_ipv4::checksum(&ip.to_immutable());
    ip.set_checksum(checksum);
    let (source, destination) = (ip.get_source(), ip.get_destination());
    let mut tcp = MutableTcpPacket::new(&mut frame[at + 20..]).expect("a header");
    let checksum = pnet_tcp::ipv4_checksum(&tcp.to_immutable(), &source, &destination);
    tcp.set_checksum(checksum);
}

/// A segment of which only the text matters.
fn plain(text: Vec<u8>) -> Spec {
    Spec {
        ports: (1, 2),
        seq: 3,
        ack: 4,
        flags: 0x10,
        ecn: 0,
        window: 5,
        options: Options::default(),
        text,
        vlan: 0,
        padding: 0,
    }
}

#[test]
fn two_sack_options_add_up() {
    let spec = plain(vec![]);
    let mut frame = our_frame(&spec);
    frame.extend([SACK_KIND, 10, 0, 0, 0, 1, 0, 0, 0, 2, SACK_KIND, 10, 0, 0, 0, 3, 0, 0, 0, 4]);
    frame[14 + 32] = 0xa0;
    rewrite_checksums(&mut frame, 14);
    let parts = [&frame[..]];
    let Ok(Incoming::Tcp(segment)) = parse_whole(&parts) else { panic!("it is right") };
    assert_eq!(segment.options.sack[..2], [(Seq(1), Seq(2)), (Seq(3), Seq(4))]);
    assert_eq!(segment.options.sack_count, 2);
}

const SACK_KIND: u8 = 5;

#[test]
fn a_partial_checksum_is_taken_only_where_it_may_be() {
    let spec = plain(vec![7; 100]);
    let mut frame = pnet_frame(&spec);
    // As the kernel leaves it: the sum of the pseudo-header, not complemented (CHECKSUM_PARTIAL).
    let pseudo = [THEIRS.octets(), OURS.octets()].concat();
    let words = pseudo.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum: u32 = words.sum::<u32>() + 6 + 120;
    let folded = ((sum & 0xffff) + (sum >> 16)) as u16;
    frame[14 + 20 + 16..14 + 20 + 18].copy_from_slice(&folded.to_be_bytes());
    let parts = [&frame[..]];
    assert_eq!(parse(Packet(&parts), ChecksumPolicy::Verify).err(), Some(DropReason::TcpChecksum));
    assert!(parse(Packet(&parts), ChecksumPolicy::AcceptPartial).is_ok());
    frame[14 + 20 + 17] ^= 1;
    let parts = [&frame[..]];
    assert_eq!(parse(Packet(&parts), ChecksumPolicy::AcceptPartial).err(), Some(DropReason::TcpChecksum));
}

//! Frames built and read by other code (pnet, smoltcp) against what is built and read here.

use super::*;
use crate::seq::Seq;
use pnet::packet::ethernet::{EtherType, MutableEthernetPacket};
use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::packet::ipv4::{Ipv4Packet, MutableIpv4Packet};
use pnet::packet::ipv6::{Ipv6Packet, MutableIpv6Packet};
use pnet::packet::tcp::{MutableTcpPacket, TcpOption, TcpPacket};
use pnet::packet::{Packet as _, ipv4 as pnet_ipv4, tcp as pnet_tcp};
use pnet::util::MacAddr;
use proptest::collection::vec;
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const OURS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
const THEIRS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const OURS6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
const THEIRS6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0xff, 0xfe00, 1, 1);
const MACS: [MacAddr; 2] = [MacAddr(2, 0, 0, 0, 0, 1), MacAddr(2, 0, 0, 0, 0, 2)];

/// A segment, in this crate's words; pnet writes it.
#[derive(Clone, Debug)]
struct Spec {
    v6: bool,
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
    let parts = (
        any::<Option<u16>>(),
        proptest::option::of(0u8..=14),
        any::<bool>(),
        any::<Option<(u32, u32)>>(),
        sack,
    );
    parts.prop_map(|(mss, window_scale, sack_permitted, timestamps, blocks)| {
        let mut options =
            Options { mss, window_scale, sack_permitted, timestamps, ..Options::default() };
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
        v6: bool, ports in (any::<u16>(), any::<u16>()), seq: u32, ack: u32, flags: u8, ecn in 0u8..4, window: u16,
        options in options(), text in vec(any::<u8>(), 0..1500), vlan in prop_oneof![Just(0u16), 1u16..4095],
        padding in 0usize..50,
    ) -> Spec {
        Spec { v6, ports, seq, ack, flags: flags & Flags::KNOWN, ecn, window, options, text, vlan, padding }
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
        let edges: Vec<u32> = options.sack[..usize::from(options.sack_count)]
            .iter()
            .flat_map(|(l, r)| [l.0, r.0])
            .collect();
        all.extend([TcpOption::nop(), TcpOption::nop(), TcpOption::selective_ack(&edges)]);
    }
    all
}

/// The frame as pnet writes it, from them to us.
fn pnet_frame(spec: &Spec) -> Vec<u8> {
    let options = pnet_options(&spec.options);
    let options_len: usize = options
        .iter()
        .map(|option| {
            if option.number == pnet_tcp::TcpOptionNumbers::NOP { 1 } else { 2 + option.data.len() }
        })
        .sum();
    let tcp_len = 20 + options_len.div_ceil(4) * 4 + spec.text.len();
    let (at, ip_len) = (spec.ip_at(), spec.ip_len());
    let mut frame = vec![0; at + ip_len + tcp_len];
    let mut ethernet = MutableEthernetPacket::new(&mut frame).expect("a frame has a header");
    ethernet.set_source(MACS[0]);
    ethernet.set_destination(MACS[1]);
    let ethertype = if spec.v6 { 0x86dd } else { 0x0800u16 };
    ethernet.set_ethertype(EtherType(if spec.vlan == 0 { ethertype } else { 0x8100 }));
    if spec.vlan != 0 {
        frame[14..16].copy_from_slice(&spec.vlan.to_be_bytes());
        frame[16..18].copy_from_slice(&ethertype.to_be_bytes());
    }
    if spec.v6 {
        pnet_ipv6(&mut frame[at..], spec.ecn, tcp_len);
    } else {
        pnet_ipv4(&mut frame[at..], spec.ecn, tcp_len);
    }
    let mut tcp = MutableTcpPacket::new(&mut frame[at + ip_len..]).expect("space for a header");
    tcp.set_source(spec.ports.0);
    tcp.set_destination(spec.ports.1);
    tcp.set_sequence(spec.seq);
    tcp.set_acknowledgement(spec.ack);
    tcp.set_data_offset(((tcp_len - spec.text.len()) / 4) as u8);
    tcp.set_flags(spec.flags);
    tcp.set_window(spec.window);
    tcp.set_options(&options);
    tcp.set_payload(&spec.text);
    let checksum = pnet_checksum(&tcp.to_immutable(), spec.theirs(), spec.ours());
    tcp.set_checksum(checksum);
    frame.resize(frame.len() + spec.padding, 0);
    frame
}

fn pnet_ipv4(bytes: &mut [u8], ecn: u8, payload_len: usize) {
    let mut ip = MutableIpv4Packet::new(bytes).expect("space for a header");
    ip.set_version(4);
    ip.set_ecn(ecn);
    ip.set_header_length(5);
    ip.set_total_length((20 + payload_len) as u16);
    ip.set_ttl(64);
    ip.set_next_level_protocol(IpNextHeaderProtocols::Tcp);
    ip.set_source(THEIRS);
    ip.set_destination(OURS);
    let checksum = pnet_ipv4::checksum(&ip.to_immutable());
    ip.set_checksum(checksum);
}

fn pnet_ipv6(bytes: &mut [u8], ecn: u8, payload_len: usize) {
    let mut ip = MutableIpv6Packet::new(bytes).expect("space for a header");
    ip.set_version(6);
    ip.set_traffic_class(0x28 | ecn);
    ip.set_flow_label(0x12345);
    ip.set_payload_length(payload_len as u16);
    ip.set_next_header(IpNextHeaderProtocols::Tcp);
    ip.set_hop_limit(64);
    ip.set_source(THEIRS6);
    ip.set_destination(OURS6);
}

fn pnet_checksum(tcp: &TcpPacket<'_>, source: IpAddr, destination: IpAddr) -> u16 {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            pnet_tcp::ipv4_checksum(tcp, &source, &destination)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            pnet_tcp::ipv6_checksum(tcp, &source, &destination)
        }
        mixed => panic!("{mixed:?}"),
    }
}

impl Spec {
    fn with_only_timestamps(&self) -> Spec {
        let options = Options { timestamps: self.options.timestamps, ..Options::default() };
        Spec { options, ..self.clone() }
    }

    fn ours(&self) -> IpAddr {
        if self.v6 { OURS6.into() } else { OURS.into() }
    }

    fn theirs(&self) -> IpAddr {
        if self.v6 { THEIRS6.into() } else { THEIRS.into() }
    }

    /// Where the IP header begins,
    fn ip_at(&self) -> usize {
        if self.vlan == 0 { 14 } else { 18 }
    }

    /// and how long it is.
    fn ip_len(&self) -> usize {
        if self.v6 { 40 } else { 20 }
    }
}

/// The frame as the code here writes it, from us to them, with the spec's ports the other way
/// round.
fn our_frame(spec: &Spec) -> Vec<u8> {
    frame_by(spec, Writer::Packet, TxChecksum::Full)
}

/// The code that writes a frame.
#[derive(Clone, Copy)]
enum Writer {
    /// Its packet, behind an Ethernet header.
    Packet,
    /// The whole frame, on the fast path if it is a common one.
    Frame,
    /// The whole frame over IPv4, without a VLAN tag.
    UntaggedV4,
    /// One of several that differ in SEG.SEQ, with no options but timestamps.
    Template,
    /// The last of several, which is shorter and may have PSH and FIN.
    LastOfTemplate,
}

fn frame_by(spec: &Spec, writer: Writer, checksum: TxChecksum) -> Vec<u8> {
    let (local, remote) = (Address::from(spec.ours()), Address::from(spec.theirs()));
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
    let (mac, link) = (MACS[1].octets(), Link { mac: MACS[0].octets(), vlan: spec.vlan });
    let (options, text_len) = (&spec.options, spec.text.len());
    let fill = |buf: &mut [u8]| {
        buf.copy_from_slice(&spec.text);
        buf.len()
    };
    let fill_and_sum = |buf: &mut [u8]| {
        fill(buf);
        checksum::Sum::default().add_bytes(buf)
    };
    let len = match writer {
        Writer::Packet => {
            let at = ethernet::emit(&mut frame, &mac, &link, ip::ethertype(&remote));
            at + tcp::emit(&mut frame[at..], &header, options, text_len, fill)
        }
        Writer::Frame => {
            tcp::emit_frame(&mut frame, (&mac, &link), &header, options, text_len, checksum, fill)
        }
        Writer::UntaggedV4 => {
            let ends = (&mac, &link.mac);
            tcp::emit_untagged_v4(&mut frame, ends, &header, options, text_len, checksum, fill)
        }
        Writer::Template => {
            let ends = (&mac, &link);
            tcp::Template::new(ends, header, options.timestamps, text_len, checksum).emit_frame(
                &mut frame,
                Seq(spec.seq),
                fill_and_sum,
            )
        }
        Writer::LastOfTemplate => {
            let of_last = Flags::PSH.with(Flags::FIN).0;
            let header = tcp::Header { flags: Flags(spec.flags & !of_last), ..header };
            let longer = text_len + usize::from(spec.window) % 1500;
            let mut template =
                tcp::Template::new((&mac, &link), header, options.timestamps, longer, checksum);
            template.make_last(text_len, Flags(spec.flags & of_last));
            template.emit_frame(&mut frame, Seq(spec.seq), fill_and_sum)
        }
    };
    frame.truncate(len);
    frame
}

fn parse_whole<'a>(parts: &'a [&'a [u8]]) -> Result<Incoming<'a>, DropReason> {
    parse(Packet(parts), ChecksumPolicy::Verify)
}

fn check_agrees(
    spec: &Spec,
    incoming: Result<Incoming<'_>, DropReason>,
) -> Result<(), TestCaseError> {
    let Ok(Incoming::Tcp(segment)) = incoming else { panic!("{incoming:?}") };
    prop_assert_eq!(segment.link, Link { mac: MACS[0].octets(), vlan: spec.vlan });
    prop_assert_eq!(
        (segment.remote, segment.local),
        (Address::from(spec.theirs()), Address::from(spec.ours()))
    );
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
    fn all_writers_write_the_same_frame(mut spec in spec(), is_common: bool) {
        if is_common {
            (spec.v6, spec.vlan) = (false, 0);
            spec.options = Options { timestamps: Some((spec.seq, spec.ack)), ..Options::default() };
        }
        prop_assert_eq!(frame_by(&spec, Writer::Frame, TxChecksum::Full), our_frame(&spec));
        let bare = spec.with_only_timestamps();
        for writer in [Writer::Template, Writer::LastOfTemplate] {
            prop_assert_eq!(frame_by(&bare, writer, TxChecksum::Full), our_frame(&bare));
        }
        if !spec.v6 && spec.vlan == 0 {
            let frame = frame_by(&spec, Writer::UntaggedV4, TxChecksum::Full);
            prop_assert_eq!(frame, our_frame(&spec));
        }
    }

    /// What the fast path reads, the general path reads the same, whatever is changed.
    #[test]
    fn the_fast_path_reads_as_the_general_path(
        mut spec in spec(),
        timestamps: Option<(u32, u32)>,
        has_more_options: bool,
        changes in vec((0usize..80, any::<u8>()), 0..3),
        is_valid: bool,
        padding in 0usize..8,
        accepts_partial: bool,
    ) {
        (spec.v6, spec.vlan) = (false, 0);
        if !has_more_options {
            spec.options = Options { timestamps, ..Options::default() };
        }
        let mut frame = our_frame(&spec);
        let policy = match accepts_partial {
            true => ChecksumPolicy::AcceptPartial,
            false => ChecksumPolicy::Verify,
        };
        for (at, byte) in &changes {
            if let Some(changed) = frame.get_mut(*at) {
                *changed = *byte;
            }
        }
        if is_valid && frame.len() > 54 {
            rewrite_checksums(&mut frame, &spec);
        }
        frame.extend(std::iter::repeat_n(0, padding));
        let parts = [&frame[..]];
        let of_timestamps = common::parse(Packet(&parts), policy);
        let of_any = common::parse_options(Packet(&parts), policy);
        prop_assert!(of_any.is_some() || !changes.is_empty(), "a packet of this layout");
        let is_fast = of_timestamps.is_some() || has_more_options;
        prop_assert!(is_fast || !changes.is_empty(), "a packet of the first layout");
        let general = parse(Packet(&parts), policy).map(|incoming| format!("{incoming:?}"));
        for segment in [of_timestamps, of_any].into_iter().flatten() {
            prop_assert_eq!(&general, &Ok(format!("{:?}", Incoming::Tcp(segment))));
        }
    }

    /// Other layouts are left to the general path.
    #[test]
    fn the_fast_path_reads_no_other_layout(spec in spec(), cut in any::<prop::sample::Index>()) {
        let frame = our_frame(&spec);
        let only_timestamps =
            Options { timestamps: spec.options.timestamps, ..Options::default() };
        let is_common = !spec.v6 && spec.vlan == 0 && spec.options == only_timestamps;
        let policy = ChecksumPolicy::Verify;
        prop_assert_eq!(common::parse(Packet(&[&frame]), policy).is_some(), is_common);
        let has_any = common::parse_options(Packet(&[&frame]), policy).is_some();
        prop_assert_eq!(has_any, !spec.v6 && spec.vlan == 0);
        let (front, back) = frame.split_at(cut.index(frame.len()));
        for parse in [common::parse, common::parse_options] {
            prop_assert!(parse(Packet(&[front, back]), policy).is_none());
            prop_assert!(parse(Packet(&[front]), policy).is_none());
        }
    }

    /// Other code completes a partial checksum as the kernel does (`skb_checksum_help`): the sum
    /// from the TCP header to the end, complemented.
    #[test]
    fn a_partial_checksum_completed_by_the_rule_of_the_kernel_is_the_full_one(spec in spec()) {
        let tcp_at = spec.ip_at() + spec.ip_len();
        let link = Link { mac: MACS[0].octets(), vlan: spec.vlan };
        prop_assert_eq!(tcp::offset(&link, &spec.theirs().into()), tcp_at);
        let bare = spec.with_only_timestamps();
        let cases =
            [(Writer::Frame, &spec), (Writer::Template, &bare), (Writer::LastOfTemplate, &bare)];
        for (writer, spec) in cases {
            let tcp_at = spec.ip_at() + spec.ip_len();
            let mut partial = frame_by(spec, writer, TxChecksum::Partial);
            prop_assert!(parse(Packet(&[&partial]), ChecksumPolicy::AcceptPartial).is_ok());
            let mut completed = partial.clone();
            let sum = !smoltcp::wire::checksum::data(&partial[tcp_at..]);
            completed[tcp_at + 16..tcp_at + 18].copy_from_slice(&sum.to_be_bytes());
            prop_assert_eq!(&completed, &our_frame(spec));
            tcp::complete_checksum(&mut partial[tcp_at..]);
            prop_assert_eq!(&partial, &completed);
        }
    }

    #[test]
    fn pnet_and_smoltcp_read_what_is_written(spec in spec()) {
        let frame = our_frame(&spec);
        let at = spec.ip_at();
        let body = &frame[at + spec.ip_len()..];
        if spec.v6 {
            let ip = Ipv6Packet::new(&frame[at..]).expect("a header");
            prop_assert_eq!((ip.get_version(), ip.get_hop_limit()), (6, 64));
            prop_assert_eq!((ip.get_source(), ip.get_destination()), (OURS6, THEIRS6));
            prop_assert_eq!(ip.get_next_header(), IpNextHeaderProtocols::Tcp);
            prop_assert_eq!(usize::from(ip.get_payload_length()), body.len());
        } else {
            let ip = Ipv4Packet::new(&frame[at..]).expect("a header");
            prop_assert_eq!(ip.get_checksum(), pnet_ipv4::checksum(&ip));
            prop_assert_eq!((ip.get_source(), ip.get_destination()), (OURS, THEIRS));
            prop_assert_eq!(usize::from(ip.get_total_length()), frame.len() - at);
        }
        let tcp = TcpPacket::new(body).expect("a header");
        prop_assert_eq!(tcp.get_checksum(), pnet_checksum(&tcp, spec.ours(), spec.theirs()));
        prop_assert_eq!((tcp.get_destination(), tcp.get_source()), spec.ports);
        prop_assert_eq!((tcp.get_sequence(), tcp.get_acknowledgement()), (spec.seq, spec.ack));
        prop_assert_eq!((tcp.get_flags(), tcp.get_window()), (spec.flags, spec.window));
        prop_assert_eq!(tcp.payload(), &spec.text[..]);

        use smoltcp::phy::ChecksumCapabilities;
        use smoltcp::wire as other;
        if spec.v6 {
            let ip = other::Ipv6Packet::new_checked(&frame[at..]).expect("smoltcp takes the IP header");
            prop_assert!(other::Ipv6Repr::parse(&ip).is_ok());
        } else {
            let ip = other::Ipv4Packet::new_checked(&frame[at..]).expect("smoltcp takes the IP header");
            prop_assert!(other::Ipv4Repr::parse(&ip, &ChecksumCapabilities::default()).is_ok());
        }
        let tcp = other::TcpPacket::new_checked(body).expect("smoltcp takes the TCP header");
        prop_assert!(tcp.verify_checksum(&spec.ours().into(), &spec.theirs().into()));
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

    /// One wrong bit behind the Ethernet header never yields a segment of other content; behind the
    /// hop limit, where the header is IPv6's, which has no checksum of its own.
    #[test]
    fn one_wrong_bit_is_noticed(spec in spec(), bit: prop::sample::Index) {
        let mut frame = our_frame(&spec);
        let at = spec.ip_at() + if spec.v6 { 8 } else { 0 };
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
        let (at, ip_len) = (spec.ip_at(), spec.ip_len());
        let (front, text) = frame.split_at(at + ip_len + 20);
        frame = [front, &rubbish, text].concat();
        frame[at + ip_len + 12] = 0xf0;
        rewrite_checksums(&mut frame, &spec);
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
fn rewrite_checksums(frame: &mut [u8], spec: &Spec) {
    let (at, ip_len) = (spec.ip_at(), spec.ip_len());
    let len = (frame.len() - at) as u16;
    if spec.v6 {
        MutableIpv6Packet::new(&mut frame[at..]).expect("a header").set_payload_length(len - 40);
    } else {
        let mut ip = MutableIpv4Packet::new(&mut frame[at..]).expect("a header");
        ip.set_total_length(len);
        let checksum = pnet_ipv4::checksum(&ip.to_immutable());
        ip.set_checksum(checksum);
    }
    let mut tcp = MutableTcpPacket::new(&mut frame[at + ip_len..]).expect("a header");
    let checksum = pnet_checksum(&tcp.to_immutable(), spec.ours(), spec.theirs());
    tcp.set_checksum(checksum);
}

/// A segment of which only the text matters.
fn plain(text: Vec<u8>) -> Spec {
    Spec {
        v6: false,
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
    rewrite_checksums(&mut frame, &spec);
    let parts = [&frame[..]];
    let Ok(Incoming::Tcp(segment)) = parse_whole(&parts) else { panic!("it is right") };
    assert_eq!(segment.options.sack[..2], [(Seq(1), Seq(2)), (Seq(3), Seq(4))]);
    assert_eq!(segment.options.sack_count, 2);
}

const SACK_KIND: u8 = 5;

#[test]
fn a_partial_checksum_is_taken_only_where_it_may_be() {
    let v4 = [THEIRS.octets(), OURS.octets()].concat();
    let v6 = [THEIRS6.octets(), OURS6.octets()].concat();
    for (v6, pseudo) in [(false, v4), (true, v6)] {
        let spec = Spec { v6, ..plain(vec![7; 100]) };
        let mut frame = pnet_frame(&spec);
        // As the kernel leaves it: the sum of the pseudo-header, not complemented
        // (CHECKSUM_PARTIAL).
        let words = pseudo.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
        let sum: u32 = words.sum::<u32>() + 6 + 120;
        let folded = ((sum & 0xffff) + (sum >> 16)) as u16;
        let field = 14 + spec.ip_len() + 16;
        frame[field..field + 2].copy_from_slice(&folded.to_be_bytes());
        let parts = [&frame[..]];
        assert_eq!(
            parse(Packet(&parts), ChecksumPolicy::Verify).err(),
            Some(DropReason::TcpChecksum)
        );
        assert!(parse(Packet(&parts), ChecksumPolicy::AcceptPartial).is_ok());
        frame[field + 1] ^= 1;
        let parts = [&frame[..]];
        assert_eq!(
            parse(Packet(&parts), ChecksumPolicy::AcceptPartial).err(),
            Some(DropReason::TcpChecksum)
        );
    }
}

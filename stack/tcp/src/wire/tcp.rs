//! The TCP header and its options (RFC 9293 §3.1, 7323 §2 and §3, 2018 §2 and §3).

use super::checksum::Sum;
use super::ip::Version;
use super::{Address, ChecksumPolicy, Ecn, Link, Mac, TxChecksum, ethernet, ip, ipv6};
use crate::drop::DropReason;
use crate::seq::Seq;
use std::ops::Range;

/// Length of the header without options.
pub const HEADER_BYTES: usize = 20;
/// The longest header: a data offset of 15 words.
pub const MAX_HEADER_BYTES: usize = 60;
/// The place of the checksum in the header.
pub const CHECKSUM_OFFSET: u16 = 16;
/// Bytes that the timestamps option takes with its padding.
pub const TIMESTAMPS_BYTES: usize = 12;

const END: u8 = 0;
const NOP: u8 = 1;
const MSS: u8 = 2;
const WINDOW_SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const SACK: u8 = 5;
const TIMESTAMPS: u8 = 8;

/// The control bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u8);

impl Flags {
    /// No more data from the sender.
    pub const FIN: Flags = Flags(0x01);
    /// Synchronize sequence numbers.
    pub const SYN: Flags = Flags(0x02);
    /// Reset the connection.
    pub const RST: Flags = Flags(0x04);
    /// Push function.
    pub const PSH: Flags = Flags(0x08);
    /// The acknowledgement field is significant.
    pub const ACK: Flags = Flags(0x10);
    /// ECN-Echo (RFC 3168 §6.1).
    pub const ECE: Flags = Flags(0x40);
    /// Congestion window reduced (RFC 3168 §6.1).
    pub const CWR: Flags = Flags(0x80);
    /// The urgent pointer and its bit are ignored.
    pub(super) const KNOWN: u8 = 0xdf;

    /// Whether all bits of `other` are set.
    #[inline]
    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any bit of `other` is set.
    #[inline]
    pub const fn has_any(self, other: Flags) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether these are an acknowledgement's, and neither a SYN's nor a reset's.
    pub(crate) const fn only_acknowledge(self) -> bool {
        self.has(Flags::ACK) && !self.has_any(Flags::SYN.with(Flags::RST))
    }

    /// Whether these open a connection: SYN without ACK, FIN and RST.
    pub(crate) const fn only_synchronize(self) -> bool {
        self.has(Flags::SYN) && !self.has_any(Flags::ACK.with(Flags::FIN).with(Flags::RST))
    }

    /// The bits of both.
    #[inline]
    pub const fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

/// The options that are understood; others are skipped, as RFC 9293 §3.1 MUST-6 asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Options {
    /// SACK blocks (RFC 2018 §3): `[left, right)`, the first `sack_count` of them.
    pub sack: [(Seq, Seq); 4],
    /// TSval and TSecr.
    pub timestamps: Option<(u32, u32)>,
    /// Maximum segment size; only in a SYN.
    pub mss: Option<u16>,
    /// Window scale shift; only in a SYN, at most 14 (RFC 7323 §2.3).
    pub window_scale: Option<u8>,
    /// SACK permitted; only in a SYN.
    pub sack_permitted: bool,
    /// How many SACK blocks there are.
    pub sack_count: u8,
}

/// A run of bytes in the buffers of one packet, trimmed at both ends without copying.
#[derive(Clone, Copy, Debug)]
pub struct Payload<'a> {
    first: &'a [u8],
    rest: &'a [&'a [u8]],
    rest_len: usize,
}

impl<'a> Payload<'a> {
    /// The bytes `first`, then `rest_len` bytes of `rest`.
    #[inline]
    pub fn new(first: &'a [u8], rest: &'a [&'a [u8]], rest_len: usize) -> Self {
        Payload { first, rest, rest_len }
    }

    /// Length in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.first.len() + self.rest_len
    }

    /// Whether there is no byte.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Without its first `n` bytes.
    #[must_use]
    pub fn skip(mut self, n: usize) -> Self {
        let mut left = n.min(self.len());
        while left > self.first.len() {
            left -= self.first.len();
            let [next, rest @ ..] = self.rest else { unreachable!("left is within the payload") };
            let next = &next[..next.len().min(self.rest_len)];
            (self.first, self.rest, self.rest_len) = (next, rest, self.rest_len - next.len());
        }
        self.first = &self.first[left..];
        self
    }

    /// Its first `n` bytes.
    #[must_use]
    pub fn take(mut self, n: usize) -> Self {
        if n <= self.first.len() {
            (self.first, self.rest_len) = (&self.first[..n], 0);
        } else {
            self.rest_len = self.rest_len.min(n - self.first.len());
        }
        self
    }

    /// The bytes, if they lie in one buffer.
    #[inline]
    pub fn in_one(&self) -> Option<&'a [u8]> {
        (self.rest_len == 0).then_some(self.first)
    }

    /// The bytes, a buffer at a time; no slice is empty.
    pub fn parts(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut left = self.rest_len;
        let rest = self.rest.iter().map_while(move |part| {
            let part = &part[..part.len().min(left)];
            let is_wanted = left > 0;
            left -= part.len();
            is_wanted.then_some(part)
        });
        std::iter::once(self.first).chain(rest).filter(|part| !part.is_empty())
    }
}

/// A received segment.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// The link-layer destination of replies.
    pub link: Link,
    /// Destination address.
    pub local: Address,
    /// Source address.
    pub remote: Address,
    /// Destination port.
    pub local_port: u16,
    /// Source port.
    pub remote_port: u16,
    /// SEG.SEQ.
    pub seq: Seq,
    /// SEG.ACK; meaningless without the ACK bit.
    pub ack: Seq,
    /// The control bits.
    pub flags: Flags,
    /// The ECN field.
    pub ecn: Ecn,
    /// SEG.WND as it stands in the header: not scaled.
    pub window: u16,
    /// The options.
    pub options: Options,
    /// The data.
    pub payload: Payload<'a>,
}

impl Segment<'_> {
    /// SEG.LEN: the data, and one for each of SYN and FIN.
    #[inline]
    pub fn len(&self) -> u32 {
        self.payload.len() as u32
            + u32::from(self.flags.has(Flags::SYN))
            + u32::from(self.flags.has(Flags::FIN))
    }

    /// Whether it takes no sequence space.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Parses and checks a segment in `ip`'s payload `body`. Inlined for each version of IP, so that
/// the header is never built in memory.
#[inline(always)]
pub(super) fn parse<'a, V: Version>(
    link: Link,
    ip: &ip::Header,
    body: Payload<'a>,
    checksums: ChecksumPolicy,
) -> Result<Segment<'a>, DropReason> {
    let Some(fixed) = body.first.first_chunk::<HEADER_BYTES>() else {
        return Err(DropReason::TcpHeader);
    };
    let header_len = usize::from(fixed[12] >> 4) * 4;
    if header_len < HEADER_BYTES || header_len > body.first.len() {
        return Err(DropReason::TcpHeader);
    }
    if !checksum_is_right::<V>(ip, &body, [fixed[16], fixed[17]], checksums) {
        return Err(DropReason::TcpChecksum);
    }
    let word =
        |at: usize| u32::from_be_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
    let half = |at: usize| u16::from_be_bytes([fixed[at], fixed[at + 1]]);
    Ok(Segment {
        link,
        local: ip.destination,
        remote: ip.source,
        local_port: half(2),
        remote_port: half(0),
        seq: Seq(word(4)),
        ack: Seq(word(8)),
        flags: Flags(fixed[13] & Flags::KNOWN),
        ecn: ip.ecn,
        window: half(14),
        options: parse_options(&body.first[HEADER_BYTES..header_len])?,
        payload: Payload { first: &body.first[header_len..], ..body },
    })
}

#[inline(always)]
fn checksum_is_right<V: Version>(
    ip: &ip::Header,
    body: &Payload<'_>,
    field: [u8; 2],
    policy: ChecksumPolicy,
) -> bool {
    let pseudo = pseudo_header::<V>(&ip.source, &ip.destination, body.len());
    if policy == ChecksumPolicy::AcceptPartial && pseudo.fold().to_ne_bytes() == field {
        return true;
    }
    let sum = match body.in_one() {
        Some(bytes) => pseudo.add_bytes(bytes),
        None => pseudo.add_parts(body.parts()),
    };
    sum.is_valid()
}

/// [`super::checksum::pseudo_header`] for one version of IP.
#[inline(always)]
fn pseudo_header<V: Version>(source: &Address, destination: &Address, len: usize) -> Sum {
    V::sum(source).add_sum(V::sum(destination)).add_u16(ip::TCP.into()).add_u16(len as u16)
}

#[inline(always)]
pub(super) fn parse_options(bytes: &[u8]) -> Result<Options, DropReason> {
    // The layout that every stack sends for timestamps alone (RFC 7323 appendix A).
    if let Some((kind, &[a, b, c, d, e, f, g, h])) = bytes.split_first_chunk()
        && *kind == [NOP, NOP, TIMESTAMPS, 10]
    {
        let timestamps = Some((u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h])));
        return Ok(Options { timestamps, ..Options::default() });
    }
    match parse_syn_options(bytes) {
        Some(options) => Ok(options),
        None => parse_any_options(bytes),
    }
}

/// The options of a SYN that has all of them, in the order of Linux or in the one of
/// [`Options::emit`].
#[inline(always)]
fn parse_syn_options(bytes: &[u8]) -> Option<Options> {
    let (words, []) = bytes.as_chunks::<4>() else { return None };
    let (mss, scale, value, echo) = match *words {
        [mss, kinds, value, echo, scale] if kinds == [SACK_PERMITTED, 2, TIMESTAMPS, 10] => {
            (mss, scale, value, echo)
        }
        [mss, scale, permitted, kind, value, echo]
            if permitted == [NOP, NOP, SACK_PERMITTED, 2] && kind == [NOP, NOP, TIMESTAMPS, 10] =>
        {
            (mss, scale, value, echo)
        }
        _ => return None,
    };
    let ([MSS, 4, m, n], [NOP, WINDOW_SCALE, 3, shift]) = (mss, scale) else { return None };
    Some(Options {
        mss: Some(u16::from_be_bytes([m, n])),
        window_scale: Some(shift.min(SHIFT_MAX)),
        sack_permitted: true,
        timestamps: Some((u32::from_be_bytes(value), u32::from_be_bytes(echo))),
        ..Options::default()
    })
}

/// The options of a SYN that has all of them, as [`Options::emit`] writes them.
#[inline(always)]
fn syn_options(mss: u16, shift: u8, value: u32, echo: u32) -> [u8; 24] {
    let [m, n] = mss.to_be_bytes();
    let ([a, b, c, d], [e, f, g, h]) = (value.to_be_bytes(), echo.to_be_bytes());
    #[rustfmt::skip]
    let all = [
        MSS, 4, m, n, NOP, WINDOW_SCALE, 3, shift, NOP, NOP, SACK_PERMITTED, 2,
        NOP, NOP, TIMESTAMPS, 10, a, b, c, d, e, f, g, h,
    ];
    all
}

#[inline(never)]
fn parse_any_options(bytes: &[u8]) -> Result<Options, DropReason> {
    let (mut options, mut rest) = (Options::default(), bytes);
    while let [kind, after @ ..] = rest {
        match *kind {
            END => break,
            NOP => rest = after,
            kind => {
                // RFC 9293 §3.1 MUST-7: an illegal length must be survived.
                let Some(&len) = after.first() else { return Err(DropReason::TcpOptions) };
                let len = usize::from(len);
                if len < 2 || len > rest.len() {
                    return Err(DropReason::TcpOptions);
                }
                let (option, following) = rest.split_at(len);
                options.note(kind, &option[2..]);
                rest = following;
            }
        }
    }
    Ok(options)
}

impl Options {
    /// Takes one option's value; a known kind with another length than its own is skipped.
    fn note(&mut self, kind: u8, value: &[u8]) {
        match (kind, value) {
            (MSS, &[a, b]) => self.mss = Some(u16::from_be_bytes([a, b])),
            (WINDOW_SCALE, &[shift]) => self.window_scale = Some(shift.min(SHIFT_MAX)),
            (SACK_PERMITTED, &[]) => self.sack_permitted = true,
            (TIMESTAMPS, &[a, b, c, d, e, f, g, h]) => {
                self.timestamps =
                    Some((u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h])));
            }
            (SACK, blocks) => {
                let free = self.sack.iter_mut().skip(usize::from(self.sack_count));
                for (block, bytes) in free.zip(blocks.chunks_exact(8)) {
                    let word = |at: usize| {
                        Seq(u32::from_be_bytes([
                            bytes[at],
                            bytes[at + 1],
                            bytes[at + 2],
                            bytes[at + 3],
                        ]))
                    };
                    *block = (word(0), word(4));
                    self.sack_count += 1;
                }
            }
            _ => {}
        }
    }

    /// Writes the options, padded to whole words. Returns how many bytes. Inlined into its callers,
    /// which use few options.
    #[inline(always)]
    pub fn emit(&self, bytes: &mut [u8]) -> usize {
        if let Options { mss: Some(mss), window_scale: Some(shift), .. } = *self
            && let Some((value, echo)) = self.timestamps
            && self.sack_permitted
            && self.sack_count == 0
            && let Some(all) = bytes.first_chunk_mut()
        {
            *all = syn_options(mss, shift, value, echo);
            return all.len();
        }
        let mut at = 0;
        let mut put = |option: &[u8]| {
            bytes[at..at + option.len()].copy_from_slice(option);
            at += option.len();
        };
        if let Some(mss) = self.mss {
            let [a, b] = mss.to_be_bytes();
            put(&[MSS, 4, a, b]);
        }
        if let Some(shift) = self.window_scale {
            put(&[NOP, WINDOW_SCALE, 3, shift]);
        }
        if self.sack_permitted {
            put(&[NOP, NOP, SACK_PERMITTED, 2]);
        }
        if let Some((value, echo)) = self.timestamps {
            let ([a, b, c, d], [e, f, g, h]) = (value.to_be_bytes(), echo.to_be_bytes());
            put(&[NOP, NOP, TIMESTAMPS, 10, a, b, c, d, e, f, g, h]);
        }
        if self.sack_count > 0 {
            put(&[NOP, NOP, SACK, 2 + 8 * self.sack_count]);
            for (left, right) in &self.sack[..usize::from(self.sack_count)] {
                put(&left.0.to_be_bytes());
                put(&right.0.to_be_bytes());
            }
        }
        at
    }
}

/// The header fields of a segment to write.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a> {
    /// Source address.
    pub local: &'a Address,
    /// Source port, in host byte order.
    pub local_port: u16,
    /// Destination address.
    pub remote: &'a Address,
    /// Destination port, in host byte order.
    pub remote_port: u16,
    /// SEG.SEQ.
    pub seq: Seq,
    /// SEG.ACK.
    pub ack: Seq,
    /// The control bits.
    pub flags: Flags,
    /// The ECN field.
    pub ecn: Ecn,
    /// SEG.WND as it goes into the header: already scaled down.
    pub window: u16,
}

/// Writes IP and TCP headers in front of a payload, which `fill` writes, of at most `payload_len`
/// bytes; returns the length of headers and payload.
pub fn emit(
    bytes: &mut [u8],
    header: &Header<'_>,
    options: &Options,
    payload_len: usize,
    fill: impl FnOnce(&mut [u8]) -> usize,
) -> usize {
    if header.remote.is_v4() {
        emit_over::<ip::V4>(bytes, header, options, payload_len, TxChecksum::Full, fill)
    } else {
        emit_over::<ip::V6>(bytes, header, options, payload_len, TxChecksum::Full, fill)
    }
}

/// Where the TCP header begins in a frame to `link` and `remote`.
#[inline]
pub(crate) fn offset(link: &Link, remote: &Address) -> usize {
    let ip = if remote.is_v4() { ip::V4::HEADER_BYTES } else { ip::V6::HEADER_BYTES };
    ethernet::header_bytes(link) + ip
}

/// Completes the checksum of a segment that has the sum of the pseudo-header in its place, as the
/// kernel or the NIC does it.
pub fn complete_checksum(tcp: &mut [u8]) {
    let checksum = Sum::default().add_bytes(tcp).finish();
    tcp[CHECKSUM].copy_from_slice(&checksum);
}

/// Writes the same behind an Ethernet header, for a frame from `mac` to `link`.
#[inline]
pub(crate) fn emit_frame(
    frame: &mut [u8],
    (mac, link): (&Mac, &Link),
    header: &Header<'_>,
    options: &Options,
    payload_len: usize,
    checksum: TxChecksum,
    fill: impl FnOnce(&mut [u8]) -> usize,
) -> usize {
    if !header.remote.is_v4() {
        let ends = (mac, link);
        return emit_other::<ip::V6>(frame, ends, header, options, payload_len, checksum, fill);
    }
    if link.vlan != 0 {
        let ends = (mac, link);
        return emit_other::<ip::V4>(frame, ends, header, options, payload_len, checksum, fill);
    }
    let ends = (mac, &link.mac);
    emit_untagged_v4(frame, ends, header, options, payload_len, checksum, fill)
}

/// Writes the same over IPv4, without a VLAN tag: all places are constants but for the payload's.
#[inline(always)]
pub(crate) fn emit_untagged_v4(
    frame: &mut [u8],
    (mac, to): (&Mac, &Mac),
    header: &Header<'_>,
    options: &Options,
    payload_len: usize,
    checksum: TxChecksum,
    fill: impl FnOnce(&mut [u8]) -> usize,
) -> usize {
    let at = ethernet::emit_untagged(frame, mac, to, ip::V4::ETHERTYPE);
    at + emit_over::<ip::V4>(&mut frame[at..], header, options, payload_len, checksum, fill)
}

/// Not inlined, so that the code of the usual frames stays short.
#[inline(never)]
fn emit_other<V: ip::Version>(
    frame: &mut [u8],
    (mac, link): (&Mac, &Link),
    header: &Header<'_>,
    options: &Options,
    payload_len: usize,
    checksum: TxChecksum,
    fill: impl FnOnce(&mut [u8]) -> usize,
) -> usize {
    let at = ethernet::emit(frame, mac, link, V::ETHERTYPE);
    at + emit_over::<V>(&mut frame[at..], header, options, payload_len, checksum, fill)
}

#[inline(always)]
fn emit_over<V: ip::Version>(
    bytes: &mut [u8],
    header: &Header<'_>,
    options: &Options,
    payload_len: usize,
    checksum: TxChecksum,
    fill: impl FnOnce(&mut [u8]) -> usize,
) -> usize {
    let tcp = &mut bytes[V::HEADER_BYTES..];
    let header_len = HEADER_BYTES + options.emit(&mut tcp[HEADER_BYTES..MAX_HEADER_BYTES]);
    emit_fixed(tcp, header, header_len);
    let tcp_len = header_len + fill(&mut tcp[header_len..header_len + payload_len]);
    let pseudo = pseudo_header::<V>(header.local, header.remote, tcp_len);
    let checksum = match checksum {
        TxChecksum::Full => pseudo.add_bytes(&tcp[..tcp_len]).finish(),
        TxChecksum::Partial => pseudo.fold().to_ne_bytes(),
    };
    tcp[CHECKSUM].copy_from_slice(&checksum);
    emit_ip::<V>(bytes, header, tcp_len);
    V::HEADER_BYTES + tcp_len
}

/// The largest shift of a window (RFC 7323 §2.3).
const SHIFT_MAX: u8 = 14;
const SEQ: Range<usize> = 4..8;
const CHECKSUM: Range<usize> = CHECKSUM_OFFSET as usize..CHECKSUM_OFFSET as usize + 2;

/// Writes the header without its options, and with no checksum.
#[inline(always)]
fn emit_fixed(tcp: &mut [u8], header: &Header<'_>, header_len: usize) {
    tcp[0..2].copy_from_slice(&header.local_port.to_be_bytes());
    tcp[2..4].copy_from_slice(&header.remote_port.to_be_bytes());
    tcp[SEQ].copy_from_slice(&header.seq.0.to_be_bytes());
    tcp[8..12].copy_from_slice(&header.ack.0.to_be_bytes());
    tcp[12] = ((header_len / 4) as u8) << 4;
    tcp[13] = header.flags.0;
    tcp[14..16].copy_from_slice(&header.window.to_be_bytes());
    tcp[16..20].fill(0);
}

/// Writes the header in front of `tcp_len` bytes of TCP.
#[inline(always)]
fn emit_ip<V: ip::Version>(bytes: &mut [u8], header: &Header<'_>, tcp_len: usize) {
    let ends = [header.local, header.remote];
    V::emit(bytes, ends, ip::TCP, header.ecn, tcp_len);
    V::label(bytes, ends, [header.local_port, header.remote_port]);
}

/// The headers of segments that differ in SEG.SEQ alone, and have payloads of one length and no
/// options but timestamps. They are written once, and copied to each frame. The last segment may be
/// shorter.
pub(crate) struct Template {
    bytes: [u8; Template::MAX_BYTES],
    /// The place of the length in the IP header, and of the header's checksum.
    ip_length_at: usize,
    ip_checksum_at: Option<usize>,
    /// Where the TCP header begins.
    tcp_at: usize,
    /// Where the payload begins.
    payload_at: usize,
    payload_len: usize,
    /// The sum of the pseudo-header and of the TCP header, without SEG.SEQ. `None` if the headers
    /// have the checksum already, a partial one.
    sum: Option<Sum>,
}

impl Template {
    /// Bytes of the longest headers, rounded up to what is copied in few instructions.
    pub(crate) const MAX_BYTES: usize =
        (ethernet::MAX_HEADER_BYTES + ipv6::HEADER_BYTES + HEADER_BYTES + TIMESTAMPS_BYTES)
            .next_multiple_of(16);

    /// The headers of frames from `mac` to `link`, each with `payload_len` bytes. `header.seq` has
    /// no meaning.
    #[inline(never)]
    pub(crate) fn new(
        (mac, link): (&Mac, &Link),
        header: Header<'_>,
        timestamps: Option<(u32, u32)>,
        payload_len: usize,
        checksum: TxChecksum,
    ) -> Template {
        let header = Header { seq: Seq(0), ..header };
        let options = Options { timestamps, ..Options::default() };
        if header.remote.is_v4() {
            Template::over::<ip::V4>((mac, link), &header, &options, payload_len, checksum)
        } else {
            Template::over::<ip::V6>((mac, link), &header, &options, payload_len, checksum)
        }
    }

    #[inline(always)]
    fn over<V: ip::Version>(
        (mac, link): (&Mac, &Link),
        header: &Header<'_>,
        options: &Options,
        payload_len: usize,
        checksum: TxChecksum,
    ) -> Template {
        let mut bytes = [0; Template::MAX_BYTES];
        let ip_at = ethernet::emit(&mut bytes, mac, link, V::ETHERTYPE);
        let tcp_at = ip_at + V::HEADER_BYTES;
        let tcp = &mut bytes[tcp_at..];
        let header_len = HEADER_BYTES + options.emit(&mut tcp[HEADER_BYTES..]);
        emit_fixed(tcp, header, header_len);
        let tcp_len = header_len + payload_len;
        let pseudo = pseudo_header::<V>(header.local, header.remote, tcp_len);
        let sum = match checksum {
            TxChecksum::Full => Some(pseudo.add_bytes(&tcp[..header_len])),
            TxChecksum::Partial => {
                tcp[CHECKSUM].copy_from_slice(&pseudo.fold().to_ne_bytes());
                None
            }
        };
        emit_ip::<V>(&mut bytes[ip_at..], header, tcp_len);
        Template {
            bytes,
            ip_length_at: ip_at + V::LENGTH_OFFSET,
            ip_checksum_at: V::CHECKSUM_OFFSET.map(|offset| ip_at + offset),
            tcp_at,
            payload_at: tcp_at + header_len,
            payload_len,
            sum,
        }
    }

    /// Changes the headers to those of a segment with `payload_len` bytes, no more than before, and
    /// with `flags` in addition to its own.
    #[inline(never)]
    pub(crate) fn make_last(&mut self, payload_len: usize, flags: Flags) {
        let fewer = (self.payload_len - payload_len) as u16;
        self.payload_len = payload_len;
        let length = self.change(self.ip_length_at, |length| length - fewer);
        if let Some(at) = self.ip_checksum_at {
            self.change(at, |sum| {
                u16::from_be_bytes(Sum::default().add_u16(!sum).add_sum(length).finish())
            });
        }
        // The pseudo-header has the length of the segment, which changes by as much.
        match self.sum {
            Some(sum) => {
                let flags = self.change(self.tcp_at + 12, |word| word | u16::from(flags.0));
                self.sum = Some(sum.add_sum(length).add_sum(flags));
            }
            None => {
                self.change(self.tcp_at + 12, |word| word | u16::from(flags.0));
                let checksum_at = self.tcp_at + CHECKSUM.start;
                self.change(checksum_at, |sum| {
                    u16::from_be(Sum::default().add_u16(sum).add_sum(length).fold())
                });
            }
        }
    }

    /// Changes a field of two bytes. Returns what to add to a sum over the field (RFC 1624 §3).
    #[inline(always)]
    fn change(&mut self, at: usize, new: impl FnOnce(u16) -> u16) -> Sum {
        let field = [self.bytes[at], self.bytes[at + 1]];
        let old = u16::from_be_bytes(field);
        let new = new(old);
        self.bytes[at..at + 2].copy_from_slice(&new.to_be_bytes());
        Sum::default().add_u16(new).add_u16(!old)
    }

    /// Where the TCP header begins, and the payload.
    pub(crate) fn offsets(&self) -> (usize, usize) {
        (self.tcp_at, self.payload_at)
    }

    /// Whether the payload's sum is needed.
    pub(crate) fn needs_sum(&self) -> bool {
        self.sum.is_some()
    }

    /// Writes a frame with a payload that `fill` writes whole. `fill` returns the payload's sum, or
    /// anything if it is not needed. Returns the length of the frame.
    #[inline]
    pub(crate) fn emit_frame(
        &self,
        frame: &mut [u8],
        seq: Seq,
        fill: impl FnOnce(&mut [u8]) -> Sum,
    ) -> usize {
        match frame.first_chunk_mut() {
            // A copy of fixed length is a few instructions. The payload overwrites what follows.
            Some(front) => *front = self.bytes,
            None => frame[..self.payload_at].copy_from_slice(&self.bytes[..self.payload_at]),
        }
        let (headers, payload) = frame.split_at_mut(self.payload_at);
        let payload = &mut payload[..self.payload_len];
        let payload_sum = fill(payload);
        let tcp = &mut headers[self.tcp_at..];
        let seq = seq.0.to_be_bytes();
        tcp[SEQ].copy_from_slice(&seq);
        if let Some(sum) = self.sum {
            debug_assert!(
                payload_sum.is_same(Sum::default().add_bytes(payload)),
                "the sums stored with a blob are not those of its bytes"
            );
            let checksum = sum.add_bytes(&seq).add_sum(payload_sum).finish();
            tcp[CHECKSUM].copy_from_slice(&checksum);
        }
        self.payload_at + self.payload_len
    }
}

#[cfg(test)]
#[path = "options_tests.rs"]
mod options_tests;

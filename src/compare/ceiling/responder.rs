//! One segment in, an answer out, without connection state.
//!
//! The segment itself provides the state. The answer starts at SEG.ACK, the next byte that the peer
//! expects, and acknowledges the whole segment. Timestamps (RFC 7323) are echoed. The responder's
//! own timestamp is a constant, which is valid: it never decreases.

use super::answer::Answers;
use simoom_tcp::seq::Seq;
use simoom_tcp::wire::checksum::{self, Sum};
use simoom_tcp::wire::tcp::{self, Flags, Options};
use simoom_tcp::wire::{self, Ecn, Incoming, Segment, ethernet, ip, ipv4};
use simoom_tcp::{ChecksumPolicy, Gso, Mac, Packet, Transmit, TxChecksum};

/// The initial send sequence number. There is nobody to protect from guessing it.
const INITIAL: Seq = Seq(0);
/// SEG.WND, without window scaling. Requests are small and consumed at once.
const WINDOW: u16 = u16::MAX;
/// TSval of all segments.
const TIMESTAMP: u32 = 1;

/// Answers segments.
#[derive(Debug)]
pub(super) struct Responder {
    port: u16,
    checksums: ChecksumPolicy,
    answers: Answers,
    back: ReturnPath,
}

/// Addresses of an answer: those of the segment, swapped.
#[derive(Debug)]
struct ReturnPath {
    mac: Mac,
    /// Payload bytes of a segment. A longer payload leaves in a GSO packet.
    segment_bytes: usize,
}

/// The fields of an outgoing segment.
struct Outgoing<'a> {
    seq: Seq,
    flags: Flags,
    options: Options,
    payload: &'a [u8],
    /// Checksum of the payload.
    sum: Sum,
}

impl Responder {
    /// Answers segments for `port` at `mac` with `answers`, in segments of at most `segment_bytes`.
    pub(super) fn new(
        mac: Mac,
        port: u16,
        checksums: ChecksumPolicy,
        answers: Answers,
        segment_bytes: usize,
    ) -> Responder {
        Responder { port, checksums, answers, back: ReturnPath { mac, segment_bytes } }
    }

    /// Answers one packet if it is a segment for the port.
    #[inline]
    pub(super) fn respond(&mut self, packet: Packet<'_>, tx: &mut impl Transmit) {
        let Ok(Incoming::Tcp(segment)) = wire::parse(packet, self.checksums) else { return };
        if segment.local_port != self.port || segment.flags.has(Flags::RST) {
            return;
        }
        if segment.flags.has(Flags::SYN) {
            return self.back.accept(&segment, tx);
        }
        if !segment.is_empty() {
            self.answer(&segment, tx);
        }
    }

    /// Sends an answer for each request that ends in the segment. Sends FIN after the last answer
    /// of the connection, or after the peer's FIN.
    #[inline]
    fn answer(&mut self, segment: &Segment<'_>, tx: &mut impl Transmit) {
        let fin = segment.flags.has(Flags::FIN);
        // Requests arrive in one frame. A packet of several frames is longer than any request.
        let text = segment.payload.parts().next().unwrap_or_default();
        match &mut self.answers {
            Answers::Http(http) => {
                let requests = http.requests(text);
                // The connection ends with its first answer, so its sequence numbers are known.
                let ended = http.closes && segment.ack.after(INITIAL + 1 + http.len());
                let payloads = (0..requests)
                    .flat_map(|_| &http.payloads)
                    .map(|payload| (&payload.bytes[..], payload.sum));
                let ends = fin && !ended || requests > 0 && http.closes;
                self.back.answer(segment, segment.ack, payloads, ends, tx);
            }
            Answers::Memcached(memcached) => {
                let peer = (segment.remote, segment.remote_port);
                let (seq, payloads) = memcached.answer(peer, segment.ack, text);
                self.back.answer(segment, seq, payloads, fin, tx);
            }
        }
    }
}

impl ReturnPath {
    /// Answers a SYN, with the supported ones of its options.
    fn accept(&self, segment: &Segment<'_>, tx: &mut impl Transmit) {
        let options = Options {
            mss: segment.options.mss,
            window_scale: segment.options.window_scale.map(|_| 0),
            ..timestamps(segment)
        };
        let flags = Flags::SYN.with(Flags::ACK);
        self.send(
            segment,
            &Outgoing { seq: INITIAL, flags, options, payload: &[], sum: Sum::default() },
            tx,
        );
    }

    /// Sends payloads from `seq` on; a bare ACK if there are none.
    #[inline]
    fn answer<'a>(
        &self,
        segment: &Segment<'_>,
        mut seq: Seq,
        payloads: impl Iterator<Item = (&'a [u8], Sum)>,
        ends: bool,
        tx: &mut impl Transmit,
    ) {
        let options = timestamps(segment);
        let last = if ends { Flags::ACK.with(Flags::FIN) } else { Flags::ACK };
        let mut payloads = payloads.peekable();
        if payloads.peek().is_none() {
            let out = Outgoing { seq, flags: last, options, payload: &[], sum: Sum::default() };
            return self.send(segment, &out, tx);
        }
        while let Some((payload, sum)) = payloads.next() {
            let flags = if payloads.peek().is_none() { last.with(Flags::PSH) } else { Flags::ACK };
            self.send(segment, &Outgoing { seq, flags, options, payload, sum }, tx);
            seq += payload.len() as u32;
        }
    }

    /// Sends a segment to the sender of `segment`, or several in a GSO packet. Without a free frame
    /// the segment is lost, as on a wire.
    #[inline]
    fn send(&self, segment: &Segment<'_>, out: &Outgoing<'_>, tx: &mut impl Transmit) {
        if out.payload.len() > self.segment_bytes {
            let tcp_at = ethernet::header_bytes(&segment.link) + ipv4::HEADER_BYTES;
            let gso = Gso {
                is_ipv6: false,
                tcp_at: tcp_at as u16,
                header_bytes: (tcp_at + header_bytes(out)) as u16,
                segment_bytes: self.segment_bytes as u16,
            };
            tx.transmit_gso(gso, |packet| self.write(packet, segment, out, TxChecksum::Partial));
        } else {
            tx.transmit(|frame| self.write(frame, segment, out, TxChecksum::Full));
        }
    }

    /// Writes a frame. Returns its length.
    #[inline]
    fn write(
        &self,
        frame: &mut [u8],
        segment: &Segment<'_>,
        out: &Outgoing<'_>,
        checksum: TxChecksum,
    ) -> usize {
        let at = ethernet::emit(frame, &self.mac, &segment.link, ethernet::IPV4);
        let tcp = &mut frame[at + ipv4::HEADER_BYTES..];
        let header_len = write_header(tcp, segment, out);
        let tcp_len = header_len + out.payload.len();
        tcp[header_len..tcp_len].copy_from_slice(out.payload);
        let pseudo =
            checksum::pseudo_header(&segment.local, &segment.remote, ip::TCP, tcp_len as u16);
        let checksum = match checksum {
            TxChecksum::Full => pseudo.add_bytes(&tcp[..header_len]).add_sum(out.sum).finish(),
            TxChecksum::Partial => pseudo.fold().to_ne_bytes(),
        };
        tcp[16..18].copy_from_slice(&checksum);
        ipv4::emit(
            &mut frame[at..],
            &segment.local,
            &segment.remote,
            ip::TCP,
            Ecn::NOT_CAPABLE,
            tcp_len,
        );
        at + ipv4::HEADER_BYTES + tcp_len
    }
}

/// Bytes of the TCP header of a segment with text.
fn header_bytes(out: &Outgoing<'_>) -> usize {
    let timestamps = out.options.timestamps.map_or(0, |_| tcp::TIMESTAMPS_BYTES);
    tcp::HEADER_BYTES + timestamps
}

/// The timestamps option, if the segment has one.
#[inline]
fn timestamps(segment: &Segment<'_>) -> Options {
    let timestamps = segment.options.timestamps.map(|(value, _)| (TIMESTAMP, value));
    Options { timestamps, ..Options::default() }
}

/// Writes the TCP header with options and checksum 0. Returns its length.
#[inline]
fn write_header(tcp: &mut [u8], segment: &Segment<'_>, out: &Outgoing<'_>) -> usize {
    let header_len =
        tcp::HEADER_BYTES + out.options.emit(&mut tcp[tcp::HEADER_BYTES..tcp::MAX_HEADER_BYTES]);
    tcp[0..2].copy_from_slice(&segment.local_port.to_be_bytes());
    tcp[2..4].copy_from_slice(&segment.remote_port.to_be_bytes());
    tcp[4..8].copy_from_slice(&out.seq.0.to_be_bytes());
    tcp[8..12].copy_from_slice(&(segment.seq + segment.len()).0.to_be_bytes());
    tcp[12] = ((header_len / 4) as u8) << 4;
    tcp[13] = out.flags.0;
    tcp[14..16].copy_from_slice(&WINDOW.to_be_bytes());
    tcp[16..20].fill(0);
    header_len
}

#[cfg(test)]
#[path = "responder_tests.rs"]
mod tests;

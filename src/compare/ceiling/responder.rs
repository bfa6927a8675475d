//! One segment in, an answer out, and nothing of a connection kept in between.
//!
//! Where a connection stands is read from the segment itself: an answer begins at the peer's
//! SEG.ACK, for there the peer waits for it, and acknowledges all that the segment brought.
//! Timestamps (RFC 7323) are echoed where the segment has them; this side's own is a constant,
//! which is in order, for it never goes back.

use super::answer::Answers;
use simoom_tcp::seq::Seq;
use simoom_tcp::wire::checksum::Sum;
use simoom_tcp::wire::tcp::{self, Flags, Options};
use simoom_tcp::wire::{self, Ecn, Incoming, Segment, ethernet, ip, ipv4};
use simoom_tcp::{ChecksumPolicy, Mac, Packet, Transmit};

/// SND.NXT at a connection's beginning: any number is as good, with nobody to deceive.
const INITIAL: Seq = Seq(0);
/// SEG.WND, without a scale: requests are small, and taken at once.
const WINDOW: u16 = u16::MAX;
/// This side's timestamp.
const TIMESTAMP: u32 = 1;

/// Answers segments.
#[derive(Debug)]
pub(super) struct Responder {
    port: u16,
    checksums: ChecksumPolicy,
    answers: Answers,
    back: Back,
}

/// The way back to where a segment came from.
#[derive(Debug)]
struct Back {
    mac: Mac,
}

/// What is written into a segment.
struct Outgoing<'a> {
    seq: Seq,
    flags: Flags,
    options: Options,
    payload: &'a [u8],
    /// Of the payload.
    sum: Sum,
}

impl Responder {
    /// Answers segments for `port` that come to `mac` with `answers`.
    pub(super) fn new(
        mac: Mac,
        port: u16,
        checksums: ChecksumPolicy,
        answers: Answers,
    ) -> Responder {
        Responder { port, checksums, answers, back: Back { mac } }
    }

    /// Answers one packet, if it is one to be answered.
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

    /// An answer for each request that ends in the segment; this side ends with the last of them,
    /// or with the peer.
    #[inline]
    fn answer(&mut self, segment: &Segment<'_>, tx: &mut impl Transmit) {
        let fin = segment.flags.has(Flags::FIN);
        // A packet comes in one frame here: what is cut in several is longer than any request.
        let text = segment.payload.parts().next().unwrap_or_default();
        match &mut self.answers {
            Answers::Http(http) => {
                let requests = http.requests(text);
                // The numbers of a connection that ends with its first answer are known.
                let ended = http.closes && segment.ack.after(INITIAL + 1 + http.len());
                let pieces = (0..requests)
                    .flat_map(|_| &http.pieces)
                    .map(|piece| (&piece.bytes[..], piece.sum));
                let ends = fin && !ended || requests > 0 && http.closes;
                self.back.answer(segment, segment.ack, pieces, ends, tx);
            }
            Answers::Memcached(memcached) => {
                let peer = (segment.remote, segment.remote_port);
                let (seq, pieces) = memcached.answer(peer, segment.ack, text);
                self.back.answer(segment, seq, pieces, fin, tx);
            }
        }
    }
}

impl Back {
    /// A SYN is answered with the options that it has, as far as there is a use for them.
    fn accept(&self, segment: &Segment<'_>, tx: &mut impl Transmit) {
        let options = Options {
            mss: segment.options.mss,
            window_scale: segment.options.window_scale.map(|_| 0),
            ..stamped(segment)
        };
        let flags = Flags::SYN.with(Flags::ACK);
        self.send(
            segment,
            &Outgoing { seq: INITIAL, flags, options, payload: &[], sum: Sum::default() },
            tx,
        );
    }

    /// Sends the pieces one after the other, from `seq` on; an acknowledgement, if there are none.
    #[inline]
    fn answer<'a>(
        &self,
        segment: &Segment<'_>,
        mut seq: Seq,
        pieces: impl Iterator<Item = (&'a [u8], Sum)>,
        ends: bool,
        tx: &mut impl Transmit,
    ) {
        let options = stamped(segment);
        let last = if ends { Flags::ACK.with(Flags::FIN) } else { Flags::ACK };
        let mut pieces = pieces.peekable();
        if pieces.peek().is_none() {
            let out = Outgoing { seq, flags: last, options, payload: &[], sum: Sum::default() };
            return self.send(segment, &out, tx);
        }
        while let Some((payload, sum)) = pieces.next() {
            let flags = if pieces.peek().is_none() { last.with(Flags::PSH) } else { Flags::ACK };
            self.send(segment, &Outgoing { seq, flags, options, payload, sum }, tx);
            seq += payload.len() as u32;
        }
    }

    /// Sends an answer back to where the segment came from. Without a free frame it is lost, as on
    /// a wire.
    #[inline]
    fn send(&self, segment: &Segment<'_>, out: &Outgoing<'_>, tx: &mut impl Transmit) {
        tx.transmit(|frame| {
            let at = ethernet::emit(frame, &self.mac, &segment.link, ethernet::IPV4);
            let tcp = &mut frame[at + ipv4::HEADER_BYTES..];
            let header_len = write_header(tcp, segment, out);
            let tcp_len = header_len + out.payload.len();
            tcp[header_len..tcp_len].copy_from_slice(out.payload);
            let checksum =
                Sum::pseudo_header(&segment.local, &segment.remote, ip::TCP, tcp_len as u16)
                    .add_bytes(&tcp[..header_len])
                    .add_sum(out.sum)
                    .finish();
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
        });
    }
}

/// Timestamps, if the segment has them.
#[inline]
fn stamped(segment: &Segment<'_>) -> Options {
    let timestamps = segment.options.timestamps.map(|(value, _)| (TIMESTAMP, value));
    Options { timestamps, ..Options::default() }
}

/// Writes the TCP header with options, its checksum left 0; returns its length.
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

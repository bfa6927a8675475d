//! Between frames, with numbers as they are on the wire, and lines, with numbers relative to where
//! the connection began.

use super::super::Notation;
use super::{Bench, Numbers, PEER_PORT, SERVICE_PORT, START};
use crate::seq::Seq;
use crate::testing::TooBig;
use crate::testing::echo::{stream_byte, stream_bytes};
use crate::wire::{self, ChecksumPolicy, Flags, Incoming, Link, Packet, Segment};

impl Bench<'_> {
    /// Writes the frame that a `<` line means.
    pub(super) fn frame(&mut self, segment: &Notation) -> Vec<u8> {
        let port = segment.port.unwrap_or(PEER_PORT);
        let (local_port, remote_port) = self.ports(segment.port);
        let isn = Seq(self.isn);
        let numbers =
            self.numbers.entry(port).or_insert(Numbers { irs: isn, ..Numbers::default() });
        let (irs, iss) = (numbers.irs, numbers.iss.unwrap_or_default());
        let mut options = segment.options;
        for block in &mut options.sack {
            *block = (iss + block.0.0, iss + block.1.0);
        }
        let clock = numbers.clock.unwrap_or_default();
        options.timestamps = segment.timestamps.map(|(value, echo)| {
            (value.unwrap_or_default(), echo.map_or(0, |echo| clock.wrapping_add(echo)))
        });
        let (local, remote) = (self.local(), self.remote());
        let header = wire::tcp::Header {
            local: &remote,
            local_port: remote_port,
            remote: &local,
            remote_port: local_port,
            seq: irs + segment.seq,
            ack: iss + segment.ack,
            flags: segment.flags,
            ecn: segment.ecn,
            window: segment.window.unwrap_or(u16::MAX),
        };
        let len = segment.len as usize;
        // Text begins behind the SYN, which the segment itself may be.
        let text_seq = segment.seq.wrapping_add(u32::from(segment.flags.has(Flags::SYN)));
        let text = stream_bytes(u64::from(text_seq.wrapping_sub(1)), len);
        let mut frame = vec![0; 9100];
        let link = Link { mac: self.config.mac, vlan: segment.vlan };
        let at =
            wire::ethernet::emit(&mut frame, &self.peer_mac, &link, wire::ip::ethertype(&remote));
        let packet_len = wire::tcp::emit(&mut frame[at..], &header, &options, len, |buf| {
            buf.copy_from_slice(&text);
            len
        });
        frame.truncate(at + packet_len);
        frame
    }

    /// Writes the ICMP message of a router that the stack's segment was too big.
    pub(super) fn too_big(&mut self, mtu: u16, segment: &Notation) -> Vec<u8> {
        let mtu = if mtu == 0 { 0 } else { mtu + self.more_mtu };
        self.report(mtu, segment).frame(self.config.mac)
    }

    /// Writes the ICMP message of a router about a segment of the stack.
    pub(super) fn icmp(&mut self, kind: [u8; 2], segment: &Notation) -> Vec<u8> {
        self.report(0, segment).frame_of(self.config.mac, kind)
    }

    fn report(&mut self, mtu: u16, segment: &Notation) -> TooBig {
        let (local, remote) = (self.local(), self.remote());
        let (local_port, remote_port) = self.ports(segment.port);
        let numbers =
            self.numbers.get(&segment.port.unwrap_or(PEER_PORT)).copied().unwrap_or_default();
        let seq = numbers.iss.unwrap_or_default() + segment.seq;
        let len = segment.len as u16;
        TooBig { local, local_port, remote, remote_port, seq, len, mtu }
    }

    /// Reads a frame that the stack sent; its text must be the stream's.
    pub(super) fn read(&mut self, frame: &[u8]) -> Result<Notation, String> {
        let parts = [frame];
        let segment = match wire::parse(Packet(&parts), ChecksumPolicy::Verify) {
            Ok(Incoming::Tcp(segment)) => segment,
            other => return Err(format!("the stack sent no TCP segment but {other:?}")),
        };
        if (segment.remote, segment.local) != (self.local(), self.remote()) {
            return Err(format!("the segment goes from {} to {}", segment.remote, segment.local));
        }
        let to = (&frame[..6], &frame[6..12]);
        if to != (&self.peer_mac[..], &self.config.mac[..]) {
            return Err(format!("the frame goes to and from {to:?}"));
        }
        let active = segment.local_port == SERVICE_PORT;
        let port = if active { segment.remote_port } else { segment.local_port };
        let isn = Seq(self.isn);
        let numbers =
            self.numbers.entry(port).or_insert(Numbers { irs: isn, ..Numbers::default() });
        if segment.flags.has(Flags::SYN) && numbers.iss.is_none() {
            numbers.iss = Some(segment.seq);
        }
        if let (Some((value, _)), None) = (segment.options.timestamps, numbers.clock) {
            numbers.clock = Some(value.wrapping_sub((self.now - START).total_millis() as u32));
        }
        let relative = relative(&segment, numbers, port);
        check_text(&segment, relative.seq)?;
        Ok(relative)
    }
}

fn relative(segment: &Segment<'_>, numbers: &Numbers, port: u16) -> Notation {
    let (irs, iss) = (numbers.irs.0, numbers.iss.unwrap_or_default().0);
    let mut options = segment.options;
    for (left, right) in &mut options.sack[..usize::from(options.sack_count)] {
        (left.0, right.0) = (left.0.wrapping_sub(irs), right.0.wrapping_sub(irs));
    }
    let timestamps = options.timestamps.take();
    let clock = numbers.clock.unwrap_or_default();
    let has_ack = segment.flags.has(Flags::ACK);
    // RFC 9293 §3.10.7.1: this 0 is that of no connection.
    let is_refusal = segment.flags.has(Flags::RST) && has_ack && segment.seq == Seq(0);
    Notation {
        flags: segment.flags,
        ecn: segment.ecn,
        seq: if is_refusal { 0 } else { segment.seq.0.wrapping_sub(iss) },
        len: segment.payload.len() as u32,
        ack: if has_ack { segment.ack.0.wrapping_sub(irs) } else { 0 },
        window: Some(segment.window),
        options,
        timestamps: timestamps.map(|(value, echo)| (Some(value.wrapping_sub(clock)), Some(echo))),
        port: Some(port),
        vlan: segment.link.vlan,
    }
}

fn check_text(segment: &Segment<'_>, seq: u32) -> Result<(), String> {
    let text = segment.payload.parts().flatten();
    let wrong =
        text.zip(u64::from(seq.wrapping_sub(1))..).find(|(byte, at)| **byte != stream_byte(*at));
    wrong.map_or(Ok(()), |(_, at)| {
        Err(format!("byte {at} of the stack's stream is not the right one"))
    })
}

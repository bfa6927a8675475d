//! Frames as an attacker makes them: right checksums, any numbers.

use super::pair::{PORT, config, mapped_to_ipv6};
use crate::config::Limits;
use crate::seq::Seq;
use crate::wire::checksum::{self, Sum};
use crate::wire::{
    self, Address, ChecksumPolicy, Ecn, Flags, Incoming, Link, Mac, Options, Packet,
};

/// A segment to the server of a [`super::Pair`].
#[derive(Clone, Copy, Debug)]
pub struct Forged {
    /// The claimed source address.
    pub source: Address,
    /// The claimed source port.
    pub source_port: u16,
    /// The destination address.
    pub port: u16,
    /// SEG.SEQ.
    pub seq: u32,
    /// SEG.ACK.
    pub ack: u32,
    /// The control bits.
    pub flags: Flags,
    /// The ECN bits of its IP header.
    pub ecn: Ecn,
    /// SEG.WND, as in the header.
    pub window: u16,
    /// The options.
    pub options: Options,
}

impl Forged {
    /// A SYN from 198.18.0.66.
    pub fn syn(source_port: u16, seq: u32) -> Forged {
        Forged {
            source: Address::from_v4([198, 18, 0, 66]),
            source_port,
            port: PORT,
            seq,
            ack: 0,
            flags: Flags::SYN,
            ecn: Ecn::NOT_CAPABLE,
            window: u16::MAX,
            options: Options::default(),
        }
    }

    /// The handshake's last segment, after this SYN and its answer.
    #[must_use]
    pub fn completing(self, syn_ack: &[u8]) -> Forged {
        let parts = [syn_ack];
        let answer = match wire::parse(Packet(&parts), ChecksumPolicy::Verify) {
            Ok(Incoming::Tcp(segment)) if segment.flags.has(Flags::SYN) => segment,
            other => panic!("no SYN-ACK but {other:?}"),
        };
        let (seq, ack) = (self.seq.wrapping_add(1), (answer.seq + 1).0);
        Forged { seq, ack, flags: Flags::ACK, options: Options::default(), ..self }
    }

    /// The same over IPv6.
    #[must_use]
    pub fn over_ipv6(self) -> Forged {
        Forged { source: mapped_to_ipv6(&self.source), ..self }
    }

    /// The frame, with this text, to the server's address of the same version.
    pub fn frame(&self, text: &[u8]) -> Vec<u8> {
        let server = config(2, Limits::for_connections(1));
        let source = self.source;
        let server_v4 = server.addresses[0].address;
        let destination = if source.is_v4() { server_v4 } else { mapped_to_ipv6(&server_v4) };
        let header = wire::tcp::Header {
            local: &source,
            local_port: self.source_port,
            remote: &destination,
            remote_port: self.port,
            seq: Seq(self.seq),
            ack: Seq(self.ack),
            flags: self.flags,
            ecn: self.ecn,
            window: self.window,
        };
        let mut frame = vec![0; text.len() + 120];
        let link = Link { mac: server.mac, vlan: 0 };
        let at = wire::ethernet::emit(
            &mut frame,
            &[2, 0, 0, 0, 0, 66],
            &link,
            wire::ip::ethertype(&source),
        );
        let len = wire::tcp::emit(&mut frame[at..], &header, &self.options, text.len(), |buf| {
            buf.copy_from_slice(text);
            buf.len()
        });
        frame.truncate(at + len);
        frame
    }
}

/// A router's message that a segment was too big (RFC 792, RFC 1191; RFC 4443 §3.2).
#[derive(Clone, Copy, Debug)]
pub struct TooBig {
    /// The sender of the segment, which gets the message.
    pub local: Address,
    /// The sender's port.
    pub local_port: u16,
    /// The segment's destination address.
    pub remote: Address,
    /// The segment's destination port.
    pub remote_port: u16,
    /// The segment's SEG.SEQ.
    pub seq: Seq,
    /// The segment's bytes of text.
    pub len: u16,
    /// The reported MTU; 0 if the router reports none.
    pub mtu: u16,
}

impl TooBig {
    /// The frame to `mac`, with the quote that RFC 792 or RFC 4443 requires.
    pub fn frame(&self, mac: Mac) -> Vec<u8> {
        self.frame_of(mac, if self.local.is_v4() { [3, 4] } else { [2, 0] })
    }

    /// The same with another type and code: another error that a router may report.
    pub fn frame_of(&self, mac: Mac, [kind, code]: [u8; 2]) -> Vec<u8> {
        const ROUTER: [u8; 4] = [198, 18, 0, 77];
        let TooBig { local, local_port, remote, remote_port, seq, len, mtu } = *self;
        let (is_v4, header_bytes) = (local.is_v4(), wire::ip::header_bytes(&local));
        let mut body = vec![kind, code, 0, 0, 0, 0];
        body.extend(mtu.to_be_bytes());
        body.resize(8 + header_bytes, 0);
        let quoted_bytes = wire::tcp::HEADER_BYTES + usize::from(len);
        wire::ip::emit(
            &mut body[8..],
            &local,
            &remote,
            wire::ip::TCP,
            Ecn::NOT_CAPABLE,
            quoted_bytes,
        );
        body.extend([local_port.to_be_bytes(), remote_port.to_be_bytes()].as_flattened());
        body.extend(seq.0.to_be_bytes());
        let router = Address::from_v4(ROUTER);
        let router = if is_v4 { router } else { mapped_to_ipv6(&router) };
        let (protocol, sum) = match is_v4 {
            true => (wire::ip::ICMP, Sum::default()),
            false => (
                wire::ip::ICMPV6,
                checksum::pseudo_header(&router, &local, wire::ip::ICMPV6, body.len() as u16),
            ),
        };
        let checksum = sum.add_bytes(&body).finish();
        body[2..4].copy_from_slice(&checksum);
        let mut frame = vec![0; 200];
        let link = Link { mac, vlan: 0 };
        let at = wire::ethernet::emit(
            &mut frame,
            &[2, 0, 0, 0, 0, 66],
            &link,
            wire::ip::ethertype(&local),
        );
        wire::ip::emit(&mut frame[at..], &router, &local, protocol, Ecn::NOT_CAPABLE, body.len());
        frame.truncate(at + header_bytes);
        frame.extend(body);
        frame
    }
}

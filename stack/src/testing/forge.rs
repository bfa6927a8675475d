//! Frames as an attacker makes them: right checksums, any numbers.

use super::pair::{PORT, config, mapped_to_ipv6};
use crate::config::Limits;
use crate::seq::Seq;
use crate::wire::{self, Address, ChecksumPolicy, Ecn, Flags, Incoming, Link, Options, Packet};

/// A segment to the server of a [`super::Pair`].
#[derive(Clone, Copy, Debug)]
pub struct Forged {
    /// Whom it claims to come from.
    pub source: Address,
    /// ... and from which port.
    pub source_port: u16,
    /// Whom it is for.
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
        let at = wire::ethernet::emit(&mut frame, &[2, 0, 0, 0, 0, 66], &link, wire::ip::ethertype(&source));
        let len = wire::tcp::emit(&mut frame[at..], &header, &self.options, text.len(), |buf| {
            buf.copy_from_slice(text);
            buf.len()
        });
        frame.truncate(at + len);
        frame
    }
}

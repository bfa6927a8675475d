//! A peer's side of a connection by hand: enough of TCP to make a burst of valid segments quickly.

use crate::seq::Seq;
use crate::wire::tcp::{Flags, Header, Options};
use crate::wire::{Address, Ecn, Link, ethernet, ip, tcp};

/// A client that sends segments on request and assumes that each is answered as expected.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    address: Address,
    server: Address,
    port: u16,
    server_port: u16,
    seq: Seq,
    ack: Seq,
}

impl Peer {
    /// A client at `address` and `port`.
    pub fn new(address: Address, port: u16, server: Address, server_port: u16) -> Peer {
        Peer { address, server, port, server_port, seq: Seq(u32::from(port) << 12), ack: Seq(0) }
    }

    /// The SYN, as Linux sends it.
    pub fn syn(&mut self) -> Vec<u8> {
        let options = Options {
            mss: Some(1460),
            window_scale: Some(7),
            sack_permitted: true,
            timestamps: Some((1, 0)),
            ..Options::default()
        };
        let mut frame = Vec::new();
        self.emit(Flags::SYN, &options, &[], &mut frame);
        self.seq += 1;
        frame
    }

    /// An acknowledgement of everything expected so far.
    pub fn ack(&self) -> Vec<u8> {
        let mut frame = Vec::new();
        self.emit(Flags::ACK, &timestamps(), &[], &mut frame);
        frame
    }

    /// Takes the server's sequence number from its SYN-ACK.
    pub fn read(&mut self, frame: &[u8]) {
        let at = 14 + ip::header_bytes(&self.address) + 4;
        self.ack =
            Seq(u32::from_be_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]])) + 1;
    }

    /// Sends `payload`, in a frame that replaces what is in `frame`.
    pub fn data_into(&mut self, payload: &[u8], frame: &mut Vec<u8>) {
        self.emit(Flags::ACK.with(Flags::PSH), &timestamps(), payload, frame);
        self.seq += payload.len() as u32;
    }

    /// Sends the FIN, in a frame that replaces what is in `frame`.
    pub fn fin_into(&mut self, frame: &mut Vec<u8>) {
        self.emit(Flags::ACK.with(Flags::FIN), &timestamps(), &[], frame);
        self.seq += 1;
    }

    /// Expects `bytes` bytes from the server: the next segment acknowledges them.
    pub fn expect(&mut self, bytes: u32) {
        self.ack += bytes;
    }

    fn emit(&self, flags: Flags, options: &Options, payload: &[u8], frame: &mut Vec<u8>) {
        frame.resize(
            14 + ip::header_bytes(&self.address) + tcp::MAX_HEADER_BYTES + payload.len(),
            0,
        );
        let link = Link { mac: [2, 0, 0, 0, 0, 1], vlan: 0 };
        let at = ethernet::emit(frame, &[2, 0, 0, 0, 0, 2], &link, ip::ethertype(&self.address));
        let header = Header {
            local: &self.address,
            local_port: self.port,
            remote: &self.server,
            remote_port: self.server_port,
            seq: self.seq,
            ack: self.ack,
            flags,
            ecn: Ecn::NOT_CAPABLE,
            window: 500,
        };
        let len = tcp::emit(&mut frame[at..], &header, options, payload.len(), |room| {
            room.copy_from_slice(payload);
            payload.len()
        });
        frame.truncate(at + len);
    }
}

fn timestamps() -> Options {
    Options { timestamps: Some((1, 1)), ..Options::default() }
}

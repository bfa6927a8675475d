//! Frames made by hand, and a raw socket to send them by.

use crate::site::{PORT, Site};
use pnet::datalink::{self, Channel, DataLinkSender};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr};

/// TCP's control bits.
pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const ACK: u8 = 16;

/// A segment to the served port, right in all its parts until somebody changes them.
#[derive(Clone, Debug)]
pub struct Segment {
    pub from: Ipv4Addr,
    pub from_port: u16,
    pub to: Ipv4Addr,
    pub to_port: u16,
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    /// A multiple of four bytes.
    pub options: Vec<u8>,
    pub payload: Vec<u8>,
}

/// Where things lie in [`Segment::frame`].
pub const IP: usize = 14;
pub const TCP: usize = IP + 20;

impl Segment {
    /// The frame from the client's interface to the server's, checksums and all.
    pub fn frame(&self, wire: &Wire) -> Vec<u8> {
        let tcp_len = 20 + self.options.len() + self.payload.len();
        let mut frame = Vec::with_capacity(TCP + tcp_len);
        frame.extend(wire.server_mac);
        frame.extend(wire.client_mac);
        frame.extend([8, 0]);
        frame.extend([0x45, 0]);
        frame.extend((20 + tcp_len as u16).to_be_bytes());
        frame.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
        frame.extend(self.from.octets());
        frame.extend(self.to.octets());
        frame.extend(self.from_port.to_be_bytes());
        frame.extend(self.to_port.to_be_bytes());
        frame.extend(self.seq.to_be_bytes());
        frame.extend(self.ack.to_be_bytes());
        frame.extend([
            ((20 + self.options.len()) as u8 / 4) << 4,
            self.flags,
            0xff,
            0xff,
            0,
            0,
            0,
            0,
        ]);
        frame.extend(&self.options);
        frame.extend(&self.payload);
        seal(&mut frame);
        frame
    }
}

/// Makes both checksums of a frame with a plain IPv4 header right.
pub fn seal(frame: &mut [u8]) {
    frame[IP + 10..IP + 12].fill(0);
    let header = fold(sum(&frame[IP..TCP]));
    frame[IP + 10..IP + 12].copy_from_slice(&header.to_be_bytes());
    frame[TCP + 16..TCP + 18].fill(0);
    let pseudo = sum(&frame[IP + 12..TCP]) + 6 + (frame.len() - TCP) as u32;
    let segment = fold(pseudo + sum(&frame[TCP..]));
    frame[TCP + 16..TCP + 18].copy_from_slice(&segment.to_be_bytes());
}

fn sum(bytes: &[u8]) -> u32 {
    bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)))
        .sum()
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !(sum as u16)
}

/// The client's interface, past the client's kernel.
pub struct Wire {
    sender: Box<dyn DataLinkSender>,
    pub server_mac: [u8; 6],
    pub client_mac: [u8; 6],
    server: Ipv4Addr,
    client: Ipv4Addr,
}

impl Wire {
    pub fn new(site: &Site) -> Wire {
        let mac = |name: &str| simoom::netns::interface(name).unwrap().mac;
        let sender = site.network.client.run(|| {
            let interface = datalink::interfaces()
                .into_iter()
                .find(|interface| interface.name == "c0")
                .unwrap();
            match datalink::channel(&interface, datalink::Config::default()).unwrap() {
                Channel::Ethernet(sender, _) => sender,
                _ => panic!("c0 is an Ethernet interface"),
            }
        });
        Wire {
            sender,
            server_mac: site.network.server.run(|| mac("s0")),
            client_mac: site.network.client.run(|| mac("c0")),
            server: v4(site.network.address(1)),
            client: v4(site.network.address(2)),
        }
    }

    /// An acknowledgement from the client to the served port.
    pub fn segment(&self, from_port: u16) -> Segment {
        Segment {
            from: self.client,
            from_port,
            to: self.server,
            to_port: PORT,
            seq: 1000,
            ack: 2000,
            flags: ACK,
            options: Vec::new(),
            payload: Vec::new(),
        }
    }

    /// Sends a frame as it is.
    pub fn send(&mut self, frame: &[u8]) {
        loop {
            match self.sender.send_to(frame, None).expect("the channel has room for a frame") {
                Ok(()) => return,
                // The device's queue is full for a moment.
                Err(error)
                    if error.raw_os_error() == Some(105)
                        || error.kind() == ErrorKind::WouldBlock =>
                {
                    std::thread::yield_now();
                }
                Err(error) => panic!("sending a frame of {} bytes: {error}", frame.len()),
            }
        }
    }
}

fn v4(address: IpAddr) -> Ipv4Addr {
    match address {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => panic!("an IPv4 address was asked for"),
    }
}

//! Every reason to drop a packet is reached, and its counter alone moves. A new reason does not
//! compile here before it has its case.

use simoom_io::Instant;
use simoom_tcp::drop::{DropReason, Drops};
use simoom_tcp::testing::pair::config;
use simoom_tcp::testing::script::{self, Actor};
use simoom_tcp::{Limits, Packet, Stack, Transmit};

/// A transmitter that takes everything.
struct Sink;

impl Transmit for Sink {
    fn transmit(&mut self, write: impl FnOnce(&mut [u8]) -> usize) -> bool {
        write(&mut [0; 2000]);
        true
    }
}

enum Way {
    /// A frame, to a stack that listens.
    Frame(Vec<u8>),
    /// The front of a packet script.
    Script(&'static str),
}

fn way(reason: DropReason) -> Way {
    use Way::{Frame, Script};
    match reason {
        DropReason::Truncated => Frame(syn(|_| {})[..40].to_vec()),
        DropReason::Ethertype => Frame(syn(|frame| frame[12..14].copy_from_slice(&[0x88, 0xcc]))),
        DropReason::IpHeader => Frame(syn(|frame| frame[14] = 0x44)),
        DropReason::IpChecksum => Frame(syn(|frame| frame[24] ^= 1)),
        // A route that leads on: one segment left.
        DropReason::IpExtension => Frame(ipv6(43, 64, &[59, 0, 0, 1, 0, 0, 0, 0])),
        DropReason::Fragment => Frame(with_ip_checksum(syn(|frame| frame[20] = 0x20))),
        DropReason::IpSource => Frame(with_ip_checksum(syn(|frame| frame[26] = 224))),
        DropReason::NotOurs => Frame(with_checksums(syn(|frame| frame[33] = 9))),
        DropReason::Protocol => Frame(with_ip_checksum(syn(|frame| frame[23] = 17))),
        DropReason::Arp => Frame(syn(|frame| frame[13] = 6)),
        DropReason::Icmp => Frame(with_ip_checksum(syn(|frame| frame[23] = 1))),
        // A solicitation that a router has sent on, or a stranger beyond it made.
        DropReason::Ndp => Frame(ipv6(58, 64, &solicitation())),
        DropReason::TcpHeader => Frame(syn(|frame| frame[46] = 0x40)),
        DropReason::TcpChecksum => Frame(syn(|frame| frame[38] ^= 1)),
        DropReason::TcpOptions => Frame(with_checksums(syn(|frame| frame[55] = 1))),
        DropReason::TcpPort => Frame(with_checksums(syn(|frame| frame[34..36].fill(0)))),
        DropReason::TcpFlags => Frame(with_checksums(syn(|frame| frame[47] = 0x03))),
        DropReason::NoListener => Script("< RST seq 1"),
        DropReason::Stray => Script("set reports_strays 1\n< ACK seq 1 ack 1"),
        DropReason::ConnectionsFull => {
            Script("set connections 1\nestablished\n< SYN seq 0 port 4001")
        }
        DropReason::PortFull => {
            Script("set connections_per_port 1\nestablished\n< SYN seq 0 port 4001")
        }
        DropReason::PrefixFull => {
            Script("set connections_per_prefix 1\nestablished\n< SYN seq 0 port 4001")
        }
        DropReason::HalfOpenFull => Script("set syn_cookies 0\nset half_open 0\n< SYN seq 0"),
        DropReason::OutsideWindow => {
            Script("established\n< ACK seq 70000+1 ack 1\n> ACK seq 1 ack 1")
        }
        DropReason::Paws => {
            Script("established ts 9 0\n< ACK seq 1+1 ack 1 ts 8 0\n> ACK seq 1 ack 1")
        }
        DropReason::BlindReset => Script("established\n< RST seq 2\n> ACK seq 1 ack 1"),
        DropReason::BlindSyn => Script("established\n< SYN seq 2\n> ACK seq 1 ack 1"),
        DropReason::BadAck => Script("established\n< ACK seq 1 ack 2\n> ACK seq 1 ack 1"),
        DropReason::NoAck => {
            Script("connect\n> SYN seq 0 mss 1460 ws 1 sackOK ts * *\n< PSH ACK seq 1 ack 1")
        }
        DropReason::NoCookie => Script(
            "set half_open 0\n< SYN seq 0 win 65535 mss 1460\n> SYN ACK seq 0 ack 1 mss 1460\n< ACK seq 2+1 ack 1",
        ),
        DropReason::LateData => Script(
            "established\n< FIN ACK seq 1 ack 1\n> FIN ACK seq 1 ack 2\n< ACK seq 2+1 ack 1\n> ACK seq 2 ack 2",
        ),
        DropReason::NoReceiveBuffer => Script(
            "set small_input_buffers 0\nset large_input_buffers 0\nset reassembly_blocks 0\napp leaves\nestablished\n< ACK seq 1+1 ack 1",
        ),
        DropReason::ReassemblyFull => {
            Script("set reassembly_blocks 0\nestablished\n< ACK seq 2+1 ack 1\n> ACK seq 1 ack 1")
        }
        DropReason::NoTransmitFrame => Script("established\nframes 0\nsend 1"),
    }
}

/// A right SYN with an MSS option, spoilt.
fn syn(spoil: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
    frame.extend([0x45, 0, 0, 44, 0, 0, 0, 0, 64, 6, 0, 0, 198, 18, 0, 1, 198, 18, 0, 2]);
    frame.extend([
        0x0f, 0xa0, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x60, 2, 0xff, 0xff, 0, 0, 0, 0, 2, 4, 5, 180,
    ]);
    frame = with_checksums(frame);
    spoil(&mut frame);
    frame
}

const THEIRS6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const OURS6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];

fn ipv6(next_header: u8, hop_limit: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x86, 0xdd];
    frame.extend([0x60, 0, 0, 0, 0, payload.len() as u8, next_header, hop_limit]);
    frame.extend([&THEIRS6[..], &OURS6, payload].concat());
    frame
}

fn solicitation() -> Vec<u8> {
    let mut message = [&[135, 0, 0, 0, 0, 0, 0, 0][..], &OURS6].concat();
    let pseudo = [&THEIRS6[..], &OURS6, &[0, 24, 0, 58]].concat();
    let sum = checksum(pseudo.into_iter().chain(message.iter().copied()));
    message[2..4].copy_from_slice(&sum);
    message
}

fn checksum(bytes: impl Iterator<Item = u8>) -> [u8; 2] {
    let bytes: Vec<u8> = bytes.collect();
    let sum: u32 =
        bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    (!(((sum & 0xffff) + (sum >> 16)) as u16)).to_be_bytes()
}

fn with_ip_checksum(mut frame: Vec<u8>) -> Vec<u8> {
    frame[24..26].fill(0);
    let sum = checksum(frame[14..34].iter().copied());
    frame[24..26].copy_from_slice(&sum);
    frame
}

fn with_checksums(frame: Vec<u8>) -> Vec<u8> {
    let mut frame = with_ip_checksum(frame);
    frame[50..52].fill(0);
    let pseudo = [0, 6, 0, 24];
    let sum = checksum(frame[26..].iter().copied().chain(pseudo));
    frame[50..52].copy_from_slice(&sum);
    frame
}

/// The counter of a reason.
fn counter(reason: DropReason) -> &'static str {
    let mut drops = Drops::default();
    drops.note(reason);
    drops.iter().find(|(_, count)| *count == 1).expect("each reason counts").0.name
}

#[test]
fn the_frame_that_is_spoilt_is_right() {
    assert_eq!(drops_of(&syn(|_| {})), Drops::default());
}

fn drops_of(frame: &[u8]) -> Drops {
    let now = Instant::from_millis(1000);
    let mut stack = Stack::<Actor>::new(config(2, Limits::for_connections(64)), now);
    stack.listen(80);
    let parts = [frame];
    stack.receive(now, &[Packet(&parts)], &mut Actor::default(), &mut Sink);
    *stack.counters().1
}

#[test]
fn every_reason_is_reached_and_counted() {
    for &reason in DropReason::ALL {
        let counter = counter(reason);
        match way(reason) {
            Way::Frame(frame) => {
                let mut expected = Drops::default();
                expected.note(reason);
                assert_eq!(drops_of(&frame), expected, "{reason:?}");
            }
            Way::Script(front) => {
                script::run(counter, &format!("{front}\ncount {counter} 1"))
                    .unwrap_or_else(|why| panic!("{why}"));
            }
        }
    }
}

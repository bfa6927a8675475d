//! A stranger: bytes in, frames of any content out to a listening stack, some of them well-formed
//! segments for connections in different states.

use super::super::Forged;
use super::super::pair::{PORT, hasty, over_ipv6};
use super::{LIMITS, Script};
use crate::reassembly;
use crate::seq::Seq;
use crate::stack::Stack;
use crate::wire::{self, Address, ChecksumPolicy, Ecn, Flags, Incoming, Link, Options, Packet};
use crate::{OwnershipCounts, Transmit};
use simoom_io::application::{Application, Closed, Opened};
use simoom_io::{Duration, Instant, Reply};
use std::collections::BTreeMap;

/// Sends frames of any content and order to a listening stack whose connections are in different
/// states. Everything that the stack sends is well formed, what it holds is bounded, and it frees
/// everything in time.
pub fn frames(data: &[u8]) {
    let (mut target, mut script) = (Target::new(), Script(data));
    while !script.0.is_empty() {
        match script.byte() % 8 {
            0 => {
                let len = usize::from(script.byte());
                target.receive(script.take(len).to_vec());
            }
            1 => {
                let millis = u64::from(script.word());
                target.wait(millis);
            }
            2 => {
                let (at, mask) = (usize::from(script.word()), script.byte());
                let mut frame = target.last.clone();
                if let Some(byte) = frame.get_mut(at % 100) {
                    *byte ^= mask;
                }
                target.receive(frame);
            }
            3 => {
                let frame = packet_of_ipv6(&mut script);
                target.receive(frame);
            }
            _ => {
                let frame = segment(&mut script, &target);
                target.receive(frame);
            }
        }
    }
    for _ in 0..3 {
        target.wait(60_000);
    }
    let ownership = target.stack.ownership();
    assert_eq!(
        ownership,
        OwnershipCounts::default(),
        "held for ever: {:?}",
        target.stack.counters()
    );
    assert!(target.stack.next_deadline().is_none(), "a timer for nothing");
}

/// A packet of IPv6 to the target or to its group: extension headers, neighbour discovery, or what
/// happens to be there instead, a checksum that is right for ICMPv6.
fn packet_of_ipv6(script: &mut Script<'_>) -> Vec<u8> {
    let shape = script.byte();
    let target = over_ipv6(&hasty(2, LIMITS));
    let ours = target.addresses[0].address;
    let destination = if shape & 1 == 0 { ours } else { ours.solicited_node() };
    let source = if shape & 2 == 0 { syn(1001).source } else { Address::default() };
    let next_header = [0, 43, 44, 60, 58, 58, 58, script.byte()][usize::from(shape >> 5)];
    let hop_limit = if shape & 4 == 0 { 255 } else { 64 };
    let mut body = [script.byte(), script.byte(), 0, 0].to_vec();
    body.extend(script.take(4));
    if shape & 8 == 0 {
        body.extend(ours.octets());
    }
    let rest = usize::from(script.byte());
    body.extend(script.take(rest));
    let sum =
        wire::checksum::pseudo_header(&source, &destination, wire::ip::ICMPV6, body.len() as u16);
    let sum = sum.add_bytes(&body).finish();
    body[2..4].copy_from_slice(&sum);
    let mut frame = vec![0; 100];
    let link = Link { mac: target.mac, vlan: u16::from(shape & 16) };
    let at = wire::ethernet::emit(&mut frame, &[2, 0, 0, 0, 0, 66], &link, wire::ethernet::IPV6);
    wire::ipv6::emit(
        &mut frame[at..],
        &source,
        &destination,
        next_header,
        hop_limit,
        Ecn::NOT_CAPABLE,
        body.len(),
    );
    frame.truncate(at + wire::ipv6::HEADER_BYTES);
    frame.extend(body);
    frame
}

/// A segment with right checksums for one of the connections, near or far from what it expects.
fn segment(script: &mut Script<'_>, target: &Target) -> Vec<u8> {
    let shape = script.byte();
    let flags = match shape % 8 {
        0..=3 => Flags::ACK,
        4 => Flags::ACK.with(Flags::FIN),
        5 => Flags::RST,
        6 => Flags::SYN,
        _ => Flags(script.byte()),
    };
    let mut segment = target.next_segment(1000 + u16::from(script.byte() % 10), flags);
    if shape & 0x08 != 0 {
        segment.seq = segment.seq.wrapping_add(script.distance());
    }
    if shape & 0x10 != 0 {
        segment.ack = segment.ack.wrapping_add(script.distance());
    }
    if shape & 0x20 != 0 {
        segment.window = script.word();
    }
    if shape & 0x40 != 0 {
        segment.options = options(script);
    }
    let text = if shape & 0x80 != 0 { usize::from(script.byte()) * 5 } else { 0 };
    let first = script.byte();
    if shape % 8 == 7 {
        segment.ecn = Ecn::of(first);
    }
    segment.frame(&vec![first; text])
}

fn options(script: &mut Script<'_>) -> Options {
    let which = script.byte();
    let mut options = Options {
        mss: (which & 1 != 0).then(|| script.word()),
        window_scale: (which & 2 != 0).then(|| script.byte()),
        sack_permitted: which & 4 != 0,
        timestamps: (which & 8 != 0).then(|| (script.distance(), script.distance())),
        ..Options::default()
    };
    if which & 0x10 != 0 {
        options.sack[0] = (Seq(script.distance()), Seq(script.distance()));
        options.sack_count = 1;
    }
    options
}

/// The SYN of a connection; half of them go over IPv6.
fn syn(port: u16) -> Forged {
    let syn = Forged::syn(port, 77);
    if port.is_multiple_of(2) { syn } else { syn.over_ipv6() }
}

/// The stack under test.
struct Target {
    stack: Stack<Steered>,
    app: Steered,
    out: Judge,
    now: Instant,
    last: Vec<u8>,
}

impl Target {
    /// A listening stack with connections in different states on ports 1000 to 1007, one half-open
    /// on 1008.
    fn new() -> Target {
        let now = Instant::from_millis(1000);
        let mut config = hasty(2, LIMITS);
        config.addresses.extend(over_ipv6(&config).addresses);
        let mut stack = Stack::new(config, now);
        stack.listen(PORT);
        let mut target =
            Target { stack, app: Steered, out: Judge::default(), now, last: Vec::new() };
        for port in 1000..1008 {
            let options = Options {
                mss: Some(1000),
                window_scale: (port % 2 == 0).then_some(2),
                sack_permitted: port % 3 == 0,
                timestamps: (port % 4 == 1).then_some((5, 0)),
                ..Options::default()
            };
            let ecn = if port % 5 == 0 { Flags::ECE.with(Flags::CWR) } else { Flags::default() };
            let flags = Flags::SYN.with(ecn);
            target.receive(Forged { options, flags, ..syn(port) }.frame(&[]));
            // Then the application does nothing, closes, leaves input, answers with more than a
            // window, or closes at the peer's request.
            let text: &[u8] = [&b""[..], &[0], &[2, 2], &[5], &[6; 40]][usize::from(port) % 5];
            let flags = if port > 1005 { Flags::ACK.with(Flags::FIN) } else { Flags::ACK };
            let segment = target.next_segment(port, flags);
            target.receive(Forged { window: 3000, ..segment }.frame(text));
        }
        target.receive(syn(1008).frame(&[]));
        target
    }

    /// The segment that would come next on this port.
    fn next_segment(&self, port: u16, flags: Flags) -> Forged {
        let standing = self.out.standings.get(&port).copied().unwrap_or_default();
        let timestamps = (port % 4 == 1).then(|| (6, standing.timestamp.unwrap_or(0)));
        let options = Options { timestamps, ..Options::default() };
        Forged { seq: standing.seq, ack: standing.ack, flags, options, ..syn(port) }
    }

    fn receive(&mut self, frame: Vec<u8>) {
        self.stack.receive(self.now, &[Packet(&[&frame[..]])], &mut self.app, &mut self.out);
        self.stack.flush(self.now, &mut self.app, &mut self.out);
        self.last = frame;
        self.check();
    }

    fn wait(&mut self, millis: u64) {
        let until = self.now + Duration::from_millis(millis);
        for _ in 0..10_000 {
            let next = self.stack.next_deadline().map_or(until, |after| self.now + after);
            self.now = next.max(self.now + Duration::from_millis(1)).min(until);
            self.stack.expire(self.now, &mut self.app, &mut self.out);
            self.stack.flush(self.now, &mut self.app, &mut self.out);
            if self.now == until {
                return self.check();
            }
        }
        panic!("timers fire without end: {:?}", self.stack.counters());
    }

    fn check(&self) {
        let OwnershipCounts {
            connections,
            half_open,
            counted_by_prefix,
            counted_by_port,
            send_entries,
            send_chunks,
            input_buffers,
            reassembly_blocks,
            flight_runs,
            unresolved,
            extra_window_bytes,
        } = self.stack.ownership();
        assert!(
            extra_window_bytes <= 4 * reassembly::BLOCK_BYTES * LIMITS.reassembly_blocks as usize
        );
        assert!(
            connections <= LIMITS.connections as usize && half_open <= LIMITS.half_open as usize
        );
        assert_eq!((counted_by_prefix, counted_by_port), (connections, connections));
        assert!(
            send_entries <= LIMITS.send_entries as usize
                && send_chunks <= LIMITS.send_chunks as usize
        );
        assert!(
            flight_runs <= LIMITS.flight_runs as usize && unresolved <= LIMITS.unresolved as usize
        );
        assert!(input_buffers <= 4 && reassembly_blocks <= LIMITS.reassembly_blocks as usize);
    }
}

/// An application that a stranger steers by what it sends.
#[derive(Default)]
struct Steered;

impl Application for Steered {
    type Blob = &'static [u8];
    type Conn = bool;

    fn opened(&mut self, is_open: &mut bool, _: Opened, _: &mut Reply<'_, &'static [u8]>) {
        assert!(!std::mem::replace(is_open, true), "opened once");
    }

    fn received(
        &mut self,
        is_open: &mut bool,
        bytes: &[u8],
        reply: &mut Reply<'_, &'static [u8]>,
    ) -> usize {
        assert!(*is_open && !bytes.is_empty(), "only an open connection is offered input");
        match bytes[0] % 8 {
            0 => reply.close(),
            1 => reply.abort(),
            2 => return 0,
            3 => reply.set_timeout(Some(Duration::from_millis(u64::from(bytes[0])))),
            4 => return bytes.len() / 2,
            5 if reply.has_capacity() => reply.share(&[7; 3000], 0..3000),
            _ if reply.has_capacity() => reply.copy(&bytes[..bytes.len().min(1000)]),
            _ => return 0,
        }
        bytes.len()
    }

    fn overfull(&mut self, _: &mut bool, _: &[u8], reply: &mut Reply<'_, &'static [u8]>) {
        reply.close();
    }

    fn timeout(&mut self, _: &mut bool, reply: &mut Reply<'_, &'static [u8]>) {
        reply.copy(b"late");
    }

    fn closed(&mut self, is_open: &mut bool, _: Closed) {
        assert!(*is_open, "closed once, and only if opened");
    }
}

/// The state of a connection, as the stranger knows it from received frames.
#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    seq: u32,
    ack: u32,
    timestamp: Option<u32>,
}

/// Takes what the stack sends: each frame must be right.
#[derive(Default)]
struct Judge {
    standings: BTreeMap<u16, Standing>,
}

impl Transmit for Judge {
    fn transmit(&mut self, write: impl FnOnce(&mut [u8]) -> usize) -> bool {
        let mut frame = vec![0xee; 1518];
        let len = write(&mut frame);
        let parts = [&frame[..len]];
        match wire::parse(Packet(&parts), ChecksumPolicy::Verify) {
            Ok(Incoming::Tcp(segment)) => {
                // Read from the other side: what is local there is the stranger's.
                let standing = Standing {
                    seq: segment.ack.0,
                    ack: (segment.seq + segment.len()).0,
                    timestamp: segment.options.timestamps.map(|(value, _)| value),
                };
                self.standings.insert(segment.local_port, standing);
            }
            Ok(Incoming::Arp(..)) => {}
            Ok(Incoming::Icmp(_, _, body)) => {
                let sum = wire::checksum::Sum::default().add_bytes(body);
                assert!(sum.is_valid(), "an ICMP message with a wrong checksum");
            }
            Ok(Incoming::Icmpv6(..)) => {}
            Err(reason) => panic!("the stack sent a frame that is dropped for {reason:?}"),
        }
        true
    }
}

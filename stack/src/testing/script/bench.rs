//! Runs a packet script: plays the peer, moves the time, compares what the stack sends.

use super::settings;
use super::statement::{Figure, Line, Statement, Time};
use super::{Actor, ActorConn, ArpNotation, Notation};
use crate::demux::Tuple;
use crate::send::Reply;
use crate::seq::Seq;
use crate::stack::{ConnId, Connect, Stack};
use crate::testing::coverage::{Coverage, Event};
use crate::testing::echo::{stream_byte, stream_bytes};
use crate::testing::pair::{mapped_to_ipv6, over_ipv6};
use crate::wire::checksum::Sum;
use crate::wire::{self, Address, ChecksumPolicy, Flags, Incoming, Link, Options, Packet, Segment, ipv4, ipv6};
use crate::{Config, Duration, Inspection, Instant, Transmit};
use std::collections::{HashMap, VecDeque};

/// The port that the stack listens on, and the peer's when the stack connects.
pub(super) const SERVICE_PORT: u16 = 80;
/// The other port, unless a line names one.
pub(super) const PEER_PORT: u16 = 4000;
const PEER_MAC: wire::Mac = [2, 0, 0, 0, 0, 1];
const START: Instant = Instant::from_micros_const(1_000_000);

/// One connection's numbers, as far as they are known.
#[derive(Clone, Copy, Debug, Default)]
struct Numbers {
    /// The stack's initial sequence number, once its SYN was seen.
    iss: Option<Seq>,
    /// The peer's.
    irs: Seq,
    /// The stack's TSval at the start of the script, once one was seen.
    clock: Option<u32>,
    /// Whether the stack opened it.
    active: bool,
}

/// Frames on their way out.
struct Wire {
    frames: VecDeque<Vec<u8>>,
    left: usize,
}

impl Transmit for Wire {
    fn transmit(&mut self, write: impl FnOnce(&mut [u8]) -> usize) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        let mut frame = vec![0; 9100];
        let len = write(&mut frame);
        frame.truncate(len);
        self.frames.push_back(frame);
        true
    }
}

/// A stack under a script.
pub struct Bench<'c> {
    coverage: &'c mut Coverage,
    config: Config,
    more_mtu: u16,
    stack: Option<Stack<Actor>>,
    app: Actor,
    wire: Wire,
    now: Instant,
    /// Whom the stack's segments must go to, and the peer's come from.
    peer_mac: wire::Mac,
    isn: u32,
    numbers: HashMap<u16, Numbers>,
    strays: u64,
    /// What [`Stack::with`] calls the connection that was last seen on a port.
    ids: HashMap<u16, ConnId>,
    /// Arrivals of a burst that is not complete, until a line that is none.
    burst: Vec<Vec<u8>>,
}

impl<'c> Bench<'c> {
    /// A bench that notes in `coverage` what happens.
    pub fn new(coverage: &'c mut Coverage) -> Bench<'c> {
        Bench {
            coverage,
            config: settings::start(),
            more_mtu: 0,
            stack: None,
            app: Actor::default(),
            wire: Wire { frames: VecDeque::new(), left: usize::MAX },
            now: START,
            peer_mac: PEER_MAC,
            isn: 10_000,
            numbers: HashMap::new(),
            strays: 0,
            ids: HashMap::new(),
            burst: Vec::new(),
        }
    }

    /// The same over IPv6, with an MTU that is larger by what IPv6's header takes more.
    pub(super) fn over_ipv6(coverage: &'c mut Coverage) -> Bench<'c> {
        let config = over_ipv6(&settings::start());
        Bench { config, more_mtu: (ipv6::HEADER_BYTES - ipv4::HEADER_BYTES) as u16, ..Bench::new(coverage) }
    }

    /// Does what a line says, or tells what came instead.
    pub fn execute(&mut self, line: &Line) -> Result<(), String> {
        if let Statement::Set(name, value) = &line.statement {
            if self.stack.is_some() {
                return Err("settings come before all else".to_owned());
            }
            return settings::set(&mut self.config, name, *value);
        }
        if !matches!(line.statement, Statement::Arrives(_, true)) {
            self.deliver();
        }
        let at = match line.time {
            Time::At(millis) => START + Duration::from_millis(millis),
            Time::After(millis) => self.now + Duration::from_millis(millis),
        };
        if at < self.now {
            return Err(format!("it is {} ms already", self.millis()));
        }
        if let Statement::Sends(expected) = &line.statement {
            return self.expect_segment(at, expected);
        }
        if let Statement::ArpSends(expected) = &line.statement {
            return self.expect_arp(at, expected);
        }
        // What a `>` line does not expect must not be sent; a line without a time of its own may still look at
        // figures before the `>` lines that follow it.
        if at > self.now {
            self.expect_silence(at)?;
        }
        self.act(&line.statement)?;
        self.app.fault.clone().map_or(Ok(()), Err)
    }

    /// At the end nothing may be left that no line expected.
    pub fn finish(&mut self) -> Result<(), String> {
        self.deliver();
        self.expect_silence(self.now)
    }

    fn millis(&self) -> i64 {
        (self.now - START).total_millis() as i64
    }

    fn stack(&mut self) -> &mut Stack<Actor> {
        self.stack.get_or_insert_with(|| {
            let config = Config { mtu: self.config.mtu + self.more_mtu, ..self.config.clone() };
            let mut stack = Stack::new(config, START);
            stack.listen(SERVICE_PORT);
            stack
        })
    }

    fn act(&mut self, statement: &Statement) -> Result<(), String> {
        match statement {
            Statement::Isn(isn) => {
                self.isn = *isn;
                self.numbers.clear();
            }
            Statement::Established(options) => self.establish(options)?,
            Statement::Connect(port, is_routed) => self.connect(*port, *is_routed)?,
            Statement::ArpArrives(packet) => {
                self.burst.push(packet.frame(self.peer_mac, self.config.mac));
                self.deliver();
            }
            Statement::Mac(mac) => self.peer_mac = *mac,
            Statement::Conflict => _ = self.stack().take_conflict().ok_or("there was no conflict")?,
            Statement::App(manner) => self.app.manner = *manner,
            Statement::Arrives(segment, joins) => {
                let frame = self.frame(segment);
                self.burst.push(frame);
                debug_assert!(*joins || self.burst.len() == 1, "a burst was delivered by the line that ends it");
            }
            Statement::TooBig(mtu, segment) => {
                let frame = self.too_big(*mtu, segment);
                self.burst.push(frame);
            }
            Statement::Send(len, port) => {
                self.reply(*port, Some(Event::Send), |conn, reply| conn.send(*len, reply))?;
            }
            Statement::Share(len, port) => {
                self.reply(*port, Some(Event::Send), |conn, reply| conn.share(*len, reply))?;
            }
            Statement::Close(port) => self.reply(*port, None, |_, reply| reply.close())?,
            Statement::Abort(port) => self.reply(*port, None, |_, reply| reply.abort())?,
            Statement::Refused(call, port) => self.refused(*call, *port)?,
            Statement::Deadline(millis) => {
                let after = Some(Duration::from_millis(*millis));
                self.reply(None, None, |_, reply| reply.set_timeout(after))?;
            }
            Statement::Stop => {
                let tuple = self.tuple(None);
                self.stack();
                let stack = self.stack.as_mut().expect("it was just made");
                self.coverage.call(stack, &tuple, Event::Close, Stack::stop_accepting);
            }
            Statement::AbortAll => {
                let Bench { coverage, stack, app, wire, .. } = self;
                let stack = stack.as_mut().ok_or("there is no connection")?;
                coverage.flush(stack, |stack| stack.abort_all(app, wire));
            }
            Statement::CloseIdle => self.stack().close_idle(|_| true),
            Statement::Frames(count) => self.wire.left = *count,
            Statement::Quiet | Statement::Set(..) | Statement::Sends(_) | Statement::ArpSends(_) => {}
            Statement::State(name, port) => {
                compare(self.inspect(*port).map_or("NONE", |found| found.state), name.as_str())?;
            }
            Statement::Expect(figure, value) => compare(&self.figure(figure)?, value)?,
            Statement::Ended(how) => {
                let ended = self.app.ended.last().map_or_else(|| "not at all".to_owned(), |how| format!("{how:?}"));
                compare(ended.as_str(), how.as_str())?;
            }
        }
        self.flush();
        Ok(())
    }

    fn figure(&mut self, figure: &Figure) -> Result<u64, String> {
        let found = self.inspect(None);
        let connection = || found.ok_or_else(|| "there is no connection".to_owned());
        let strays = self.strays;
        Ok(match figure {
            Figure::Cwnd => connection()?.cwnd.into(),
            Figure::Ssthresh => connection()?.ssthresh.into(),
            Figure::Maximum => connection()?.mss.into(),
            Figure::Opened => self.app.opened,
            Figure::Received => self.app.received,
            Figure::Resumed => self.app.resumed,
            Figure::Strays => strays,
            Figure::Count(name) => {
                let (counters, drops) = self.stack().counters();
                let found = counters.iter().chain(drops.iter()).find(|(known, _)| known == name);
                found.ok_or_else(|| format!("`{name}` is no counter"))?.1
            }
            Figure::Census(name) => {
                let census = self.stack().census();
                let value = match name.as_str() {
                    "connections" => census.connections,
                    "half_open" => census.half_open,
                    "send_entries" => census.send_entries,
                    "send_chunks" => census.send_chunks,
                    "kept" => census.kept,
                    "unresolved" => census.unresolved,
                    "widened_bytes" => census.widened_bytes,
                    "flight_runs" => census.flight_runs,
                    "reassembly_blocks" => census.reassembly_blocks,
                    _ => return Err(format!("`{name}` is not in the census")),
                };
                value as u64
            }
        })
    }
}

/// The application's part, and the time's.
impl Bench<'_> {
    fn connect(&mut self, port: u16, is_routed: bool) -> Result<(), String> {
        let to = Connect {
            local: self.local(),
            local_port: port,
            remote: self.remote(),
            remote_port: SERVICE_PORT,
            link: (!is_routed).then_some(Link { mac: self.peer_mac, vlan: 0 }),
            token: 0,
        };
        let (now, irs) = (self.now, Seq(self.isn));
        self.numbers.insert(port, Numbers { irs, active: true, ..Numbers::default() });
        let tuple = self.tuple(Some(port));
        self.stack();
        let Bench { coverage, stack, wire, .. } = self;
        let stack = stack.as_mut().expect("it was just made");
        coverage
            .call(stack, &tuple, Event::Open, |stack| stack.connect(now, &to, wire))
            .map_err(|why| format!("{why:?}"))?;
        Ok(())
    }

    /// Makes a call that must not succeed.
    fn refused(&mut self, call: Event, port: Option<u16>) -> Result<(), String> {
        let done = match call {
            Event::Open => self.open_again(port),
            Event::Close => self.reply(port, Some(call), |_, reply| reply.close()),
            Event::Abort => self.reply(port, Some(call), |_, reply| reply.abort()),
            _ => self.reply(port, Some(call), |conn, reply| conn.send(1, reply)),
        };
        if done.is_ok() { Err("it was done".to_owned()) } else { Ok(()) }
    }

    /// OPEN for a four-tuple as it is.
    fn open_again(&mut self, port: Option<u16>) -> Result<(), String> {
        let tuple = self.tuple(port);
        let to = Connect {
            local: tuple.local,
            local_port: tuple.local_port,
            remote: tuple.remote,
            remote_port: tuple.remote_port,
            link: Some(Link { mac: PEER_MAC, vlan: 0 }),
            token: 0,
        };
        let Bench { coverage, stack, wire, now, .. } = self;
        let stack = stack.as_mut().ok_or("there is no connection")?;
        let opened = coverage.call(stack, &tuple, Event::Open, |stack| stack.connect(*now, &to, wire));
        opened.map(|_| ()).map_err(|why| format!("{why:?}"))
    }

    fn tuple(&self, port: Option<u16>) -> Tuple {
        let (local_port, remote_port) = self.ports(port);
        let (local, remote) = (self.local(), self.remote());
        Tuple { local, local_port, remote, remote_port }
    }

    /// The three segments of a passive handshake, not compared.
    fn establish(&mut self, options: &Notation) -> Result<(), String> {
        let window = Some(options.window.unwrap_or(u16::MAX));
        let mss = Some(options.options.mss.unwrap_or(1460));
        let flags = Flags::SYN.with(options.flags);
        let syn = Notation { flags, window, options: Options { mss, ..options.options }, ..*options };
        let frame = self.frame(&syn);
        self.burst.push(frame);
        self.deliver();
        let frame = self.wire.frames.pop_front().ok_or("the SYN was not answered")?;
        self.read(&frame)?;
        let timestamps = options.timestamps.map(|(value, _)| (value, Some(self.millis() as u32)));
        let ack =
            Notation { flags: Flags::ACK, seq: 1, ack: 1, window, timestamps, options: Options::default(), ..syn };
        let frame = self.frame(&ack);
        self.burst.push(frame);
        self.deliver();
        Ok(())
    }

    fn local(&self) -> Address {
        self.config.addresses[0].address
    }

    fn remote(&self) -> Address {
        let peer = Address::from_v4([198, 18, 0, 1]);
        if self.local().is_v4() { peer } else { mapped_to_ipv6(&peer) }
    }

    fn ports(&self, port: Option<u16>) -> (u16, u16) {
        let port = port.unwrap_or(PEER_PORT);
        let active = self.numbers.get(&port).is_some_and(|numbers| numbers.active);
        if active { (port, SERVICE_PORT) } else { (SERVICE_PORT, port) }
    }

    fn inspect(&mut self, port: Option<u16>) -> Option<Inspection> {
        let (local, remote) = self.ports(port);
        self.stack().inspect(local, remote)
    }

    fn reply(
        &mut self,
        port: Option<u16>,
        event: Option<Event>,
        act: impl FnOnce(&mut ActorConn, &mut Reply<'_, &'static [u8]>),
    ) -> Result<(), String> {
        let (found, tuple) = (self.inspect(port), self.tuple(port));
        // Whoever still has the name of a connection that is over finds that it is.
        let last = self.ids.get(&tuple.remote_port).copied();
        let id = found.map(|found| found.id).or(last).ok_or("there is no connection")?;
        self.ids.insert(tuple.remote_port, id);
        let stack = self.stack.as_mut().expect("it was just asked");
        let done = match event {
            Some(event) => self.coverage.call(stack, &tuple, event, |stack| stack.with(id, act)),
            None => stack.with(id, act),
        };
        done.ok_or_else(|| format!("not in state {}", found.map_or("NONE", |found| found.state)))
    }

    /// Hands the arrivals of one burst over.
    fn deliver(&mut self) {
        if self.burst.is_empty() {
            return;
        }
        self.stack();
        let burst = std::mem::take(&mut self.burst);
        let parts: Vec<[&[u8]; 1]> = burst.iter().map(|frame| [&frame[..]]).collect();
        let packets: Vec<Packet<'_>> = parts.iter().map(|parts| Packet(parts)).collect();
        let Bench { coverage, stack, app, wire, now, .. } = self;
        let stack = stack.as_mut().expect("it was just made");
        let mut receive = |stack: &mut Stack<Actor>| stack.receive(*now, &packets, app, wire);
        self.strays = match &burst[..] {
            [alone] => coverage.segment(stack, alone, receive),
            _ => receive(stack),
        };
        self.flush();
    }

    fn flush(&mut self) {
        self.stack();
        let Bench { coverage, stack, app, wire, now, .. } = self;
        let stack = stack.as_mut().expect("it was just made");
        coverage.time(stack, |stack| stack.expire(*now, app, wire));
        coverage.flush(stack, |stack| stack.flush(*now, app, wire));
    }

    /// Lets time pass until `at`, or until the stack sends something.
    fn wait(&mut self, at: Instant) {
        while self.wire.frames.is_empty() && self.now < at {
            // The wheel may name a time a little before a timer is due; time must still pass.
            let next = self.stack().next_deadline().map_or(at, |after| self.now + after);
            self.now = next.max(self.now + Duration::from_millis(1)).min(at);
            self.flush();
        }
    }

    fn expect_silence(&mut self, at: Instant) -> Result<(), String> {
        self.wait(at);
        let Some(frame) = self.wire.frames.pop_front() else { return Ok(()) };
        if let Some(sent) = ArpNotation::read(&frame) {
            return Err(format!("expected nothing, but at {} ms came `> {sent}`", self.millis()));
        }
        let sent = self.read(&frame)?;
        Err(format!("expected nothing, but at {} ms came `> {sent}`", self.millis()))
    }

    fn expect_segment(&mut self, at: Instant, expected: &Notation) -> Result<(), String> {
        self.wait(at);
        let Some(frame) = self.wire.frames.pop_front() else {
            return Err(format!("nothing came until {} ms", self.millis()));
        };
        if let Some(sent) = ArpNotation::read(&frame) {
            return Err(format!("at {} ms came `> {sent}`", self.millis()));
        }
        let sent = self.read(&frame)?;
        if self.now != at {
            return Err(format!("at {} ms already came `> {sent}`", self.millis()));
        }
        if expected.matches(&sent) { Ok(()) } else { Err(format!("came `> {sent}`")) }
    }

    fn expect_arp(&mut self, at: Instant, expected: &ArpNotation) -> Result<(), String> {
        self.wait(at);
        let Some(frame) = self.wire.frames.pop_front() else {
            return Err(format!("nothing came until {} ms", self.millis()));
        };
        let Some(sent) = ArpNotation::read(&frame) else {
            return Err(format!("at {} ms came `> {}`", self.millis(), self.read(&frame)?));
        };
        if self.now != at {
            return Err(format!("at {} ms already came `> {sent}`", self.millis()));
        }
        if expected.matches(&sent, self.config.mac) { Ok(()) } else { Err(format!("came `> {sent}`")) }
    }
}

/// Between numbers on the wire and relative ones.
impl Bench<'_> {
    /// Writes the frame that a `<` line means.
    fn frame(&mut self, segment: &Notation) -> Vec<u8> {
        let port = segment.port.unwrap_or(PEER_PORT);
        let (local_port, remote_port) = self.ports(segment.port);
        let isn = Seq(self.isn);
        let numbers = self.numbers.entry(port).or_insert(Numbers { irs: isn, ..Numbers::default() });
        let (irs, iss) = (numbers.irs, numbers.iss.unwrap_or_default());
        let mut options = segment.options;
        for block in &mut options.sack {
            *block = (iss + block.0.0, iss + block.1.0);
        }
        let clock = numbers.clock.unwrap_or_default();
        options.timestamps = segment
            .timestamps
            .map(|(value, echo)| (value.unwrap_or_default(), echo.map_or(0, |echo| clock.wrapping_add(echo))));
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
        let text = stream_bytes(u64::from(segment.seq.wrapping_sub(1)), len);
        let mut frame = vec![0; 9100];
        let link = Link { mac: self.config.mac, vlan: segment.vlan };
        let at = wire::ethernet::emit(&mut frame, &self.peer_mac, &link, wire::ip::ethertype(&remote));
        let packet_len = wire::tcp::emit(&mut frame[at..], &header, &options, len, |buf| {
            buf.copy_from_slice(&text);
            len
        });
        frame.truncate(at + packet_len);
        frame
    }

    /// Writes the ICMP message of a router that the stack's segment was too big, quoting what RFC 792 asks for, or RFC 4443
    /// at least.
    fn too_big(&mut self, mtu: u16, segment: &Notation) -> Vec<u8> {
        const ROUTER: [u8; 4] = [198, 18, 0, 77];
        let (local, remote) = (self.local(), self.remote());
        let (local_port, remote_port) = self.ports(segment.port);
        let numbers = self.numbers.get(&segment.port.unwrap_or(PEER_PORT)).copied().unwrap_or_default();
        let seq = numbers.iss.unwrap_or_default() + segment.seq;
        let (is_v4, header_bytes) = (local.is_v4(), wire::ip::header_bytes(&local));
        let fitting = if mtu == 0 { 0 } else { mtu + self.more_mtu };
        let mut body = if is_v4 { vec![3, 4, 0, 0, 0, 0] } else { vec![2, 0, 0, 0, 0, 0] };
        body.extend(fitting.to_be_bytes());
        body.resize(8 + header_bytes, 0);
        let quoted_bytes = wire::tcp::HEADER_BYTES + segment.len as usize;
        wire::ip::emit(&mut body[8..], &local, &remote, wire::ip::TCP, wire::Ecn::NOT_CAPABLE, quoted_bytes);
        body.extend([local_port.to_be_bytes(), remote_port.to_be_bytes()].as_flattened());
        body.extend(seq.0.to_be_bytes());
        let router = Address::from_v4(ROUTER);
        let router = if is_v4 { router } else { mapped_to_ipv6(&router) };
        let (protocol, sum) = match is_v4 {
            true => (wire::ip::ICMP, Sum::default()),
            false => (wire::ip::ICMPV6, Sum::pseudo_header(&router, &local, wire::ip::ICMPV6, body.len() as u16)),
        };
        let checksum = sum.add_bytes(&body).finish();
        body[2..4].copy_from_slice(&checksum);
        let mut frame = vec![0; 200];
        let link = Link { mac: self.config.mac, vlan: 0 };
        let at = wire::ethernet::emit(&mut frame, &PEER_MAC, &link, wire::ip::ethertype(&local));
        wire::ip::emit(&mut frame[at..], &router, &local, protocol, wire::Ecn::NOT_CAPABLE, body.len());
        frame.truncate(at + header_bytes);
        frame.extend(body);
        frame
    }

    /// Reads a frame that the stack sent; its text must be the stream's.
    fn read(&mut self, frame: &[u8]) -> Result<Notation, String> {
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
        let numbers = self.numbers.entry(port).or_insert(Numbers { irs: isn, ..Numbers::default() });
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
    Notation {
        flags: segment.flags,
        ecn: segment.ecn,
        seq: segment.seq.0.wrapping_sub(iss),
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
    let wrong = text.zip(u64::from(seq.wrapping_sub(1))..).find(|(byte, at)| **byte != stream_byte(*at));
    wrong.map_or(Ok(()), |(_, at)| Err(format!("byte {at} of the stack's stream is not the right one")))
}

fn compare<T: PartialEq + std::fmt::Display + ?Sized>(found: &T, expected: &T) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("it is {found}")) }
}

//! Runs a packet script: plays the peer, advances the time, and compares what the stack sends.

mod calls;
mod expect;
mod figures;
mod frames;

use super::Actor;
use super::settings;
use super::statement::{Line, Statement, Time};
use crate::demux::Tuple;
use crate::seq::Seq;
use crate::stack::{ConnId, Stack};
use crate::testing::coverage::{Coverage, Event};
use crate::testing::pair::{mapped_to_ipv6, over_ipv6};
use crate::wire::{self, Address, Packet, ipv4, ipv6};
use crate::{Config, Inspection, Transmit};
use simoom_io::{Duration, Instant};
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
    /// The peer's hardware address.
    peer_mac: wire::Mac,
    isn: u32,
    numbers: HashMap<u16, Numbers>,
    strays: u64,
    /// The identifier of the latest connection on a port.
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
        Bench {
            config,
            more_mtu: (ipv6::HEADER_BYTES - ipv4::HEADER_BYTES) as u16,
            ..Bench::new(coverage)
        }
    }

    /// Runs a line. The error has what was sent instead.
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
        // What a `>` line does not expect must not be sent; a line without a time of its own may
        // still look at figures before the `>` lines that follow it.
        if at > self.now {
            self.expect_silence(at)?;
        }
        self.act(&line.statement)?;
        self.app.fault.clone().map_or(Ok(()), Err)
    }

    /// At the end, no frame may be left that no line expected.
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
            Statement::Conflict => {
                _ = self.stack().take_conflict().ok_or("there was no conflict")?;
            }
            Statement::App(manner) => self.app.manner = *manner,
            Statement::Arrives(segment, joins) => {
                let frame = self.frame(segment);
                self.burst.push(frame);
                debug_assert!(
                    *joins || self.burst.len() == 1,
                    "a burst was delivered by the line that ends it"
                );
            }
            Statement::TooBig(mtu, segment) => {
                let frame = self.too_big(*mtu, segment);
                self.burst.push(frame);
            }
            Statement::Icmp(kind, segment) => {
                let frame = self.icmp(*kind, segment);
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
            Statement::CloseWithin(millis) => self.stack().shorten_close_timeout(*millis),
            Statement::CloseIdle => self.stack().close_idle(|_| true),
            Statement::Frames(count) => self.wire.left = *count,
            Statement::Quiet
            | Statement::Set(..)
            | Statement::Sends(_)
            | Statement::ArpSends(_) => {}
            Statement::State(name, port) => {
                compare(self.inspect(*port).map_or("NONE", |found| found.state), name.as_str())?;
            }
            Statement::Expect(figure, value) => compare(&self.figure(figure)?, value)?,
            Statement::Ended(how) => {
                let ended = self
                    .app
                    .ended
                    .last()
                    .map_or_else(|| "not at all".to_owned(), |how| format!("{how:?}"));
                compare(ended.as_str(), how.as_str())?;
            }
        }
        self.flush();
        Ok(())
    }

    fn tuple(&self, port: Option<u16>) -> Tuple {
        let (local_port, remote_port) = self.ports(port);
        let (local, remote) = (self.local(), self.remote());
        Tuple { local, local_port, remote, remote_port }
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

    /// Passes the arrivals of one burst to the stack.
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
}

fn compare<T: PartialEq + std::fmt::Display + ?Sized>(
    found: &T,
    expected: &T,
) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("it is {found}")) }
}

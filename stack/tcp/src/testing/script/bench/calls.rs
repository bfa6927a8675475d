//! The application's part: calls of OPEN, SEND, CLOSE and ABORT in, whether they were done out.

use super::super::{ActorConn, Notation};
use super::{Bench, Numbers, PEER_MAC, SERVICE_PORT};
use crate::seq::Seq;
use crate::stack::Connect;
use crate::testing::coverage::Event;
use crate::wire::{Flags, Link, Options};
use simoom_io::Reply;

impl Bench<'_> {
    pub(super) fn connect(&mut self, port: u16, is_routed: bool) -> Result<(), String> {
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
    pub(super) fn refused(&mut self, call: Event, port: Option<u16>) -> Result<(), String> {
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
        let opened =
            coverage.call(stack, &tuple, Event::Open, |stack| stack.connect(*now, &to, wire));
        opened.map(|_| ()).map_err(|why| format!("{why:?}"))
    }

    /// The three segments of a passive handshake, not compared.
    pub(super) fn establish(&mut self, options: &Notation) -> Result<(), String> {
        let window = Some(options.window.unwrap_or(u16::MAX));
        let mss = Some(options.options.mss.unwrap_or(1460));
        let flags = Flags::SYN.with(options.flags);
        let syn =
            Notation { flags, window, options: Options { mss, ..options.options }, ..*options };
        let frame = self.frame(&syn);
        self.burst.push(frame);
        self.deliver();
        let frame = self.wire.frames.pop_front().ok_or("the SYN was not answered")?;
        self.read(&frame)?;
        let timestamps = options.timestamps.map(|(value, _)| (value, Some(self.millis() as u32)));
        let ack = Notation {
            flags: Flags::ACK,
            seq: 1,
            ack: 1,
            window,
            timestamps,
            options: Options::default(),
            ..syn
        };
        let frame = self.frame(&ack);
        self.burst.push(frame);
        self.deliver();
        Ok(())
    }

    pub(super) fn reply(
        &mut self,
        port: Option<u16>,
        event: Option<Event>,
        act: impl FnOnce(&mut ActorConn, &mut Reply<'_, &'static [u8]>),
    ) -> Result<(), String> {
        let (found, tuple) = (self.inspect(port), self.tuple(port));
        // The identifier of a closed connection is still valid, and says that it is closed.
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
}

//! `stats conns`: the listeners, then every connection of every worker and transport, in
//! memcached's names. A number to go on from in, a few lines a connection out, as there is room:
//! however many there are, they take no memory, and other connections have their turn in between.
//!
//! What memcached numbers by file descriptor has a number of its own here, which it keeps as long
//! as it lasts: the listeners first, then the places in the workers' rosters. Connections that open
//! or close meanwhile may be missed.

use super::conn::{Conn, Doing, Phase, State, Wide};
use super::options::Listening;
use super::out::Out;
use super::{Memcached, Step};
use crate::app::Blob;
use simoom_io::{Ends, Reply};
use std::fmt::Write;
use std::net::SocketAddr;

/// What is told about one number.
enum Told {
    Listener(Listening),
    Connection(Ends, Doing),
}

impl Memcached {
    /// Goes on with the list from `number` on. Once it has ended, the last byte of the request is
    /// taken.
    pub(super) fn conns(
        &mut self,
        conn: &mut Conn,
        mut number: u64,
        reply: &mut Reply<'_, Blob>,
    ) -> Step {
        self.tell(conn, Doing { at: self.now, state: State::ParseCmd });
        while !conn.share.is_used_up() && reply.has_capacity() {
            let Some((found, told)) = self.shared.next_to_tell(number) else {
                conn.phase = Phase::Command;
                reply.copy(b"END\r\n");
                return Step::Took(1);
            };
            if let Some(told) = told {
                describe(self.out.clear(), found, &told, self.now, self.shared.started());
                reply.copy(self.out.bytes());
            }
            number = found + 1;
            conn.share.count();
        }
        conn.phase = Phase::Conns(Wide(number));
        Step::Wait
    }
}

impl super::Shared {
    /// The first number from `from` on that is somebody's, and what is told of it: nothing if it
    /// just opens or closes.
    fn next_to_tell(&self, from: u64) -> Option<(u64, Option<Told>)> {
        let listeners = self.listeners();
        if let Some(listener) = listeners.get(from as usize) {
            return Some((from, Some(Told::Listener(*listener))));
        }
        let mut first = listeners.len();
        for roster in self.rosters().iter() {
            if let Some(place) = roster.next((from as usize).saturating_sub(first)) {
                let told = roster.get(place).map(|(ends, doing)| Told::Connection(ends, doing));
                return Some(((first + place) as u64, told));
            }
            first += roster.places();
        }
        None
    }
}

/// All lines of one number: with IPv6 addresses less than half of what there is room for.
fn describe(out: &mut Out, number: u64, told: &Told, now: u32, started: u32) {
    let doing = match told {
        Told::Listener(Listening { address, over_udp }) => {
            if *over_udp {
                line(out, number, b"UDP").push(b"UDP\r\n");
            }
            line(out, number, b"addr").address(*address, *over_udp).push(b"\r\n");
            Doing { at: started, state: if *over_udp { State::Read } else { State::Listening } }
        }
        Told::Connection(ends, doing) => {
            line(out, number, b"addr").address(ends.remote, false).push(b"\r\n");
            line(out, number, b"listen_addr").address(ends.local, false).push(b"\r\n");
            *doing
        }
    };
    line(out, number, b"state").push(doing.state.name().as_bytes()).push(b"\r\n");
    line(out, number, b"secs_since_last_cmd")
        .number(now.saturating_sub(doing.at).into())
        .push(b"\r\n");
}

fn line<'o>(out: &'o mut Out, number: u64, name: &[u8]) -> &'o mut Out {
    out.push(b"STAT ").number(number).push(b":").push(name).push(b" ")
}

impl Out {
    /// As memcached tells it: the protocol, the address, the port.
    fn address(&mut self, address: SocketAddr, over_udp: bool) -> &mut Out {
        self.push(if over_udp { b"udp" } else { b"tcp" });
        self.push(if address.is_ipv6() { b"6:" } else { b":" });
        let _ = write!(self, "{address}");
        self
    }
}

impl Write for Out {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
#[path = "conns_tests.rs"]
mod tests;

//! `stats conns`: the listeners, then the connections of all workers and transports, with
//! memcached's names. The list is produced a few lines at a time, as the send queue has capacity.
//! It takes no memory, and other connections are served in between.
//!
//! Each entry has a number in place of memcached's file descriptor, for as long as the connection
//! lasts: the listeners first, then the slots of the connection tables. Connections that open or
//! close meanwhile may be missing.

use super::connection::{Activity, Connection, Phase, State, Wide};
use super::options::Listening;
use super::out::Out;
use super::{Memcached, Step};
use crate::app::Blob;
use simoom_io::{Ends, Reply};
use std::fmt::Write;
use std::net::SocketAddr;

/// An entry of the list.
enum Entry {
    Listener(Listening),
    Connection(Ends, Activity),
}

impl Memcached {
    /// Continues the list at `number`. At its end, consumes the last byte of the request.
    #[cold]
    pub(super) fn conns(
        &mut self,
        conn: &mut Connection,
        mut number: u64,
        reply: &mut Reply<'_, Blob>,
    ) -> Step {
        self.publish_activity(conn, Activity { at: self.now, state: State::ParseCmd });
        while !conn.share.is_used_up() && reply.has_capacity() {
            let Some((found, entry)) = self.shared.next_entry(number) else {
                conn.phase = Phase::Command;
                reply.copy(b"END\r\n");
                return Step::Took(1);
            };
            if let Some(entry) = entry {
                describe(self.out.clear(), found, &entry, self.now, self.shared.started());
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
    /// The first number in use from `from` on, with its entry. The entry is `None` while the
    /// connection opens or closes.
    fn next_entry(&self, from: u64) -> Option<(u64, Option<Entry>)> {
        let listeners = self.listeners();
        if let Some(listener) = listeners.get(from as usize) {
            return Some((from, Some(Entry::Listener(*listener))));
        }
        let mut first = listeners.len();
        for connection_table in self.connection_tables().iter() {
            if let Some(slot) = connection_table.next((from as usize).saturating_sub(first)) {
                let entry = connection_table
                    .get(slot)
                    .map(|(ends, activity)| Entry::Connection(ends, activity));
                return Some(((first + slot) as u64, entry));
            }
            first += connection_table.slots();
        }
        None
    }
}

/// The lines of one entry. With IPv6 addresses they take less than half of the guaranteed capacity.
fn describe(out: &mut Out, number: u64, entry: &Entry, now: u32, started: u32) {
    let activity = match entry {
        Entry::Listener(Listening { address, over_udp }) => {
            if *over_udp {
                line(out, number, b"UDP").push(b"UDP\r\n");
            }
            line(out, number, b"addr").address(*address, *over_udp).push(b"\r\n");
            Activity { at: started, state: if *over_udp { State::Read } else { State::Listening } }
        }
        Entry::Connection(ends, activity) => {
            line(out, number, b"addr").address(ends.remote, false).push(b"\r\n");
            line(out, number, b"listen_addr").address(ends.local, false).push(b"\r\n");
            *activity
        }
    };
    line(out, number, b"state").push(activity.state.name().as_bytes()).push(b"\r\n");
    line(out, number, b"secs_since_last_cmd")
        .number(now.saturating_sub(activity.at).into())
        .push(b"\r\n");
}

fn line<'o>(out: &'o mut Out, number: u64, name: &[u8]) -> &'o mut Out {
    out.push(b"STAT ").number(number).push(b":").push(name).push(b" ")
}

impl Out {
    /// In memcached's format: protocol, address, port.
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

//! Packet scripts: one stack against a peer whose segments a text file lists.
//!
//! A script is a list of lines, each a statement with or without a time in front:
//!
//! ```text
//! # RFC 9293 §3.5: a passive open, a request, its answer.
//! app answers 5
//! < SYN seq 0 win 65535 mss 1460
//! > SYN ACK seq 0 ack 1 win 65535 mss 1460
//! +10 < ACK seq 1 ack 1 win 65535
//! < ACK seq 1+100 ack 1 win 65535
//! > ACK seq 1+5 ack 101
//! state ESTABLISHED
//! ```
//!
//! A time is in milliseconds: `250` since the start, `+10` since the line before; without one a
//! line happens at once. `<` arrives at the stack, `&<` in the same burst as the line before, `>`
//! must be sent by it at that very time, and nothing else may be sent between the lines or at the
//! end. `< arp` and `> arp` are ARP packets: `arp request from 198.18.0.2 for 198.18.0.1 to all`
//! (`to` and the sender's hardware address, `at`, may be left out). Numbers are relative to the
//! initial ones, but for the 0 of a reset that refuses a SYN. The statements:
//!
//! | statement | meaning |
//! |---|---|
//! | `set mtu 576` | a field of [`crate::Config`] or [`crate::Limits`], before all else |
//! | `set ipv6 1` | the script runs over IPv6 |
//! | `isn 4294967000` | the peer's initial sequence number from now on; new numbers are learned from both sides |
//! | `established ws 7 ts 1 0` | a whole passive handshake, with these options |
//! | `connect [port 4000]` | an active open to the peer's port 80 |
//! | `connect routed [port 4000]` | the same by the routes that `set gateway` and `set on_link` give, so that ARP comes first |
//! | `mac 2:0:0:0:0:1` | the peer's hardware address from now on |
//! | `conflict` | another host used the stack's address since the last `conflict` line |
//! | `app reads`, `leaves`, `answers N`, `closes`, `aborts`, `fills`, `sips N every MILLIS` | what the application does with input, from now on |
//! | `too-big 1400 seq 1+1460` | a router reports that this segment of the stack was too big, and the MTU; 0: no MTU |
//! | `icmp 3 1 seq 1+1460` | a router reports another error about the segment: an ICMP type and code |
//! | `send N`, `share N`, `close`, `abort`, `deadline N` | what the application does now |
//! | `refused connect`, `send`, `close`, `abort` | the same calls, none of which may succeed in this state |
//! | `stop`, `close idle`, `abort all` | the stack stops accepting; closes idle connections; resets all connections |
//! | `close within MILLIS` | lowers the time that the stack waits for a peer to close |
//! | `frames N` | the transmitter has `N` free frames; `frames many` |
//! | `quiet N` | nothing is sent for `N` milliseconds |
//! | `state S` | the connection is in this state; `NONE`: it has no control block |
//! | `cwnd N`, `ssthresh N`, `maximum N` | its congestion window, threshold, bytes in a full segment |
//! | `count NAME N` | a field of [`crate::counters::Counters`] or [`crate::drop::Drops`] |
//! | `ownership NAME N` | a field of [`crate::OwnershipCounts`] |
//! | `opened N`, `received N`, `resumed N`, `strays N` | what was reported to the application, or to the caller |
//! | `ended Finished` | how the last connection ended, one of [`simoom_io::Closed`] |

mod actor;
mod arp;
mod bench;
mod notation;
mod settings;
mod statement;

use super::Coverage;
pub use actor::{Actor, ActorConn, Manner};
pub use arp::ArpNotation;
pub use bench::Bench;
pub use notation::Notation;
pub use statement::{Line, Statement, Time};

/// Runs the script `text`. The error has the file, the line, what was expected and what was sent.
pub fn run(file: &str, text: &str) -> Result<(), String> {
    run_covering(file, text, &mut Coverage::default())
}

/// Runs a script, and records which events it brings to which states.
pub fn run_covering(file: &str, text: &str, coverage: &mut Coverage) -> Result<(), String> {
    run_on(Bench::new(coverage), file, text)
}

/// Runs a script that was written for IPv4 over IPv6. The MTU is larger by the difference of the
/// headers, so that segments have the length in the script.
pub fn run_over_ipv6(file: &str, text: &str) -> Result<(), String> {
    run_on(Bench::over_ipv6(&mut Coverage::default()), file, text)
}

fn run_on(mut bench: Bench<'_>, file: &str, text: &str) -> Result<(), String> {
    let lines =
        statement::parse(text).map_err(|(number, why)| format!("{file}:{number}: {why}"))?;
    for line in &lines {
        let in_line = |why| format!("{file}:{}: `{}`: {why}", line.number, line.text);
        bench.execute(line).map_err(in_line)?;
    }
    bench.finish().map_err(|why| format!("{file}: at the end: {why}"))
}

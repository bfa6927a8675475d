//! `simoom ceiling`: what the machine allows, for every other figure to be read as a share of it.
//!
//! This is not a server. It answers each segment over AF_XDP from what that segment says alone:
//! parsed and checked, turned round, summed and sent ([`responder`]). It keeps no connection, so it
//! sends nothing twice, minds no window and looks at no request further than it must. What it
//! leaves out is TCP and HTTP; rings, system calls, parsing and checksums are the same as Simoom's
//! own, and so is the code for them.

mod answer;
mod responder;

use crate::config::{LogOptions, values};
use crate::error::{Error, Result};
use crate::steer::{self, Claim, Device};
use crate::worker::Outbound;
use crate::{netns, thread};
use af_xdp::{BURST, Frame, FramePool, OpenOptions, Queue, rx_queues};
use answer::{Answers, Http, Memcached};
use clap::Args;
use responder::Responder;
use simoom_tcp::{ChecksumPolicy, Packet};
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};

/// Bytes of Ethernet's header in front of a packet of the interface's MTU.
const LINK_BYTES: usize = 18;

/// After so many turns in which nothing came, some tens of microseconds, there is a pause, after
/// which a burst of any length may come; the fill rings are made ready for it.
const PAUSE_TURNS: u64 = 1000;

/// The flags of `ceiling`.
#[derive(Args, Clone, Debug)]
pub struct CeilingOptions {
    /// Answer on this network interface, at its own address
    #[arg(long, value_name = "IF", value_parser = values::interface)]
    pub interface: String,

    /// Answer segments to this TCP port
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,

    /// Answer each request with so many bytes of content, each key with a value so long
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub response_bytes: u32,

    /// Answer memcached's text protocol instead of HTTP
    #[arg(long)]
    pub memcached: bool,

    /// Close each connection with the answer to its first request
    #[arg(long, conflicts_with = "memcached")]
    pub close: bool,

    /// Keep to this core
    #[arg(long, value_name = "CORE")]
    pub core: Option<usize>,

    /// The log.
    #[command(flatten)]
    pub log: LogOptions,
}

/// Answers until the process is ended: there is nothing to put in order, for the program goes with
/// the process.
pub fn run(options: &CeilingOptions) -> Result<()> {
    let interface = options.interface.as_str();
    let failed = |error: io::Error| Error::failed(format!("--interface {interface}: {error}"));
    if let Some(core) = options.core {
        thread::pin(core).map_err(|error| Error::usage(format!("--core {core}: {error}")))?;
    }
    let facts = netns::interface(interface).map_err(failed)?;
    let address = facts.addresses.iter().map(|(address, _)| *address).find(IpAddr::is_ipv4);
    let address = address
        .ok_or_else(|| Error::usage(format!("--interface {interface}: it has no IPv4 address")))?;
    let cannot = |error: steer::Error| Error::failed(error.to_string());
    let queues = rx_queues(interface).map_err(|error| cannot(error.into()))?;
    let (mut device, parts) =
        Device::open(&OpenOptions { busy_poll: true, ..OpenOptions::new(interface) })
            .map_err(cannot)?;
    let packet_bytes = (facts.mtu_bytes as usize).min(device.umem().chunk_bytes() - LINK_BYTES);
    let checksums = if device.driver() == "veth" {
        ChecksumPolicy::AcceptPartial
    } else {
        ChecksumPolicy::Verify
    };
    let bytes = options.response_bytes as usize;
    let answers = if options.memcached {
        Answers::Memcached(Memcached::new(bytes, packet_bytes))
    } else {
        Answers::Http(Box::new(Http::new(bytes, options.close, packet_bytes)))
    };
    let responder = Responder::new(facts.mac, options.port, checksums, answers);
    device.add_claim(Claim::Port(SocketAddr::new(address, options.port))).map_err(cannot)?;
    let said =
        writeln!(io::stdout(), "answering on {address}:{} from {queues} queues", options.port);
    said.map_err(|error| Error::because("writing to standard output", error))?;
    answer(responder, parts).map_err(failed)
}

/// The loop: never sleeps, ends when the interface is gone.
fn answer(mut responder: Responder, queues: Vec<(Queue, FramePool)>) -> io::Result<()> {
    let count = queues.len();
    let mut outbound = Outbound::new(queues);
    let mut frames: Vec<Frame> = Vec::with_capacity(4 * BURST);
    let umem = outbound.umem();
    let mut empty_turns = 0;
    loop {
        let mut received = 0;
        for queue in 0..count {
            received += outbound.receive(queue, &mut frames, BURST);
            for frame in frames.drain(..) {
                responder.respond(Packet(&[umem.bytes(&frame)]), &mut outbound);
                outbound.give(frame);
            }
        }
        outbound.flush().map_err(io::Error::other)?;
        empty_turns = if received > 0 { 0 } else { empty_turns + 1 };
        if empty_turns == PAUSE_TURNS {
            outbound.refill();
        }
    }
}

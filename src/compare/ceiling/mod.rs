//! `simoom ceiling`: a responder without TCP, which shows the limit of the machine. Other figures
//! are read as a share of it.
//!
//! It is not a server. It parses and checks each segment over AF_XDP, and builds an answer from
//! that segment alone ([`responder`]). It keeps no connections: it retransmits nothing, ignores
//! windows, and parses no more of a request than it needs. Rings, system calls, parsing, checksums
//! and segmentation offload are those of Simoom, in the same code.

mod answer;
mod responder;

use crate::config::{LogOptions, SegmentationOffload, TxChecksum, values};
use crate::error::{Error, Result};
use crate::print::print_line;
use crate::steer::{self, Claim, Device};
use crate::worker::Outbound;
use crate::{netns, thread};
use af_xdp::{BURST, Frame, GsoSender, OpenOptions, drivers, rx_queues};
use answer::{Answers, Http, Memcached, payload_bytes};
use clap::Args;
use responder::Responder;
use simoom_tcp::{ChecksumPolicy, Packet};
use std::io;
use std::net::{IpAddr, SocketAddr};

/// Bytes of the Ethernet header, a VLAN tag included.
const LINK_BYTES: usize = 18;

/// Empty iterations, some tens of microseconds, after which the fill rings are filled for a burst.
const PAUSE_ITERATIONS: u64 = 1000;

/// The flags of `ceiling`.
#[derive(Args, Clone, Debug)]
pub struct CeilingOptions {
    /// Network interface to answer on, at its own address
    #[arg(long, value_name = "IF", value_parser = values::interface)]
    pub interface: String,

    /// TCP port to answer on
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,

    /// Content bytes of each response, or bytes of each value
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub response_bytes: u32,

    /// Answer memcached's text protocol instead of HTTP
    #[arg(long)]
    pub memcached: bool,

    /// Close each connection after its first response
    #[arg(long, conflicts_with = "memcached")]
    pub close: bool,

    /// Pin the thread to this core
    #[arg(long, value_name = "CORE")]
    pub core: Option<usize>,

    /// The log.
    #[command(flatten)]
    pub log: LogOptions,
}

/// Answers until the process is killed. The kernel detaches the XDP program with the process.
pub fn run(options: &CeilingOptions) -> Result<()> {
    let interface = options.interface.as_str();
    let failed = |error: io::Error| Error::failed(format!("--interface {interface}: {error}"));
    if let Some(core) = options.core {
        thread::pin(core).map_err(|error| Error::usage(format!("--core {core}: {error}")))?;
    }
    let named = |error| Error::about_named(&error, format!("--interface {interface}: {error}"));
    let facts = netns::interface(interface).map_err(named)?;
    let address = facts.addresses.iter().map(|(address, _)| *address).find(IpAddr::is_ipv4);
    let address = address
        .ok_or_else(|| Error::usage(format!("--interface {interface}: it has no IPv4 address")))?;
    let cannot = |error: steer::Error| Error::failed(error.to_string());
    let queues = rx_queues(interface).map_err(|error| cannot(error.into()))?;
    let (mut device, parts) =
        Device::open(&OpenOptions { busy_poll: true, ..OpenOptions::new(interface) })
            .map_err(cannot)?;
    let packet_bytes = (facts.mtu_bytes as usize).min(device.umem().chunk_bytes() - LINK_BYTES);
    let checksums = if drivers::leaves_checksums_partial(device.driver()) {
        ChecksumPolicy::AcceptPartial
    } else {
        ChecksumPolicy::Verify
    };
    let bytes = options.response_bytes as usize;
    let segment_bytes = payload_bytes(packet_bytes);
    // As `simoom serve` does with this device.
    let is_gso = SegmentationOffload::Auto.is_for(device.mode(), TxChecksum::Auto);
    let gso = is_gso.then(|| GsoSender::open(device.ifindex())).transpose();
    let gso = gso.map_err(|error| cannot(error.into()))?;
    let segments = gso.as_ref().map_or(1, |_| payload_bytes(usize::from(u16::MAX)) / segment_bytes);
    let answers = if options.memcached {
        Answers::Memcached(Memcached::new(bytes, segment_bytes))
    } else {
        Answers::Http(Box::new(Http::new(bytes, options.close, segment_bytes, segments)))
    };
    let responder = Responder::new(facts.mac, options.port, checksums, answers, segment_bytes);
    device.add_claim(Claim::Port(SocketAddr::new(address, options.port))).map_err(cannot)?;
    print_line(&format!("answering on {address}:{} from {queues} queues", options.port))?;
    answer(responder, Outbound::new(parts).with_gso(gso), queues).map_err(failed)
}

/// The loop. Never sleeps; ends when the interface is removed.
fn answer(mut responder: Responder, mut outbound: Outbound, queues: u32) -> io::Result<()> {
    let mut frames: Vec<Frame> = Vec::with_capacity(4 * BURST);
    let umem = outbound.umem().clone();
    let mut empty_turns = 0;
    loop {
        let mut received = 0;
        for queue in 0..queues as usize {
            received += outbound.receive(queue, &mut frames, BURST);
            for frame in frames.drain(..) {
                responder.respond(Packet(&[umem.bytes(&frame)]), &mut outbound);
                outbound.give(frame);
            }
        }
        outbound.flush().map_err(io::Error::other)?;
        empty_turns = if received > 0 { 0 } else { empty_turns + 1 };
        if empty_turns == PAUSE_ITERATIONS {
            outbound.refill();
        }
    }
}

//! `simoom demo`: the transports at work between two network namespaces.
//!
//! As root: two namespaces without names, a veth pair between them, the server in one over AF_XDP and then over kernel
//! sockets, by io_uring and by epoll, and real HTTP requests from the other through ordinary kernel sockets
//! ([`client`]). Else, and where namespaces are not to be had, the same on loopback through kernel sockets. What was measured comes out as a table
//! ([`report`]). Everything is bounded in time, and everything it makes goes with the process, however that ends.

mod client;
pub(crate) mod report;

use crate::config::{Cores, Endpoint, Serve, ServeOptions, Transport, usable_cores};
use crate::error::{Error, Result};
use crate::kernel;
use crate::metrics::Count;
use crate::netns::{self, Namespace};
use crate::serve::{self, Server};
use client::{Load, Outcome};
use report::{Row, grouped, say};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1));
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 2));
const PREFIX_LEN: u8 = 24;
const PORT: u16 = 8080;
/// How long each transport is driven.
const LOAD_TIME: Duration = Duration::from_secs(3);
/// For the last answers at the end of a load.
const DRAIN_TIME: Duration = Duration::from_secs(2);
/// Connections that the client keeps open, each with one request under way.
const CONNECTIONS: usize = 50;
/// The exit code of a process that a signal ended is this and the signal's number, by the shell's convention.
const SIGNALLED: i32 = 128;

/// Runs the demonstration and prints what it measured.
pub fn run() -> Result<()> {
    end_on_signals()?;
    let cores = usable_cores()?;
    let cores = Places { server: cores[0], client: cores[cores.len().min(2) - 1] };
    let rows = match Network::new() {
        Ok(network) => in_namespaces(&network, cores)?,
        Err(error) => on_loopback(&error, cores)?,
    };
    say("")?;
    say(&report::table(&rows))?;
    if let Some(text) = report::limits(&rows) {
        say(&text)?;
    }
    if cfg!(debug_assertions) {
        say("This is a debug build, whose own TCP is slow; `cargo run --release -- demo` compares fairly.")?;
    }
    match rows.iter().map(|row| row.outcome.errors.total()).sum() {
        0 => Ok(()),
        errors => Err(Error::failed(format!("{} requests went wrong: the table names how", grouped(errors)))),
    }
}

/// On which core which end runs; the same where there is only one.
#[derive(Clone, Copy)]
struct Places {
    server: usize,
    client: usize,
}

/// Two namespaces and what joins them. They have no names, so nothing has to be removed.
struct Network {
    server: Namespace,
    client: Namespace,
}

impl Network {
    fn new() -> io::Result<Network> {
        let network = Network { server: Namespace::new()?, client: Namespace::new()? };
        netns::veth(&network.server, "s0", &network.client, "c0", 1)?;
        for (namespace, name, address) in [(&network.server, "s0", SERVER), (&network.client, "c0", CLIENT)] {
            namespace.run(|| {
                netns::set_address(name, address, PREFIX_LEN)?;
                netns::set_up(name)
            })?;
        }
        Ok(network)
    }
}

fn in_namespaces(network: &Network, cores: Places) -> Result<Vec<Row>> {
    say(&format!(
        "Two network namespaces, joined by a veth pair: the server's s0 has {SERVER}, the client's c0 {CLIENT}."
    ))?;
    let mut rows = Vec::new();
    let over_xdp = ServeOptions {
        interface: Some("s0".into()),
        transport: Some(Transport::Xdp),
        ..options(Endpoint { address: None, port: PORT }, cores)
    };
    match network.server.run(|| start(over_xdp)) {
        Ok(server) => rows.push(measure("AF_XDP", server, Some(network), cores)?),
        Err(error) => say(&format!("\nNo AF_XDP here, so kernel sockets only. The reason: {error}."))?,
    }
    let endpoint = Endpoint { address: Some(SERVER), port: PORT };
    rows.extend(over_kernel_sockets(Some(network), endpoint, cores)?);
    Ok(rows)
}

/// Each way to serve over kernel sockets that this machine allows.
fn over_kernel_sockets(network: Option<&Network>, http: Endpoint, cores: Places) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut ways = vec![("io_uring", Transport::IoUring), ("epoll", Transport::Epoll)];
    if let Err(reason) = kernel::io_uring() {
        say(&format!("\nKernel sockets over epoll only. The reason: {reason}."))?;
        ways.remove(0);
    }
    for (name, transport) in ways {
        let options = ServeOptions { transport: Some(transport), ..options(http, cores) };
        let server = match network {
            Some(network) => network.server.run(|| start(options))?,
            None => start(options)?,
        };
        rows.push(measure(name, server, network, cores)?);
    }
    Ok(rows)
}

fn on_loopback(reason: &io::Error, cores: Places) -> Result<Vec<Row>> {
    say(&format!("Kernel sockets on loopback only. The reason: {reason}."))?;
    say(
        "As root this would serve between two network namespaces joined by a veth pair, over AF_XDP and then over",
    )?;
    say("kernel sockets, and the table would compare them. Nothing outside those namespaces is touched.")?;
    over_kernel_sockets(None, Endpoint { address: Some(Ipv4Addr::LOCALHOST.into()), port: 0 }, cores)
}

fn options(http: Endpoint, cores: Places) -> ServeOptions {
    ServeOptions {
        http: Some(http),
        cores: Some(Cores(vec![cores.server])),
        connections: Some(1024),
        ..ServeOptions::default()
    }
}

/// Starts a server in the namespace of the calling thread.
fn start(options: ServeOptions) -> Result<Server> {
    serve::start(&Serve::resolve(options, &usable_cores()?)?)
}

/// Drives `server`, stops it and says what both ends counted.
fn measure(transport: &'static str, server: Server, network: Option<&Network>, cores: Places) -> Result<Row> {
    let target = *server.addresses.first().ok_or_else(|| Error::failed("the server has no address"))?;
    say(&format!("\nServing http://{target}/ on core {}: {}.", cores.server, server.transport))?;
    let xdp_mode = server.xdp_mode();
    let outcome = drive(target, network, cores.client);
    let counts = server.stop(DRAIN_TIME)?;
    let outcome = outcome.map_err(|error| Error::because(format!("sending requests to {target}"), error))?;
    say(&format!("  {}", told_by_client(&outcome)))?;
    say(&format!("  {}", told_by_server(&counts, xdp_mode.is_some())))?;
    Ok(Row { transport, xdp_mode, outcome })
}

fn drive(target: SocketAddr, network: Option<&Network>, core: usize) -> io::Result<Outcome> {
    let load = Load {
        target,
        body: crate::app::content::BUILT_IN_PAGE,
        connections: CONNECTIONS,
        time: LOAD_TIME,
        core: Some(core),
    };
    match network {
        Some(network) => network.client.run(|| client::drive(&load)),
        // A thread of its own, which ends with its pinning.
        None => std::thread::scope(|scope| scope.spawn(|| client::drive(&load)).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
    }
}

fn told_by_client(outcome: &Outcome) -> String {
    format!(
        "Client: {CONNECTIONS} connections through kernel sockets, {} requests in {:.1} s, every body compared; {}.",
        grouped(outcome.requests),
        outcome.elapsed.as_secs_f64(),
        outcome.errors
    )
}

fn told_by_server(counts: &[Count], over_xdp: bool) -> String {
    let count = |wanted: &str| {
        let value = counts.iter().find(|(name, _)| *name == wanted).map_or(0, |(_, value)| *value);
        grouped(value)
    };
    if over_xdp {
        format!(
            "Server: {} frames from the receive queue, {} requests; its kernel's TCP accepted {} connections.",
            count("rx_frames"),
            count("http_requests"),
            count("connections_accepted")
        )
    } else {
        format!("Server: {} requests on {} connections.", count("http_requests"), count("connections_accepted"))
    }
}

/// Ends the process at the first SIGINT or SIGTERM. There is nothing to clean up: namespaces, sockets and the program
/// on the interface go with the process.
fn end_on_signals() -> Result<()> {
    let cannot = |error| Error::because("watching for Ctrl-C", error);
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(cannot)?;
    let end = move || {
        if let Some(signal) = signals.forever().next() {
            let _ = writeln!(io::stderr(), "\ninterrupted; nothing is left behind");
            std::process::exit(SIGNALLED + signal);
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(end).map_err(cannot)?;
    Ok(())
}

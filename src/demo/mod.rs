//! `simoom demo`: the transports between two network namespaces.
//!
//! As root: two unnamed namespaces joined by a veth pair, the server in one over AF_XDP and then
//! over kernel sockets, with io_uring and with epoll. From the other, [`client`] and [`memcached`]
//! send requests over kernel sockets. Without root or namespaces: the same over kernel sockets on
//! loopback. The measurements are printed as a table ([`report`]). Everything is bounded in time,
//! and nothing remains after the process ends.

mod client;
mod memcached;
mod report;

use crate::config::{Cores, Endpoint, Serve, ServeOptions, Transport, usable_cores};
use crate::error::{Error, Result};
use crate::load::Outcome;
use crate::metrics::Count;
use crate::netns::{self, Namespace};
use crate::print::{grouped, print_line};
use crate::server::Server;
use crate::{kernel, serve, thread};
use client::CONNECTIONS;
use report::Row;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1));
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 2));
const PREFIX_LEN: u8 = 24;
const PORT: u16 = 8080;
const MEMCACHED_PORT: u16 = 11211;
/// Limit for the last answers at the end of a load.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// Exit code of a process ended by a signal, less the number of the signal: the shell's convention.
const SIGNALLED: i32 = 128;

/// Runs the demonstration and prints the measurements.
pub fn run() -> Result<()> {
    end_on_signals()?;
    let cores = usable_cores()?;
    let cores = CorePair { server: cores[0], client: cores[cores.len().min(2) - 1] };
    let mut rows = match Network::new() {
        Ok(network) => in_namespaces(&network, cores)?,
        Err(error) => on_loopback(&error, cores)?,
    };
    rows.sort_by_key(|row| row.protocol);
    print_line("")?;
    print_line(&report::table(&rows))?;
    if let Some(text) = report::limits(&rows) {
        print_line(&text)?;
    }
    if cfg!(debug_assertions) {
        print_line(
            "This is a debug build, whose own TCP is slow; `cargo run --release -- demo` compares fairly.",
        )?;
    }
    match rows.iter().map(|row| client::errors(&row.outcome)).sum() {
        0 => Ok(()),
        errors => {
            Err(Error::failed(format!("{} requests failed: the table shows how", grouped(errors))))
        }
    }
}

/// The cores of server and client; equal on a machine with one core.
#[derive(Clone, Copy)]
struct CorePair {
    server: usize,
    client: usize,
}

/// Two namespaces joined by a veth pair. They have no names, so nothing must be removed.
struct Network {
    server: Namespace,
    client: Namespace,
}

impl Network {
    fn new() -> io::Result<Network> {
        let network = Network { server: Namespace::new()?, client: Namespace::new()? };
        netns::veth(&network.server, "s0", &network.client, "c0", 1)?;
        for (namespace, name, address) in
            [(&network.server, "s0", SERVER), (&network.client, "c0", CLIENT)]
        {
            namespace.run(|| {
                netns::set_address(name, address, PREFIX_LEN)?;
                netns::set_up(name)
            })?;
        }
        Ok(network)
    }
}

fn in_namespaces(network: &Network, cores: CorePair) -> Result<Vec<Row>> {
    print_line(&format!(
        "Two network namespaces, joined by a veth pair: the server's s0 has {SERVER}, the client's c0 {CLIENT}."
    ))?;
    let mut rows = Vec::new();
    let over_xdp = ServeOptions {
        interface: Some("s0".into()),
        transport: Some(Transport::Xdp),
        ..options(None, cores)
    };
    match network.server.run(|| start(over_xdp)) {
        Ok(server) => rows.extend(measure("AF_XDP", server, Some(network), cores)?),
        Err(error) => {
            print_line(&format!("\nNo AF_XDP here, so kernel sockets only. The reason: {error}."))?;
        }
    }
    rows.extend(over_kernel_sockets(Some(network), cores)?);
    Ok(rows)
}

/// Measures each kernel-socket transport that this machine supports.
fn over_kernel_sockets(network: Option<&Network>, cores: CorePair) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let address = if network.is_some() { SERVER } else { Ipv4Addr::LOCALHOST.into() };
    let mut ways = vec![("io_uring", Transport::IoUring), ("epoll", Transport::Epoll)];
    if let Err(reason) = kernel::io_uring() {
        print_line(&format!("\nKernel sockets over epoll only. The reason: {reason}."))?;
        ways.remove(0);
    }
    for (name, transport) in ways {
        let options = ServeOptions { transport: Some(transport), ..options(Some(address), cores) };
        let server = match network {
            Some(network) => network.server.run(|| start(options))?,
            None => start(options)?,
        };
        rows.extend(measure(name, server, network, cores)?);
    }
    Ok(rows)
}

fn on_loopback(reason: &io::Error, cores: CorePair) -> Result<Vec<Row>> {
    print_line(&format!("Kernel sockets on loopback only. The reason: {reason}."))?;
    print_line(
        "As root this would serve between two network namespaces joined by a veth pair, over AF_XDP and then over",
    )?;
    print_line(
        "kernel sockets, and compare them in the table. It changes nothing outside those namespaces.",
    )?;
    over_kernel_sockets(None, cores)
}

/// Serve on loopback at `address` and free ports; `None`: on the interface at its default ports.
fn options(address: Option<IpAddr>, cores: CorePair) -> ServeOptions {
    let is_loopback = address.is_some_and(|address| address.is_loopback());
    let endpoint = |port| Some(Endpoint { address, port: if is_loopback { 0 } else { port } });
    ServeOptions {
        http: endpoint(PORT),
        memcached: endpoint(MEMCACHED_PORT),
        cores: Some(Cores(vec![cores.server])),
        connections: Some(1024),
        ..ServeOptions::default()
    }
}

/// Starts a server in the namespace of the calling thread.
fn start(options: ServeOptions) -> Result<Server> {
    serve::start(&Serve::resolve(options, &usable_cores()?)?)
}

/// Drives `server` with HTTP and memcached, stops it, and prints the counts of both ends.
fn measure(
    transport: &'static str,
    server: Server,
    network: Option<&Network>,
    cores: CorePair,
) -> Result<[Row; 2]> {
    // The server also has the link-local IPv6 address of the interface. The client has none.
    let reached: Vec<SocketAddr> =
        server.addresses().iter().copied().filter(SocketAddr::is_ipv4).collect();
    let &[http, memcached] = &reached[..] else {
        return Err(Error::failed(format!(
            "the server has the addresses {:?}",
            server.addresses()
        )));
    };
    print_line(&format!(
        "\nServing http://{http}/ and memcached on core {}: {}.",
        cores.server,
        server.transport()
    ))?;
    let xdp_mode = server.xdp_mode();
    let outcomes = drive(http, memcached, network, cores.client);
    let counts = server.drain(DRAIN_TIMEOUT)?;
    let ClientHost { page, conversation, get } = outcomes?;
    print_line(&format!("  {}", client_report("HTTP", &page, "every body compared")))?;
    print_line("  Client: memcached, one request of each kind:")?;
    for line in conversation {
        print_line(&format!("    {line}"))?;
    }
    print_line(&format!("  {}", client_report("memcached", &get, "every answer compared")))?;
    print_line(&format!("  {}", server_report(&counts, xdp_mode.is_some())))?;
    let row = |protocol, outcome| Row { protocol, transport, xdp_mode, outcome };
    Ok([row("HTTP", page), row("memcached", get)])
}

/// The client's measurements of one server.
struct ClientHost {
    page: Outcome,
    conversation: Vec<String>,
    get: Outcome,
}

fn drive(
    http: SocketAddr,
    memcached: SocketAddr,
    network: Option<&Network>,
    core: usize,
) -> Result<ClientHost> {
    let drive = || {
        thread::pin(core).map_err(|error| Error::because(format!("pinning to {core}"), error))?;
        Ok(ClientHost {
            page: client::http(http, crate::app::content::BUILT_IN_PAGE)?,
            conversation: memcached::converse(memcached)
                .map_err(|error| Error::because(format!("memcached at {memcached}"), error))?,
            get: client::memcached(memcached)?,
        })
    };
    match network {
        Some(network) => network.client.run(drive),
        // A thread of its own, so that the pinning ends with it.
        None => std::thread::scope(|scope| scope.spawn(drive).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
    }
}

fn client_report(protocol: &str, outcome: &Outcome, compared: &str) -> String {
    format!(
        "Client: {protocol}, {CONNECTIONS} connections through kernel sockets, {} requests in {:.1} s, {compared}; {}.",
        grouped(outcome.stats.responses),
        outcome.measured.as_secs_f64(),
        outcome.faults().unwrap_or_else(|| "no errors".into())
    )
}

fn server_report(counts: &[Count], over_xdp: bool) -> String {
    let count = |wanted: &str| {
        let value = counts.iter().find(|(name, _)| *name == wanted).map_or(0, |(_, value)| *value);
        grouped(value)
    };
    if over_xdp {
        format!(
            "Server: {} frames from the receive queue, {} requests of HTTP, {} memcached gets; its kernel's TCP accepted \
             {} connections.",
            count("rx_frames"),
            count("http_requests"),
            count("memcached_cmd_get"),
            count("connections_accepted")
        )
    } else {
        format!(
            "Server: {} requests of HTTP and {} memcached gets on {} connections.",
            count("http_requests"),
            count("memcached_cmd_get"),
            count("connections_accepted")
        )
    }
}

/// Ends the process at the first SIGINT or SIGTERM. There is nothing to clean up: namespaces,
/// sockets and the XDP program disappear with the process.
fn end_on_signals() -> Result<()> {
    let cannot = |error| Error::because("watching for Ctrl-C", error);
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(cannot)?;
    let end = move || {
        if let Some(signal) = signals.forever().next() {
            crate::log::print("\ninterrupted; nothing is left behind\n");
            std::process::exit(SIGNALLED + signal);
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(end).map_err(cannot)?;
    Ok(())
}

//! `simoom demo`: the transports at work between two network namespaces.
//!
//! As root: two namespaces without names, a veth pair between them, the server in one over AF_XDP
//! and then over kernel sockets, by io_uring and by epoll, and real requests of HTTP and memcached
//! from the other through ordinary kernel sockets ([`client`], [`memcached`]). Else, and where
//! namespaces are not to be had, the same on loopback through kernel sockets. What was measured
//! comes out as a table ([`report`]). Everything is bounded in time, and everything it makes goes
//! with the process, however that ends.

mod client;
mod memcached;
pub(crate) mod report;

use crate::config::{Cores, Endpoint, Serve, ServeOptions, Transport, usable_cores};
use crate::error::{Error, Result};
use crate::kernel;
use crate::metrics::Count;
use crate::netns::{self, Namespace};
use crate::serve;
use crate::server::Server;
use client::{Expected, Load, Outcome};
use report::{Row, grouped, print_line};
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
/// How long each transport is driven with HTTP.
const LOAD_TIME: Duration = Duration::from_secs(3);
/// The same with memcached.
const MEMCACHED_LOAD_TIME: Duration = Duration::from_secs(1);
/// For the last answers at the end of a load.
const DRAIN_TIME: Duration = Duration::from_secs(2);
/// Connections that the client keeps open, each with one request under way.
const CONNECTIONS: usize = 50;
/// The exit code of a process that a signal ended is this and the signal's number, by the shell's
/// convention.
const SIGNALLED: i32 = 128;

/// Runs the demonstration and prints what it measured.
pub fn run() -> Result<()> {
    end_on_signals()?;
    let cores = usable_cores()?;
    let cores = Places { server: cores[0], client: cores[cores.len().min(2) - 1] };
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
    match rows.iter().map(|row| row.outcome.errors.total()).sum() {
        0 => Ok(()),
        errors => {
            Err(Error::failed(format!("{} requests failed: the table shows how", grouped(errors))))
        }
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

fn in_namespaces(network: &Network, cores: Places) -> Result<Vec<Row>> {
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

/// Each way to serve over kernel sockets that this machine allows.
fn over_kernel_sockets(network: Option<&Network>, cores: Places) -> Result<Vec<Row>> {
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

fn on_loopback(reason: &io::Error, cores: Places) -> Result<Vec<Row>> {
    print_line(&format!("Kernel sockets on loopback only. The reason: {reason}."))?;
    print_line(
        "As root this would serve between two network namespaces joined by a veth pair, over AF_XDP and then over",
    )?;
    print_line(
        "kernel sockets, and compare them in the table. It changes nothing outside those namespaces.",
    )?;
    over_kernel_sockets(None, cores)
}

/// At `address`, on loopback at ports that are free there; `None`: at those of the interface.
fn options(address: Option<IpAddr>, cores: Places) -> ServeOptions {
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

/// Drives `server` with HTTP and with memcached, stops it and says what both ends counted.
fn measure(
    transport: &'static str,
    server: Server,
    network: Option<&Network>,
    cores: Places,
) -> Result<[Row; 2]> {
    // The server has the interface's link-local IPv6 address as well; the client of the
    // demonstration has none.
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
    let counts = server.drain(DRAIN_TIME)?;
    let cannot =
        |error| Error::because(format!("sending requests to {http} and {memcached}"), error);
    let Driven { page, conversation, get } = outcomes.map_err(cannot)?;
    print_line(&format!("  {}", told_by_client("HTTP", &page, "every body compared")))?;
    print_line("  Client: memcached, one request of each kind:")?;
    for line in conversation {
        print_line(&format!("    {line}"))?;
    }
    print_line(&format!("  {}", told_by_client("memcached", &get, "every answer compared")))?;
    print_line(&format!("  {}", told_by_server(&counts, xdp_mode.is_some())))?;
    let row = |protocol, outcome| Row { protocol, transport, xdp_mode, outcome };
    Ok([row("HTTP", page), row("memcached", get)])
}

/// What the client has of one server.
struct Driven {
    page: Outcome,
    conversation: Vec<String>,
    get: Outcome,
}

fn drive(
    http: SocketAddr,
    memcached: SocketAddr,
    network: Option<&Network>,
    core: usize,
) -> io::Result<Driven> {
    let load = |target, request, expected, time| Load {
        target,
        request,
        expected,
        connections: CONNECTIONS,
        time,
        core: Some(core),
    };
    let page = Expected::Page(crate::app::content::BUILT_IN_PAGE);
    let page = load(http, format!("GET / HTTP/1.1\r\nHost: {http}\r\n\r\n"), page, LOAD_TIME);
    let answer = Expected::Bytes(memcached::ANSWER.as_bytes());
    let get = load(memcached, memcached::REQUEST.to_owned(), answer, MEMCACHED_LOAD_TIME);
    let drive = || {
        Ok(Driven {
            page: client::drive(&page)?,
            conversation: memcached::converse(memcached)?,
            get: client::drive(&get)?,
        })
    };
    match network {
        Some(network) => network.client.run(drive),
        // A thread of its own, which ends with its pinning.
        None => std::thread::scope(|scope| scope.spawn(drive).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
    }
}

fn told_by_client(protocol: &str, outcome: &Outcome, compared: &str) -> String {
    format!(
        "Client: {protocol}, {CONNECTIONS} connections through kernel sockets, {} requests in {:.1} s, {compared}; {}.",
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
/// sockets and the program on the interface go with the process.
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

//! `simoom load`: a load generator for HTTP that checks every answer.
//!
//! [`client`] is the client as an application: connections, their requests and what is counted; [`protocol`] is what it
//! asks of that which is spoken, [`http`]. [`course`] says when a run opens, measures and ends, [`pace`] when a request
//! is due, [`tally`] counts. They know of no transport. [`kernel`] drives them through ordinary sockets, an independent
//! witness; [`xdp`] through Simoom's own stack, from [`sources`] of its own, so that one core can send what one core
//! can serve. [`report`] tells what came of it, [`series`] second by second, [`hgrm`] for plotters.

mod client;
mod course;
mod hgrm;
mod http;
mod kernel;
mod neighbour;
mod options;
mod output;
mod pace;
mod protocol;
mod random;
mod report;
mod series;
mod sources;
mod tally;
mod target;
mod watch;
mod xdp;

pub use options::LoadOptions;

use crate::error::{Error, Result};
use crate::metrics::Count;
use crate::thread;
use client::{Client, Plan};
use http::Http;
use output::Output;
use protocol::Protocol;
use report::Report;
use std::io::{self, Write};
use std::net::SocketAddr;
use target::Target;
use watch::Watch;
use xdp::{From, Sent};

/// Sends what `options` ask for and prints what came back. An error of any kind makes it fail.
pub fn run(options: &LoadOptions) -> Result<()> {
    let plan = options.plan()?;
    let target = Target::parse(&options.url)?;
    let from = options.from()?;
    let address = target.address()?;
    let output = Output::open(options)?;
    if let Some(core) = options.core {
        thread::pin(core).map_err(|error| Error::usage(format!("--core {core}: {error}")))?;
    }
    let http = Http::new(&target.request(plan.connection_per_request), plan.pipeline, plan.verify);
    let report = send(&plan, http, address, from.as_ref(), target.url)?;
    output.write(&report)?;
    let text = if options.json { format!("{:#}\n", report.json()) } else { format!("{report}\n") };
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            return Err(Error::because("writing to standard output", error));
        }
        _ => {}
    }
    let Some(faults) = report.faults() else { return Ok(()) };
    let first = report.tally.first_fault.as_deref().unwrap_or_default();
    Err(Error::failed(format!("{}: {faults}; the first: {first}", report.url)))
}

fn send<P: Protocol>(
    plan: &Plan,
    protocol: P,
    target: SocketAddr,
    from: Option<&From<'_>>,
    url: String,
) -> Result<Report> {
    let mut watch = Watch::new()?;
    match from {
        Some(from) => {
            let Sent { client, transport, counts } = xdp::run(plan, protocol, target, from, &mut watch)?;
            Ok(finish(plan, url, transport, client, counts))
        }
        None => {
            let client = kernel::run(plan, protocol, target, &mut watch)?;
            Ok(finish(plan, url, "kernel sockets".to_owned(), client, Vec::new()))
        }
    }
}

fn finish<P: Protocol>(
    plan: &Plan,
    url: String,
    transport: String,
    client: Client<P>,
    stack: Vec<Count>,
) -> Report {
    let measured = client.course().measured(0);
    let waiting = client.waiting();
    let mut tally = client.tally;
    tally.end();
    Report { url, transport, plan: plan.clone(), measured, waiting, tally, stack }
}

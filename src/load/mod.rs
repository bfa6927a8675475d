//! `simoom load`: a load generator for HTTP that checks every answer.
//!
//! [`client`] is the client as an application: what to send, what must come back, what is counted; [`course`] says
//! when, [`response`] reads heads, [`tally`] counts. They know of no transport. [`kernel`] drives them through
//! ordinary sockets, an independent witness; [`xdp`] through Simoom's own stack, from [`sources`] of its own, so that
//! one core can send what one core can serve. [`report`] tells what came of it.

mod client;
mod course;
mod kernel;
mod neighbour;
mod options;
mod report;
mod response;
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
use report::Report;
use std::io::{self, Write};
use target::Target;
use watch::Watch;
use xdp::Sent;

/// Sends what `options` ask for and prints what came back. An error of any kind makes it fail.
pub fn run(options: &LoadOptions) -> Result<()> {
    let plan = options.plan()?;
    let target = Target::parse(&options.url)?;
    let report = send(options, &plan, target)?;
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

fn send(options: &LoadOptions, plan: &Plan, target: Target) -> Result<Report> {
    let from = options.from()?;
    let address = target.address()?;
    let request = target.request(plan.connection_per_request);
    if let Some(core) = options.core {
        thread::pin(core).map_err(|error| Error::usage(format!("--core {core}: {error}")))?;
    }
    let mut watch = Watch::new()?;
    match from {
        Some(from) => {
            let Sent { client, transport, counts } = xdp::run(plan, &request, address, &from, &mut watch)?;
            Ok(finish(plan, target, transport, client, counts))
        }
        None => {
            let client = kernel::run(plan, &request, address, &mut watch)?;
            Ok(finish(plan, target, "kernel sockets".to_owned(), client, Vec::new()))
        }
    }
}

fn finish(plan: &Plan, target: Target, transport: String, client: Client, stack: Vec<Count>) -> Report {
    let measured = client.course().measured(0);
    Report {
        url: target.url,
        transport,
        connections: plan.connections,
        in_flight: plan.in_flight,
        pipeline: plan.pipeline,
        connection_per_request: plan.connection_per_request,
        measured,
        tally: client.tally,
        stack,
    }
}

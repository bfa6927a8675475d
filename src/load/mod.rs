//! `simoom load`: a load generator for HTTP and memcached that checks every answer.
//!
//! - [`client`] is the client as an application: connections, requests and counts. [`protocol`] is
//!   its interface to [`http`] and [`memcached`].
//! - [`schedule`] has the phases of a run, [`pace`] the times of requests, [`stats`] the counts.
//!   None of them depends on a transport.
//! - [`kernel`] is the transport over kernel sockets, independent of Simoom's stack. [`xdp`] is the
//!   transport over Simoom's stack, with addresses from [`sources`]. One core sends as much as one
//!   core serves.
//! - [`report`] presents the result, [`series`] each second, [`hgrm`] the latencies for plotters.
//!
//! [`crate::demo`] drives the same client with [`drive`].

pub(crate) mod client;
mod hgrm;
pub(crate) mod http;
mod kernel;
pub(crate) mod memcached;
mod options;
mod output;
mod pace;
mod protocol;
pub mod random;
mod report;
mod route;
pub(crate) mod schedule;
mod series;
mod sources;
pub(crate) mod stats;
mod target;
mod watch;
mod xdp;

pub use options::LoadOptions;

use crate::error::{Error, Result};
use crate::log::Escaped;
use crate::metrics::Count;
use crate::print::print_text;
use crate::steer::is_host_address;
use crate::thread;
use client::Plan;
use http::Http;
use memcached::Memcached;
use output::Output;
use protocol::Protocol;
use report::Report;
use stats::Stats;
use std::net::SocketAddr;
use std::time::Duration;
use target::{Scheme, Target};
use watch::Watch;
use xdp::{Sent, XdpOptions};

/// Sends the load and prints the result. Fails if any error was counted.
pub fn run(options: &LoadOptions) -> Result<()> {
    let plan = options.plan()?;
    let target = Target::parse(&options.url)?;
    let workload = match target.scheme {
        Scheme::Http => options.memcached.refuse().map(|()| None)?,
        Scheme::Memcached => {
            options.refuse_http()?;
            Some(options.memcached.workload())
        }
    };
    let from = options.xdp_options()?;
    let address = target.address()?;
    if from.is_some() && !is_host_address(address.ip()) {
        return Err(Error::usage(format!(
            "{}: {} is not the address of one host on a network",
            options.url,
            address.ip()
        )));
    }
    let output = Output::open(options)?;
    if let Some(core) = options.core {
        thread::pin(core).map_err(|error| Error::usage(format!("--core {core}: {error}")))?;
    }
    let outcome = match workload {
        None => {
            let request = |path| target.request(path, &options.header, plan.connection_per_request);
            let paths = [&target.path].into_iter().chain(&options.path);
            let requests: Vec<_> = paths.map(|path| request(path)).collect();
            let http = Http::new(&requests, plan.pipeline, plan.verify);
            send(&plan, http, address, from.as_ref(), Watch::new()?)?
        }
        Some(workload) => {
            let memcached = Memcached::new(workload, options.seed, plan.pipeline, plan.verify);
            send(&plan, memcached, address, from.as_ref(), Watch::new()?)?
        }
    };
    let report = Report { target, workload, plan, outcome };
    output.write(&report)?;
    let text = if options.json { format!("{:#}\n", report.json()) } else { format!("{report}\n") };
    print_text(&text)?;
    let Some(faults) = report.outcome.faults() else { return Ok(()) };
    let first = Escaped(report.outcome.stats.first_fault.as_deref().unwrap_or_default());
    Err(Error::failed(format!("{}: {faults}; the first: {first}", options.url)))
}

/// The result of a run.
pub(crate) struct Outcome {
    /// Description of the transport.
    pub(crate) transport: String,
    pub(crate) measured: Duration,
    /// Open loop: requests that were due and not sent.
    pub(crate) waiting: u64,
    pub(crate) stats: Stats,
    /// Counters of Simoom's stack, if it was the transport.
    pub(crate) stack: Vec<Count>,
}

impl Outcome {
    /// The errors as text; `None` if there were none.
    pub(crate) fn faults(&self) -> Option<String> {
        let met = self.stats.faults().filter(|(_, count)| *count > 0);
        let list: Vec<String> =
            met.map(|(name, count)| format!("{count} {}", name.replace('_', " "))).collect();
        (!list.is_empty()).then(|| list.join(", "))
    }

    /// Share of the measured time during which the generator was busy.
    pub(crate) fn busy(&self) -> f64 {
        if self.measured.is_zero() {
            0.0
        } else {
            self.stats.busy_us as f64 / self.measured.as_micros() as f64
        }
    }

    /// `count` for each second of the measured time.
    pub(crate) fn per_second(&self, count: u64) -> f64 {
        if self.measured.is_zero() { 0.0 } else { count as f64 / self.measured.as_secs_f64() }
    }
}

/// Sends over kernel sockets from the calling thread. Prints nothing and handles no signal.
pub(crate) fn drive<P: Protocol>(plan: &Plan, protocol: P, target: SocketAddr) -> Result<Outcome> {
    send(plan, protocol, target, None, Watch::none())
}

fn send<P: Protocol>(
    plan: &Plan,
    protocol: P,
    target: SocketAddr,
    from: Option<&XdpOptions<'_>>,
    mut watch: Watch,
) -> Result<Outcome> {
    let (client, transport, stack) = match from {
        Some(from) => {
            let Sent { client, transport, counts } =
                xdp::run(plan, protocol, target, from, &mut watch)?;
            (client, transport, counts)
        }
        None => (
            kernel::run(plan, protocol, target, &mut watch)?,
            "kernel sockets".to_owned(),
            Vec::new(),
        ),
    };
    let (measured, waiting, mut stats) =
        (client.schedule().measured(0), client.waiting(), client.stats);
    stats.end();
    Ok(Outcome { transport, measured, waiting, stats, stack })
}

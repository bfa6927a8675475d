//! The command line: arguments in, one command carried out, an exit code out.
//!
//! Exit codes: 0, it went well; 1, it failed; 2, it was asked for wrongly. An error is one line on standard error
//! that names the flag, the value and the bound.

use crate::compare::{self, CeilingOptions, CompareOptions, SweepOptions, WithinOptions};
use crate::config::complaint::Complaint;
use crate::config::{self, LogLevel, LogOptions, Serve, ServeOptions};
use crate::error::{Error, Result};
use crate::load::{self, LoadOptions};
use crate::{demo, guide, log, probe, serve};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

/// Serve HTTP and memcached from a network interface's queues, past the kernel's TCP, or from kernel sockets
///
/// Simoom takes the packets for its ports straight from the queues of a network interface through AF_XDP and runs
/// its own TCP on them, one polling loop a core. Everything else on the interface stays the kernel's. Where XDP is
/// not to be had, the same server runs over kernel sockets.
#[derive(Debug, Parser)]
#[command(name = "simoom", version, arg_required_else_help = true, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Begin with one of these:
  simoom demo               show the transports at work, in namespaces of their own
  simoom probe              what this machine and its network interfaces can do
  simoom serve              serve a page on http://127.0.0.1:8080/, and memcached on 127.0.0.1:11211
  simoom serve --help       all about serving
  simoom load URL           send requests to a server, check and time the answers
  simoom compare            Simoom beside nginx, in figures and charts
  simoom guide              the topics of the guide: set-up, operation, limits, architecture

Exit codes: 0 it went well, 1 it failed, 2 it was asked for wrongly.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve HTTP, memcached or both until told to stop
    ///
    /// Without flags: a built-in page on http://127.0.0.1:8080/ and, if its port is free, memcached with 64 MiB on
    /// 127.0.0.1:11211, through kernel sockets. With --interface, through AF_XDP where that works; the log says in
    /// one line which transport was taken and why.
    ///
    /// SIGTERM or Ctrl-C stops it: open answers may finish.
    #[command(after_help = SERVE_EXAMPLES)]
    Serve(Box<ServeOptions>),

    /// Send requests to an HTTP server or a memcached; check and time every answer
    ///
    /// A closed loop, unless --rate is given: each connection that has its answer sends the next request, as fast as the
    /// server answers. With --rate an open loop: requests have times of their own, and a server that is slow does not
    /// make them fewer. Every answer is checked: of HTTP status and length, of memcached key and length, with --verify
    /// the content too. Anything that is not as it should be is counted by its kind and makes the exit code 1.
    ///
    /// The result tells how the generator itself did: the share of the time that it was at work, and in the open loop
    /// how many requests left late although a connection was free. A generator that is always at work, or late, was
    /// measuring itself.
    #[command(after_help = LOAD_EXAMPLES)]
    Load(Box<LoadOptions>),

    /// Tell what this machine and its network interfaces can do
    ///
    /// Kernel version, capabilities held and missing, BPF, AF_XDP and io_uring; and for each interface its driver, its
    /// queues, what XDP it offers, and which transport `serve` would choose and why.
    #[command(after_help = PROBE_EXAMPLES)]
    Probe(ProbeOptions),

    /// Show the transports at work between two network namespaces
    ///
    /// As root: makes two namespaces joined by a veth pair, serves in one over AF_XDP and then over kernel sockets, by
    /// io_uring and by epoll, sends real requests from the other and prints what it measured. Nothing is left behind. Not as root: serves
    /// on loopback through kernel sockets. The log shows warnings only, unless --log-level or $SIMOOM_LOG asks for
    /// more.
    Demo(LogOptions),

    /// Compare Simoom with other servers: the same load on each in turn, and a report
    ///
    /// Makes its own network: two namespaces joined by a veth pair, the server on one core and the load on another. Each
    /// contender has each plan's load in turn, and that again for each round, so that a drift of the machine hits all
    /// alike. The ceiling, a responder without TCP, tells what the machine allows. Needs root and two cores; leaves
    /// nothing behind.
    #[command(after_help = COMPARE_EXAMPLES)]
    Compare(Box<CompareOptions>),

    /// Print a page of the guide; without a topic, list the topics
    ///
    /// The pages are Markdown: set-up of a NIC, HTTP, memcached, limits, operation, metrics and more.
    #[command(after_help = GUIDE_EXAMPLES)]
    Guide(GuideOptions),

    /// Answer every segment from what it says alone, for `compare` to know what the machine allows; not a server
    #[command(hide = true)]
    Ceiling(CeilingOptions),

    /// Start a program in a network namespace, on a core, to end with the parent: for `compare`
    #[command(hide = true)]
    Within(WithinOptions),

    /// Remove a directory when standard input ends: for `compare`
    #[command(hide = true)]
    Sweep(SweepOptions),
}

const SERVE_EXAMPLES: &str = "\
Examples:
  simoom serve --root /srv/www
      the files in /srv/www on http://127.0.0.1:8080/, through kernel sockets
  simoom serve --interface eth1 --http 80 --root /srv/www --cores 0-3
      the same on port 80 of eth1, from its queues, with four workers
  simoom serve --memcached 11211 --memory 1G
      memcached alone, on 127.0.0.1
  simoom serve --interface eth1 --memcached 11211 --memory 8G --cores 0-3
      memcached on port 11211 of eth1, from its queues, with four workers
  simoom serve --interface eth1 --http 80 --address 192.0.2.7
      at an address of Simoom's own, for which it answers ARP and ping; an IPv6 address is as good
  simoom serve --config /etc/simoom.toml --log json
      flags from a file; those on the command line win

Run `simoom probe` first to see what an interface offers.";

const LOAD_EXAMPLES: &str = "\
Examples:
  simoom load http://127.0.0.1:8080/
      50 connections for 10 seconds, through kernel sockets
  simoom load http://198.18.0.1:8080/ --connections 10000 --in-flight 512 --verify --json
      10,000 connections used in turn, 512 requests under way; content compared; for a program to read
  simoom load http://198.18.0.1:8080/ --connection-per-request --requests 100000
      a connection for each of 100,000 requests
  simoom load http://198.18.0.1:8080/ --rate 20000 --connections 1000 --hdr latency.hgrm --csv seconds.csv
      20,000 requests a second, come what may; latencies for a plotter, a line for each second
  simoom load http://198.18.0.1:8080/large --connections 1000 --slow 3600
      1000 clients behind thin lines: each reads 3600 bytes a second
  simoom load memcached://198.18.0.1:11211 --keys 100000 --value-size 100 --get-ratio 0.9 --zipf 0.99 --verify
      stores 100,000 keys, then nine gets to a set, some keys far more often than others; values checked
  simoom load http://198.18.0.1:8080/ --interface c0 --source 198.18.64.1/24 --core 1
      over AF_XDP with Simoom's own TCP, from addresses of its own, on core 1";

const COMPARE_EXAMPLES: &str = "\
Examples:
  simoom compare --out report
      everything, in about 20 minutes; open report/report.html
  simoom compare --plan get-12-10k,get-4k --contender xdp,nginx,ceiling --repeats 5
      two plans, three contenders, five rounds
  simoom compare --quick
      see that all of it works, within two minutes
  simoom compare --table benches/runs/2026-11-21/compare/results.json
      the main table of a recorded run as Markdown";

const PROBE_EXAMPLES: &str = "\
Examples:
  simoom probe                 all interfaces
  simoom probe eth1 --json     one, for a program to read";

const GUIDE_EXAMPLES: &str = "\
Examples:
  simoom guide                 the topics
  simoom guide limits          what happens when something is full";

#[derive(Args, Debug)]
struct GuideOptions {
    /// The page to print [default: the list of topics]
    #[arg(value_name = "TOPIC")]
    topic: Option<String>,
}

#[derive(Args, Debug)]
struct ProbeOptions {
    /// Only this network interface [default: all]
    #[arg(value_name = "IF")]
    interface: Option<String>,

    /// Write JSON instead of text
    #[arg(long)]
    json: bool,
}

/// Carries out what `arguments` (the program's name first) ask for.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let matches = match command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => return refuse(&error),
    };
    let done = match Cli::from_arg_matches(&matches) {
        Ok(cli) => carry_out(cli.command, &matches),
        Err(error) => return refuse(&error),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error.to_string());
            error.exit_code()
        }
    }
}

/// The command line as clap sees it.
pub fn command() -> clap::Command {
    Cli::command()
}

fn carry_out(command: Command, matches: &clap::ArgMatches) -> Result<()> {
    match command {
        Command::Serve(_) => {
            let environment = config::level_from_environment()?;
            let (_, matches) = matches.subcommand().expect("clap found a subcommand");
            let config = Serve::from_matches(matches, environment, &config::usable_cores()?)?;
            log::init(config.log);
            serve::run(&config)
        }
        Command::Load(options) => {
            log_warnings(&options.log)?;
            load::run(&options)
        }
        Command::Compare(options) => {
            log_warnings(&options.log)?;
            compare::run(&options)
        }
        Command::Ceiling(options) => {
            log_warnings(&options.log)?;
            compare::run_ceiling(&options)
        }
        Command::Within(options) => compare::run_within(&options),
        Command::Sweep(options) => compare::run_sweep(&options),
        Command::Probe(options) => probe::run(options.interface.as_deref(), options.json),
        Command::Guide(options) => guide::run(options.topic.as_deref()),
        Command::Demo(options) => {
            log_warnings(&options)?;
            demo::run()
        }
    }
}

/// Logs warnings only, unless flag or environment ask for more: the rest would stand between the lines that a command
/// prints.
fn log_warnings(options: &LogOptions) -> Result<()> {
    let level = options.log_level.or(config::level_from_environment()?).or(Some(LogLevel::Warn));
    log::init(LogOptions { log_level: level, ..options.clone() }.into());
    Ok(())
}

/// Prints clap's error, or the help that was asked for.
fn refuse(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // Help that nobody reads to the end is no failure.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    match Complaint::of(error) {
        Some(complaint) => complain(&complaint.to_string()),
        None => drop(error.print()),
    }
    Error::usage("").exit_code()
}

fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "error: {text}");
}

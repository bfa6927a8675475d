//! The command line: parses arguments, runs one command, returns an exit code.
//!
//! Exit codes: 0, success; 1, failure; 2, usage error. An error is one line on standard error that
//! names the flag, the value and the allowed range.

use crate::compare::{self, CeilingOptions, CompareOptions, SweepOptions, WithinOptions};
use crate::config::argument_error::{self, ArgumentError};
use crate::config::{self, LogLevel, LogOptions, Serve, ServeOptions};
use crate::error::{Error, Result};
use crate::load::{self, LoadOptions};
use crate::{demo, guide, log, probe, serve};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

/// Serve HTTP and memcached over a user-space TCP stack on AF_XDP, or over kernel sockets
///
/// Simoom takes the packets for its ports straight from the receive queues of a network interface,
/// through AF_XDP, and runs TCP and its handlers in one polling loop on each core. The kernel gets
/// all other packets. Where XDP does not work, the same server runs over kernel sockets, with
/// io_uring or epoll.
#[derive(Debug, Parser)]
#[command(name = "simoom", version, arg_required_else_help = true, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Begin with one of these:
  simoom demo               serve and measure over each transport, in network namespaces
  simoom probe              report what this machine and its network interfaces can do
  simoom serve              serve a page on http://127.0.0.1:8080/, and memcached on 127.0.0.1:11211
  simoom serve --help       list the flags of serve
  simoom load URL           send requests to a server, check and time the answers
  simoom compare            measure Simoom beside nginx and memcached, and write a report
  simoom guide              list the topics of the guide

Exit codes: 0 success, 1 failure, 2 usage error.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve HTTP, memcached or both
    ///
    /// Without flags: a built-in page on http://127.0.0.1:8080/ and, if its port is free, memcached
    /// with 64 MiB on 127.0.0.1:11211, through kernel sockets. With --interface, over AF_XDP where
    /// that works; the log names the transport and the reason in one line.
    ///
    /// SIGTERM or Ctrl-C drains and stops the server.
    #[command(after_help = SERVE_EXAMPLES)]
    Serve(Box<ServeOptions>),

    /// Send requests to an HTTP server or a memcached; check and time every answer
    ///
    /// Closed loop by default: each connection that has its answer sends the next request. With
    /// --rate an open loop: each request has a scheduled time, however slow the server is. Every
    /// answer is checked: status and length with HTTP, key and length with memcached, and with
    /// --verify the content. Errors are counted by kind, and the exit code is 1 if there are any.
    ///
    /// The report shows how busy the generator itself was, and in the open loop how many requests
    /// left late although a connection was free. If it was always busy, or late, the figures may be
    /// its own.
    #[command(after_help = LOAD_EXAMPLES)]
    Load(Box<LoadOptions>),

    /// Report what this machine and its network interfaces can do
    ///
    /// Kernel version, capabilities held and missing, BPF, AF_XDP and io_uring; for each interface
    /// its driver, its queues, its XDP modes, and the transport that `serve` would choose, with the
    /// reason.
    #[command(after_help = PROBE_EXAMPLES)]
    Probe(ProbeOptions),

    /// Serve and measure over each transport, between two network namespaces
    ///
    /// As root: makes two namespaces joined by a veth pair, serves in one over AF_XDP, io_uring and
    /// epoll, sends requests from the other, prints its measurements, and leaves nothing behind.
    /// Without root: serves on loopback through kernel sockets. The log shows warnings only, unless
    /// --log-level or $SIMOOM_LOG asks for more.
    Demo(LogOptions),

    /// Measure Simoom and other servers with the same load, and write a report
    ///
    /// Makes two network namespaces joined by a veth pair, with the server on one core and the load
    /// on another. The servers take turns in each round, so that a drift of the machine affects all
    /// of them. The ceiling, a responder without TCP, shows what the machine allows. Needs root and
    /// two cores; leaves nothing behind.
    #[command(after_help = COMPARE_EXAMPLES)]
    Compare(Box<CompareOptions>),

    /// Print a page of the guide; without a topic, list the topics
    ///
    /// The pages are Markdown: set-up of a NIC, HTTP, memcached, limits, operation, metrics and
    /// more.
    #[command(after_help = GUIDE_EXAMPLES)]
    Guide(GuideOptions),

    /// Answer each segment from that segment alone, without TCP: the ceiling of `compare`
    #[command(hide = true)]
    Ceiling(CeilingOptions),

    /// Start a program in a network namespace, on a core, that ends with its parent: for `compare`
    #[command(hide = true)]
    Within(WithinOptions),

    /// Remove a directory when standard input ends: for `compare`
    #[command(hide = true)]
    Sweep(SweepOptions),
}

const SERVE_EXAMPLES: &str = "\
Examples:
  simoom serve --root /srv/www
      files of /srv/www on http://127.0.0.1:8080/, through kernel sockets
  simoom serve --interface eth1 --http 80 --root /srv/www --cores 0-3
      the same on port 80 of eth1, over AF_XDP, with four workers
  simoom serve --memcached 11211 --memory 1G
      memcached alone, on 127.0.0.1
  simoom serve --interface eth1 --memcached 11211 --memory 8G --cores 0-3
      memcached on port 11211 of eth1, over AF_XDP, with four workers
  simoom serve --interface eth1 --http 80 --address 192.0.2.7
      at a dedicated address, IPv4 or IPv6, for which Simoom answers ARP and ping
  simoom serve --config /etc/simoom.toml --log json
      flags from a file; flags on the command line win

Run `simoom probe` first to see what an interface offers. `simoom guide` has set-up and operation.";

const LOAD_EXAMPLES: &str = "\
Examples:
  simoom load http://127.0.0.1:8080/
      50 connections for 10 seconds, through kernel sockets
  simoom load http://198.18.0.1:8080/ --connections 10000 --in-flight 512 --verify --json
      10,000 connections used in turn, 512 requests in flight; content compared; output for programs
  simoom load http://198.18.0.1:8080/ --connection-per-request --requests 100000
      a connection for each of 100,000 requests
  simoom load http://198.18.0.1:8080/ --rate 20000 --connections 1000 --hdr latency.hgrm --csv seconds.csv
      20,000 requests a second in an open loop; latencies for a plotter, a line for each second
  simoom load http://198.18.0.1:8080/large --connections 1000 --slow 3600
      1000 slow clients: each reads 3600 bytes a second
  simoom load memcached://198.18.0.1:11211 --keys 100000 --value-size 100 --get-ratio 0.9 --zipf 0.99 --verify
      stores 100,000 keys, then nine gets to a set, with a Zipf distribution of keys; values checked
  simoom load http://198.18.0.1:8080/ --interface c0 --source 198.18.64.1/24 --core 1
      over AF_XDP with Simoom's own TCP, from addresses of its own, on core 1";

const COMPARE_EXAMPLES: &str = "\
Examples:
  simoom compare --out report
      all plans, in about 40 minutes; open report/report.html
  simoom compare --plan get-12-10k,get-4k --contender xdp,nginx,ceiling --repeats 5
      two plans, three servers, five rounds
  simoom compare --quick
      check that all of it works, within two minutes
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
    /// Network interface to report [default: all]
    #[arg(value_name = "IF")]
    interface: Option<String>,

    /// Write JSON instead of text
    #[arg(long)]
    json: bool,
}

/// Parses `arguments`, the program's name first, and runs the command.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = argument_error::join_negative(arguments);
    let name = arguments.get(1).and_then(|name| name.to_str()).map(str::to_owned);
    let matches = match command().try_get_matches_from(&arguments) {
        Ok(matches) => matches,
        Err(error) => {
            if let Some(text) = argument_error::detached(&error, &arguments) {
                print_error(&text);
                return Error::usage(text).exit_code();
            }
            return refuse(&error, name.as_deref());
        }
    };
    let done = match Cli::from_arg_matches(&matches) {
        Ok(cli) => carry_out(cli.command, &matches),
        Err(error) => return refuse(&error, name.as_deref()),
    };
    match done {
        Ok(()) => {
            log::flush();
            ExitCode::SUCCESS
        }
        Err(error) => {
            print_error(&error.to_string());
            error.exit_code()
        }
    }
}

/// The command line for clap.
pub fn command() -> clap::Command {
    Cli::command()
}

fn carry_out(command: Command, matches: &clap::ArgMatches) -> Result<()> {
    match command {
        Command::Serve(_) => {
            let environment = config::level_from_environment()?;
            let (_, matches) = matches.subcommand().expect("clap found a subcommand");
            let config = Serve::from_matches(matches, environment, &config::usable_cores()?)?;
            log::init(config.log)?;
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

/// Logs warnings only, unless flag or environment select another level. Other events would disturb
/// the output of a command.
fn log_warnings(options: &LogOptions) -> Result<()> {
    let level = options.log_level.or(config::level_from_environment()?).or(Some(LogLevel::Warn));
    log::init(LogOptions { log_level: level, ..options.clone() }.into())
}

/// Prints clap's error, or the requested help. `command` is the first argument.
fn refuse(error: &clap::Error, command: Option<&str>) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return match error.print() {
            // A closed pipe is not an error: the reader has what it wanted.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                print_error(&format!("standard output: {error}"));
                ExitCode::FAILURE
            }
            _ => ExitCode::SUCCESS,
        };
    }
    match ArgumentError::of(error) {
        Some(mut error) => {
            let command = command.filter(|name| !name.starts_with('-'));
            let text = match argument_error::remedy(&error, command) {
                Some(remedy) => {
                    error.suggestion = None;
                    format!("{error}; {remedy}")
                }
                None => error.to_string(),
            };
            print_error(&text);
        }
        None => drop(error.print()),
    }
    Error::usage("").exit_code()
}

fn print_error(text: &str) {
    log::print(&format!("error: {text}\n"));
}

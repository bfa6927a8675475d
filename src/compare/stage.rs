//! Where a case takes place: two namespaces joined by a veth pair, and processes in them, each on
//! its core.
//!
//! A stage lasts for one case, so that no connection of one case (TIME_WAIT, a neighbour's entry)
//! is there in the next. It has no name; everything goes with the process that made it, however
//! that ends.

use super::contenders::SERVER;
use super::options::Cores;
use crate::error::{Error, Result};
use crate::netns::{self, Namespace};
use af_xdp::features::set_segmentation_offload;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The client's own address; those that the load sends from are others.
const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
/// Where the load sends from: enough for a million connections.
pub(super) const SOURCE: &str = "198.18.64.0/18";
const PREFIX_LEN: u8 = 16;
/// What the kernel's TCP uses at both ends: Simoom's own default, which is Linux's. A machine may
/// have another, and a namespace inherits that.
const CONGESTION_CONTROL: &str = "cubic";
/// How long a process may take to end when it is told to.
const ENDING: Duration = Duration::from_secs(3);
/// How often an ending process is looked at.
const LOOK: Duration = Duration::from_millis(2);

/// Two namespaces and what joins them.
pub(super) struct Stage<'a> {
    server: Namespace,
    client: Namespace,
    cores: Cores,
    /// This program.
    simoom: &'a Path,
}

/// An end of the veth pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Server,
    Client,
}

impl Stage<'_> {
    /// Sets one up.
    pub(super) fn new(
        cores: Cores,
        simoom: &Path,
        segmentation_offload: bool,
    ) -> Result<Stage<'_>> {
        let failed = |error: io::Error| Error::failed(error.to_string());
        let server = Namespace::new().map_err(failed)?;
        let client = Namespace::new().map_err(failed)?;
        netns::veth(&server, "s0", &client, "c0", 1).map_err(failed)?;
        let address: Ipv4Addr = SERVER.parse().expect("the server's address is one");
        for (namespace, name, address) in [(&server, "s0", address), (&client, "c0", CLIENT)] {
            let set = || {
                netns::set_address(name, address.into(), PREFIX_LEN)?;
                netns::set_up(name)?;
                netns::set_congestion_control(name, address, PREFIX_LEN, CONGESTION_CONTROL)?;
                set_segmentation_offload(name, segmentation_offload)
            };
            namespace.run(set).map_err(failed)?;
        }
        Ok(Stage { server, client, cores, simoom })
    }

    /// Runs `inside` in a side's namespace, on a thread of its own.
    pub(super) fn run<T: Send>(&self, side: Side, inside: impl FnOnce() -> T + Send) -> T {
        self.namespace(side).run(inside)
    }

    /// Starts a program on a side's core, its output in `log`. It ends with this process, for it is
    /// the calling thread that it is bound to: that must be one that lasts.
    pub(super) fn start(
        &self,
        side: Side,
        program: &Path,
        arguments: &[String],
        log: Log,
    ) -> Result<Process> {
        let core = match side {
            Side::Server => self.cores.server,
            Side::Client => self.cores.client,
        };
        let namespace =
            format!("/proc/{}/fd/{}", std::process::id(), self.namespace(side).as_fd().as_raw_fd());
        let child = Command::new(self.simoom)
            .args(["within", "--namespace", &namespace, "--core", &core.to_string(), "--"])
            .arg(program)
            .args(arguments)
            .env_remove("SIMOOM_LOG")
            .stdin(Stdio::null())
            .stdout(log.output)
            .stderr(log.errors)
            .spawn()
            .map_err(|error| Error::because(format!("starting {}", program.display()), error))?;
        Ok(Process(child))
    }

    fn namespace(&self, side: Side) -> &Namespace {
        match side {
            Side::Server => &self.server,
            Side::Client => &self.client,
        }
    }
}

/// Where a process writes.
pub(super) struct Log {
    /// Standard output.
    pub(super) output: File,
    /// Standard error.
    pub(super) errors: File,
}

/// A process that ends with this value.
#[derive(Debug)]
pub(super) struct Process(Child);

impl Process {
    /// Its process id.
    pub(super) fn id(&self) -> u32 {
        self.0.id()
    }

    /// How it ended, if it has.
    pub(super) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.0.try_wait().map_err(|error| Error::because("waiting for a process", error))
    }

    /// Whether it ends by itself before the deadline.
    fn ends_by(&mut self, deadline: Instant) -> bool {
        while Instant::now() < deadline {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return true;
            }
            std::thread::sleep(LOOK);
        }
        false
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(Some(_))) {
            return;
        }
        // A parent such as nginx's master ends its children only if it is asked.
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        if !self.ends_by(Instant::now() + ENDING) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

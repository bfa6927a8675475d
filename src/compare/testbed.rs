//! The testbed of a case: two network namespaces joined by a veth pair, and processes in them, each
//! pinned to a core.
//!
//! Each case has a new testbed, so that no state (TIME_WAIT, neighbour entries) remains from the
//! case before. The namespaces have no names and disappear with the process that made them, however
//! it ends.

use super::options::Cores;
use super::targets::SERVER;
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

/// Address of the client's interface. The load sends from other addresses.
const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
/// Source addresses of the load: enough for a million connections.
pub(super) const SOURCE: &str = "198.18.64.0/18";
const PREFIX_LEN: u8 = 16;
/// Congestion control of the kernel at both ends: Simoom's default and Linux's. A namespace
/// inherits the machine's setting, which may differ.
const CONGESTION_CONTROL: &str = "cubic";
/// Limit for a process to end after SIGTERM.
const EXIT_TIMEOUT: Duration = Duration::from_secs(3);
/// Interval at which an ending process is polled.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// Two namespaces joined by a veth pair.
pub(super) struct Testbed<'a> {
    server: Namespace,
    client: Namespace,
    cores: Cores,
    /// The file of this program.
    simoom: &'a Path,
}

/// An end of the veth pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Server,
    Client,
}

impl Testbed<'_> {
    /// Creates the namespaces and configures their interfaces.
    pub(super) fn new(
        cores: Cores,
        simoom: &Path,
        segmentation_offload: bool,
    ) -> Result<Testbed<'_>> {
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
        Ok(Testbed { server, client, cores, simoom })
    }

    /// Runs `inside` in the namespace of a side, on a new thread.
    pub(super) fn run<T: Send>(&self, side: Side, inside: impl FnOnce() -> T + Send) -> T {
        self.namespace(side).run(inside)
    }

    /// Starts a program on the core of a side. The program ends with the calling thread, so that
    /// thread must last.
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

/// The output files of a process.
pub(super) struct Log {
    /// Standard output.
    pub(super) output: File,
    /// Standard error.
    pub(super) errors: File,
}

/// A process that is ended on drop.
#[derive(Debug)]
pub(super) struct Process(Child);

impl Process {
    /// The process id.
    pub(super) fn id(&self) -> u32 {
        self.0.id()
    }

    /// The exit status if the process has ended.
    pub(super) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.0.try_wait().map_err(|error| Error::because("waiting for a process", error))
    }

    /// Whether the process ends before the deadline.
    fn ends_by(&mut self, deadline: Instant) -> bool {
        while Instant::now() < deadline {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return true;
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        false
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(Some(_))) {
            return;
        }
        // A parent such as nginx's master process ends its children only on SIGTERM.
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        if !self.ends_by(Instant::now() + EXIT_TIMEOUT) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

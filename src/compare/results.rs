//! The contents of `results.json`: the measurements, and what is needed to repeat them. Field names
//! are those of the file. Times are in seconds unless the name says otherwise.

use super::targets::CEILING;
use serde::{Deserialize, Serialize};

/// Version of the file layout. Adding fields does not change it.
pub(super) const SCHEMA: u32 = 1;

/// The whole file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Results {
    /// [`SCHEMA`].
    pub(super) schema: u32,
    /// The command line.
    pub(super) command: Vec<String>,
    /// Start time, as in an HTTP Date.
    pub(super) began: String,
    /// Duration of the comparison.
    pub(super) took_seconds: f64,
    /// The machine.
    pub(super) machine: Machine,
    /// The build of Simoom.
    pub(super) simoom: Build,
    /// Parameters that all cases share.
    pub(super) settings: Settings,
    /// The servers that were measured.
    #[serde(rename = "contenders")]
    pub(super) targets: Vec<TargetInfo>,
    /// What was not measured, and why.
    pub(super) left_out: Vec<LeftOut>,
    /// The plans.
    pub(super) plans: Vec<PlanInfo>,
    /// All measurements, in order.
    pub(super) cases: Vec<Case>,
}

/// The machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Machine {
    /// Name of the processor.
    pub(super) processor: String,
    /// Cores that this process may use.
    pub(super) cores: usize,
    pub(super) memory_bytes: u64,
    /// System, release and architecture.
    pub(super) kernel: String,
}

/// A build of Simoom.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Build {
    pub(super) version: String,
    /// Commit of the directory of the program, with `-dirty` if files were changed; empty if
    /// unknown.
    pub(super) commit: String,
    /// `release` or `debug`.
    pub(super) profile: String,
}

/// Parameters that all cases share.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Settings {
    /// Duration of a measurement, unless the plan stretches it or sets a number of requests.
    pub(super) seconds: f64,
    pub(super) warm_up_seconds: f64,
    pub(super) repeats: u32,
    pub(super) server_core: usize,
    pub(super) client_core: usize,
    /// Whether this is a smoke test. Its figures must not be quoted.
    pub(super) quick: bool,
    /// Open files that a process may have.
    pub(super) open_files_limit: u64,
}

/// A server that was measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct TargetInfo {
    pub(super) name: String,
    pub(super) title: String,
    pub(super) version: String,
}

/// A combination that was not measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LeftOut {
    #[serde(rename = "contender")]
    pub(super) target: String,
    /// `None`: all plans.
    pub(super) plan: Option<String>,
    pub(super) point: Option<String>,
    pub(super) reason: String,
}

/// A plan.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PlanInfo {
    pub(super) name: String,
    pub(super) title: String,
    pub(super) figure: super::figures::Figure,
    pub(super) points: Vec<PointInfo>,
}

/// A setting of a plan.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PointInfo {
    pub(super) name: String,
    pub(super) connections: u32,
}

/// One measurement.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Case {
    pub(super) plan: String,
    pub(super) point: String,
    #[serde(rename = "contender")]
    pub(super) target: String,
    /// Number of the round, from 1.
    pub(super) repeat: u32,
    /// Command line of the server, and the text of its configuration file.
    pub(super) server: Vec<String>,
    pub(super) configuration: Option<String>,
    /// Command line of the load; empty if there is none.
    pub(super) load: Vec<String>,
    /// Why the case failed.
    pub(super) error: Option<String>,
    /// The output of `simoom load --json`.
    pub(super) report: Option<serde_json::Value>,
    /// CPU use during the measurement.
    pub(super) cpu: Option<Cpu>,
    /// Memory at the end of the measurement.
    pub(super) memory: Option<Memory>,
}

/// CPU use of cores and server, as a fraction of one core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Cpu {
    /// Length of the measured interval.
    pub(super) seconds: f64,
    /// The core of the server with all that ran on it, interrupts included (/proc/stat).
    pub(super) server_core: f64,
    /// The core of the load.
    pub(super) client_core: f64,
    /// The threads of the server alone.
    pub(super) server: f64,
    /// Steal time of the server's core: what the hypervisor gave to others while something had to
    /// run here. Part of the busy time; 0 in records before it was measured.
    #[serde(default)]
    pub(super) server_stolen: f64,
    /// Steal time of the load's core.
    #[serde(default)]
    pub(super) client_stolen: f64,
}

/// Memory of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Memory {
    /// Memory of its processes.
    pub(super) process_bytes: u64,
    /// Growth of the kernel's slab memory (`Slab` in /proc/meminfo) since before the server was
    /// started.
    pub(super) kernel_bytes: u64,
}

impl TargetInfo {
    /// Whether it is no server, but shows the limit of the machine.
    pub(super) fn is_ceiling(&self) -> bool {
        self.name == CEILING
    }
}

impl Case {
    /// Whether the case belongs to this plan, point and target.
    pub(super) fn is_of(&self, plan: &str, point: &str, target: &str) -> bool {
        self.plan == plan && self.point == point && self.target == target
    }
}

//! What a comparison found, as it stands in `results.json`: everything that is needed to read the
//! figures, and to measure them again. Names here are the names there. All times are seconds unless
//! a name says otherwise.

use serde::{Deserialize, Serialize};

/// The version of this layout. One that only adds fields keeps it.
pub(super) const SCHEMA: u32 = 1;

/// The whole file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Results {
    /// [`SCHEMA`].
    pub(super) schema: u32,
    /// The command line.
    pub(super) command: Vec<String>,
    /// When it began, as in HTTP's Date.
    pub(super) began: String,
    /// How long it took.
    pub(super) took_seconds: f64,
    /// Where.
    pub(super) machine: Machine,
    /// What.
    pub(super) simoom: Build,
    /// How.
    pub(super) settings: Settings,
    /// Who took part.
    pub(super) contenders: Vec<About>,
    /// Who did not, and why.
    pub(super) left_out: Vec<LeftOut>,
    /// What was asked.
    pub(super) plans: Vec<PlanAbout>,
    /// All that was measured, in order.
    pub(super) cases: Vec<Case>,
}

/// The machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Machine {
    /// As the processor names itself.
    pub(super) processor: String,
    /// Cores that this process may use.
    pub(super) cores: usize,
    pub(super) memory_bytes: u64,
    /// System, release and architecture.
    pub(super) kernel: String,
}

/// The program that was compared, and compared with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Build {
    pub(super) version: String,
    /// The commit of the directory that the program lies in, `-dirty` if something was changed;
    /// empty if unknown.
    pub(super) commit: String,
    /// `release` or `debug`.
    pub(super) profile: String,
}

/// How all cases were measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Settings {
    /// Measured in each case, where a plan does not stretch that or asks for a number of requests.
    pub(super) seconds: f64,
    pub(super) warm_up_seconds: f64,
    pub(super) repeats: u32,
    pub(super) server_core: usize,
    pub(super) client_core: usize,
    /// A smoke test, whose figures are not to be quoted.
    pub(super) quick: bool,
    /// Open files that a process may have.
    pub(super) open_files_limit: u64,
}

/// A contender.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct About {
    pub(super) name: String,
    pub(super) title: String,
    pub(super) version: String,
}

/// Who was not measured where, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LeftOut {
    pub(super) contender: String,
    /// `None`: nowhere.
    pub(super) plan: Option<String>,
    pub(super) point: Option<String>,
    pub(super) reason: String,
}

/// A plan.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PlanAbout {
    pub(super) name: String,
    pub(super) title: String,
    pub(super) figure: super::figures::Figure,
    pub(super) points: Vec<PointAbout>,
}

/// A setting of a plan.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PointAbout {
    pub(super) name: String,
    pub(super) connections: u32,
}

/// One measurement.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Case {
    pub(super) plan: String,
    pub(super) point: String,
    pub(super) contender: String,
    /// From 1.
    pub(super) repeat: u32,
    /// The server's command line, and its configuration file's text.
    pub(super) server: Vec<String>,
    pub(super) configuration: Option<String>,
    /// The load's command line; empty for none.
    pub(super) load: Vec<String>,
    /// What went wrong.
    pub(super) error: Option<String>,
    /// What `simoom load --json` said.
    pub(super) report: Option<serde_json::Value>,
    /// While it measured.
    pub(super) cpu: Option<Cpu>,
    /// At the end of that.
    pub(super) memory: Option<Memory>,
}

/// How busy cores and server were, as parts of one core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Cpu {
    /// Over so long.
    pub(super) seconds: f64,
    /// The server's core, whatever ran on it, interrupts included (/proc/stat).
    pub(super) server_core: f64,
    /// The load's.
    pub(super) client_core: f64,
    /// The server's threads alone.
    pub(super) server: f64,
}

/// What a server held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Memory {
    /// Its processes' own.
    pub(super) process_bytes: u64,
    /// By how much the kernel's objects (`Slab` in /proc/meminfo) had grown since before it was
    /// started.
    pub(super) kernel_bytes: u64,
}

impl Case {
    /// Whether it is of this plan, point and contender.
    pub(super) fn is_of(&self, plan: &str, point: &str, contender: &str) -> bool {
        self.plan == plan && self.point == point && self.contender == contender
    }
}

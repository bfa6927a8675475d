//! Facts about the machine and about this build.

use super::results::{Build, Machine};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// Describes this machine. This process may use `cores` cores.
pub(super) fn machine(cores: usize) -> Machine {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let named = |key: &str| {
        let line = cpuinfo
            .lines()
            .find(|line| line.split(':').next().is_some_and(|name| name.trim() == key));
        line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
    };
    let processor = named("model name").unwrap_or_else(|| "unknown".to_owned());
    // Some hypervisors hide the name. Then the model number tells more.
    let model = named("model").map(|model| format!(" (model {model})")).unwrap_or_default();
    let system = rustix::system::sysinfo();
    let uname = rustix::system::uname();
    let part = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    Machine {
        processor: processor + &model,
        cores,
        memory_bytes: (system.totalram as u64).saturating_mul(u64::from(system.mem_unit)),
        kernel: format!(
            "{} {} {}",
            part(uname.sysname()),
            part(uname.release()),
            part(uname.machine())
        ),
    }
}

/// Describes the program `simoom`, which runs this code.
pub(super) fn build(simoom: &Path) -> Build {
    let directory = simoom.parent().unwrap_or(Path::new("/"));
    let described = Command::new("git")
        .arg("-C")
        .arg(directory)
        .args(["describe", "--always", "--dirty", "--abbrev=10"])
        .stdin(Stdio::null())
        .output();
    let commit =
        described.ok().filter(|output| output.status.success()).map(|output| output.stdout);
    Build {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: String::from_utf8_lossy(&commit.unwrap_or_default()).trim().to_owned(),
        profile: if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned(),
    }
}

//! Samples of CPU use and memory, read from /proc while a case runs.
//!
//! The kernel's counters are read at intervals, with the time. The use between two times is
//! interpolated. The measured processes are not touched.

use crate::compare::options::Cores;
use crate::compare::results::{Cpu, Memory};
use std::fs;

/// Clock ticks a second in /proc/stat: USER_HZ, which is 100 on all platforms of Simoom.
const TICKS: f64 = 100.0;

/// The samples of one case.
#[derive(Debug)]
pub(super) struct Samples {
    cores: Cores,
    server: u32,
    /// Kernel memory before the server was started.
    kernel_before: u64,
    readings: Vec<Reading>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Reading {
    at_us: u64,
    /// Busy time of the cores since boot, and run time of the server's threads, in seconds.
    server_core: f64,
    client_core: f64,
    server: f64,
    /// Steal time of the cores.
    server_stolen: f64,
    client_stolen: f64,
    memory: Memory,
}

/// The kernel's slab memory, sockets included, in bytes.
pub(super) fn kernel_memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    kilobytes(&text, "Slab:") * 1024
}

impl Samples {
    /// For the server with this process id.
    pub(super) fn new(cores: Cores, server: u32, kernel_before: u64) -> Samples {
        Samples { cores, server, kernel_before, readings: Vec::new() }
    }

    /// Takes a sample.
    pub(super) fn take(&mut self) {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let tree = tree(self.server);
        let (mut server, mut process_bytes) = (0.0, 0);
        for process in &tree {
            server += run_seconds(*process);
            process_bytes += resident_bytes(*process);
        }
        let kernel_bytes = kernel_memory().saturating_sub(self.kernel_before);
        self.readings.push(Reading {
            at_us: crate::clock::Clock::since_boot().now_us(),
            server_core: busy_seconds(&stat, self.cores.server),
            client_core: busy_seconds(&stat, self.cores.client),
            server,
            server_stolen: stolen_seconds(&stat, self.cores.server),
            client_stolen: stolen_seconds(&stat, self.cores.client),
            memory: Memory { process_bytes, kernel_bytes },
        });
    }

    /// The CPU use between two times, in microseconds since boot.
    pub(super) fn cpu(&self, from_us: u64, until_us: u64) -> Option<Cpu> {
        let (from, until) = (self.at(from_us)?, self.at(until_us)?);
        let seconds = until.at_us.checked_sub(from.at_us).filter(|us| *us > 0)? as f64 / 1e6;
        let share = |time: fn(&Reading) -> f64| (time(&until) - time(&from)) / seconds;
        Some(Cpu {
            seconds,
            server_core: share(|reading| reading.server_core),
            client_core: share(|reading| reading.client_core),
            server: share(|reading| reading.server),
            server_stolen: share(|reading| reading.server_stolen),
            client_stolen: share(|reading| reading.client_stolen),
        })
    }

    /// The memory at a time.
    pub(super) fn memory(&self, at_us: u64) -> Option<Memory> {
        self.readings.iter().rfind(|reading| reading.at_us <= at_us).map(|reading| reading.memory)
    }

    /// The times of the first and of the last sample.
    pub(super) fn span_us(&self) -> Option<(u64, u64)> {
        Some((self.readings.first()?.at_us, self.readings.last()?.at_us))
    }

    /// Interpolates between the two samples around a time.
    fn at(&self, at_us: u64) -> Option<Reading> {
        let after = self.readings.iter().position(|reading| reading.at_us >= at_us)?;
        let (b, a) = (self.readings[after], self.readings[after.saturating_sub(1)]);
        let part = if b.at_us == a.at_us {
            1.0
        } else {
            (at_us.max(a.at_us) - a.at_us) as f64 / (b.at_us - a.at_us) as f64
        };
        let between = |time: fn(&Reading) -> f64| time(&a) + (time(&b) - time(&a)) * part;
        Some(Reading {
            at_us: at_us.max(a.at_us),
            server_core: between(|reading| reading.server_core),
            client_core: between(|reading| reading.client_core),
            server: between(|reading| reading.server),
            server_stolen: between(|reading| reading.server_stolen),
            client_stolen: between(|reading| reading.client_stolen),
            memory: b.memory,
        })
    }
}

/// A process and all its descendants.
fn tree(process: u32) -> Vec<u32> {
    let mut found = vec![process];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        next += 1;
        let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"))
            .unwrap_or_default();
        found.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
    }
    found
}

/// Run time of a process's threads in seconds, from their schedstat.
fn run_seconds(process: u32) -> f64 {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { return 0.0 };
    let nanoseconds = |thread: fs::DirEntry| -> Option<u64> {
        fs::read_to_string(thread.path().join("schedstat"))
            .ok()?
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    };
    threads.flatten().filter_map(nanoseconds).sum::<u64>() as f64 / 1e9
}

/// Resident memory of a process in bytes, without file mappings.
fn resident_bytes(process: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    ["RssAnon:", "RssShmem:", "HugetlbPages:"].iter().map(|key| kilobytes(&text, key)).sum::<u64>()
        * 1024
}

fn kilobytes(text: &str, key: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Busy time of a core in seconds: neither idle nor waiting for I/O.
fn busy_seconds(stat: &str, core: usize) -> f64 {
    let [user, nice, system, _idle, _iowait, irq, softirq, steal] = ticks(stat, core);
    (user + nice + system + irq + softirq + steal) as f64 / TICKS
}

/// Steal time of a core in seconds.
fn stolen_seconds(stat: &str, core: usize) -> f64 {
    let [.., steal] = ticks(stat, core);
    steal as f64 / TICKS
}

/// The first columns of a core's line: user, nice, system, idle, iowait, irq, softirq, steal. The
/// time of guests, which follows, is part of user.
fn ticks(stat: &str, core: usize) -> [u64; 8] {
    let name = format!("cpu{core} ");
    let line = stat.lines().find_map(|line| line.strip_prefix(&name)).unwrap_or_default();
    let mut words = line.split_whitespace();
    std::array::from_fn(|_| words.next().and_then(|word| word.parse().ok()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cores_busy_time_leaves_idling_out() {
        let stat = "cpu  1 1 1 1 1 1 1 1 0 0\ncpu0 100 10 20 5000 900 3 4 13 0 0\ncpu1 7 0 0 0 0 0 0 0 0 0\n";
        assert_eq!(
            (busy_seconds(stat, 0), busy_seconds(stat, 1), busy_seconds(stat, 2)),
            (1.5, 0.07, 0.0)
        );
        assert_eq!((stolen_seconds(stat, 0), stolen_seconds(stat, 1)), (0.13, 0.0));
    }

    #[test]
    fn what_was_used_between_readings_is_in_proportion() {
        let reading = |at_us, busy| Reading {
            at_us,
            server_core: busy,
            server: busy / 2.0,
            client_stolen: busy / 4.0,
            ..Reading::default()
        };
        let mut samples = Samples::new(Cores { server: 0, client: 1 }, 1, 0);
        samples.readings = vec![reading(0, 5.0), reading(1_000_000, 6.0), reading(2_000_000, 6.5)];
        let cpu = samples.cpu(500_000, 1_500_000).unwrap();
        assert_eq!((cpu.seconds, cpu.server_core, cpu.server), (1.0, 0.75, 0.375));
        assert_eq!((cpu.server_stolen, cpu.client_stolen), (0.0, 0.1875));
        assert!(samples.cpu(500_000, 3_000_000).is_none(), "nobody looked so late");
    }

    #[test]
    fn this_process_has_run_and_takes_memory() {
        let own = std::process::id();
        assert!(
            tree(own).contains(&own) && run_seconds(own) > 0.0 && resident_bytes(own) > 100_000
        );
        assert!(kernel_memory() > 1_000_000);
    }
}

//! The memory plan: the sum of all tables, pools, rings and stores, computed before anything is
//! allocated.
//!
//! The parts report their sizes. The result is a table to print, or an error with the number of
//! connections that would fit.

mod bytes;
mod cgroup;
mod system;

pub use bytes::Bytes;
pub use system::{Bound, tightest};

use crate::error::{Error, Result};
use std::fmt;

/// The name of the row that `--memory` sets.
pub(crate) const STORE: &str = "store of memcached";

/// One kind of allocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its name: "connections", "UMEM frames".
    pub what: &'static str,
    /// Number of objects.
    pub count: u64,
    /// Bytes of each object.
    pub bytes_each: u64,
}

impl Row {
    /// Bytes of all objects together.
    pub fn bytes(&self) -> u64 {
        self.count.saturating_mul(self.bytes_each)
    }
}

/// All memory that will be allocated. `Display` prints a table with the sum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    rows: Vec<Row>,
}

/// The limit of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// `--memory-limit`, in bytes.
    Flag(u64),
    /// The machine's memory, in bytes.
    Machine(u64),
}

impl Limit {
    /// The value of the flag if given, otherwise the machine's memory.
    pub fn from_flag(memory_limit_bytes: Option<u64>) -> Limit {
        match memory_limit_bytes {
            Some(bytes) => Limit::Flag(bytes),
            None => {
                let system = rustix::system::sysinfo();
                // The kernel's unsigned long and int: no loss on 64-bit machines.
                Limit::Machine((system.totalram as u64).saturating_mul(u64::from(system.mem_unit)))
            }
        }
    }

    /// The limit, in bytes.
    pub(crate) fn bytes(self) -> u64 {
        match self {
            Limit::Flag(bytes) | Limit::Machine(bytes) => bytes,
        }
    }
}

impl Plan {
    /// An empty plan.
    pub fn new() -> Plan {
        Plan::default()
    }

    /// Adds `count` objects of `bytes_each` bytes.
    #[must_use]
    pub fn add(mut self, what: &'static str, count: usize, bytes_each: usize) -> Plan {
        self.rows.push(Row { what, count: count as u64, bytes_each: bytes_each as u64 });
        self
    }

    /// The rows, in the order in which they were added.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The sum, and the largest part of it, as the user knows it.
    fn with_largest(&self) -> String {
        let total = Bytes(self.total_bytes());
        let Some(row) = self.rows.iter().max_by_key(|row| row.bytes()) else {
            return total.to_string();
        };
        let name = if row.what == STORE { format!("{STORE} (--memory)") } else { row.what.into() };
        format!("{total}, of which {name} takes {}", Bytes(row.bytes()))
    }

    /// The sum of all rows, in bytes.
    pub fn total_bytes(&self) -> u64 {
        self.rows.iter().map(Row::bytes).fold(0, u64::saturating_add)
    }
}

/// The plan for `connections` if it fits `limit`. Otherwise an error with the number of connections
/// that would fit.
///
/// `plan` must not take less memory for more connections.
pub fn check(limit: Limit, connections: u32, plan: impl Fn(u32) -> Plan) -> Result<Plan> {
    let wanted = plan(connections);
    let needed = wanted.total_bytes();
    if needed <= limit.bytes() {
        return Ok(wanted);
    }
    let fits = |connections: u32| plan(connections).total_bytes() <= limit.bytes();
    let fit = largest(connections, fits);
    let remedy = match fit {
        0 => format!("even one connection needs {}", plan(1).with_largest()),
        fit => format!("--connections {fit} would fit"),
    };
    let enough = megabytes(needed);
    Err(Error::usage(match limit {
        Limit::Flag(bytes) => format!(
            "--memory-limit {}: {connections} connections need {}; {remedy}, or give --memory-limit {enough}M\n{wanted}",
            Bytes(bytes),
            Bytes(needed)
        ),
        Limit::Machine(bytes) if fit == 0 => {
            format!("{remedy}, and this machine has {}\n{wanted}", Bytes(bytes))
        }
        Limit::Machine(bytes) => format!(
            "--connections {connections}: they need {}, and this machine has {}; {remedy}\n{wanted}",
            Bytes(needed),
            Bytes(bytes)
        ),
    }))
}

/// Fails if the plan for `connections` exceeds what `bound` leaves. Otherwise the system would kill
/// the process or refuse it memory later, without an explanation.
pub fn check_bound(bound: &Bound, connections: u32, plan: impl Fn(u32) -> Plan) -> Result<()> {
    let wanted = plan(connections);
    let left = bound.left_bytes();
    if wanted.total_bytes() <= left {
        return Ok(());
    }
    let leaves = format!("{} of {} leaves {}", bound.name, Bytes(bound.limit_bytes), Bytes(left));
    let text = match largest(connections, |connections| plan(connections).total_bytes() <= left) {
        0 => format!(
            "even one connection needs {}, and {leaves}; lower that",
            plan(1).with_largest()
        ),
        fit => format!(
            "--connections {connections}: they need {}, and {leaves}; --connections {fit} would fit",
            Bytes(wanted.total_bytes())
        ),
    };
    Err(Error::usage(format!("{text}, or {}\n{wanted}", bound.remedy)))
}

/// The largest number below `end` for which `fits` holds; 0 if there is none. If `fits` holds for a
/// number, it must hold for all smaller ones.
fn largest(end: u32, fits: impl Fn(u32) -> bool) -> u32 {
    let (mut fitting, mut failing) = (0, end);
    while failing - fitting > 1 {
        let middle = fitting + (failing - fitting) / 2;
        if fits(middle) {
            fitting = middle;
        } else {
            failing = middle;
        }
    }
    fitting
}

/// Megabytes, rounded up, in the unit of `--memory-limit`.
fn megabytes(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = "memory in all";
        let shown = || self.rows.iter().filter(|row| row.bytes() > 0);
        let width = shown().map(|row| row.what.len()).chain([total.len()]).max().unwrap_or(0);
        for row in shown() {
            writeln!(
                f,
                "{:width$}  {:>10}  × {:>12}  {:>12}",
                row.what,
                row.count,
                Bytes(row.bytes_each).to_string(),
                Bytes(row.bytes()).to_string()
            )?;
        }
        write!(
            f,
            "{total:width$}  {:>10}    {:>12}  {:>12}",
            "",
            "",
            Bytes(self.total_bytes()).to_string()
        )
    }
}

#[cfg(test)]
#[path = "limits_tests.rs"]
mod tests;

//! How many instructions the stack takes for a request: what an addition to it costs, without the clock's noise.
//!
//! Each scenario runs under `valgrind --tool=callgrind`, which counts only what happens inside a worker's turn
//! (`Bench::offer`): receive, expire, flush. Prints one line a scenario; the count repeats to within a few
//! instructions, so that two commits compare. Without valgrind it says so and measures nothing.

#![allow(clippy::print_stdout, reason = "counts are not times, so criterion cannot report them")]

mod turn;

use std::process::Command;
use turn::Bench;

/// Connections open in each scenario.
const CONNECTIONS: u32 = 1000;
/// Bursts that are not counted, until every table and list is in use.
const WARM_UP_BURSTS: usize = 100;
/// Bursts that are.
const BURSTS: usize = 400;
/// Bytes of the large answer.
const LARGE_BYTES: usize = 64 * 1024;

/// What is counted, per request: the smallest answer, the same with acknowledgements of their own, and an answer
/// of many segments.
const SCENARIOS: [(&str, Scenario); 3] = [
    ("request", Scenario::Small),
    ("request and acknowledgement", Scenario::Acknowledged),
    ("64 KiB", Scenario::Large),
];

#[derive(Clone, Copy)]
enum Scenario {
    Small,
    Acknowledged,
    Large,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, flag, name] = &arguments[..]
        && flag == "--measure"
    {
        let (_, scenario) = SCENARIOS.iter().find(|(known, _)| known == name).expect("a scenario's name");
        return run(*scenario);
    }
    for (name, _) in SCENARIOS {
        match count(name) {
            Some(instructions) => println!("{name:<30} {instructions:>8.0} instructions"),
            None => return println!("valgrind is not installed or failed: instructions are not counted"),
        }
    }
}

/// Runs one scenario under callgrind and reads what it collected.
fn count(name: &str) -> Option<f64> {
    let program = std::env::current_exe().ok()?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=*Bench*offer_counted*"])
        .arg(program)
        .args(["--measure", name])
        .output()
        .ok()?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let collected = told.lines().find_map(|line| line.split_once("Collected : "))?.1.trim().parse::<f64>().ok()?;
    let requests: f64 = String::from_utf8_lossy(&output.stdout).lines().last()?.parse().ok()?;
    Some(collected / requests)
}

/// What callgrind looks at; the last line printed is how many requests were counted.
fn run(scenario: Scenario) {
    let mut bench = Bench::new(CONNECTIONS);
    if let Scenario::Large = scenario {
        bench.answer_with(LARGE_BYTES);
    }
    let mut requests = 0;
    for burst in 0..WARM_UP_BURSTS + BURSTS {
        bench.counts = burst >= WARM_UP_BURSTS;
        bench.counts_acks = bench.counts && !matches!(scenario, Scenario::Small);
        match scenario {
            Scenario::Large => requests += bench.large(LARGE_BYTES as u32) * usize::from(bench.counts),
            _ => {
                bench.burst();
                requests += bench.size() * usize::from(bench.counts);
            }
        }
    }
    println!("{requests}");
}

//! How many instructions the stack takes for a request, and the handlers of HTTP and memcached,
//! with its store: what an addition to them costs, without the clock's noise. Handlers are counted
//! as the server runs them, with their panics contained; and without that, to tell what it costs.
//!
//! Each scenario runs under `valgrind --tool=callgrind`, which counts only what happens inside a
//! worker's turn (`Bench::offer`): receive, expire, flush; or in the handler
//! (`HandlerBench::offer`). Prints one line a scenario; the count repeats to within a few
//! instructions, so that two commits compare. Without valgrind it says so and measures nothing.

#![allow(clippy::print_stdout, reason = "counts are not times, so criterion cannot report them")]

mod turn;

use simoom::app::contained::Contained;
use simoom::app::testing::{Line, services};
use simoom_io::Application;
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
/// Keys that are asked for in turn, each with a value of 100 bytes.
const KEYS: usize = 10_000;

/// What is counted, per request: the smallest answer, the same with acknowledgements of their own,
/// and an answer of many segments; of memcached per key.
const SCENARIOS: [(&str, Scenario); 10] = [
    ("request", Scenario::Small),
    ("request and acknowledgement", Scenario::Acknowledged),
    ("64 KiB", Scenario::Large),
    ("get", Scenario::Get { keys: 1, lines: 1 }),
    ("get of 10 keys, each", Scenario::Get { keys: 10, lines: 1 }),
    ("get, 16 sent at once, each", Scenario::Get { keys: 1, lines: 16 }),
    ("set", Scenario::Set),
    ("get, panics not contained", Scenario::BareGet),
    ("HTTP", Scenario::Http),
    ("HTTP, panics not contained", Scenario::BareHttp),
];

#[derive(Clone, Copy)]
enum Scenario {
    Small,
    Acknowledged,
    Large,
    /// Requests of so many keys, so many at once.
    Get {
        keys: usize,
        lines: usize,
    },
    Set,
    /// As a get of one key.
    BareGet,
    /// Requests for a small file, over and over.
    Http,
    BareHttp,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, flag, name] = &arguments[..]
        && flag == "--measure"
    {
        let (_, scenario) =
            SCENARIOS.iter().find(|(known, _)| known == name).expect("a scenario's name");
        return match scenario {
            Scenario::Get { .. } | Scenario::Set => run_keys(*scenario, Contained::new(services())),
            Scenario::BareGet => run_keys(Scenario::Get { keys: 1, lines: 1 }, services()),
            Scenario::Http => run_http(Contained::new(services())),
            Scenario::BareHttp => run_http(services()),
            _ => run(*scenario),
        };
    }
    for (name, _) in SCENARIOS {
        match count(name) {
            Some(instructions) => println!("{name:<30} {instructions:>8.0} instructions"),
            None => {
                return println!(
                    "valgrind is not installed or failed: instructions are not counted"
                );
            }
        }
    }
}

/// Runs one scenario under callgrind and reads what it collected.
fn count(name: &str) -> Option<f64> {
    let program = std::env::current_exe().ok()?;
    let output = Command::new("valgrind")
        .args([
            "--tool=callgrind",
            "--callgrind-out-file=/dev/null",
            "--toggle-collect=*Bench*offer_counted*",
        ])
        .arg(program)
        .args(["--measure", name])
        .output()
        .ok()?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let collected = told
        .lines()
        .find_map(|line| line.split_once("Collected : "))?
        .1
        .trim()
        .parse::<f64>()
        .ok()?;
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
            Scenario::Large => {
                requests += bench.large(LARGE_BYTES as u32) * usize::from(bench.counts);
            }
            _ => {
                bench.burst();
                requests += bench.size() * usize::from(bench.counts);
            }
        }
    }
    println!("{requests}");
}

/// A connection to a handler.
struct HandlerBench<A: Application>(Line<A>);

impl<A: Application> HandlerBench<A> {
    fn offer(&mut self, input: &[u8]) {
        assert_eq!(self.0.offer_in_place(input), input.len());
        self.0.acknowledge(self.0.queued());
    }

    /// What a count of instructions looks at, by this name.
    #[inline(never)]
    fn offer_counted(&mut self, input: &[u8]) {
        self.offer(input);
    }
}

fn set(key: usize) -> String {
    format!("set key:{key:08} 0 0 100\r\n{}\r\n", "x".repeat(100))
}

/// As [`run`], for a handler of HTTP.
fn run_http<A: Application>(app: A) {
    let mut bench = HandlerBench(Line::open(app, 80));
    let request = b"GET /12 HTTP/1.1\r\nHost: 198.18.0.1:8080\r\n\r\n";
    (0..WARM_UP_BURSTS).for_each(|_| bench.offer(request));
    (0..BURSTS).for_each(|_| bench.offer_counted(request));
    println!("{BURSTS}");
}

/// As [`run`], for keys that are asked for in turn.
fn run_keys<A: Application>(scenario: Scenario, app: A) {
    let (keys, lines) = match scenario {
        Scenario::Get { keys, lines } => (keys, lines),
        _ => (1, 1),
    };
    let mut bench = HandlerBench(Line::open(app, 11211));
    (0..KEYS).for_each(|key| bench.offer(set(key).as_bytes()));
    // A step without a common divisor visits all keys, far apart.
    let mut order = (0..).map(|index| index * 7919 % KEYS);
    for _ in 0..BURSTS {
        let mut asked = || {
            (0..keys)
                .map(|_| format!(" key:{:08}", order.next().expect("endless")))
                .collect::<String>()
        };
        let input: String = match scenario {
            Scenario::Set => set(order.next().expect("endless")),
            _ => (0..lines).map(|_| format!("get{}\r\n", asked())).collect(),
        };
        bench.offer_counted(input.as_bytes());
    }
    println!("{}", BURSTS * keys * lines);
}

//! Instructions of the stack and of the handlers for a request: the cost of a change, without the
//! noise of a clock. The handlers of HTTP and memcached (with its store) are counted as the server
//! runs them, with panics contained, and without that.
//!
//! Each scenario runs under `valgrind --tool=callgrind`, which counts only within one iteration of
//! a worker (`Bench::deliver`): receive, expire, flush; or within the handler
//! (`HandlerBench::deliver`). Prints one line for each scenario. Counts repeat to within a few
//! instructions, so that two commits can be compared. Without valgrind it prints that it needs it,
//! and measures nothing.

#![allow(clippy::print_stdout, reason = "counts are not times, so criterion cannot report them")]

mod stack_bench;

use simoom::app::contained::Contained;
use simoom::app::testing::{Line, services};
use simoom_io::Application;
use simoom_tcp::{BURST, TxChecksum};
use stack_bench::Bench;
use std::process::Command;

/// Connections open in each scenario.
const CONNECTIONS: u32 = 1000;
/// Capacity for more of them. With less than four bursts, SYNs would be answered with cookies.
const SPARE: u32 = 4 * BURST as u32;
/// Bursts before counting begins. Then every table and list is in use.
const WARM_UP_BURSTS: usize = 100;
/// Bursts that are counted.
const BURSTS: usize = 400;
/// Size of the large response, in bytes.
const LARGE_BYTES: usize = 64 * 1024;
/// Size of a file in three segments, of which the first has a head too.
const FILE_BYTES: usize = 4 * 1024;
/// Keys requested in turn, each with a value of 100 bytes.
const KEYS: usize = 10_000;

/// The scenarios. Counts are for one request, or for one key of memcached. The stack answers with
/// one small segment, with and without separate acknowledgements or on a connection of its own, and
/// with many segments.
const SCENARIOS: [(&str, Scenario); 17] = [
    ("request", Scenario::Small),
    ("request and acknowledgement", Scenario::Acknowledged),
    ("connection of one request", Scenario::Connection),
    ("64 KiB", Scenario::Large),
    ("64 KiB, stored checksums", Scenario::LargeStored),
    ("4 KiB, head, stored checksums", Scenario::FileStored),
    ("request, checksum offload", Scenario::SmallOffloaded),
    ("64 KiB, checksum offload", Scenario::LargeOffloaded),
    ("64 KiB, segmentation offload", Scenario::LargeSegmented),
    ("get", Scenario::Get { keys: 1, lines: 1 }),
    ("get of 10 keys, each", Scenario::Get { keys: 10, lines: 1 }),
    ("get, 16 sent at once, each", Scenario::Get { keys: 1, lines: 16 }),
    ("meta get of the value", Scenario::MetaGet),
    ("set", Scenario::Set),
    ("get, panics not contained", Scenario::BareGet),
    ("HTTP", Scenario::Http),
    ("HTTP, panics not contained", Scenario::BareHttp),
];

#[derive(Clone, Copy)]
enum Scenario {
    Small,
    Acknowledged,
    /// From the SYN to TIME-WAIT.
    Connection,
    Large,
    /// With checksums stored with the bytes of the answer, as those of a file are.
    LargeStored,
    /// A file of a few segments, as HTTP sends it.
    FileStored,
    /// With checksums that the NIC completes.
    SmallOffloaded,
    LargeOffloaded,
    /// In packets that the kernel or the NIC cuts.
    LargeSegmented,
    /// `lines` requests at once, with `keys` keys each.
    Get {
        keys: usize,
        lines: usize,
    },
    /// `mg KEY v`.
    MetaGet,
    Set,
    /// A get of one key, without contained panics.
    BareGet,
    /// Requests for one small file.
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
            Scenario::Get { .. } | Scenario::MetaGet | Scenario::Set => {
                run_keys(*scenario, Contained::new(services()));
            }
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

/// Runs one scenario under callgrind and parses its output.
fn count(name: &str) -> Option<f64> {
    let program = std::env::current_exe().ok()?;
    let output = Command::new("valgrind")
        // A string instruction would count once for each byte that it copies.
        .env("GLIBC_TUNABLES", "glibc.cpu.x86_rep_movsb_threshold=0x10000000")
        .args([
            "--tool=callgrind",
            "--callgrind-out-file=/dev/null",
            "--toggle-collect=*Bench*deliver_counted*",
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

/// The program that callgrind runs. Its last line is the number of counted requests.
fn run(scenario: Scenario) {
    let is_large = matches!(
        scenario,
        Scenario::Large
            | Scenario::LargeStored
            | Scenario::FileStored
            | Scenario::LargeOffloaded
            | Scenario::LargeSegmented
    );
    let tx_checksum = match scenario {
        Scenario::SmallOffloaded | Scenario::LargeOffloaded => TxChecksum::Partial,
        _ => TxChecksum::Full,
    };
    let mut bench = match scenario {
        Scenario::Connection => Bench::with_spare(CONNECTIONS, SPARE, tx_checksum),
        _ => Bench::with_checksum(CONNECTIONS, tx_checksum),
    };
    if is_large {
        bench.answer_with(LARGE_BYTES);
    }
    if matches!(scenario, Scenario::LargeStored | Scenario::FileStored) {
        bench.store_sums();
    }
    if matches!(scenario, Scenario::FileStored) {
        bench.answer_with(FILE_BYTES);
        bench.add_head();
    }
    if matches!(scenario, Scenario::LargeSegmented) {
        bench.take_gso();
    }
    let mut requests = 0;
    for burst in 0..WARM_UP_BURSTS + BURSTS {
        bench.counts = burst >= WARM_UP_BURSTS;
        let is_small = matches!(scenario, Scenario::Small | Scenario::SmallOffloaded);
        bench.counts_acks = bench.counts && !is_small;
        if matches!(scenario, Scenario::Connection) {
            requests += bench.connections() * usize::from(bench.counts);
            continue;
        }
        match is_large {
            true => {
                requests += bench.large() * usize::from(bench.counts);
            }
            false => {
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
    fn deliver(&mut self, input: &[u8]) {
        assert_eq!(self.0.offer_in_place(input), input.len());
        self.0.acknowledge(self.0.queued());
    }

    /// callgrind counts within functions of this name.
    #[inline(never)]
    fn deliver_counted(&mut self, input: &[u8]) {
        self.deliver(input);
    }
}

fn set(key: usize) -> String {
    format!("set key:{key:08} 0 0 100\r\n{}\r\n", "x".repeat(100))
}

/// As [`run`], for the HTTP handler.
fn run_http<A: Application>(app: A) {
    let mut bench = HandlerBench(Line::open(app, 80));
    let request = b"GET /12 HTTP/1.1\r\nHost: 198.18.0.1:8080\r\n\r\n";
    (0..WARM_UP_BURSTS).for_each(|_| bench.deliver(request));
    (0..BURSTS).for_each(|_| bench.deliver_counted(request));
    println!("{BURSTS}");
}

/// As [`run`], for keys requested in turn.
fn run_keys<A: Application>(scenario: Scenario, app: A) {
    let (keys, lines) = match scenario {
        Scenario::Get { keys, lines } => (keys, lines),
        _ => (1, 1),
    };
    let mut bench = HandlerBench(Line::open(app, 11211));
    (0..KEYS).for_each(|key| bench.deliver(set(key).as_bytes()));
    // The step has no common divisor with KEYS, so it visits all keys, far apart.
    let mut order = (0..).map(|index| index * 7919 % KEYS);
    for _ in 0..BURSTS {
        let mut asked = || {
            (0..keys)
                .map(|_| format!(" key:{:08}", order.next().expect("endless")))
                .collect::<String>()
        };
        let input: String = match scenario {
            Scenario::Set => set(order.next().expect("endless")),
            Scenario::MetaGet => format!("mg{} v\r\n", asked()),
            _ => (0..lines).map(|_| format!("get{}\r\n", asked())).collect(),
        };
        bench.deliver_counted(input.as_bytes());
    }
    println!("{}", BURSTS * keys * lines);
}

//! What holds however clients behave, and what is as before once they are gone.

use crate::TEST_TIMEOUT;
use crate::hostile::resident_bytes;
use crate::site::Site;
use std::time::{Duration, Instant};

/// What a process takes beside its plan: the program itself, stacks, the allocator.
const BESIDE_PLAN: u64 = 48 << 20;
/// Gauges that return to where they were.
const GAUGES: [&str; 3] =
    ["connections_open", "memcached_reserved_bytes", "memcached_frames_pinned"];

/// The state before the hostile clients came.
pub struct Baseline {
    descriptors: usize,
    gauges: Vec<u64>,
}

impl Baseline {
    pub fn take(site: &Site) -> Baseline {
        // Counted first: asking for metrics opens a descriptor, which closes a little later.
        let descriptors = descriptors(site);
        site.wait_for("connections_open", 2);
        Baseline { descriptors, gauges: gauges(site) }
    }

    /// Checks what always holds, then waits until all that the hostile clients took is free.
    pub fn is_reached_again(&self, site: &mut Site, what: &str) {
        let log = site.log();
        assert!(site.process.is_running(), "{what}: the server ended:\n{log}");
        let is_failed = log.contains("panic") || log.contains("\"ERROR\"");
        assert!(!is_failed, "{what}: a worker failed:\n{log}");
        let (resident, plan) = (resident_bytes(site), planned_bytes(&log));
        assert!(
            resident <= plan + BESIDE_PLAN,
            "{what}: {resident} bytes resident of {plan} planned"
        );
        let deadline = Instant::now() + TEST_TIMEOUT;
        loop {
            let (descriptors, gauges) = (descriptors(site), gauges(site));
            let is_free = gauges.iter().zip(&self.gauges).all(|(now, before)| now <= before);
            if is_free && descriptors <= self.descriptors {
                break;
            }
            assert!(
                Instant::now() < deadline,
                "{what}: not free after {TEST_TIMEOUT:?}: {GAUGES:?} {gauges:?}, before {:?}; \
                 {descriptors} descriptors, before {}; metrics:\n{}",
                self.gauges,
                self.descriptors,
                site.metrics()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn gauges(site: &Site) -> Vec<u64> {
    GAUGES.iter().map(|name| site.counter(name)).collect()
}

fn descriptors(site: &Site) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", site.process.id())).unwrap().count()
}

/// The sum that the memory plan in the log ends with, such as `18.1 MiB`.
fn planned_bytes(log: &str) -> u64 {
    let (_, rest) = log.split_once("memory in all").expect("the log has the plan");
    let mut words = rest.split(|c: char| c.is_whitespace() || c == '"');
    let mut word = || words.find(|word| !word.is_empty()).unwrap();
    let number: f64 = word().parse().unwrap();
    let shift = match word() {
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        unit => panic!("{unit} in the plan"),
    };
    (number * f64::from(1 << shift)) as u64
}

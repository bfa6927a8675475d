//! Every event of RFC 9293 §3.10 in every state: the packet scripts bring each about, and after
//! each the connection is in a state that the RFC lets follow. What cannot be is listed with the
//! reason. Prints the table.

#![allow(clippy::print_stdout, reason = "the table is what the test is for")]

mod states;

use simoom_tcp::testing::coverage::{Event, STATES};
use simoom_tcp::testing::{Coverage, script};
use states::{expected, faults};
use std::path::PathBuf;

fn of_scripts() -> Coverage {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut coverage = Coverage::default();
    for entry in std::fs::read_dir(&folder).expect("the folder of scripts") {
        let path = entry.expect("an entry of the folder").path();
        let text = std::fs::read_to_string(&path).expect("a script is readable text");
        script::run_covering(&path.display().to_string(), &text, &mut coverage)
            .expect("every script runs");
    }
    coverage
}

#[test]
fn the_scripts_bring_every_event_to_every_state() {
    let coverage = of_scripts();
    println!("{coverage}");
    for (state, event) in
        STATES.into_iter().flat_map(|state| Event::ALL.map(|event| (state, event)))
    {
        if let Err(why) = expected(state, event) {
            println!("{state}, {event:?}: {why}");
        }
    }
    println!("{} pairs of state and event", coverage.len());
    let faults = faults(&coverage, true);
    assert!(faults.is_empty(), "{} pairs are at fault:\n{}", faults.len(), faults.join("\n"));
}

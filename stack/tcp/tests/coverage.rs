//! Every event of RFC 9293 §3.10 in every state: the packet scripts bring each about, and after
//! each the connection is in a state that the RFC lets follow. What cannot be is listed with the
//! reason. Prints the table.

#![allow(clippy::print_stdout, reason = "the table is what the test is for")]

mod states;

use simoom_tcp::Congestion;
use simoom_tcp::testing::coverage::{Event, STATES};
use simoom_tcp::testing::{Coverage, script};
use states::{expected, faults};
use std::path::PathBuf;

/// The packet scripts: their paths and texts.
fn scripts() -> impl Iterator<Item = (String, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    std::fs::read_dir(&folder).expect("the folder of scripts").map(|entry| {
        let path = entry.expect("an entry of the folder").path();
        let text = std::fs::read_to_string(&path).expect("a script is readable text");
        (path.display().to_string(), text)
    })
}

fn of_scripts() -> Coverage {
    let mut coverage = Coverage::default();
    for (path, text) in scripts() {
        script::run_covering(&path, &text, &mut coverage).expect("every script runs");
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

/// The same with every controller of congestion: neither the states nor what is answered depends on
/// it, except where a script is about the window.
#[test]
fn the_scripts_bring_every_event_to_every_state_with_every_controller() {
    for congestion in Congestion::ALL {
        let (mut coverage, mut failures) = (Coverage::default(), Vec::new());
        for (path, text) in scripts() {
            let chosen = format!("set {congestion} 1\n{text}");
            let outcome = script::run_covering(&path, &chosen, &mut coverage);
            failures.extend(outcome.err().filter(|_| !is_about_the_window(&path, &text)));
        }
        println!("{congestion}: {} pairs of state and event", coverage.len());
        assert!(failures.is_empty(), "{congestion}:\n{}", failures.join("\n"));
        let faults = faults(&coverage, true);
        assert!(faults.is_empty(), "{congestion}:\n{}", faults.join("\n"));
    }
}

/// Whether a script states the window. After a timeout BBR's is four segments, not one: the last
/// line of `window_shrinks_to_zero` has one.
fn is_about_the_window(path: &str, text: &str) -> bool {
    let states = |line: &str| line.starts_with("cwnd ") || line.starts_with("ssthresh ");
    text.lines().any(states) || path.ends_with("/window_shrinks_to_zero.txt")
}

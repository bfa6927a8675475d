//! Runs every packet script under `tests/scripts`; see `simoom_tcp::testing::script` for the
//! language.

mod cells;

use simoom_tcp::testing::script;
use std::path::PathBuf;

fn scripts() -> Vec<(String, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut found: Vec<(String, String)> = std::fs::read_dir(&folder)
        .expect("the folder of scripts")
        .map(|entry| entry.expect("an entry of the folder").path())
        .map(|path| {
            let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&path).expect("a script is readable text");
            (name, text)
        })
        .collect();
    found.sort();
    found
}

fn run_all(
    over: &str,
    run: impl Fn(&str, &str) -> Result<(), String>,
    suits: impl Fn(&str, &str) -> bool,
) {
    let scripts = scripts();
    let wanted = std::env::var("SIMOOM_SCRIPT").unwrap_or_default();
    let is_chosen = |(name, text): &&(String, String)| name.contains(&wanted) && suits(name, text);
    let chosen: Vec<_> = scripts.iter().filter(is_chosen).collect();
    let failures: Vec<String> = chosen
        .iter()
        .filter_map(|(name, text)| run(&format!("tests/scripts/{name}"), text).err())
        .collect();
    assert!(
        failures.is_empty(),
        "{} of {} scripts failed:\n{}",
        failures.len(),
        chosen.len(),
        failures.join("\n")
    );
    assert!(!chosen.is_empty() || !wanted.is_empty(), "no script is named like {wanted}");
    eprintln!("{} packet scripts{over}", chosen.len());
}

#[test]
fn every_script_runs() {
    run_all("", script::run, |_, _| true);
}

/// TCP is the same over both versions. A script that names its version is about what differs.
#[test]
fn every_script_runs_over_ipv6() {
    run_all(" over IPv6", script::run_over_ipv6, |_, text| {
        !text.contains("set ipv6") && !text.contains(" arp ")
    });
}

#[test]
fn every_script_says_what_it_shows_and_fits_a_page() {
    for (name, text) in scripts() {
        assert!(text.starts_with("# RFC ") || text.starts_with("# Simoom"), "{name} cites nothing");
        assert!(text.lines().count() <= 60, "{name} is longer than a page");
    }
}

/// The runner itself: a wrong script must fail, and report its line.
#[test]
fn a_wrong_script_fails_at_its_line() {
    let syn = "< SYN seq 0 win 65535 mss 1460\n";
    for (script, error) in [
        (
            format!("{syn}> SYN ACK seq 0 ack 1 mss 1459"),
            ":2: `> SYN ACK seq 0 ack 1 mss 1459`: came `> SYN ACK",
        ),
        (
            format!("{syn}+5 > SYN ACK seq 0 ack 1 mss 1460"),
            ":2: `+5 > SYN ACK seq 0 ack 1 mss 1460`: at 0 ms",
        ),
        (format!("{syn}quiet 10"), ":2: `quiet 10`: expected nothing, but at 0 ms came `> SYN ACK"),
        (syn.to_owned(), ": at the end: expected nothing, but at 0 ms came"),
        (
            "established\nquiet 10\n> ACK seq 1 ack 1".to_owned(),
            ":3: `> ACK seq 1 ack 1`: nothing came",
        ),
        ("established\nstate CLOSED".to_owned(), ":2: `state CLOSED`: it is ESTABLISHED"),
        ("established\nreceived 1".to_owned(), ":2: `received 1`: it is 0"),
        ("established\nhello".to_owned(), ":2: `hello` is no statement"),
        ("< SYN seq zero".to_owned(), ":1: `zero` is not a number"),
        (
            "established\nset mtu 1400".to_owned(),
            ":2: `set mtu 1400`: settings come before all else",
        ),
    ] {
        let told = script::run("it", &script).expect_err(&script);
        assert!(told.starts_with(&format!("it{error}")), "{script}\ntold: {told}");
    }
}

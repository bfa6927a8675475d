//! `simoom demo` as its users meet it: what it prints, how it ends, and that it leaves nothing
//! behind.

mod common;

use common::TEST_TIMEOUT;
use common::{Process, need_root, run, run_as_nobody, simoom};
use rustix::process::Signal;
use std::io::{BufRead, BufReader};
use std::process::{Output, Stdio};

fn stdout(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The table's line of `protocol` over `transport`: its mode, requests and errors.
fn row(text: &str, protocol: &str, transport: &str) -> (String, u64, u64) {
    let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<&str>>());
    let cells =
        lines.filter(|cells| cells.len() >= 5).find(|cells| cells[..2] == [protocol, transport]);
    let cells = cells
        .unwrap_or_else(|| panic!("the table has no line of {protocol} over {transport}:\n{text}"));
    let number = |cell: &str| cell.replace(',', "").parse().unwrap();
    (cells[2].into(), number(cells[3]), number(cells[4]))
}

/// What the lines of a transport are like: the requests of both protocols went well.
fn transport_rows(text: &str, transport: &str, expected_mode: &str) {
    for protocol in ["HTTP", "memcached"] {
        let (mode, requests, errors) = row(text, protocol, transport);
        assert!(
            mode == expected_mode && requests > 0 && errors == 0,
            "{protocol} over {transport}:\n{text}"
        );
    }
}

/// The lines of the kernel's sockets, whichever ways this machine allows, are as they should be.
fn kernel_rows(text: &str) {
    let io_uring = simoom::kernel::io_uring().is_ok().then_some("io_uring");
    let transports: Vec<&str> = io_uring.into_iter().chain(["epoll"]).collect();
    for transport in &transports {
        transport_rows(text, transport, "-");
    }
    let served = text.matches("Serving ").count();
    assert!(served >= transports.len(), "{text}");
    for answered in [
        "set visits 0 0 2 | 41 -> STORED",
        "incr visits 1 -> 42",
        "get visits -> VALUE visits 0 2 | 42 | END",
        "gets visits -> VALUE visits 0 2 2 | 42 | END",
    ] {
        assert_eq!(
            text.lines().filter(|line| line.trim() == answered).count(),
            served,
            "{answered}:\n{text}"
        );
    }
}

/// The interfaces here. Other tests make theirs in namespaces of their own.
fn interfaces() -> Vec<String> {
    simoom::netns::interfaces().into_iter().map(|interface| interface.name).collect()
}

#[test]
fn as_root_every_transport_answers_without_error() {
    if !need_root() {
        return;
    }
    let text = stdout(&run(["demo"]));
    transport_rows(&text, "AF_XDP", "generic");
    kernel_rows(&text);
    assert!(text.contains("its kernel's TCP accepted 0 connections"), "{text}");
}

#[test]
fn without_root_loopback_answers_and_what_is_missing_is_told() {
    if !need_root() {
        return;
    }
    let text = stdout(&run_as_nobody("demo"));
    kernel_rows(&text);
    assert!(text.contains("run as root") && text.contains("As root this would"), "{text}");
}

#[test]
fn an_interrupt_ends_it_and_leaves_nothing() {
    if !need_root() {
        return;
    }
    let before = interfaces();
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mut process =
            Process::start(simoom().arg("demo").stdout(Stdio::piped()).stderr(Stdio::piped()));
        let mut lines = BufReader::new(process.child().stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().starts_with("Serving ")), "it never served");
        process.signal(signal);
        assert_eq!(process.wait(TEST_TIMEOUT).code(), Some(code));
        assert_eq!(process.stderr().trim(), "interrupted; nothing is left behind");
        assert!(
            !lines.any(|line| line.unwrap().contains("requests/s")),
            "the table is not printed"
        );
    }
    assert_eq!(interfaces(), before);
}

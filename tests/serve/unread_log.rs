//! A log that nobody reads: standard error is a full pipe.

use crate::addresses::claim;
use crate::client::Client;
use crate::common::{Network, need_program, wait_until};
use crate::site::{LARGE, Plan, Site, Transport, UNREAD_BYTES, at};
use crate::wire::Wire;
use crate::{TEST_TIMEOUT, over_all};
use rustix::net::sockopt;
use rustix::process::Signal;
use std::io::{BufRead, BufReader, PipeReader};
use std::net::IpAddr;

over_all!(a_server_with_an_unread_log_serves_and_ends, a_second_signal_ends_it_with_an_unread_log);

/// Starts a server and lets it log until its pipe is full.
fn start(plan: Plan) -> Option<(Site, BufReader<PipeReader>)> {
    let network = plan.network()?;
    Some(start_in(network, plan))
}

fn start_in(network: Network, plan: Plan) -> (Site, BufReader<PipeReader>) {
    let (reader, writer) = std::io::pipe().unwrap();
    let (site, mut log) = plan.start_unread_in(network, reader, writer);
    let mut line = String::new();
    site.process.signal(Signal::USR2);
    while !line.ends_with("\"SIGUSR2\"}\n") {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "the server ended");
    }
    wait_until("the pipe has no space for another line", TEST_TIMEOUT, || {
        site.process.signal(Signal::USR2);
        let unread = rustix::io::ioctl_fionread(log.get_ref()).unwrap() as usize;
        unread + line.len() > UNREAD_BYTES
    });
    (site, log)
}

/// A thread that is stuck in a write would not act on the signal either: `SIGUSR2` is logged.
fn a_server_with_an_unread_log_serves_and_ends(transport: Transport) {
    let Some((mut site, _log)) = start(Plan::new(transport).with("--drain-timeout 1s")) else {
        return;
    };
    (0..20).for_each(|_| site.process.signal(Signal::USR2));
    site.serves_others();
    assert_eq!(site.terminate().code(), Some(0));
}

fn a_second_signal_ends_it_with_an_unread_log(transport: Transport) {
    let Some((mut site, _log)) = start(Plan::new(transport).with("--drain-timeout 1h")) else {
        return;
    };
    let mut open: Client = site.connect();
    sockopt::set_socket_recv_buffer_size(&open.stream, 16 << 10).unwrap();
    open.request(LARGE);
    assert!(open.head().starts_with("HTTP/1.1 200 "));
    site.process.signal(Signal::TERM);
    wait_until("it drains", TEST_TIMEOUT, || {
        site.admin("/readyz").ends_with("not ready: draining\n")
    });
    assert!(site.process.is_running(), "a download is open");
    assert_eq!(site.terminate().code(), Some(0));
}

/// The worker logs the claim before it publishes that it counted it.
#[test]
fn a_claimed_address_is_served_with_an_unread_log() {
    let plan = Plan::new(Transport::Xdp);
    let Some(network) = plan.network() else { return };
    let IpAddr::V4(own) = network.address(7) else { unreachable!() };
    let plan = plan.with(&format!("--address {own} --address-probe 0"));
    let (site, _log) = start_in(network, plan);
    site.wait_for_counter("address_conflicts");
    Wire::new(&site).send(&claim(own, &site));
    site.wait_for("address_conflicts", 1);
    site.connect_to(at(own.into())).expect("/12", &site.content("/12"));
}

#[test]
fn a_failed_server_ends_with_an_unread_log() {
    if !need_program("ip") {
        return;
    }
    let Some((mut site, _log)) = start(Plan::new(Transport::Xdp).with("--drain-timeout 1s")) else {
        return;
    };
    site.run_client("ip", &["link", "delete", "c0"]);
    assert_eq!(site.process.wait(TEST_TIMEOUT).code(), Some(1));
}

/// Lines that wait while nobody reads, at least.
const QUEUED: usize = 4096;

/// The log has each queued line, then the number of lost ones, and in the end its last line.
fn is_read_late((mut site, log): (Site, BufReader<PipeReader>)) {
    wait_until("lines are lost", TEST_TIMEOUT, || {
        for signal in [Signal::HUP, Signal::USR1, Signal::USR2, Signal::ALARM].repeat(500) {
            site.process.signal(signal);
        }
        site.counter("log_lines_lost") > 0
    });
    let lines = log.lines().map(Result::unwrap);
    let mut lines =
        lines.map(|line| serde_json::from_str::<serde_json::Value>(&line).expect("whole lines"));
    let is_report = |line: &serde_json::Value| {
        line["message"].as_str().unwrap().contains("lines of the log were lost")
    };
    let queued = lines.by_ref().take_while(|line| !is_report(line)).count();
    assert!(queued >= QUEUED, "{queued} lines before the report");
    site.process.signal(Signal::TERM);
    assert_eq!(lines.last().expect("lines of the end")["message"], "stopped");
    assert_eq!(site.process.wait(TEST_TIMEOUT).code(), Some(0));
}

#[test]
fn a_log_that_is_read_late_says_how_many_lines_were_lost() {
    start(Plan::new(Transport::Epoll)).into_iter().for_each(is_read_late);
}

/// A process that shares the pipe may make it non-blocking.
#[test]
fn a_log_to_a_non_blocking_pipe_waits_for_the_reader() {
    let Some(network) = Plan::new(Transport::Epoll).network() else { return };
    let (reader, writer) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    is_read_late(Plan::new(Transport::Epoll).start_unread_in(network, reader, writer));
}

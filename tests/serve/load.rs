//! Many at once: wrk(1) must see no error.

use crate::common::{Process, need_program, wait_until};
use crate::site::{Plan, Site, Transport};
use crate::{TEST_TIMEOUT, over_all};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

/// SYNs that are lost when ten thousand come at once are repeated after up to half a minute.
const LOAD_TIMEOUT: Duration = Duration::from_secs(180);

over_all!(a_hundred_connections_see_no_error, ten_thousand_connections_see_no_error);

/// Lets wrk load the server until `enough` is so, and fails if it reports an error of any kind;
/// returns how many requests were answered.
fn wrk(site: &Site, connections: u64, enough: impl FnMut() -> bool) -> u64 {
    let url = format!("http://{}/12", site.address());
    let mut command = Command::new("wrk");
    command.args(["-t1", &format!("-c{connections}"), "-d600", "--timeout", "600", &url]);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut wrk = site.network.client.run(|| Process::start(&mut command));
    wait_until("the load was enough", LOAD_TIMEOUT, enough);
    // At an interrupt it stops sending and reports.
    wrk.signal(Signal::INT);
    assert!(wrk.wait(TEST_TIMEOUT).success());
    let mut report = String::new();
    wrk.child()
        .stdout
        .take()
        .expect("standard output is piped")
        .read_to_string(&mut report)
        .unwrap();
    assert!(
        !report.contains("Socket errors") && !report.contains("Non-2xx"),
        "{report}\n{}",
        site.log()
    );
    let requests = report.lines().find_map(|line| line.trim().split_once(" requests in "));
    requests.unwrap_or_else(|| panic!("wrk said\n{report}")).0.parse().unwrap()
}

fn a_hundred_connections_see_no_error(transport: Transport) {
    if !need_program("wrk") {
        return;
    }
    let Some(site) = Site::start(transport) else { return };
    let answered = wrk(&site, 100, || site.counter("http_requests") >= 50_000);
    site.wait_for("http_requests", answered);
}

fn ten_thousand_connections_see_no_error(transport: Transport) {
    const CONNECTIONS: u64 = 10_000;
    if !need_program("wrk") {
        return;
    }
    // Inherited by both programs.
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    if limit.maximum.is_some_and(|most| most < CONNECTIONS + 100) {
        return crate::common::skip("needs a hard limit of 10,100 open files");
    }
    let Some(site) = Plan::new(transport).with("--connections 10100").start() else { return };
    let mut goal = 0;
    wrk(&site, CONNECTIONS, || {
        if goal == 0 && site.counter("connections_open") >= CONNECTIONS {
            // With all of them open, so many requests more.
            goal = site.counter("http_requests") + 5 * CONNECTIONS;
        }
        goal > 0 && site.counter("http_requests") >= goal
    });
    assert_eq!(site.counter("http_responses_4xx"), 0);
}

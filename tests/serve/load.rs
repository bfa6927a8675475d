//! Many at once: wrk(1) must see no error.

use crate::common::need_program;
use crate::over_both;
use crate::site::{Plan, Site, Transport};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

over_both!(a_hundred_connections_see_no_error, ten_thousand_connections_see_no_error);

/// Runs wrk and fails if it reports an error of any kind; returns how many requests were answered.
fn wrk(site: &Site, connections: usize, seconds: usize) -> u64 {
    let (connections, seconds) = (format!("-c{connections}"), format!("-d{seconds}"));
    let url = format!("http://{}/12", site.address());
    let report = site.run_client("wrk", &["-t1", &connections, &seconds, "--timeout", "60", &url]);
    assert!(!report.contains("Socket errors") && !report.contains("Non-2xx"), "{report}\n{}", site.log());
    let requests = report.lines().find_map(|line| line.trim().split_once(" requests in "));
    requests.unwrap_or_else(|| panic!("wrk said\n{report}")).0.parse().unwrap()
}

fn a_hundred_connections_see_no_error(transport: Transport) {
    if !need_program("wrk") {
        return;
    }
    let Some(site) = Site::start(transport) else { return };
    let answered = wrk(&site, 100, 3);
    assert!(answered >= 100, "{answered} requests");
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
    let answered = wrk(&site, CONNECTIONS as usize, 8);
    assert!(answered >= CONNECTIONS, "{answered} requests");
    site.wait_for("http_connections", CONNECTIONS);
    assert_eq!(site.counter("http_responses_4xx"), 0);
}

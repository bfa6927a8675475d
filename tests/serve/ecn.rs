//! Explicit congestion notification (RFC 3168) with a client over Linux TCP that asks for it, by
//! both sides' counters.

use crate::common::need_program;
use crate::site::{LARGE, Plan, Site, Transport};

/// A server with these flags, and a client that asks for ECN.
fn start(flags: &str) -> Option<Site> {
    if !["curl", "nft", "nstat"].into_iter().all(need_program) {
        return None;
    }
    let plan = Plan::new(Transport::Xdp).with(flags);
    let network = plan.network()?;
    network.client.run(|| std::fs::write("/proc/sys/net/ipv4/tcp_ecn", "1")).unwrap();
    Some(plan.start_in(network))
}

/// The client downloads the large file.
fn download(site: &Site) {
    let to = tempfile::NamedTempFile::new().unwrap();
    let url = format!("http://{}{LARGE}", site.address());
    site.run_client("curl", &["-sSf", "--max-time", "60", "-o", to.path().to_str().unwrap(), &url]);
    assert!(std::fs::read(to.path()).unwrap() == site.content(LARGE), "not what was sent");
}

/// What the client's kernel has counted under this name.
fn nstat(site: &Site, name: &str) -> u64 {
    let text = site.run_client("nstat", &["-asz", name]);
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|rest| rest.split_whitespace().next());
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("nstat has {name}: {text}"))
}

#[test]
fn rfc_3168_section_6_1_1_a_client_that_asks_gets_it() {
    let Some(site) = start("") else { return };
    download(&site);
    site.wait_for("ecn_connections", 1);
    assert!(nstat(&site, "IpExtInECT0Pkts") > 100, "what the server sends can be marked");
    assert_eq!(
        (site.counter("congestion_echoes"), nstat(&site, "IpExtInCEPkts")),
        (0, 0),
        "nobody marks it"
    );
}

/// A router that marks what it would drop is heard: the window comes down, and nothing is sent
/// again.
#[test]
fn rfc_3168_section_6_1_2_marks_bring_the_window_down() {
    let Some(site) = start("") else { return };
    let rules = "table inet router {
        chain arriving { type filter hook prerouting priority 0; ip ecn ect0 numgen inc mod 50 0 ip ecn set ce; }
    }";
    site.run_client("nft", &[rules]);
    download(&site);
    site.wait_for("closed_finished", 1);
    assert!(site.counter("congestion_echoes") > 1, "{}", site.metrics());
    assert!(site.counter("delivered_marked") > 1, "{}", site.metrics());
    assert_eq!(site.counter("fast_retransmissions"), 0, "a mark is no loss");
}

#[test]
fn a_server_that_is_told_so_declines() {
    let Some(site) = start("--ecn off") else { return };
    download(&site);
    site.wait_for("closed_finished", 1);
    assert_eq!((site.counter("ecn_connections"), nstat(&site, "IpExtInECT0Pkts")), (0, 0));
    assert!(nstat(&site, "IpExtInNoECTPkts") > 100);
}

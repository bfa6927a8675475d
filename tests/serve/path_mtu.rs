//! A client behind a router whose link is narrower than the server's: RFC 1191, and RFC 4821 where the router is not
//! heard.

use crate::common::{Network, need_program};
use crate::site::{LARGE, PORT, Plan, Site, Transport, at};
use simoom::netns::{self, Namespace};
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Stdio};

/// The client's namespace of a site's network routes to a third one, over a link that carries 1400 bytes. Whoever is at
/// its far end does not know that.
fn far_side(network: &Network) -> Namespace {
    let far = Namespace::new().unwrap();
    let address = |host| IpAddr::V4(Ipv4Addr::new(198, 19, 255, host));
    netns::veth(&network.client, "r1", &far, "f0", 1).unwrap();
    for (namespace, name, host) in [(&network.client, "r1", 1), (&far, "f0", 2)] {
        namespace
            .run(|| {
                netns::set_address(name, address(host), 24)?;
                netns::set_up(name)
            })
            .unwrap();
    }
    network.client.run(|| netns::set_mtu("r1", 1400)).unwrap();
    network.client.run(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")).unwrap();
    run(&far, "ip", &["route", "add", "default", "via", "198.19.255.1"]);
    far
}

fn run(namespace: &Namespace, program: &str, arguments: &[&str]) {
    let output = namespace.run(|| Command::new(program).args(arguments).stdin(Stdio::null()).output()).unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A server with an address of its own, and the far side.
fn start() -> Option<(Site, Namespace, IpAddr)> {
    if !need_program("curl") || !need_program("ip") || !need_program("nft") {
        return None;
    }
    let plan = Plan::new(Transport::Xdp);
    let network = plan.network()?;
    let (own, far) = (network.address(7), far_side(&network));
    Some((plan.with(&format!("--address {own}")).start_in(network), far, own))
}

/// Downloads the large file, which makes so many downloads, and waits until what it counted is published.
fn downloads(site: &Site, far: &Namespace, own: IpAddr, nth: u64) {
    let to = tempfile::NamedTempFile::new().unwrap();
    let url = format!("http://{}{LARGE}", at(own));
    run(far, "curl", &["-sSf", "--max-time", "60", "-o", to.path().to_str().unwrap(), &url]);
    assert!(std::fs::read(to.path()).unwrap() == site.content(LARGE), "not what was sent to port {PORT}");
    site.wait_for("closed_finished", nth);
}

#[test]
fn rfc_1191_a_router_says_what_fits() {
    let Some((site, far, own)) = start() else { return };
    downloads(&site, &far, own, 1);
    assert!(site.counter("icmp_too_big") > 0, "{}", site.metrics());
    assert_eq!((site.counter("path_mtu_lowered"), site.counter("path_black_holes")), (1, 0));
    // The path is remembered: nothing is too big any more.
    let told = site.counter("icmp_too_big");
    downloads(&site, &far, own, 2);
    assert_eq!((site.counter("path_mtu_lowered"), site.counter("icmp_too_big")), (1, told));
}

#[test]
fn rfc_4821_a_router_that_is_not_heard_is_found_out() {
    let Some((site, far, own)) = start() else { return };
    let rules = "table inet hole {
        chain leaving { type filter hook output priority 0; icmp type destination-unreachable drop; }
    }";
    site.run_client("nft", &[rules]);
    downloads(&site, &far, own, 1);
    assert_eq!((site.counter("icmp_too_big"), site.counter("path_black_holes")), (0, 1), "{}", site.metrics());
}

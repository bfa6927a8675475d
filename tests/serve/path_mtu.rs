//! A client behind a router whose link is narrower than the server's: RFC 1191 and RFC 8201, and
//! RFC 4821 where the router is not heard. The server's address is its own, or the kernel has it
//! too.

use crate::TEST_TIMEOUT;
use crate::client::Client;
use crate::common::{Network, need_program, run_in};
use crate::queues::{connections_on_both, two_workers};
use crate::site::{LARGE, PORT, Plan, Site, Transport, at};
use simoom::netns::{self, Namespace};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream};

/// The client's namespace of a site's network routes to a third one, over a link that carries 1400
/// bytes. Whoever is at its far end does not know that.
fn far_side(network: &Network) -> Namespace {
    let far = Namespace::new().unwrap();
    netns::veth(&network.client, "r1", &far, "f0", 1).unwrap();
    for (namespace, name, host) in [(&network.client, "r1", 1), (&far, "f0", 2)] {
        namespace
            .run(|| {
                netns::set_address(name, IpAddr::V4(Ipv4Addr::new(198, 19, 255, host)), 24)?;
                let host = u16::from(host);
                netns::set_address(
                    name,
                    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, host)),
                    64,
                )?;
                netns::set_up(name)
            })
            .unwrap();
    }
    network.client.run(|| netns::set_mtu("r1", 1400)).unwrap();
    for switch in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        network.client.run(|| std::fs::write(format!("/proc/sys/net/{switch}"), "1")).unwrap();
    }
    run_in(&far, "ip", &["route", "add", "default", "via", "198.19.255.1"]);
    run_in(&far, "ip", &["-6", "route", "add", "default", "via", "2001:db8:ffff::1"]);
    far
}

fn have_programs() -> bool {
    ["curl", "ip", "nft"].into_iter().all(need_program)
}

/// A server at `host` of its network, and the far side. The kernel has host 1.
fn start(host: u8, address: impl Fn(&Network, u8) -> IpAddr) -> Option<(Site, Namespace, IpAddr)> {
    if !have_programs() {
        return None;
    }
    let plan = Plan::new(Transport::Xdp);
    let network = plan.network()?;
    let (served, far) = (address(&network, host), far_side(&network));
    Some((plan.with(&format!("--address {served}")).start_in(network), far, served))
}

/// Downloads the large file, which makes so many downloads, and waits until what it counted is
/// published.
fn downloads(site: &Site, far: &Namespace, served: IpAddr, nth: u64) {
    let to = tempfile::NamedTempFile::new().unwrap();
    let url = format!("http://{}{LARGE}", at(served));
    run_in(
        far,
        "curl",
        &["-g", "-sSf", "--max-time", "60", "-o", to.path().to_str().unwrap(), &url],
    );
    assert!(
        std::fs::read(to.path()).unwrap() == site.content(LARGE),
        "not what was sent to port {PORT}"
    );
    site.wait_for("closed_finished", nth);
}

fn a_router_says_what_fits(site: &Site, far: &Namespace, served: IpAddr) {
    downloads(site, far, served, 1);
    assert!(site.counter("icmp_too_big") > 0, "{}", site.metrics());
    assert_eq!((site.counter("path_mtu_lowered"), site.counter("path_black_holes")), (1, 0));
    // The path is remembered: nothing is too big any more.
    let told = site.counter("icmp_too_big");
    downloads(site, far, served, 2);
    assert_eq!((site.counter("path_mtu_lowered"), site.counter("icmp_too_big")), (1, told));
}

#[test]
fn rfc_1191_a_router_says_what_fits_of_an_own_address() {
    let Some((site, far, own)) = start(7, Network::address) else { return };
    a_router_says_what_fits(&site, &far, own);
}

#[test]
fn rfc_1191_a_router_says_what_fits_of_an_address_that_the_kernel_has() {
    let Some((site, far, shared)) = start(1, Network::address) else { return };
    a_router_says_what_fits(&site, &far, shared);
    // What else comes to it is the kernel's as before.
    site.ping(shared, &[]);
}

#[test]
fn rfc_8201_a_router_says_what_fits_of_an_own_address() {
    let Some((site, far, own)) = start(7, Network::address_v6) else { return };
    a_router_says_what_fits(&site, &far, own);
}

#[test]
fn rfc_8201_a_router_says_what_fits_of_an_address_that_the_kernel_has() {
    let Some((site, far, shared)) = start(1, Network::address_v6) else { return };
    a_router_says_what_fits(&site, &far, shared);
    site.ping(shared, &[]);
}

#[test]
fn rfc_4821_a_router_that_is_not_heard_is_found_out() {
    let Some((site, far, own)) = start(7, Network::address) else { return };
    let rules = "table inet hole {
        chain leaving { type filter hook output priority 0; icmp type destination-unreachable drop; }
    }";
    site.run_client("nft", &[rules]);
    downloads(&site, &far, own, 1);
    assert_eq!(
        (site.counter("icmp_too_big"), site.counter("path_black_holes")),
        (0, 1),
        "{}",
        site.metrics()
    );
}

/// The client behind the router, connected.
fn connect(far: &Namespace, served: IpAddr) -> Client {
    Client::new(far.run(|| TcpStream::connect_timeout(&at(served), TEST_TIMEOUT)).unwrap())
}

#[test]
fn rfc_1191_a_message_is_handed_to_the_worker_whose_connection_it_is_about() {
    handed_over(Network::address);
}

#[test]
fn rfc_8201_a_message_is_handed_to_the_worker_whose_connection_it_is_about() {
    handed_over(Network::address_v6);
}

fn handed_over(address: impl Fn(&Network, u8) -> IpAddr) {
    if !have_programs() || !need_program("ethtool") {
        return;
    }
    let Some(site) = two_workers() else { return };
    let (served, far) = (address(&site.network, 1), far_side(&site.network));
    let mut clients = connections_on_both(&site, || connect(&far, served));
    // From now on all that comes from there, the router's messages too, arrives at one worker.
    site.run_client("ethtool", &["-L", "c0", "tx", "1"]);
    let content = site.content("/64k");
    std::thread::scope(|scope| {
        for client in &mut clients {
            scope.spawn(|| client.expect("/64k", &content));
        }
    });
    site.wait_for("path_mtu_lowered", clients.len() as u64);
    // Who knows the connection counts the message.
    let told = site.counters("icmp_too_big");
    assert!(told.len() == 2 && told.iter().all(|(_, count)| *count > 0), "{told:?}");
}

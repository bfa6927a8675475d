//! Interfaces over which a kernel of the same machine sends, other than veth: a bridge and a
//! macvlan. The kernel leaves the checksums of its segments to hardware that is not there, and
//! sends segments longer than the MTU.

use crate::client::Client;
use crate::common::{Network, need_program, run_in};
use crate::site::{LARGE, Plan, Site, Transport, at};
use simoom::netns;
use std::net::TcpStream;

const MEMCACHED: u16 = 11211;
const VALUE_BYTES: usize = 500_000;

/// A server whose interface `s0` is made by `ip link add` with these arguments. The end of the veth
/// pair becomes `u0`, without addresses.
fn start(kind: &[&str], joins: Option<[&str; 6]>) -> Option<Site> {
    if !need_program("ip") {
        return None;
    }
    let plan = Plan::new(Transport::Xdp).with(&format!("--memcached {MEMCACHED} --memory 64M"));
    let network = plan.network()?;
    let ip = |arguments: &[&str]| run_in(&network.server, "ip", arguments);
    ip(&["link", "set", "s0", "down", "name", "u0"]);
    ip(&["addr", "flush", "dev", "u0"]);
    ip(&[&["link", "add", "s0"], kind].concat());
    if let Some(joins) = joins {
        ip(&joins);
    }
    bring_up(&network);
    Some(plan.start_in(network))
}

fn bring_up(network: &Network) {
    network
        .server
        .run(|| {
            // The kernel must not answer ARP on `u0` for an address of `s0`.
            std::fs::write("/proc/sys/net/ipv4/conf/all/arp_ignore", "1")?;
            netns::set_address("s0", network.address(1), 24)?;
            netns::set_address("s0", network.address_v6(1), 64)?;
            netns::set_up("u0")?;
            netns::set_up("s0")
        })
        .unwrap();
}

/// Downloads, and uploads a value whose segments the kernel leaves to be cut.
fn serves_a_local_kernel(site: &Site) {
    for address in [site.network.address(1), site.network.address_v6(1)] {
        let mut client = site.connect_to(at(address));
        for path in ["/12", LARGE] {
            client.expect(path, &site.content(path));
        }
    }
    let mut store = at(site.network.address(1));
    store.set_port(MEMCACHED);
    let stream = site.network.client.run(|| TcpStream::connect(store)).unwrap();
    let mut client = Client::new(stream);
    let value: Vec<u8> = (0..VALUE_BYTES).map(|index| (index % 251) as u8).collect();
    client.send(format!("set key 0 0 {VALUE_BYTES}\r\n"));
    client.send(&value);
    client.send("\r\nget key\r\n");
    let head = format!("STORED\r\nVALUE key 0 {VALUE_BYTES}\r\n");
    assert_eq!(client.take(head.len()), head.as_bytes());
    assert!(client.take(VALUE_BYTES) == value, "not the value that was stored");
    assert_eq!(site.counter("drop_tcp_checksum"), 0, "{}", site.metrics());
}

#[test]
fn a_bridge_brings_segments_without_their_checksums() {
    let joins = ["link", "set", "u0", "master", "s0", "up"];
    let Some(site) = start(&["type", "bridge"], Some(joins)) else { return };
    serves_a_local_kernel(&site);
}

#[test]
fn a_macvlan_brings_segments_without_their_checksums() {
    let kind = ["link", "u0", "type", "macvlan", "mode", "bridge"];
    let Some(site) = start(&kind, None) else { return };
    serves_a_local_kernel(&site);
}

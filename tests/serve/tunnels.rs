//! Behind an L4 load balancer: requests come through a tunnel, and answers go to the client
//! directly (`--tunnel`). The kernel here may have no tunnels, so the bridge between the ends is
//! the balancer.

use crate::TEST_TIMEOUT;
use crate::client::{Client, get};
use crate::common::{Network, Path, need_program, need_root, run_in, wait_until};
use crate::site::{PORT, Plan, Site, Transport};
use pnet::packet::ipv4::{MutableIpv4Packet, checksum};
use simoom::netns;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};

/// The host of the server that comes after the start.
const LATE: u8 = 9;
/// The address of the service. The server's loopback interface has it.
const SERVICE: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 1);

/// The frame with an outer packet around that in it, if that goes to [`SERVICE`]. `header`, of the
/// `protocol` of IP, stands in between. The tunnel is from host 3 of the client's network to host
/// `end`.
fn in_tunnel(frame: &[u8], end: u8, protocol: u8, header: &[u8]) -> Option<Vec<u8>> {
    let (link, packet) = frame.split_at_checked(14)?;
    if link[12..] != [8, 0] || packet.get(16..20) != Some(&SERVICE.octets()) {
        return None;
    }
    let len = u16::from_be_bytes([packet[2], packet[3]]) + 20 + header.len() as u16;
    let [high, low] = len.to_be_bytes();
    let [a, b, c, _] = packet[12..16] else { return None };
    let mut outer =
        [0x45, 0, high, low, 0, 0, 0x40, 0, 9, protocol, 0, 0, a, b, c, 3, a, b, c, end];
    let mut ip = MutableIpv4Packet::new(&mut outer)?;
    ip.set_checksum(checksum(&ip.to_immutable()));
    Some([link, &outer, header, packet].concat())
}

fn ipip(frame: &[u8]) -> Option<Vec<u8>> {
    in_tunnel(frame, 1, 4, &[])
}

fn ipip_to_late(frame: &[u8]) -> Option<Vec<u8>> {
    in_tunnel(frame, LATE, 4, &[])
}

fn gre(frame: &[u8]) -> Option<Vec<u8>> {
    in_tunnel(frame, 1, 47, &[0x20, 0, 8, 0, 1, 2, 3, 4])
}

fn gue(frame: &[u8]) -> Option<Vec<u8>> {
    let len = 8 + 4 + u16::from_be_bytes([*frame.get(16)?, *frame.get(17)?]);
    let [high, low] = len.to_be_bytes();
    in_tunnel(frame, 1, 17, &[0xc0, 0, 0x1b, 0x58, high, low, 0, 0, 0, 4, 0, 0])
}

fn site(flags: &str, encapsulate: fn(&[u8]) -> Option<Vec<u8>>) -> Option<Site> {
    if !(need_root() && need_program("ethtool") && need_program("ip")) {
        return None;
    }
    let path = Path { encapsulate: Some(encapsulate), ..Path::default() };
    let network = Network::through(path).unwrap();
    network.server.run(|| netns::set_address("lo", SERVICE.into(), 32)).unwrap();
    let route = format!("route add {SERVICE} via {}", network.address(1));
    run_in(&network.client, "ip", &route.split(' ').collect::<Vec<_>>());
    let plan = Plan::new(Transport::Xdp).with(flags).with(&format!("--address {SERVICE}"));
    Some(plan.start_in(network))
}

/// The services are at an address of their own, so the late one is not served.
#[test]
fn tunnels_end_at_an_address_that_comes() {
    let Some(mut site) = site("--tunnel ipip", ipip_to_late) else { return };
    let late = format!("{}/24", site.network.address(LATE));
    run_in(&site.network.server, "ip", &["address", "add", &late, "dev", "s0"]);
    site.wait_for_log("tunnels end there");
    let at = SocketAddr::new(IpAddr::V4(SERVICE), PORT);
    let stream = site.network.client.run(|| TcpStream::connect_timeout(&at, TEST_TIMEOUT));
    Client::new(stream.unwrap()).expect("/64k", &site.content("/64k"));
}

fn requests_come_through(flags: &str, encapsulate: fn(&[u8]) -> Option<Vec<u8>>) {
    let Some(mut site) = site(flags, encapsulate) else { return };
    let at = SocketAddr::new(IpAddr::V4(SERVICE), PORT);
    let stream = site.network.client.run(|| TcpStream::connect_timeout(&at, TEST_TIMEOUT));
    let mut client = Client::new(stream.unwrap());
    client.expect("/64k", &site.content("/64k"));
    // Requests that fill whole segments: in their tunnel they must fit the MTU.
    let count = 200;
    client.send(get("/12").repeat(count));
    let body = site.content("/12");
    for _ in 0..count {
        client.answer().is(200, &body);
    }
    let name = "steer_decapsulated";
    wait_until("packets are taken out of their tunnel", TEST_TIMEOUT, || site.counter(name) > 4);
    assert_eq!(site.counter("steer_tunnel_malformed"), 0);
    assert_eq!(site.counter("connections_accepted"), 0, "none came through the kernel");
    assert!(site.terminate().success(), "{}", site.log());
}

#[test]
fn requests_come_through_ipip() {
    requests_come_through("--tunnel ipip", ipip);
}

#[test]
fn requests_come_through_gre() {
    requests_come_through("--tunnel gre", gre);
}

#[test]
fn requests_come_through_gue() {
    requests_come_through("--tunnel ipip --tunnel gue:7000", gue);
}

//! Which address is whose: Simoom's own, or shared with the kernel, which keeps everything but the claimed port.

use crate::common::{need_program, wait_until};
use crate::site::{PORT, Plan, Site, Transport, at};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};

fn ping(site: &Site, address: IpAddr) {
    let report = site.run_client("ping", &["-c", "3", "-i", "0.2", "-W", "20", &address.to_string()]);
    assert!(report.contains(" 3 received") && report.contains(" 0% packet loss"), "{report}");
}

#[test]
fn an_address_of_its_own_answers_arp_ping_and_http() {
    if !need_program("ping") {
        return;
    }
    let plan = Plan::new(Transport::Xdp);
    let Some(network) = plan.network() else { return };
    let own = network.address(7);
    let site = plan.with(&format!("--address {own}")).start_in(network);
    ping(&site, own);
    assert!(site.run_client("ping", &["-c", "1", "-s", "1400", &own.to_string()]).contains("1408 bytes from"));
    let mut client = site.connect_to(at(own));
    client.expect("/64k", &site.content("/64k"));
    site.wait_for("arp_replies", 1);
    site.wait_for("echo_replies", 4);

    let kernels = site.network.address(1);
    ping(&site, kernels);
    assert_eq!(site.counter("echo_replies"), 4, "the kernel has answered for its own address");
    // The whole address is Simoom's: nobody else listens there.
    let refused = site.network.client.run(|| TcpStream::connect(SocketAddr::new(own, PORT + 1)));
    assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
}

#[test]
fn a_shared_address_leaves_all_else_to_the_kernel() {
    if !need_program("ping") {
        return;
    }
    let Some(site) = Site::start(Transport::Xdp) else { return };
    let address = site.network.address(1);
    ping(&site, address);
    kernel_serves(&site, SocketAddr::new(address, PORT + 1));

    let server = site.network.server.run(|| UdpSocket::bind(SocketAddr::new(address, PORT))).unwrap();
    let client = site.network.client.run(|| UdpSocket::bind("0.0.0.0:0")).unwrap();
    client.send_to(b"over UDP", at(address)).unwrap();
    let mut datagram = [0; 16];
    server.set_read_timeout(Some(crate::PATIENCE)).unwrap();
    let (len, _) = server.recv_from(&mut datagram).unwrap();
    assert_eq!(&datagram[..len], b"over UDP");
    site.serves_others();
    assert_eq!(site.counter("connections_accepted"), 0, "no served connection went through the kernel's TCP");
}

/// The kernel's own TCP works at `address`.
fn kernel_serves(site: &Site, address: SocketAddr) {
    let listener = site.network.server.run(|| TcpListener::bind(address)).unwrap();
    let client = site.network.client.run(|| TcpStream::connect_timeout(&address, crate::PATIENCE));
    client.unwrap().write_all(b"hello").unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");
}

#[test]
fn the_claimed_port_is_served_on_loopback_too() {
    let Some(site) = Site::start(Transport::Xdp) else { return };
    for address in [Ipv4Addr::LOCALHOST.into(), site.network.address(1)] {
        let stream = site.network.server.run(|| TcpStream::connect(at(address))).unwrap();
        crate::client::Client::new(stream).expect("/64k", &site.content("/64k"));
    }
    wait_until("the kernel worker has counted", crate::PATIENCE, || site.counter("connections_accepted") == 2);
    assert_eq!(site.counter("passive_opens"), 0);
}

#[test]
fn a_claimed_port_is_reserved() {
    let Some(site) = Site::start(Transport::Xdp) else { return };
    let taken = site.network.server.run(|| TcpListener::bind(("0.0.0.0", PORT)));
    assert_eq!(taken.unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
}

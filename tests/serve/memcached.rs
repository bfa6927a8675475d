//! memcached as its clients meet it: libmemcached's conformance test, and clients in Python, text
//! and binary, over all transports; and beside HTTP on one server.

use crate::common::{PYTHON, need_program, skip, wait_until};
use crate::site::{Plan, Site, Transport};
use crate::{TEST_TIMEOUT, over_all};
use rustix::net::sockopt;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::time::Duration;

const PORT: u16 = 11211;
const CLIENTS: &str = include_str!("memcached_clients.py");

over_all! {
    memcapable_passes_whole,
    python_clients_find_a_memcached,
    http_and_memcached_are_served_side_by_side,
    values_of_any_size_come_back_whole,
    uploads_that_are_reset_leave_no_connection,
    every_connection_is_told_with_its_ends,
    datagrams_are_answered_beside_any_transport,
}

/// A server of both on port 8080 and 11211.
fn start(transport: Transport) -> Option<Site> {
    let flags = match transport {
        Transport::Xdp => "--memcached 11211 --memcached-udp 11211 --memory 64M",
        Transport::IoUring | Transport::Epoll => {
            "--memcached 0.0.0.0:11211 --memcached-udp 11211 --memory 64M"
        }
    };
    Plan::new(transport).with(flags).start()
}

fn address(site: &Site) -> SocketAddr {
    SocketAddr::new(site.address().ip(), PORT)
}

fn memcapable_passes_whole(transport: Transport) {
    if !need_program("memccapable") {
        return;
    }
    let Some(site) = start(transport) else { return };
    let (host, port) = (address(&site).ip().to_string(), PORT.to_string());
    for protocol in ["-a", "-b"] {
        let told =
            site.run_client("memccapable", &["-h", &host, "-p", &port, protocol, "-t", "20"]);
        assert!(told.contains("All tests passed"), "{protocol}: {told}");
    }
    assert!(site.counter("memcached_cmd_set") > 0);
}

fn python_clients_find_a_memcached(transport: Transport) {
    let modules = Command::new(PYTHON)
        .args(["-c", "import pymemcache, pylibmc"])
        .stderr(Stdio::null())
        .status();
    if !modules.is_ok_and(|status| status.success()) {
        return skip("needs python3 with pymemcache and pylibmc");
    }
    let Some(site) = start(transport) else { return };
    let told = site
        .run_client(PYTHON, &["-c", CLIENTS, &address(&site).ip().to_string(), &PORT.to_string()]);
    assert!(
        told.contains("pymemcache, pylibmc text, pylibmc binary: all as it should be"),
        "{told}"
    );
}

fn http_and_memcached_are_served_side_by_side(transport: Transport) {
    let Some(mut site) = start(transport) else { return };
    site.serves_others();
    let mut client = site.connect_to(address(&site)).stream;
    client.write_all(b"set a 0 0 5\r\nhello\r\nget a\r\n").unwrap();
    let mut answer = [0; 33];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(answer.escape_ascii().to_string(), r"STORED\r\nVALUE a 0 5\r\nhello\r\nEND\r\n");
    site.wait_for("memcached_get_hits", 1);
    site.wait_for("memcached_curr_items", 1);
    assert!(site.counter("http_requests") >= 3);
    // An idle connection does not keep a server from stopping.
    assert!(site.terminate().success(), "{}", site.log());
    assert_eq!(client.read(&mut answer).unwrap(), 0);
}

fn datagrams_are_answered_beside_any_transport(transport: Transport) {
    let Some(site) = start(transport) else { return };
    let mut client = site.connect_to(address(&site)).stream;
    client.write_all(b"set a 0 0 5\r\nhello\r\n").unwrap();
    let mut stored = [0; 8];
    client.read_exact(&mut stored).unwrap();
    let socket = site
        .network
        .client
        .run(|| UdpSocket::bind(SocketAddr::new(site.network.address(2), 0)))
        .unwrap();
    socket.connect(address(&site)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut answer = [0; 1500];
    let mut len = None;
    // As its clients do: datagrams may be lost.
    wait_until("a datagram is answered", TEST_TIMEOUT, || {
        socket.send(b"\x12\x34\0\0\0\x01\0\0get a\r\n").unwrap();
        len = socket.recv(&mut answer).ok();
        len.is_some()
    });
    let answer = &answer[..len.unwrap()];
    assert_eq!(
        answer.escape_ascii().to_string(),
        r"\x124\x00\x00\x00\x01\x00\x00VALUE a 0 5\r\nhello\r\nEND\r\n"
    );
    site.wait_for("udp_received", 1);
    site.wait_for("memcached_get_hits", 1);
}

/// Through the loopback interface, whose segments bring more than io_uring receives at a time with
/// the reset behind it.
fn uploads_that_are_reset_leave_no_connection(transport: Transport) {
    let Some(site) = start(transport) else { return };
    for i in 0..40 {
        let connect = || TcpStream::connect((Ipv4Addr::LOCALHOST, PORT));
        let mut client = site.network.server.run(connect).unwrap();
        let part = [format!("set key{i} 0 0 900000\r\n").as_bytes(), &[b'q'; 70_000]].concat();
        client.write_all(&part).unwrap();
        sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
    }
    site.wait_for("connections_accepted", 40);
    wait_until("no connection is open", TEST_TIMEOUT, || site.counter("connections_open") == 0);
}

fn values_of_any_size_come_back_whole(transport: Transport) {
    let Some(site) = start(transport) else { return };
    let mut client = site.connect_to(address(&site)).stream;
    let large = site.content(crate::site::LARGE);
    for len in [0, 1, 100, 1447, 1448, 1449, 4096, 65_536, 1_000_000] {
        let value = &large[..len];
        let head = format!("set key{len} 0 0 {len}\r\n");
        client.write_all(&[head.as_bytes(), value, b"\r\n"].concat()).unwrap();
    }
    let mut answers = vec![0; 9 * b"STORED\r\n".len()];
    client.read_exact(&mut answers).unwrap();
    assert_eq!(answers, b"STORED\r\n".repeat(9));
    for len in [0, 1, 100, 1447, 1448, 1449, 4096, 65_536, 1_000_000] {
        client.write_all(format!("get key{len}\r\n").as_bytes()).unwrap();
        let expected =
            [format!("VALUE key{len} 0 {len}\r\n").as_bytes(), &large[..len], b"\r\nEND\r\n"]
                .concat();
        let mut answer = vec![0; expected.len()];
        client.read_exact(&mut answer).unwrap();
        assert!(answer == expected, "{len} bytes");
    }
}

/// Those of the transport asked for, and beside AF_XDP those that came through the kernel.
fn every_connection_is_told_with_its_ends(transport: Transport) {
    let Some(site) = start(transport) else { return };
    let mut clients: Vec<TcpStream> =
        (0..4).map(|_| site.connect_to(address(&site)).stream).collect();
    let local = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PORT);
    clients.push(site.network.server.run(|| TcpStream::connect(local)).unwrap());
    for client in &mut clients {
        assert!(connections(client).contains(":state conn_listening\r\n"));
    }
    let ends = |client: &TcpStream| {
        let (remote, local) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
        format!(":addr tcp:{remote}\r\n*:listen_addr tcp:{local}\r\n*:state conn_")
    };
    let asked = connections(&mut clients[4]);
    // Numbers say which lines belong together; they are not what is asked here.
    let told = without_numbers(&asked);
    for client in &clients {
        assert!(told.contains(&ends(client)), "{}: {asked}", ends(client));
    }
    assert!(told.contains("*:UDP UDP\r\n*:addr udp:"), "{asked}");
    let gone = clients.remove(0);
    let gone_ends = ends(&gone);
    drop(gone);
    wait_until("the one that has ended is told no more", TEST_TIMEOUT, || {
        !without_numbers(&connections(&mut clients[3])).contains(&gone_ends)
    });
}

fn connections(client: &mut TcpStream) -> String {
    client.write_all(b"stats conns\r\n").unwrap();
    let mut told = Vec::new();
    let mut piece = [0; 4096];
    while !told.ends_with(b"END\r\n") {
        let n = client.read(&mut piece).unwrap();
        assert!(n > 0, "the answer has an end");
        told.extend_from_slice(&piece[..n]);
    }
    String::from_utf8(told).unwrap()
}

fn without_numbers(told: &str) -> String {
    let lines = told.lines().filter_map(|line| line.strip_prefix("STAT ")?.split_once(':'));
    lines.map(|(_, rest)| format!("*:{rest}\r\n")).collect()
}

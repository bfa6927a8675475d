//! Which address is whose: Simoom's own, or shared with the kernel, which keeps everything but the
//! claimed port.

use crate::common::{Process, need_program, need_root, run, simoom, wait_until};
use crate::site::{ADMIN, PORT, Plan, Site, Transport, ask_admin, at};
use crate::wire::Wire;
use rustix::process::Signal;
use simoom::netns::{self, Namespace};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Stdio;

#[test]
fn an_address_of_its_own_answers_arp_ping_and_http() {
    if !need_program("ping") {
        return;
    }
    let plan = Plan::new(Transport::Xdp);
    let Some(network) = plan.network() else { return };
    let own = network.address(7);
    let site = plan.with(&format!("--address {own} --address-probe 20ms")).start_in(network);
    site.ping(own, &[]);
    assert!(
        site.run_client("ping", &["-c", "1", "-s", "1400", &own.to_string()])
            .contains("1408 bytes from")
    );
    let mut client = site.connect_to(at(own));
    client.expect("/64k", &site.content("/64k"));
    site.wait_for("arp_replies", 1);
    site.wait_for("echo_replies", 4);

    let kernels = site.network.address(1);
    site.ping(kernels, &[]);
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
    site.ping(address, &[]);
    kernel_serves(&site, SocketAddr::new(address, PORT + 1));

    let server =
        site.network.server.run(|| UdpSocket::bind(SocketAddr::new(address, PORT))).unwrap();
    let client = site.network.client.run(|| UdpSocket::bind("0.0.0.0:0")).unwrap();
    client.send_to(b"over UDP", at(address)).unwrap();
    let mut datagram = [0; 16];
    server.set_read_timeout(Some(crate::TEST_TIMEOUT)).unwrap();
    let (len, _) = server.recv_from(&mut datagram).unwrap();
    assert_eq!(&datagram[..len], b"over UDP");
    site.serves_others();
    assert_eq!(
        site.counter("connections_accepted"),
        0,
        "no served connection went through the kernel's TCP"
    );
}

/// An address that the kernel knows by a label is the kernel's all the same.
#[test]
fn a_labelled_address_leaves_all_else_to_the_kernel() {
    if !need_program("ip") {
        return;
    }
    let plan = Plan::new(Transport::Xdp);
    let Some(network) = plan.network() else { return };
    let labelled = network.address(8);
    network.server.run(|| ip(&format!("address add {labelled}/24 dev s0 label s0:vip")));
    let site = plan.with(&format!("--address {labelled}")).start_in(network);
    site.connect_to(at(labelled)).expect("/64k", &site.content("/64k"));
    kernel_serves(&site, SocketAddr::new(labelled, PORT + 1));
}

/// The kernel's own TCP works at `address`.
fn kernel_serves(site: &Site, address: SocketAddr) {
    let listener = site.network.server.run(|| TcpListener::bind(address)).unwrap();
    let client =
        site.network.client.run(|| TcpStream::connect_timeout(&address, crate::TEST_TIMEOUT));
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
    wait_until("the kernel worker has counted", crate::TEST_TIMEOUT, || {
        site.counter("connections_accepted") == 2
    });
    // The worker over AF_XDP may not have come to publish anything yet.
    site.wait_for_counter("passive_opens");
    assert_eq!(site.counter("passive_opens"), 0);
}

/// A port alone is also one of loopback, which one instance can have.
#[test]
fn a_second_instance_that_finds_loopback_taken_is_told_to_name_its_address() {
    let Some(network) = Plan::new(Transport::Xdp).network() else { return };
    let _first = network.server.run(|| TcpListener::bind((Ipv4Addr::LOCALHOST, PORT))).unwrap();
    let start = |http: &str| {
        let mut command = simoom();
        command.args(["serve", "--interface", "s0", "--admin", ADMIN, "--http", http]);
        network.server.run(|| Process::start(command.stderr(Stdio::piped())))
    };
    let mut refused = start(&PORT.to_string());
    assert_eq!(refused.wait(crate::TEST_TIMEOUT).code(), Some(1));
    let (said, remedy) =
        (refused.stderr(), format!("--http ADDRESS:{PORT} serves at that address"));
    assert!(said.contains("127.0.0.1") && said.contains(&remedy), "{said}");
    let address = at(network.address(1));
    let _second = start(&address.to_string());
    let connect = || TcpStream::connect_timeout(&address, crate::TEST_TIMEOUT);
    wait_until("it is ready", crate::TEST_TIMEOUT, || {
        ask_admin(&network, "/readyz").is_ok_and(|answer| answer.ends_with("\nready\n"))
    });
    crate::client::Client::new(network.client.run(connect).unwrap());
}

#[test]
fn a_claimed_port_is_reserved() {
    let Some(site) = Site::start(Transport::Xdp) else { return };
    let taken = site.network.server.run(|| TcpListener::bind(("0.0.0.0", PORT)));
    assert_eq!(taken.unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
}

/// Runs ip(8) in the calling thread's namespace; returns what it wrote.
fn ip(arguments: &str) -> String {
    let output =
        std::process::Command::new("ip").args(arguments.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn an_address_of_its_own_is_announced() {
    if !need_program("ip") {
        return;
    }
    let plan = Plan::new(Transport::Xdp);
    let Some(network) = plan.network() else { return };
    let own = network.address(7);
    // Make an entry of what is announced, too, not only of who answers.
    network.client.run(|| std::fs::write("/proc/sys/net/ipv4/conf/c0/arp_accept", "1").unwrap());
    let site = plan.with(&format!("--address {own} --address-probe 20ms")).start_in(network);
    let mac = site.network.server.run(|| netns::interface("s0").unwrap().mac);
    let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
    wait_until("the client's kernel has heard the announcement", crate::TEST_TIMEOUT, || {
        site.network.client.run(|| ip(&format!("neigh show {own} dev c0"))).contains(&mac)
    });
    site.wait_for("address_announcements", 2);
    assert_eq!(site.counter("arp_replies"), 0, "nobody had to ask");
}

#[test]
fn an_address_that_another_host_has_is_not_served() {
    if !need_root() || !need_program("ip") {
        return;
    }
    // Server, client and a third host on one bridge.
    let [server, third, bridge] = std::array::from_fn(|_| Namespace::new().unwrap());
    netns::veth(&server, "s0", &bridge, "p0", 1).unwrap();
    netns::veth(&third, "t0", &bridge, "p1", 1).unwrap();
    bridge.run(|| {
        ip("link add br0 type bridge");
        for name in ["p0", "p1"] {
            ip(&format!("link set {name} master br0 up"));
        }
        ip("link set br0 up");
    });
    let theirs: IpAddr = Ipv4Addr::new(198, 18, 0, 7).into();
    let mac = third.run(|| {
        netns::set_address("t0", theirs, 24).unwrap();
        netns::set_up("t0").unwrap();
        netns::interface("t0").unwrap().mac
    });
    server.run(|| {
        netns::set_address("s0", Ipv4Addr::new(198, 18, 0, 1).into(), 24).unwrap();
        netns::set_up("s0").unwrap();
        wait_until("s0 has a carrier", crate::TEST_TIMEOUT, || netns::interface("s0").unwrap().carrier);
        let flags =
            "serve --interface s0 --http 8080 --address-probe 300ms --address 198.18.0.9 --address 198.18.0.7";
        for transport in ["xdp", "auto"] {
            let output = run(flags.split(' ').chain(["--transport", transport]));
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
            assert_eq!(output.status.code(), Some(1), "{said}");
            assert!(said.contains(&format!("another host on s0 has {theirs}, at {mac}; choose")), "{said}");
        }
    });
}

/// A NIC that filters lets neighbour discovery's questions through only if somebody asks for their
/// group.
#[test]
fn rfc_4861_section_7_2_1_the_groups_of_an_own_address_are_joined_while_it_is_served() {
    let plan = Plan::new(Transport::Xdp);
    let Some(network) = plan.network() else { return };
    let own = network.address_v6(7);
    let mut site = plan.with(&format!("--address {own} --address-probe 20ms")).start_in(network);
    let groups = |site: &Site| {
        site.network
            .server
            .run(|| std::fs::read_to_string("/proc/thread-self/net/dev_mcast"))
            .unwrap()
    };
    let served = groups(&site);
    assert!(
        served.lines().any(|line| line.contains("s0") && line.ends_with("3333ff000007")),
        "{served}"
    );
    assert!(site.terminate().success());
    let left = groups(&site);
    assert!(!left.contains("3333ff000007"), "{left}");
    assert!(left.contains("3333ff000001"), "the kernel's own are left alone: {left}");
}

/// A signal interrupts the wait for other hosts' answers, and not the start.
#[test]
fn signals_during_the_address_check_do_not_end_the_start() {
    let plan = Plan::new(Transport::Xdp);
    let Some(network) = plan.network() else { return };
    let plan = plan.with(&format!("--address {} --address-probe 400ms", network.address(7)));
    let root = crate::site::files();
    let mut command = plan.command(root.path());
    command.stderr(Stdio::piped());
    let mut process = network.server.run(|| Process::start(&mut command));
    let stderr = process.child().stderr.take().expect("standard error is piped");
    let mut log = BufReader::new(stderr).lines().map_while(Result::ok);
    assert!(log.any(|line| line.contains("checking whether another host has")));
    for (signal, name) in
        [(Signal::HUP, "SIGHUP"), (Signal::USR1, "SIGUSR1"), (Signal::USR2, "SIGUSR2")]
    {
        process.signal(signal);
        let mut seen = log.by_ref().take_while(|line| !line.contains("\"listening\""));
        assert!(seen.any(|line| line.contains(name)), "{name} came before the end of the check");
    }
    assert!(log.any(|line| line.contains("\"listening\"")), "the server starts");
    wait_until("SIGHUP has reloaded the files", crate::TEST_TIMEOUT, || {
        let metrics = ask_admin(&network, "/metrics").unwrap_or_default();
        metrics.contains("simoom_content_reloads_total{worker=\"content\"} 1\n")
    });
    process.signal(Signal::TERM);
    drop(log);
    assert!(process.wait(crate::TEST_TIMEOUT).success());
}

/// Asking for an address takes minutes here; who asks for an end does not wait for that.
#[test]
fn sigterm_ends_a_server_that_is_still_asking() {
    let plan = Plan::new(Transport::Xdp);
    let Some(network) = plan.network() else { return };
    let flags = format!(
        "serve --transport xdp --interface s0 --http {PORT} --cores 0 --address {} --address-probe 1h --admin {ADMIN}",
        network.address(7)
    );
    let mut command = simoom();
    command.args(flags.split(' ')).stderr(Stdio::piped());
    let mut process = network.server.run(|| Process::start(&mut command));
    let mut said =
        BufReader::new(process.child().stderr.take().expect("standard error is piped")).lines();
    assert!(
        said.by_ref()
            .map_while(Result::ok)
            .any(|line| line.contains("checking whether another host has"))
    );
    let ready = ask_admin(&network, "/readyz").unwrap();
    assert!(
        ready.starts_with("HTTP/1.1 503 ") && ready.ends_with("not ready: starting\n"),
        "{ready}"
    );
    process.signal(Signal::HUP);
    assert!(said.by_ref().map_while(Result::ok).any(|line| line.contains("SIGHUP")));
    process.signal(Signal::TERM);
    assert!(process.wait(crate::TEST_TIMEOUT).success());
    let rest: Vec<String> = said.map_while(Result::ok).collect();
    assert!(
        rest.iter().any(|line| line.contains("stopped before anything was served")),
        "{rest:?}"
    );
}

/// An ARP request by which another host claims `own`.
pub fn claim(own: Ipv4Addr, site: &Site) -> Vec<u8> {
    let (intruder, target) = ([2, 0, 0, 0, 0, 9], site.network.address(2));
    let IpAddr::V4(target) = target else { unreachable!() };
    let mut frame = vec![0xff; 6];
    frame.extend(intruder);
    frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(intruder);
    frame.extend(own.octets());
    frame.extend([0; 6]);
    frame.extend(target.octets());
    frame
}

#[test]
fn an_address_of_its_own_is_defended() {
    let plan = Plan::new(Transport::Xdp);
    let Some(network) = plan.network() else { return };
    let IpAddr::V4(own) = network.address(7) else { unreachable!() };
    let mut site = plan.with(&format!("--address {own} --address-probe 0")).start_in(network);
    site.connect_to(at(own.into())).expect("/12", &site.content("/12"));
    let mut wire = Wire::new(&site);
    let claim = claim(own, &site);
    for _ in 0..3 {
        wire.send(&claim);
    }
    site.wait_for("address_conflicts", 3);
    assert_eq!(site.counter("address_defences"), 1, "one answer is enough for a while");
    site.wait_for_log(&format!("{own}, at 02:00:00:00:00:09"));
    assert_eq!(
        site.log().matches("another host claims").count(),
        1,
        "one line is enough for a while"
    );
    site.connect_to(at(own.into())).expect("/12", &site.content("/12"));
}

/// What listens in the calling thread's namespace, TCP and UDP, as `address:port` in order.
fn listening() -> Vec<String> {
    let mut found = Vec::new();
    for (table, state) in [("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")] {
        let text = std::fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap();
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if fields[3] == state {
                let (address, port) = fields[1].split_once(':').unwrap();
                // Words in the order of this machine.
                let words =
                    address.as_bytes().chunks(8).map(|word| std::str::from_utf8(word).unwrap());
                let bytes: Vec<u8> = words
                    .flat_map(|word| u32::from_str_radix(word, 16).unwrap().to_ne_bytes())
                    .collect();
                let ip: IpAddr = match <[u8; 4]>::try_from(&bytes[..]) {
                    Ok(v4) => v4.into(),
                    Err(_) => <[u8; 16]>::try_from(&bytes[..]).unwrap().into(),
                };
                let at = SocketAddr::new(ip, u16::from_str_radix(port, 16).unwrap());
                found.push(format!("{} {at}", &table[..3]));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn nothing_listens_where_nobody_asked() {
    let plan = Plan::new(Transport::Xdp);
    let Some(network) = plan.network() else { return };
    let own = network.address(1);
    let flags = format!("--address {own} --memcached 127.0.0.1:11211 --memcached-udp 11212");
    let site = plan.with(&flags).start_in(network);
    let mut expected = vec![
        format!("tcp {own}:8080"),
        "tcp 127.0.0.1:8080".into(),
        "tcp [::1]:8080".into(),
        "tcp 127.0.0.1:11211".into(),
        "udp 127.0.0.1:11212".into(),
        format!("tcp {ADMIN}"),
    ];
    expected.sort();
    assert_eq!(site.network.server.run(listening), expected);
    let (metrics, log) = (site.metrics(), site.log());
    let told = |service: &str, protocol: &str, address: &str, via: &str| {
        let sample = format!(
            "simoom_listening{{service=\"{service}\",protocol=\"{protocol}\",address=\"{address}\",via=\"{via}\"}} 1\n"
        );
        assert!(metrics.contains(&sample), "{sample} is not in {metrics}");
        let line = format!(
            "\"message\":\"listening\",\"service\":\"{service}\",\"protocol\":\"{protocol}\",\"address\":\"{address}\",\"via\":\"{via}\""
        );
        assert!(log.contains(&line), "{line} is not in {log}");
    };
    told("HTTP", "tcp", &format!("{own}:8080"), "xdp");
    told("HTTP", "tcp", &format!("{own}:8080"), "kernel");
    told("HTTP", "tcp", "[::1]:8080", "kernel");
    told("memcached", "tcp", "127.0.0.1:11211", "kernel");
    told("memcached", "udp", "127.0.0.1:11212", "kernel");
    told("admin", "tcp", ADMIN, "kernel");
    assert_eq!(
        metrics.matches("\nsimoom_listening{").count(),
        expected.len() + 1,
        "the claimed one beside: {metrics}"
    );
}

/// The unspecified address is what asks for all of them.
#[test]
fn the_unspecified_address_asks_for_all_of_its_version() {
    let plan = Plan::new(Transport::Xdp);
    let Some(network) = plan.network() else { return };
    let root = crate::site::files();
    let mut command = simoom();
    command.args([
        "serve",
        "--interface",
        "s0",
        "--transport",
        "xdp",
        "--cores",
        "0",
        "--http",
        "0.0.0.0:8080",
    ]);
    command
        .args(["--admin", ADMIN, "--log", "json", "--root"])
        .arg(root.path())
        .stderr(Stdio::piped());
    let site = Site::of(network, root, command);
    assert_eq!(
        site.network.server.run(listening),
        [format!("tcp 0.0.0.0:{PORT}"), format!("tcp {ADMIN}")]
    );
    site.connect().expect("/12", &site.content("/12"));
    let six = SocketAddr::new(site.network.address_v6(1), PORT);
    let refused = site.network.client.run(|| TcpStream::connect_timeout(&six, crate::TEST_TIMEOUT));
    assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
}

/// What the kernel's check for martians would not let in (ip_route_input_slow) does not come in
/// past it.
#[test]
fn rfc_1122_section_3_2_1_3_martians_from_the_wire_are_dropped_and_counted() {
    let plan = Plan::new(Transport::Xdp);
    let Some(network) = plan.network() else { return };
    let site = plan.with("--memcached 127.0.0.1:11211 --memcached-udp 11211").start_in(network);
    let mut wire = Wire::new(&site);
    let mut send = |from: [u8; 4], to: Option<[u8; 4]>, port: u16| {
        let mut segment = wire.segment(40_000);
        (segment.from, segment.to_port, segment.flags) = (from.into(), port, crate::wire::SYN);
        segment.to = to.map_or(segment.to, Ipv4Addr::from);
        let frame = segment.frame(&wire);
        wire.send(&frame);
    };
    let IpAddr::V4(own) = site.network.address(1) else { unreachable!() };
    let IpAddr::V4(client) = site.network.address(2) else { unreachable!() };
    // To loopback: neither claimed nor announced.
    send(client.octets(), Some([127, 0, 0, 1]), 11211);
    send(client.octets(), Some([127, 0, 0, 1]), PORT);
    for source in
        [[127, 0, 0, 1], [0, 0, 0, 0], [224, 0, 0, 1], [240, 0, 0, 9], [255, 255, 255, 255]]
    {
        send(source, None, PORT);
    }
    site.wait_for("steer_martians_dropped", 5);
    // LAND: from the server's own address, and from its network's broadcast address.
    let [a, b, c, _] = own.octets();
    send(own.octets(), None, PORT);
    send([a, b, c, 255], None, PORT);
    site.wait_for("drop_ip_source", 2);
    site.connect().expect("/12", &site.content("/12"));
    site.wait_for("passive_opens", 1);
    assert_eq!(
        (site.counter("passive_opens"), site.counter("syn_acks_sent")),
        (1, 1),
        "{}",
        site.metrics()
    );
    assert_eq!((site.counter("arp_replies"), site.counter("address_announcements")), (0, 0));
    assert_eq!(
        site.counter("connections_accepted"),
        0,
        "the kernel has dropped what was for loopback"
    );
}

#[test]
fn a_loopback_address_is_not_claimed_and_a_strange_one_refused() {
    let Some(network) = Plan::new(Transport::Xdp).network() else { return };
    let strange = network.address(9);
    network.server.run(|| {
        for (flags, expected) in [
            (
                format!("--http {strange}:8080"),
                format!("error: --http {strange}:8080: no interface here has {strange}; give"),
            ),
            (
                "--http 127.0.0.1:8080".into(),
                "error: --interface s0: no service is served at its addresses".into(),
            ),
            (
                "--http 8080 --address 127.0.0.1".into(),
                "not the address of one host on a network".into(),
            ),
        ] {
            for transport in ["xdp", "auto"] {
                let arguments = format!("serve --interface s0 --transport {transport} {flags}");
                let output = run(arguments.split(' '));
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                assert_eq!(output.status.code(), Some(2), "{said}");
                assert!(said.contains(&expected), "{flags}: {said}");
            }
        }
    });
}

/// Two services at addresses of their own: neither is reached at the other's.
#[test]
fn each_service_is_reached_at_its_own_address_alone() {
    let plan = Plan::new(Transport::Xdp);
    let Some(network) = plan.network() else { return };
    let (web, cache) = (network.address(7), network.address(8));
    let root = crate::site::files();
    let mut command = simoom();
    command.args([
        "serve",
        "--interface",
        "s0",
        "--transport",
        "xdp",
        "--cores",
        "0",
        "--address-probe",
        "0",
    ]);
    for address in [web, cache] {
        command.args(["--address", &address.to_string()]);
    }
    command.args([
        "--http",
        &format!("{web}:8080"),
        "--memcached",
        &format!("{cache}:11211"),
        "--memory",
        "64M",
    ]);
    command
        .args(["--admin", ADMIN, "--log", "json", "--root"])
        .arg(root.path())
        .stderr(Stdio::piped());
    let site = Site::of(network, root, command);
    assert_eq!(site.network.server.run(listening), [format!("tcp {ADMIN}")]);
    site.connect_to(at(web)).expect("/12", &site.content("/12"));
    let connect = |address, port| {
        let to = SocketAddr::new(address, port);
        site.network.client.run(|| TcpStream::connect_timeout(&to, crate::TEST_TIMEOUT))
    };
    connect(cache, 11211).unwrap();
    for (address, port) in [(web, 11211), (cache, PORT)] {
        let refused = connect(address, port).map(drop).expect_err("the service is not there");
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    }
}

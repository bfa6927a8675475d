//! Which address is whose: Simoom's own, or shared with the kernel, which keeps everything but the claimed port.

use crate::common::{Process, need_program, need_root, run, simoom, wait_until};
use crate::site::{ADMIN, PORT, Plan, Site, Transport, ask_admin, at};
use crate::wire::Wire;
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
    assert!(site.run_client("ping", &["-c", "1", "-s", "1400", &own.to_string()]).contains("1408 bytes from"));
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
    // The worker over AF_XDP may not have come to publish anything yet.
    site.wait_for_counter("passive_opens");
    assert_eq!(site.counter("passive_opens"), 0);
}

#[test]
fn a_claimed_port_is_reserved() {
    let Some(site) = Site::start(Transport::Xdp) else { return };
    let taken = site.network.server.run(|| TcpListener::bind(("0.0.0.0", PORT)));
    assert_eq!(taken.unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
}

/// Runs ip(8) in the calling thread's namespace; returns what it wrote.
fn ip(arguments: &str) -> String {
    let output = std::process::Command::new("ip").args(arguments.split_whitespace()).output().unwrap();
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
    wait_until("the client's kernel has heard the announcement", crate::PATIENCE, || {
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
        wait_until("s0 has a carrier", crate::PATIENCE, || netns::interface("s0").unwrap().carrier);
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

/// A NIC that filters lets neighbour discovery's questions through only if somebody asks for their group.
#[test]
fn rfc_4861_section_7_2_1_the_groups_of_an_own_address_are_joined_while_it_is_served() {
    let plan = Plan::new(Transport::Xdp);
    let Some(network) = plan.network() else { return };
    let own = network.address_v6(7);
    let mut site = plan.with(&format!("--address {own} --address-probe 20ms")).start_in(network);
    let groups = |site: &Site| {
        site.network.server.run(|| std::fs::read_to_string("/proc/thread-self/net/dev_mcast")).unwrap()
    };
    let served = groups(&site);
    assert!(served.lines().any(|line| line.contains("s0") && line.ends_with("3333ff000007")), "{served}");
    assert!(site.terminate().success());
    let left = groups(&site);
    assert!(!left.contains("3333ff000007"), "{left}");
    assert!(left.contains("3333ff000001"), "the kernel's own are left alone: {left}");
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
    let mut said = BufReader::new(process.child().stderr.take().expect("standard error is piped")).lines();
    assert!(said.by_ref().map_while(Result::ok).any(|line| line.contains("asking whether another host has")));
    let ready = ask_admin(&network, "/readyz").unwrap();
    assert!(ready.starts_with("HTTP/1.1 503 ") && ready.ends_with("not ready: starting\n"), "{ready}");
    process.signal(rustix::process::Signal::HUP);
    assert!(said.by_ref().map_while(Result::ok).any(|line| line.contains("SIGHUP")));
    process.signal(rustix::process::Signal::TERM);
    assert!(process.wait(crate::PATIENCE).success());
    let rest: Vec<String> = said.map_while(Result::ok).collect();
    assert!(rest.iter().any(|line| line.contains("stopped before anything was served")), "{rest:?}");
}

#[test]
fn an_address_of_its_own_is_defended() {
    let plan = Plan::new(Transport::Xdp);
    let Some(network) = plan.network() else { return };
    let IpAddr::V4(own) = network.address(7) else { unreachable!() };
    let mut site = plan.with(&format!("--address {own} --address-probe 0")).start_in(network);
    site.connect_to(at(own.into())).expect("/12", &site.content("/12"));
    let mut wire = Wire::new(&site);
    let (intruder, target) = ([2, 0, 0, 0, 0, 9], site.network.address(2));
    let IpAddr::V4(target) = target else { unreachable!() };
    let mut frame = vec![0xff; 6];
    frame.extend(intruder);
    frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(intruder);
    frame.extend(own.octets());
    frame.extend([0; 6]);
    frame.extend(target.octets());
    for _ in 0..3 {
        wire.send(&frame);
    }
    site.wait_for("address_conflicts", 3);
    assert_eq!(site.counter("address_defences"), 1, "one answer is enough for a while");
    site.wait_for_log(&format!("{own}, at 02:00:00:00:00:09"));
    site.connect_to(at(own.into())).expect("/12", &site.content("/12"));
}

//! Namespaces and veth pairs, with real traffic through the kernel's own sockets.

mod common;

use common::{Network, need_root, wait_until};
use simoom::netns::{self, Namespace};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

/// Sends a megabyte from the client to a listener at `address` and reads the server's answer.
fn talk(network: &Network, address: IpAddr) {
    let sent: Vec<u8> = (0..1_000_000u32).map(|i| i as u8).collect();
    let listener = network.server.run(|| TcpListener::bind(SocketAddr::new(address, 0))).unwrap();
    let at = listener.local_addr().unwrap();
    std::thread::scope(|scope| {
        let server = scope.spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut received = Vec::new();
            stream.read_to_end(&mut received).unwrap();
            stream.write_all(b"thanks").unwrap();
            received
        });
        let answer = network.client.run(|| {
            let mut stream = TcpStream::connect_timeout(&at, LIMIT).unwrap();
            stream.set_read_timeout(Some(LIMIT)).unwrap();
            stream.write_all(&sent).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        });
        assert_eq!(answer, "thanks");
        assert!(server.join().unwrap() == sent);
    });
}

#[test]
fn two_namespaces_talk_over_ipv4_and_ipv6() {
    if !need_root() {
        return;
    }
    let network = Network::new(1).unwrap();
    talk(&network, network.address(1));
    talk(&network, network.address_v6(1));
}

#[test]
fn an_interface_is_described_as_it_was_made() {
    if !need_root() {
        return;
    }
    let network = Network::new(3).unwrap();
    network.server.run(|| {
        netns::set_mtu("s0", 3000).unwrap();
        let s0 = netns::interface("s0").unwrap();
        assert!(s0.up && !s0.loopback && s0.index != 0 && s0.mac != [0; 6]);
        assert_eq!((s0.mtu_bytes, s0.rx_queues, s0.tx_queues), (3000, 3, 3));
        assert!(s0.addresses.contains(&(network.address(1), 24)), "{:?}", s0.addresses);
        assert!(s0.addresses.contains(&(network.address_v6(1), 64)), "{:?}", s0.addresses);
        wait_until("s0 has a carrier", LIMIT, || netns::interface("s0").unwrap().carrier);
    });
    network.client.run(|| {
        let c0 = netns::interface("c0").unwrap();
        assert_eq!((c0.mtu_bytes, c0.rx_queues, c0.tx_queues), (1500, 3, 3));
        let lo = netns::interface("lo").unwrap();
        assert!(lo.up && lo.loopback);
        let names: Vec<String> =
            netns::interfaces().into_iter().map(|interface| interface.name).collect();
        assert_eq!(names, ["lo", "c0"]);
    });
}

#[test]
fn a_route_names_the_congestion_control_whatever_the_default_is() {
    if !need_root() {
        return;
    }
    let network = Network::new(1).unwrap();
    let (IpAddr::V4(own), listening) = (network.address(1), network.address(2)) else {
        unreachable!("IPv4")
    };
    let listener = network.client.run(|| TcpListener::bind((listening, 0))).unwrap();
    let at = listener.local_addr().unwrap();
    for algorithm in ["reno", "cubic"] {
        network.server.run(|| {
            netns::set_congestion_control("s0", own, 24, algorithm).unwrap();
            let stream = TcpStream::connect_timeout(&at, LIMIT).unwrap();
            assert_eq!(rustix::net::sockopt::tcp_congestion(&stream).unwrap(), algorithm);
        });
    }
    let error = network
        .server
        .run(|| netns::set_congestion_control("s0", own, 24, "nonesuch"))
        .unwrap_err();
    assert!(error.to_string().contains("having TCP use nonesuch on s0"), "{error}");
}

#[test]
fn a_neighbour_is_believed() {
    if !need_root() {
        return;
    }
    let network = Network::new(1).unwrap();
    let mac = [2, 0, 0, 0, 0, 9];
    for address in [network.address(9), network.address_v6(9)] {
        network.client.run(|| {
            netns::add_neighbour("c0", address, mac).unwrap();
            netns::add_neighbour("c0", address, mac).expect("adding it again replaces it");
        });
    }
    let arp = network.client.run(|| std::fs::read_to_string("/proc/thread-self/net/arp")).unwrap();
    assert!(arp.contains("02:00:00:00:00:09"), "{arp}");
}

#[test]
fn threads_and_processes_started_inside_stay_inside() {
    if !need_root() {
        return;
    }
    let network = Network::new(1).unwrap();
    let devices = || std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let seen = network.server.run(|| std::thread::spawn(devices).join().unwrap());
    assert!(seen.contains("s0:"), "{seen}");
    let child =
        network.client.run(|| Command::new("cat").arg("/proc/self/net/dev").output()).unwrap();
    assert!(String::from_utf8_lossy(&child.stdout).contains("c0:"), "{child:?}");
    assert!(!devices().contains("c0:"), "the test's own thread is where it was");
}

#[test]
fn a_namespace_goes_with_its_value() {
    if !need_root() {
        return;
    }
    let network = Network::new(1).unwrap();
    let Network { server, client, .. } = network;
    drop(client);
    server.run(|| {
        wait_until("the end of the pair goes with its peer's namespace", LIMIT, || {
            netns::interface("s0").is_err_and(|error| error.kind() == ErrorKind::NotFound)
        });
    });
}

#[test]
fn a_panic_inside_goes_on_outside() {
    if !need_root() {
        return;
    }
    let namespace = Namespace::new().unwrap();
    let panic = std::panic::catch_unwind(|| namespace.run(|| panic!("inside"))).unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"inside"));
}

#[test]
fn errors_name_what_was_being_done() {
    if !need_root() {
        return;
    }
    let network = Network::new(1).unwrap();
    network.server.run(|| {
        let unknown = netns::interface("nope").unwrap_err().to_string();
        assert!(unknown.contains("\"nope\"") && unknown.contains("lo, s0"), "{unknown}");
        let twice = netns::set_address("s0", network.address(1), 24).unwrap_err();
        assert!(
            twice.to_string().contains("s0") && twice.to_string().contains("exists"),
            "{twice}"
        );
        let absurd = netns::set_address("s0", network.address(3), 77).unwrap_err();
        assert!(absurd.to_string().contains("/77"), "{absurd}");
    });
    let clash = netns::veth(&network.server, "s0", &network.client, "c1", 1).unwrap_err();
    assert!(clash.to_string().contains("s0 and c1"), "{clash}");
}

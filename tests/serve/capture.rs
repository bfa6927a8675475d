//! What tshark makes of the server's packets: captured at the peer's end, with every checksum
//! validated.

use crate::common::capture::Capture;
use crate::common::{Network, Path, TEST_TIMEOUT, need_program, need_root, run_in, skip};
use crate::site::{FILES, LARGE, PORT, Plan, Site, Transport};
use pnet::datalink::{self, Channel, DataLinkReceiver};
use simoom_tcp::wire::{self, Incoming};
use simoom_tcp::{ChecksumPolicy, Packet};
use std::time::Duration;

const NGINX: u16 = 8081;

/// Whether there is all that is needed, and the network if so.
fn network(path: Path) -> Option<Network> {
    let ready =
        need_root() && need_program("tshark") && need_program("ethtool") && need_program("curl");
    ready.then(|| Network::through(path).unwrap())
}

fn download(site: &Site, port: u16, path: &str) {
    let url = format!("http://{}:{port}{path}", site.network.address(1));
    let got = tempfile::NamedTempFile::new().unwrap();
    site.run_client(
        "curl",
        &["-sSf", "--max-time", "120", "-o", got.path().to_str().unwrap(), &url],
    );
    assert!(std::fs::read(got.path()).unwrap() == site.content(path), "{path} came otherwise");
}

/// Files of all sizes, errors, several requests on a connection, a client that resets it.
#[test]
fn tshark_finds_no_fault_in_ordinary_traffic() {
    for by in ["auto", "software"] {
        let path = Path { delay: Duration::from_millis(5), ..Path::default() };
        let Some(network) = network(path) else { return };
        let plan = Plan::new(Transport::Xdp).with(&format!("--tx-checksum {by}"));
        finds_no_fault(&plan.start_in(network));
    }
}

fn finds_no_fault(site: &Site) {
    let capture = Capture::start(&site.network);
    let mut client = site.connect();
    for (path, _) in FILES {
        client.expect(path, &site.content(path));
        download(site, PORT, path);
    }
    client.request("/none");
    assert_eq!(client.answer().status, 404);
    client.request(LARGE);
    client.take(1000);
    client.reset();
    site.wait_for("closed_reset_by_peer", 1);
    let [verdict] = capture.judge([PORT]);
    println!("{verdict:?}");
    assert!(verdict.faults.is_empty(), "{:?}", verdict.faults);
    assert!(verdict.texts > 2 * (10 << 20) / 1460, "the capture has what was sent");
}

/// The checksums of segments at the peer's end. On a veth with its offload they are left to the
/// peer, as by a kernel, unless the server computes them. Without the offload the kernel computes
/// what was left to it, as for a NIC that cannot.
#[test]
fn checksums_on_the_wire_are_full_or_left_to_a_peer_that_takes_them() {
    for (by, offload, expected) in [
        ("auto", "on", ChecksumPolicy::AcceptPartial),
        ("auto", "off", ChecksumPolicy::Verify),
        ("software", "on", ChecksumPolicy::Verify),
    ] {
        let plan = Plan::new(Transport::Xdp).with(&format!("--tx-checksum {by}"));
        let Some(network) = plan.network() else { return };
        if !need_program("ethtool") {
            return;
        }
        let site = plan.start_in(network);
        let offloads = site.log().contains("\"by\":\"offload\"");
        if by == "auto" && !offloads {
            return skip("needs TX metadata: Linux 6.11");
        }
        run_in(&site.network.server, "ethtool", &["-K", "s0", "tx", offload]);
        let mut receiver = packets(&site);
        for address in [site.network.address(1), site.network.address_v6(1)] {
            let mut client = site.connect_to((address, PORT).into());
            for path in ["/12", "/4k"] {
                client.expect(path, &site.content(path));
            }
            let mut text = 0;
            while text < 4096 + 12 {
                let frame = receiver.next().unwrap();
                let text_of = |policy| text_of(frame, policy);
                let Some(len) = text_of(ChecksumPolicy::AcceptPartial) else { continue };
                let is_full = text_of(ChecksumPolicy::Verify).is_some();
                assert_eq!(is_full, expected == ChecksumPolicy::Verify, "{by}, tx {offload}");
                text += len;
            }
        }
        let offloads = ["tx_checksum_requests", "gso_packets_sent"];
        match by {
            "auto" => offloads.iter().for_each(|counter| site.wait_for(counter, 1)),
            _ => assert_eq!(offloads.map(|counter| site.counter(counter)), [0, 0]),
        }
    }
}

/// What passes the client's interface from now on.
fn packets(site: &Site) -> Box<dyn DataLinkReceiver> {
    site.network.client.run(|| {
        let interfaces = datalink::interfaces();
        let interface = interfaces.iter().find(|interface| interface.name == "c0").unwrap();
        // A packet that the kernel or the NIC is to cut has up to 64 KiB.
        let config = datalink::Config {
            read_buffer_size: 1 << 17,
            read_timeout: Some(TEST_TIMEOUT),
            ..datalink::Config::default()
        };
        match datalink::channel(interface, config).unwrap() {
            Channel::Ethernet(_, receiver) => receiver,
            _ => panic!("c0 is an Ethernet interface"),
        }
    })
}

/// Bytes of text in a segment of the server, if its checksum is accepted.
fn text_of(frame: &[u8], checksums: ChecksumPolicy) -> Option<usize> {
    match wire::parse(Packet(&[frame]), checksums) {
        Ok(Incoming::Tcp(segment)) if segment.remote_port == PORT => Some(segment.payload.len()),
        _ => None,
    }
}

/// The same path, the same losses: Linux's TCP is the measure of what is sent for nothing.
#[test]
fn tshark_finds_no_more_sent_for_nothing_than_linux_sends() {
    let path =
        Path { delay: Duration::from_micros(200), loss_permille: 10, seed: 4, ..Path::default() };
    if !need_program("nginx") || !need_program("ip") {
        return;
    }
    let Some(network) = network(path) else { return };
    let site = Plan::new(Transport::Xdp).start_in(network);
    let _nginx = crate::common::nginx(&site.network, site.root(), NGINX);
    let capture = Capture::start(&site.network);
    for port in [NGINX, PORT] {
        download(&site, port, LARGE);
    }
    let [linux, ours] = capture.judge([NGINX, PORT]);
    println!("Linux {linux:?}\nours {ours:?}");
    assert!(ours.faults.is_empty(), "{:?}", ours.faults);
    assert!(ours.retransmissions > 0, "a hundredth was lost");
    // A timer that a busy machine lets fire late or early repeats a segment now and then.
    let allowed = linux.spurious * ours.texts / linux.texts.max(1) + ours.texts / 200;
    assert!(ours.spurious <= allowed, "{} of {} segments for nothing", ours.spurious, ours.texts);
}

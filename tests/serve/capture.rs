//! What tshark makes of the server's packets: captured at the peer's end, with every checksum
//! validated.

use crate::common::capture::Capture;
use crate::common::{Network, Path, need_program, need_root, skip};
use crate::site::{FILES, LARGE, PORT, Plan, Site, Transport};
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
    let path = Path { delay: Duration::from_millis(5), ..Path::default() };
    let Some(network) = network(path) else { return };
    let site = Plan::new(Transport::Xdp).start_in(network);
    let capture = Capture::start(&site.network);
    let mut client = site.connect();
    for (path, _) in FILES {
        client.expect(path, &site.content(path));
        download(&site, PORT, path);
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

/// On a path like that of a NIC without offloads, the kernel completes the checksums that were
/// left to it. On a veth with its offload, the server's own are complete on the wire if it computes them.
#[test]
fn checksums_are_right_on_the_wire_whoever_computes_them() {
    for (by, offload) in [("auto", false), ("software", false), ("software", true)] {
        let Some(network) = network(Path::default()) else { return };
        let network = if offload { Network::new(1).unwrap() } else { network };
        let plan = Plan::new(Transport::Xdp).with(&format!("--tx-checksum {by}"));
        let site = plan.start_in(network);
        let capture = Capture::start(&site.network);
        download(&site, PORT, LARGE);
        let mut over_ipv6 = site.connect_to((site.network.address_v6(1), PORT).into());
        for (path, _) in FILES.iter().filter(|(path, _)| *path != LARGE) {
            over_ipv6.expect(path, &site.content(path));
        }
        let offloads = ["tx_checksum_requests", "gso_packets_sent"];
        match by {
            "auto" => offloads.iter().for_each(|counter| site.wait_for(counter, 1)),
            _ => assert_eq!(offloads.map(|counter| site.counter(counter)), [0, 0]),
        }
        let [verdict] = capture.judge([PORT]);
        assert!(verdict.faults.is_empty(), "{by}: {:?}", verdict.faults);
        assert!(verdict.texts > (10 << 20) / 1460, "{by}: the capture has what was sent");
    }
}

/// On a veth with its offload the peer gets the sum of the pseudo-header alone, as from a kernel.
#[test]
fn a_veth_leaves_checksums_to_the_peer() {
    let Some(site) = Site::start(Transport::Xdp) else { return };
    if !site.log().contains("\"by\":\"offload\"") {
        return skip("needs TX metadata: Linux 6.11");
    }
    if !need_program("tshark") {
        return;
    }
    let capture = Capture::start(&site.network);
    let mut client = site.connect();
    for (path, _) in FILES {
        client.expect(path, &site.content(path));
    }
    site.wait_for("tx_checksum_requests", 1);
    let [verdict] = capture.judge([PORT]);
    assert!(verdict.texts > 0 && verdict.faults.len() as u64 >= verdict.texts, "{verdict:?}");
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

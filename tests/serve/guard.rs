//! Claimed segments that come to the kernel: the XDP program does not see those that tc has
//! redirected to the interface, and a receive queue may have no socket. The guard at tc ingress
//! keeps them from the kernel, which would reset their connections.

use crate::TEST_TIMEOUT;
use crate::client::Client;
use crate::common::{Network, need_program, run_in};
use crate::site::{PORT, Plan, Site, Transport, at};
use crate::watch::detach_program;
use simoom::netns::{self, Namespace};
use std::net::{IpAddr, TcpStream};

/// Flags for the modes that a veth has.
pub const MODES: [&str; 2] = ["--xdp-mode generic", "--xdp-mode copy"];

/// Downloads in turn, each on a connection of its own.
const DOWNLOADS: u64 = 20;

/// The segments that leave the client and are mirrored or redirected.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Segments {
    All,
    /// Without SYNs.
    Established,
}

fn tc(namespace: &Namespace, arguments: &str) {
    run_in(namespace, "tc", &arguments.split_whitespace().collect::<Vec<_>>());
}

/// Joins the namespaces by a second veth pair, `d0` and `e0`. tc redirects what comes in on `e0`
/// to `s0`.
fn detour(network: &Network) {
    netns::veth(&network.server, "e0", &network.client, "d0", 1).unwrap();
    let own = network.server.run(|| netns::interface("s0")).unwrap().mac;
    let own = own.map(|byte| format!("{byte:02x}")).join(":");
    run_in(&network.server, "ip", &["link", "set", "e0", "address", &own]);
    network.server.run(|| netns::set_up("e0")).unwrap();
    network.client.run(|| netns::set_up("d0")).unwrap();
    tc(&network.server, "qdisc add dev e0 clsact");
    tc(&network.client, "qdisc add dev c0 clsact");
    for (family, prio) in [("ip", 20), ("ipv6", 40)] {
        tc(
            &network.server,
            &format!(
                "filter add dev e0 ingress protocol {family} prio {prio} u32 match u32 0 0 \
                 action mirred ingress redirect dev s0"
            ),
        );
    }
}

/// tc does `action` ("mirror" or "redirect") to `d0` with the client's segments.
fn divert(network: &Network, segments: Segments, action: &str) {
    // The offsets are from the IP header, which has no options.
    for (family, next, header) in [("ip", 9, 20), ("ipv6", 6, 40)] {
        let flags = match segments {
            Segments::All => String::new(),
            Segments::Established => format!("match u8 0x10 0x12 at {}", header + 13),
        };
        tc(
            &network.client,
            &format!(
                "filter add dev c0 egress protocol {family} prio {header} u32 \
                 match u8 6 0xff at {next} match u16 {PORT} 0xffff at {} {flags} \
                 action mirred egress {action} dev d0",
                header + 2
            ),
        );
    }
}

/// A server with a detour to it that no segment takes yet.
fn start(mode: &str) -> Option<Site> {
    if !["tc", "ip"].into_iter().all(need_program) {
        return None;
    }
    let plan = Plan::new(Transport::Xdp).with(mode);
    let network = plan.network()?;
    detour(&network);
    Some(plan.start_in(network))
}

fn start_diverted(mode: &str, segments: Segments, action: &str) -> Option<Site> {
    let site = start(mode)?;
    divert(&site.network, segments, action);
    Some(site)
}

/// Resets that the kernel of the server's namespace has sent.
fn kernel_resets(network: &Network) -> u64 {
    let read = || std::fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
    let text = network.server.run(read);
    let mut lines = text.lines().filter(|line| line.starts_with("Tcp:"));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let at = names.split(' ').position(|name| name == "OutRsts").unwrap();
    values.split(' ').nth(at).unwrap().parse().unwrap()
}

fn downloads(site: &Site, address: IpAddr) {
    let body = site.content("/64k");
    for _ in 0..DOWNLOADS {
        let connect = || TcpStream::connect_timeout(&at(address), TEST_TIMEOUT);
        let stream = site.network.client.run(connect);
        Client::new(stream.unwrap()).expect("/64k", &body);
    }
}

#[test]
fn the_kernel_resets_no_connection_whose_segments_tc_duplicates() {
    duplicates(Segments::Established);
}

#[test]
fn the_kernel_answers_no_duplicate_of_a_syn() {
    duplicates(Segments::All);
}

fn duplicates(segments: Segments) {
    MODES.into_iter().for_each(|mode| duplicates_in(mode, segments));
}

fn duplicates_in(mode: &str, segments: Segments) {
    let Some(site) = start_diverted(mode, segments, "mirror") else { return };
    for address in [site.network.address(1), site.network.address_v6(1)] {
        let before = site.counter("steer_guard_dropped");
        downloads(&site, address);
        // Each download has at least a handshake's acknowledgement and a request.
        site.wait_for("steer_guard_dropped", before + 2 * DOWNLOADS);
        assert_eq!(kernel_resets(&site.network), 0, "{mode}: {address}");
    }
}

/// The first SYN of each of its addresses is dropped, in case that it is a duplicate.
#[test]
fn a_client_whose_segments_tc_redirects_is_the_kernels() {
    MODES.into_iter().for_each(redirected_in);
}

fn redirected_in(mode: &str) {
    let Some(site) = start_diverted(mode, Segments::All, "redirect") else { return };
    for address in [site.network.address(1), site.network.address_v6(1)] {
        downloads(&site, address);
    }
    assert_eq!(kernel_resets(&site.network), 0);
    site.wait_for("steer_guard_dropped", 2);
    assert_eq!(site.counter("steer_guard_dropped"), 2);
    site.wait_for_counter("connections_accepted");
    site.wait_for("connections_accepted", 2 * DOWNLOADS);
}

/// Its way has changed, or one forged SYN had its address: the kernel serves it within seconds, and
/// its later connections at once.
#[test]
fn a_client_that_was_steered_is_the_kernels_when_tc_redirects_its_segments() {
    for mode in MODES {
        let Some(site) = start(mode) else { return };
        let addresses = [site.network.address(1), site.network.address_v6(1)];
        let body = site.content("/12");
        let mut open = addresses.map(|address| site.connect_to(at(address)));
        open.iter_mut().for_each(|client| client.expect("/12", &body));
        site.wait_for("passive_opens", 2);
        divert(&site.network, Segments::All, "redirect");
        addresses.into_iter().for_each(|address| downloads(&site, address));
        site.wait_for("connections_accepted", 2 * DOWNLOADS);
        assert_eq!(site.counter("passive_opens"), 2, "{mode}");
        // The open connections stall until their segments are steered again.
        open.iter_mut().for_each(|client| client.request("/12"));
        site.run_client("tc", &["qdisc", "del", "dev", "c0", "clsact"]);
        open.iter_mut().for_each(|client| client.answer().is(200, &body));
        addresses.into_iter().for_each(|address| downloads(&site, address));
        site.wait_for("passive_opens", 2 + 2 * DOWNLOADS);
        assert_eq!(site.counter("connections_accepted"), 2 * DOWNLOADS, "{mode}");
        assert_eq!(kernel_resets(&site.network), 0, "{mode}");
        assert_eq!(site.counter("resets_sent"), 0, "{mode}");
    }
}

/// Prints the identifier of the first program at tc ingress of `s0` (bpf(2): BPF_PROG_QUERY).
const FIRST: &str = r#"
import ctypes, platform, socket, struct
libc = ctypes.CDLL(None, use_errno=True)
number = {"x86_64": 321, "aarch64": 280}[platform.machine()]
ids = (ctypes.c_uint * 64)()
query = struct.pack("=4IQ2I4Q", socket.if_nametoindex("s0"), 46, 0, 0, ctypes.addressof(ids), 64, *[0] * 5)
attributes = ctypes.create_string_buffer(query, len(query))
if libc.syscall(number, 16, attributes, len(query)):
    raise OSError(ctypes.get_errno())
print(ids[0])
"#;

/// The identifier of the guard, 0 if it is not attached.
fn guard(site: &Site) -> String {
    run_in(&site.network.server, "python3", &["-c", FIRST]).trim().to_owned()
}

#[test]
fn a_guard_detached_from_outside_is_attached_again() {
    if !need_program("python3") {
        return;
    }
    for policy in ["repair", "end"] {
        let flags = format!("{} --on-interface-change {policy}", MODES[0]);
        let Some(mut site) = start(&flags) else { return };
        divert(&site.network, Segments::Established, "mirror");
        let id = guard(&site);
        detach_program(&id);
        site.wait_for_log("the guard at tc ingress was detached from outside");
        site.wait_for_log("the guard is attached again");
        site.wait_for("guard_reattachments", 1);
        assert_eq!(site.counter("guard_detachments"), 1, "{policy}");
        assert_eq!(guard(&site), id, "{policy}");
        let address = site.network.address(1);
        downloads(&site, address);
        site.wait_for("steer_guard_dropped", 2 * DOWNLOADS);
        assert_eq!(kernel_resets(&site.network), 0, "{policy}");
        assert!(site.terminate().success(), "{}", site.log());
    }
}

/// A queue that is added while it serves has no socket. Its connections stall, and go on when it is
/// gone. New ones are the kernel's, and stay that.
#[test]
fn the_kernel_resets_no_connection_whose_segments_come_to_a_queue_without_a_socket() {
    if !need_program("ethtool") {
        return;
    }
    // In generic mode: in copy mode a veth must have a queue for each of its peer's. A frame that
    // was sent on queue n > 0 arrives on queue n - 1.
    let plan = Plan { queues: 4, ..Plan::new(Transport::Xdp).with(MODES[0]) };
    let Some(network) = plan.network() else { return };
    let queues = |network: &Network, count: &str| {
        run_in(&network.server, "ethtool", &["-L", "s0", "rx", count, "tx", count]);
    };
    queues(&network, "1");
    let site = plan.start_in(network);
    // So many that some come to each queue.
    let addresses = [site.network.address(1), site.network.address_v6(1)];
    let mut clients: Vec<Client> = (0..64).map(|n| site.connect_to(at(addresses[n % 2]))).collect();
    let body = site.content("/12");
    clients.iter_mut().for_each(|client| client.expect("/12", &body));
    queues(&site.network, "4");
    clients.iter_mut().for_each(|client| client.request("/12"));
    site.wait_for("steer_guard_dropped", 1);
    assert!(site.counter("steer_no_socket") > 0);
    let mut new: Vec<Client> = (0..64).map(|n| site.connect_to(at(addresses[n % 2]))).collect();
    new.iter_mut().for_each(|client| client.expect("/12", &body));
    // Some come to each queue.
    site.wait_for("connections_accepted", 1);
    site.wait_for("passive_opens", 65);
    queues(&site.network, "1");
    for client in &mut clients {
        client.answer().is(200, &body);
    }
    new.iter_mut().for_each(|client| client.expect("/12", &body));
    assert_eq!(site.counter("resets_sent"), 0);
    assert_eq!(kernel_resets(&site.network), 0);
}

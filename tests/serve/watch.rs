//! What changes outside while a server runs is noticed: told by /readyz, logged, counted, and
//! repaired where it can be.

use crate::TEST_TIMEOUT;
use crate::client::Client;
use crate::common::{Network, need_program, run_in, wait_until};
use crate::site::{PORT, Plan, Site, Transport, at};
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;

const MEMCACHED: u16 = 11211;

/// Detaches the program with the identifier that it is given, as `bpftool link detach` does:
/// among all links the one whose file says that it is of this program (bpf(2):
/// BPF_LINK_GET_NEXT_ID, BPF_LINK_GET_FD_BY_ID, BPF_LINK_DETACH).
const DETACH: &str = r#"
import ctypes, platform, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
number = {"x86_64": 321, "aarch64": 280}[platform.machine()]
def bpf(command, *words):
    attributes = ctypes.create_string_buffer(struct.pack("=4I", *words, *[0] * (4 - len(words))), 16)
    return libc.syscall(number, command, attributes, 16), attributes
link = 0
while True:
    result, attributes = bpf(31, link)
    if result:
        sys.exit("no link of program " + sys.argv[1])
    link = struct.unpack_from("=I", attributes, 4)[0]
    fd, _ = bpf(30, link)
    if fd >= 0 and "prog_id:\t" + sys.argv[1] + "\n" in open("/proc/self/fdinfo/%d" % fd).read():
        result, _ = bpf(34, fd)
        sys.exit(result and ctypes.get_errno())
"#;

/// The identifier of the program on the server's interface, if there is one.
fn program(site: &Site) -> Option<String> {
    let text = run_in(&site.network.server, "ip", &["link", "show", "dev", "s0"]);
    let (_, rest) = text.split_once("prog/xdp id ")?;
    Some(rest.split_whitespace().next().unwrap().to_owned())
}

pub fn is_attached(site: &Site) -> bool {
    program(site).is_some()
}

pub fn detach(site: &Site) {
    detach_program(&program(site).expect("a program is attached"));
}

/// Detaches the program with this identifier.
pub fn detach_program(id: &str) {
    let output = Command::new("python3").args(["-c", DETACH, id]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn run_server(site: &Site, program: &str, arguments: &[&str]) {
    run_in(&site.network.server, program, arguments);
}

pub fn wait_for_readyz(site: &Site, end: &str) {
    wait_until(&format!("/readyz ends with {end:?}"), TEST_TIMEOUT, || {
        site.admin("/readyz").ends_with(end)
    });
}

#[test]
fn a_program_detached_from_outside_is_attached_again() {
    if !need_program("ip") || !need_program("python3") {
        return;
    }
    let Some(mut site) = Site::start(Transport::Xdp) else { return };
    let mut open = site.connect();
    open.expect("/12", &site.content("/12"));
    let before = program(&site);
    detach(&site);
    // The kernel sees this request, unless the program is attached again already.
    open.request("/64k");
    site.wait_for_log("the XDP program was detached from outside");
    site.wait_for_log("the XDP program is attached again");
    assert_eq!(program(&site), before);
    site.wait_for("xdp_reattachments", 1);
    assert_eq!(site.counter("xdp_detachments"), 1);
    wait_for_readyz(&site, "\r\n\r\nready\n");
    open.answer().is(200, &site.content("/64k"));
    // What comes now goes to the stack, not to the kernel's TCP.
    let accepted = site.counter("connections_accepted");
    let opens = site.counter("passive_opens");
    site.connect().expect("/64k", &site.content("/64k"));
    site.wait_for("passive_opens", opens + 1);
    assert_eq!(site.counter("connections_accepted"), accepted);
    assert!(site.terminate().success(), "{}", site.log());
}

#[test]
fn a_program_detached_from_outside_ends_the_server_if_that_is_asked_for() {
    if !need_program("ip") || !need_program("python3") {
        return;
    }
    let flags = "--on-interface-change end --drain-timeout 1s";
    let Some(mut site) = Plan::new(Transport::Xdp).with(flags).start() else { return };
    detach(&site);
    assert_eq!(site.process.wait(TEST_TIMEOUT).code(), Some(1), "{}", site.log());
    wait_until("the reason is told", TEST_TIMEOUT, || {
        site.log().contains("error: --interface s0: the XDP program was detached from outside")
    });
}

#[test]
fn a_lost_link_is_told_until_it_is_back() {
    if !need_program("ip") {
        return;
    }
    let Some(mut site) = Site::start(Transport::Xdp) else { return };
    wait_for_readyz(&site, "\r\n\r\nready\n");
    site.run_client("ip", &["link", "set", "c0", "down"]);
    wait_for_readyz(&site, "not ready: link_down\n");
    site.wait_for_log("the interface has lost its link");
    site.run_client("ip", &["link", "set", "c0", "up"]);
    wait_for_readyz(&site, "\r\n\r\nready\n");
    site.wait_for_log("the link is up again");
    site.wait_for("link_losses", 1);
    site.connect().expect("/12", &site.content("/12"));
    assert!(site.metrics().contains("simoom_not_ready{reason=\"link_down\"} 0\n"));
}

/// The path black holes count segments that no longer fit.
#[test]
fn an_mtu_that_changes_is_followed_by_open_and_new_connections() {
    let Some(mut site) = Site::start(Transport::Xdp) else { return };
    let content = site.content("/64k");
    let mut open = site.connect();
    open.expect("/64k", &content);
    let set = |site: &Site, mtu_bytes| {
        site.network.server.run(|| simoom::netns::set_mtu("s0", mtu_bytes)).unwrap();
    };
    set(&site, 1280);
    site.wait_for_log("\"before_bytes\":1500,\"mtu_bytes\":1280");
    site.wait_for("path_mtu_lowered", 1);
    // A veth end drops longer frames than its MTU allows.
    site.network.client.run(|| simoom::netns::set_mtu("c0", 1280)).unwrap();
    open.expect("/64k", &content);
    site.connect().expect("/64k", &content);
    site.network.client.run(|| simoom::netns::set_mtu("c0", 1500)).unwrap();
    set(&site, 1500);
    site.wait_for_log("\"before_bytes\":1280,\"mtu_bytes\":1500");
    site.connect().expect("/64k", &content);
    site.wait_for("mtu_changes", 2);
    assert_eq!((site.counter("path_mtu_lowered"), site.counter("path_black_holes")), (1, 0));
    assert_eq!(site.counter("retransmission_timeouts"), 0, "{}", site.metrics());
}

/// Without `--address`, what the interface gets later is served as what it had: the failover of an
/// address, or router advertisements that come after the start.
#[test]
fn an_address_that_comes_is_served() {
    if !need_program("ip") {
        return;
    }
    let plan = Plan { queues: 2, ..Plan::new(Transport::Xdp) }
        .with(&format!("--cores 0,1 --memory 8M --memcached 0.0.0.0:{MEMCACHED}"));
    let Some(mut site) = plan.start() else { return };
    let content = site.content("/64k");
    let mut before = site.connect();
    before.expect("/64k", &content);
    let mut changes = 0;
    for address in [site.network.address(9), site.network.address_v6(9)] {
        let prefix = format!("{address}/{}", if address.is_ipv4() { 24 } else { 64 });
        run_server(&site, "ip", &["address", "add", &prefix, "dev", "s0", "nodad"]);
        site.wait_for_log(&format!("\"address\":\"{address}\""));
        assert!(site.log().contains("it is served from now on"), "{}", site.log());
        for _ in 0..4 {
            site.connect_to(at(address)).expect("/64k", &content);
        }
        let local = site.network.server.run(|| TcpStream::connect(at(address))).unwrap();
        Client::new(local).expect("/64k", &content);
        if address.is_ipv4() {
            asks_for_the_version(&site, SocketAddr::new(address, MEMCACHED));
        }
        run_server(&site, "ip", &["address", "del", &prefix, "dev", "s0"]);
        site.wait_for("address_changes", changes + 2);
        site.wait_for_log("has lost a served address");
        run_server(&site, "ip", &["address", "add", &prefix, "dev", "s0", "nodad"]);
        site.wait_for("address_changes", changes + 3);
        site.wait_for_log("has a served address again");
        site.connect_to(at(address)).expect("/64k", &content);
        changes += 3;
    }
    before.expect("/64k", &content);
    site.wait_for("connections_accepted", 2);
    let accepted = site.counter("connections_accepted");
    assert_eq!(accepted, 2, "the kernel's TCP served local clients, and no others");
}

/// Adds or deletes addresses of `s0`, all at once, and waits until that is noticed.
pub fn change_addresses(site: &mut Site, verb: &str, addresses: &[IpAddr], changes: &mut u64) {
    let line = |address: &IpAddr| match address {
        IpAddr::V4(_) => format!("address {verb} {address}/24 dev s0\n"),
        IpAddr::V6(_) => format!("address {verb} {address}/64 dev s0 nodad\n"),
    };
    let batch = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&batch, addresses.iter().map(line).collect::<String>()).unwrap();
    run_server(site, "ip", &["-batch", batch.path().to_str().unwrap()]);
    *changes += addresses.len() as u64;
    site.wait_for("address_changes", *changes);
}

/// After a failover the other host has the address, and is a client like any other.
#[test]
fn the_next_owner_of_an_address_is_served() {
    if !(need_program("ip") && need_program("curl")) {
        return;
    }
    let Some(mut site) = Site::start(Transport::Xdp) else { return };
    let shared = site.network.address(9);
    let mut changes = 0;
    change_addresses(&mut site, "add", &[shared], &mut changes);
    site.connect_to(at(shared)).expect("/12", &site.content("/12"));
    change_addresses(&mut site, "del", &[shared], &mut changes);
    site.run_client("ip", &["address", "add", &format!("{shared}/24"), "dev", "c0"]);
    asks_from(&site, shared);
}

/// Duplicate address detection finds that another host has the address: it stays that host's.
#[test]
fn an_address_of_another_host_stays_its_own() {
    if !(need_program("ip") && need_program("curl")) {
        return;
    }
    let Some(mut site) = Site::start(Transport::Xdp) else { return };
    let shared = site.network.address_v6(9);
    let prefix = format!("{shared}/64");
    site.run_client("ip", &["address", "add", &prefix, "dev", "c0", "nodad"]);
    asks_from(&site, shared);
    run_server(&site, "ip", &["address", "add", &prefix, "dev", "s0"]);
    wait_until("the address is a duplicate", TEST_TIMEOUT, || {
        run_in(&site.network.server, "ip", &["address", "show", "dev", "s0"]).contains("dadfailed")
    });
    // The check that sees this address has seen the other, too.
    let mut changes = site.counter("address_changes");
    let late = site.network.address(8);
    change_addresses(&mut site, "add", &[late], &mut changes);
    assert!(!site.log().contains(&format!("\"address\":\"{shared}\"")), "{}", site.log());
    asks_from(&site, shared);
}

/// Fetches a file from the client's address `source`.
fn asks_from(site: &Site, source: IpAddr) {
    let own = if source.is_ipv4() { site.network.address(1) } else { site.network.address_v6(1) };
    let url = format!("http://{}/12", at(own));
    let timeout = TEST_TIMEOUT.as_secs().to_string();
    let source = source.to_string();
    let flags = ["-sS", "--max-time", &timeout, "--interface", &source, "-o", "/dev/null"];
    let told = [&flags[..], &["-w", "%{http_code} %{size_download}", &url]].concat();
    assert_eq!(site.run_client("curl", &told), "200 12", "from {source}");
}

/// Asks memcached at `address` for its version, from the client's namespace.
fn asks_for_the_version(site: &Site, address: SocketAddr) {
    version(&mut connects(site, address));
}

fn connects(site: &Site, address: SocketAddr) -> TcpStream {
    let connect = || TcpStream::connect_timeout(&address, TEST_TIMEOUT);
    let stream = site.network.client.run(connect).unwrap();
    stream.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    stream
}

fn version(stream: &mut TcpStream) {
    stream.write_all(b"version\r\n").unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    assert!(line.starts_with("VERSION "), "{line:?}");
}

/// An address that moves to the interface takes its connections with it: those that the kernel has
/// accepted before stay the kernel's, and new ones are steered.
#[test]
fn connections_outlive_the_move_of_their_address() {
    if !need_program("ip") {
        return;
    }
    for (any, host_bits, bits) in [("0.0.0.0", 32, 24), ("[::]", 128, 64)] {
        let plan =
            Plan::new(Transport::Xdp).with(&format!("--memory 8M --memcached {any}:{MEMCACHED}"));
        let Some(mut site) = plan.start() else { return };
        let address = match host_bits {
            32 => site.network.address(9),
            _ => site.network.address_v6(9),
        };
        move_under_a_connection(&mut site, address, host_bits, bits);
    }
}

fn move_under_a_connection(site: &mut Site, address: IpAddr, host_bits: u8, bits: u8) {
    let ip = |site: &Site, arguments: String| {
        run_server(site, "ip", &arguments.split_whitespace().collect::<Vec<_>>());
    };
    let mac = site.network.server.run(|| simoom::netns::interface("s0")).unwrap().mac;
    let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
    // The kernel has the address elsewhere. Over IPv6 it does not answer for it at s0.
    ip(site, format!("address add {address}/{host_bits} dev lo"));
    let neighbour = ["neigh", "replace", &address.to_string(), "lladdr", &mac, "dev", "c0"];
    run_in(&site.network.client, "ip", &neighbour);
    let at = SocketAddr::new(address, MEMCACHED);
    let mut before = connects(site, at);
    version(&mut before);
    ip(site, format!("address del {address}/{host_bits} dev lo"));
    ip(site, format!("address add {address}/{bits} dev s0 nodad"));
    site.wait_for_log(&format!("\"address\":\"{address}\""));
    assert!(site.log().contains("it is served from now on"), "{}", site.log());
    version(&mut before);
    let mut after = connects(site, at);
    version(&mut after);
    site.wait_for("passive_opens", 1);
    version(&mut before);
    site.wait_for("connections_accepted", 1);
    assert_eq!(site.counter("connections_accepted"), 1, "the kernel has the earlier one alone");
}

/// The name of an interface is not its identity.
#[test]
fn a_renamed_interface_keeps_its_addresses() {
    if !need_program("ip") {
        return;
    }
    let Some(mut site) = Site::start(Transport::Xdp) else { return };
    // The kernel gives all but the first address a label when the name changes.
    let (second, mut changes) = (site.network.address(8), 0);
    change_addresses(&mut site, "add", &[second], &mut changes);
    run_server(&site, "ip", &["link", "set", "s0", "name", "renamed"]);
    let late = site.network.address(9);
    run_server(&site, "ip", &["address", "add", &format!("{late}/24"), "dev", "renamed"]);
    // The check that sees this address has seen the others, too.
    wait_until("the late address is served", TEST_TIMEOUT, || {
        site.counter("address_changes") > changes
    });
    assert!(!site.log().contains("has lost"), "{}", site.log());
    site.connect_to(at(late)).expect("/64k", &site.content("/64k"));
    site.serves_others();
}

/// The kernel may know an IPv4 address by a label (`ip address add … label s0:vip`), as failover
/// tools use, instead of the interface.
#[test]
fn an_address_with_a_label_is_served() {
    if !need_program("ip") {
        return;
    }
    let plan = Plan::new(Transport::Xdp);
    let Some(network) = plan.network() else { return };
    let [early, late] = [8, 9].map(|host| network.address(host));
    let add = |network: &Network, address: IpAddr, label: &str| {
        let address = format!("{address}/24");
        run_in(&network.server, "ip", &["address", "add", &address, "dev", "s0", "label", label]);
    };
    add(&network, early, "s0:vip");
    let mut site = plan.start_in(network);
    site.connect_to(at(early)).expect("/64k", &site.content("/64k"));
    // ip(8) accepts labels without a colon, too.
    add(&site.network, late, "s0vip");
    site.wait_for_log("it is served from now on");
    site.connect_to(at(late)).expect("/64k", &site.content("/64k"));
}

/// The address of another server, which listens there already, is left to it.
#[test]
fn an_address_that_comes_with_a_server_of_its_own_is_left_to_it() {
    if !need_program("ip") {
        return;
    }
    let Some(mut site) = Site::start(Transport::Xdp) else { return };
    let address = site.network.address(9);
    let free_bind = "/proc/sys/net/ipv4/ip_nonlocal_bind";
    let listener = site.network.server.run(|| {
        std::fs::write(free_bind, "1").unwrap();
        TcpListener::bind(SocketAddr::new(address, PORT)).unwrap()
    });
    run_server(&site, "ip", &["address", "add", &format!("{address}/24"), "dev", "s0"]);
    site.wait_for_log("that cannot be served");
    let reach = || TcpStream::connect_timeout(&SocketAddr::new(address, PORT), TEST_TIMEOUT);
    site.network.client.run(reach).unwrap();
    listener.accept().unwrap();
    site.serves_others();
}

/// With `--address` the set of served addresses is fixed: the log states the effect of each change.
#[test]
fn addresses_that_come_and_go_are_told() {
    if !need_program("ip") {
        return;
    }
    let own = "198.18.255.9";
    let plan = Plan::new(Transport::Xdp);
    let Some(network) = plan.network() else { return };
    let shared = network.address(1).to_string();
    let flags = format!("--address {shared} --address {own} --address-probe 0");
    let mut site = plan.with(&flags).start_in(network);
    site.connect().expect("/12", &site.content("/12"));
    let change = |site: &Site, what: &str, address: &str| {
        let address = format!("{address}/24");
        run_server(site, "ip", &["address", what, &address, "dev", "s0"]);
    };
    for (what, address, told) in [
        ("add", "198.18.254.7", "it is not served, as the flags name others"),
        ("del", "198.18.254.7", "has lost an address\""),
        ("del", &shared, "has lost a served address"),
        ("add", &shared, "has a served address again"),
        ("add", own, "was given an address of Simoom's own"),
        ("del", own, "has lost an address of Simoom's own"),
    ] {
        change(&site, what, address);
        site.wait_for_log(told);
    }
    site.connect().expect("/12", &site.content("/12"));
    site.wait_for("address_changes", 6);
    assert!(site.log().contains(own), "{}", site.log());
}

/// A server on one of two queues; the other is taken into use while it runs.
fn with_a_queue_to_spare(flags: &str) -> Option<Site> {
    if !need_program("ethtool") {
        return None;
    }
    let plan = Plan { queues: 2, ..Plan::new(Transport::Xdp) }.with(flags);
    let network = plan.network()?;
    run_in(&network.server, "ethtool", &["-L", "s0", "rx", "1", "tx", "1"]);
    Some(plan.start_in(network))
}

#[test]
fn queues_added_while_it_serves_are_told_until_they_are_gone() {
    let Some(mut site) = with_a_queue_to_spare("") else { return };
    site.connect().expect("/12", &site.content("/12"));
    run_server(&site, "ethtool", &["-L", "s0", "rx", "2", "tx", "2"]);
    wait_for_readyz(&site, "not ready: queues_unserved\n");
    site.wait_for_log("s0 has 2 receive queues now, and 1 have a socket");
    run_server(&site, "ethtool", &["-L", "s0", "rx", "1", "tx", "1"]);
    wait_for_readyz(&site, "\r\n\r\nready\n");
    site.wait_for("queue_additions", 1);
}

#[test]
fn queues_added_while_it_serves_end_the_server_if_that_is_asked_for() {
    let flags = "--on-interface-change end --drain-timeout 1s";
    let Some(mut site) = with_a_queue_to_spare(flags) else { return };
    run_server(&site, "ethtool", &["-L", "s0", "rx", "2", "tx", "2"]);
    assert_eq!(site.process.wait(TEST_TIMEOUT).code(), Some(1), "{}", site.log());
    wait_until("the reason is told", TEST_TIMEOUT, || {
        site.log().contains("error: s0 has 2 receive queues now")
    });
}

/// Whoever cannot connect any more finds the reason in the log, in metrics and in /readyz.
#[test]
fn connections_that_run_out_are_told_and_counted() {
    let Some(mut site) = Plan::new(Transport::Epoll).with("--connections 4").start() else {
        return;
    };
    let held: Vec<_> = (0..4).map(|_| site.connect()).collect();
    wait_for_readyz(&site, "not ready: connections_exhausted\n");
    site.wait_for_log("all connections are in use (--connections)");
    site.wait_for("connection_exhaustions", 1);
    drop(held);
    wait_for_readyz(&site, "\r\n\r\nready\n");
    assert_eq!(site.counter("connection_exhaustions"), 1);
}

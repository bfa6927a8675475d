//! Busy polling over epoll: the worker suspends the interrupts of the NAPI instance that its
//! clients come through. A veth has instances with GRO on, for packets from a peer without TSO.

use crate::TEST_TIMEOUT;
use crate::common::{Network, need_program, run_in, skip};
use crate::site::{Plan, Site, Transport};
use std::net::TcpStream;

const SUSPENDED: &str = "interrupts are suspended while a worker polls";

/// A plan with busy polling.
fn plan() -> Plan {
    Plan::new(Transport::Epoll).with("--busy-poll")
}

/// A network whose packets come through NAPI instances with settings; `None` where there can be
/// none.
fn network_with_instances(plan: &Plan) -> Option<Network> {
    if af_xdp::features::kernel_version() < (6, 13) {
        skip("needs Linux 6.13");
        return None;
    }
    let network = need_program("ethtool").then(|| plan.network())??;
    run_in(&network.server, "ethtool", &["-K", "s0", "gro", "on"]);
    run_in(&network.client, "ethtool", &["-K", "c0", "tso", "off"]);
    Some(network)
}

/// The instances that the server has logged to have changed.
fn instances(site: &Site) -> Vec<u32> {
    let log = site.log();
    let lines = log.lines().filter(|line| line.contains(SUSPENDED));
    let id = |line: &str| {
        let (_, rest) = line.split_once("\"napi\":").unwrap();
        rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
    };
    lines.map(id).collect()
}

/// The time for which the interrupts of an instance may be suspended, and after which the kernel
/// polls; both 0 unless changed.
fn timeouts_ns(network: &Network, id: u32) -> (u64, u64) {
    let instance = network.server.run(|| af_xdp::napi::get(id)).unwrap();
    let settings = instance.settings.unwrap();
    (settings.irq_suspend_timeout, settings.gro_flush_timeout)
}

/// Packets that the kernel has received in busy polls, since the network was made.
fn polled_packets(network: &Network) -> u64 {
    let counters = run_in(&network.server, "cat", &["/proc/net/netstat"]);
    let mut lines = counters.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let at = names.split(' ').position(|name| name == "BusyPollRxPackets").unwrap();
    values.split(' ').nth(at).unwrap().parse().unwrap()
}

/// Asks until the kernel has received packets in busy polls.
fn ask_until_polled(site: &Site) {
    let (mut client, body) = (site.connect(), site.content("/64k"));
    crate::common::wait_until("packets come by busy polls", TEST_TIMEOUT, || {
        client.expect("/64k", &body);
        polled_packets(&site.network) > 0
    });
}

#[test]
fn interrupts_are_suspended_while_clients_are_served_and_settings_restored_at_the_end() {
    let plan = plan();
    let Some(network) = network_with_instances(&plan) else { return };
    let mut site = plan.start_in(network);
    assert_eq!(polled_packets(&site.network), 0);
    ask_until_polled(&site);
    site.wait_for("busy_polling", 1);
    let ids = instances(&site);
    assert_eq!(ids.len(), 1, "{}", site.log());
    assert_eq!(timeouts_ns(&site.network, ids[0]), (5_000_000, 50_000));
    assert!(site.terminate().success());
    assert_eq!(timeouts_ns(&site.network, ids[0]), (0, 0));
}

#[test]
fn what_a_killed_server_has_left_is_removed_by_the_next() {
    let first = plan();
    let Some(network) = network_with_instances(&first) else { return };
    let mut site = first.start_in(network);
    ask_until_polled(&site);
    let id = instances(&site)[0];
    site.process.signal(rustix::process::Signal::KILL);
    site.process.wait(TEST_TIMEOUT);
    let Site { network, .. } = site;
    assert_eq!(timeouts_ns(&network, id), (5_000_000, 50_000));
    let mut site = plan().start_in(network);
    site.serves_others();
    site.wait_for_log(SUSPENDED);
    assert!(site.terminate().success());
    assert_eq!(timeouts_ns(&site.network, id), (0, 0));
}

#[test]
fn two_workers_on_one_queue_restore_its_settings_once() {
    let plan = plan().with("--cores 0-1");
    if simoom::config::usable_cores().unwrap().len() < 2 {
        return skip("needs two cores");
    }
    let Some(network) = network_with_instances(&plan) else { return };
    let mut site = plan.start_in(network);
    let (mut clients, body) = (Vec::new(), site.content("/12"));
    crate::common::wait_until("both workers poll", TEST_TIMEOUT, || {
        let mut client = site.connect();
        client.expect("/12", &body);
        clients.push(client);
        site.counter("busy_polling") == 2
    });
    let ids = instances(&site);
    assert_eq!(ids.len(), 1, "{}", site.log());
    drop(clients);
    assert!(site.terminate().success());
    assert_eq!(timeouts_ns(&site.network, ids[0]), (0, 0));
}

#[test]
fn a_local_client_pauses_the_suspension_while_it_is_connected() {
    let plan = plan();
    let Some(network) = network_with_instances(&plan) else { return };
    let mut site = plan.start_in(network);
    let (mut client, body) = (site.connect(), site.content("/12"));
    let mut poll_is = |expected: u64| {
        crate::common::wait_until("busy polling goes on or stops", TEST_TIMEOUT, || {
            client.expect("/12", &body);
            site.counter("busy_polling") == expected
        });
    };
    poll_is(1);
    let address = site.address();
    let local = site.network.server.run(|| TcpStream::connect_timeout(&address, TEST_TIMEOUT));
    poll_is(0);
    drop(local);
    poll_is(1);
    site.wait_for_log("came through no NAPI instance");
}

#[test]
fn without_a_napi_instance_clients_are_served_and_the_reason_is_logged() {
    let Some(mut site) = plan().start() else { return };
    site.connect().expect("/64k", &site.content("/64k"));
    site.wait_for_log("came through no NAPI instance");
    assert_eq!(site.counter("busy_polling"), 0);
    assert!(site.terminate().success());
}

//! More addresses than the server can have at once: of the entries of the steering program, and of
//! file descriptors.

use crate::client::Client;
use crate::common::need_program;
use crate::site::{Site, Transport, at};
use crate::watch::{change_addresses, wait_for_readyz};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use std::net::{IpAddr, TcpStream};

/// The steering program has 256 entries. An idle worker sleeps until it is woken.
#[test]
fn many_addresses_that_come_at_once_and_others_after_them_are_served() {
    if !need_program("ip") {
        return;
    }
    let Some(mut site) = Site::start(Transport::Xdp) else { return };
    let content = site.content("/12");
    let mut changes = 0;
    for round in 0..5 {
        let hosts: Vec<IpAddr> =
            (0..60).map(|n| site.network.address(20 + (round % 2) * 100 + n)).collect();
        change_addresses(&mut site, "add", &hosts, &mut changes);
        for address in [hosts[0], hosts[30], hosts[59]] {
            site.connect_to(at(address)).expect("/12", &content);
            local(&site, address).expect("/12", &content);
        }
        change_addresses(&mut site, "del", &hosts, &mut changes);
    }
    assert!(!site.log().contains("ERROR"), "{}", site.log());
    site.serves_others();
}

/// The program has 256 entries.
#[test]
fn addresses_beyond_the_maximum_are_told_and_served_when_others_go() {
    if !need_program("ip") {
        return;
    }
    let Some(mut site) = Site::start(Transport::Xdp) else { return };
    let content = site.content("/12");
    let mut changes = 0;
    let first: Vec<IpAddr> = (10..=250).map(|n| site.network.address(n)).collect();
    change_addresses(&mut site, "add", &first, &mut changes);
    let rest: Vec<IpAddr> = (10..40).map(|n| site.network.address_v6(n)).collect();
    change_addresses(&mut site, "add", &rest, &mut changes);
    site.wait_for("addresses_unserved", 15);
    site.wait_for_log("it is served when others go");
    site.connect_to(at(first[0])).expect("/12", &content);
    // Lost addresses keep their claims for 10 s, as they may come back.
    change_addresses(&mut site, "del", &first[..60], &mut changes);
    site.wait_for_log(&format!("\"{}\"", at(rest[29])));
    for address in rest {
        site.connect_to(at(address)).expect("/12", &content);
    }
}

/// Each connection through a kernel socket takes a descriptor, and so does each client of the admin
/// endpoint: addresses that come must leave some.
#[test]
fn addresses_beyond_the_file_descriptors_are_told_and_served_when_there_are_more() {
    if !need_program("ip") {
        return;
    }
    let Some(mut site) = Site::start(Transport::Xdp) else { return };
    let content = site.content("/12");
    wait_for_readyz(&site, "\r\n\r\nready\n");
    let own = site.network.address(1);
    let answered = |site: &Site| {
        let mut clients: Vec<Client> = (0..20).map(|_| local(site, own)).collect();
        clients.iter_mut().for_each(|client| client.expect("/12", &content));
        clients
    };
    let before = [answered(&site), answered(&site)];
    limit_files(&site, 32 + 10);
    let (hosts, mut changes): (Vec<IpAddr>, u64) =
        ((10..50).map(|n| site.network.address(n)).collect(), 0);
    change_addresses(&mut site, "add", &hosts, &mut changes);
    site.wait_for("addresses_unserved", 25);
    site.wait_for_log("raise the limit (`ulimit -n`");
    assert!(site.log().contains("it is served from now on"), "{}", site.log());
    wait_for_readyz(&site, "\r\n\r\nready\n");
    answered(&site);
    // Their descriptors become free, and no address changes.
    drop(before);
    site.wait_for_log(&format!("\"{}\"", at(hosts[39])));
    for address in hosts {
        site.connect_to(at(address)).expect("/12", &content);
        local(&site, address).expect("/12", &content);
    }
}

/// As the places in the steering program, the descriptors of lost addresses go to others.
#[test]
fn addresses_that_are_gone_leave_their_file_descriptors_to_others() {
    if !need_program("ip") {
        return;
    }
    let Some(mut site) = Site::start(Transport::Xdp) else { return };
    let content = site.content("/12");
    wait_for_readyz(&site, "\r\n\r\nready\n");
    limit_files(&site, 32 + 10);
    let first: Vec<IpAddr> = (10..20).map(|n| site.network.address(n)).collect();
    let others: Vec<IpAddr> = (30..40).map(|n| site.network.address(n)).collect();
    let mut changes = 0;
    change_addresses(&mut site, "add", &first, &mut changes);
    local(&site, first[7]).expect("/12", &content);
    change_addresses(&mut site, "add", &others, &mut changes);
    site.wait_for("addresses_unserved", 8);
    change_addresses(&mut site, "del", &first, &mut changes);
    // Lost addresses keep their claims for 10 s, as they may come back.
    for address in &others {
        site.wait_for_log(&format!("\"{}\"", at(*address)));
    }
    for address in others {
        site.connect_to(at(address)).expect("/12", &content);
        local(&site, address).expect("/12", &content);
    }
}

/// A client on the server's host.
fn local(site: &Site, address: IpAddr) -> Client {
    Client::new(site.network.server.run(|| TcpStream::connect(at(address))).unwrap())
}

/// Lowers the limit, which a process cannot raise again, to `more` than it has open.
fn limit_files(site: &Site, more: u64) {
    let open = std::fs::read_dir(format!("/proc/{}/fd", site.process.id())).unwrap().count();
    let files = open as u64 + more;
    let limit = Rlimit { current: Some(files), maximum: Some(files) };
    let process = Pid::from_raw(site.process.id().cast_signed());
    prlimit(process, Resource::Nofile, limit).unwrap();
}

/// When a link goes down the kernel removes the IPv6 addresses of its interface. Who configures it
/// adds them again when it is up.
#[test]
fn an_address_that_is_gone_for_a_moment_loses_its_place_to_no_other() {
    if !need_program("ip") {
        return;
    }
    let Some(mut site) = Site::start(Transport::Xdp) else { return };
    let content = site.content("/64k");
    let own = site.network.address_v6(1);
    let mut before = site.connect_to(at(own));
    before.expect("/64k", &content);
    let mut changes = 0;
    let first: Vec<IpAddr> = (10..=250).map(|n| site.network.address(n)).collect();
    change_addresses(&mut site, "add", &first, &mut changes);
    let rest: Vec<IpAddr> = (10..60).map(|n| site.network.address_v6(n)).collect();
    change_addresses(&mut site, "add", &rest, &mut changes);
    site.wait_for("addresses_unserved", 30);
    let unserved = site.counter("addresses_unserved");
    let lost: Vec<IpAddr> = rest[..4].iter().copied().chain([own]).collect();
    change_addresses(&mut site, "del", &lost, &mut changes);
    change_addresses(&mut site, "add", &[own], &mut changes);
    before.expect("/64k", &content);
    site.connect_to(at(own)).expect("/64k", &content);
    assert_eq!(site.counter("addresses_unserved"), unserved, "{}", site.log());
}

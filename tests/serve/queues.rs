//! Several receive queues: each worker serves its own, and a segment on the wrong one is handed
//! over.

use crate::client::Client;
use crate::common::{need_program, wait_until};
use crate::site::{LARGE, Plan, Site, Transport, at};
use std::net::IpAddr;

/// On veth a frame that was sent on queue n > 0 arrives on queue n - 1, so with two queues all
/// would arrive on the first.
const QUEUES: u32 = 4;

/// A server with two workers, to which the queues are dealt out in turn.
pub fn two_workers() -> Option<Site> {
    if simoom::config::usable_cores().unwrap().len() < 2 {
        crate::common::skip("needs two cores");
        return None;
    }
    // Where the machine is busy, a client may have to wait for its turn longer than a server would
    // for it.
    let flags = "--cores 0-1 --idle-timeout 10m --send-timeout 10m --drain-timeout 10m";
    Plan { queues: QUEUES, ..Plan::new(Transport::Xdp) }.with(flags).start()
}

/// Connects, a few at a time, until both workers have connections; returns all of them.
pub fn connections_on_both(site: &Site, connect: impl Fn() -> Client) -> Vec<Client> {
    let body = site.content("/12");
    let mut clients = Vec::new();
    wait_until("both workers have connections", crate::TEST_TIMEOUT, || {
        for _ in 0..8 {
            let mut client = connect();
            client.expect("/12", &body);
            clients.push(client);
        }
        // What they asked for is counted: the workers have told all that they have.
        site.wait_for("http_requests", clients.len() as u64);
        site.counters("passive_opens").iter().filter(|(_, opens)| *opens > 0).count() == 2
    });
    clients
}

#[test]
fn two_workers_share_the_connections() {
    let Some(site) = two_workers() else { return };
    let mut clients = connections_on_both(&site, || site.connect());
    let body = site.content("/64k");
    for client in &mut clients {
        client.expect("/64k", &body);
    }
    wait_until("all requests are counted", crate::TEST_TIMEOUT, || {
        site.counter("http_requests") == 2 * clients.len() as u64
    });
    assert_eq!(site.counter("resets_sent"), 0);
}

#[test]
fn one_worker_serves_all_queues() {
    let Some(site) = (Plan { queues: QUEUES, ..Plan::new(Transport::Xdp) }).start() else { return };
    let body = site.content("/64k");
    for _ in 0..32 {
        site.connect().expect("/64k", &body);
    }
    site.wait_for("http_requests", 32);
    assert_eq!(site.counter("resets_sent"), 0);
}

#[test]
fn segments_on_another_queue_are_handed_over() {
    handed_over(|site| site.network.address(1));
}

#[test]
fn segments_on_another_queue_are_handed_over_over_ipv6() {
    handed_over(|site| site.network.address_v6(1));
}

fn handed_over(address: impl Fn(&Site) -> IpAddr) {
    if !need_program("ethtool") {
        return;
    }
    let Some(site) = two_workers() else { return };
    let address = at(address(&site));
    let mut clients = connections_on_both(&site, || site.connect_to(address));
    let content = site.content(LARGE);
    for client in &mut clients {
        client.request(LARGE);
        assert!(client.head().starts_with("HTTP/1.1 200 "));
        assert!(client.take(1000) == content[..1000]);
    }
    assert_eq!(site.counter("handover_passed"), 0);
    // From now on the client sends everything on its first queue, and all of it arrives on the
    // server's first.
    site.run_client("ethtool", &["-L", "c0", "tx", "1"]);
    std::thread::scope(|scope| {
        for client in &mut clients {
            let (site, content) = (&site, &content);
            scope.spawn(move || {
                assert!(
                    client.take(content.len() - 1000) == content[1000..],
                    "not the bytes of the file"
                );
                client.expect("/12", &site.content("/12"));
            });
        }
    });
    site.wait_for("handover_passed", 1);
    site.wait_for("handover_taken", 1);
    // A worker that gets no core for some milliseconds finds its ring full, and TCP sends again: on
    // a machine with less cores than threads that work that is not to be ruled out. Nobody may be
    // taken for a stranger for it.
    assert_eq!(site.counter("resets_sent"), 0);
}

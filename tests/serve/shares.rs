//! Shares of the connection table: of each service, and of each network.

use crate::client::Client;
use crate::common::wait_until;
use crate::site::{Plan, Site, Transport};
use crate::{TEST_TIMEOUT, over_all};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

over_all!(
    silent_connections_to_memcached_leave_http_its_share,
    a_network_has_no_more_than_its_share
);

const MEMCACHED: u16 = 11211;
/// How long a SYN that is not answered is waited for. One that is answered late makes the test
/// stricter, not wrong.
const UNANSWERED: Duration = Duration::from_millis(300);

/// Whether a connection is refused: by a reset, or over AF_XDP by no answer to its SYN.
fn is_refused(site: &Site, address: SocketAddr) -> bool {
    match site.network.client.run(|| TcpStream::connect_timeout(&address, UNANSWERED)) {
        Ok(mut stream) => {
            stream.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
            stream.read(&mut [0; 1]).is_err()
        }
        Err(_) => true,
    }
}

fn silent_connections_to_memcached_leave_http_its_share(transport: Transport) {
    let place = if transport == Transport::Xdp { "" } else { "0.0.0.0:" };
    let plan =
        Plan::new(transport).with(&format!("--connections 16 --memcached {place}{MEMCACHED}"));
    let Some(site) = plan.start() else { return };
    let address = SocketAddr::new(site.network.address(1), MEMCACHED);
    let silent: Vec<Client> = (0..14).map(|_| site.connect_to(address)).collect();
    site.wait_for("memcached_connections_open", 14);
    assert_eq!(site.counter("memcached_connections_open"), 14, "an eighth is left for HTTP");
    assert!(is_refused(&site, address));
    site.wait_for("memcached_connections_refused", 1);
    site.serves_others();
    let ready = || site.admin("/readyz");
    wait_until("/readyz tells of it", TEST_TIMEOUT, || {
        ready().ends_with("not ready: connections_exhausted\n")
    });
    drop(silent);
    wait_until("connections are free again", TEST_TIMEOUT, || ready().starts_with("HTTP/1.1 200 "));
    site.connect_to(address);
}

fn a_network_has_no_more_than_its_share(transport: Transport) {
    let Some(site) =
        Plan::new(transport).with("--connections 64 --connections-per-prefix 3").start()
    else {
        return;
    };
    let held: Vec<Client> = (0..3).map(|_| site.connect()).collect();
    site.wait_for("http_connections_open", 3);
    assert!(is_refused(&site, site.address()));
    let counter = if transport == Transport::Xdp { "drop_prefix_full" } else { "prefix_refused" };
    site.wait_for(counter, 1);
    drop(held);
    wait_until("there is room again", TEST_TIMEOUT, || is_answered(&site));
}

/// Whether a request on a new connection is answered.
fn is_answered(site: &Site) -> bool {
    let stream =
        site.network.client.run(|| TcpStream::connect_timeout(&site.address(), UNANSWERED));
    let Ok(mut stream) = stream else { return false };
    stream.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    let sent = stream.write_all(b"GET /12 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    sent.is_ok() && stream.read(&mut [0; 1]).is_ok_and(|n| n == 1)
}

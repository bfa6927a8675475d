//! Clients of memcached that hold memory or connections and give nothing back, or ask for much work
//! at once: others notice nothing.

use crate::client::Client;
use crate::over_all;
use crate::site::{Plan, Site, Transport};
use rustix::net::{self, sockopt};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

over_all!(
    uploads_that_never_end_keep_out_no_set,
    a_peer_with_many_uploads_takes_no_space_from_others,
    readers_that_do_not_read_cause_no_miss,
    idle_connections_are_closed,
    a_burst_of_appends_lets_others_be_served,
    a_burst_of_dumps_lets_others_be_served,
    a_drain_ends_in_time_under_a_burst,
);

const MEMCACHED: u16 = 11211;

fn start(transport: Transport, flags: &str) -> Option<Site> {
    let place = if transport == Transport::Xdp { "" } else { "0.0.0.0:" };
    Plan::new(transport)
        .with(&format!("--connections 2000 --memcached {place}{MEMCACHED} {flags}"))
        .start()
}

fn connect(site: &Site) -> Client {
    site.connect_to(SocketAddr::new(site.network.address(1), MEMCACHED))
}

/// A connection from another address of the client's network.
fn connect_from(site: &Site, host: u8) -> Client {
    let (from, to) = (site.network.address(host), site.network.address(1));
    let stream = site.network.client.run(|| {
        let socket = net::socket(net::AddressFamily::INET, net::SocketType::STREAM, None)?;
        net::bind(&socket, &SocketAddr::new(from, 0))?;
        net::connect(&socket, &SocketAddr::new(to, MEMCACHED))?;
        rustix::io::Result::Ok(TcpStream::from(socket))
    });
    Client::new(stream.unwrap())
}

/// A connection that takes few bytes.
fn connect_narrow(site: &Site) -> Client {
    let client = connect(site);
    sockopt::set_socket_recv_buffer_size(&client.stream, 2048).unwrap();
    client
}

fn set(client: &mut Client, key: &str, bytes: usize) {
    client.send(format!("set {key} 0 0 {bytes}\r\n{}\r\n", "v".repeat(bytes)));
    let answer = client.take(8);
    assert_eq!(answer.escape_ascii().to_string(), r"STORED\r\n", "{key} of {bytes} bytes");
}

/// Gets an item that must be there.
fn get(client: &mut Client, key: &str, bytes: usize) {
    client.send(format!("get {key}\r\n"));
    let head = format!("VALUE {key} 0 {bytes}\r\n");
    assert_eq!(
        String::from_utf8(client.take(5)).unwrap(),
        "VALUE",
        "{key} of {bytes} bytes was missed"
    );
    let answer = client.take(head.len() + bytes + b"\r\nEND\r\n".len() - 5);
    assert!(
        answer.starts_with(&head.as_bytes()[5..]) && answer.ends_with(b"v\r\nEND\r\n"),
        "{key}"
    );
}

fn uploads_that_never_end_keep_out_no_set(transport: Transport) {
    let Some(site) = start(transport, "--memory 16M") else { return };
    let mut held = Vec::new();
    for (count, bytes) in [(400, 30_000), (60, 1000), (60, 60), (20, 4)] {
        for n in 0..count {
            let mut client = connect(&site);
            client.send(format!("set half{bytes}-{n} 0 0 {bytes}\r\nabc"));
            held.push(client);
        }
    }
    site.wait_for("memcached_values_streamed", held.len() as u64);
    let mut client = connect(&site);
    for bytes in [10, 1000, 20_000, 500_000] {
        for n in 0..50 {
            set(&mut client, &format!("whole{bytes}-{n}"), bytes);
        }
    }
    site.wait_for("memcached_uploads_displaced", 1);
    assert_eq!(site.counter("memcached_store_no_memory"), 0, "nobody who sends was refused");
    // One that lost its space is told so, and goes on with its next request.
    let first = &mut held[0];
    first.send(format!("{}\r\nversion\r\n", "c".repeat(30_000 - 3)));
    let answer = String::from_utf8(first.take(51)).unwrap();
    assert!(
        answer.starts_with("SERVER_ERROR out of memory storing object\r\nVERSION "),
        "{answer}"
    );
}

fn a_peer_with_many_uploads_takes_no_space_from_others(transport: Transport) {
    const GREEDY: usize = 60;
    const VALUE_BYTES: usize = 200_000;
    let Some(site) = start(transport, "--memory 16M") else { return };
    let hosts = [3, 4, 5];
    for host in hosts {
        let address = format!("{}/24", site.network.address(host));
        site.run_client("ip", &["address", "add", &address, "dev", "c0"]);
    }
    // One value each, of which the rest is still to come.
    let mut good = hosts.map(|host| connect_from(&site, host));
    for (client, host) in good.iter_mut().zip(hosts) {
        client.send(format!("set good{host} 0 0 {VALUE_BYTES}\r\nabc"));
    }
    site.wait_for("memcached_values_streamed", hosts.len() as u64);
    let mut greedy: Vec<Client> = (0..GREEDY).map(|_| connect(&site)).collect();
    for (n, client) in greedy.iter_mut().enumerate() {
        client.send(format!("set greedy{n} 0 0 500000\r\nabc"));
    }
    site.wait_for("memcached_values_streamed", (hosts.len() + GREEDY) as u64);
    assert!(site.counter("memcached_uploads_displaced") as usize > GREEDY / 2);
    let mut stored = 0;
    for client in &mut good {
        client.send(format!("{}\r\n", "c".repeat(VALUE_BYTES - 3)));
        stored += usize::from(client.take(8) == b"STORED\r\n");
    }
    // One may share its slot with the greedy peer: one in a thousand does.
    assert!(stored >= hosts.len() - 1, "{stored} values of peers that hold little are stored");
}

fn readers_that_do_not_read_cause_no_miss(transport: Transport) {
    let Some(site) = start(transport, "--memory 64M") else { return };
    let mut client = connect(&site);
    for n in 0..100 {
        set(&mut client, &format!("s{n}"), 100);
        set(&mut client, &format!("k{n}"), 1000);
        set(&mut client, &format!("m{n}"), 5000);
        set(&mut client, &format!("z{n}"), 60_000);
    }
    (0..8).for_each(|n| set(&mut client, &format!("a{n}"), 1_000_000));
    let keys = |key: String, times: usize| format!("get {}\r\n", vec![key; times].join(" "));
    let mut held = Vec::new();
    for n in 0..8 {
        let mut reader = connect_narrow(&site);
        reader.send(keys(format!("a{n}"), 40));
        held.push(reader);
    }
    for n in 0..30 {
        let mut reader = connect_narrow(&site);
        reader.send(keys(format!("z{}", 3 * n), 120));
        held.push(reader);
    }
    site.wait_for("memcached_get_hits", 38);
    for n in 0..50 {
        set(&mut client, &format!("new{n}"), 1000);
        get(&mut client, &format!("new{n}"), 1000);
        get(&mut client, &format!("s{n}"), 100);
        get(&mut client, &format!("k{n}"), 1000);
        get(&mut client, &format!("m{n}"), 5000);
        // Too large to be copied: it waits until readers are reset.
        get(&mut client, &format!("z{n}"), 60_000);
    }
    site.wait_for("memcached_cmd_get", 38 + 250);
    assert_eq!(site.counter("memcached_get_misses"), 0);
}

fn idle_connections_are_closed(transport: Transport) {
    let Some(site) = start(transport, "--memcached-idle-timeout 1s") else { return };
    let mut silent: Vec<Client> = (0..20).map(|_| connect(&site)).collect();
    let mut used = connect(&site);
    set(&mut used, "k", 10);
    silent.iter_mut().for_each(Client::expect_end);
    used.expect_end();
    site.wait_for("memcached_idle_kicks", 21);
    site.serves_others();
}

/// How far a burst must be seen to have come between its begin and its end by a client that is
/// served meanwhile: more often than the segments of a burst arrive apart.
const SEEN_MIN: usize = 20;

/// Sends `burst` on a connection and asks for `progress` on another until it is `total`. Returns
/// what was seen in between.
fn seen_during(
    site: &Site,
    burst: &[u8],
    total: usize,
    mut progress: impl FnMut(&mut Client, &mut TcpStream) -> usize,
) -> BTreeSet<usize> {
    let (mut client, mut busy) = (connect(site), connect(site));
    let mut seen = BTreeSet::new();
    // In a thread of its own: the server may take its time to read.
    let mut sender = busy.stream.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || sender.write_all(burst).unwrap());
        loop {
            let done = progress(&mut client, &mut busy.stream);
            assert!(done <= total, "{done} of {total}");
            if done == total {
                return;
            }
            if done > 0 {
                seen.insert(done);
            }
        }
    });
    site.serves_others();
    seen
}

fn a_burst_of_appends_lets_others_be_served(transport: Transport) {
    const LEN: usize = 900_000;
    const APPENDS: usize = 1000;
    let Some(site) = start(transport, "--memory 64M") else { return };
    set(&mut connect(&site), "m", LEN);
    let burst = b"append m 0 0 1 noreply\r\nx\r\n".repeat(APPENDS);
    let seen = seen_during(&site, &burst, APPENDS, |client, _| {
        client.send("mg m s\r\n");
        let answer = String::from_utf8(client.take("HD s900000\r\n".len())).unwrap();
        let len = answer.trim().strip_prefix("HD s").unwrap_or_else(|| panic!("{answer}"));
        len.parse::<usize>().unwrap() - LEN
    });
    assert!(seen.len() >= SEEN_MIN, "the burst was seen at {seen:?} of {APPENDS}");
    site.wait_for("shares_used_up", SEEN_MIN as u64);
}

fn a_burst_of_dumps_lets_others_be_served(transport: Transport) {
    const DUMPS: usize = 300;
    const ANSWER: &str = "OK\r\nEN\r\n";
    let Some(site) = start(transport, "--memory 64M") else { return };
    let burst = "lru_crawler mgdump all\r\n".repeat(DUMPS);
    let mut answered = 0;
    let seen = seen_during(&site, burst.as_bytes(), DUMPS, |client, busy| {
        client.send("mn\r\n");
        assert_eq!(client.take(4), b"MN\r\n");
        busy.set_nonblocking(true).unwrap();
        let mut bytes = [0; 4096];
        if let Ok(n) = busy.read(&mut bytes) {
            answered += n;
        }
        busy.set_nonblocking(false).unwrap();
        answered / ANSWER.len()
    });
    assert!(seen.len() >= SEEN_MIN, "the burst was seen at {seen:?} of {DUMPS}");
}

/// Clients that ask for more dumps without end.
fn a_drain_ends_in_time_under_a_burst(transport: Transport) {
    let flags = "--memory 64M --drain-timeout 2s";
    let Some(mut site) = start(transport, flags) else { return };
    let mut busy: Vec<Client> = (0..10).map(|_| connect(&site)).collect();
    std::thread::scope(|scope| {
        for busy in &mut busy {
            let burst = "lru_crawler mgdump all\r\n".repeat(600);
            let mut sender = busy.stream.try_clone().unwrap();
            scope.spawn(move || while sender.write_all(burst.as_bytes()).is_ok() {});
            assert_eq!(busy.take(4), b"OK\r\n");
        }
        assert!(site.terminate().success());
        for busy in &mut busy {
            // Those that the server keeps apart from its end are sent no more.
            let _ = busy.stream.shutdown(Shutdown::Both);
        }
    });
}

use super::super::{Options, Shared};
use crate::app::memcached::Memcached;
use crate::app::memcached::options::Listening;
use crate::app::testing::{Line, NOW};
use crate::handler::{Handler, Seconds};
use crate::store::{Settings, Store};
use simoom_io::send::Pool;
use std::sync::Arc;

fn shared() -> Arc<Shared> {
    let store = Store::new(&Settings { memory_bytes: 8 << 20, ..Settings::default() }).unwrap();
    let shared = Shared::new(store, Options { workers: 2, ..Options::default() }, NOW);
    shared.listens(Listening { address: "0.0.0.0:11211".parse().unwrap(), over_udp: false });
    shared.listens(Listening { address: "[2001:db8::1]:11211".parse().unwrap(), over_udp: true });
    shared
}

fn open(shared: &Arc<Shared>, worker: usize) -> Line<Memcached> {
    Line::open(Memcached::new(shared.clone(), worker, 3), 11211)
}

fn ask(line: &mut Line<Memcached>) -> String {
    line.offer(b"stats conns\r\n");
    String::from_utf8(line.take()).unwrap()
}

#[test]
fn listeners_and_connections_of_all_workers_are_told() {
    let shared = shared();
    let (mut first, mut second) = (open(&shared, 0), open(&shared, 1));
    first.offer(b"set a 0 0 5\r\nhe");
    second.app.clock(Seconds::of(NOW + 7));
    let expected = "\
        STAT 0:addr tcp:0.0.0.0:11211\r\nSTAT 0:state conn_listening\r\nSTAT 0:secs_since_last_cmd 7\r\n\
        STAT 1:UDP UDP\r\nSTAT 1:addr udp6:[2001:db8::1]:11211\r\nSTAT 1:state conn_read\r\n\
        STAT 1:secs_since_last_cmd 7\r\n\
        STAT 2:addr tcp:127.0.0.1:50000\r\nSTAT 2:listen_addr tcp:127.0.0.1:11211\r\nSTAT 2:state conn_nread\r\n\
        STAT 2:secs_since_last_cmd 7\r\n\
        STAT 5:addr tcp:127.0.0.1:50000\r\nSTAT 5:listen_addr tcp:127.0.0.1:11211\r\nSTAT 5:state conn_parse_cmd\r\n\
        STAT 5:secs_since_last_cmd 0\r\nEND\r\n";
    assert_eq!(ask(&mut second), expected);
    // Once more: what asked before is between requests again, and what was sending is done.
    first.app.clock(Seconds::of(NOW + 9));
    first.offer(b"llo\r\n");
    assert_eq!(first.take(), b"STORED\r\n");
    let entry = ask(&mut first);
    for line in [
        "2:state conn_parse_cmd",
        "2:secs_since_last_cmd 0",
        "5:state conn_read",
        "5:secs_since_last_cmd 2",
    ] {
        assert!(entry.contains(&format!("STAT {line}\r\n")), "{line}: {entry}");
    }
}

#[test]
fn a_connection_that_has_ended_is_told_no_more() {
    let shared = shared();
    let (mut first, mut second) = (open(&shared, 0), open(&shared, 1));
    assert!(ask(&mut second).contains("STAT 2:addr"));
    first.close();
    assert!(!ask(&mut second).contains("STAT 2:addr"));
    drop(first);
    assert!(ask(&mut second).contains("STAT 5:addr"));
}

/// With room for a few lines at a time, and with room for all, the answer is the same.
#[test]
fn a_list_goes_on_as_there_is_room() {
    let shared = shared();
    let others: Vec<_> = (0..40).map(|_| open(&shared, 0)).collect();
    let mut line = Line::open_with(Memcached::new(shared, 1, 1), 11211, Pool::new(5, 3));
    line.offer(b"stats conns\r\nmn\r\n");
    assert!(line.queued() < 2048 && line.buffered() > 0, "{} bytes at once", line.queued());
    let entry = String::from_utf8(line.take()).unwrap();
    assert!(entry.ends_with("STAT 122:secs_since_last_cmd 0\r\nEND\r\nMN\r\n"), "{entry}");
    assert_eq!(entry.matches(":listen_addr ").count(), others.len() + 1);
}

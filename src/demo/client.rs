//! The load of the demonstration: the client of [`crate::load`] over kernel sockets, for a short
//! time and with every answer compared.

use crate::error::Result;
use crate::load::client::Plan;
use crate::load::http::Http;
use crate::load::memcached::{Memcached, WorkloadSpec};
use crate::load::schedule::RunLimits;
use crate::load::{Outcome, drive};
use std::net::SocketAddr;
use std::time::Duration;

/// Open connections of the client, each with one request in flight.
pub(super) const CONNECTIONS: u32 = 50;
/// Duration of the HTTP load on each transport.
const HTTP_TIME: Duration = Duration::from_secs(3);
/// Duration of the memcached load on each transport.
const MEMCACHED_TIME: Duration = Duration::from_secs(1);
/// Limit for each answer.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The keys of memcached, each with a value of 100 bytes. All are stored before the load.
const WORKLOAD: WorkloadSpec = WorkloadSpec {
    keys: 1000,
    value_bytes: (100, 100),
    get_ratio: 1.0,
    zipf: None,
    multiget: 1,
    preload: true,
};

/// Requests the page at `/` and compares each body with `page`.
pub(super) fn http(target: SocketAddr, page: &[u8]) -> Result<Outcome> {
    let request = format!("GET / HTTP/1.1\r\nHost: {target}\r\n\r\n");
    let http = Http::new(&[request.into_bytes()], 1, true).expecting(page);
    drive(&plan(HTTP_TIME), http, target)
}

/// Gets stored keys and compares each value.
pub(super) fn memcached(target: SocketAddr) -> Result<Outcome> {
    drive(&plan(MEMCACHED_TIME), Memcached::new(WORKLOAD, 1, 1, true), target)
}

fn plan(time: Duration) -> Plan {
    Plan {
        connections: CONNECTIONS,
        in_flight: CONNECTIONS,
        pipeline: 1,
        connection_per_request: false,
        rate: None,
        slow: None,
        verify: true,
        timeout: TIMEOUT,
        limits: RunLimits { duration: Some(time), requests: None, warm_up: Duration::ZERO },
        by_second: false,
    }
}

/// Failed requests, and keys that the server lost although all are stored.
pub(super) fn errors(outcome: &Outcome) -> u64 {
    outcome.stats.fault_count() + outcome.stats.lookups.1
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    /// The result of the HTTP load against a server that runs `serve` for each connection.
    fn driven(serve: impl Fn(TcpStream) + Send + Copy + 'static) -> Outcome {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || serve(stream));
            }
        });
        http(target, b"hello").unwrap()
    }

    fn answer(mut stream: TcpStream, answer: &[u8]) {
        let mut request = [0; 512];
        while stream.read(&mut request).is_ok_and(|n| n > 0) && stream.write_all(answer).is_ok() {}
    }

    #[test]
    fn another_page_of_the_same_length_is_an_error() {
        let outcome = driven(|stream| {
            answer(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhallo");
        });
        assert_eq!((outcome.stats.responses, errors(&outcome)), (0, 1));
        assert_eq!(outcome.faults().as_deref(), Some("1 content"));
    }

    #[test]
    fn a_server_that_closes_at_once_is_an_error() {
        let outcome = driven(drop);
        assert!(outcome.stats.responses == 0 && errors(&outcome) > 0, "{:?}", outcome.faults());
    }
}

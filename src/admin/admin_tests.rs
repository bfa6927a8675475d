use super::respond::HEAD_BYTES;
use super::*;
use crate::metrics::{CONNECTIONS_OPEN, Count, Metric, Snapshot};
use crate::readiness::Reason;
use std::io::{Read, Write};
use std::net::TcpStream;

static REQUESTS: Metric = Metric::new("requests", "Requests.");
static ERRORS: Metric = Metric::new("errors", "Errors of a \\ or\nof two lines.");
static OPENS: Metric = Metric::new("passive_opens", "Connections.");

const LONG: Duration = Duration::from_secs(20);

/// A server that is ready, with these workers.
fn source(workers: &[(&str, &[Count])]) -> Source {
    let source = Source {
        registry: Registry::default(),
        readiness: Arc::new(Readiness::starting()),
        listeners: Listeners::default(),
        panics: Arc::default(),
    };
    source.readiness.clear(Reason::Starting);
    for (worker, counts) in workers {
        let snapshot = Snapshot::new(*worker);
        snapshot.publish(counts.iter().copied());
        source.registry.add(snapshot);
    }
    source
}

fn start_from(source: &Source) -> Admin {
    Admin::start("127.0.0.1:0".parse().unwrap(), source.clone()).unwrap()
}

fn start() -> Admin {
    start_from(&source(&[
        ("worker 0", &[(&REQUESTS, 3), (&ERRORS, 1)]),
        ("a \"b\" \\ c", &[(&REQUESTS, 4)]),
    ]))
}

/// The metrics behind those of readiness.
fn counters(text: &str) -> String {
    text.lines()
        .filter(|line| !line.contains("simoom_not_ready") && !line.contains("simoom_admin_"))
        .map(|line| format!("{line}\n"))
        .collect()
}

fn connect(admin: &Admin) -> TcpStream {
    let stream = TcpStream::connect(admin.address()).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream
}

/// Everything that comes back for `request`.
fn ask(admin: &Admin, request: &str) -> String {
    let mut stream = connect(admin);
    stream.write_all(request.as_bytes()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}

#[test]
fn what_goes_up_and_down_is_a_gauge() {
    let text =
        exposition::exposition(&source(&[("xdp 0", &[(&CONNECTIONS_OPEN, 3), (&OPENS, 5)])]));
    let expected = "# HELP simoom_connections_open Open connections.\n# TYPE simoom_connections_open gauge\nsimoom_connections_open{worker=\"xdp 0\"} 3\n\
                    # HELP simoom_passive_opens_total Connections.\n\
                    # TYPE simoom_passive_opens_total counter\nsimoom_passive_opens_total{worker=\"xdp 0\"} 5\n";
    assert_eq!(counters(&text), expected);
}

#[test]
fn metrics_are_grouped_by_name() {
    let response = ask(&start(), "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("version=0.0.4"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
    let expected = "\
# HELP simoom_requests_total Requests.
# TYPE simoom_requests_total counter
simoom_requests_total{worker=\"worker 0\"} 3
simoom_requests_total{worker=\"a \\\"b\\\" \\\\ c\"} 4
# HELP simoom_errors_total Errors of a \\\\ or\\nof two lines.
# TYPE simoom_errors_total counter
simoom_errors_total{worker=\"worker 0\"} 1
";
    assert_eq!(counters(body), expected);
}

#[test]
fn requests_and_their_statuses() {
    let admin = start();
    let long = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(HEAD_BYTES));
    for (request, status) in [
        ("GET /healthz HTTP/1.1\r\n\r\n", "200 OK"),
        ("GET /healthz?a=b HTTP/1.0\r\n\r\n", "200 OK"),
        ("HEAD /healthz HTTP/1.1\r\n\r\n", "200 OK"),
        ("GET /livez HTTP/1.1\r\n\r\n", "200 OK"),
        ("GET /readyz HTTP/1.1\r\n\r\n", "200 OK"),
        ("GET http://admin:9090/metrics HTTP/1.1\r\n\r\n", "200 OK"),
        ("GET HTTP://[::1]/healthz?a HTTP/1.1\r\n\r\n", "200 OK"),
        ("GET http://admin HTTP/1.1\r\n\r\n", "404 Not Found"),
        ("GET / HTTP/1.1\r\n\r\n", "404 Not Found"),
        ("POST /metrics HTTP/1.1\r\n\r\n", "405 Method Not Allowed"),
        ("nonsense\r\n\r\n", "400 Bad Request"),
        (&long, "431 Request Header Fields Too Large"),
    ] {
        let response = ask(&admin, request);
        assert!(response.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{request:?}: {response}");
        assert_eq!(response.ends_with("\r\n\r\n"), request.starts_with("HEAD"), "{response}");
    }
}

#[test]
fn a_request_in_pieces_is_put_together() {
    let admin = start();
    let mut stream = connect(&admin);
    stream.set_nodelay(true).unwrap();
    for byte in b"GET /healthz HTTP/1.1\r\n\r\n" {
        stream.write_all(&[*byte]).unwrap();
    }
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    assert!(response.ends_with("\r\n\r\nok\n"), "{response}");
}

#[test]
fn silent_clients_delay_nobody_and_the_oldest_give_way() {
    let admin = start();
    let began = Instant::now();
    let mut silent: Vec<TcpStream> = (0..3 * CONNECTIONS).map(|_| connect(&admin)).collect();
    for _ in 0..20 {
        let next = ask(&admin, "GET /healthz HTTP/1.1\r\n\r\n");
        assert!(next.starts_with("HTTP/1.1 200"), "{next}");
    }
    // One after the other they would take two seconds each.
    assert!(began.elapsed() < LONG, "{:?}", began.elapsed());
    for client in &mut silent {
        assert!(client.read(&mut [0; 1]).is_ok_and(|n| n == 0), "a silent client is closed");
    }
}

#[test]
fn a_client_that_does_not_read_its_answer_delays_nobody() {
    let admin = start();
    let mut stuck = connect(&admin);
    stuck.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
    assert!(ask(&admin, "GET /livez HTTP/1.1\r\n\r\n").ends_with("\r\n\r\nok\n"));
}

#[test]
fn every_answer_has_a_date_and_405_says_what_is_allowed() {
    let admin = start();
    for request in ["GET /healthz HTTP/1.1\r\n\r\n", "GET /x HTTP/1.1\r\n\r\n", "nonsense\r\n\r\n"]
    {
        let response = ask(&admin, request);
        assert!(response.contains("\r\nDate: ") && response.contains(" GMT\r\n"), "{response}");
        assert!(!response.contains("Allow:"), "{response}");
    }
    let refused = ask(&admin, "DELETE /readyz HTTP/1.1\r\n\r\n");
    assert!(refused.contains("\r\nAllow: GET, HEAD\r\n"), "{refused}");
}

#[test]
fn alive_is_told_from_ready() {
    let source = source(&[]);
    let admin = start_from(&source);
    source.readiness.set(Reason::Draining);
    source.readiness.set(Reason::LinkDown);
    let ready = ask(&admin, "GET /readyz HTTP/1.1\r\n\r\n");
    assert!(
        ready.starts_with("HTTP/1.1 503 ") && ready.ends_with("not ready: draining, link_down\n"),
        "{ready}"
    );
    assert!(ask(&admin, "GET /healthz HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200 "));
    let metrics = ask(&admin, "GET /metrics HTTP/1.1\r\n\r\n");
    for line in
        ["simoom_not_ready{reason=\"draining\"} 1\n", "simoom_not_ready{reason=\"starting\"} 0\n"]
    {
        assert!(metrics.contains(line), "{metrics}");
    }
    source.readiness.clear(Reason::Draining);
    source.readiness.clear(Reason::LinkDown);
    assert!(ask(&admin, "GET /readyz HTTP/1.1\r\n\r\n").ends_with("\r\n\r\nready\n"));
}

#[test]
fn workers_that_start_later_are_shown() {
    let source = source(&[]);
    let admin = start_from(&source);
    let snapshot = Snapshot::new("late");
    snapshot.publish([(&REQUESTS, 1)].into_iter());
    source.registry.add(snapshot);
    let metrics = ask(&admin, "GET /metrics HTTP/1.1\r\n\r\n");
    assert!(metrics.contains("simoom_requests_total{worker=\"late\"} 1\n"), "{metrics}");
}

#[test]
fn a_request_cut_short_is_refused() {
    let admin = start();
    let mut stream = connect(&admin);
    stream.write_all(b"GET /healthz HT").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    assert!(response.starts_with("HTTP/1.1 400"), "{response}");
}

#[test]
fn a_panic_costs_one_answer_and_not_the_endpoint() {
    crate::panics::install();
    static PANICS: Metric = Metric::new("panics", "Ends the answer.");
    let source = source(&[("worker 0", &[(&PANICS, 1)])]);
    let admin = start_from(&source);
    for _ in 0..3 {
        let response = ask(&admin, "GET /metrics HTTP/1.1\r\n\r\n");
        assert!(response.starts_with("HTTP/1.1 500 "), "{response}");
        assert!(ask(&admin, "GET /healthz HTTP/1.1\r\n\r\n").ends_with("\r\n\r\nok\n"));
    }
    // They are counted once the metrics can be told again.
    source.registry.snapshots()[0].publish([(&REQUESTS, 1)].into_iter());
    let metrics = ask(&admin, "GET /metrics HTTP/1.1\r\n\r\n");
    assert!(metrics.contains("\nsimoom_admin_panics_total 3\n"), "{metrics}");
}

#[test]
fn dropping_it_ends_it_and_frees_the_port() {
    let admin = start();
    let address = admin.address();
    drop(admin);
    assert!(TcpStream::connect(address).is_err());
    Admin::start(address, source(&[])).unwrap();
}

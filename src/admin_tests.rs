use super::*;
use crate::metrics::Sheet;

fn board() -> Board {
    let board = Board { sheets: vec![Sheet::new("worker 0"), Sheet::new("a \"b\" \\ c")] };
    board.sheets[0].publish([("requests", 3), ("errors", 1)].into_iter());
    board.sheets[1].publish([("requests", 4)].into_iter());
    board
}

fn start() -> Admin {
    Admin::start("127.0.0.1:0".parse().unwrap(), board()).unwrap()
}

fn connect(admin: &Admin) -> TcpStream {
    let stream = TcpStream::connect(admin.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
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
    let sheet = Sheet::new("xdp 0");
    sheet.publish([("connections_open", 3), ("passive_opens", 5)].into_iter());
    let text = metrics(&Board { sheets: vec![sheet] });
    let expected = "# TYPE simoom_connections_open gauge\nsimoom_connections_open{worker=\"xdp 0\"} 3\n\
                    # TYPE simoom_passive_opens_total counter\nsimoom_passive_opens_total{worker=\"xdp 0\"} 5\n";
    assert_eq!(text, expected);
}

#[test]
fn metrics_are_grouped_by_name() {
    let response = ask(&start(), "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("version=0.0.4"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
    let expected = "\
# TYPE simoom_requests_total counter
simoom_requests_total{worker=\"worker 0\"} 3
simoom_requests_total{worker=\"a \\\"b\\\" \\\\ c\"} 4
# TYPE simoom_errors_total counter
simoom_errors_total{worker=\"worker 0\"} 1
";
    assert_eq!(body, expected);
}

#[test]
fn requests_and_their_statuses() {
    let admin = start();
    let long = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(HEAD_BYTES));
    for (request, status) in [
        ("GET /healthz HTTP/1.1\r\n\r\n", "200 OK"),
        ("GET /healthz?a=b HTTP/1.0\r\n\r\n", "200 OK"),
        ("HEAD /healthz HTTP/1.1\r\n\r\n", "200 OK"),
        ("GET / HTTP/1.1\r\n\r\n", "404 Not Found"),
        ("POST /metrics HTTP/1.1\r\n\r\n", "405 Method Not Allowed"),
        ("nonsense\r\n\r\n", "400 Bad Request"),
        (&long, "400 Bad Request"),
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
fn a_silent_client_is_dropped_and_the_next_is_answered() {
    let admin = start();
    let mut silent = connect(&admin);
    let next = ask(&admin, "GET /healthz HTTP/1.1\r\n\r\n");
    assert!(next.starts_with("HTTP/1.1 200"), "{next}");
    assert_eq!(silent.read(&mut [0; 1]).unwrap(), 0, "the silent client is closed");
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
fn dropping_it_ends_it_and_frees_the_port() {
    let admin = start();
    let address = admin.address();
    drop(admin);
    assert!(TcpStream::connect(address).is_err());
    Admin::start(address, board()).unwrap();
}

//! The admin endpoint: metrics in Prometheus' text format and a health check, for monitoring.
//!
//! One thread of its own, one request at a time, bounded in bytes and time; it reads what the workers publish and
//! never touches the data path. `GET /metrics` and `GET /healthz`, nothing else.

use crate::control::{Mailbox, Orders, mailbox};
use crate::metrics::Board;
use rustix::event::{PollFd, PollFlags, poll};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A request's head may have this many bytes.
const HEAD_BYTES: usize = 4096;
/// A request and its answer may take this long together: a slow client keeps others waiting no longer.
const REQUEST_TIME: Duration = Duration::from_secs(2);
/// After an accept(2) that failed, for want of file descriptors say, the next comes this much later.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// The running endpoint; it ends when this value is dropped, after the request in hand, within two seconds.
#[derive(Debug)]
pub struct Admin {
    address: SocketAddr,
    orders: Option<Orders>,
    thread: Option<JoinHandle<()>>,
}

impl Admin {
    /// Listens at `address` and answers from `board`.
    pub fn start(address: SocketAddr, board: Board) -> io::Result<Admin> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (orders, mailbox) = mailbox()?;
        let serve = move || serve(&listener, &mailbox, &board);
        let thread = thread::Builder::new().name("admin".into()).spawn(serve)?;
        Ok(Admin { address, orders: Some(orders), thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        if let Some(orders) = self.orders.take() {
            let waker = orders.waker();
            // Once its orders are gone, the mailbox tells the thread to end.
            drop(orders);
            waker.wake();
        }
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by the thread itself.
            let _ = thread.join();
        }
    }
}

fn serve(listener: &TcpListener, mailbox: &Mailbox, board: &Board) {
    while mailbox.take().is_none() {
        let mut fds = [PollFd::new(listener, PollFlags::IN), PollFd::new(mailbox, PollFlags::IN)];
        if poll(&mut fds, None).is_err() {
            continue;
        }
        match listener.accept() {
            // A client that fails has only itself to blame; there is nobody else to tell.
            Ok((stream, _)) => drop(answer(stream, board)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => thread::sleep(RETRY_PAUSE),
        }
    }
}

fn answer(mut stream: TcpStream, board: &Board) -> io::Result<()> {
    let deadline = Instant::now() + REQUEST_TIME;
    stream.set_nonblocking(false)?;
    let head = read_head(&mut stream, deadline)?;
    let (status, content_type, body) = respond(&head, board);
    let only_head = head.starts_with(b"HEAD ");
    let mut response = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    if !only_head {
        response.push_str(&body);
    }
    write_by(&mut stream, response.as_bytes(), deadline)?;
    stream.shutdown(std::net::Shutdown::Write)?;
    // Closing with unread input would reset the connection and could cost the client its answer.
    let mut rest = [0; HEAD_BYTES];
    stream.set_read_timeout(Some(time_left(deadline)?))?;
    stream.read(&mut rest).map(drop)
}

/// Reads up to the end of the head; what is not ended within the bounds comes back as it is, and is refused.
fn read_head(stream: &mut TcpStream, deadline: Instant) -> io::Result<Vec<u8>> {
    let mut head = vec![0; HEAD_BYTES];
    let mut filled = 0;
    while filled < head.len() && memchr::memmem::find(&head[..filled], b"\r\n\r\n").is_none() {
        stream.set_read_timeout(Some(time_left(deadline)?))?;
        match stream.read(&mut head[filled..])? {
            0 => break,
            n => filled += n,
        }
    }
    head.truncate(filled);
    Ok(head)
}

fn write_by(stream: &mut TcpStream, mut bytes: &[u8], deadline: Instant) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.set_write_timeout(Some(time_left(deadline)?))?;
        match stream.write(bytes)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            n => bytes = &bytes[n..],
        }
    }
    Ok(())
}

fn time_left(deadline: Instant) -> io::Result<Duration> {
    match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
        left => Ok(left),
    }
}

/// The status, content type and body that answer the request with this head.
fn respond(head: &[u8], board: &Board) -> (&'static str, &'static str, String) {
    const TEXT: &str = "text/plain; charset=utf-8";
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    if !matches!(request.parse(head), Ok(httparse::Status::Complete(_))) {
        return ("400 Bad Request", TEXT, "not a request, or one with too long a head\n".into());
    }
    if !matches!(request.method, Some("GET" | "HEAD")) {
        return ("405 Method Not Allowed", TEXT, "only GET and HEAD\n".into());
    }
    match request.path.map(|path| path.split('?').next().unwrap_or(path)) {
        Some("/metrics") => ("200 OK", "text/plain; version=0.0.4; charset=utf-8", metrics(board)),
        Some("/healthz") => ("200 OK", TEXT, "ok\n".into()),
        _ => ("404 Not Found", TEXT, "there is /metrics and /healthz\n".into()),
    }
}

/// What goes up and down; all else only counts up.
const GAUGES: &[&str] = &[
    "connections_open",
    "memcached_curr_items",
    "memcached_bytes",
    "memcached_limit_maxbytes",
    "memcached_frames",
    "memcached_frames_free",
    "memcached_frames_limbo",
    "memcached_frames_pinned",
    "memcached_reserved_bytes",
    "memcached_hash_places",
];

/// All counters in Prometheus' text format: those of one name together, as the format asks.
fn metrics(board: &Board) -> String {
    let mut names: Vec<&'static str> = Vec::new();
    let mut samples: HashMap<&'static str, String> = HashMap::new();
    for sheet in &board.sheets {
        let worker = escaped(sheet.label());
        for (name, value) in sheet.read() {
            let (kind, suffix) = if GAUGES.contains(&name) { ("gauge", "") } else { ("counter", "_total") };
            let lines = samples.entry(name).or_insert_with(|| {
                names.push(name);
                format!("# TYPE simoom_{name}{suffix} {kind}\n")
            });
            let _ = writeln!(lines, "simoom_{name}{suffix}{{worker=\"{worker}\"}} {value}");
        }
    }
    names.iter().map(|name| samples[name].as_str()).collect()
}

/// A label's value, with what the format gives a meaning of its own escaped.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
#[path = "admin_tests.rs"]
mod tests;

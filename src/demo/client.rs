//! A small closed-loop client over kernel sockets. Each connection sends its next request when the
//! last answer has arrived and was compared.
//!
//! It takes a [`Load`] and returns an [`Outcome`]. Any other than the expected answer is counted as
//! an error by kind, and the connection is replaced. One thread; not a benchmark tool.

use crate::clock::timespec;
use crate::thread;
use hdrhistogram::Histogram;
use rustix::event::epoll;
use rustix::time::{ClockId, clock_gettime};
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// Limit for a connection attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Limit for outstanding answers at the end of the load.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// Space for the head of an answer.
const HEAD_BYTES: usize = 1024;
/// Upper bound of the latencies in the histogram.
const LATENCY_MAX_US: u64 = 60_000_000;

/// What to send, and for how long.
pub(super) struct Load {
    /// Address of the server.
    pub(super) target: SocketAddr,
    /// The request, sent repeatedly.
    pub(super) request: String,
    /// The expected answer.
    pub(super) expected: Expected,
    /// Connections, each with one request in flight.
    pub(super) connections: usize,
    /// Duration of the load.
    pub(super) time: Duration,
    /// The core to pin to.
    pub(super) core: Option<usize>,
}

/// The expected answer.
#[derive(Clone, Copy)]
pub(super) enum Expected {
    /// An HTTP response with this body.
    Page(&'static [u8]),
    /// Exactly these bytes.
    Bytes(&'static [u8]),
}

impl Expected {
    /// Upper bound of the length of an answer.
    fn max_bytes(self) -> usize {
        match self {
            Expected::Page(body) => HEAD_BYTES + body.len(),
            Expected::Bytes(bytes) => bytes.len() + 1,
        }
    }

    /// Whether `answer` is complete and as expected. If `full`, the buffer takes no more bytes.
    fn check(self, answer: &[u8], full: bool) -> Result<bool, AnswerError> {
        match self {
            Expected::Page(body) => check(answer, full, body),
            Expected::Bytes(bytes) if bytes.starts_with(answer) => Ok(bytes.len() == answer.len()),
            Expected::Bytes(_) => Err(AnswerError::Content),
        }
    }
}

/// The result of a load.
pub(super) struct Outcome {
    /// Requests with the expected answer.
    pub(super) requests: u64,
    /// Errors by kind.
    pub(super) errors: Errors,
    /// Time from the first request to the last answer.
    pub(super) elapsed: Duration,
    /// Latencies of good answers, from sending the request to reading the answer, in microseconds.
    pub(super) latency_us: Histogram<u64>,
    /// CPU use of the client's thread, as a fraction of one core. Near 1, the client was the limit.
    pub(super) busy: f64,
}

/// Errors by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Errors {
    /// Failed connection attempts.
    pub(super) connect: u64,
    /// Answers that are not HTTP, or have another status than 200.
    pub(super) status: u64,
    /// Answers whose Content-Length is not the length of the body.
    pub(super) length: u64,
    /// Answers with wrong content.
    pub(super) content: u64,
    /// Connections closed or reset before the answer was complete.
    pub(super) reset: u64,
    /// Requests without an answer at the end.
    pub(super) unanswered: u64,
}

impl Errors {
    fn named(&self) -> [(&'static str, u64); 6] {
        let Errors { connect, status, length, content, reset, unanswered } = *self;
        [
            ("connections not made", connect),
            ("wrong status", status),
            ("wrong length", length),
            ("wrong content", content),
            ("reset or closed early", reset),
            ("unanswered", unanswered),
        ]
    }

    /// The sum of all kinds.
    pub(super) fn total(&self) -> u64 {
        self.named().iter().map(|(_, count)| count).sum()
    }

    fn note(&mut self, flaw: AnswerError) {
        *match flaw {
            AnswerError::Status => &mut self.status,
            AnswerError::Length => &mut self.length,
            AnswerError::Content => &mut self.content,
            AnswerError::Reset => &mut self.reset,
        } += 1;
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.total() == 0 {
            return f.write_str("no errors");
        }
        let found: Vec<String> = self
            .named()
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(what, count)| format!("{count} {what}"))
            .collect();
        f.write_str(&found.join(", "))
    }
}

/// What is wrong with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AnswerError {
    Status,
    Length,
    Content,
    Reset,
}

/// Drives `load` on the calling thread.
pub(super) fn drive(load: &Load) -> io::Result<Outcome> {
    if let Some(core) = load.core {
        thread::pin(core)?;
    }
    let mut client = Client::new(load)?;
    client.run()?;
    Ok(client.outcome)
}

struct Client<'a> {
    load: &'a Load,
    epoll: OwnedFd,
    connections: Vec<Option<Connection>>,
    outcome: Outcome,
}

struct Connection {
    stream: TcpStream,
    sent_at: Instant,
    buffer: Box<[u8]>,
    filled: usize,
}

impl<'a> Client<'a> {
    fn new(load: &'a Load) -> io::Result<Client<'a>> {
        let outcome = Outcome {
            requests: 0,
            errors: Errors::default(),
            elapsed: Duration::ZERO,
            latency_us: Histogram::new_with_bounds(1, LATENCY_MAX_US, 3)
                .map_err(io::Error::other)?,
            busy: 0.0,
        };
        let mut client = Client {
            load,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            connections: Vec::new(),
            outcome,
        };
        for index in 0..load.connections {
            let connection = client.connect(index)?;
            client.connections.push(connection);
        }
        Ok(client)
    }

    /// Opens the connection with this index. Returns `None` and counts an error if the server does
    /// not accept it.
    fn connect(&mut self, index: usize) -> io::Result<Option<Connection>> {
        let Ok(stream) = TcpStream::connect_timeout(&self.load.target, CONNECT_TIMEOUT) else {
            self.outcome.errors.connect += 1;
            return Ok(None);
        };
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        epoll::add(
            &self.epoll,
            &stream,
            epoll::EventData::new_u64(index as u64),
            epoll::EventFlags::IN,
        )?;
        let buffer = vec![0; self.load.expected.max_bytes()].into();
        Ok(Some(Connection { stream, sent_at: Instant::now(), buffer, filled: 0 }))
    }

    fn run(&mut self) -> io::Result<()> {
        let (began, cpu_began) = (Instant::now(), thread_time());
        let until = began + self.load.time;
        for index in 0..self.connections.len() {
            self.send(index);
        }
        let mut events = Vec::with_capacity(self.load.connections);
        while self.connections.iter().any(Option::is_some) {
            let left = (until + DRAIN_TIMEOUT).saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let left = timespec(left);
            epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&left))?;
            for event in events.drain(..) {
                self.readable(event.data.u64() as usize, until)?;
            }
        }
        self.outcome.errors.unanswered += self.connections.iter().flatten().count() as u64;
        self.outcome.elapsed = began.elapsed();
        self.outcome.busy =
            (thread_time() - cpu_began).as_secs_f64() / self.outcome.elapsed.as_secs_f64();
        Ok(())
    }

    /// Sends a request on the connection with this index, if there is one.
    fn send(&mut self, index: usize) {
        let Some(connection) = &mut self.connections[index] else { return };
        (connection.sent_at, connection.filled) = (Instant::now(), 0);
        // The last answer was read completely, so the send buffer is empty and takes the request
        // whole.
        if connection.stream.write_all(self.load.request.as_bytes()).is_err() {
            self.outcome.errors.note(AnswerError::Reset);
            self.connections[index] = None;
        }
    }

    /// Reads what has arrived. If the answer is complete and time is left, sends the next request.
    fn readable(&mut self, index: usize, until: Instant) -> io::Result<()> {
        let Some(connection) = &mut self.connections[index] else { return Ok(()) };
        let read = connection.read(self.load.expected);
        let over = Instant::now() >= until;
        match read {
            Ok(false) => return Ok(()),
            Ok(true) => {
                self.outcome.requests += 1;
                self.outcome
                    .latency_us
                    .saturating_record(connection.sent_at.elapsed().as_micros() as u64);
            }
            Err(flaw) => {
                self.outcome.errors.note(flaw);
                self.connections[index] = None;
                if !over {
                    self.connections[index] = self.connect(index)?;
                }
            }
        }
        if over {
            self.connections[index] = None;
        }
        self.send(index);
        Ok(())
    }
}

impl Connection {
    /// Reads once. Returns whether the answer is complete.
    fn read(&mut self, expected: Expected) -> Result<bool, AnswerError> {
        match self.stream.read(&mut self.buffer[self.filled..]) {
            Ok(0) => Err(AnswerError::Reset),
            Ok(n) => {
                self.filled += n;
                expected.check(&self.buffer[..self.filled], self.filled == self.buffer.len())
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                Ok(false)
            }
            Err(_) => Err(AnswerError::Reset),
        }
    }
}

/// Whether `answer` is a complete response with `body`.
fn check(answer: &[u8], full: bool, body: &[u8]) -> Result<bool, AnswerError> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let head_len = match response.parse(answer) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) if !full => return Ok(false),
        _ => return Err(AnswerError::Status),
    };
    if response.code != Some(200) {
        return Err(AnswerError::Status);
    }
    let length =
        response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|header| std::str::from_utf8(header.value).ok()?.parse().ok());
    if length != Some(body.len()) {
        return Err(AnswerError::Length);
    }
    let content = &answer[head_len..];
    match content.len().cmp(&body.len()) {
        std::cmp::Ordering::Less if !full => Ok(false),
        std::cmp::Ordering::Equal if content == body => Ok(true),
        _ => Err(AnswerError::Content),
    }
}

/// CPU time of the calling thread.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;

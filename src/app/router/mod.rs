//! An HTTP/1.1 router: calls a handler for each request and sends its response (RFC 9110 and 9112).
//!
//! A handler is a function of a request and of the worker's state. Create [`Routes`] once, and a
//! [`Router`] for each worker:
//!
//! ```
//! use simoom::app::router::{Json, Request, Response, Router, Routes};
//! use simoom::metrics::Metric;
//! use std::cell::Cell;
//! use std::sync::Arc;
//!
//! static GREETED: Metric = Metric::new("greeted", "Greetings sent.");
//!
//! #[derive(Default)]
//! struct State {
//!     greeted: Cell<u64>, // Each worker has its own: no lock is needed.
//! }
//!
//! fn greet(request: &Request<'_>, state: &State) -> Result<Response, Response> {
//!     state.greeted.set(state.greeted.get() + 1);
//!     let times: usize = request.parse_query("times")?.unwrap_or(1);
//!     let name = request.param("name").unwrap_or("you");
//!     Ok(Response::ok().text(format!("Hello, {name}!\n").repeat(times.min(10))))
//! }
//!
//! let routes = Routes::new()
//!     .get("/", |_, _| "Try /hello/{name}\n")
//!     .get("/hello/{name}", greet)
//!     .post("/sum", |request: &Request<'_>, _: &State| {
//!         let numbers: Vec<f64> = request.json()?;
//!         Ok::<_, Response>(Json(numbers.iter().sum::<f64>()))
//!     })
//!     .counters(|state, sink| sink(&GREETED, state.greeted.get()));
//! let router = Router::new(Arc::new(routes), State::default());
//!
//! let mut line = simoom::app::testing::Line::open(router, 80);
//! line.offer(b"GET /hello/J%C3%BCrgen?times=2 HTTP/1.1\r\nHost: a\r\n\r\n");
//! let answer = String::from_utf8(line.take()).unwrap();
//! assert!(answer.ends_with("\r\n\r\nHello, Jürgen!\nHello, Jürgen!\n"));
//! ```
//!
//! # The life of a request
//!
//! The connection is in one of the phases of [`conn`]. The functions of [`super::http`] find, parse
//! and refuse heads. [`Routes`] selects the handler. Most handlers take a whole body. If the body
//! arrived with the head, the handler reads it in place. Otherwise the router gathers it in memory,
//! up to [`Options::bodies_max_bytes`]. Other handlers take a body as it arrives ([`Upload`]).
//! [`send`] queues the response. The router sends a response of unknown length in chunks, and
//! creates each chunk when there is capacity. Later requests wait in the transport.
//!
//! If no route matches, the content handler answers ([`Router::with_files`]). Without a content
//! handler the router sends a 404.
//!
//! An error that leaves the framing intact keeps the connection open. Any other error closes it, so
//! that no later byte is taken for a request. If a handler panics, the router sends a 500, or
//! resets the connection if a part of the response was sent.

mod conn;
mod counters;
mod drive;
mod options;
mod path;
mod pattern;
mod query;
mod request;
mod response;
mod routes;
mod send;
mod status;
mod tree;
mod upload;

pub use super::Bytes;
pub use conn::Connection;
pub use counters::Counters;
pub use options::Options;
pub use request::{Precondition, Request};
pub use response::{IntoResponse, Json, Response};
pub use routes::Routes;
pub use upload::Upload;

use super::Blob;
pub(super) use conn::Peer;

use super::content::Content;
use super::http::Http;
use super::http::connection::{Idle, Waiting};
use super::http::error::HttpError;
use super::http::head::LINE_MAX_BYTES;
use crate::handler::{Handler, Seconds};
use crate::metrics::Metric;
use conn::Phase;
use path::Path;
use simoom_io::{Application, Closed, Opened, Reply};
use status::ResponseHeads;
use std::sync::Arc;

/// The router of one worker.
pub struct Router<S> {
    routes: Arc<Routes<S>>,
    state: S,
    files: Option<Http>,
    options: Options,
    heads: ResponseHeads,
    /// The path of the current request.
    path: Path,
    /// The head of the current response.
    head: Vec<u8>,
    /// Bytes of bodies in memory.
    held: usize,
    /// Bytes queued on the current connection, up to its last whole response. 0 between calls.
    whole: u64,
    draining: bool,
    seconds: Seconds,
    counters: Counters,
}

impl<S> Router<S> {
    /// A router over `routes` with its own state. Put shared data into the state as an `Arc`.
    pub fn new(routes: Arc<Routes<S>>, state: S) -> Router<S> {
        Router {
            routes,
            state,
            files: None,
            options: Options::default(),
            heads: ResponseHeads::new(),
            path: Path::new(LINE_MAX_BYTES),
            head: Vec::with_capacity(simoom_io::send::CAPACITY_COPY_BYTES),
            held: 0,
            whole: 0,
            draining: false,
            seconds: Seconds::of(0),
            counters: Counters::default(),
        }
    }

    /// Answers requests that match no route from `content`.
    pub fn with_files(mut self, content: Arc<Content>) -> Router<S> {
        self.files = Some(Http::new(content, self.options.http()));
        self
    }

    /// Replaces the options.
    pub fn with_options(mut self, options: Options) -> Router<S> {
        self.options = options;
        if let Some(files) = &mut self.files {
            files.set_options(options.http());
        }
        self
    }

    /// The state of this worker.
    pub fn state(&self) -> &S {
        &self.state
    }

    /// The counters.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    fn wait(&self, conn: &mut Connection<S>, waiting: Waiting, reply: &mut Reply<'_, Blob>) {
        conn.deadline.wait(waiting, &self.options.timeouts, reply);
    }

    /// Ends the connection after an idle period, unless a response is not complete.
    fn idle_timeout(&mut self, conn: &mut Connection<S>, reply: &mut Reply<'_, Blob>) {
        match (conn.deadline.idle(reply), &conn.phase) {
            (Idle::Sending, _) | (_, Phase::Sending(_)) => {
                conn.deadline.waiting = Waiting::Unset;
                return self.wait(conn, Waiting::Idle, reply);
            }
            (Idle::Over, phase) => {
                let is_open = !matches!(phase, Phase::Closing);
                self.counters.router_idle_timeouts += u64::from(is_open);
                reply.close();
            }
        }
        self.release(conn);
        conn.phase = Phase::Closing;
    }

    /// Frees the memory of a partly gathered body, and of a request of the content handler.
    fn release(&mut self, conn: &mut Connection<S>) {
        match (&mut conn.phase, &mut self.files) {
            (Phase::Body(pending), _) => self.held -= pending.held(),
            (Phase::Files(file_conn), Some(files)) => files.closed(file_conn, Closed::Finished),
            _ => {}
        }
        conn.phase = Phase::default();
    }
}

impl<S> Application for Router<S> {
    type Blob = Blob;
    type Conn = Connection<S>;

    fn wants_ends(&self, _: u16) -> bool {
        true
    }

    fn prefetches(&self) -> bool {
        false
    }

    fn opened(&mut self, conn: &mut Connection<S>, opened: Opened, reply: &mut Reply<'_, Blob>) {
        self.counters.router_connections += 1;
        conn.peer = opened.ends.map_or_else(Peer::default, |ends| Peer::new(ends.remote));
        self.wait(conn, Waiting::Idle, reply);
    }

    fn received(
        &mut self,
        conn: &mut Connection<S>,
        bytes: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> usize {
        self.advance(conn, bytes, reply)
    }

    fn overfull(&mut self, conn: &mut Connection<S>, bytes: &[u8], reply: &mut Reply<'_, Blob>) {
        self.whole = reply.queued();
        let error = match conn.phase {
            Phase::Head(search) => search.overfull(),
            _ => HttpError::HeadTooLarge,
        };
        self.refuse(conn, error, send::Asked::unknown(bytes), reply);
        self.wait(conn, Waiting::Idle, reply);
        self.whole = 0;
    }

    fn resumed(&mut self, conn: &mut Connection<S>, reply: &mut Reply<'_, Blob>) {
        if matches!(conn.phase, Phase::Sending(_)) {
            self.advance(conn, b"", reply);
        }
    }

    fn timeout(&mut self, conn: &mut Connection<S>, reply: &mut Reply<'_, Blob>) {
        match (conn.deadline.waiting, &conn.phase) {
            (Waiting::Head, _) => {
                self.refuse(conn, HttpError::HeadTimeout, send::Asked::unknown(b""), reply);
            }
            (Waiting::Body, Phase::Body(pending)) => {
                let asked = pending.asked;
                self.release(conn);
                self.refuse(conn, HttpError::BodyTimeout, asked, reply);
            }
            (Waiting::Body, Phase::Files(_)) => {
                self.release(conn);
                let asked = send::Asked::cut_short(conn.is_head);
                self.refuse(conn, HttpError::BodyTimeout, asked, reply);
            }
            _ => return self.idle_timeout(conn, reply),
        }
        self.wait(conn, Waiting::Idle, reply);
    }

    fn closed(&mut self, conn: &mut Connection<S>, _: Closed) {
        self.release(conn);
    }
}

impl<S> Handler for Router<S> {
    fn clock(&mut self, seconds: Seconds) {
        self.seconds = seconds;
        self.routes.clock(&self.state, seconds);
        self.heads.set_date(seconds.unix);
        if let Some(files) = &mut self.files {
            files.clock(seconds.unix);
        }
    }

    fn drain(&mut self) {
        self.draining = true;
        if let Some(files) = &mut self.files {
            files.drain();
        }
    }

    fn idle(&self, conn: &Connection<S>) -> bool {
        matches!(conn.phase, Phase::Head(_))
    }

    /// Ends a connection after a panic. If no byte of a response is queued, queues a 500. Otherwise
    /// resets the connection, so that the client sees that the response is cut off.
    fn panicked(&mut self, conn: &mut Connection<S>, reply: &mut Reply<'_, Blob>) {
        let whole = std::mem::take(&mut self.whole);
        if reply.queued() == whole && !matches!(conn.phase, Phase::Closing | Phase::Sending(_)) {
            self.refuse_with(conn, 500, send::Asked::cut_short(conn.is_head), reply);
        } else {
            reply.abort();
        }
    }

    fn is_sound(&self) -> bool {
        self.routes.is_sound(&self.state)
    }

    fn publish(&self, sink: &mut dyn FnMut(&'static Metric, u64)) {
        for (metric, value) in self.counters.iter() {
            sink(metric, value);
        }
        self.routes.publish(&self.state, sink);
    }
}

#[cfg(test)]
#[path = "router_tests.rs"]
mod tests;

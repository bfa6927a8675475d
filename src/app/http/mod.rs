//! HTTP/1.1 (RFC 9110 and 9112): GET and HEAD of the content held in memory.
//!
//! # The life of a request
//!
//! The transport delivers input to `received` (`application`), in a frame or in its own buffer. A
//! request may arrive in several chunks, and further requests may follow it. `steps` reads the
//! input by the phase of the connection, which is one of five:
//!
//! - *Head*: `plain` recognizes the heads of most requests in one pass, and their answer needs no
//!   decision. For all others `head::find_end` looks for the empty line. Until it arrives, the
//!   handler consumes nothing, the transport buffers the bytes, and the search remembers its
//!   position. `handle` makes a whole head a `Request`, and then an `Answer`: `decide` decodes the
//!   path, looks it up in the `Content` and evaluates the preconditions.
//! - *Body*: the handler answers a request with content after the content. `request_content`
//!   discards the content while the head waits in `heads`. `Expect: 100-continue` gets its interim
//!   answer first. A request with unacceptable framing or size is refused before that.
//! - *Parts*: a response with several ranges is queued in part (`partial`).
//! - *Reading*: the answer waits for parts of a file on disk (`reading`).
//! - *Closing*: the last answer is queued. The handler reads no more input.
//!
//! `answer` sends an answer, and `response` queues it: ranges of pre-rendered bytes. No request
//! formats anything. When the send queue has no capacity for one more answer, the handler stops
//! reading, and the remaining pipeline stays in the transport.
//!
//! An error that leaves the framing intact (404, 405, 412, 501 for a method) keeps the connection
//! open. Any other error, an `HttpError`, closes it, so that no later byte is taken for a request.
//!
//! A connection has one deadline, for the event that it is `Waiting` for. This module reads no
//! clock. The transport passes the time of day to [`Http::clock`], and calls `timeout` when a
//! deadline fires.

mod access;
mod answer;
mod application;
pub(super) mod body;
pub(super) mod conditional;
pub(super) mod connection;
mod counters;
pub(crate) mod date;
mod decide;
pub(super) mod error;
mod fields;
mod handle;
mod handler;
pub(super) mod head;
mod heads;
mod multipart;
mod options;
mod partial;
pub(super) mod path;
mod places;
mod plain;
mod proxy;
mod range;
mod reading;
pub(super) mod request;
mod request_content;
pub(crate) mod response;
mod steps;
mod target;

pub use access::{Access, BUFFER_BYTES, Buffer, Record, records};
pub(crate) use conditional::Validators;
pub use connection::Connection;
pub use counters::Counters;
pub(crate) use date::imf_fixdate;
pub use options::{HeadLimits, Options, Timeouts};
pub use proxy::Network;

use super::Blob;
use super::content::{Content, Current};
use super::disk::FileReader;
use crate::later::Later;
use heads::Heads;
use places::Places;
use plain::KnownEnd;
use reading::Files;
use response::Answers;
use std::sync::Arc;

/// Input that a transport must be able to buffer for one connection: the longest head.
pub const INPUT_MAX_BYTES: usize = head::HEAD_MAX_BYTES;

/// The handler of one worker.
pub struct Http {
    content: Arc<Content>,
    /// The version of `content` in `current`.
    version: u32,
    current: Arc<Current>,
    options: Options,
    answers: Answers,
    /// Buffer for decoded paths: paths with escapes or dot segments.
    scratch: Box<[u8]>,
    /// Buffer for the location of a redirect.
    location: Box<[u8]>,
    known_end: KnownEnd,
    /// Heads of requests whose content arrives.
    heads: Heads,
    /// Bytes queued on the current connection, up to its last whole answer. 0 between calls.
    whole: u64,
    draining: bool,
    access: Option<Access>,
    /// Networks whose connections begin with a header of the PROXY protocol.
    proxies: Arc<[Network]>,
    /// Answers with files that are read from disk.
    files: Option<Files>,
    places: Places,
    counters: Counters,
}

/// Capacity for the decoded path of the longest target.
fn scratch_bytes(options: &Options) -> usize {
    usize::from(options.head.line_max_bytes)
}

impl Http {
    /// A handler that serves `content`. The Date of its answers is the epoch until the first call
    /// of [`Http::clock`].
    pub fn new(content: Arc<Content>, options: Options) -> Http {
        Http::following(Arc::new(Current::new(content)), options)
    }

    /// As [`Http::new`]. Serves what `current` is replaced with from the next request on.
    pub fn following(current: Arc<Current>, options: Options) -> Http {
        let (content, version) = current.get();
        Http {
            content,
            version,
            current,
            options,
            answers: Answers::new(),
            scratch: vec![0; scratch_bytes(&options)].into(),
            location: vec![0; response::INSERTED_MAX_BYTES].into(),
            known_end: KnownEnd::default(),
            heads: Heads::default(),
            whole: 0,
            draining: false,
            access: None,
            proxies: Arc::default(),
            files: None,
            places: Places::default(),
            counters: Counters::default(),
        }
    }

    /// Writes a record of each answer to this access log.
    pub fn with_access_log(self, access: Option<Access>) -> Http {
        let connections = access.as_ref().map_or(0, Access::connections);
        Http { access, ..self.with_places(connections) }
    }

    /// Expects a header of the PROXY protocol on each connection from these networks.
    pub fn with_proxies(self, proxies: Arc<[Network]>) -> Http {
        Http { proxies, ..self }
    }

    /// Reads the files that the content does not hold in memory with `reader`, for up to
    /// `connections`. Without it they are answered with 503.
    pub fn with_files(self, reader: FileReader, later: Later, connections: usize) -> Http {
        let files = Some(Files::new(reader, later, connections));
        Http { files, ..self.with_places(connections) }
    }

    /// Places for up to `connections`, or more.
    fn with_places(self, connections: usize) -> Http {
        let places = Places::new(connections.max(self.places.count()));
        Http { places, ..self }
    }

    /// Bytes of memory that [`Http::with_files`] takes.
    pub const fn files_memory_bytes(connections: usize) -> usize {
        Files::memory_bytes(connections)
    }

    /// Replaces the options.
    pub(in crate::app) fn set_options(&mut self, options: Options) {
        self.options = options;
        self.scratch = vec![0; scratch_bytes(&options)].into();
    }

    /// Sets the time of day. Call it before the first connection and then about once a second.
    pub fn clock(&mut self, unix_seconds: u64) {
        if self.current.version() != self.version {
            self.take_current();
        }
        self.answers.set_date(unix_seconds);
    }

    /// Takes the content that is served now.
    #[cold]
    fn take_current(&mut self) {
        (self.content, self.version) = self.current.get();
    }

    /// Starts draining: every further answer carries `Connection: close` and is the last of its
    /// connection.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// The counters.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}

#[cfg(test)]
#[path = "access_tests.rs"]
mod access_tests;

#[cfg(test)]
#[path = "agreement_tests.rs"]
mod agreement_tests;

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "reading_tests.rs"]
mod reading_tests;

#[cfg(test)]
#[path = "site_tests.rs"]
mod site_tests;

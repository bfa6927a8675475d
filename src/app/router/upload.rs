//! Receives request bodies: gathers them, or passes them on as they arrive.

use super::response::Response;
use super::send::Asked;
use crate::app::http::body::Discard;
use crate::handler::Seconds;

/// Receives a request body as it arrives.
///
/// ```
/// use simoom::app::router::{Response, Upload};
/// use simoom::handler::Seconds;
/// struct Sum(u64);
/// impl<S> Upload<S> for Sum {
///     fn write(&mut self, piece: &[u8], _: &S) -> Result<(), Response> {
///         self.0 += piece.iter().map(|byte| u64::from(*byte)).sum::<u64>();
///         Ok(())
///     }
///     fn finish(self: Box<Self>, _: Seconds, _: &S) -> Response {
///         Response::ok().text(format!("{}\n", self.0))
///     }
/// }
/// ```
pub trait Upload<S>: Send {
    /// Takes the next chunk, at least 1 byte. An error is the response; the router then closes the
    /// connection and reads no more.
    fn write(&mut self, chunk: &[u8], state: &S) -> Result<(), Response>;

    /// Answers the request at the end of the body, at the time `seconds`. If the peer closes early
    /// or is too slow, the router drops the upload without this call.
    fn finish(self: Box<Self>, seconds: Seconds, state: &S) -> Response;
}

/// A request with an incomplete body.
pub(super) struct Pending<S> {
    pub(super) discard: Discard,
    pub(super) asked: Asked,
    pub(super) sink: Sink<S>,
    /// Bytes since the deadline was set.
    pub(super) progress: u64,
}

/// The receiver of a body.
pub(super) enum Sink<S> {
    /// Memory: body and head are stored until the handler of `route` runs.
    Whole { head: Box<[u8]>, body: Vec<u8>, route: usize },
    /// An upload.
    Stream(Box<dyn Upload<S>>),
    /// Nothing: the body is dropped. The response is ready.
    Drop(Response),
}

impl<S> Pending<S> {
    /// Bytes of the body in memory.
    pub(super) fn held(&self) -> usize {
        match &self.sink {
            Sink::Whole { body, .. } => body.len(),
            Sink::Stream(_) | Sink::Drop(_) => 0,
        }
    }
}

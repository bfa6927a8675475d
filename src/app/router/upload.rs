//! Bodies on their way in: whole bodies are gathered, others are passed on as they arrive.

use super::response::Response;
use super::send::Asked;
use crate::app::http::body::Discard;
use crate::handler::Seconds;

/// Takes a request body as it arrives.
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
    /// Takes the next piece, one byte or more. An error is the answer; the connection closes behind
    /// it, and no more is read.
    fn write(&mut self, chunk: &[u8], state: &S) -> Result<(), Response>;

    /// The body is complete, at the time `seconds`: answers the request. A body that does not come
    /// to its end, because the peer closes or is too slow, drops the upload without this call.
    fn finish(self: Box<Self>, seconds: Seconds, state: &S) -> Response;
}

/// A request whose body is being read.
pub(super) struct Pending<S> {
    pub(super) discard: Discard,
    pub(super) asked: Asked,
    pub(super) sink: Sink<S>,
    /// Bytes since the deadline was set.
    pub(super) progress: u64,
}

/// Where a body goes.
pub(super) enum Sink<S> {
    /// It is gathered, and the head kept, until the handler of `route` can be called.
    Whole { head: Box<[u8]>, body: Vec<u8>, route: usize },
    /// It is passed on.
    Stream(Box<dyn Upload<S>>),
    /// It is dropped, and the request answered with this.
    Drop(Response),
}

impl<S> Pending<S> {
    /// Bytes of the body that are held in memory.
    pub(super) fn held(&self) -> usize {
        match &self.sink {
            Sink::Whole { body, .. } => body.len(),
            Sink::Stream(_) | Sink::Drop(_) => 0,
        }
    }
}

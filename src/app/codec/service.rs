//! Services that answer the frames of a codec.

use super::{Codec, Output};
use crate::handler::Seconds;
use crate::metrics::Metric;
use std::net::SocketAddr;

/// Answers the frames of all connections of one worker.
///
/// A function `FnMut(Frame, &mut Call)` implements this trait.
pub trait Service<C: Codec> {
    /// The state of one connection.
    type Session: Default;

    /// Handles an opened connection: greets the client if the protocol does.
    fn opened(&mut self, session: &mut Self::Session, call: &mut Call<'_, C>) {
        let _ = (session, call);
    }

    /// Answers `frame`.
    fn call(&mut self, session: &mut Self::Session, frame: C::Frame<'_>, call: &mut Call<'_, C>);

    /// Answers a frame that is malformed for `reason`. The connection then closes.
    fn malformed(&mut self, session: &mut Self::Session, reason: &str, call: &mut Call<'_, C>) {
        let _ = (session, reason, call);
    }

    /// Sets the time. Called before the first connection, and when the second changes.
    fn clock(&mut self, seconds: Seconds) {
        let _ = seconds;
    }

    /// Whether state shared with other workers is still consistent. Called after a panic. If not,
    /// the process ends.
    fn is_sound(&self) -> bool {
        true
    }

    /// Passes each metric and its value to `sink`.
    fn publish(&self, sink: &mut dyn FnMut(&'static Metric, u64)) {
        let _ = sink;
    }
}

impl<C: Codec, F> Service<C> for F
where
    F: for<'f, 'c> FnMut(C::Frame<'f>, &mut Call<'c, C>),
{
    type Session = ();

    fn call(&mut self, (): &mut (), frame: C::Frame<'_>, call: &mut Call<'_, C>) {
        self(frame, call);
    }
}

/// One call of a service: gives access to the answer and the connection.
pub struct Call<'a, C> {
    pub(super) codec: &'a C,
    pub(super) output: &'a mut Output,
    pub(super) close: bool,
    pub(super) seconds: Seconds,
    pub(super) peer: Option<SocketAddr>,
}

impl<C: Codec> Call<'_, C> {
    /// Sends an answer. A call may send none, one or several, which keep their order.
    pub fn answer(&mut self, answer: C::Answer<'_>) {
        self.codec.encode(answer, self.output);
    }

    /// Closes the connection after the answers.
    pub fn close(&mut self) {
        self.close = true;
    }

    /// The codec.
    pub fn codec(&self) -> &C {
        self.codec
    }

    /// The output for answers that the codec cannot encode.
    pub fn output(&mut self) -> &mut Output {
        self.output
    }

    /// The time in whole seconds.
    pub fn seconds(&self) -> Seconds {
        self.seconds
    }

    /// The address and port of the peer, if the transport knows them.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }
}

impl<C> std::fmt::Debug for Call<'_, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Call({:?}, close: {})", self.output, self.close)
    }
}

//! What answers the frames of a codec.

use super::{Codec, Output};
use crate::handler::Seconds;
use crate::metrics::Metric;
use std::net::SocketAddr;

/// Answers the frames of all connections of one worker.
///
/// A function `FnMut(Frame, &mut Call)` is one.
pub trait Service<C: Codec> {
    /// What is known of one connection.
    type Session: Default;

    /// A connection is open: greet it, if the protocol does.
    fn opened(&mut self, session: &mut Self::Session, call: &mut Call<'_, C>) {
        let _ = (session, call);
    }

    /// Answers `frame`.
    fn call(&mut self, session: &mut Self::Session, frame: C::Frame<'_>, call: &mut Call<'_, C>);

    /// Answers a frame that is malformed for `reason`. The connection ends with that.
    fn malformed(&mut self, session: &mut Self::Session, reason: &str, call: &mut Call<'_, C>) {
        let _ = (session, reason, call);
    }

    /// The time: called before the first connection, and when the second has changed.
    fn clock(&mut self, seconds: Seconds) {
        let _ = seconds;
    }

    /// Whether what the service shares with other workers can still be relied on, asked after a
    /// panic. If not, the process ends.
    fn is_sound(&self) -> bool {
        true
    }

    /// Gives each metric and its value to `sink`.
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

/// One call of a service: how it answers, and what it may know.
pub struct Call<'a, C> {
    pub(super) codec: &'a C,
    pub(super) output: &'a mut Output,
    pub(super) close: bool,
    pub(super) seconds: Seconds,
    pub(super) peer: Option<SocketAddr>,
}

impl<C: Codec> Call<'_, C> {
    /// Answers. Several answers go out in their order; none is needed.
    pub fn answer(&mut self, answer: C::Answer<'_>) {
        self.codec.encode(answer, self.output);
    }

    /// Closes the connection behind what is answered.
    pub fn close(&mut self) {
        self.close = true;
    }

    /// The codec.
    pub fn codec(&self) -> &C {
        self.codec
    }

    /// Where answers are written that the codec does not know.
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

//! Protocols of frames: a [`Codec`] splits the bytes of a connection into frames, a [`Service`]
//! answers each, and [`Framed`] makes an application of the two.
//!
//! A protocol of lines takes a few lines:
//!
//! ```
//! use simoom::app::codec::{Call, Framed, Lines};
//! let mut count = 0;
//! let app = Framed::new(Lines::default(), move |line: &[u8], call: &mut Call<'_, Lines>| {
//!     count += 1;
//!     match line {
//!         b"count" => call.answer(count.to_string().as_bytes()),
//!         b"quit" => call.close(),
//!         _ => call.answer(line),
//!     }
//! });
//!
//! let mut line = simoom::app::testing::Line::open(app, 7);
//! line.offer(b"hello\r\nco");
//! line.offer(b"unt\r\n");
//! assert_eq!(line.take(), b"hello\r\n2\r\n");
//! ```
//!
//! # What the adapter takes care of
//!
//! - A frame is decoded where it lies. One that does not fit the transport's buffers, which keep
//!   up to 16 KiB, is gathered in memory of the worker, up to [`Codec::max_frame_bytes`] each and
//!   [`Options::gathered_max_bytes`] together.
//! - [`Codec::decode`] is not called again before as many bytes have come as it said were missing.
//!   What it remembers of an incomplete frame is kept for it ([`Codec::Scan`]), so a frame that
//!   comes byte by byte is looked through once.
//! - An answer may be longer than the capacity to send it. The rest waits, no further frame is
//!   decoded, and both go on when there is capacity again. Nothing is lost or cut off.
//! - A malformed frame ends the connection, after [`Service::malformed`] has answered it.
//! - Deadlines: for the rest of a frame, and for the next one ([`Options`]).

mod framed;
mod gathered;
mod lines;
mod output;
mod prefixed;
mod service;

pub use framed::{Conn, Counters, Framed, Options};
pub use lines::Lines;
pub use output::Output;
pub use prefixed::Prefixed;
pub use service::{Call, Service};

use std::borrow::Cow;

/// How a protocol is split into frames, and how answers are written.
pub trait Codec {
    /// A whole frame. It may borrow from the bytes that it was decoded from.
    type Frame<'a>;
    /// What one answer is made of.
    type Answer<'a>;
    /// What is known of a frame that is not complete yet: how far it was looked through, for
    /// example. The default stands for a frame of which nothing was seen.
    type Scan: Default;

    /// The longest frame, its framing included. A longer one ends the connection.
    fn max_frame_bytes(&self) -> usize;

    /// Decodes the frame that `bytes`, at least one, begin with. They begin with the same bytes as
    /// at the last call for this frame, and `scan` is as that call has left it. What follows the
    /// frame must not be looked at.
    fn decode<'a>(&self, bytes: &'a [u8], scan: &mut Self::Scan) -> Decoded<Self::Frame<'a>>;

    /// Writes `answer` to `output`.
    fn encode(&self, answer: Self::Answer<'_>, output: &mut Output);
}

/// What came of decoding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded<F> {
    /// A whole frame, and how many bytes it takes: at least one.
    Frame(F, usize),
    /// At least this many bytes are missing, and at least one.
    Missing(usize),
    /// No frame begins like this, for this reason. The connection ends.
    Malformed(Cow<'static, str>),
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;

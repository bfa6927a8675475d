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
//! - A frame is decoded in place. A frame that exceeds the transport's buffer (up to 16 KiB) is
//!   gathered in the worker's memory, up to [`Codec::max_frame_bytes`] each and
//!   [`Options::gathered_max_bytes`] together.
//! - The adapter calls [`Codec::decode`] again only when the missing bytes that it reported have
//!   arrived. The codec's progress within an incomplete frame is stored ([`Codec::Scan`]). So the
//!   codec reads each byte once, even if a frame arrives byte by byte.
//! - An answer may exceed the capacity of the send queue. Then the unsent part waits, and no
//!   further frame is decoded until there is capacity again. Nothing is lost or cut off.
//! - A malformed frame ends the connection, after [`Service::malformed`] has answered it.
//! - Deadlines: for the rest of a frame, and for the next one ([`Options`]).

mod framed;
mod gathered;
mod lines;
mod output;
mod prefixed;
mod service;

pub use framed::{Connection, Counters, Framed, Options};
pub use lines::Lines;
pub use output::Output;
pub use prefixed::Prefixed;
pub use service::{Call, Service};

use std::borrow::Cow;

/// Splits a protocol into frames, and writes answers.
pub trait Codec {
    /// A whole frame. It may borrow from the decoded bytes.
    type Frame<'a>;
    /// The content of one answer.
    type Answer<'a>;
    /// The progress within an incomplete frame, such as the number of searched bytes. The default
    /// is the start of a frame.
    type Scan: Default;

    /// The longest frame, with its framing. A longer frame closes the connection.
    fn max_frame_bytes(&self) -> usize;

    /// Decodes the frame at the start of `bytes`, which has at least 1 byte. `bytes` starts with
    /// the bytes of the last call for this frame, and `scan` is unchanged since then. The codec
    /// must not read beyond the frame.
    fn decode<'a>(&self, bytes: &'a [u8], scan: &mut Self::Scan) -> Decoded<Self::Frame<'a>>;

    /// Writes `answer` to `output`.
    fn encode(&self, answer: Self::Answer<'_>, output: &mut Output);
}

/// The result of decoding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded<F> {
    /// A whole frame and its length in bytes, at least 1.
    Frame(F, usize),
    /// At least this number of bytes is missing, at least 1.
    Missing(usize),
    /// The bytes start no valid frame, for this reason. The connection closes.
    Malformed(Cow<'static, str>),
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;

//! Reads the content of a request. Input: its bytes. Output: its data and its end (RFC 9112 §§6.3,
//! 7.1).
//!
//! The next request begins after the content. Content arrives in chunks of any size, and nothing is
//! buffered here: [`Discard::read_data`] passes the data on, [`Discard::read`] drops it. The
//! decoder of the chunked coding reads byte by byte outside of chunk data, and strictly: a line
//! ends in CR LF only. Two recipients that disagree on the end of a message make request smuggling
//! possible (§11.2).

use super::error::HttpError;
use super::path::hex;
use super::request::Framing;

/// The position of a connection within the content of a request.
#[derive(Clone, Copy, Debug)]
pub(in crate::app) struct Discard {
    state: State,
    /// Remaining bytes of the content, or of the data of the current chunk.
    left: u32,
    /// Remaining bytes of the limit, which covers chunk framing and trailers.
    budget: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Content of known length.
    Length,
    /// Before the first digit of a chunk size.
    SizeStart,
    Size,
    /// White space after the size. Only an extension may follow.
    SizeSpace,
    Extension,
    /// Before the LF that ends the line with a chunk's size.
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// At the start of a line of the trailer section.
    TrailerStart,
    Trailer,
    TrailerLf,
    /// Before the LF of the empty line that ends the message.
    EndLf,
    End,
}

impl Discard {
    /// The reader for content of this framing, if there is content. Refuses more than `limit` bytes
    /// on the wire.
    #[inline]
    pub(in crate::app) fn of(framing: Framing, limit: u32) -> Result<Option<Discard>, HttpError> {
        match framing {
            Framing::None => Ok(None),
            Framing::Chunked => Ok(Some(Discard::chunked(limit))),
            Framing::Length(length) => match u32::try_from(length) {
                Ok(length) if length <= limit => Ok(Some(Discard::length(length))),
                _ => Err(HttpError::BodyTooLarge),
            },
        }
    }

    /// Content of `length` bytes, at least one.
    pub(in crate::app) fn length(length: u32) -> Discard {
        Discard { state: State::Length, left: length, budget: length }
    }

    /// Chunked content with up to `limit` bytes on the wire.
    pub(in crate::app) fn chunked(limit: u32) -> Discard {
        Discard { state: State::SizeStart, left: 0, budget: limit }
    }

    /// Whether the content has ended.
    pub(in crate::app) fn is_over(&self) -> bool {
        self.state == State::End
    }

    /// Discards the content in `bytes` and returns its length. That is all of `bytes` unless the
    /// content ends within them.
    pub(in crate::app) fn read(&mut self, bytes: &[u8]) -> Result<usize, HttpError> {
        self.read_data(bytes, |_| {})
    }

    /// As [`Discard::read`]. Passes each run of data among `bytes` to `sink`, without the framing
    /// of the chunked coding.
    #[inline]
    pub(in crate::app) fn read_data(
        &mut self,
        bytes: &[u8],
        mut sink: impl FnMut(&[u8]),
    ) -> Result<usize, HttpError> {
        let mut at = 0;
        while at < bytes.len() && self.state != State::End {
            let n = match self.state {
                State::Length | State::Data => {
                    let n = self.pass_data(bytes.len() - at);
                    sink(&bytes[at..at + n]);
                    n
                }
                _ => {
                    self.state = self.framing(bytes[at])?;
                    1
                }
            };
            at += n;
            self.budget = self.budget.checked_sub(n as u32).ok_or(HttpError::BodyTooLarge)?;
        }
        Ok(at)
    }

    fn pass_data(&mut self, available: usize) -> usize {
        let n = available.min(self.left as usize);
        self.left -= n as u32;
        if self.left == 0 {
            self.state = if self.state == State::Length { State::End } else { State::DataCr };
        }
        n
    }

    /// The state after one byte outside of data.
    fn framing(&mut self, byte: u8) -> Result<State, HttpError> {
        use State::*;
        Ok(match (self.state, byte) {
            (SizeStart | Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                self.push_digit(byte)?;
                Size
            }
            (Size | Extension, b'\r') => SizeLf,
            (Size | SizeSpace, b' ' | b'\t') => SizeSpace,
            (Size | SizeSpace, b';') => Extension,
            (Extension, byte) if is_text(byte) => Extension,
            (SizeLf, b'\n') if self.left == 0 => TrailerStart,
            (SizeLf, b'\n') => Data,
            (DataCr, b'\r') => DataLf,
            (DataLf, b'\n') => SizeStart,
            (TrailerStart, b'\r') => EndLf,
            (TrailerStart, byte) if is_text(byte) && byte != b' ' && byte != b'\t' => Trailer,
            (Trailer, b'\r') => TrailerLf,
            (Trailer, byte) if is_text(byte) => Trailer,
            (TrailerLf, b'\n') => TrailerStart,
            (EndLf, b'\n') => End,
            _ => return Err(HttpError::BadChunk),
        })
    }

    /// Refuses a chunk as soon as its size exceeds the limit.
    fn push_digit(&mut self, digit: u8) -> Result<(), HttpError> {
        let value = hex(digit).ok_or(HttpError::BadChunk)?;
        let size = self.left.checked_mul(16).ok_or(HttpError::BodyTooLarge)? + u32::from(value);
        if size > self.budget {
            return Err(HttpError::BodyTooLarge);
        }
        self.left = size;
        Ok(())
    }
}

/// Bytes allowed in a field or an extension: visible bytes, white space and obs-text. Other
/// controls are not allowed.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;

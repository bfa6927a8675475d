//! Converts a response to byte ranges in the send queue.
//!
//! A response of known length needs at most the capacity that [`Reply::has_capacity`] guarantees:
//! its head and a short body are copied, a long body is shared. A body of unknown length is sent
//! piece by piece, while there is capacity and the connection has work left in this iteration.

use super::response::{Body, Pieces, Response};
use super::status::ResponseHeads;
use crate::app::http::request::Request as Head;
use crate::app::http::response::{CONNECTION_CLOSE, CONNECTION_KEEP_ALIVE, Persistence};
use crate::app::{Blob, Bytes};
use crate::digits::Digits;
use crate::work::{self, Share};
use simoom_io::Reply;
use simoom_io::send::{CAPACITY_COPY_BYTES, CHUNK_BYTES};

/// Above this size, with the head, a shared body is not copied: it is in memory already.
const SHARE_FROM_BYTES: usize = CHUNK_BYTES;
/// Framing of a chunk in the chunked coding: 16 digits and two line ends.
const CHUNK_FRAME_BYTES: usize = 20;

/// The form of the response that a request asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) persistence: Persistence,
    /// HTTP/1.0 has no chunked coding.
    pub(super) chunked: bool,
    /// The answer to HEAD has no body.
    pub(super) with_content: bool,
}

impl Asked {
    pub(super) fn of(head: &Head<'_, '_>) -> Asked {
        Asked {
            persistence: if head.method_name == "CONNECT" {
                // RFC 9110 §9.3.6: the following bytes may not be HTTP.
                Persistence::Close
            } else {
                head.persistence
            },
            chunked: head.minor == 1,
            with_content: head.method_name != "HEAD",
        }
    }

    /// The form for a request that cannot be parsed: the connection closes after the response.
    pub(super) fn unknown(head: &[u8]) -> Asked {
        Asked { persistence: Persistence::Close, chunked: false, with_content: !is_head(head) }
    }

    /// The form for a request that ends early: the connection closes after the response.
    pub(super) fn cut_short(is_head: bool) -> Asked {
        Asked { with_content: !is_head, ..Asked::unknown(b"") }
    }
}

/// Whether the request with this head asks for an answer without a body.
pub(super) fn is_head(head: &[u8]) -> bool {
    head.starts_with(b"HEAD ")
}

/// The unsent part of a response.
pub(super) struct Sending {
    pub(super) pieces: Pieces,
    pub(super) chunked: bool,
    pub(super) persistence: Persistence,
}

/// Queues `response`. If its body has an unknown length, queues only the head and returns the
/// unsent part. The reply has capacity for a response. `head` is a buffer for the head.
pub(super) fn send(
    heads: &ResponseHeads,
    head: &mut Vec<u8>,
    response: Response,
    asked: Asked,
    reply: &mut Reply<'_, Blob>,
) -> Option<Sending> {
    let Response { status, content_type, fields, body, close: _ } = response;
    head.clear();
    let mut push = |bytes: &[u8]| head.extend_from_slice(bytes);
    push(heads.get(status).bytes());
    push(match asked.persistence {
        Persistence::Keep => b"",
        Persistence::KeepAndSay => CONNECTION_KEEP_ALIVE,
        Persistence::Close => CONNECTION_CLOSE,
    });
    if !content_type.is_empty() {
        push(b"Content-Type: ");
        push(content_type.as_bytes());
        push(b"\r\n");
    }
    push(fields.as_bytes());
    // RFC 9110 §§8.6, 15.3.5, 15.4.5: these statuses have no content.
    let is_bodiless = matches!(status, 204 | 304);
    match &body {
        _ if is_bodiless => {}
        Body::Whole(bytes) => {
            push(b"Content-Length: ");
            push(Digits::of(bytes.as_slice().len() as u64).bytes());
            push(b"\r\n");
        }
        Body::Pieces(_) if asked.chunked => push(b"Transfer-Encoding: chunked\r\n"),
        Body::Pieces(_) => {}
    }
    push(b"\r\n");
    let copied = send_head(head, reply);
    match body {
        _ if is_bodiless || !asked.with_content => None,
        Body::Whole(bytes) => {
            send_bytes(bytes, copied, reply);
            None
        }
        Body::Pieces(pieces) => {
            let Asked { chunked, persistence, .. } = asked;
            Some(Sending { pieces, chunked, persistence })
        }
    }
}

/// Queues the head. Returns the number of copied bytes.
fn send_head(head: &[u8], reply: &mut Reply<'_, Blob>) -> usize {
    if head.len() <= CAPACITY_COPY_BYTES {
        reply.copy(head);
        return head.len();
    }
    reply.share(Blob::Shared(head.into()), 0..head.len());
    0
}

/// Queues `bytes`. `copied` bytes of the capacity are used already.
fn send_bytes(bytes: Bytes, copied: usize, reply: &mut Reply<'_, Blob>) {
    let copy_max = match bytes {
        Bytes::Owned(_) => CAPACITY_COPY_BYTES,
        Bytes::Static(_) | Bytes::Shared(_) | Bytes::Item(..) => SHARE_FROM_BYTES,
    };
    if copied + bytes.as_slice().len() <= copy_max {
        reply.copy(bytes.as_slice());
    } else {
        let (blob, range) = bytes.into_blob();
        reply.share(blob, range);
    }
}

impl Sending {
    /// Queues pieces while there is capacity, and until `share` is used up. Returns whether all are
    /// queued.
    pub(super) fn send(&mut self, share: &mut Share, reply: &mut Reply<'_, Blob>) -> bool {
        while !share.is_used_up() && reply.has_capacity() {
            let Some(piece) = self.pieces.next() else {
                if self.chunked {
                    reply.copy(b"0\r\n\r\n");
                }
                return true;
            };
            let len = piece.as_slice().len();
            // An empty piece is work too: a stream of them must not hold the worker.
            work::add(len);
            share.count();
            if len == 0 {
                continue;
            }
            if !self.chunked {
                send_bytes(piece, 0, reply);
                continue;
            }
            let size = HexDigits::of(len);
            reply.copy(size.line());
            send_bytes(piece, CHUNK_FRAME_BYTES, reply);
            reply.copy(b"\r\n");
        }
        false
    }
}

/// The line of a chunk's size, without allocation.
struct HexDigits {
    bytes: [u8; 18],
    start: usize,
}

impl HexDigits {
    fn of(mut number: usize) -> HexDigits {
        let mut digits = HexDigits { bytes: [0; 18], start: 16 };
        digits.bytes[16..].copy_from_slice(b"\r\n");
        loop {
            digits.start -= 1;
            digits.bytes[digits.start] = b"0123456789abcdef"[number & 15];
            number >>= 4;
            if number == 0 {
                return digits;
            }
        }
    }

    fn line(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunk_sizes_are_those_of_the_standard_library() {
        for number in [0, 9, 10, 15, 16, 255, 65_536, usize::MAX] {
            assert_eq!(HexDigits::of(number).line(), format!("{number:x}\r\n").as_bytes());
        }
    }
}

//! The ceiling's answers: made once, cut to the size of a segment and summed; of a request only its end is looked for.
//!
//! Text goes in, pieces with their checksums come out. Nothing is remembered from one segment to the next, so a request
//! whose end is cut in two by a segment's is not seen; `simoom load` sends none such.

use memchr::memmem::Finder;
use simoom_stack::wire::checksum::Sum;
use simoom_stack::wire::tcp::TIMESTAMPS_BYTES;
use simoom_stack::wire::{ipv4, tcp};

/// A part of an answer that fits a segment, with the sum of its bytes.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) bytes: Vec<u8>,
    pub(super) sum: Sum,
}

/// What is answered to what.
#[derive(Debug)]
pub(super) struct Answers {
    pieces: Vec<Piece>,
    end: Finder<'static>,
    closes: bool,
}

impl Answers {
    /// HTTP with `content_bytes` of content, in packets of at most `packet_bytes`; each answer is the last of its
    /// connection, if it `closes`.
    pub(super) fn http(content_bytes: usize, closes: bool, packet_bytes: usize) -> Answers {
        let close = if closes { "Connection: close\r\n" } else { "" };
        let mut text = format!("HTTP/1.1 200 OK\r\nContent-Length: {content_bytes}\r\n{close}\r\n").into_bytes();
        text.resize(text.len() + content_bytes, b'x');
        Answers { pieces: cut(&text, packet_bytes), end: Finder::new(b"\r\n\r\n"), closes }
    }

    /// How many requests end in `text`.
    #[inline]
    pub(super) fn requests(&self, text: &[u8]) -> usize {
        // Nearly always there is one, and it ends where the segment does.
        let head = &text[..text.len().saturating_sub(1)];
        usize::from(text.ends_with(self.end.needle())) + self.end.find_iter(head).count()
    }

    /// Whether the connection ends with the answer.
    #[inline]
    pub(super) fn closes(&self) -> bool {
        self.closes
    }

    /// The pieces of the answer to one request.
    #[inline]
    pub(super) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }
}

/// Cuts `text` so that each piece, with timestamps, fits a packet.
fn cut(text: &[u8], packet_bytes: usize) -> Vec<Piece> {
    let room = packet_bytes - ipv4::HEADER_BYTES - tcp::HEADER_BYTES - TIMESTAMPS_BYTES;
    let piece = |bytes: &[u8]| Piece { bytes: bytes.to_vec(), sum: Sum::default().add_bytes(bytes) };
    text.chunks(room).map(piece).collect()
}

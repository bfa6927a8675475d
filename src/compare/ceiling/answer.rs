//! The ceiling's answers: bytes of requests in, pieces that fit a segment out, with their sums.
//!
//! HTTP's one answer is made once, cut and summed; of a request only its end is looked for. One
//! whose end is itself cut in two by a segment's is not seen; `simoom load` sends none such.
//! memcached's answers name the keys that were asked for, so they are written anew; a request that
//! a segment cuts off is kept until the rest comes, the only thing here that is. Segments with
//! whole requests must each wait for the answer to the one before.

use memchr::memchr;
use memchr::memmem::Finder;
use simoom_tcp::Address;
use simoom_tcp::seq::Seq;
use simoom_tcp::wire::checksum::Sum;
use simoom_tcp::wire::tcp::TIMESTAMPS_BYTES;
use simoom_tcp::wire::{ipv4, tcp};
use std::collections::HashMap;

/// A part of an answer that fits a segment, with the sum of its bytes.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) bytes: Vec<u8>,
    pub(super) sum: Sum,
}

/// What is answered to what.
#[derive(Debug)]
pub(super) enum Answers {
    Http(Box<Http>),
    Memcached(Memcached),
}

/// The same answer to every request.
#[derive(Debug)]
pub(super) struct Http {
    pub(super) pieces: Vec<Piece>,
    /// Whether the connection ends with it.
    pub(super) closes: bool,
    end: Finder<'static>,
}

/// A value of the same length for every key.
#[derive(Debug)]
pub(super) struct Memcached {
    /// What follows a key in an answer, and the value.
    value: Vec<u8>,
    kept: HashMap<(Address, u16), Kept>,
    text: Vec<u8>,
    /// Bytes of a piece.
    room: usize,
}

/// The beginning of a request, and where its answer goes: the segment that brings the rest may have
/// been sent before the answers to those ahead of it came.
#[derive(Debug)]
struct Kept {
    text: Vec<u8>,
    seq: Seq,
}

/// Bytes of text in a packet with timestamps.
fn room(packet_bytes: usize) -> usize {
    packet_bytes - ipv4::HEADER_BYTES - tcp::HEADER_BYTES - TIMESTAMPS_BYTES
}

impl Http {
    /// `content_bytes` of content, in packets of at most `packet_bytes`; each answer is the last of
    /// its connection, if it `closes`.
    pub(super) fn new(content_bytes: usize, closes: bool, packet_bytes: usize) -> Http {
        let close = if closes { "Connection: close\r\n" } else { "" };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {content_bytes}\r\n{close}\r\n");
        let mut text = head.into_bytes();
        text.resize(text.len() + content_bytes, b'x');
        let piece =
            |bytes: &[u8]| Piece { bytes: bytes.to_vec(), sum: Sum::default().add_bytes(bytes) };
        let pieces = text.chunks(room(packet_bytes)).map(piece).collect();
        Http { pieces, closes, end: Finder::new(b"\r\n\r\n") }
    }

    /// How many requests end in `text`.
    #[inline]
    pub(super) fn requests(&self, text: &[u8]) -> usize {
        // Nearly always there is one, and it ends where the segment does.
        let head = &text[..text.len().saturating_sub(1)];
        usize::from(text.ends_with(self.end.needle())) + self.end.find_iter(head).count()
    }

    /// Bytes of an answer.
    pub(super) fn len(&self) -> u32 {
        self.pieces.iter().map(|piece| piece.bytes.len() as u32).sum()
    }
}

impl Memcached {
    /// Values of `value_bytes`, in packets of at most `packet_bytes`.
    pub(super) fn new(value_bytes: usize, packet_bytes: usize) -> Memcached {
        let mut value = format!(" 0 {value_bytes}\r\n").into_bytes();
        value.resize(value.len() + value_bytes, b'0');
        value.extend(b"\r\n");
        Memcached { value, kept: HashMap::new(), text: Vec::new(), room: room(packet_bytes) }
    }

    /// The answer to all requests that end in a segment's text, which came from `peer` when that
    /// waited for `ack`; and where the answer begins.
    #[inline]
    pub(super) fn answer(
        &mut self,
        peer: (Address, u16),
        ack: Seq,
        text: &[u8],
    ) -> (Seq, impl Iterator<Item = (&[u8], Sum)> + use<'_>) {
        self.text.clear();
        let kept = if self.kept.is_empty() { None } else { self.kept.remove(&peer) };
        let (seq, whole) = match kept {
            Some(kept) => (kept.seq, Some([&kept.text, text].concat())),
            None => (ack, None),
        };
        let mut rest = whole.as_deref().unwrap_or(text);
        while let Some(len) = self.answer_one(rest) {
            rest = &rest[len..];
        }
        if !rest.is_empty() {
            self.kept.insert(peer, Kept { text: rest.to_vec(), seq: seq + self.text.len() as u32 });
        }
        (seq, self.text.chunks(self.room).map(|bytes| (bytes, Sum::default().add_bytes(bytes))))
    }

    /// Answers the first request; says how long it is, or nothing if it is not whole.
    #[inline]
    fn answer_one(&mut self, text: &[u8]) -> Option<usize> {
        let line_len = memchr(b'\n', text)? + 1;
        let line = text[..line_len].trim_ascii_end();
        let mut words = line.split(|byte| *byte == b' ');
        match words.next() {
            Some(b"get") => {
                for key in words {
                    self.text.extend_from_slice(b"VALUE ");
                    self.text.extend_from_slice(key);
                    self.text.extend_from_slice(&self.value);
                }
                self.text.extend_from_slice(b"END\r\n");
                Some(line_len)
            }
            Some(b"set") => {
                let bytes = words
                    .nth(3)
                    .and_then(|bytes| std::str::from_utf8(bytes).ok()?.parse::<usize>().ok());
                let len = line_len.saturating_add(bytes.unwrap_or(0)).saturating_add(2);
                (text.len() >= len).then(|| self.text.extend_from_slice(b"STORED\r\n"))?;
                Some(len)
            }
            _ => {
                self.text.extend_from_slice(b"ERROR\r\n");
                Some(line_len)
            }
        }
    }
}

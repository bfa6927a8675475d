//! The ceiling's answers: requests in, payloads with their checksums out. A payload is one segment,
//! or as many as a GSO packet has.
//!
//! The HTTP answer is the same for every request. It is built and checksummed once. The parser
//! looks only for the end of a request, and misses an end that two segments share; `simoom load`
//! sends none such.
//!
//! memcached answers name the requested keys, so they are built for each request. A request that
//! continues in the next segment is kept until then; nothing else is. A client must wait for the
//! answer to a segment before it sends the next one.

use memchr::memchr;
use memchr::memmem::Finder;
use simoom_tcp::Address;
use simoom_tcp::seq::Seq;
use simoom_tcp::wire::checksum::Sum;
use simoom_tcp::wire::tcp::TIMESTAMPS_BYTES;
use simoom_tcp::wire::{ipv4, tcp};
use std::collections::HashMap;

/// A part of an answer, with its checksum.
#[derive(Clone, Debug)]
pub(super) struct Payload {
    pub(super) bytes: Vec<u8>,
    pub(super) sum: Sum,
}

/// The protocol of the answers.
#[derive(Debug)]
pub(super) enum Answers {
    Http(Box<Http>),
    Memcached(Memcached),
}

/// The same answer for every request.
#[derive(Debug)]
pub(super) struct Http {
    pub(super) payloads: Vec<Payload>,
    /// Whether the answer closes the connection.
    pub(super) closes: bool,
    end: Finder<'static>,
}

/// A value of the same length for every key.
#[derive(Debug)]
pub(super) struct Memcached {
    /// The part of an answer after the key, the value included.
    value: Vec<u8>,
    partial: HashMap<(Address, u16), Partial>,
    text: Vec<u8>,
    /// Payload bytes of a segment.
    segment_bytes: usize,
}

/// The start of a request, and the sequence number of its answer. The segment with the rest may
/// have been sent before earlier answers arrived, so its SEG.ACK is not that number.
#[derive(Debug)]
struct Partial {
    text: Vec<u8>,
    seq: Seq,
}

/// Payload bytes of a packet whose TCP header has timestamps.
pub(super) fn payload_bytes(packet_bytes: usize) -> usize {
    packet_bytes - ipv4::HEADER_BYTES - tcp::HEADER_BYTES - TIMESTAMPS_BYTES
}

impl Http {
    /// An answer with `content_bytes` of content, in payloads of `segments` segments of at most
    /// `segment_bytes`. If `closes`, it closes the connection.
    pub(super) fn new(
        content_bytes: usize,
        closes: bool,
        segment_bytes: usize,
        segments: usize,
    ) -> Http {
        let close = if closes { "Connection: close\r\n" } else { "" };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {content_bytes}\r\n{close}\r\n");
        let mut text = head.into_bytes();
        text.resize(text.len() + content_bytes, b'x');
        let payload =
            |bytes: &[u8]| Payload { bytes: bytes.to_vec(), sum: Sum::default().add_bytes(bytes) };
        let payloads = text.chunks(segments * segment_bytes).map(payload).collect();
        Http { payloads, closes, end: Finder::new(b"\r\n\r\n") }
    }

    /// The number of requests that end in `text`.
    #[inline]
    pub(super) fn requests(&self, text: &[u8]) -> usize {
        // Almost always there is one, and it ends with the segment.
        let head = &text[..text.len().saturating_sub(1)];
        usize::from(text.ends_with(self.end.needle())) + self.end.find_iter(head).count()
    }

    /// Length of an answer.
    pub(super) fn len(&self) -> u32 {
        self.payloads.iter().map(|payload| payload.bytes.len() as u32).sum()
    }
}

impl Memcached {
    /// Values of `value_bytes`, in segments of at most `segment_bytes`.
    pub(super) fn new(value_bytes: usize, segment_bytes: usize) -> Memcached {
        let mut value = format!(" 0 {value_bytes}\r\n").into_bytes();
        value.resize(value.len() + value_bytes, b'0');
        value.extend(b"\r\n");
        Memcached { value, partial: HashMap::new(), text: Vec::new(), segment_bytes }
    }

    /// Answers all requests that end in a segment from `peer` with SEG.ACK `ack`. Returns the
    /// sequence number of the answer, and its payloads.
    #[inline]
    pub(super) fn answer(
        &mut self,
        peer: (Address, u16),
        ack: Seq,
        text: &[u8],
    ) -> (Seq, impl Iterator<Item = (&[u8], Sum)> + use<'_>) {
        self.text.clear();
        let partial = if self.partial.is_empty() { None } else { self.partial.remove(&peer) };
        let (seq, whole) = match partial {
            Some(partial) => (partial.seq, Some([&partial.text, text].concat())),
            None => (ack, None),
        };
        let mut rest = whole.as_deref().unwrap_or(text);
        while let Some(len) = self.answer_one(rest) {
            rest = &rest[len..];
        }
        if !rest.is_empty() {
            self.partial
                .insert(peer, Partial { text: rest.to_vec(), seq: seq + self.text.len() as u32 });
        }
        (
            seq,
            self.text
                .chunks(self.segment_bytes)
                .map(|bytes| (bytes, Sum::default().add_bytes(bytes))),
        )
    }

    /// Answers the first request. Returns its length; `None` if it is incomplete.
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

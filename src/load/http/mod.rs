//! HTTP/1.1 for the load generator: GET requests in turn, and answers compared with the first one
//! for the same path.
//!
//! An answer is good if its status is 200 to 299, its length is that of the first answer and, with
//! `--verify`, its content too (of one path). Redirects are not followed. An answer must announce
//! its length.

mod head;

use super::protocol::{Lookups, Parsed, PendingRequest, Protocol, Text, Verdict};
use super::stats::Fault;
use head::{Head, Heads, Read};
use simoom_io::Reply;

/// Limit of the content that `--verify` stores.
const VERIFY_MAX_BYTES: u64 = 256 << 20;

/// The protocol.
pub(crate) struct Http {
    /// The requests in turn, and repeated, so that a batch may begin with any of them.
    text: Text,
    /// Where each request in `text` begins, and its end.
    starts: Vec<usize>,
    /// The path of the next request.
    next: u16,
    heads: Heads,
    verify: bool,
    /// The first answer for each path.
    references: Vec<Option<Reference>>,
    /// Content of the first answer, while it arrives.
    draft: Vec<u8>,
}

/// The first answer for a path. All others are compared with it.
#[derive(Debug)]
struct Reference {
    length: u64,
    /// The content, with `--verify`.
    content: Vec<u8>,
}

/// The state of a partly read answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    /// Length of the content, and the bytes of it that have arrived.
    length: u64,
    came: u64,
    status: u16,
    /// Whether the head has arrived.
    begun: bool,
    closes: bool,
    /// Whether the content so far equals that of the first answer.
    same: bool,
}

impl Http {
    /// Sends up to 65535 `requests` in turn, up to `at_once` in a batch. Only content of a single
    /// path can be verified.
    pub(crate) fn new(requests: &[Vec<u8>], at_once: u16, verify: bool) -> Http {
        let count = requests.len() + usize::from(at_once);
        let (mut text, mut starts) = (Vec::new(), vec![0]);
        for request in requests.iter().cycle().take(count) {
            text.extend_from_slice(request);
            starts.push(text.len());
        }
        Http {
            text: Text(text.into()),
            starts,
            next: 0,
            references: requests.iter().map(|_| None).collect(),
            heads: Heads::default(),
            verify,
            draft: Vec::new(),
        }
    }

    /// Compares the first answer too: its content is to be `content`.
    pub(crate) fn expecting(self, content: &[u8]) -> Http {
        let reference = Reference { length: content.len() as u64, content: content.to_vec() };
        Http { references: vec![Some(reference)], ..self }
    }

    /// Consumes content at the start of `bytes`. Returns its length.
    #[inline]
    fn content(&mut self, progress: &mut Progress, bytes: &[u8]) -> usize {
        let n =
            bytes.len().min(usize::try_from(progress.length - progress.came).unwrap_or(usize::MAX));
        if self.verify && is_good(progress.status) {
            let at = progress.came as usize;
            match &self.references[0] {
                Some(first) => progress.same &= first.content.get(at..at + n) == Some(&bytes[..n]),
                None if progress.length <= VERIFY_MAX_BYTES => {
                    self.draft.extend_from_slice(&bytes[..n]);
                }
                None => {}
            }
        }
        progress.came += n as u64;
        n
    }

    /// The verdict on a complete answer.
    #[inline]
    fn judge(&mut self, path: u16, progress: &Progress) -> Verdict {
        let Progress { length, status, same, .. } = *progress;
        if !is_good(status) {
            return Verdict::Bad(Fault::Status, format!("status {status}"));
        }
        let Some(first) = &self.references[usize::from(path)] else {
            return self.judge_first(path, length);
        };
        if length != first.length {
            let expected = first.length;
            return Verdict::Bad(
                Fault::Length,
                format!("{length} bytes of content where the first had {expected}"),
            );
        }
        if !same {
            return Verdict::Bad(Fault::Content, "other content than the first".to_owned());
        }
        Verdict::Good(Lookups::default())
    }

    fn judge_first(&mut self, path: u16, length: u64) -> Verdict {
        if self.verify && length > VERIFY_MAX_BYTES {
            return Verdict::Bad(
                Fault::Content,
                format!("content of {length} bytes; --verify remembers at most {VERIFY_MAX_BYTES}"),
            );
        }
        let content = std::mem::take(&mut self.draft);
        self.references[usize::from(path)] = Some(Reference { length, content });
        Verdict::Good(Lookups::default())
    }
}

impl Protocol for Http {
    /// The index of the path.
    type Request = u16;
    type Progress = Progress;
    const BEGINS_WITH: &'static str = "head";

    #[inline]
    fn ask(&mut self, pending: &mut [PendingRequest<u16>], reply: &mut Reply<'_, Text>) -> usize {
        if !reply.has_capacity() {
            return 0;
        }
        let first = usize::from(self.next);
        reply.share(self.text.clone(), self.starts[first]..self.starts[first + pending.len()]);
        for request in pending.iter_mut() {
            request.what = self.next;
            self.next += 1;
            if usize::from(self.next) == self.references.len() {
                self.next = 0;
            }
        }
        pending.len()
    }

    #[inline]
    fn read(&mut self, path: &u16, progress: &mut Progress, bytes: &[u8]) -> Parsed {
        let mut at = 0;
        if !progress.begun {
            match self.heads.read(bytes) {
                Read::Whole(len, Head { status, length, closes }) => {
                    at = len;
                    *progress =
                        Progress { length, came: 0, status, begun: true, closes, same: true };
                }
                Read::Partial => return Parsed::more(0, 0),
                Read::Garbled(reason) => return Parsed::lost(Fault::Garbled, reason),
            }
        }
        let content = self.content(progress, &bytes[at..]);
        at += content;
        let content = if is_good(progress.status) { content } else { 0 };
        if progress.came < progress.length {
            return Parsed::more(at, content);
        }
        let verdict = self.judge(*path, progress);
        let closes = progress.closes;
        progress.begun = false;
        Parsed { bytes: at, content, closes, verdict }
    }

    fn cut(&self, progress: &Progress) -> Option<String> {
        let Progress { begun, length, came, .. } = *progress;
        begun.then(|| format!("closed after {came} of {length} bytes of content"))
    }
}

fn is_good(status: u16) -> bool {
    (200..300).contains(&status)
}

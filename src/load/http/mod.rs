//! HTTP/1.1 for the load generator: one GET request, and answers compared with the first one.
//!
//! An answer is good if its status is 200 to 299, its length is that of the first answer and, with
//! `--verify`, its content too. Redirects are not followed. An answer must announce its length.

mod head;

use super::protocol::{Lookups, Parsed, PendingRequest, Protocol, Text, Verdict};
use super::stats::Fault;
use head::{Head, Heads, Read};
use simoom_io::Reply;

/// Limit of the content that `--verify` stores.
const VERIFY_MAX_BYTES: u64 = 256 << 20;

/// The protocol.
pub(crate) struct Http {
    /// The request, repeated up to the limit of a batch.
    text: Text,
    request_bytes: usize,
    heads: Heads,
    verify: bool,
    reference: Option<Reference>,
    /// Content of the first answer, while it arrives.
    draft: Vec<u8>,
}

/// The first answer. All others are compared with it.
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
    /// Sends `request`, up to `at_once` times in a batch.
    pub(crate) fn new(request: &[u8], at_once: u16, verify: bool) -> Http {
        Http {
            text: Text(request.repeat(usize::from(at_once)).into()),
            request_bytes: request.len(),
            heads: Heads::default(),
            verify,
            reference: None,
            draft: Vec::new(),
        }
    }

    /// Compares the first answer too: its content is to be `content`.
    pub(crate) fn expecting(self, content: &[u8]) -> Http {
        let reference = Reference { length: content.len() as u64, content: content.to_vec() };
        Http { reference: Some(reference), ..self }
    }

    /// Consumes content at the start of `bytes`. Returns its length.
    #[inline]
    fn content(&mut self, progress: &mut Progress, bytes: &[u8]) -> usize {
        let n =
            bytes.len().min(usize::try_from(progress.length - progress.came).unwrap_or(usize::MAX));
        if self.verify && is_good(progress.status) {
            let at = progress.came as usize;
            match &self.reference {
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
    fn judge(&mut self, progress: &Progress) -> Verdict {
        let Progress { length, status, same, .. } = *progress;
        if !is_good(status) {
            return Verdict::Bad(Fault::Status, format!("status {status}"));
        }
        let Some(first) = &self.reference else { return self.judge_first(length) };
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

    fn judge_first(&mut self, length: u64) -> Verdict {
        if self.verify && length > VERIFY_MAX_BYTES {
            return Verdict::Bad(
                Fault::Content,
                format!("content of {length} bytes; --verify remembers at most {VERIFY_MAX_BYTES}"),
            );
        }
        self.reference = Some(Reference { length, content: std::mem::take(&mut self.draft) });
        Verdict::Good(Lookups::default())
    }
}

impl Protocol for Http {
    type Request = ();
    type Progress = Progress;
    const BEGINS_WITH: &'static str = "head";

    #[inline]
    fn ask(&mut self, pending: &mut [PendingRequest<()>], reply: &mut Reply<'_, Text>) -> usize {
        if !reply.has_capacity() {
            return 0;
        }
        reply.share(self.text.clone(), 0..self.request_bytes * pending.len());
        pending.len()
    }

    #[inline]
    fn read(&mut self, (): &(), progress: &mut Progress, bytes: &[u8]) -> Parsed {
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
        let verdict = self.judge(progress);
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

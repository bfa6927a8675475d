//! The interface of a protocol: what to send next, and how to check what arrives. Connections and
//! time belong to [`super::client`].

use super::stats::Fault;
use simoom_io::{Blob, Reply};
use std::rc::Rc;

/// The bytes of requests, shared by all connections of a thread.
#[derive(Clone, Debug)]
pub(crate) struct Text(pub(crate) Rc<[u8]>);

impl Blob for Text {
    #[inline]
    fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A request that waits for its answer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PendingRequest<R> {
    /// Its scheduled time; in the closed loop, the time it was sent.
    pub(crate) due_us: u64,
    /// What the protocol needs to check the answer.
    pub(crate) what: R,
}

/// Result of [`Protocol::read`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parsed {
    /// Bytes consumed.
    pub(crate) bytes: usize,
    /// Bytes of content of a good answer among them.
    pub(crate) content: usize,
    /// Whether the server closes the connection after this answer.
    pub(crate) closes: bool,
    /// The verdict so far.
    pub(crate) verdict: Verdict,
}

/// The verdict on an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Incomplete. Unconsumed bytes are delivered again with the next ones.
    More,
    /// Complete and good.
    Good(Lookups),
    /// Complete, and counted as this error.
    Bad(Fault, String),
    /// Not parsable. The connection is of no further use.
    Lost(Fault, String),
}

/// Keys of a good answer that the server had, and that it did not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lookups {
    pub(crate) hits: u32,
    pub(crate) misses: u32,
}

impl Parsed {
    /// An incomplete answer.
    #[inline]
    pub(crate) fn more(bytes: usize, content: usize) -> Parsed {
        Parsed { bytes, content, closes: false, verdict: Verdict::More }
    }

    /// An answer that cannot be parsed.
    pub(crate) fn lost(fault: Fault, detail: String) -> Parsed {
        Parsed { bytes: 0, content: 0, closes: false, verdict: Verdict::Lost(fault, detail) }
    }
}

/// The protocol of a run. All connections share one value.
pub(crate) trait Protocol {
    /// What the protocol stores about a request until its answer.
    type Request: Copy + Default;
    /// State of a partly read answer, for each connection: at most 32 bytes.
    type Progress: Clone + Default;
    /// The name of the part of an answer that must arrive whole: "head", "line".
    const BEGINS_WITH: &'static str;

    /// Queues up to one request for each entry of `asked`, and records them there. Returns their
    /// number. It is lower if `reply` has no more space, and at least 1 if it has any.
    fn ask(
        &mut self,
        pending: &mut [PendingRequest<Self::Request>],
        reply: &mut Reply<'_, Text>,
    ) -> usize;

    /// Reads on in the answer to `asked`, at most to its end.
    fn read(
        &mut self,
        pending: &Self::Request,
        progress: &mut Self::Progress,
        bytes: &[u8],
    ) -> Parsed;

    /// Upper bound of the bytes that a batch copies to its reply. It determines the size of pools.
    fn copied_bytes(&self) -> usize {
        0
    }

    /// Whether all requests that precede the run were sent; `None` if there are none.
    #[inline]
    fn is_prepared(&self) -> Option<bool> {
        None
    }

    /// The run begins. The requests that precede it are answered.
    fn begin(&mut self) {}

    /// Describes how far an answer had arrived when it was cut off; `None` if it had not begun.
    fn cut(&self, progress: &Self::Progress) -> Option<String>;
}

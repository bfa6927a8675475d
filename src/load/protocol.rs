//! What is spoken over the connections: what to send next, and what must come back. A protocol
//! knows neither connections nor time; [`super::client`] has those.

use super::stats::Fault;
use simoom_io::{Blob, Reply};
use std::rc::Rc;

/// The bytes of requests, shared by all connections of one thread.
#[derive(Clone, Debug)]
pub(crate) struct Text(pub(crate) Rc<[u8]>);

impl Blob for Text {
    #[inline]
    fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A request under way: when it was due, and what the protocol must know to check its answer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PendingRequest<R> {
    /// When it was meant to be sent; in the closed loop, when it was.
    pub(crate) due_us: u64,
    /// What was asked.
    pub(crate) what: R,
}

/// What [`Protocol::read`] made of some bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parsed {
    /// So many of them are done with.
    pub(crate) bytes: usize,
    /// So many were content of a good answer.
    pub(crate) content: usize,
    /// The server closes the connection after this answer.
    pub(crate) closes: bool,
    /// What is known of the answer now.
    pub(crate) verdict: Verdict,
}

/// An answer, so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It goes on; what was not done with is to be offered again with what follows.
    More,
    /// It is all there, and good.
    Good(Lookups),
    /// It is all there, and is counted as this.
    Bad(Fault, String),
    /// It cannot be followed, and the connection is of no more use.
    Lost(Fault, String),
}

/// Of the keys that a good answer is about: how many the server had, and how many it did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lookups {
    pub(crate) hits: u32,
    pub(crate) misses: u32,
}

impl Parsed {
    /// An answer that goes on after `bytes`, of which `content` were content.
    #[inline]
    pub(crate) fn more(bytes: usize, content: usize) -> Parsed {
        Parsed { bytes, content, closes: false, verdict: Verdict::More }
    }

    /// Something that is no answer.
    pub(crate) fn lost(fault: Fault, detail: String) -> Parsed {
        Parsed { bytes: 0, content: 0, closes: false, verdict: Verdict::Lost(fault, detail) }
    }
}

/// What is spoken over the connections of a run; one value for all of them.
pub(crate) trait Protocol {
    /// What must be known of a request until its answer is there.
    type Request: Copy + Default;
    /// How far an answer has been read, kept for each connection: at most 32 bytes.
    type Progress: Clone + Default;
    /// What an answer begins with that must come in one piece: "head", "line".
    const BEGINS_WITH: &'static str;

    /// Queues requests, at most one for each of `asked`, and notes there what is asked; returns how
    /// many. That is fewer if `reply` has no room for more, and at least one if it has any.
    fn ask(
        &mut self,
        pending: &mut [PendingRequest<Self::Request>],
        reply: &mut Reply<'_, Text>,
    ) -> usize;

    /// Reads on, in `bytes`, the answer to `asked`, of which `progress` was read: at most to its
    /// end.
    fn read(
        &mut self,
        pending: &Self::Request,
        progress: &mut Self::Progress,
        bytes: &[u8],
    ) -> Parsed;

    /// Bytes that a batch on one connection copies into its reply, at most: pools are made for
    /// that.
    fn copied_bytes(&self) -> usize {
        0
    }

    /// Whether all was asked that must be before the run begins; `None` if nothing must.
    #[inline]
    fn is_prepared(&self) -> Option<bool> {
        None
    }

    /// The run begins. If anything had to be asked before, it is answered.
    fn begin(&mut self) {}

    /// How much of the content had come when an answer was cut off, in words; `None` if that had
    /// not begun.
    fn cut(&self, progress: &Self::Progress) -> Option<String>;
}

//! What a connection is doing.

use super::dump::Dump;
use super::stats::Topic;

/// What the handler keeps for one connection.
#[derive(Debug, Default)]
pub struct Conn {
    pub(super) protocol: Protocol,
    pub(super) phase: Phase,
}

const _: () = assert!(size_of::<Conn>() <= 32);

/// Which protocol the first byte spoke.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Protocol {
    /// Nothing has come yet.
    #[default]
    Unknown,
    Text,
    Binary,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    /// Between requests, or somewhere in one of which nothing is consumed.
    #[default]
    Command,
    /// In a line of keys; those before it are answered.
    Keys(Keys),
    /// In a value that is stored as it comes: its place among the uploads.
    Upload(u32),
    /// In bytes that are read past: so many are left.
    Skip(u64),
    /// In a line that is read past.
    SkipLine,
    /// In an answer to `stats`; of the request all but the last byte is consumed.
    Stats(Stats),
    /// In a list of items; of the request all but the last byte is consumed.
    Dump(Dump),
    /// The last answer is queued.
    Closing,
}

/// How the keys of a line are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Keys {
    pub(super) with_cas: bool,
    /// Unix seconds to expire at, 0 for never.
    pub(super) touch: Option<u32>,
}

/// How far an answer to `stats` has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stats {
    pub(super) topic: Topic,
    /// The next line.
    pub(super) line: u16,
    /// Of a request of the binary protocol.
    pub(super) opaque: Option<[u8; 4]>,
}

impl Conn {
    /// Whether no request is under way.
    pub(crate) fn is_between_requests(&self) -> bool {
        self.phase == Phase::Command
    }
}

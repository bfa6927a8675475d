//! The state of a connection.

use super::binary;
use super::connection_table::TableSlot;
use super::dump::Dump;
use super::peers::Peer;
use super::stats::Topic;
use super::watch::{Waits, Watch};
use crate::work::Share;

/// The state of one connection.
#[derive(Debug, Default)]
pub struct Connection {
    pub(super) protocol: Protocol,
    /// Work for this connection since it last yielded.
    pub(super) share: Share,
    pub(super) phase: Phase,
    /// The activity that other workers can read.
    pub(super) activity: Activity,
    pub(super) watch: Watch,
    /// The client's peer group, for limits of unfinished values.
    pub(super) peer: Peer,
    /// The record in the connection table, if the table had a free slot.
    pub(super) slot: Option<TableSlot>,
}

const _: () = assert!(size_of::<Connection>() <= 40);

/// The protocol that the first byte selected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Protocol {
    /// No input yet.
    #[default]
    Unknown,
    Text,
    Binary,
}

impl Protocol {
    /// The protocol of a connection whose first input is `bytes`.
    #[cold]
    pub(super) fn of(bytes: &[u8]) -> Protocol {
        match bytes.first() {
            None => Protocol::Unknown,
            Some(&binary::REQUEST) => Protocol::Binary,
            Some(_) => Protocol::Text,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    /// Between requests, or in a request of which nothing is consumed yet.
    #[default]
    Command,
    /// In a line of keys. The preceding keys are answered.
    Keys(Keys),
    /// In a buffered line of keys that waits for capacity. The index identifies the line.
    LongLine(u32),
    /// In a value that the store receives. The index identifies the upload.
    Upload(u32),
    /// In bytes to discard. The number is the remaining length.
    Skip(Wide),
    /// In a line to discard.
    SkipLine,
    /// In an answer to `stats`. All but the last byte of the request is consumed.
    Stats(Stats),
    /// In an answer to `stats conns`. The number is the next entry. All but the last byte of the
    /// request is consumed.
    Conns(Wide),
    /// In a list of items. All but the last byte of the request is consumed.
    Dump(Dump),
    /// The last answer is queued.
    Closing,
}

/// 64 bits with the alignment of 32 bits: saves bytes in [`Connection`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(Rust, packed(4))]
pub(super) struct Wide(pub(super) u64);

/// Options for answering the keys of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Keys {
    pub(super) with_cas: bool,
    touches: bool,
    exptime: u32,
}

impl Keys {
    /// With `touch`, each item gets this expiration time, in unix seconds; 0 means never. An
    /// `Option` in the struct would take more than 8 bytes.
    pub(super) fn new(with_cas: bool, touch: Option<u32>) -> Keys {
        Keys { with_cas, touches: touch.is_some(), exptime: touch.unwrap_or(0) }
    }

    #[inline]
    pub(super) fn touch(self) -> Option<u32> {
        self.touches.then_some(self.exptime)
    }
}

/// The position within an answer to `stats`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stats {
    pub(super) topic: Topic,
    /// The next line.
    pub(super) line: u16,
    /// Whether the request uses the binary protocol.
    pub(super) opaque: Option<[u8; 4]>,
}

/// The activity of a connection and the time of its last input. Packed: saves bytes in
/// [`Connection`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(Rust, packed)]
pub(super) struct Activity {
    /// Unix seconds.
    pub(super) at: u32,
    pub(super) state: State,
}

impl Activity {
    /// Encodes the activity as one number, so that a reader never sees a mix of two values.
    pub(super) fn to_bits(self) -> u64 {
        u64::from(self.at) << 8 | self.state as u64
    }

    pub(super) fn from_bits(bits: u64) -> Activity {
        let state = State::ALL.iter().copied().find(|state| *state as u64 == bits & 0xff);
        Activity { at: (bits >> 8) as u32, state: state.unwrap_or_default() }
    }
}

macro_rules! states {
    ($($(#[$doc:meta])* $state:ident $name:literal,)*) => {
        /// The name of the state in memcached's `stats conns`.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub(super) enum State { $($(#[$doc])* $state,)* }

        impl State {
            const ALL: &'static [State] = & [$(State::$state,)*];

            pub(super) fn name(self) -> &'static str {
                match self {
                    $(State::$state => $name,)*
                }
            }
        }
    };
}

states! {
    /// Between requests.
    #[default]
    Read "conn_read",
    /// Asking for a list.
    ParseCmd "conn_parse_cmd",
    /// Sending a value.
    Nread "conn_nread",
    /// Sending bytes to discard.
    Swallow "conn_swallow",
    /// After its last answer.
    Closing "conn_closing",
    /// Receiving a long answer.
    Mwrite "conn_mwrite",
    /// No connection yet: the state of a listener.
    Listening "conn_listening",
}

impl Connection {
    /// Begins an upload in several chunks, with this index.
    pub(super) fn begin_upload(&mut self, slot: u32, now: u32) {
        self.phase = Phase::Upload(slot);
        self.watch.begin_request(now);
    }

    /// Begins to discard the value of a refused request. `bytes` bytes remain.
    #[cold]
    pub(super) fn begin_skip(&mut self, bytes: u64, now: u32) {
        self.phase = Phase::Skip(Wide(bytes));
        self.watch.begin_request(now);
    }

    /// The activity at `now`.
    #[inline]
    pub(super) fn activity(&self, now: u32) -> Activity {
        let state = match self.phase {
            Phase::Command => State::Read,
            Phase::Upload(_) => State::Nread,
            Phase::Skip(_) | Phase::SkipLine => State::Swallow,
            Phase::Keys(_)
            | Phase::LongLine(_)
            | Phase::Stats(_)
            | Phase::Conns(_)
            | Phase::Dump(_) => State::Mwrite,
            Phase::Closing => State::Closing,
        };
        Activity { at: now, state }
    }

    /// Whether the connection is between requests of the text protocol, waits for nothing else, and
    /// was active in the second `now`.
    #[inline(always)]
    pub(super) fn is_at_rest(&self, now: u32) -> bool {
        self.phase == Phase::Command
            && self.protocol == Protocol::Text
            && self.watch.waits == Waits::Nothing
            && self.activity == Activity { at: now, state: State::Read }
    }

    /// Whether no request is in progress.
    pub(crate) fn is_between_requests(&self) -> bool {
        self.phase == Phase::Command
    }
}

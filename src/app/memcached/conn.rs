//! What a connection is doing.

use super::connection_table::TableSlot;
use super::dump::Dump;
use super::peers::Peer;
use super::stats::Topic;
use super::watch::Watch;
use crate::work::Share;

/// What the handler keeps for one connection.
#[derive(Debug, Default)]
pub struct Conn {
    pub(super) protocol: Protocol,
    /// Work done for it since it last yielded.
    pub(super) share: Share,
    pub(super) phase: Phase,
    /// What all may know of it.
    pub(super) activity: Activity,
    pub(super) watch: Watch,
    /// Who it belongs to.
    pub(super) peer: Peer,
    /// Where that is noted, if there was room.
    pub(super) place: Option<TableSlot>,
}

const _: () = assert!(size_of::<Conn>() <= 40);

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
    /// In such a line, of which a part is held until there is room to answer it: its place among
    /// those.
    LongLine(u32),
    /// In a value that is stored as it comes: its place among the uploads.
    Upload(u32),
    /// In bytes that are read past: so many are left.
    Skip(Wide),
    /// In a line that is read past.
    SkipLine,
    /// In an answer to `stats`; of the request all but the last byte is consumed.
    Stats(Stats),
    /// In a list of connections, of which this is the next one's number; of the request all but the
    /// last byte is consumed.
    Conns(Wide),
    /// In a list of items; of the request all but the last byte is consumed.
    Dump(Dump),
    /// The last answer is queued.
    Closing,
}

/// 64 bits that are aligned as 32 are: [`Conn`] needs the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(Rust, packed(4))]
pub(super) struct Wide(pub(super) u64);

/// How the keys of a line are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Keys {
    pub(super) with_cas: bool,
    touches: bool,
    exptime: u32,
}

impl Keys {
    /// With `touch`, items get this time to expire at, in unix seconds; 0 is never. 8 bytes, unlike
    /// an `Option` in it.
    pub(super) fn new(with_cas: bool, touch: Option<u32>) -> Keys {
        Keys { with_cas, touches: touch.is_some(), exptime: touch.unwrap_or(0) }
    }

    #[inline]
    pub(super) fn touch(self) -> Option<u32> {
        self.touches.then_some(self.exptime)
    }
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

/// What a connection is doing, and when it was last heard from. Packed: [`Conn`] needs the bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(Rust, packed)]
pub(super) struct Activity {
    /// Unix seconds.
    pub(super) at: u32,
    pub(super) state: State,
}

impl Activity {
    /// As one number, which is never half an old and half a new one.
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
        /// What memcached calls what a connection is doing.
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
    /// Asking for this list.
    ParseCmd "conn_parse_cmd",
    /// Sending a value.
    Nread "conn_nread",
    /// Sending what is read past.
    Swallow "conn_swallow",
    /// Behind its last answer.
    Closing "conn_closing",
    /// Taking a long answer.
    Mwrite "conn_mwrite",
    /// No connection yet: where they come from.
    Listening "conn_listening",
}

impl Conn {
    /// A value comes in pieces; its place is among the uploads.
    pub(super) fn begin_upload(&mut self, place: u32, now: u32) {
        self.phase = Phase::Upload(place);
        self.watch.begin_request(now);
    }

    /// The value of a refused request follows: so many bytes are read past.
    #[cold]
    pub(super) fn begin_skip(&mut self, bytes: u64, now: u32) {
        self.phase = Phase::Skip(Wide(bytes));
        self.watch.begin_request(now);
    }

    /// What it is doing at `now`.
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

    /// Whether no request is under way.
    pub(crate) fn is_between_requests(&self) -> bool {
        self.phase == Phase::Command
    }
}

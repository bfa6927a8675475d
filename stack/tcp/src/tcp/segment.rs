//! One segment into one frame: Ethernet, IP and TCP headers in front of what the caller fills in.

use super::Transmit;
use crate::counters::Counters;
use crate::demux::Tuple;
use crate::seq::Seq;
use crate::wire::tcp::{self, Flags, Options};
use crate::wire::{Ecn, Link};

/// Where a segment goes, and from where.
pub(crate) struct Way<'a> {
    pub(crate) tuple: &'a Tuple,
    pub(crate) link: &'a Link,
}

/// The numbers in a segment's headers.
#[derive(Clone, Copy)]
pub(crate) struct Numbers {
    pub(crate) seq: Seq,
    pub(crate) ack: Seq,
    pub(crate) flags: Flags,
    pub(crate) ecn: Ecn,
    pub(crate) window: u16,
}

impl Numbers {
    /// Those of a segment that carries no text: it is not for routers to mark (RFC 3168 §6.1.4).
    #[inline]
    pub(crate) fn plain(seq: Seq, ack: Seq, flags: Flags, window: u16) -> Numbers {
        Numbers { seq, ack, flags, ecn: Ecn::NOT_CAPABLE, window }
    }
}

/// Writes one segment into a frame.
#[inline]
pub(crate) fn emit<T: Transmit>(
    way: &Way<'_>,
    numbers: Numbers,
    options: &Options,
    payload_len: usize,
    config: &crate::Config,
    tx: &mut T,
    fill: impl FnOnce(&mut [u8]) -> usize,
) -> bool {
    let header = tcp::Header {
        local: &way.tuple.local,
        local_port: way.tuple.local_port,
        remote: &way.tuple.remote,
        remote_port: way.tuple.remote_port,
        seq: numbers.seq,
        ack: numbers.ack,
        flags: numbers.flags,
        ecn: numbers.ecn,
        window: numbers.window,
    };
    tx.transmit(|frame| {
        tcp::emit_frame(frame, (&config.mac, way.link), &header, options, payload_len, fill)
    })
}

/// Sends a reset.
pub(crate) fn stateless<T: Transmit>(
    way: &Way<'_>,
    numbers: Numbers,
    options: &Options,
    config: &crate::Config,
    counters: &mut Counters,
    tx: &mut T,
) -> bool {
    let sent = emit(way, numbers, options, 0, config, tx, |_| 0);
    counters.segments_sent += u64::from(sent);
    counters.resets_sent += u64::from(sent);
    sent
}

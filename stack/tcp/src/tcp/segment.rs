//! Writes one segment into one frame: Ethernet, IP and TCP headers, then the caller's payload.

use super::Transmit;
use crate::counters::Counters;
use crate::demux::Tuple;
use crate::seq::Seq;
use crate::wire::tcp::{self, Flags, Options, Template};
use crate::wire::{Ecn, Link, Mac, TxChecksum};

/// Source and destination of a segment: four-tuple and link addresses.
pub(crate) struct Path<'a> {
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
    /// The numbers of a segment that is not ECN-capable, such as one without text (RFC 3168
    /// §6.1.4).
    #[inline]
    pub(crate) fn plain(seq: Seq, ack: Seq, flags: Flags, window: u16) -> Numbers {
        Numbers { seq, ack, flags, ecn: Ecn::NOT_CAPABLE, window }
    }
}

#[inline(always)]
fn header<'a>(path: &Path<'a>, numbers: Numbers) -> tcp::Header<'a> {
    tcp::Header {
        local: &path.tuple.local,
        local_port: path.tuple.local_port,
        remote: &path.tuple.remote,
        remote_port: path.tuple.remote_port,
        seq: numbers.seq,
        ack: numbers.ack,
        flags: numbers.flags,
        ecn: numbers.ecn,
        window: numbers.window,
    }
}

/// The headers of segments with these numbers but SEG.SEQ, and with no options but timestamps. Each
/// segment has `payload_len` bytes.
#[inline]
pub(crate) fn template(
    (path, mac): (&Path<'_>, &Mac),
    numbers: Numbers,
    timestamps: Option<(u32, u32)>,
    payload_len: usize,
    checksum: TxChecksum,
) -> Template {
    Template::new((mac, path.link), header(path, numbers), timestamps, payload_len, checksum)
}

/// Where the TCP header begins in the frames of `path`, if their checksums are partial.
#[inline]
pub(crate) fn partial_from(path: &Path<'_>, config: &crate::Config) -> Option<usize> {
    match config.tx_checksum {
        TxChecksum::Full => None,
        TxChecksum::Partial => Some(tcp::offset(path.link, &path.tuple.remote)),
    }
}

/// Writes one segment into a frame.
#[inline]
pub(crate) fn emit<T: Transmit>(
    path: &Path<'_>,
    numbers: Numbers,
    options: &Options,
    payload_len: usize,
    config: &crate::Config,
    tx: &mut T,
    fill: impl FnOnce(&mut [u8]) -> usize,
) -> bool {
    let header = header(path, numbers);
    tx.transmit_segment(partial_from(path, config), |frame| {
        let ends = (&config.mac, path.link);
        tcp::emit_frame(frame, ends, &header, options, payload_len, config.tx_checksum, fill)
    })
}

/// Writes one segment of text into a frame, with no options but timestamps. The usual path, over
/// IPv4 and without a VLAN tag, is inlined.
#[inline(always)]
pub(crate) fn emit_text<T: Transmit>(
    path: &Path<'_>,
    numbers: Numbers,
    timestamps: Option<(u32, u32)>,
    payload_len: usize,
    config: &crate::Config,
    tx: &mut T,
    fill: impl FnOnce(&mut [u8]) -> usize,
) -> bool {
    if !path.tuple.remote.is_v4() || path.link.vlan != 0 {
        return emit_other_text(path, numbers, timestamps, payload_len, config, tx, fill);
    }
    let checksum = config.tx_checksum;
    let tcp_at = tcp::offset(&Link { vlan: 0, ..*path.link }, &path.tuple.remote);
    let partial_from = (checksum == TxChecksum::Partial).then_some(tcp_at);
    tx.transmit_segment(partial_from, |frame| {
        let (ends, header) = ((&config.mac, &path.link.mac), header(path, numbers));
        let options = Options { timestamps, ..Options::default() };
        tcp::emit_untagged_v4(frame, ends, &header, &options, payload_len, checksum, fill)
    })
}

#[inline(never)]
fn emit_other_text<T: Transmit>(
    path: &Path<'_>,
    numbers: Numbers,
    timestamps: Option<(u32, u32)>,
    payload_len: usize,
    config: &crate::Config,
    tx: &mut T,
    fill: impl FnOnce(&mut [u8]) -> usize,
) -> bool {
    let options = Options { timestamps, ..Options::default() };
    emit(path, numbers, &options, payload_len, config, tx, fill)
}

/// Sends a reset.
pub(crate) fn stateless<T: Transmit>(
    path: &Path<'_>,
    numbers: Numbers,
    options: &Options,
    config: &crate::Config,
    counters: &mut Counters,
    tx: &mut T,
) -> bool {
    let sent = emit(path, numbers, options, 0, config, tx, |_| 0);
    counters.segments_sent += u64::from(sent);
    counters.resets_sent += u64::from(sent);
    sent
}

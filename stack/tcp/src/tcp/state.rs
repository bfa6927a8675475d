//! A connection's state, its recovery phase and its flags.

/// The states of RFC 9293 §3.3.2 that a control block can be in. LISTEN, passive SYN-RECEIVED and
/// TIME-WAIT have tables of their own; CLOSED is a free block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum State {
    /// The block is free.
    #[default]
    Closed,
    /// An active open's SYN is out.
    SynSent,
    /// Both sides sent a SYN at the same time.
    SynReceived,
    /// Data flows both ways.
    Established,
    /// This side has closed. The peer has not acknowledged the FIN.
    FinWait1,
    /// This side has closed; the peer has not.
    FinWait2,
    /// The peer has closed; this side has not.
    CloseWait,
    /// Both closed at the same time. The peer has not acknowledged this side's FIN.
    Closing,
    /// Both have closed, the peer first. The peer has not acknowledged this side's FIN.
    LastAck,
}

/// The recovery phase, as in Linux.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    /// No loss or reordering is known: the fast path.
    #[default]
    Open,
    /// Reordering is suspected, or a loss probe is outstanding. No segment is marked lost.
    Disorder,
    /// Fast recovery, until `recover` is acknowledged.
    Recovery,
    /// After a timeout, until `recover` is acknowledged.
    Loss,
}

/// The flags of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ConnFlags(u16);

impl ConnFlags {
    /// On the list of connections that the next flush visits.
    pub(crate) const READY: ConnFlags = ConnFlags(1 << 0);
    /// On the list of connections that wait for the send pool.
    pub(crate) const WAITING: ConnFlags = ConnFlags(1 << 1);
    /// Received data is not acknowledged yet.
    pub(crate) const ACK_OWED: ConnFlags = ConnFlags(1 << 2);
    /// The next flush must send an acknowledgement.
    pub(crate) const ACK_NOW: ConnFlags = ConnFlags(1 << 3);
    /// Both sides sent timestamps in their SYN.
    pub(crate) const TIMESTAMPS: ConnFlags = ConnFlags(1 << 4);
    /// Both sides permitted SACK.
    pub(crate) const SACK: ConnFlags = ConnFlags(1 << 5);
    /// A duplicate was received, and the next acknowledgement reports it.
    pub(crate) const REPORT_OWED: ConnFlags = ConnFlags(1 << 6);
    /// The FIN has been sent, at SND.NXT - 1.
    pub(crate) const FIN_SENT: ConnFlags = ConnFlags(1 << 7);
    /// The peer's FIN has arrived, at `peer_fin`. There may be a gap before it.
    pub(crate) const FIN_SEEN: ConnFlags = ConnFlags(1 << 15);
    /// The peer's FIN has been processed: RCV.NXT is beyond it.
    pub(crate) const FIN_TAKEN: ConnFlags = ConnFlags(1 << 8);
    /// On the list of connections whose application has yielded.
    pub(crate) const YIELDED: ConnFlags = ConnFlags(1 << 9);
    /// The congestion window was fully used within the last round trip.
    pub(crate) const CWND_LIMITED: ConnFlags = ConnFlags(1 << 10);
    /// Both sides sent a window scale.
    pub(crate) const SCALES: ConnFlags = ConnFlags(1 << 11);
    /// Both sides understand congestion flags (RFC 3168 §6.1.1).
    pub(crate) const ECN: ConnFlags = ConnFlags(1 << 12);
    /// The congestion controller works by delivery rate.
    pub(crate) const RATE_BASED: ConnFlags = ConnFlags(1 << 13);
    /// `opened` has been called, so `closed` must be called too.
    pub(crate) const OPENED: ConnFlags = ConnFlags(1 << 14);

    #[inline]
    pub(crate) const fn has(self, flag: ConnFlags) -> bool {
        self.0 & flag.0 != 0
    }

    #[inline]
    pub(crate) fn set(&mut self, flag: ConnFlags) {
        self.0 |= flag.0;
    }

    #[inline]
    pub(crate) fn clear(&mut self, flag: ConnFlags) {
        self.0 &= !flag.0;
    }

    /// The flags of `flags` that are set.
    pub(crate) const fn only(self, flags: ConnFlags) -> ConnFlags {
        ConnFlags(self.0 & flags.0)
    }

    #[inline]
    pub(crate) const fn with(self, flag: ConnFlags) -> ConnFlags {
        ConnFlags(self.0 | flag.0)
    }
}

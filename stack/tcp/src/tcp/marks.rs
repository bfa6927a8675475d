//! A connection's state and its one-bit facts.

/// The states of RFC 9293 §3.3.2 that a control block can be in. LISTEN, passive SYN-RECEIVED and
/// TIME-WAIT have tables of their own; CLOSED is a free block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum State {
    /// The block is free.
    #[default]
    Closed,
    /// An active open's SYN is out.
    SynSent,
    /// Both sides sent a SYN at once.
    SynReceived,
    /// Data flows both ways.
    Established,
    /// This side has closed; its FIN is not acknowledged.
    FinWait1,
    /// This side has closed; the other has not.
    FinWait2,
    /// The other side has closed; this side has not.
    CloseWait,
    /// Both closed at once; this side's FIN is not acknowledged.
    Closing,
    /// Both have closed, the other first; this side's FIN is not acknowledged.
    LastAck,
}

/// How the way to the peer looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing is out of order: acknowledgements mean plain progress.
    #[default]
    Open,
    /// Something is, or a probe is out; nothing is known to be lost.
    Disorder,
    /// Fast recovery, until `recover` is acknowledged.
    Recovery,
    /// After a timeout, until `recover` is acknowledged.
    Loss,
}

/// One-bit facts of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks(u16);

impl Marks {
    /// On the list of connections that the next flush looks at.
    pub(crate) const READY: Marks = Marks(1 << 0);
    /// On the list of connections that wait for the send pool.
    pub(crate) const WAITING: Marks = Marks(1 << 1);
    /// Something was received that is not acknowledged yet.
    pub(crate) const ACK_OWED: Marks = Marks(1 << 2);
    /// ... and must be at the next flush.
    pub(crate) const ACK_NOW: Marks = Marks(1 << 3);
    /// Both sides sent timestamps in their SYN.
    pub(crate) const TIMESTAMPS: Marks = Marks(1 << 4);
    /// Both sides permitted SACK.
    pub(crate) const SACK: Marks = Marks(1 << 5);
    /// Something was received again and is to be reported.
    pub(crate) const REPORT_OWED: Marks = Marks(1 << 6);
    /// The FIN has been sent, at SND.NXT - 1.
    pub(crate) const FIN_SENT: Marks = Marks(1 << 7);
    /// The peer's FIN has come, at `peer_fin`; there may be a gap before it.
    pub(crate) const FIN_SEEN: Marks = Marks(1 << 15);
    /// The peer's FIN has been taken.
    pub(crate) const FIN_TAKEN: Marks = Marks(1 << 8);
    /// On the list of connections whose application has yielded.
    pub(crate) const YIELDED: Marks = Marks(1 << 9);
    /// The congestion window was in full use a round trip ago, or since.
    pub(crate) const CWND_LIMITED: Marks = Marks(1 << 10);
    /// Both sides sent a window scale.
    pub(crate) const SCALES: Marks = Marks(1 << 11);
    /// Both sides understand congestion marks (RFC 3168 §6.1.1).
    pub(crate) const ECN: Marks = Marks(1 << 12);
    /// `opened` has been called, so `closed` must be.
    pub(crate) const OPENED: Marks = Marks(1 << 14);

    #[inline]
    pub(crate) const fn has(self, mark: Marks) -> bool {
        self.0 & mark.0 != 0
    }

    #[inline]
    pub(crate) fn set(&mut self, mark: Marks) {
        self.0 |= mark.0;
    }

    #[inline]
    pub(crate) fn clear(&mut self, mark: Marks) {
        self.0 &= !mark.0;
    }

    /// Those of `marks` that are set.
    pub(crate) const fn only(self, marks: Marks) -> Marks {
        Marks(self.0 & marks.0)
    }

    #[inline]
    pub(crate) const fn with(self, mark: Marks) -> Marks {
        Marks(self.0 | mark.0)
    }
}

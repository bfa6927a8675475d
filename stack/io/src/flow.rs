//! Whether a connection takes input, and whether it is open: one byte of flags.

/// What the handler has asked of a connection: in one call, or so far, as far as that outlasts the
/// call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow(u8);

/// The handler closed: bytes queued are sent, no call but `closed` follows.
pub(crate) const CLOSING: u8 = 1 << 0;
/// The connection is to be reset.
pub(crate) const ABORTED: u8 = 1 << 1;
/// `has_capacity` said no, and `resumed` was not called since.
pub(crate) const WANTS_CAPACITY: u8 = 1 << 2;
/// The last call asked for input in spite of that.
pub(crate) const READS_ON: u8 = 1 << 3;
/// No input before the next deadline.
pub(crate) const READS_LATER: u8 = 1 << 4;
/// The peer has finished: no input follows that which is held.
const FINISHED: u8 = 1 << 5;
/// The handler has used its share of this iteration.
pub(crate) const YIELDED: u8 = 1 << 6;
/// Bytes did not fit that `has_capacity` had not promised; set only in what one call asks for.
pub(crate) const OVERFLOWED: u8 = 1 << 7;

impl Flow {
    /// Whether the handler may still be called with input and deadlines.
    #[inline]
    pub const fn is_open(self) -> bool {
        self.0 & CLOSING == 0
    }

    /// Whether this side sends what is queued and no more: it was closed, or reset.
    #[inline]
    pub const fn is_closing(self) -> bool {
        !self.is_open()
    }

    /// Whether the connection is to be reset.
    #[inline]
    pub const fn is_aborted(self) -> bool {
        self.0 & ABORTED != 0
    }

    /// Whether the handler waits for `resumed`.
    #[inline]
    pub const fn wants_capacity(self) -> bool {
        self.0 & WANTS_CAPACITY != 0
    }

    /// Whether the handler reads no input before its deadline.
    #[inline]
    pub const fn reads_later(self) -> bool {
        self.0 & READS_LATER != 0
    }

    /// Whether the handler waits for the worker's next iteration.
    #[inline]
    pub const fn has_yielded(self) -> bool {
        self.0 & YIELDED != 0
    }

    /// Whether the call queued more than it was promised. Half an answer is queued, so the
    /// connection is reset.
    #[inline]
    pub const fn has_overflowed(self) -> bool {
        self.0 & OVERFLOWED != 0
    }

    /// Whether the peer has finished.
    #[inline]
    pub const fn is_finished(self) -> bool {
        self.0 & FINISHED != 0
    }

    /// Whether input may be delivered now, and so whether it is worth reading.
    #[inline]
    pub const fn takes_input(self) -> bool {
        self.is_open() && !self.is_paused()
    }

    /// Whether input waits for the handler: for its capacity, its deadline, or the next iteration.
    #[inline]
    pub const fn is_paused(self) -> bool {
        self.0 & (READS_LATER | YIELDED) != 0
            || self.0 & (WANTS_CAPACITY | READS_ON) == WANTS_CAPACITY
    }

    /// Whether the handler waits for nothing but input.
    #[inline]
    pub const fn is_idle(self) -> bool {
        self.0 & (CLOSING | WANTS_CAPACITY | READS_LATER | YIELDED) == 0
    }

    /// Asks for what `flag` stands for.
    #[inline]
    pub(crate) fn ask(&mut self, flag: u8) {
        self.0 |= flag;
    }

    /// Asks for what `other` asks for too.
    #[inline]
    pub(crate) fn add(&mut self, other: Flow) {
        self.0 |= other.0;
    }

    /// Takes over what a call `asked` for.
    #[inline]
    pub(crate) fn interpret(&mut self, asked: Flow) {
        if asked.0 & (CLOSING | ABORTED | OVERFLOWED) != 0 {
            return self.close(asked.0 & (ABORTED | OVERFLOWED) != 0);
        }
        self.0 = (self.0 & !READS_ON) | asked.0;
    }

    /// A connection that closes is not called again.
    #[inline]
    pub(crate) fn forget_calls(&mut self) {
        self.0 &= !(WANTS_CAPACITY | YIELDED);
    }

    pub(crate) fn close(&mut self, abort: bool) {
        let aborted = if abort { ABORTED } else { 0 };
        self.0 = (self.0 & (FINISHED | ABORTED)) | CLOSING | aborted;
    }

    /// `resumed` is called: the handler may be refused anew.
    pub(crate) fn resume(&mut self) {
        self.0 &= !WANTS_CAPACITY;
    }

    /// The deadline has passed: input is not put off any more.
    pub(crate) fn read_again(&mut self) {
        self.0 &= !READS_LATER;
    }

    /// The next iteration has come.
    pub(crate) fn iterate(&mut self) {
        self.0 &= !YIELDED;
    }

    pub(crate) fn finish(&mut self) {
        self.0 |= FINISHED;
    }
}

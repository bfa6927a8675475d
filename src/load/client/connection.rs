//! What the client keeps for one connection. Decides nothing.

/// Where a connection is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum State {
    /// The handshake is under way.
    #[default]
    Opening,
    /// Open, but there was no room for the request that it was opened for.
    Unsent,
    /// Open, and expects an answer if anything is outstanding.
    Open,
    /// Its last answer is there; it waits for the server to close.
    Ending,
    /// Something was wrong, which is counted.
    Failed,
}

/// What the client keeps for a connection; `S` is the protocol's part.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClientConnection<S> {
    pub(super) slot: u32,
    /// Requests sent whose answers are not there,
    pub(super) outstanding: u16,
    /// and requests sent with them whose answers are.
    pub(super) answered: u16,
    pub(super) state: State,
    pub(super) closes: bool,
    /// It reads no input before `read_at_us`.
    pub(super) pauses: bool,
    pub(super) read_at_us: u64,
    pub(super) progress: S,
}

impl<S> ClientConnection<S> {
    /// The connection's number.
    pub(crate) fn slot(&self) -> u32 {
        self.slot
    }
}

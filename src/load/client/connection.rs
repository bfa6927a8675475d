//! The client's state of one connection.

/// The state of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum State {
    /// The handshake has begun.
    #[default]
    Opening,
    /// Open, but there was no space for its first request.
    Unsent,
    /// Open. An answer is expected if requests are outstanding.
    Open,
    /// The last answer has arrived. The server is to close the connection.
    Ending,
    /// Failed; the error is counted.
    Failed,
}

/// The client's state of one connection. `S` is the state of the protocol.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClientConnection<S> {
    pub(super) slot: u32,
    /// Requests sent and not yet answered.
    pub(super) outstanding: u16,
    /// Requests of the current batch that are answered.
    pub(super) answered: u16,
    pub(super) state: State,
    pub(super) closes: bool,
    /// The connection reads no input before `read_at_us`.
    pub(super) pauses: bool,
    pub(super) read_at_us: u64,
    pub(super) progress: S,
}

impl<S> ClientConnection<S> {
    /// Number of the connection.
    pub(crate) fn slot(&self) -> u32 {
        self.slot
    }
}

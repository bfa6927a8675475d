//! Which connection is opened next, and when. Limits concurrent handshakes, and pauses after a
//! failure.

use super::super::protocol::Protocol;
use super::{Client, ClientConnection};

/// Limit of concurrent handshakes. Any listen backlog is larger.
const OPENING_MAX: u32 = 128;
/// Pause after a failed attempt to connect, in microseconds.
pub(super) const OPEN_RETRY_US: u64 = 100_000;

impl<P: Protocol> Client<P> {
    /// The next connection to open now, if any.
    pub(crate) fn next_to_open(&mut self) -> Option<ClientConnection<P::Progress>> {
        if !self.schedule.opens() || self.now_us < self.opening_paused_until_us {
            return None;
        }
        let of_one_request = self.plan.connection_per_request;
        // The first connection is opened alone. If it is refused, all would be.
        let most = if self.proven { OPENING_MAX } else { 1 - self.open.min(1) };
        if of_one_request && !self.may_send() || !of_one_request && self.opening >= most {
            return None;
        }
        let slot = self.slots.take_unopened()?;
        let place = self.first_place(slot);
        self.pace_before_opening = self.pace;
        let outstanding = u16::from(of_one_request && self.take(place, 1) == 1);
        self.in_flight += u32::from(outstanding);
        self.opening += 1;
        self.worked = true;
        Some(ClientConnection { slot, outstanding, ..ClientConnection::default() })
    }

    /// Postpones the opening of a connection, because the transport cannot open it now.
    pub(crate) fn postpone(&mut self, slot: u32) {
        self.opening -= 1;
        if self.plan.connection_per_request {
            self.in_flight -= 1;
            self.undo_take(self.pace_before_opening, 1, 0);
        }
        self.slots.postpone(slot);
    }
}

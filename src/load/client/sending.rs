//! Which requests are sent, on which connection: those that are due, as many as may be under way.

use super::super::pace::Pace;
use super::super::protocol::{Protocol, Text};
use super::{Client, ClientConnection, State};
use simoom_io::Reply;

impl<P: Protocol> Client<P> {
    /// The slot to send on next, if anything is to be sent.
    #[inline]
    pub(crate) fn next_to_send(&mut self) -> Option<u32> {
        if self.may_send() { self.slots.take(self.schedule.is_opening()) } else { None }
    }

    /// Sends on an open connection, unless that is not at rest. Returns whether to go on with the
    /// next.
    #[inline]
    pub(crate) fn send(
        &mut self,
        conn: &mut ClientConnection<P::Progress>,
        reply: &mut Reply<'_, Text>,
    ) -> bool {
        if conn.outstanding > 0 || conn.state != State::Open {
            return true;
        }
        // The first request goes alone: its answer is what the others are held against.
        let batch = if self.proven { self.plan.pipeline } else { 1 };
        let place = self.first_place(conn.slot);
        let before = self.pace;
        let granted = self.take(place, batch);
        if granted == 0 {
            self.slots.rest(conn.slot);
            return false;
        }
        let sent =
            self.protocol.ask(&mut self.pending[place..][..usize::from(granted)], reply) as u16;
        if sent < granted {
            self.undo_take(before, granted, sent);
        }
        if sent == 0 {
            self.slots.rest(conn.slot);
            return false;
        }
        (conn.outstanding, conn.answered) = (sent, 0);
        self.in_flight += 1;
        self.sent(place, sent, reply);
        true
    }

    /// Takes at most `wanted` of the requests that are due, into the places from `place` on;
    /// returns how many.
    #[inline]
    pub(super) fn take(&mut self, place: usize, wanted: u16) -> u16 {
        let budget = self.schedule.take(u64::from(wanted)) as u16;
        if !self.schedule.is_paced() {
            for pending in &mut self.pending[place..][..usize::from(budget)] {
                pending.due_us = self.now_us;
            }
            return budget;
        }
        let mut taken = 0;
        while taken < budget
            && let Some(due_us) = self.pace.take(self.now_us)
        {
            self.pending[place + usize::from(taken)].due_us = due_us;
            taken += 1;
        }
        self.schedule.refund(u64::from(budget - taken));
        taken
    }

    /// Only the first `sent` of those taken were sent; `before` is the pace before they were taken.
    pub(super) fn undo_take(&mut self, before: Pace, taken: u16, sent: u16) {
        self.schedule.refund(u64::from(taken - sent));
        if self.schedule.is_paced() {
            self.pace = before;
            for _ in 0..sent {
                self.pace.take(self.now_us);
            }
        }
    }

    /// Requests were queued: counts them, and how late this side was with each.
    #[inline]
    pub(super) fn sent(&mut self, place: usize, requests: u16, reply: &mut Reply<'_, Text>) {
        reply.set_timeout(Some(self.timeout));
        self.worked = true;
        for pending in &self.pending[place..][..usize::from(requests)] {
            if self.schedule.counts(pending.due_us) {
                let late_us = self.now_us - pending.due_us.max(self.free_since_us).min(self.now_us);
                self.stats.sent(self.pace.is_open().then_some(late_us));
            }
        }
    }

    #[inline]
    pub(super) fn first_place(&self, slot: u32) -> usize {
        slot as usize * usize::from(self.plan.pipeline)
    }

    #[inline]
    pub(super) fn may_send(&self) -> bool {
        let limit = if self.proven { self.plan.in_flight } else { 1 };
        let due = !self.schedule.is_paced() || self.pace.is_due(self.now_us);
        self.in_flight < limit && due && self.schedule.sends()
    }

    /// Whether a request that is due can be sent.
    #[inline]
    pub(super) fn has_free(&self) -> bool {
        let any = if self.plan.connection_per_request {
            self.slots.has_unopened()
        } else {
            self.slots.has_free()
        };
        any && self.in_flight < self.plan.in_flight
    }

    /// Something is about to be freed. If no request could be sent before, one can from now on.
    #[inline]
    pub(super) fn note_if_none_was_free(&mut self) {
        if !self.has_free() {
            self.free_since_us = self.now_us;
        }
    }
}

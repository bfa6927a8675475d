//! Which requests are sent, and on which connection.

use super::super::pace::Pace;
use super::super::protocol::{Protocol, Text};
use super::{Client, ClientConnection, State};
use simoom_io::Reply;

impl<P: Protocol> Client<P> {
    /// The next slot to send on, if a request is due.
    #[inline]
    pub(crate) fn next_to_send(&mut self) -> Option<u32> {
        if self.may_send() { self.slots.take(self.schedule.is_opening()) } else { None }
    }

    /// Sends on an open, idle connection. Returns whether to continue with the next.
    #[inline]
    pub(crate) fn send(
        &mut self,
        conn: &mut ClientConnection<P::Progress>,
        reply: &mut Reply<'_, Text>,
    ) -> bool {
        if conn.outstanding > 0 || conn.state != State::Open {
            return true;
        }
        // The first request is sent alone. Its answer is the reference for the others.
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

    /// Takes up to `wanted` due requests into the entries from `place` on. Returns their number.
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

    /// Undoes taking all but the first `sent` requests. `before` is the pace before they were
    /// taken.
    pub(super) fn undo_take(&mut self, before: Pace, taken: u16, sent: u16) {
        self.schedule.refund(u64::from(taken - sent));
        if self.schedule.is_paced() {
            self.pace = before;
            for _ in 0..sent {
                self.pace.take(self.now_us);
            }
        }
    }

    /// Counts queued requests, and how late each was sent.
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

    /// Whether a due request could be sent.
    #[inline]
    pub(super) fn has_free(&self) -> bool {
        let any = if self.plan.connection_per_request {
            self.slots.has_unopened()
        } else {
            self.slots.has_free()
        };
        any && self.in_flight < self.plan.in_flight
    }

    /// Called before a connection becomes free. If none was free, a request can be sent from now
    /// on.
    #[inline]
    pub(super) fn note_if_none_was_free(&mut self) {
        if !self.has_free() {
            self.free_since_us = self.now_us;
        }
    }
}

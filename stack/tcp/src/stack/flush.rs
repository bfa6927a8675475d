//! An iteration of the loop after receiving: expired timers, then everything that may be sent.

use super::{GROUP, Stack};
use crate::config::Limits;
use crate::tcp::{ConnFlags, Context, State, Transmit, deliver, output, timeout};
use simoom_io::application::{Application, Closed};
use smoltcp::time::Instant;

/// Connections that have yielded and continue in one iteration. Each may do as much as its
/// application does before it yields again, and new packets wait for all of them.
const YIELDED_MAX: usize = 4;
/// Connections that one search for input to evict visits.
const EVICT_STEPS: usize = 256;

impl<A: Application> Stack<A> {
    /// Handles expired timers, and continues connections that have yielded. [`Stack::flush`] sends
    /// the results, except retransmissions and probes, which are sent at once. Returns how many
    /// timers had expired, and how many connections were continued, in one sum.
    pub fn expire<T: Transmit>(&mut self, now: Instant, app: &mut A, tx: &mut T) -> usize {
        self.set_clock(now);
        let mut due = [0; GROUP];
        let mut expired = self.continue_yielded(app, tx);
        loop {
            let count = self.shared.wheel.expire(self.shared.tick, &mut due);
            if count == 0 {
                return expired;
            }
            expired += count;
            // Prefetch, so that the misses of these connections overlap.
            let ids: [u32; GROUP] = std::array::from_fn(|index| due[index] / 2);
            self.prefetch_connections(&ids[..count]);
            for &timer in &due[..count] {
                self.expire_one(timer, app, tx);
            }
        }
    }

    pub(super) fn expire_one<T: Transmit>(&mut self, timer: u32, app: &mut A, tx: &mut T) {
        let Limits { connections, half_open, time_wait, .. } = self.shared.config.limits;
        let others = timer.checked_sub(2 * connections);
        match others {
            None => {
                let id = timer / 2;
                let tcb = &mut self.tcbs[id as usize];
                tcb.fired(timer);
                // It may be the timer of an earlier connection, and no other has the block.
                if tcb.hot.state != State::Closed {
                    if tcb.cold.timeouts > 0 {
                        self.probe_next_hop(id, tx);
                    }
                    let tcb = &mut self.tcbs[id as usize];
                    let outcome = timeout::expire(
                        tcb,
                        &mut Context { id, shared: &mut self.shared, app, tx },
                    );
                    self.apply((id, |stack: &Self| stack.hash_of(id)), outcome, app, tx);
                }
            }
            Some(index) if index < half_open => self.expire_half_open(index, tx),
            Some(index) if index < half_open + time_wait => {
                self.expire_time_wait(index - half_open);
            }
            Some(_) => self.expire_neighbours(tx),
        }
    }

    /// The timer of an entry has fired, perhaps one that was set for an earlier entry.
    pub(super) fn expire_half_open<T: Transmit>(&mut self, index: u32, tx: &mut T) {
        let retry_at = self.half_open.get(index).retry_at();
        if !retry_at.is_due(self.shared.tick) {
            return self.shared.wheel.bring_forward(self.half_open_timer(index), retry_at);
        }
        match self.half_open.retry(index, self.shared.tick) {
            Some(at) => {
                self.shared.wheel.schedule(self.half_open_timer(index), at);
                self.send_syn_ack(index, tx);
            }
            None => {
                self.shared.counters.half_open_expired += 1;
                let hash = self.keyed.hash(&self.half_open.get(index).tuple);
                self.forget_half_open(index, hash);
            }
        }
    }

    /// Sends everything that may be sent: answers, acknowledgements, and resets that the
    /// application requested. What finds no free frame waits for the next call.
    pub fn flush<T: Transmit>(&mut self, now: Instant, app: &mut A, tx: &mut T) {
        self.set_clock(now);
        self.open_resolved(app, tx);
        self.resume_waiting(app, tx);
        if std::mem::take(&mut self.shared.inputs.short) {
            self.evict_input();
        }
        std::mem::swap(&mut self.flushing, &mut self.shared.ready);
        let mut blocked = false;
        for place in 0..self.flushing.len() {
            let id = self.flushing[place];
            if blocked {
                // Its flag stays set.
                self.shared.ready.push(id);
            } else {
                blocked = !self.flush_one(id, app, tx);
            }
        }
        self.flushing.clear();
        self.yielded_before = self.shared.yielded.len();
    }

    /// Continues connections that yielded before this iteration, in the order in which they did.
    /// Returns how many.
    #[inline]
    fn continue_yielded<T: Transmit>(&mut self, app: &mut A, tx: &mut T) -> usize {
        let count = self.yielded_before.min(YIELDED_MAX);
        for _ in 0..count {
            self.continue_first_yielded(app, tx);
        }
        self.yielded_before -= count;
        count
    }

    #[cold]
    fn continue_first_yielded<T: Transmit>(&mut self, app: &mut A, tx: &mut T) {
        let Some(id) = self.shared.yielded.pop_front() else { return };
        let tcb = &mut self.tcbs[id as usize];
        tcb.hot.flags.clear(ConnFlags::YIELDED);
        if tcb.hot.state != State::Closed && tcb.warm.flow.has_yielded() {
            deliver::iterate(tcb, &mut Context { id, shared: &mut self.shared, app, tx });
        }
    }

    /// Flushes a connection from the list. Returns `false` if the transmitter ran out of frames.
    #[inline]
    pub(super) fn flush_one<T: Transmit>(&mut self, id: u32, app: &mut A, tx: &mut T) -> bool {
        let tcb = &mut self.tcbs[id as usize];
        tcb.hot.flags.clear(ConnFlags::READY);
        if output::is_short(tcb) && output::send_short(tcb, &mut self.shared, tx) {
            tcb.arm(id, &mut self.shared);
            return true;
        }
        self.flush_other(id, app, tx)
    }

    /// As [`Stack::flush_one`], whatever there is to send.
    #[inline(never)]
    fn flush_other<T: Transmit>(&mut self, id: u32, app: &mut A, tx: &mut T) -> bool {
        let tcb = &mut self.tcbs[id as usize];
        if tcb.hot.state == State::Closed {
            return true;
        }
        if tcb.warm.flow.is_aborted() {
            output::reset(&tcb.hot, tcb.hot.snd.nxt, &mut self.shared, tx);
            self.end(id, Closed::Aborted, app);
            return true;
        }
        let sent_all = output::flush::<A, T>(tcb, &mut self.shared, tx);
        if !sent_all {
            self.shared.make_ready(&mut tcb.hot, id);
        }
        tcb.arm(id, &mut self.shared);
        sent_all
    }

    /// Some input found no memory: resets a connection that has held a part of a request for too
    /// long, if one is among the next [`EVICT_STEPS`]. Then there is memory when the peer
    /// retransmits, and no number of such connections holds all memory.
    #[cold]
    fn evict_input(&mut self) {
        for _ in 0..self.tcbs.len().min(EVICT_STEPS) {
            let id = self.evict_from;
            self.evict_from = (id + 1) % self.tcbs.len() as u32;
            let tcb = &mut self.tcbs[id as usize];
            if tcb.holds_too_long(self.shared.tick) {
                self.shared.counters.input_evicted += 1;
                tcb.abort(id, &mut self.shared);
                return;
            }
        }
    }

    /// Resumes applications that the send pool had no capacity for, in the order in which they were
    /// refused.
    pub(super) fn resume_waiting<T: Transmit>(&mut self, app: &mut A, tx: &mut T) {
        if self.shared.waiting.is_empty() || !self.shared.send.can_promise() {
            return;
        }
        self.shared.send.refuse_newcomers(false);
        for _ in 0..self.shared.waiting.len() {
            let Some(id) = self.shared.waiting.pop_front() else { break };
            let tcb = &mut self.tcbs[id as usize];
            tcb.hot.flags.clear(ConnFlags::WAITING);
            if tcb.hot.state == State::Closed || !tcb.warm.flow.wants_capacity() {
                continue;
            }
            deliver::resume(tcb, &mut Context { id, shared: &mut self.shared, app, tx });
            if tcb.warm.flow.wants_capacity() {
                self.shared.make_waiting(&mut tcb.hot, id);
            }
        }
    }
}

#[cfg(test)]
#[path = "flush_tests.rs"]
mod tests;

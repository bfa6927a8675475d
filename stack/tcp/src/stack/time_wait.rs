//! TIME-WAIT: connections enter it, segments arrive in it, and entries expire.

use super::Stack;
use super::receive::Arrival;
use crate::demux::Owner;
use crate::rate_limit::Response;
use crate::tcp::segment::{Numbers, Path, emit};
use crate::tcp::{ConnFlags, Transmit, output};
use crate::time_wait::Action;
use crate::wire;
use crate::wire::Flags;
use simoom_io::application::{Application, Closed};

impl<A: Application> Stack<A> {
    pub(super) fn for_time_wait<T: Transmit>(
        &mut self,
        index: u32,
        arrival: &Arrival<'_>,
        tx: &mut T,
    ) {
        match self.time_wait.get(index).action(&arrival.segment) {
            Action::Ignore => {}
            Action::Acknowledge => self.acknowledge_time_wait(index, false, tx),
            Action::Challenge => self.acknowledge_time_wait(index, true, tx),
            Action::End => self.forget_time_wait(index),
            Action::Restart => {
                self.acknowledge_time_wait(index, false, tx);
                self.schedule_time_wait(index);
            }
            // RFC 6191 §2 treats such a SYN as if there were no TIME-WAIT, and RFC 9293 §3.10.7.1
            // resets a SYN to a closed port. An acknowledgement would leave the peer in SYN-SENT
            // until it gives up. The entry stays: a forged SYN ends nothing.
            Action::Reuse if !self.listens(&arrival.tuple()) => {
                self.send_refusal(&arrival.segment, tx);
            }
            // The SYN is dropped, and the wait goes on.
            Action::Reuse if self.may_open(&arrival.tuple()).is_none() => {}
            Action::Reuse => {
                let used_up = self.time_wait.get(index).snd_nxt;
                self.shared.counters.time_wait_reused += 1;
                self.forget_time_wait(index);
                self.open_half(arrival, Some(used_up), tx);
            }
        }
    }

    /// Sends an acknowledgement. It is a `challenge` if it answers a SYN.
    fn acknowledge_time_wait<T: Transmit>(&mut self, index: u32, challenge: bool, tx: &mut T) {
        if !self.shared.may_respond(Response::TimeWait) {
            return;
        }
        let entry = self.time_wait.get_mut(index);
        entry.challenged = challenge;
        let mut options = wire::Options::default();
        if let Some((last, offset)) = entry.timestamps {
            options.timestamps = Some((self.shared.tick.millis().wrapping_add(offset), last));
        }
        let numbers = Numbers::plain(entry.snd_nxt, entry.rcv_nxt, Flags::ACK, u16::MAX);
        let path = Path { tuple: &entry.tuple, link: &entry.link };
        if emit(&path, numbers, &options, 0, &self.shared.config, tx, |_| 0) {
            self.shared.counters.segments_sent += 1;
            self.shared.counters.pure_acks_sent += 1;
        }
    }

    /// Starts the wait. The timer of an earlier entry stays in the wheel, and is set again when it
    /// fires.
    pub(super) fn schedule_time_wait(&mut self, index: u32) {
        let at = self.shared.tick.plus(self.shared.config.time_wait_ms);
        self.time_wait.get_mut(index).ends_at = at;
        self.shared.wheel.bring_forward(self.time_wait_timer(index), at);
    }

    /// The timer of an entry has fired, perhaps one that was set for an earlier entry.
    pub(super) fn expire_time_wait(&mut self, index: u32) {
        let ends_at = self.time_wait.get(index).ends_at;
        if ends_at.is_due(self.shared.tick) {
            self.forget_time_wait(index);
        } else {
            self.shared.wheel.bring_forward(self.time_wait_timer(index), ends_at);
        }
    }

    pub(super) fn forget_time_wait(&mut self, index: u32) {
        let hash = self.time_wait.get(index).hash;
        self.demux.remove(hash, Owner::TimeWait(index));
        self.time_wait.remove(index);
    }

    /// Moves the connection to the TIME-WAIT table.
    pub(super) fn enter_time_wait<T: Transmit>(
        &mut self,
        id: u32,
        hash: u32,
        app: &mut A,
        tx: &mut T,
    ) {
        let tcb = &mut self.tcbs[id as usize];
        if tcb.hot.flags.has(ConnFlags::ACK_NOW) {
            // Acknowledge the peer's FIN. No further flush visits this connection.
            output::acknowledge(tcb, &mut self.shared, tx);
        }
        let Some((index, is_taken)) = self.time_wait.slot() else {
            return self.end_hashed(id, hash, Closed::Finished, app);
        };
        if is_taken {
            self.shared.counters.time_wait_evicted += 1;
            self.forget_time_wait(index);
        }
        self.time_wait.insert(&self.tcbs[id as usize].hot, hash);
        self.demux.replace(hash, Owner::Connection(id), Owner::TimeWait(index));
        self.schedule_time_wait(index);
        self.free_tcb(id, Closed::Finished, app);
    }
}

//! Passes a router's report that a packet was too big to the connection that sent it, and a new MTU
//! of the interface to all connections.

use super::Stack;
use crate::demux::Owner;
use crate::drop::DropReason;
use crate::path_mtu::{self, TooBig};
use crate::tcp::{State, path};
use crate::wire::ip;
use simoom_io::application::Application;

impl<A: Application> Stack<A> {
    /// Handles a packet-too-big message. A message that quotes no segment in flight is dropped:
    /// anybody can forge it (RFC 5927 §4.1). Returns whether it is a stray for the caller: the NIC
    /// may pass a router's message to any worker.
    pub(super) fn too_big(&mut self, header: &ip::Header, body: &[u8]) -> bool {
        let report = path_mtu::read(header, body);
        let owner =
            report.and_then(|report| self.owner_of(self.keyed.hash(&report.tuple), &report.tuple));
        if report.is_some() && owner.is_none() && self.shared.config.reports_strays {
            self.shared.drop(DropReason::Stray);
            return true;
        }
        self.take_too_big(match (report, owner) {
            (Some(report), Some(Owner::Connection(id))) => Some((id, report)),
            _ => None,
        });
        false
    }

    /// Counts a packet-too-big message, and passes it to its connection, if there is one.
    pub(super) fn take_too_big(&mut self, about: Option<(u32, TooBig)>) {
        self.shared.counters.icmp_too_big += 1;
        if !about.is_some_and(|(id, report)| self.lower_mss(id, &report)) {
            self.shared.drop(DropReason::Icmp);
        }
    }

    /// Sets [`Config::mtu`](crate::Config), when the MTU of the interface has changed. Open
    /// connections whose segments no longer fit lower their MSS, and retransmit what is in flight
    /// in smaller segments. A larger MTU is for new connections, and for those that had to send
    /// smaller segments: they probe for it.
    pub fn set_mtu(&mut self, mtu: u16) {
        let is_raised = mtu > std::mem::replace(&mut self.shared.config.mtu, mtu);
        for id in 0..self.tcbs.len() as u32 {
            let tcb = &mut self.tcbs[id as usize];
            if path::fit_link(tcb, &mut self.shared) {
                self.shared.make_ready(&mut tcb.hot, id);
            }
            if is_raised {
                path::link_raised(tcb, self.shared.tick);
            }
        }
    }

    /// Returns whether the connection accepts the report.
    fn lower_mss(&mut self, id: u32, report: &TooBig) -> bool {
        let tcb = &mut self.tcbs[id as usize];
        let is_open = !matches!(tcb.hot.state, State::SynSent | State::SynReceived | State::Closed);
        let believed = is_open && path::too_big(tcb, report, &mut self.shared);
        if believed {
            self.shared.make_ready(&mut tcb.hot, id);
        }
        believed
    }
}

//! A router says that a packet was too big: the connection that sent it hears of it.

use super::Stack;
use crate::demux::Owner;
use crate::drop::DropReason;
use crate::path_mtu::{self, TooBig};
use crate::tcp::{State, path};
use crate::wire::ip;
use simoom_io::application::Application;

impl<A: Application> Stack<A> {
    /// Takes an ICMP message of that kind. One that quotes no segment which is on its way is
    /// dropped: anybody could have sent it (RFC 5927 §4.1). Returns whether it is a stray for the
    /// caller: routers' messages come to whichever worker the NIC chooses.
    pub(super) fn too_big(&mut self, header: &ip::Header, body: &[u8]) -> bool {
        let said = path_mtu::read(header, body);
        let owner = said.and_then(|said| self.owner_of(self.keyed.hash(&said.tuple), &said.tuple));
        if said.is_some() && owner.is_none() && self.shared.config.reports_strays {
            self.shared.drop(DropReason::Stray);
            return true;
        }
        self.take_too_big(match (said, owner) {
            (Some(said), Some(Owner::Connection(id))) => Some((id, said)),
            _ => None,
        });
        false
    }

    /// Counts such a message, and tells the connection that it is about, if there is one.
    pub(super) fn take_too_big(&mut self, about: Option<(u32, TooBig)>) {
        self.shared.counters.icmp_too_big += 1;
        if !about.is_some_and(|(id, said)| self.narrow(id, &said)) {
            self.shared.drop(DropReason::Icmp);
        }
    }

    /// Returns whether the message is believed.
    fn narrow(&mut self, id: u32, said: &TooBig) -> bool {
        let tcb = &mut self.tcbs[id as usize];
        let is_open = !matches!(tcb.hot.state, State::SynSent | State::SynReceived | State::Closed);
        let believed = is_open && path::too_big(tcb, said, &mut self.shared);
        if believed {
            self.shared.make_ready(&mut tcb.hot, id);
        }
        believed
    }
}

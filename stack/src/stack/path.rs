//! A router says that a packet was too big: the connection that sent it hears of it.

use super::Stack;
use crate::application::Application;
use crate::demux::Owner;
use crate::drop::DropReason;
use crate::path_mtu;
use crate::tcp::{State, path};
use crate::wire::ip;

impl<A: Application> Stack<A> {
    /// Takes an ICMP message of that kind. One that quotes no segment which is on its way is dropped: anybody could
    /// have sent it (RFC 5927 §4.1).
    pub(super) fn too_big(&mut self, header: &ip::Header, body: &[u8]) -> Result<(), DropReason> {
        self.shared.counters.icmp_too_big += 1;
        let said = path_mtu::read(header, body).ok_or(DropReason::Icmp)?;
        let owner = self.owner_of(self.keyed.hash(&said.tuple), &said.tuple);
        let Some(Owner::Connection(id)) = owner else { return Err(DropReason::Icmp) };
        let tcb = &mut self.tcbs[id as usize];
        let is_open = !matches!(tcb.hot.state, State::SynSent | State::SynReceived | State::Closed);
        if !is_open || !path::too_big(tcb, &said, &mut self.shared) {
            return Err(DropReason::Icmp);
        }
        self.shared.make_ready(&mut tcb.hot, id);
        Ok(())
    }
}

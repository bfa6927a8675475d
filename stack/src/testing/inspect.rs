//! What tests may look at inside a stack. Nothing here changes anything.

use super::ConnId;
use super::Stack;
use crate::application::Application;
use crate::tcp::State;
use crate::wire::Address;

/// A look at one connection's control block.
#[derive(Clone, Copy, Debug)]
pub struct Inspection {
    /// What [`Stack::with`] calls it.
    pub id: ConnId,
    /// The state, by the name that RFC 9293 §3.3.2 gives it.
    pub state: &'static str,
    /// Congestion window in bytes.
    pub cwnd: u32,
    /// Slow-start threshold in bytes.
    pub ssthresh: u32,
    /// Bytes in a full segment.
    pub mss: u16,
}

impl<A: Application> Stack<A> {
    /// The first of its addresses.
    pub fn address(&self) -> Address {
        self.shared.config.addresses[0].address
    }

    /// The connection with these ports, if it has a control block.
    pub fn inspect(&self, local_port: u16, remote_port: u16) -> Option<Inspection> {
        let is_it = |hot: &crate::tcp::Hot| {
            hot.state != State::Closed && (hot.tuple.local_port, hot.tuple.remote_port) == (local_port, remote_port)
        };
        let index = self.tcbs.iter().position(|tcb| is_it(&tcb.hot))?;
        let tcb = &self.tcbs[index];
        Some(Inspection {
            id: ConnId(index as u32),
            state: name(tcb.hot.state),
            cwnd: tcb.hot.snd.cwnd,
            ssthresh: tcb.control.ssthresh,
            mss: tcb.hot.mss,
        })
    }

    /// Every open connection's ports, `(local, remote)`, in the order of the table.
    pub fn open_ports(&self) -> impl Iterator<Item = (u16, u16)> + use<'_, A> {
        let open = self.tcbs.iter().filter(|tcb| tcb.hot.state != State::Closed);
        open.map(|tcb| (tcb.hot.tuple.local_port, tcb.hot.tuple.remote_port))
    }
}

fn name(state: State) -> &'static str {
    match state {
        State::Closed => "CLOSED",
        State::SynSent => "SYN-SENT",
        State::SynReceived => "SYN-RECEIVED",
        State::Established => "ESTABLISHED",
        State::FinWait1 => "FIN-WAIT-1",
        State::FinWait2 => "FIN-WAIT-2",
        State::CloseWait => "CLOSE-WAIT",
        State::Closing => "CLOSING",
        State::LastAck => "LAST-ACK",
    }
}

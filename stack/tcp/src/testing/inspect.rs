//! Read access for tests to the inside of a stack.

use super::ConnId;
use super::Stack;
use crate::demux::{Owner, Tuple};
use crate::listen::syn_window;
use crate::seq::Seq;
use crate::tcp::{ConnFlags, State};
use crate::wire::Address;
use simoom_io::application::Application;

/// A look at one connection's control block.
#[derive(Clone, Copy, Debug)]
pub struct Inspection {
    /// The identifier for [`Stack::with`].
    pub id: ConnId,
    /// The state, by the name that RFC 9293 §3.3.2 gives it.
    pub state: &'static str,
    /// Congestion window in bytes.
    pub cwnd: u32,
    /// Slow-start threshold in bytes.
    pub ssthresh: u32,
    /// Bytes in a full segment.
    pub mss: u16,
    /// The congestion control.
    pub congestion: crate::Congestion,
    /// The state of the congestion controller.
    pub controller_state: &'static str,
}

/// SYN-RECEIVED reached from SYN-SENT.
pub(crate) const SIMULTANEOUS: &str = "SYN-RECEIVED, both opened";

/// The state of a four-tuple, in whichever table it is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Standing {
    /// By the name that RFC 9293 §3.3.2 gives it.
    pub(crate) state: &'static str,
    pub(crate) snd_una: Seq,
    pub(crate) snd_nxt: Seq,
    pub(crate) rcv_nxt: Seq,
    /// The first sequence number beyond the window.
    pub(crate) rcv_edge: Seq,
    /// TS.Recent, where timestamps protect the window (RFC 7323 §5).
    pub(crate) ts_recent: Option<Seq>,
    /// SND.NXT is beyond a FIN.
    pub(crate) fin_sent: bool,
    /// Timeouts in a row.
    pub(crate) timeouts: u8,
}

impl Standing {
    /// Whether there is a connection.
    pub(crate) fn is_alive(&self) -> bool {
        !matches!(self.state, "CLOSED" | "LISTEN")
    }
}

impl<A: Application> Stack<A> {
    /// The first of its addresses.
    pub fn address(&self) -> Address {
        self.shared.config.addresses[0].address
    }

    /// The state of this four-tuple: LISTEN or CLOSED if no connection has it.
    pub(crate) fn standing(&self, tuple: &Tuple) -> Standing {
        match self.owner_of(self.keyed.hash(tuple), tuple) {
            None => {
                let state = if self.listens(tuple) { "LISTEN" } else { "CLOSED" };
                Standing { state, ..Standing::default() }
            }
            Some(Owner::Connection(id)) => {
                let tcb = &self.tcbs[id as usize];
                Standing {
                    state: match tcb.hot.state {
                        State::SynReceived => SIMULTANEOUS,
                        state => name(state),
                    },
                    snd_una: tcb.hot.snd.una,
                    snd_nxt: tcb.hot.snd.nxt,
                    rcv_nxt: tcb.hot.rcv.nxt,
                    rcv_edge: tcb.hot.rcv.edge,
                    ts_recent: tcb
                        .hot
                        .flags
                        .has(ConnFlags::TIMESTAMPS)
                        .then_some(Seq(tcb.hot.rcv.ts_recent)),
                    fin_sent: tcb.hot.flags.has(ConnFlags::FIN_SENT),
                    timeouts: tcb.cold.timeouts,
                }
            }
            Some(Owner::HalfOpen(index)) => {
                let entry = self.half_open.get(index);
                Standing {
                    state: "SYN-RECEIVED",
                    snd_una: entry.iss,
                    snd_nxt: entry.iss + 1,
                    rcv_nxt: entry.irs + 1,
                    rcv_edge: entry.irs + 1 + u32::from(syn_window(&self.shared.config)),
                    ts_recent: entry.timestamp.map(Seq),
                    fin_sent: false,
                    timeouts: entry.retransmissions(),
                }
            }
            Some(Owner::TimeWait(index)) => {
                let entry = self.time_wait.get(index);
                Standing {
                    state: "TIME-WAIT",
                    snd_una: entry.snd_nxt,
                    snd_nxt: entry.snd_nxt,
                    rcv_nxt: entry.rcv_nxt,
                    rcv_edge: entry.rcv_nxt + u32::from(u16::MAX),
                    ..Standing::default()
                }
            }
        }
    }

    /// The connection with these ports, if it has a control block.
    pub fn inspect(&self, local_port: u16, remote_port: u16) -> Option<Inspection> {
        let is_it = |hot: &crate::tcp::Hot| {
            hot.state != State::Closed
                && (hot.tuple.local_port, hot.tuple.remote_port) == (local_port, remote_port)
        };
        let index = self.tcbs.iter().position(|tcb| is_it(&tcb.hot))?;
        let tcb = &self.tcbs[index];
        Some(Inspection {
            id: ConnId(index as u32),
            state: name(tcb.hot.state),
            cwnd: tcb.hot.snd.cwnd,
            ssthresh: tcb.control.ssthresh,
            mss: tcb.hot.mss,
            congestion: self.shared.controllers.algorithm(&tcb.control),
            controller_state: self.shared.controllers.state(&tcb.control),
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

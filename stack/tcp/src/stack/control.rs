//! The calls of the application's side: open, use and close connections.

use super::Stack;
use crate::demux::{Owner, Tuple};
use crate::tcp::{Hot, State, Transmit, congestion, handshake, output};
use crate::wire::{Address, Link};
use simoom_io::Reply;
use simoom_io::application::{Application, Closed, ConnectionId};
use smoltcp::time::Instant;

/// A connection of this stack, until its `closed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnId(pub(super) u32);

impl ConnId {
    /// A number below [`crate::Limits::connections`], reused by later connections.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Where an active open goes.
#[derive(Clone, Copy, Debug)]
pub struct Connect {
    /// One of this stack's addresses.
    pub local: Address,
    /// The local port. The caller chooses it: the stack knows no free range. A caller that opens
    /// connections to hosts that strangers can impersonate should choose it by a keyed hash of the
    /// addresses and a count (RFC 6056 §3.3.3). `simoom load` uses its ports in turn instead: it
    /// needs every port, each as late as possible after its last use, and it loads its owner's own
    /// servers. Sequence numbers are keyed in any case (RFC 6528).
    pub local_port: u16,
    /// The peer's address.
    pub remote: Address,
    /// The peer's port.
    pub remote_port: u16,
    /// The next hop. If `None`, the stack resolves it by [`crate::Config::routes`] before it sends
    /// the SYN.
    pub link: Option<Link>,
    /// Passed to [`Application::opened`].
    pub token: u32,
}

/// Why an active open was not started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectError {
    /// The four-tuple is in use.
    InUse,
    /// The connection table is full.
    Full,
    /// The local address is not one of this stack's.
    NotOurs,
    /// No host can have the remote address, or the remote port is 0.
    NoHost,
    /// The transmitter had no free frame; try again after a flush.
    NoFrame,
    /// There is no route from an address that can resolve the next hop.
    NoRoute,
    /// The next hop did not answer a recent resolution.
    Unreachable,
    /// The list of waiting connections, or the neighbour cache, is full. Try again when some have
    /// been opened.
    Waiting,
}

impl<A: Application> Stack<A> {
    /// Starts an active open (RFC 9293 §3.10.1). [`Application::opened`] or [`Application::closed`]
    /// follows.
    pub fn connect<T: Transmit>(
        &mut self,
        now: Instant,
        to: &Connect,
        tx: &mut T,
    ) -> Result<ConnId, ConnectError> {
        self.connect_with(now, to, A::Conn::default(), tx)
    }

    /// Starts an active open with the application's state for the connection. If the attempt is
    /// refused, the client finds in it which attempt that was.
    pub fn connect_with<T: Transmit>(
        &mut self,
        now: Instant,
        to: &Connect,
        conn: A::Conn,
        tx: &mut T,
    ) -> Result<ConnId, ConnectError> {
        self.set_clock(now);
        if !self.shared.config.has(&to.local) {
            return Err(ConnectError::NotOurs);
        }
        // RFC 9293 §3.9.1.1 MUST-46.
        if !to.remote.is_unicast() || to.remote_port == 0 {
            return Err(ConnectError::NoHost);
        }
        let tuple = Tuple {
            remote: to.remote,
            local: to.local,
            remote_port: to.remote_port,
            local_port: to.local_port,
        };
        let hash = self.keyed.hash(&tuple);
        if self.owner_of(hash, &tuple).is_some() {
            return Err(ConnectError::InUse);
        }
        if self.free.len() <= self.half_open.len() as usize {
            return Err(ConnectError::Full);
        }
        let id = *self.free.last().ok_or(ConnectError::Full)?;
        let route = match to.link {
            Some(link) => Ok(link),
            None => self.route_to(&to.local, &to.remote)?,
        };
        let tcb = &mut self.tcbs[id as usize];
        let (iss, ts_offset) = self.keyed.initial(&tuple, now);
        let link = route.unwrap_or_default();
        tcb.hot =
            Hot { flags: tcb.hot.flags, tuple, link, state: State::SynSent, ..Hot::default() };
        tcb.hot.ts_offset = ts_offset;
        (tcb.hot.snd.una, tcb.hot.snd.nxt) = (iss, iss);
        tcb.cold.recover = iss;
        tcb.cold.token = to.token;
        congestion::control::begin(tcb, id, None, &self.shared);
        tcb.warm.last_received_at = self.shared.tick;
        match route {
            Err(neighbour) => self.shared.neighbours.wait(id, neighbour),
            Ok(_) if handshake::syn(tcb, &mut self.shared, tx) => {}
            Ok(_) => {
                tcb.reset_block();
                return Err(ConnectError::NoFrame);
            }
        }
        self.free.pop();
        self.demux.insert(hash, Owner::Connection(id));
        self.count_in(&tuple);
        self.shared.counters.active_opens += 1;
        let tcb = &mut self.tcbs[id as usize];
        tcb.conn = conn;
        tcb.arm(id, &mut self.shared);
        if to.link.is_none() {
            self.expire_neighbours(tx);
        }
        Ok(ConnId(id))
    }

    /// Gives access to an open connection for a client that initiates work, such as the next
    /// request. Returns `None` if the connection is not open. What is queued is sent by the next
    /// [`Stack::flush`].
    pub fn with<R>(
        &mut self,
        id: ConnId,
        act: impl FnOnce(&mut A::Conn, &mut Reply<'_, A::Blob>) -> R,
    ) -> Option<R> {
        let tcb = self.tcbs.get_mut(id.index())?;
        let is_open = matches!(tcb.hot.state, State::Established | State::CloseWait);
        (is_open && tcb.warm.flow.is_open())
            .then(|| tcb.event(id.0, &mut self.shared, |exchange| exchange.act(act)))
    }

    /// Completes what an open connection waits for: calls `complete`, then delivers postponed
    /// input. Returns whether the connection is open.
    pub fn complete_later(
        &mut self,
        now: Instant,
        ConnectionId(id): ConnectionId,
        app: &mut A,
        complete: impl FnOnce(&mut A, &mut A::Conn, &mut Reply<'_, A::Blob>),
    ) -> bool {
        self.set_clock(now);
        let (index, opened) = (id as u32, (id >> 32) as u32);
        let Some(tcb) = self.tcbs.get_mut(index as usize) else { return false };
        let is_open = matches!(tcb.hot.state, State::Established | State::CloseWait);
        is_open
            && tcb.cold.opened == opened
            && tcb.event(index, &mut self.shared, |exchange| exchange.complete(app, complete))
    }

    /// Stops accepting connections: SYNs get a reset.
    pub fn stop_accepting(&mut self) {
        self.accepts = false;
    }

    /// Whether a peer may believe that it is connected while its connection does not exist here
    /// yet: its acknowledgement, and a request with it, are in flight.
    pub fn is_opening(&self) -> bool {
        self.half_open.len() > 0 || self.has_cookies_out()
    }

    /// Closes every connection with no queued answer and no held input that `may_close` agrees to.
    /// Call again for connections that have become idle since.
    pub fn close_idle(&mut self, may_close: impl Fn(&A::Conn) -> bool) {
        for id in 0..self.tcbs.len() as u32 {
            let tcb = &mut self.tcbs[id as usize];
            let is_open = tcb.hot.state == State::Established && tcb.warm.flow.is_open();
            if is_open && tcb.hot.queue.is_empty() && tcb.holds_nothing() && may_close(&tcb.conn) {
                tcb.close(id, &mut self.shared);
            }
        }
    }

    /// Lowers [`Config::close_timeout_ms`](crate::Config), also for connections that already wait
    /// for the peer to close. Their peers have acknowledged everything, so nothing is lost.
    pub fn shorten_close_timeout(&mut self, millis: u32) {
        let shortened = millis.min(self.shared.config.close_timeout_ms);
        self.shared.config.close_timeout_ms = shortened;
        let end = self.shared.tick.plus(shortened);
        for id in 0..self.tcbs.len() as u32 {
            let tcb = &mut self.tcbs[id as usize];
            if tcb.hot.state == State::FinWait2 {
                tcb.warm.app_at = tcb.warm.app_at.sooner(end);
                tcb.arm(id, &mut self.shared);
            }
        }
    }

    /// Resets all remaining connections.
    pub fn abort_all<T: Transmit>(&mut self, app: &mut A, tx: &mut T) {
        for id in 0..self.tcbs.len() as u32 {
            let hot = &self.tcbs[id as usize].hot;
            if hot.state != State::Closed {
                if hot.state != State::SynSent {
                    // RFC 9293 §3.10.5: no reset in SYN-SENT.
                    output::reset(hot, hot.snd.nxt, &mut self.shared, tx);
                }
                self.end(id, Closed::Aborted, app);
            }
        }
    }
}

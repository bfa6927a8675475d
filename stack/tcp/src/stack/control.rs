//! What is asked of a stack from above: connections opened, used and closed.

use super::Stack;
use crate::demux::{Owner, Tuple};
use crate::tcp::{Hot, State, Transmit, handshake, output};
use crate::wire::{Address, Link};
use simoom_io::Reply;
use simoom_io::application::{Application, Closed, ConnectionId};
use simoom_io::timer::Tick;
use smoltcp::time::Instant;

/// A connection of this stack, until its `closed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnId(pub(super) u32);

impl ConnId {
    /// A number below [`crate::Limits::connections`], given again to later connections.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Where an active open goes.
#[derive(Clone, Copy, Debug)]
pub struct Connect {
    /// One of this stack's addresses.
    pub local: Address,
    /// The port on this side, which the caller deals: the stack knows no range that is free. One
    /// that opens connections to hosts which strangers could speak for should choose by a keyed
    /// hash of the addresses and a count (RFC 6056 §3.3.3). `simoom load` deals its ports in turn
    /// instead: it needs every one, each as late as possible after its last use, and loads its
    /// owner's own servers; sequence numbers are keyed all the same (RFC 6528).
    pub local_port: u16,
    /// The other side.
    pub remote: Address,
    /// Its port.
    pub remote_port: u16,
    /// The next hop; without one, the stack finds it ([`crate::Config::routes`]), and the SYN waits
    /// for that.
    pub link: Option<Link>,
    /// Handed to [`Application::opened`].
    pub token: u32,
}

/// Why an active open was not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectError {
    /// The four-tuple is in use.
    InUse,
    /// The connection table is full.
    Full,
    /// The local address is none of this stack's.
    NotOurs,
    /// The transmitter had no free frame; try again after a flush.
    NoFrame,
    /// No route leads there from an address that can ask for its next hop.
    NoRoute,
    /// The next hop did not answer just now.
    Unreachable,
    /// As many connections, or neighbours, as may wait do; try again when some of them have been
    /// opened.
    Waiting,
}

impl<A: Application> Stack<A> {
    /// Begins an active open (RFC 9293 §3.10.1); [`Application::opened`] or [`Application::closed`]
    /// follows.
    pub fn connect<T: Transmit>(
        &mut self,
        now: Instant,
        to: &Connect,
        tx: &mut T,
    ) -> Result<ConnId, ConnectError> {
        self.connect_with(now, to, A::Conn::default(), tx)
    }

    /// As [`Stack::connect`], with the application's state for the connection: a client whose
    /// attempt is refused finds in it which one that was.
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
        let way = match to.link {
            Some(link) => Ok(link),
            None => self.way_to(&to.local, &to.remote)?,
        };
        let tcb = &mut self.tcbs[id as usize];
        let iss = self.keyed.initial_seq(&tuple, now);
        let link = way.unwrap_or_default();
        tcb.hot =
            Hot { marks: tcb.hot.marks, tuple, link, state: State::SynSent, ..Hot::default() };
        tcb.hot.ts_offset = self.keyed.timestamp_offset(&tuple);
        (tcb.hot.snd.una, tcb.hot.snd.nxt) = (iss, iss);
        tcb.cold.recover = iss;
        tcb.cold.token = to.token;
        tcb.warm.heard_at = self.shared.tick;
        match way {
            Err(neighbour) => self.shared.neighbours.wait(id, neighbour),
            Ok(_) if handshake::syn(tcb, &mut self.shared, tx) => {}
            Ok(_) => {
                tcb.vacate();
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
            self.tend_neighbours(tx);
        }
        Ok(ConnId(id))
    }

    /// Lets the application act on an open connection of its own accord: a client that sends its
    /// next request. Returns `None` if the connection is not open. What is queued goes out with the
    /// next [`Stack::flush`].
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

    /// What an open connection waited for has come from elsewhere: lets the application act, then
    /// delivers input that it put off. Returns whether the connection is open.
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

    /// Accepts no further connection; SYNs are refused.
    pub fn stop_accepting(&mut self) {
        self.accepts = false;
    }

    /// Whether a peer may take itself for connected that has no connection here yet: its
    /// acknowledgement, and a request with it, are under way. Takes note of cookies that have run
    /// out.
    pub fn is_opening(&mut self) -> bool {
        if self.cookies_until.is_due(self.shared.tick) {
            self.cookies_until = Tick::NEVER;
        }
        self.half_open.len() > 0 || self.cookies_until != Tick::NEVER
    }

    /// Closes every connection that nothing is queued for, nothing is kept for, and that
    /// `may_close` agrees to: nobody waits for anything there. Call again for those that have
    /// finished since.
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
    /// for the peer to close: it has acknowledged everything, so nothing is lost when they end.
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

    /// Resets every connection that is left.
    pub fn abort_all<T: Transmit>(&mut self, app: &mut A, tx: &mut T) {
        for id in 0..self.tcbs.len() as u32 {
            let hot = &self.tcbs[id as usize].hot;
            if hot.state != State::Closed {
                if hot.state != State::SynSent {
                    // RFC 9293 §3.10.5: a SYN alone is not taken back.
                    output::reset(hot, hot.snd.nxt, &mut self.shared, tx);
                }
                self.end(id, Closed::Aborted, app);
            }
        }
    }
}

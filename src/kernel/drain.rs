//! The end of a worker: in comes the order to drain, out goes one connection after the other, until none is left or
//! the time is over. Never breaks off an answer before that.

use super::server::{Driver, Server};
use super::session::{Host, Phase, Session};
use super::socket::Socket;
use crate::clock::millis;
use crate::control::Order;
use crate::hosted::Hosted;
use simoom_stack::Closed;
use std::io;
use std::time::Duration;

impl<A: Hosted, D: Driver> Server<A, D> {
    pub(super) fn obey(&mut self) -> io::Result<()> {
        self.mailbox.clear_wake();
        while let Some(order) = self.mailbox.take() {
            let Order::Drain(at_most) = order;
            self.drain(at_most)?;
            if at_most == Duration::ZERO {
                break;
            }
        }
        Ok(())
    }

    /// Takes in who has connected already, closes the listeners and every idle connection; the others follow as
    /// they become idle. A second order can only shorten the time.
    fn drain(&mut self, at_most: Duration) -> io::Result<()> {
        let until_ms = self.host.now_ms.saturating_add(millis(at_most));
        if let Some(earlier_ms) = self.drain_until_ms {
            self.drain_until_ms = Some(earlier_ms.min(until_ms));
            return Ok(());
        }
        D::release_listeners(self)?;
        for number in 0..self.listeners.len() {
            // What fails here fails for a listener that is closed next.
            let _ = self.accept(number);
        }
        self.listeners.clear();
        self.accept_again_ms = None;
        D::settle(self)?;
        self.host.app.drain();
        for index in 0..self.table.capacity() {
            let Some(key) = self.table.key_at(index) else { continue };
            let Some(session) = self.table.get_mut(key) else { continue };
            // A request may have come since the last look.
            session.io.readable |= !session.io.eof;
            self.visit(key);
            if let Some(session) = self.table.get_mut(key)
                && is_idle(&self.host, session)
            {
                self.end(key, Closed::Finished);
            }
        }
        self.drain_until_ms = Some(until_ms);
        Ok(())
    }

    pub(super) fn is_done(&self) -> bool {
        self.drain_until_ms.is_some_and(|until_ms| self.table.len() == 0 || until_ms <= self.host.now_ms)
    }

    /// Ends what is still open when the time to drain is over.
    pub(super) fn cut_off(&mut self) {
        for index in 0..self.table.capacity() {
            let Some(key) = self.table.key_at(index) else { continue };
            let Some(session) = self.table.get_mut(key) else { continue };
            if session.phase == Phase::Lingering {
                self.end(key, Closed::TimedOut);
            } else {
                self.host.counters.drain_cut_off += 1;
                self.end(key, Closed::Aborted);
            }
        }
    }
}

/// Whether nothing of a request or an answer is under way.
pub(super) fn is_idle<A: Hosted, P>(host: &Host<A>, session: &Session<A, Socket<P>>) -> bool {
    !session.io.readable && !session.io.held_back && host.idle(session)
}

//! Accepts connections. The input is a readable listener or an accepted socket. The output is an
//! open connection, or a reset if the connection table is full. Accepting pauses if the process
//! runs out of descriptors, so the loop does not spin.

use super::server::{Driver, Server};
use super::session::Session;
use super::socket::Socket;
use crate::clock::millis;
use crate::handler::Handler;
use rustix::io::Errno;
use rustix::net::sockopt;
use simoom_io::{ConnectionId, Ends, Opened};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Connections accepted from one listener in one iteration.
const ACCEPTS: usize = 64;
/// Pause of accepting after descriptors or kernel memory ran out.
const ACCEPT_PAUSE_MS: u64 = 100;

impl<A: Handler, D: Driver> Server<A, D> {
    /// Accepts up to [`ACCEPTS`] connections from a listener. Returns whether more may wait.
    pub(super) fn accept(&mut self, number: usize) -> io::Result<bool> {
        for _ in 0..ACCEPTS {
            let Some(Some(listener)) = self.listeners.get(number) else { return Ok(false) };
            let accepted = listener.accept();
            if let Err(Errno::AGAIN) = accepted {
                return Ok(false);
            }
            self.accepted(number, accepted)?;
            if self.accept_again_ms.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Opens an accepted connection. Counts the error if accept(2) failed.
    pub(super) fn accepted(
        &mut self,
        number: usize,
        socket: Result<OwnedFd, Errno>,
    ) -> io::Result<()> {
        let Some(Some(listener)) = self.listeners.get(number) else { return Ok(()) };
        let local_port = listener.address().port();
        match socket {
            Ok(socket) => self.open(socket, local_port),
            Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                return self.pause_accepting();
            }
            Err(error @ (Errno::BADF | Errno::INVAL | Errno::NOTSOCK)) => return Err(error.into()),
            // accept(2) also reports errors of the new connection and of its network.
            Err(_) => self.app_driver.counters.accept_errors += 1,
        }
        Ok(())
    }

    fn open(&mut self, socket: OwnedFd, local_port: u16) {
        if self.table.is_full() {
            self.app_driver.counters.connections_refused += 1;
            return reset(&socket);
        }
        let Some(share) = self.admission.share(&socket, local_port, &mut self.app_driver.counters)
        else {
            return reset(&socket);
        };
        let ends = self.app_driver.app.wants_ends(local_port).then(|| ends(&socket)).flatten();
        let (send_timeout, _) = self.settings.timeouts_of(local_port);
        let session = Session::new(Socket::new(socket), millis(send_timeout));
        let Ok(key) = self.table.insert(session) else { return };
        self.admission.take(key.index, share);
        let Some(session) = self.table.get_mut(key) else { return };
        self.app_driver.counters.connections_accepted += 1;
        let id = ConnectionId(key.to_bits());
        self.app_driver.opened(session, Opened { local_port, active: false, token: 0, id, ends });
        self.driver.prepare(&mut session.io);
        self.visit(key);
    }

    /// Stops watching the listeners for [`ACCEPT_PAUSE_MS`]: waiting connections would wake the
    /// loop at once.
    fn pause_accepting(&mut self) -> io::Result<()> {
        self.app_driver.counters.accept_pauses += 1;
        self.accept_again_ms = Some(self.app_driver.now_ms + ACCEPT_PAUSE_MS);
        self.driver.watch_listeners(&self.listeners, false)
    }

    pub(super) fn resume_accepting(&mut self) -> io::Result<()> {
        if self.accept_again_ms.is_some_and(|at_ms| at_ms <= self.app_driver.now_ms) {
            self.accept_again_ms = None;
            self.driver.watch_listeners(&self.listeners, true)?;
        }
        Ok(())
    }
}

/// Local and remote address of a connection. `None` if the connection has ended.
fn ends(socket: &OwnedFd) -> Option<Ends> {
    let remote = remote(socket)?;
    let local = rustix::net::getsockname(socket).ok()?.try_into().ok()?;
    Some(Ends { remote, local })
}

/// Remote address of a connection. `None` if the connection has ended.
pub(super) fn remote(socket: &OwnedFd) -> Option<SocketAddr> {
    rustix::net::getpeername(socket).ok()??.try_into().ok()
}

/// Makes close(2) of `socket` send a reset. If the option cannot be set, the peer gets a FIN.
pub(super) fn reset(socket: &OwnedFd) {
    let _ = sockopt::set_socket_linger(socket, Some(Duration::ZERO));
}

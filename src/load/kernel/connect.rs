//! Opening connections: slots in, sockets that connect out, or why there can be none.

use super::super::client::ClientConnection;
use super::super::protocol::Protocol;
use super::Kernel;
use crate::clock::NEVER;
use crate::error::{Error, Result};
use crate::open_files;
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};
use simoom_io::{Closed, Connection};

/// The smallest receive buffer that is asked for, of which the kernel makes twice as much. In one
/// for hardly more than a segment its window can come to rest at a few bytes, and it opens it no
/// further.
const RECEIVE_BUFFER_MIN_BYTES: usize = 8192;
/// Descriptors of the process besides its connections, with some to spare.
const OTHER_DESCRIPTORS: u64 = 64;

/// Raises the limit of open files as far as needed.
pub(super) fn allow_descriptors(connections: u32) -> Result<()> {
    let needed = u64::from(connections) + OTHER_DESCRIPTORS;
    let allowed = open_files::allow(needed);
    if allowed >= needed {
        return Ok(());
    }
    let most = allowed.saturating_sub(OTHER_DESCRIPTORS);
    Err(Error::usage(format!(
        "--connections {connections}: at most {most} with this process's limit of open files; raise that \
         (`ulimit -Hn`), or send with --interface, which needs none"
    )))
}

impl<P: Protocol> Kernel<P> {
    pub(super) fn connect(&mut self, conn: ClientConnection<P::Progress>) -> Result<()> {
        let slot = conn.slot() as usize;
        let target = self.target;
        let cannot =
            |error: Errno| Error::failed(format!("connecting to {target}: {}", explain(error)));
        let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket =
            rustix::net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))
                .map_err(cannot)?;
        sockopt::set_tcp_nodelay(&socket, true).map_err(cannot)?;
        if let Some(throttle) = self.client.slow() {
            // Before connecting: the window that is offered at first follows from it.
            let bytes = throttle.window_bytes().max(RECEIVE_BUFFER_MIN_BYTES);
            sockopt::set_socket_recv_buffer_size(&socket, bytes).map_err(cannot)?;
        }
        let connected = rustix::net::connect(&socket, &target);
        let session = &mut self.sessions[slot];
        session.connection = Connection::with(conn);
        (session.connected, session.readable, session.peer_done) = (false, false, false);
        session.deadline_us = NEVER;
        match connected {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => match ending(error) {
                Some(how) => {
                    self.end(slot, how);
                    return Ok(());
                }
                None => return Err(cannot(error)),
            },
        }
        let flags = epoll::EventFlags::IN
            | epoll::EventFlags::OUT
            | epoll::EventFlags::RDHUP
            | epoll::EventFlags::ET;
        epoll::add(&self.epoll, &socket, epoll::EventData::new_u64(slot as u64), flags)
            .map_err(cannot)?;
        session.socket = Some(socket);
        Ok(())
    }
}

/// How a connection that this error befell has ended; `None` for what is wrong on this side.
pub(super) fn ending(error: Errno) -> Option<Closed> {
    match error {
        Errno::CONNREFUSED => Some(Closed::Refused),
        Errno::CONNRESET | Errno::PIPE => Some(Closed::ResetByPeer),
        Errno::TIMEDOUT | Errno::HOSTUNREACH => Some(Closed::TimedOut),
        _ => None,
    }
}

fn explain(error: Errno) -> String {
    match error {
        Errno::ADDRNOTAVAIL => format!(
            "{error}: all local ports are in use or in TIME_WAIT; widen net.ipv4.ip_local_port_range, open fewer \
             connections, or send with --interface and --source"
        ),
        Errno::NETUNREACH => format!("{error}: there is no route; see `ip route`"),
        _ => error.to_string(),
    }
}

//! Listening sockets: binds one socket for each worker to an address, all in one `SO_REUSEPORT`
//! group. An error says what to do. Never shares a port with another process by accident.
//!
//! Socket options are set on the listener, and accepted sockets inherit them. That saves system
//! calls for each connection.

use super::sys;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};
use std::fmt;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// Time between keep-alive probes to one peer (not specified by RFC 1122; the default of Linux),
/// and their number.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(75);
const KEEP_ALIVE_PROBES: u32 = 9;
/// Longest keep-alive time that the kernel accepts.
const KEEP_ALIVE_MAX_SECONDS: u64 = 32_767;

/// Socket of one worker that is bound but not listening yet: the kernel refuses connections.
#[derive(Debug)]
pub struct Reserved {
    socket: OwnedFd,
    address: SocketAddr,
}

/// Whether the kernel must have an address when a socket is bound to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// The address must exist now.
    Now,
    /// The address may be tentative or return later (IP_FREEBIND).
    AnyTime,
}

impl Reserved {
    /// Binds `address` for `workers` workers. Port 0 chooses one free port for all of them. `[::]`
    /// accepts IPv6 only: bind `0.0.0.0` as well.
    pub fn bind(
        address: SocketAddr,
        presence: Presence,
        workers: usize,
    ) -> Result<Vec<Reserved>, ListenError> {
        let failed = |source| ListenError { address, source };
        if address.port() != 0 {
            // A group admits every socket of the same user, also those of a second server started
            // by mistake. A socket outside the group can be bound only if nobody listens.
            bound(address, presence, false).map_err(failed)?;
        }
        let mut reserved: Vec<Reserved> = Vec::with_capacity(workers);
        for _ in 0..workers {
            let address = reserved.first().map_or(address, |first| first.address);
            let socket = bound(address, presence, true).map_err(failed)?;
            let address =
                rustix::net::getsockname(&socket).and_then(TryInto::try_into).map_err(failed)?;
            reserved.push(Reserved { socket, address });
        }
        Ok(reserved)
    }

    /// The bound address and port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Has the group accept a connection whose SYN came through receive queue n of a NIC with its
    /// socket n modulo `workers`. Call it on the first socket, before any listens.
    pub fn steer_by_queue(&self, workers: u32) -> Result<(), ListenError> {
        let (address, socket) = (self.address, self.socket.as_fd());
        sys::steer_by_queue(socket, workers).map_err(|error| {
            let source = Errno::from_io_error(&error).unwrap_or(Errno::IO);
            ListenError { address, source }
        })
    }

    /// Starts listening. Up to `backlog` connections (at most `net.core.somaxconn`) wait to be
    /// accepted.
    pub fn listen(self, backlog: u16) -> Result<Listener, ListenError> {
        let Reserved { socket, address } = self;
        let listen = || {
            sockopt::set_tcp_nodelay(&socket, true)?;
            rustix::net::listen(&socket, i32::from(backlog))
        };
        listen().map_err(|source| ListenError { address, source })?;
        Ok(Listener { socket, address })
    }
}

/// One worker's listening socket.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
    address: SocketAddr,
}

impl Listener {
    /// Calls [`Reserved::bind`] and [`Reserved::listen`].
    pub fn bind(
        address: SocketAddr,
        workers: usize,
        backlog: u16,
    ) -> Result<Vec<Listener>, ListenError> {
        let reserved = Reserved::bind(address, Presence::Now, workers)?;
        reserved.into_iter().map(|reserved| reserved.listen(backlog)).collect()
    }

    /// The socket, to hand it to a worker that runs already.
    pub fn into_socket(self) -> OwnedFd {
        self.socket
    }

    /// The listener of a socket of [`Listener::into_socket`].
    pub(super) fn of_socket(socket: OwnedFd) -> Result<Listener, Errno> {
        let address = rustix::net::getsockname(&socket)?.try_into()?;
        Ok(Listener { socket, address })
    }

    /// The address and port of the listener.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends keep-alive probes on connections accepted from now on, to peers that are silent for
    /// `keep_alive`. Zero disables them.
    ///
    /// TCP_USER_TIMEOUT is not set: Linux (6.18) also resets slow readers that make progress with
    /// it. That happens if the window of the peer never has space for the first queued buffer.
    pub(super) fn set_keep_alive(&self, keep_alive: Duration) -> Result<(), Errno> {
        if keep_alive.is_zero() {
            return sockopt::set_socket_keepalive(&self.socket, false);
        }
        let whole_seconds = |time: Duration| {
            let seconds = (time.as_millis() as u64).div_ceil(1000);
            Duration::from_secs(seconds.clamp(1, KEEP_ALIVE_MAX_SECONDS))
        };
        sockopt::set_tcp_keepidle(&self.socket, whole_seconds(keep_alive))?;
        sockopt::set_tcp_keepintvl(
            &self.socket,
            whole_seconds(keep_alive.min(KEEP_ALIVE_INTERVAL)),
        )?;
        sockopt::set_tcp_keepcnt(&self.socket, KEEP_ALIVE_PROBES)?;
        sockopt::set_socket_keepalive(&self.socket, true)
    }

    /// Drops each SYN from now on, so that no connection enters the backlog after the last accept.
    pub(super) fn drop_syns(&self) -> std::io::Result<()> {
        sys::drop_syns(self.socket.as_fd())
    }

    /// Accepts the next waiting connection as a non-blocking socket.
    pub(super) fn accept(&self) -> Result<OwnedFd, Errno> {
        rustix::net::accept_with(&self.socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Binds a socket to `address`, inside or outside the `SO_REUSEPORT` group.
fn bound(address: SocketAddr, presence: Presence, shared: bool) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    // Connections of an earlier process in TIME-WAIT do not block the port.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, shared)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if presence == Presence::AnyTime {
        set_freebind(&socket, address)?;
    }
    rustix::net::bind(&socket, &address)?;
    Ok(socket)
}

/// Allows `socket` to be bound to an address that the kernel does not have yet.
pub(super) fn set_freebind(socket: impl AsFd, address: SocketAddr) -> Result<(), Errno> {
    match address {
        SocketAddr::V4(_) => sockopt::set_ip_freebind(socket, true),
        SocketAddr::V6(_) => sockopt::set_ipv6_freebind(socket, true),
    }
}

/// Failure to listen on an address. The text says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenError {
    /// The requested address.
    pub address: SocketAddr,
    /// The error of the kernel.
    pub source: Errno,
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ListenError { address, source } = self;
        let port = address.port();
        write!(f, "cannot listen on {address}: {source}; ")?;
        match *source {
            Errno::ADDRINUSE => write!(
                f,
                "stop the process that holds port {port} (`ss -ltnp 'sport = :{port}'` names it) or choose another port"
            ),
            Errno::ACCESS | Errno::PERM => write!(
                f,
                "port {port} is privileged: choose one from 1024 up, grant CAP_NET_BIND_SERVICE, or lower \
                 net.ipv4.ip_unprivileged_port_start"
            ),
            Errno::ADDRNOTAVAIL => {
                write!(f, "no interface has {0}: see `ip address show to {0}`", address.ip())
            }
            Errno::AFNOSUPPORT => write!(f, "this kernel runs without IPv6: give an IPv4 address"),
            Errno::MFILE => {
                write!(f, "raise the limit of open files (`ulimit -n`, LimitNOFILE= in a unit)")
            }
            _ => write!(f, "check that the address can be bound in this network namespace"),
        }
    }
}

impl std::error::Error for ListenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn workers_share_one_port_and_every_connection_waits_at_one_of_them() {
        let listeners = Listener::bind(address("127.0.0.1:0"), 3, 16).unwrap();
        let at = listeners[0].address();
        assert!(at.port() != 0 && listeners.iter().all(|listener| listener.address() == at));
        let _clients: Vec<TcpStream> = (0..12).map(|_| TcpStream::connect(at).unwrap()).collect();
        let accepted = |listener: &Listener| std::iter::from_fn(|| listener.accept().ok()).count();
        assert_eq!(listeners.iter().map(accepted).sum::<usize>(), 12);
        assert_eq!(listeners[0].accept().unwrap_err(), Errno::AGAIN);
    }

    #[test]
    fn connections_that_came_through_no_queue_are_spread_as_before() {
        let reserved = Reserved::bind(address("127.0.0.1:0"), Presence::Now, 2).unwrap();
        reserved[0].steer_by_queue(2).unwrap();
        let listeners: Vec<Listener> =
            reserved.into_iter().map(|reserved| reserved.listen(64).unwrap()).collect();
        let at = listeners[0].address();
        let accepted = |listener: &Listener| std::iter::from_fn(|| listener.accept().ok()).count();
        let _clients: Vec<TcpStream> = (0..64).map(|_| TcpStream::connect(at).unwrap()).collect();
        let counts: Vec<usize> = listeners.iter().map(accepted).collect();
        assert!(counts[0] + counts[1] == 64 && !counts.contains(&0), "{counts:?}");
    }

    #[test]
    fn a_reserved_address_refuses_connections_until_it_listens() {
        let mut reserved = Reserved::bind(address("127.0.0.1:0"), Presence::Now, 2).unwrap();
        let at = reserved[0].address();
        assert_eq!(reserved[1].address(), at);
        assert_eq!(
            TcpStream::connect(at).unwrap_err().kind(),
            std::io::ErrorKind::ConnectionRefused
        );
        let listener = reserved.pop().unwrap().listen(16).unwrap();
        let _client = TcpStream::connect(at).unwrap();
        assert!(listener.accept().is_ok());
    }

    #[test]
    fn an_address_that_may_come_later_can_be_reserved() {
        let later = address("198.51.100.7:8080");
        assert_eq!(
            Reserved::bind(later, Presence::Now, 1).unwrap_err().source,
            Errno::ADDRNOTAVAIL
        );
        assert_eq!(Reserved::bind(later, Presence::AnyTime, 1).unwrap()[0].address(), later);
    }

    #[test]
    fn accepted_sockets_inherit_no_delay() {
        let listeners = Listener::bind(address("127.0.0.1:0"), 1, 16).unwrap();
        let _client = TcpStream::connect(listeners[0].address()).unwrap();
        let accepted = listeners[0].accept().unwrap();
        assert!(sockopt::tcp_nodelay(&accepted).unwrap());
    }

    #[test]
    fn accepted_sockets_inherit_the_keep_alive_in_whole_seconds() {
        let seconds = Duration::from_secs;
        let keep_alive = |keep_alive| {
            let listeners = Listener::bind(address("127.0.0.1:0"), 1, 16).unwrap();
            listeners[0].set_keep_alive(keep_alive).unwrap();
            let _client = TcpStream::connect(listeners[0].address()).unwrap();
            let accepted = listeners[0].accept().unwrap();
            sockopt::socket_keepalive(&accepted).unwrap().then(|| {
                let idle = sockopt::tcp_keepidle(&accepted).unwrap();
                (
                    idle,
                    sockopt::tcp_keepintvl(&accepted).unwrap(),
                    sockopt::tcp_keepcnt(&accepted).unwrap(),
                )
            })
        };
        assert_eq!(keep_alive(seconds(7200)), Some((seconds(7200), seconds(75), 9)));
        assert_eq!(keep_alive(Duration::from_millis(1500)), Some((seconds(2), seconds(2), 9)));
        assert_eq!(keep_alive(seconds(86_400)), Some((seconds(32_767), seconds(75), 9)));
        assert_eq!(keep_alive(Duration::ZERO), None);
    }

    #[test]
    fn after_syns_are_dropped_who_has_connected_is_served_and_nobody_else_comes() {
        let listeners = Listener::bind(address("127.0.0.1:0"), 1, 16).unwrap();
        let _client = TcpStream::connect(listeners[0].address()).unwrap();
        listeners[0].drop_syns().unwrap();
        let accepted = listeners[0].accept().unwrap();
        assert!(rustix::net::send(&accepted, b"answer", rustix::net::SendFlags::empty()).is_ok());
        let late = TcpStream::connect_timeout(&listeners[0].address(), Duration::from_millis(50));
        assert_eq!(late.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
        assert_eq!(listeners[0].accept().unwrap_err(), Errno::AGAIN);
    }

    #[test]
    fn ipv6_leaves_ipv4_alone() {
        let Ok(six) = Listener::bind(address("[::]:0"), 1, 16) else { return };
        let four = Listener::bind(
            SocketAddr::new("0.0.0.0".parse().unwrap(), six[0].address().port()),
            1,
            16,
        );
        assert!(four.is_ok() || four.unwrap_err().source == Errno::ADDRINUSE);
        assert!(sockopt::ipv6_v6only(&six[0]).unwrap());
        assert!(TcpStream::connect(("::1", six[0].address().port())).is_ok());
    }

    #[test]
    fn a_port_in_use_is_refused_whoever_holds_it() {
        let plain = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = Listener::bind(address("127.0.0.1:0"), 1, 16).unwrap();
        for taken in [plain.local_addr().unwrap(), ours[0].address()] {
            let error = Listener::bind(taken, 2, 16).unwrap_err();
            assert_eq!((error.source, error.address), (Errno::ADDRINUSE, taken));
            let text = error.to_string();
            assert!(text.contains(&taken.to_string()) && text.contains("ss -ltnp"), "{text}");
        }
    }

    #[test]
    fn an_address_that_is_not_here_is_named() {
        let error = Listener::bind(address("198.51.100.7:80"), 1, 16).unwrap_err();
        assert!(error.to_string().contains("no interface has 198.51.100.7"), "{error}");
    }
}

//! The socket of a connection and its readiness. Reads return bytes that io_uring received first,
//! then bytes of the socket buffer. Never blocks.

use rustix::io::Errno;
use rustix::net::RecvFlags;
use simoom_io::Closed;
use std::os::fd::OwnedFd;

/// State of a driver for one socket.
pub(super) trait Part: Default {
    /// State that all sockets of a worker share.
    type Shared;

    /// Copies input that the driver has received to `buf`, as much as fits, and removes it unless
    /// it is `peeked`. Returns the number of bytes.
    fn early(&mut self, shared: &mut Self::Shared, buf: &mut [u8], peeked: bool) -> usize {
        let _ = (shared, buf, peeked);
        0
    }

    /// Whether a send is in progress. Its result is not known, so nothing may be written.
    fn is_sending(&self) -> bool {
        false
    }
}

/// A socket and its readiness.
#[derive(Debug)]
pub(super) struct Socket<P> {
    pub(super) fd: OwnedFd,
    /// Whether the socket may have input.
    pub(super) readable: bool,
    /// Whether the socket accepted the last write in full.
    pub(super) writable: bool,
    /// Whether the peer's FIN has arrived. Input before it may be unread.
    pub(super) peer_done: bool,
    /// Whether all input up to the FIN has been read.
    pub(super) eof: bool,
    /// Whether delivered input stays in the kernel because no input buffer was free.
    pub(super) held_back: bool,
    /// State of the driver.
    pub(super) part: P,
}

impl<P: Part> Socket<P> {
    pub(super) fn new(fd: OwnedFd) -> Socket<P> {
        Socket {
            fd,
            readable: false,
            writable: true,
            peer_done: false,
            eof: false,
            held_back: false,
            part: P::default(),
        }
    }

    /// Reads into `buf`. Returns 0 if there is no input.
    pub(super) fn recv(
        &mut self,
        shared: &mut P::Shared,
        buf: &mut [u8],
        flags: RecvFlags,
    ) -> Result<usize, Closed> {
        let early = self.part.early(shared, buf, flags.contains(RecvFlags::PEEK));
        if early == buf.len() {
            self.readable = true;
            return Ok(early);
        }
        Ok(early + self.recv_from_kernel(&mut buf[early..], flags)?)
    }

    fn recv_from_kernel(&mut self, buf: &mut [u8], flags: RecvFlags) -> Result<usize, Closed> {
        let asked = buf.len();
        match rustix::net::recv(&self.fd, buf, flags | RecvFlags::DONTWAIT) {
            Ok((_, 0)) => {
                (self.peer_done, self.eof, self.readable) = (true, true, false);
                Ok(0)
            }
            Ok((_, n)) => {
                self.readable = n == asked || self.peer_done;
                Ok(n)
            }
            Err(Errno::AGAIN) => {
                self.readable = false;
                Ok(0)
            }
            Err(Errno::INTR) => Ok(0),
            Err(Errno::TIMEDOUT) => Err(Closed::TimedOut),
            Err(_) => Err(Closed::ResetByPeer),
        }
    }
}

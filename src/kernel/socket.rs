//! A connection's socket with what is known of its readiness: in come reads, out go bytes, first
//! those that the transport took from the kernel before anybody asked for them, then those that lie
//! there. Never blocks.

use rustix::io::Errno;
use rustix::net::RecvFlags;
use simoom_io::Closed;
use std::os::fd::OwnedFd;

/// A transport's own part of a socket.
pub(super) trait Part: Default {
    /// What the parts of all sockets of a worker share.
    type Shared;

    /// Copies input that was taken from the kernel unasked to the front of `buf`, as much as fits,
    /// and drops it here unless it is only `peeked` at. Returns how much.
    fn early(&mut self, shared: &mut Self::Shared, buf: &mut [u8], peeked: bool) -> usize {
        let _ = (shared, buf, peeked);
        0
    }

    /// Whether a send is under way whose outcome is not yet known: nothing may be written
    /// meanwhile.
    fn is_sending(&self) -> bool {
        false
    }
}

/// A socket and what is known of its readiness.
#[derive(Debug)]
pub(super) struct Socket<P> {
    pub(super) fd: OwnedFd,
    /// There may be something to read.
    pub(super) readable: bool,
    /// The last write was taken whole.
    pub(super) writable: bool,
    /// The peer's FIN has arrived, but not everything before it may have been read.
    pub(super) peer_done: bool,
    /// Everything up to the FIN has been read.
    pub(super) eof: bool,
    /// Input that was offered lies in the kernel, because there was no buffer to keep it in.
    pub(super) held_back: bool,
    /// The transport's own part.
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

    /// Reads into `buf`; 0 if there is nothing (any more).
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

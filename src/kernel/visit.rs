//! What is done for one connection when its socket may be readable or writable, or its deadline has passed.
//!
//! In comes a session with what epoll said of its socket; bytes go from the socket to the application and from the
//! queue to the socket; out goes what to wait for next. Sockets are registered edge-triggered: one registration
//! for the life of a connection and no call to change it, for the price of remembering here what is still to be
//! read or may be written. A read that comes back short has emptied the socket, so there is no second one to
//! learn that there is nothing; what arrives later is a new edge. The last edge, the peer's FIN, is flagged by
//! EPOLLRDHUP: from then on reads go on until they return 0.
//!
//! While answers wait for the socket, or the application for room, nothing is read: that is how a peer that sends
//! without reading is slowed down. A visit is bounded; who has more to do stands in line.

use super::INPUT_BYTES;
use super::session::{Host, Phase, Session};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown};
use simoom_stack::send::{Pool, QUEUE_ENTRIES, Queue};
use simoom_stack::{Application, Blob, Closed};
use std::io::IoSlice;
use std::os::fd::OwnedFd;

/// Reads, or calls of `resumed`, in one visit: 128 KiB of input at most.
const STEPS: usize = 8;
/// Answers of several ranges are copied together up to this length: one short range is cheaper for the kernel.
const GATHER_BYTES: usize = 2048;

/// A socket and what is known of its readiness.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) fd: OwnedFd,
    /// There may be something to read.
    pub(super) readable: bool,
    /// The last write was taken whole.
    pub(super) writable: bool,
    /// EPOLLOUT is registered: it is from the first time that the socket is full.
    pub(super) polls_out: bool,
    /// The peer's FIN has arrived, but not everything before it may have been read.
    pub(super) peer_done: bool,
    /// Everything up to the FIN has been read.
    pub(super) eof: bool,
    /// Input that was offered lies in the kernel, because there was no buffer to keep it in.
    pub(super) held_back: bool,
}

impl Socket {
    pub(super) fn new(fd: OwnedFd) -> Socket {
        Socket {
            fd,
            readable: false,
            writable: true,
            polls_out: false,
            peer_done: false,
            eof: false,
            held_back: false,
        }
    }

    /// Reads into `buf`; 0 if there is nothing (any more).
    fn recv(&mut self, buf: &mut [u8], flags: RecvFlags) -> Result<usize, Closed> {
        let asked = buf.len();
        match rustix::net::recv(&self.fd, buf, flags) {
            Ok((_, 0)) => {
                self.eof = true;
                self.readable = false;
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

/// What a connection waits for after a visit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The next event of its socket, or its deadline.
    Event,
    /// Its next turn: it has used up this one.
    Turn,
    /// Room in the pool for answers, which others hold.
    Room,
    /// Its next event, or a buffer for input that lies in the kernel: the larger kind if it holds one already.
    Buffer,
    /// Nothing: it is over.
    Over(Closed),
}

/// Does all there is to do for `session`, up to the bound of one visit. `scratch` is [`INPUT_BYTES`] long.
pub(super) fn visit<A: Application>(
    host: &mut Host<A>,
    session: &mut Session<A, Socket>,
    scratch: &mut [u8],
) -> Next {
    for _ in 0..STEPS {
        match step(host, session, scratch) {
            Ok(None) => {}
            Ok(Some(next)) => return next,
            Err(how) => return Next::Over(how),
        }
    }
    host.counters.turns_used_up += 1;
    Next::Turn
}

/// One step; `None` if there may be another.
fn step<A: Application>(
    host: &mut Host<A>,
    session: &mut Session<A, Socket>,
    scratch: &mut [u8],
) -> Result<Option<Next>, Closed> {
    if session.phase != Phase::Aborted && session.io.writable && !session.queue.is_empty() {
        write(host, session, scratch)?;
    }
    match session.phase {
        Phase::Aborted => Err(Closed::Aborted),
        Phase::Open if session.wants_room => Ok(resume(host, session)),
        Phase::Open | Phase::Closing if !session.queue.is_empty() => Ok(Some(Next::Event)),
        Phase::Open if session.io.eof => Err(Closed::Finished),
        Phase::Open if !session.io.readable && session.io.held_back => Ok(Some(Next::Buffer)),
        Phase::Open if !session.io.readable => Ok(Some(Next::Event)),
        Phase::Open => read(host, session, scratch).map(|()| None),
        Phase::Closing if session.io.eof => Err(Closed::Finished),
        Phase::Closing => {
            // After the peer's FIN only what it sent before is still to be read; closing sends ours then.
            if !session.io.peer_done {
                rustix::net::shutdown(&session.io.fd, Shutdown::Write).map_err(|_| Closed::ResetByPeer)?;
            }
            host.linger(session);
            Ok(None)
        }
        Phase::Lingering => discard(host, session, scratch),
    }
}

/// Writes what is queued, in one call, and gives back what the socket took.
pub(super) fn write<A: Application>(
    host: &mut Host<A>,
    session: &mut Session<A, Socket>,
    scratch: &mut [u8],
) -> Result<(), Closed> {
    let queued = session.queue.len();
    host.counters.write_calls += 1;
    let sent = match send(&session.io.fd, &session.queue, &host.pool, scratch) {
        Ok(sent) => sent,
        Err(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM) => 0,
        Err(Errno::INTR) => return Ok(()),
        Err(Errno::TIMEDOUT) => return Err(Closed::TimedOut),
        Err(_) => return Err(Closed::ResetByPeer),
    };
    session.io.writable = sent as u64 == queued;
    host.counters.socket_full += u64::from(!session.io.writable);
    host.sent(session, sent);
    Ok(())
}

/// Hands the whole queue to the kernel: it has no more ranges than one call takes.
fn send<B: Blob>(fd: &OwnedFd, queue: &Queue, pool: &Pool<B>, scratch: &mut [u8]) -> Result<usize, Errno> {
    let flags = SendFlags::NOSIGNAL;
    let mut slices = queue.slices(pool);
    let Some(first) = slices.next() else { return Ok(0) };
    if first.len() as u64 == queue.len() {
        return rustix::net::send(fd, first, flags);
    }
    let slices = std::iter::once(first).chain(slices);
    if queue.len() <= GATHER_BYTES as u64 {
        let mut filled = 0;
        for slice in slices {
            scratch[filled..filled + slice.len()].copy_from_slice(slice);
            filled += slice.len();
        }
        return rustix::net::send(fd, &scratch[..filled], flags);
    }
    let mut ranges = [IoSlice::new(&[]); QUEUE_ENTRIES as usize];
    let mut count = 0;
    for (range, slice) in ranges.iter_mut().zip(slices) {
        *range = IoSlice::new(slice);
        count += 1;
    }
    rustix::net::sendmsg(fd, &ranges[..count], &mut SendAncillaryBuffer::default(), flags)
}

/// Calls `resumed` if there is room, and says what to wait for if there is none.
fn resume<A: Application>(host: &mut Host<A>, session: &mut Session<A, Socket>) -> Option<Next> {
    if host.has_room(session) {
        host.resumed(session);
        return None;
    }
    if !session.queue.is_empty() {
        return Some(Next::Event);
    }
    host.counters.send_pool_exhausted += 1;
    Some(Next::Room)
}

/// Reads once and offers what came, with what was kept before it.
fn read<A: Application>(
    host: &mut Host<A>,
    session: &mut Session<A, Socket>,
    scratch: &mut [u8],
) -> Result<(), Closed> {
    host.counters.read_calls += 1;
    let spare = session.kept.spare(&mut host.inputs);
    if !spare.is_empty() {
        let n = session.io.recv(spare, RecvFlags::empty())?;
        if n > 0 {
            host.counters.bytes_received += n as u64;
            session.io.held_back = false;
            session.kept.extend(&mut host.inputs, n);
            host.offer_kept(session);
        }
        return Ok(());
    }
    // Read no more than can be kept if none of it is consumed.
    let room = if session.kept.is_empty() { host.inputs.largest_free() } else { 0 };
    if room == 0 {
        return peek(host, session, scratch);
    }
    let n = session.io.recv(&mut scratch[..room], RecvFlags::empty())?;
    if n > 0 {
        host.counters.bytes_received += n as u64;
        session.io.held_back = false;
        let consumed = host.offer(session, &scratch[..n]);
        host.keep(session, &scratch[consumed..n]);
    }
    Ok(())
}

/// Offers what is kept with what lies in the kernel, and takes from both only what is consumed: the way to go on
/// when there is no buffer to keep the rest in.
///
/// What is left there must not stay for ever: a few bytes can pin a buffer that fills the receive window, and then
/// nothing follows that would complete the request. So the connection also waits for a buffer.
fn peek<A: Application>(
    host: &mut Host<A>,
    session: &mut Session<A, Socket>,
    scratch: &mut [u8],
) -> Result<(), Closed> {
    let kept = session.kept.len();
    scratch[..kept].copy_from_slice(session.kept.bytes(&host.inputs));
    let n = session.io.recv(&mut scratch[kept..INPUT_BYTES], RecvFlags::PEEK)?;
    if n == 0 {
        return Ok(());
    }
    host.counters.input_pool_exhausted += 1;
    let consumed = host.offer(session, &scratch[..kept + n]);
    let from_kernel = consumed.saturating_sub(kept);
    host.consume(session, consumed.min(kept));
    if from_kernel > 0 {
        take(host, session, &mut scratch[..from_kernel])?;
    }
    session.io.held_back = from_kernel < n;
    if !session.io.held_back {
        return Ok(());
    }
    // Look again, unless that would show the same. Then a new edge or a free buffer is what helps, or nothing more
    // will come and what is left is not a whole request.
    session.io.readable = consumed > 0 || session.wants_room;
    session.io.eof = !session.io.readable && session.io.peer_done;
    Ok(())
}

/// Removes from the kernel the input that was read there. It is there: it was just seen.
fn take<A: Application>(
    host: &mut Host<A>,
    session: &mut Session<A, Socket>,
    seen: &mut [u8],
) -> Result<(), Closed> {
    let readable = session.io.readable;
    host.counters.read_calls += 1;
    host.counters.bytes_received += seen.len() as u64;
    let asked = seen.len();
    let taken = session.io.recv(seen, RecvFlags::TRUNC)?;
    session.io.readable = readable;
    // Anything else would offer bytes twice.
    if taken == asked { Ok(()) } else { Err(Closed::Aborted) }
}

/// Reads on until the peer has closed, and drops what comes.
fn discard<A: Application>(
    host: &mut Host<A>,
    session: &mut Session<A, Socket>,
    scratch: &mut [u8],
) -> Result<Option<Next>, Closed> {
    if session.io.eof {
        return Err(Closed::Finished);
    }
    if !session.io.readable {
        return Ok(Some(Next::Event));
    }
    host.counters.read_calls += 1;
    host.counters.bytes_received += session.io.recv(scratch, RecvFlags::TRUNC)? as u64;
    Ok(None)
}

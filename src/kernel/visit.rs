//! Visits a connection: reads, answers and writes when its socket may be ready or a deadline has
//! passed.
//!
//! A visit moves bytes from the socket to the application and from the send queue to the socket,
//! and returns what to wait for. Sockets are watched edge-triggered, which saves calls to change
//! the registration. [`Socket`] stores what is still to be read or may be written. A short read has
//! emptied the socket, so no second read is needed; later input is a new edge. The FIN of the peer
//! is the last edge (EPOLLRDHUP): from then on reads continue until they return 0. io_uring
//! receives and sends without most visits. Bytes that io_uring has received but could not deliver
//! are read here first.
//!
//! While answers wait for the socket, or the application for send space, nothing is read. That
//! throttles a peer that sends without reading. A visit is bounded: in bytes of input, in bytes of
//! answers, and in the work of the application, which yields. A connection with more to do returns
//! to the run queue.
//!
//! The last bytes are sent with MSG_MORE and wait for the FIN, which goes in the same segment. The
//! socket is shut down in the visit in which it accepts all of them. It is closed once the peer's
//! FIN has been read. An earlier close(2), with input unread or still to come, sends a reset that
//! can destroy the answer (RFC 9112 §9.6).

use super::INPUT_BYTES;
use super::session::{AppDriver, Phase, Session};
use super::socket::{Part, Socket};
use crate::handler::Handler;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown};
use simoom_io::send::{Pool, QUEUE_ENTRIES, Queue};
use simoom_io::{Blob, Closed};
use std::io::IoSlice;
use std::os::fd::OwnedFd;

/// Reads, or calls of `resumed`, in one visit: at most 128 KiB of input.
const STEPS: usize = 8;
/// While the run queue is crowded, a visit ends with the answers to this many bytes of input.
const CROWDED_BYTES: usize = 512;
/// Bytes of answers in one call: the kernel copies 64 KiB in about 10 µs. A socket buffer takes
/// megabytes at once, so a few long answers would delay all others. The rest is sent in a later
/// iteration.
const WRITE_MAX_BYTES: usize = 256 << 10;
/// The same while the run queue is crowded: hundreds of long answers pass before the next small
/// one.
pub(super) const CROWDED_WRITE_MAX_BYTES: usize = 64 << 10;
/// Answers of several ranges are copied into one up to this length: one short range costs the
/// kernel less.
pub(super) const GATHER_BYTES: usize = 2048;

/// The event that a connection waits for after a visit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The next event of its socket, or a deadline.
    Event,
    /// The next iteration: the visit reached its bound.
    Iteration,
    /// Space in the send pool.
    SendSpace,
    /// The next event, or a free input buffer for input in the kernel: a large one if the
    /// connection has a small one.
    Buffer,
    /// Nothing: the connection has ended.
    Over(Closed),
}

/// Scratch memory and state of a visit.
pub(super) struct VisitContext<'a, P: Part> {
    /// Buffer of [`INPUT_BYTES`] to read into.
    pub(super) scratch: &'a mut [u8],
    pub(super) shared: &'a mut P::Shared,
    /// Whether more than `CROWD` connections are queued or have events not handled yet.
    pub(super) is_crowded: bool,
    /// Maximum of bytes for the next read.
    read_max: usize,
}

/// Bytes of answers in one call: fewer while the run queue is crowded.
pub(super) fn write_max(is_crowded: bool) -> usize {
    if is_crowded { CROWDED_WRITE_MAX_BYTES } else { WRITE_MAX_BYTES }
}

impl<'a, P: Part> VisitContext<'a, P> {
    pub(super) fn new(scratch: &'a mut [u8], shared: &'a mut P::Shared, is_crowded: bool) -> Self {
        let read_max = if is_crowded { CROWDED_BYTES } else { INPUT_BYTES };
        VisitContext { scratch, shared, is_crowded, read_max }
    }
}

/// Reads, answers and writes for `session`, up to the bound of one visit. If the run queue is
/// crowded, the bound is a few answers.
pub(super) fn visit<A: Handler, P: Part>(
    app_driver: &mut AppDriver<A>,
    session: &mut Session<A, Socket<P>>,
    context: &mut VisitContext<'_, P>,
) -> Next {
    let mut has_answered = false;
    app_driver.iterate(session);
    for _ in 0..STEPS {
        if has_answered
            && context.is_crowded
            && session.io.readable
            && session.phase() == Phase::Open
        {
            match write_if_any(app_driver, session, context) {
                Ok(()) => break,
                Err(how) => return Next::Over(how),
            }
        }
        let reads = session.io.readable;
        match step(app_driver, session, context) {
            Ok(None) => {}
            Ok(Some(Next::Iteration)) => break,
            Ok(Some(next)) => return next,
            Err(how) => return Next::Over(how),
        }
        has_answered |= reads && !session.connection.queue.is_empty();
        // Input without an answer is a part of a long request: read more at a time.
        context.read_max = INPUT_BYTES.min(2 * context.read_max);
    }
    app_driver.counters.shares_used_up += 1;
    Next::Iteration
}

/// Runs one step. `None` if another may follow.
fn step<A: Handler, P: Part>(
    app_driver: &mut AppDriver<A>,
    session: &mut Session<A, Socket<P>>,
    context: &mut VisitContext<'_, P>,
) -> Result<Option<Next>, Closed> {
    write_if_any(app_driver, session, context)?;
    if session.io.writable
        && !session.connection.queue.is_empty()
        && matches!(session.phase(), Phase::Open | Phase::Closing)
    {
        return Ok(Some(Next::Iteration));
    }
    let flow = session.connection.flow;
    if session.io.eof && !flow.is_finished() {
        app_driver.finish(session);
    }
    match session.phase() {
        Phase::Aborted => Err(Closed::Aborted),
        Phase::Open if flow.has_yielded() => Ok(Some(Next::Iteration)),
        Phase::Open
            if flow.wants_capacity()
                && flow.takes_input()
                && session.io.readable
                && !session.io.eof =>
        {
            read(app_driver, session, context).map(|()| None)
        }
        Phase::Open if flow.wants_capacity() => Ok(resume(app_driver, session)),
        Phase::Open | Phase::Closing if !session.connection.queue.is_empty() => {
            Ok(Some(Next::Event))
        }
        // The input buffer is delivered after the deadline of the application, even after the
        // peer's FIN.
        Phase::Open if flow.reads_later() => Ok(Some(Next::Event)),
        Phase::Open if !session.io.readable && session.io.held_back => Ok(Some(Next::Buffer)),
        Phase::Open if !session.io.readable => Ok(Some(Next::Event)),
        Phase::Open => read(app_driver, session, context).map(|()| None),
        Phase::Closing if session.io.eof => Err(Closed::Finished),
        Phase::Closing => {
            rustix::net::shutdown(&session.io.fd, Shutdown::Write)
                .map_err(|_| Closed::ResetByPeer)?;
            app_driver.linger(session);
            Ok(None)
        }
        Phase::Lingering => discard(app_driver, session, context),
    }
}

fn write_if_any<A: Handler, P: Part>(
    app_driver: &mut AppDriver<A>,
    session: &mut Session<A, Socket<P>>,
    context: &mut VisitContext<'_, P>,
) -> Result<(), Closed> {
    if session.phase() != Phase::Aborted
        && session.io.writable
        && !session.connection.queue.is_empty()
    {
        write(app_driver, session, context)?;
    }
    Ok(())
}

/// Writes up to [`write_max`] bytes of the queue in one call, and frees what the socket accepted.
pub(super) fn write<A: Handler, P: Part>(
    app_driver: &mut AppDriver<A>,
    session: &mut Session<A, Socket<P>>,
    context: &mut VisitContext<'_, P>,
) -> Result<(), Closed> {
    let given = session.connection.queue.len().min(write_max(context.is_crowded) as u64);
    app_driver.counters.write_calls += 1;
    let more = if session.sends_last_with(given) { SendFlags::MORE } else { SendFlags::empty() };
    let Session { io, connection, .. } = session;
    let sent = match send(
        &io.fd,
        &connection.queue,
        given as usize,
        &app_driver.pool,
        more,
        context.scratch,
    ) {
        Ok(sent) => sent,
        Err(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM) => 0,
        Err(Errno::INTR) => return Ok(()),
        Err(Errno::TIMEDOUT) => return Err(Closed::TimedOut),
        Err(_) => return Err(Closed::ResetByPeer),
    };
    session.io.writable = sent as u64 == given;
    app_driver.counters.socket_full += u64::from(!session.io.writable);
    app_driver.sent(session, sent);
    Ok(())
}

/// Sends the first `len` bytes of the queue: it has no more ranges than one call accepts.
fn send<B: Blob>(
    fd: &OwnedFd,
    queue: &Queue,
    len: usize,
    pool: &Pool<B>,
    more: SendFlags,
    scratch: &mut [u8],
) -> Result<usize, Errno> {
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT | more;
    let mut slices = within(queue.slices(pool), len);
    let Some(first) = slices.next() else { return Ok(0) };
    if first.len() == len {
        return rustix::net::send(fd, first, flags);
    }
    if len <= GATHER_BYTES {
        let filled = queue.read_at(pool, 0, &mut scratch[..len]);
        return rustix::net::send(fd, &scratch[..filled], flags);
    }
    let slices = std::iter::once(first).chain(slices);
    let mut ranges = [IoSlice::new(&[]); QUEUE_ENTRIES as usize];
    let mut count = 0;
    for (range, slice) in ranges.iter_mut().zip(slices) {
        *range = IoSlice::new(slice);
        count += 1;
    }
    rustix::net::sendmsg(fd, &ranges[..count], &mut SendAncillaryBuffer::default(), flags)
}

/// The first `bytes` of `slices`.
pub(super) fn within<'a>(
    slices: impl Iterator<Item = &'a [u8]>,
    bytes: usize,
) -> impl Iterator<Item = &'a [u8]> {
    let mut left = bytes;
    slices.map_while(move |slice| {
        let part = &slice[..slice.len().min(left)];
        left -= part.len();
        (!part.is_empty()).then_some(part)
    })
}

/// Calls `resumed` if there is send space. Otherwise returns what to wait for.
fn resume<A: Handler, P>(
    app_driver: &mut AppDriver<A>,
    session: &mut Session<A, Socket<P>>,
) -> Option<Next> {
    if app_driver.resume(session) {
        return None;
    }
    if !session.connection.queue.is_empty() {
        return Some(Next::Event);
    }
    app_driver.counters.send_pool_exhausted += 1;
    Some(Next::SendSpace)
}

/// Reads once and delivers the input buffer with the new bytes.
fn read<A: Handler, P: Part>(
    app_driver: &mut AppDriver<A>,
    session: &mut Session<A, Socket<P>>,
    context: &mut VisitContext<'_, P>,
) -> Result<(), Closed> {
    app_driver.counters.read_calls += 1;
    let spare = session.connection.input.spare(&mut app_driver.inputs);
    if !spare.is_empty() {
        let max = spare.len().min(context.read_max);
        let spare = &mut spare[..max];
        let n = session.io.recv(context.shared, spare, RecvFlags::empty())?;
        if n > 0 {
            app_driver.counters.bytes_received += n as u64;
            session.io.held_back = false;
            app_driver.receive_held(session, n);
        }
        return Ok(());
    }
    // Read no more than an input buffer can hold if nothing is consumed.
    let room =
        if session.connection.input.is_empty() { app_driver.inputs.largest_free() } else { 0 };
    if room == 0 {
        return peek(app_driver, session, context);
    }
    let room = room.min(context.read_max);
    let n = session.io.recv(context.shared, &mut context.scratch[..room], RecvFlags::empty())?;
    if n > 0 {
        app_driver.counters.bytes_received += n as u64;
        session.io.held_back = false;
        let taken = app_driver.receive(session, &context.scratch[..n]);
        assert_eq!(taken, n, "more was read than a free buffer holds");
    }
    Ok(())
}

/// Delivers the input buffer with input that is peeked in the kernel, and removes only the consumed
/// bytes. Used when no input buffer is free for the rest.
///
/// Bytes must not stay in the kernel for ever. A few bytes can pin a buffer that fills the receive
/// window, and then the rest of the request cannot arrive. So the connection also waits for a
/// buffer.
fn peek<A: Handler, P: Part>(
    app_driver: &mut AppDriver<A>,
    session: &mut Session<A, Socket<P>>,
    context: &mut VisitContext<'_, P>,
) -> Result<(), Closed> {
    let buffered = session.connection.input.len();
    context.scratch[..buffered].copy_from_slice(session.connection.input.bytes(&app_driver.inputs));
    let n = session.io.recv(
        context.shared,
        &mut context.scratch[buffered..INPUT_BYTES],
        RecvFlags::PEEK,
    )?;
    if n == 0 {
        return Ok(());
    }
    app_driver.counters.input_pool_exhausted += 1;
    let consumed = app_driver.receive_peeked(session, &context.scratch[..buffered + n]);
    let from_kernel = consumed.saturating_sub(buffered);
    if from_kernel > 0 {
        take(app_driver, session, from_kernel, context)?;
    }
    session.io.held_back = from_kernel < n;
    if consumed > 0 {
        app_driver.limit_wait(session, false);
    }
    if !session.io.held_back {
        return Ok(());
    }
    // Read again if anything was consumed. Otherwise a new edge or a free buffer is needed, or the
    // rest is an incomplete request.
    session.io.readable = consumed > 0 || session.connection.flow.is_paused();
    session.io.eof = !session.io.readable && session.io.peer_done;
    Ok(())
}

/// Removes `seen` bytes, which were peeked before, from the socket.
fn take<A: Handler, P: Part>(
    app_driver: &mut AppDriver<A>,
    session: &mut Session<A, Socket<P>>,
    seen: usize,
    context: &mut VisitContext<'_, P>,
) -> Result<(), Closed> {
    let readable = session.io.readable;
    app_driver.counters.read_calls += 1;
    app_driver.counters.bytes_received += seen as u64;
    let taken = session.io.recv(context.shared, &mut context.scratch[..seen], RecvFlags::TRUNC)?;
    session.io.readable = readable;
    // Fewer bytes would be delivered twice.
    if taken == seen { Ok(()) } else { Err(Closed::Aborted) }
}

/// Reads and discards input until the peer has closed.
fn discard<A: Handler, P: Part>(
    app_driver: &mut AppDriver<A>,
    session: &mut Session<A, Socket<P>>,
    context: &mut VisitContext<'_, P>,
) -> Result<Option<Next>, Closed> {
    if session.io.eof {
        return Err(Closed::Finished);
    }
    if !session.io.readable {
        return Ok(Some(Next::Event));
    }
    app_driver.counters.read_calls += 1;
    let dropped = session.io.recv(context.shared, context.scratch, RecvFlags::TRUNC)?;
    if app_driver.dropped(session, dropped) { Ok(None) } else { Err(Closed::TimedOut) }
}

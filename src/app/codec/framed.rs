//! The adapter: bytes in, frames to the service, its answers out as there is capacity.

use super::gathered::Gathered;
use super::service::{Call, Service};
use super::{Codec, Decoded, Output};
use crate::app::Blob;
use crate::app::http::Timeouts;
use crate::app::http::conn::{Deadline, Idle, Waiting};
use crate::app::router::Peer;
use crate::handler::{Handler, Seconds};
use crate::metrics::Metric;
use simoom_io::input::OVERFULL_BYTES;
use simoom_io::{Application, Closed, Duration, Opened, Reply};

/// A frame that may become longer than this is gathered: a transport keeps twice as much.
const KEPT_MAX_BYTES: usize = OVERFULL_BYTES / 2;
/// Bytes that are gathered at a time where a codec does not know how many are missing.
const GATHER_BYTES: usize = 4 << 10;

/// What a service is told of a frame that is longer than its codec allows.
const TOO_LONG: &str = "frame too long";

/// What can be chosen about the adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// From the first byte of a frame to its last; then the connection closes. 60 s by default.
    pub frame_timeout: Duration,
    /// Without a frame, or with answers queued of which the client takes nothing; then the
    /// connection closes, or is reset. An hour by default.
    pub idle_timeout: Duration,
    /// Most bytes of all frames together that one worker gathers at a time. A frame beyond it is
    /// malformed. 64 MiB by default. The memory plan does not have it: add it with
    /// [`Builder::memory`](crate::Builder::memory), for each worker.
    pub gathered_max_bytes: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            frame_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(3600),
            gathered_max_bytes: 64 << 20,
        }
    }
}

simoom_io::counters! {
    /// What the adapter of one worker counts; names are those they are published by.
    pub struct Counters {
        /// Connections to a handler of frames that were opened.
        framed_connections,
        /// Frames decoded by a handler of frames.
        framed_frames,
        /// Frames that were malformed or too long, and ended their connection.
        framed_malformed,
        /// Frames gathered because they exceed what a transport keeps.
        framed_gathered,
        /// Answers that waited for space in the send queue.
        framed_held_answers,
        /// Connections closed because a frame did not arrive in time.
        framed_frame_timeouts,
        /// Connections closed because no frame arrived.
        framed_idle_timeouts,
        /// Connections to a handler of frames reset because the client stopped reading.
        framed_stalled,
    }
}

/// What the adapter keeps for one connection.
pub struct Conn<Scan, Session> {
    scan: Scan,
    session: Session,
    /// The codec is asked again once there are this many bytes.
    wanted: u32,
    closing: bool,
    deadline: Deadline,
    /// Is there only while a long frame comes, or frames wait behind a long answer.
    gathered: Option<Box<Gathered>>,
    /// What there was no capacity for.
    rest: Option<Box<Output>>,
    peer: Peer,
}

impl<Scan: Default, Session: Default> Default for Conn<Scan, Session> {
    fn default() -> Self {
        Conn {
            scan: Scan::default(),
            session: Session::default(),
            wanted: 0,
            closing: false,
            deadline: Deadline::default(),
            gathered: None,
            rest: None,
            peer: Peer::default(),
        }
    }
}

/// An application of a codec and a service. See [`super`].
pub struct Framed<C, S> {
    codec: C,
    service: S,
    options: Options,
    /// The answers of the call at hand.
    output: Output,
    /// Bytes that are gathered.
    held: usize,
    draining: bool,
    seconds: Seconds,
    counters: Counters,
}

type ConnOf<C, S> = Conn<<C as Codec>::Scan, <S as Service<C>>::Session>;

/// How one step through the input went.
enum Step {
    /// So many bytes are consumed, or frames gathered before were handled.
    Took(usize),
    /// More input is needed.
    Wait(Waiting),
}

/// The frames that gathered bytes, or else `bytes`, begin with.
fn input<'a>(gathered: &'a Option<Box<Gathered>>, bytes: &'a [u8]) -> (&'a [u8], bool) {
    match gathered {
        Some(gathered) => (gathered.bytes(), true),
        None => (bytes, false),
    }
}

impl<C: Codec, S: Service<C>> Framed<C, S> {
    /// An application that decodes with `codec` and answers with `service`; one for each worker.
    pub fn new(codec: C, service: S) -> Framed<C, S> {
        Framed {
            codec,
            service,
            options: Options::default(),
            output: Output::default(),
            held: 0,
            draining: false,
            seconds: Seconds::of(0),
            counters: Counters::default(),
        }
    }

    /// Replaces the options.
    pub fn with_options(mut self, options: Options) -> Framed<C, S> {
        self.options = options;
        self
    }

    /// The service of this worker.
    pub fn service(&self) -> &S {
        &self.service
    }

    /// What was counted so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Bytes that are gathered of frames that are not complete.
    pub fn gathered_bytes(&self) -> usize {
        self.held
    }

    fn advance(
        &mut self,
        conn: &mut ConnOf<C, S>,
        bytes: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> usize {
        let mut at = 0;
        let waiting = loop {
            if !self.send_rest(conn, reply) {
                break Waiting::Idle;
            }
            if conn.closing {
                at = bytes.len();
                break Waiting::Idle;
            }
            if !reply.has_capacity() {
                break Waiting::Idle;
            }
            match self.step(conn, &bytes[at..], reply) {
                Step::Took(n) => at += n,
                Step::Wait(waiting) => break waiting,
            }
        };
        self.wait(conn, waiting, reply);
        at
    }

    /// Decodes and answers a frame, if there is one.
    fn step(&mut self, conn: &mut ConnOf<C, S>, bytes: &[u8], reply: &mut Reply<'_, Blob>) -> Step {
        let (input, is_gathered) = input(&conn.gathered, bytes);
        if input.is_empty() {
            return Step::Wait(Waiting::Idle);
        }
        let (available, max) = (input.len(), self.codec.max_frame_bytes());
        let answered = {
            let decoded = match (conn.wanted as usize).saturating_sub(available) {
                0 => self.codec.decode(&input[..available.min(max)], &mut conn.scan),
                missing => Decoded::Missing(missing),
            };
            match decoded {
                Decoded::Frame(frame, len) => {
                    assert!((1..=available).contains(&len), "a frame of {len} bytes");
                    // A panic may have left half an answer of another connection.
                    self.output.clear();
                    let mut call = Call {
                        codec: &self.codec,
                        output: &mut self.output,
                        close: self.draining,
                        seconds: self.seconds,
                        peer: conn.peer.get(),
                    };
                    self.service.call(&mut conn.session, frame, &mut call);
                    conn.closing |= call.close;
                    Ok(len)
                }
                Decoded::Missing(missing) => Err((missing.max(1), None)),
                Decoded::Malformed(reason) => Err((0, Some(reason))),
            }
        };
        match answered {
            Ok(len) => self.answered(conn, len, is_gathered, reply),
            Err((_, Some(reason))) => self.refuse(conn, &reason, bytes, reply),
            Err((missing, None)) if available.saturating_add(missing) > max => {
                self.refuse(conn, TOO_LONG, bytes, reply)
            }
            Err((missing, None)) => {
                let wanted = available + missing;
                conn.wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
                self.wait_or_gather(conn, wanted, missing, bytes, reply)
            }
        }
    }

    /// A frame of `len` bytes was answered: queues that, and goes on behind it.
    fn answered(
        &mut self,
        conn: &mut ConnOf<C, S>,
        len: usize,
        is_gathered: bool,
        reply: &mut Reply<'_, Blob>,
    ) -> Step {
        self.counters.framed_frames += 1;
        (conn.wanted, conn.scan) = (0, C::Scan::default());
        conn.deadline.waiting = Waiting::Unset;
        self.deliver(conn, reply);
        if !is_gathered {
            return Step::Took(len);
        }
        self.consume(conn, len);
        Step::Took(0)
    }

    /// A frame is not complete: leaves it to the transport, or gathers it if it gets long.
    fn wait_or_gather(
        &mut self,
        conn: &mut ConnOf<C, S>,
        wanted: usize,
        missing: usize,
        bytes: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> Step {
        if bytes.is_empty() || (conn.gathered.is_none() && wanted <= KEPT_MAX_BYTES) {
            return Step::Wait(Waiting::Head);
        }
        let n = match &conn.gathered {
            Some(_) => bytes.len().min(missing.max(GATHER_BYTES)),
            None => bytes.len(),
        };
        if self.held + n > self.options.gathered_max_bytes {
            return self.refuse(conn, "out of memory", bytes, reply);
        }
        self.counters.framed_gathered += u64::from(conn.gathered.is_none());
        let gathered = conn.gathered.get_or_insert_default();
        self.held -= gathered.held();
        gathered.append(&bytes[..n]);
        self.held += gathered.held();
        Step::Took(n)
    }

    /// Frames that were gathered are handled up to there.
    fn consume(&mut self, conn: &mut ConnOf<C, S>, n: usize) {
        let Some(gathered) = &mut conn.gathered else { return };
        self.held -= gathered.held();
        gathered.consume(n);
        self.held += gathered.held();
        if gathered.is_empty() {
            conn.gathered = None;
        }
    }

    /// Queues what the service has answered; what there is no capacity for waits.
    fn deliver(&mut self, conn: &mut ConnOf<C, S>, reply: &mut Reply<'_, Blob>) {
        if self.output.send(reply) {
            self.output.clear();
            if conn.closing {
                reply.close();
            }
        } else {
            self.counters.framed_held_answers += 1;
            conn.rest = Some(Box::new(std::mem::take(&mut self.output)));
        }
    }

    /// Queues more of an answer that waits; returns whether none does any more.
    fn send_rest(&mut self, conn: &mut ConnOf<C, S>, reply: &mut Reply<'_, Blob>) -> bool {
        let Some(rest) = &mut conn.rest else { return true };
        let queued = reply.queued();
        let is_sent = rest.send(reply);
        if reply.queued() > queued {
            // There was capacity again, so the client has taken some: its time begins anew.
            conn.deadline.waiting = Waiting::Unset;
        }
        if is_sent {
            conn.rest = None;
            if conn.closing {
                reply.close();
            }
        }
        is_sent
    }

    /// A frame is malformed or too long: the connection ends.
    #[cold]
    fn refuse(
        &mut self,
        conn: &mut ConnOf<C, S>,
        reason: &str,
        bytes: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> Step {
        self.counters.framed_malformed += 1;
        self.output.clear();
        let mut call = Call {
            codec: &self.codec,
            output: &mut self.output,
            close: true,
            seconds: self.seconds,
            peer: conn.peer.get(),
        };
        self.service.malformed(&mut conn.session, reason, &mut call);
        conn.closing = true;
        conn.deadline.waiting = Waiting::Unset;
        self.release(conn);
        self.deliver(conn, reply);
        Step::Took(bytes.len())
    }

    fn release(&mut self, conn: &mut ConnOf<C, S>) {
        if let Some(gathered) = conn.gathered.take() {
            self.held -= gathered.held();
        }
    }

    fn wait(&self, conn: &mut ConnOf<C, S>, waiting: Waiting, reply: &mut Reply<'_, Blob>) {
        let Options { frame_timeout: frame, idle_timeout: idle, .. } = self.options;
        conn.deadline.wait(waiting, &Timeouts { head: frame, body: frame, idle }, reply);
    }
}

impl<C: Codec, S: Service<C>> Application for Framed<C, S> {
    type Blob = Blob;
    type Conn = ConnOf<C, S>;

    fn wants_ends(&self, _: u16) -> bool {
        true
    }

    fn opened(&mut self, conn: &mut Self::Conn, opened: Opened, reply: &mut Reply<'_, Blob>) {
        self.counters.framed_connections += 1;
        conn.peer = opened.ends.map_or_else(Peer::default, |ends| Peer::new(ends.remote));
        self.output.clear();
        let mut call = Call {
            codec: &self.codec,
            output: &mut self.output,
            close: false,
            seconds: self.seconds,
            peer: conn.peer.get(),
        };
        self.service.opened(&mut conn.session, &mut call);
        conn.closing = call.close;
        self.deliver(conn, reply);
        self.wait(conn, Waiting::Idle, reply);
    }

    fn received(
        &mut self,
        conn: &mut Self::Conn,
        bytes: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> usize {
        self.advance(conn, bytes, reply)
    }

    fn overfull(&mut self, conn: &mut Self::Conn, bytes: &[u8], reply: &mut Reply<'_, Blob>) {
        self.refuse(conn, TOO_LONG, bytes, reply);
        self.wait(conn, Waiting::Idle, reply);
    }

    fn resumed(&mut self, conn: &mut Self::Conn, reply: &mut Reply<'_, Blob>) {
        self.advance(conn, b"", reply);
    }

    fn timeout(&mut self, conn: &mut Self::Conn, reply: &mut Reply<'_, Blob>) {
        let idle = conn.deadline.idle(reply);
        match (conn.deadline.waiting, idle) {
            (_, Idle::Stalled) => {
                self.counters.framed_stalled += 1;
                reply.abort();
            }
            (Waiting::Head, _) => {
                self.counters.framed_frame_timeouts += 1;
                reply.close();
            }
            (_, Idle::Over) => {
                self.counters.framed_idle_timeouts += u64::from(!conn.closing);
                reply.close();
            }
            (_, Idle::Sending) => {
                conn.deadline.waiting = Waiting::Unset;
                return self.wait(conn, Waiting::Idle, reply);
            }
        }
        conn.closing = true;
    }

    fn closed(&mut self, conn: &mut Self::Conn, _: Closed) {
        self.release(conn);
        conn.rest = None;
    }
}

impl<C: Codec, S: Service<C>> Handler for Framed<C, S> {
    fn clock(&mut self, seconds: Seconds) {
        self.seconds = seconds;
        self.service.clock(seconds);
    }

    fn drain(&mut self) {
        self.draining = true;
    }

    fn idle(&self, conn: &Self::Conn) -> bool {
        conn.gathered.is_none() && conn.rest.is_none()
    }

    fn is_sound(&self) -> bool {
        self.service.is_sound()
    }

    fn publish(&self, sink: &mut dyn FnMut(&'static Metric, u64)) {
        for (metric, value) in self.counters.iter() {
            sink(metric, value);
        }
        self.service.publish(sink);
    }
}

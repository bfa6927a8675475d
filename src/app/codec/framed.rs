//! The adapter: decodes frames, calls the service, and sends its answers as capacity allows.

use super::gathered::Gathered;
use super::service::{Call, Service};
use super::{Codec, Decoded, Output};
use crate::app::Blob;
use crate::app::http::Timeouts;
use crate::app::http::connection::{Deadline, Idle, Waiting};
use crate::app::router::Peer;
use crate::handler::{Handler, Seconds};
use crate::metrics::Metric;
use crate::work::Share;
use simoom_io::input::OVERFULL_BYTES;
use simoom_io::{Application, Closed, Duration, Opened, Reply};

/// Frames that may exceed this size are gathered. A transport buffers twice this size.
const KEPT_MAX_BYTES: usize = OVERFULL_BYTES / 2;
/// Allocation step if a codec does not know how many bytes are missing.
const GATHER_BYTES: usize = 4 << 10;

/// Shared bytes in the answers of a connection that answers ahead. A store may have pinned them.
const SHARED_AHEAD_MAX_BYTES: usize = 64 << 10;

/// The error for a frame that exceeds the codec's limit.
const TOO_LONG: &str = "frame too long";

/// Settings of the adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Time for a whole frame, from its first byte. Then the connection closes. The default is 60
    /// s.
    pub frame_timeout: Duration,
    /// Idle timeout: time without a frame, or with queued answers of which the client reads
    /// nothing. Then the connection closes or is reset. The default is 1 hour.
    pub idle_timeout: Duration,
    /// Limit of all frames that one worker gathers at a time, in bytes. A frame above it counts as
    /// malformed. The default is 64 MiB. The memory plan does not include it: add it with
    /// [`Builder::memory`](crate::Builder::memory), for each worker.
    pub gathered_max_bytes: usize,
    /// Limit of all answers of one worker that wait for clients to read, in bytes. One connection
    /// may hold a quarter. A client may so send many frames before it reads an answer. Above the
    /// limit, frames wait until their client reads. The default is 64 MiB. The memory plan does not
    /// include it.
    pub answers_max_bytes: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            frame_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(3600),
            gathered_max_bytes: 64 << 20,
            answers_max_bytes: 64 << 20,
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
    }
}

/// The state of one connection.
pub struct Connection<Scan, Session> {
    scan: Scan,
    session: Session,
    /// The number of bytes before the next call of the codec.
    wanted: u32,
    closing: bool,
    share: Share,
    deadline: Deadline,
    /// Present only while a long frame arrives, or while frames wait for a long answer.
    gathered: Option<Box<Gathered>>,
    /// Answers that wait for capacity.
    rest: Option<Box<Output>>,
    peer: Peer,
}

impl<Scan: Default, Session: Default> Default for Connection<Scan, Session> {
    fn default() -> Self {
        Connection {
            scan: Scan::default(),
            session: Session::default(),
            wanted: 0,
            closing: false,
            share: Share::default(),
            deadline: Deadline::default(),
            gathered: None,
            rest: None,
            peer: Peer::default(),
        }
    }
}

/// An application made of a codec and a service. See [`super`].
pub struct Framed<C, S> {
    encoder: Encoder<C>,
    service: S,
    options: Options,
    /// Bytes in gathered frames.
    held: usize,
    /// Bytes in answers that wait for capacity.
    waiting: usize,
    draining: bool,
    counters: Counters,
}

/// What a call of the service is made of.
struct Encoder<C> {
    codec: C,
    /// The answers of the current call.
    output: Output,
    seconds: Seconds,
}

impl<C> Encoder<C> {
    /// The next call of the service.
    fn call(&mut self, close: bool, peer: Peer) -> Call<'_, C> {
        // A panic may have left half an answer to another connection.
        self.output.clear();
        let Encoder { codec, output, seconds } = self;
        Call { codec, output, close, seconds: *seconds, peer: peer.get() }
    }
}

type ConnectionOf<C, S> = Connection<<C as Codec>::Scan, <S as Service<C>>::Session>;

/// The result of one step through the input.
enum Step {
    /// The number of consumed bytes. 0 if a gathered frame was handled.
    Took(usize),
    /// The adapter needs more input.
    Wait(Waiting),
}

/// The undecoded bytes: gathered ones, or else `bytes`.
fn input<'a>(gathered: &'a Option<Box<Gathered>>, bytes: &'a [u8]) -> (&'a [u8], bool) {
    match gathered {
        Some(gathered) => (gathered.bytes(), true),
        None => (bytes, false),
    }
}

impl<C: Codec, S: Service<C>> Framed<C, S> {
    /// An application that decodes with `codec` and answers with `service`. Create one for each
    /// worker.
    pub fn new(codec: C, service: S) -> Framed<C, S> {
        Framed {
            encoder: Encoder { codec, output: Output::default(), seconds: Seconds::of(0) },
            service,
            options: Options::default(),
            held: 0,
            waiting: 0,
            draining: false,
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

    /// The counters.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Bytes of waiting answers in memory.
    pub fn waiting_bytes(&self) -> usize {
        self.waiting
    }

    /// Bytes of incomplete frames in memory.
    pub fn gathered_bytes(&self) -> usize {
        self.held
    }

    fn advance(
        &mut self,
        conn: &mut ConnectionOf<C, S>,
        bytes: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> usize {
        let (mut at, mut is_full) = (0, false);
        let waiting = loop {
            let is_sent = self.send_rest(conn, reply);
            if conn.closing {
                at = if is_sent { bytes.len() } else { at };
                break Waiting::Idle;
            }
            if conn.share.is_used_up() {
                break Waiting::Idle;
            }
            is_full = !is_sent || !reply.has_capacity();
            if is_full && !self.answers_ahead(conn) {
                break Waiting::Idle;
            }
            match self.step(conn, &bytes[at..], reply) {
                Step::Took(n) => at += n,
                Step::Wait(waiting) => break waiting,
            }
            conn.share.count();
        };
        if is_full && self.answers_ahead(conn) {
            reply.read_on();
        }
        conn.share.settle(reply);
        // The end of a frame is awaited once the client has read the answers before it.
        let waiting = if conn.rest.is_some() { Waiting::Idle } else { waiting };
        self.wait(conn, waiting, reply);
        at
    }

    /// Decodes and answers the next frame, if it is complete.
    fn step(
        &mut self,
        conn: &mut ConnectionOf<C, S>,
        bytes: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> Step {
        let (input, is_gathered) = input(&conn.gathered, bytes);
        if input.is_empty() {
            return Step::Wait(Waiting::Idle);
        }
        let (available, max) = (input.len(), self.encoder.codec.max_frame_bytes());
        let answered = {
            let decoded = match (conn.wanted as usize).saturating_sub(available) {
                0 => self.encoder.codec.decode(&input[..available.min(max)], &mut conn.scan),
                missing => Decoded::Missing(missing),
            };
            match decoded {
                Decoded::Frame(frame, len) => {
                    assert!(
                        (1..=available).contains(&len),
                        "frame length {len}: must be between 1 and {available}"
                    );
                    let mut call = self.encoder.call(self.draining, conn.peer);
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

    /// Queues the answer to a frame of `len` bytes, and continues after the frame.
    fn answered(
        &mut self,
        conn: &mut ConnectionOf<C, S>,
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

    /// Handles an incomplete frame: leaves it in the transport, or gathers it if it is long.
    fn wait_or_gather(
        &mut self,
        conn: &mut ConnectionOf<C, S>,
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

    /// Removes handled frames from the gathered bytes.
    fn consume(&mut self, conn: &mut ConnectionOf<C, S>, n: usize) {
        let Some(gathered) = &mut conn.gathered else { return };
        self.held -= gathered.held();
        gathered.consume(n);
        self.held += gathered.held();
        if gathered.is_empty() {
            conn.gathered = None;
        }
    }

    /// Whether frames may be answered though answers wait for capacity. Some clients send all their
    /// requests before they read.
    fn answers_ahead(&self, conn: &ConnectionOf<C, S>) -> bool {
        let max = self.options.answers_max_bytes;
        let fits =
            |rest: &Output| rest.held() < max / 4 && rest.unshared_bytes() < SHARED_AHEAD_MAX_BYTES;
        self.waiting < max && conn.rest.as_deref().is_none_or(fits)
    }

    /// Queues the service's answers. Stores the part without capacity.
    fn deliver(&mut self, conn: &mut ConnectionOf<C, S>, reply: &mut Reply<'_, Blob>) {
        let output = &mut self.encoder.output;
        if let Some(rest) = &mut conn.rest {
            self.waiting -= rest.held();
            rest.append(output);
            self.waiting += rest.held();
        } else if output.send(reply) {
            output.clear();
            if conn.closing {
                reply.close();
            }
        } else {
            self.counters.framed_held_answers += 1;
            self.waiting += output.held();
            conn.rest = Some(Box::new(std::mem::take(output)));
        }
    }

    /// Queues more of a waiting answer. Returns whether all is queued.
    fn send_rest(&mut self, conn: &mut ConnectionOf<C, S>, reply: &mut Reply<'_, Blob>) -> bool {
        let Some(rest) = &mut conn.rest else { return true };
        let queued = reply.queued();
        self.waiting -= rest.held();
        let is_sent = rest.send(reply);
        if reply.queued() > queued {
            // The client has read some bytes, so restart its timeout.
            conn.deadline.waiting = Waiting::Unset;
        }
        if is_sent {
            conn.rest = None;
            if conn.closing {
                reply.close();
            }
        } else {
            self.waiting += rest.held();
        }
        is_sent
    }

    /// Ends the connection after a malformed or too long frame.
    #[cold]
    fn refuse(
        &mut self,
        conn: &mut ConnectionOf<C, S>,
        reason: &str,
        bytes: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> Step {
        self.counters.framed_malformed += 1;
        let mut call = self.encoder.call(true, conn.peer);
        self.service.malformed(&mut conn.session, reason, &mut call);
        conn.closing = true;
        conn.deadline.waiting = Waiting::Unset;
        self.release(conn);
        self.deliver(conn, reply);
        Step::Took(bytes.len())
    }

    fn release(&mut self, conn: &mut ConnectionOf<C, S>) {
        if let Some(gathered) = conn.gathered.take() {
            self.held -= gathered.held();
        }
    }

    fn wait(&self, conn: &mut ConnectionOf<C, S>, waiting: Waiting, reply: &mut Reply<'_, Blob>) {
        let Options { frame_timeout: frame, idle_timeout: idle, .. } = self.options;
        conn.deadline.wait(waiting, &Timeouts { head: frame, body: frame, idle }, reply);
    }
}

impl<C: Codec, S: Service<C>> Application for Framed<C, S> {
    type Blob = Blob;
    type Conn = ConnectionOf<C, S>;

    fn wants_ends(&self, _: u16) -> bool {
        true
    }

    fn prefetches(&self) -> bool {
        false
    }

    fn opened(&mut self, conn: &mut Self::Conn, opened: Opened, reply: &mut Reply<'_, Blob>) {
        self.counters.framed_connections += 1;
        conn.peer = opened.ends.map_or_else(Peer::default, |ends| Peer::new(ends.remote));
        let mut call = self.encoder.call(false, conn.peer);
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
        self.waiting -= conn.rest.take().map_or(0, |rest| rest.held());
    }
}

impl<C: Codec, S: Service<C>> Handler for Framed<C, S> {
    fn clock(&mut self, seconds: Seconds) {
        self.encoder.seconds = seconds;
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

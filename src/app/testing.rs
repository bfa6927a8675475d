//! One connection of an application, in memory, for tests, benches and fuzz targets.
//!
//! [`Line`] is a transport like the others: [`simoom_io::exchange`] interprets the effects that the
//! application requests. Bytes move and time passes only when the test calls a function.
//!
//! ```
//! use simoom::app::testing::{Line, services};
//!
//! let mut line = Line::open(services(), 11211);
//! line.offer(b"set a 0 0 1\r\n1\r\nget a\r\n");
//! assert_eq!(line.take(), b"STORED\r\nVALUE a 0 1\r\n1\r\nEND\r\n");
//! line.offer(b"quit\r\n");
//! assert!(line.is_over(), "the application has closed the connection");
//! ```

mod user;

#[doc(hidden)]
pub use user::{fuzz_resp, fuzz_router, resp_answers, router_answers};

use super::content::Content;
use super::http::{Access, Buffer, Http, Options};
use super::memcached::{self, Memcached};
use super::{HttpAndMemcached, Nobody, Services};
use crate::handler::Handler;
use crate::later::Completed;
use crate::store::{self, Store};
use simoom_io::connection::Buffered;
use simoom_io::send::Pool;
use simoom_io::{
    Application, Closed, Connection, ConnectionId, Duration, Ends, Exchange, Opened, input,
};
use std::net::Ipv4Addr;
use std::sync::{Arc, LazyLock};

/// Capacity of the input buffer. No test sends more while the application consumes nothing.
const HELD_MAX_BYTES: usize = 4 << 20;

/// An application and one connection.
pub struct Line<A: Application> {
    /// The application.
    pub app: A,
    connection: Connection<A>,
    pool: Pool<A::Blob>,
    inputs: input::Pool,
    deadline: Option<Duration>,
    settings: usize,
}

impl<A: Application> Line<A> {
    /// A connection to `port` with capacity for a full send queue.
    pub fn open(app: A, port: u16) -> Line<A> {
        Line::open_with(app, port, Pool::new(64, 64))
    }

    /// A connection to `port` that allocates from `pool`.
    pub fn open_with(app: A, port: u16, pool: Pool<A::Blob>) -> Line<A> {
        Line::open_from(Ipv4Addr::LOCALHOST, app, port, pool)
    }

    /// A connection from `peer` to `port` that allocates from `pool`.
    pub fn open_from(peer: Ipv4Addr, app: A, port: u16, pool: Pool<A::Blob>) -> Line<A> {
        let mut line = Line {
            app,
            connection: Connection::default(),
            pool,
            inputs: input::Pool::with_large_bytes(1, 1, HELD_MAX_BYTES),
            deadline: None,
            settings: 0,
        };
        line.open_connection(peer, port);
        line
    }

    fn open_connection(&mut self, peer: Ipv4Addr, port: u16) {
        let [remote, local] = [(peer, 50_000), (Ipv4Addr::LOCALHOST, port)].map(Into::into);
        let opened = Opened {
            local_port: port,
            active: false,
            token: 0,
            id: ConnectionId::default(),
            ends: Some(Ends { remote, local }),
        };
        self.event(|app, exchange| exchange.open(app, opened));
    }

    /// Opens another connection of the application, on port 80, and calls `serve` with it. It is
    /// gone afterwards, without an end.
    pub fn beside(&mut self, serve: impl FnOnce(&mut Line<A>)) {
        let fresh = (Connection::default(), Pool::new(64, 64));
        let inputs = input::Pool::with_large_bytes(1, 1, HELD_MAX_BYTES);
        let connection = std::mem::replace(&mut self.connection, fresh.0);
        let pool = std::mem::replace(&mut self.pool, fresh.1);
        let inputs = std::mem::replace(&mut self.inputs, inputs);
        let deadline = self.deadline.take();
        self.open_connection(Ipv4Addr::LOCALHOST, 80);
        serve(self);
        (self.connection, self.pool) = (connection, pool);
        (self.inputs, self.deadline) = (inputs, deadline);
    }

    fn event<T>(
        &mut self,
        event: impl FnOnce(&mut A, &mut Exchange<'_, A::Conn, A::Blob, Buffered<'_>>) -> T,
    ) -> T {
        let mut exchange = self.connection.exchange(&mut self.pool, &mut self.inputs);
        let result = event(&mut self.app, &mut exchange);
        if let Some(deadline) = exchange.requests().deadline {
            self.deadline = deadline;
            self.settings += 1;
        }
        result
    }

    /// Receives bytes from the client: calls `received`, unless the application waits for capacity.
    pub fn offer(&mut self, bytes: &[u8]) {
        let taken = self.event(|app, exchange| exchange.receive(app, bytes));
        assert_eq!(taken, bytes.len(), "more than a line holds");
    }

    /// Delivers `bytes` once, in place, and buffers nothing. Returns the number of consumed bytes.
    pub fn offer_in_place(&mut self, bytes: &[u8]) -> usize {
        self.event(|app, exchange| exchange.act(|conn, reply| app.received(conn, bytes, reply)))
    }

    /// Sends everything queued, and resumes the application each time it stopped for capacity or
    /// yielded. Returns all sent bytes.
    pub fn take(&mut self) -> Vec<u8> {
        let mut taken = Vec::new();
        loop {
            let queued = self.connection.queue.len();
            taken.extend(self.connection.queue.slices(&self.pool).flatten());
            self.acknowledge(queued);
            if !self.resume() && !self.iterate() {
                return taken;
            }
        }
    }

    /// Sends everything queued, runs `meanwhile`, and resumes the application if it stopped for
    /// capacity. Returns the sent bytes, and whether the application resumed.
    pub fn take_once(&mut self, meanwhile: impl FnOnce(&mut A)) -> (Vec<u8>, bool) {
        let queued = self.connection.queue.len();
        let taken = self.connection.queue.slices(&self.pool).flatten().copied().collect();
        self.acknowledge(queued);
        meanwhile(&mut self.app);
        (taken, self.resume() || self.iterate())
    }

    /// Acknowledges `n` queued bytes and discards them.
    pub fn acknowledge(&mut self, n: u64) {
        self.connection.queue.acknowledge(&mut self.pool, n);
    }

    /// Resets the connection: frees the queued ranges.
    pub fn take_all(&mut self) {
        self.connection.queue.clear(&mut self.pool);
    }

    /// Starts the next iteration: resumes the application if it yielded. Returns whether it had
    /// yielded.
    pub fn iterate(&mut self) -> bool {
        let has_yielded = self.has_yielded();
        self.event(|app, exchange| exchange.iterate(app));
        has_yielded
    }

    /// Whether the application has yielded and waits for the next iteration.
    pub fn has_yielded(&self) -> bool {
        self.connection.flow.has_yielded()
    }

    fn resume(&mut self) -> bool {
        self.event(|app, exchange| exchange.resume(app))
    }

    /// Fires the deadline. Returns its duration, or `None` if none was set.
    pub fn expire(&mut self) -> Option<Duration> {
        let deadline = self.deadline.take()?;
        self.event(|app, exchange| exchange.expire(app));
        Some(deadline)
    }

    /// Passes a completion to the application.
    pub fn complete(&mut self, completed: Completed)
    where
        A: Handler,
    {
        self.event(|app, exchange| {
            exchange.complete(app, |app, conn, reply| app.completed(conn, completed, reply))
        });
    }

    /// The client sends FIN.
    pub fn finish(&mut self) {
        self.event(|_, exchange| exchange.finish());
    }

    /// Closes the connection in order.
    pub fn close(&mut self) {
        self.app.closed(&mut self.connection.conn, Closed::Finished);
        self.connection.conn = A::Conn::default();
    }

    /// Bytes in the send queue.
    pub fn queued(&self) -> u64 {
        self.connection.queue.len()
    }

    /// Bytes in the input buffer.
    pub fn buffered(&self) -> usize {
        self.connection.input.len()
    }

    /// The maximum of the input buffer while `input` arrives in chunks of `size` bytes, until the
    /// connection closes.
    pub fn max_buffered(&mut self, input: &[u8], size: usize) -> usize {
        let mut most = 0;
        for chunk in input.chunks(size) {
            if self.closed() {
                break;
            }
            self.offer(chunk);
            self.take();
            most = most.max(self.buffered());
        }
        most
    }

    /// The current deadline.
    pub fn deadline(&self) -> Option<Duration> {
        self.deadline
    }

    /// The number of calls that set the deadline.
    pub fn settings(&self) -> usize {
        self.settings
    }

    /// Whether the application requested a close.
    pub fn closed(&self) -> bool {
        self.is_over() && !self.aborted()
    }

    /// Whether the application requested a reset, or queued more than its capacity.
    pub fn aborted(&self) -> bool {
        self.connection.flow.is_aborted()
    }

    /// Whether the connection closes.
    pub fn is_over(&self) -> bool {
        self.connection.flow.is_closing()
    }
}

/// An HTTP handler with the built-in page and files of chosen sizes. `/12` and `/small` are copied,
/// `/large` is shared; `/dir/` is a directory.
pub fn http() -> Http {
    static CONTENT: LazyLock<Arc<Content>> = LazyLock::new(|| Arc::new(Content::for_tests()));
    let mut http =
        Http::new(CONTENT.clone(), Options { body_max_bytes: 4096, ..Options::default() });
    http.clock(784_111_777);
    http
}

/// All services of a worker: [`http`] on port 80 and [`memcached()`] on port 11211.
pub fn services() -> HttpAndMemcached {
    let options = Options { body_max_bytes: 4096, ..Options::default() };
    let http = Http::new(Arc::new(Content::for_tests()), options);
    both([80, 11211], http, memcached())
}

/// `http` and `memcached`, each on its port.
pub fn both(ports: [u16; 2], http: Http, memcached: Memcached) -> HttpAndMemcached {
    let http = Services::new(&ports[..1], None, Some(http), Nobody);
    Services::new(&ports[1..], None, Some(memcached), http)
}

/// Start time of [`memcached()`].
pub const NOW: u64 = 1_700_000_000;

/// A memcached handler with its own store of 8 MiB.
pub fn memcached() -> Memcached {
    let settings = store::Settings {
        memory_bytes: 8 << 20,
        hash_key: Some([1, 2]),
        ..store::Settings::default()
    };
    let store = Store::new(&settings).expect("the bounds are kept");
    let shared = memcached::Shared::new(store, memcached::Options::default(), NOW);
    Memcached::new(shared, 0, 64)
}

/// The HTTP response to `input`, delivered in chunks of the given sizes in rotation, and whether
/// the handler closes. A `narrow` connection has capacity for one response at a time.
pub fn http_answers(input: &[u8], sizes: &[usize], narrow: bool) -> (Vec<u8>, bool) {
    answers(http(), 80, input, sizes, narrow)
}

/// As [`http_answers`], for the memcached handler with a fresh store.
pub fn memcached_answers(input: &[u8], sizes: &[usize], narrow: bool) -> (Vec<u8>, bool) {
    answers(memcached(), 11211, input, sizes, narrow)
}

/// As [`http_answers`], for any handler on a port.
pub(crate) fn answers<A: Application>(
    app: A,
    port: u16,
    input: &[u8],
    sizes: &[usize],
    narrow: bool,
) -> (Vec<u8>, bool) {
    let (answers, line) = answers_and_line(app, port, input, sizes, narrow);
    (answers, line.closed())
}

/// As [`answers`]. Returns the connection as it is then.
pub(crate) fn answers_and_line<A: Application>(
    app: A,
    port: u16,
    input: &[u8],
    sizes: &[usize],
    narrow: bool,
) -> (Vec<u8>, Line<A>) {
    let pool = if narrow { Pool::new(5, 3) } else { Pool::new(64, 64) };
    let mut line = Line::open_with(app, port, pool);
    let mut answers = line.take();
    let mut rest = input;
    let mut sizes = sizes.iter().cycle();
    while !rest.is_empty() && !line.is_over() {
        let size = sizes.next().map_or(rest.len(), |size| (*size).clamp(1, rest.len()));
        let (chunk, behind) = rest.split_at(size);
        line.offer(chunk);
        answers.extend(line.take());
        rest = behind;
    }
    assert!(!line.aborted(), "the queue exceeded its capacity");
    (answers, line)
}

/// Entry point of the HTTP fuzz target. The first byte selects how the input is split. Split input
/// and input with capacity for one response at a time must get the same responses as whole input.
/// So must input to a handler with an access log, which has no fast path for plain heads.
#[doc(hidden)]
pub fn fuzz_http(data: &[u8]) {
    fuzz(data, http_answers);
    let Some((_, input)) = data.split_first() else { return };
    static BUFFER: LazyLock<Arc<Buffer>> = LazyLock::new(Buffer::new);
    let logging = http().with_access_log(Some(Access::new(BUFFER.clone(), 1)));
    let general = answers(logging, 80, input, &[], false);
    assert_eq!(general, http_answers(input, &[], false), "without the fast path");
}

/// Entry point of the memcached fuzz target. As [`fuzz_http`]. The values of `stats` depend on more
/// than the requests, so input that may contain `stats` is processed but not compared.
#[doc(hidden)]
pub fn fuzz_memcached(data: &[u8]) {
    let asks_for_stats = data.windows(5).any(|window| window == b"stats") || data.contains(&0x10);
    if asks_for_stats {
        memcached_answers(data, &[], false);
    } else {
        fuzz(data, memcached_answers);
    }
}

/// [`http_answers`] or [`memcached_answers`].
type Answers = fn(&[u8], &[usize], bool) -> (Vec<u8>, bool);

fn fuzz(data: &[u8], answers: Answers) {
    let Some((choice, input)) = data.split_first() else { return };
    let whole = answers(input, &[], false);
    let sizes = [1 + usize::from(choice & 15), 1 + usize::from(choice >> 4) * 7];
    for (sizes, narrow) in [(&sizes[..], false), (&sizes[..], true), (&[][..], true)] {
        assert_eq!(answers(input, sizes, narrow), whole, "split by {sizes:?}, narrow: {narrow}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::contained::Contained;
    use proptest::prelude::*;
    use simoom_io::testing::{ANSWER, Checker, Temper, stream_byte};

    #[test]
    fn inputs_are_collected_if_a_handler_of_the_worker_prefetches() {
        let http_alone = |http| {
            let nobody = Services::<Memcached>::new(&[11211], None, None, Nobody);
            assert!(!nobody.prefetches());
            Services::<Memcached, _>::new(&[], None, None, Services::new(&[80], None, http, Nobody))
        };
        assert!(!Contained::new(http_alone(Some(http()))).prefetches());
        assert!(!http_alone(None).prefetches());
        assert!(Contained::new(services()).prefetches());
    }

    proptest! {
        /// A line keeps the contract of every transport, with capacity for one response or many.
        #[test]
        fn the_contract_is_kept_with_every_handler(
            seed in any::<u64>(),
            sizes in proptest::collection::vec(1usize..5000, 1..60),
            is_narrow in any::<bool>(),
        ) {
            let total = sizes.iter().sum::<usize>() as u64;
            let pool = if is_narrow { Pool::new(5, 3) } else { Pool::new(64, 64) };
            let mut line = Line::open_with(Checker::new(total, Temper::Tame, seed), 80, pool);
            let (mut sent, mut answer) = (0, Vec::new());
            for size in sizes {
                let bytes: Vec<u8> = (sent..).take(size).map(stream_byte).collect();
                sent += size as u64;
                line.offer(&bytes);
                answer.extend(line.take());
                line.expire();
            }
            for _ in 0..1000 {
                answer.extend(line.take());
                line.expire();
            }
            prop_assert!(line.closed() && answer.ends_with(ANSWER), "{:?}", line.connection.conn);
            line.close();
            prop_assert_eq!(line.app.closed, [(Closed::Finished, total)]);
        }
    }
}

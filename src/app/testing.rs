//! One connection of an application in memory, for tests, benches and fuzz targets.
//!
//! It keeps what the application does not consume and offers it again, within the bound that every
//! transport grants, and answers the application's wishes as a transport would; time passes when
//! the test says so.

use super::content::Content;
use super::http::{Http, INPUT_MAX_BYTES, Options};
use super::memcached::{self, Memcached};
use super::{HttpAndMemcached, Nobody, Services};
use crate::store::{self, Store};
use simoom_io::send::{Pool, Queue, Wishes};
use simoom_io::{Application, Closed, Duration, Ends, Opened, Reply};
use std::net::Ipv4Addr;
use std::sync::{Arc, LazyLock};

/// An application and one connection to it.
pub struct Line<A: Application> {
    /// The application.
    pub app: A,
    conn: A::Conn,
    pool: Pool<A::Blob>,
    queue: Queue,
    wishes: Wishes,
    deadline: Option<Duration>,
    settings: usize,
    kept: Vec<u8>,
}

impl<A: Application> Line<A> {
    /// A connection to `port` with room for a full queue of answers.
    pub fn open(app: A, port: u16) -> Line<A> {
        Line::open_with(app, port, Pool::new(64, 64))
    }

    /// A connection to `port` that queues in `pool`.
    pub fn open_with(app: A, port: u16, pool: Pool<A::Blob>) -> Line<A> {
        let mut line = Line {
            app,
            conn: A::Conn::default(),
            pool,
            queue: Queue::default(),
            wishes: Wishes::default(),
            deadline: None,
            settings: 0,
            kept: Vec::new(),
        };
        let [remote, local] = [50_000, port].map(|port| (Ipv4Addr::LOCALHOST, port).into());
        let opened = Opened {
            local_port: port,
            active: false,
            token: 0,
            ends: Some(Ends { remote, local }),
        };
        line.call(|app, conn, reply| app.opened(conn, opened, reply));
        line
    }

    fn call<T>(
        &mut self,
        call: impl FnOnce(&mut A, &mut A::Conn, &mut Reply<'_, A::Blob>) -> T,
    ) -> T {
        let mut reply = Reply::new(&mut self.pool, &mut self.queue, &mut self.wishes);
        let result = call(&mut self.app, &mut self.conn, &mut reply);
        if let Some(deadline) = self.wishes.timeout.take() {
            self.deadline = deadline;
            self.settings += 1;
        }
        result
    }

    /// Bytes arrive: they are put behind those kept, and all are offered for as long as some are
    /// consumed.
    pub fn offer(&mut self, bytes: &[u8]) {
        self.kept.extend_from_slice(bytes);
        let mut kept = std::mem::take(&mut self.kept);
        let mut at = 0;
        while at < kept.len() && !self.is_over() && !self.wishes.read_later {
            let rest = &kept[at..];
            let n = self.call(|app, conn, reply| app.received(conn, rest, reply));
            assert!(n <= rest.len(), "consumed {n} of {}", rest.len());
            at += n;
            if n == 0 {
                break;
            }
        }
        kept.drain(..at);
        self.kept = kept;
        let holds_input = self.wishes.wants_room || self.wishes.read_later;
        if self.kept.len() > INPUT_MAX_BYTES && !holds_input && !self.is_over() {
            let kept = std::mem::take(&mut self.kept);
            self.call(|app, conn, reply| app.overfull(conn, &kept, reply));
        }
    }

    /// Offers `bytes` once, as they lie; returns how many were consumed.
    pub fn offer_in_place(&mut self, bytes: &[u8]) -> usize {
        self.call(|app, conn, reply| app.received(conn, bytes, reply))
    }

    /// Takes everything that is queued, and lets the application go on where it stopped for lack of
    /// room; returns all of it.
    pub fn take(&mut self) -> Vec<u8> {
        let mut taken = Vec::new();
        loop {
            let queued = self.queue.len();
            taken.extend(self.queue.slices(&self.pool).flatten());
            self.acknowledge(queued);
            if !self.wishes.wants_room || self.is_over() {
                return taken;
            }
            self.resume();
        }
    }

    /// Takes what is queued, lets `meanwhile` act on the application, and lets that go on if it
    /// stopped for lack of room; returns what it took, and whether it went on.
    pub fn take_once(&mut self, meanwhile: impl FnOnce(&mut A)) -> (Vec<u8>, bool) {
        let queued = self.queue.len();
        let taken = self.queue.slices(&self.pool).flatten().copied().collect();
        self.acknowledge(queued);
        meanwhile(&mut self.app);
        let goes_on = self.wishes.wants_room && !self.is_over();
        if goes_on {
            self.resume();
        }
        (taken, goes_on)
    }

    /// The client takes `n` bytes of what is queued, unseen.
    pub fn acknowledge(&mut self, n: u64) {
        self.queue.acknowledge(&mut self.pool, n);
    }

    /// The connection was reset: what is queued is given back.
    pub fn take_all(&mut self) {
        self.queue.clear(&mut self.pool);
    }

    fn resume(&mut self) {
        self.wishes.wants_room = false;
        self.call(Application::resumed);
        self.offer(b"");
    }

    /// The deadline passes; returns how long it was, `None` if there was none.
    pub fn expire(&mut self) -> Option<Duration> {
        let deadline = self.deadline.take()?;
        self.wishes.read_later = false;
        self.call(Application::timeout);
        Some(deadline)
    }

    /// The connection ends in order.
    pub fn close(&mut self) {
        self.app.closed(&mut self.conn, Closed::Finished);
        self.conn = A::Conn::default();
    }

    /// Bytes queued.
    pub fn queued(&self) -> u64 {
        self.queue.len()
    }

    /// Bytes kept for the application.
    pub fn kept(&self) -> usize {
        self.kept.len()
    }

    /// The most bytes that are ever kept while `input` is offered in pieces of `size` until the
    /// connection closes.
    pub fn most_kept(&mut self, input: &[u8], size: usize) -> usize {
        let mut most = 0;
        for piece in input.chunks(size) {
            if self.closed() {
                break;
            }
            self.offer(piece);
            self.take();
            most = most.max(self.kept());
        }
        most
    }

    /// The deadline that is set.
    pub fn deadline(&self) -> Option<Duration> {
        self.deadline
    }

    /// How often the deadline was set.
    pub fn settings(&self) -> usize {
        self.settings
    }

    /// Whether the application asked to close.
    pub fn closed(&self) -> bool {
        self.wishes.close
    }

    /// Whether the application asked to reset.
    pub fn aborted(&self) -> bool {
        self.wishes.abort
    }

    fn is_over(&self) -> bool {
        self.wishes.close || self.wishes.abort
    }
}

/// An HTTP handler over the built-in page and a few files of chosen sizes: `/12` and `/small`,
/// which are copied, `/large`, which is shared, and `/dir/`.
pub fn http() -> Http {
    static CONTENT: LazyLock<Arc<Content>> = LazyLock::new(|| Arc::new(Content::for_tests()));
    let mut http =
        Http::new(CONTENT.clone(), Options { body_max_bytes: 4096, ..Options::default() });
    http.clock(784_111_777);
    http
}

/// All services as a worker has them: [`http`] on port 80 and [`memcached`] on port 11211.
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

/// The time that [`memcached`] begins with.
pub const NOW: u64 = 1_700_000_000;

/// A memcached handler over a store of its own of 8 MiB.
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

/// What the handler answers to `input` offered in pieces of the given sizes, over and over, and
/// whether it closes. A `narrow` connection has room for one answer at a time.
pub fn http_answers(input: &[u8], sizes: &[usize], narrow: bool) -> (Vec<u8>, bool) {
    answers(http(), input, sizes, narrow)
}

/// The same of the memcached handler, with a fresh store each time.
pub fn memcached_answers(input: &[u8], sizes: &[usize], narrow: bool) -> (Vec<u8>, bool) {
    answers(memcached(), input, sizes, narrow)
}

fn answers<A: Application>(app: A, input: &[u8], sizes: &[usize], narrow: bool) -> (Vec<u8>, bool) {
    let pool = if narrow { Pool::new(5, 3) } else { Pool::new(64, 64) };
    let mut line = Line::open_with(app, 80, pool);
    let mut answers = Vec::new();
    let mut rest = input;
    let mut sizes = sizes.iter().cycle();
    while !rest.is_empty() && !line.is_over() {
        let size = sizes.next().map_or(rest.len(), |size| (*size).clamp(1, rest.len()));
        let (piece, behind) = rest.split_at(size);
        line.offer(piece);
        answers.extend(line.take());
        rest = behind;
    }
    assert!(!line.aborted(), "the promise of room was kept to");
    (answers, line.closed())
}

/// The entry of the fuzz target: the first byte chooses how the others are split. Offered in
/// pieces, or with room for one answer at a time, or both, they get the answers that they get as a
/// whole.
pub fn fuzz_http(data: &[u8]) {
    fuzz(data, http_answers);
}

/// The entry of the fuzz target for memcached; as [`fuzz_http`]. What `stats` tells depends on more
/// than the requests: input that may ask for it is answered but not compared.
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

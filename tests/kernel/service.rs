//! A small line protocol and a worker that serves it: what the tests of the kernel transport talk
//! to.
//!
//! | line | answer |
//! |---|---|
//! | `echo TEXT` | `TEXT` |
//! | `stream N` | N times [`piece`] |
//! | `later MS` | `done`, after MS milliseconds |
//! | `close` | `bye`, then the connection closes |
//! | `abort` | none: the connection is reset |
//! | `share TEXT` | as `echo`; then it yields |
//! | `echoes` | how many `echo` were answered so far |
//! | `gate` | `open`, once [`GATE`] is: until then the worker stands still |

pub(crate) use crate::common::TEST_TIMEOUT;
use crossbeam_channel::{Receiver, unbounded};
use rustix::net::sockopt;
use simoom::control::{Command, CommandSender, command_channel};
use simoom::handler::{Handler, Seconds};
use simoom::kernel::{Listener, Poller, Settings, run};
use simoom::metrics::{Metric, Registry, Snapshot};
use simoom::thread::{Failure, spawn};
use simoom_io::{Application, Closed, Duration as After, Opened, Reply};
use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What `stream` sends: no part of it looks like another.
pub(crate) fn piece() -> &'static [u8] {
    static PIECE: LazyLock<Vec<u8>> = LazyLock::new(|| {
        (0u32..16 * 1024).flat_map(|i| i.wrapping_mul(0x9E37_79B9).to_le_bytes()).collect()
    });
    &PIECE
}

/// Whoever holds it stops a worker that was sent `gate`.
pub(crate) static GATE: Mutex<()> = Mutex::new(());
/// Workers that have come to the gate.
pub(crate) static AT_GATE: AtomicUsize = AtomicUsize::new(0);

#[derive(Default)]
pub(crate) struct Lines {
    echoes: Cell<u64>,
    draining: bool,
    opened: u64,
    ended: u64,
    unix_seconds: u64,
}

#[derive(Default)]
pub(crate) struct Line {
    pieces: u32,
    /// Bytes that it was offered and did not consume.
    seen: usize,
    waits: bool,
    yields: bool,
}

impl Lines {
    /// Sends what is left of a stream, as far as there is room.
    fn stream(&self, conn: &mut Line, reply: &mut Reply<'_, &'static [u8]>) -> bool {
        while conn.pieces > 0 {
            if !reply.has_capacity() {
                return false;
            }
            reply.share(piece(), 0..piece().len());
            conn.pieces -= 1;
            if conn.pieces == 0 && self.draining {
                reply.close();
            }
        }
        true
    }

    fn line(&self, conn: &mut Line, line: &[u8], reply: &mut Reply<'_, &'static [u8]>) {
        let text = std::str::from_utf8(line).unwrap_or("");
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        match word {
            "echoes" => reply.copy(format!("{}\n", self.echoes.get()).as_bytes()),
            "gate" => {
                AT_GATE.fetch_add(1, Ordering::SeqCst);
                drop(GATE.lock());
                reply.copy(b"open\n");
            }
            "echo" | "share" => {
                self.echoes.set(self.echoes.get() + 1);
                if word == "share" {
                    conn.yields = true;
                    reply.yield_now();
                }
                reply.copy(rest.as_bytes());
                reply.share(b"\n", 0..1);
                if self.draining {
                    reply.close();
                }
            }
            "stream" => conn.pieces = rest.parse().unwrap_or(0),
            "later" => {
                conn.waits = true;
                reply.set_timeout(Some(After::from_millis(rest.parse().unwrap_or(0))));
            }
            "close" => {
                reply.copy(b"bye\n");
                reply.close();
            }
            _ => reply.abort(),
        }
    }
}

impl Application for Lines {
    type Blob = &'static [u8];
    type Conn = Line;

    fn opened(&mut self, _: &mut Line, opened: Opened, _: &mut Reply<'_, &'static [u8]>) {
        assert!(opened.local_port != 0 && !opened.active && self.unix_seconds > 1_600_000_000);
        self.opened += 1;
    }

    fn received(
        &mut self,
        conn: &mut Line,
        bytes: &[u8],
        reply: &mut Reply<'_, &'static [u8]>,
    ) -> usize {
        assert!(
            bytes.len() >= conn.seen,
            "offered {} bytes of {} seen before",
            bytes.len(),
            conn.seen
        );
        let mut consumed = 0;
        conn.yields = false;
        while !conn.yields && self.stream(conn, reply) {
            let Some(n) = bytes[consumed..].iter().position(|byte| *byte == b'\n') else { break };
            if !reply.has_capacity() {
                break;
            }
            self.line(conn, &bytes[consumed..consumed + n], reply);
            consumed += n + 1;
        }
        conn.seen = bytes.len() - consumed;
        consumed
    }

    fn overfull(&mut self, _: &mut Line, bytes: &[u8], reply: &mut Reply<'_, &'static [u8]>) {
        assert_eq!(bytes.len(), simoom::kernel::INPUT_BYTES);
        reply.copy(b"overfull\n");
        reply.close();
    }

    fn resumed(&mut self, conn: &mut Line, reply: &mut Reply<'_, &'static [u8]>) {
        self.stream(conn, reply);
    }

    fn timeout(&mut self, conn: &mut Line, reply: &mut Reply<'_, &'static [u8]>) {
        conn.waits = false;
        reply.copy(b"done\n");
        if self.draining {
            reply.close();
        }
    }

    fn closed(&mut self, _: &mut Line, _: Closed) {
        self.ended += 1;
    }
}

static OPENED: Metric = Metric::new("application_opened", "Connections opened.");
static CLOSED: Metric = Metric::new("application_closed", "Connections closed.");
static DRAINING: Metric = Metric::new("application_draining", "1 while the worker drains.").gauge();

impl Handler for Lines {
    fn clock(&mut self, seconds: Seconds) {
        self.unix_seconds = seconds.unix;
    }

    fn drain(&mut self) {
        self.draining = true;
    }

    fn idle(&self, conn: &Line) -> bool {
        !conn.waits && conn.pieces == 0
    }

    fn publish(&self, sink: &mut dyn FnMut(&'static Metric, u64)) {
        sink(&OPENED, self.opened);
        sink(&CLOSED, self.ended);
        sink(&DRAINING, u64::from(self.draining));
    }
}

/// Whether this machine lets io_uring be used; skips the test if not.
pub(crate) fn need_io_uring() -> bool {
    simoom::kernel::io_uring().inspect_err(|reason| crate::common::skip(reason)).is_ok()
}

/// Workers that serve [`Lines`], or another handler, on one port of the loopback address, until
/// this is dropped.
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    pub(crate) registry: Registry,
    command_sender: Vec<CommandSender>,
    threads: Vec<JoinHandle<()>>,
    failures: Receiver<Failure>,
}

impl Service {
    pub(crate) fn start(poller: Poller, settings: &Settings) -> Service {
        Service::start_workers(poller, settings, 1, "127.0.0.1:0".parse().unwrap())
    }

    pub(crate) fn start_workers(
        poller: Poller,
        settings: &Settings,
        workers: usize,
        address: SocketAddr,
    ) -> Service {
        Service::start_after(poller, settings, workers, address, |_, _| ())
    }

    /// One worker that serves another handler than [`Lines`].
    pub(crate) fn start_with<A: Handler + Send + 'static>(
        poller: Poller,
        settings: &Settings,
        app: impl Fn() -> A,
    ) -> Service {
        let address = "127.0.0.1:0".parse().unwrap();
        Service::start_all(poller, settings, 1, address, app, |_, _| ())
    }

    /// Starts when `before` has returned: who connects in it waits to be accepted.
    pub(crate) fn start_after(
        poller: Poller,
        settings: &Settings,
        workers: usize,
        address: SocketAddr,
        before: impl FnOnce(SocketAddr, &[CommandSender]),
    ) -> Service {
        Service::start_all(poller, settings, workers, address, Lines::default, before)
    }

    fn start_all<A: Handler + Send + 'static>(
        poller: Poller,
        settings: &Settings,
        workers: usize,
        address: SocketAddr,
        app: impl Fn() -> A,
        before: impl FnOnce(SocketAddr, &[CommandSender]),
    ) -> Service {
        let (sender, failures) = unbounded();
        let listeners = Listener::bind(address, workers, 4096).unwrap();
        let address = listeners[0].address();
        let (mut threads, registry) = (Vec::new(), Registry::default());
        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..workers).map(|_| command_channel().unwrap()).unzip();
        before(address, &senders);
        for (number, (listener, commands)) in listeners.into_iter().zip(receivers).enumerate() {
            let name = format!("kernel {number}");
            let snapshot = Snapshot::new(&name);
            registry.add(snapshot.clone());
            let (settings, app) = (settings.clone(), app());
            let work =
                move || run(poller, &settings, vec![listener], app, commands, snapshot, || ());
            threads.push(spawn(name, None, sender.clone(), work).unwrap());
        }
        let service = Service { address, registry, command_sender: senders, threads, failures };
        service.wait_until("every worker", |service| {
            service.registry.snapshots().iter().all(|snapshot| !snapshot.read().is_empty())
        });
        service
    }

    /// Gives the first worker a listener at another port of the loopback address.
    pub(crate) fn add_listener(&self) -> SocketAddr {
        self.add_listener_at("127.0.0.1:0".parse().unwrap())
    }

    pub(crate) fn add_listener_at(&self, at: SocketAddr) -> SocketAddr {
        let listener = Listener::bind(at, 1, 16).unwrap().pop().unwrap();
        let address = listener.address();
        self.command_sender[0].send(Command::Accept(listener.into_socket()));
        address
    }

    /// Takes a listener from the first worker.
    pub(crate) fn remove_listener(&self, address: SocketAddr) {
        self.command_sender[0].send(Command::Forget(address));
    }

    pub(crate) fn connect(&self) -> Client {
        Client::new(TcpStream::connect(self.address).unwrap())
    }

    /// A client whose kernel takes little more than it reads. With a buffer that hardly holds a
    /// segment, its window could come to rest at a few bytes, or what arrives be dropped for want
    /// of room and sent again ever later.
    pub(crate) fn connect_narrow(&self) -> Client {
        use rustix::net::{AddressFamily, SocketType, connect, socket};
        let fd = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        sockopt::set_socket_recv_buffer_size(&fd, 16_384).unwrap();
        connect(&fd, &self.address).unwrap();
        Client::new(TcpStream::from(fd))
    }

    /// The published value of a counter.
    pub(crate) fn count(&self, name: &str) -> u64 {
        self.registry
            .totals()
            .iter()
            .find(|(known, _)| *known == name)
            .map_or(0, |(_, value)| *value)
    }

    /// Waits until the counters are as `condition` says.
    pub(crate) fn wait_until(&self, what: &str, condition: impl Fn(&Service) -> bool) {
        let start = Instant::now();
        while !condition(self) {
            assert!(
                start.elapsed() < TEST_TIMEOUT,
                "{what} did not come; counters: {:?}",
                self.registry.totals()
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until all that clients have sent lies in the sockets of the workers. Loopback delivers
    /// at once, unless the machine is busy.
    pub(crate) fn wait_for_requests(&self) {
        let port = format!(":{:04X}", self.address.port());
        let is_delivered = |line: &str| {
            // Number, local and remote address, state, bytes to send and to read.
            let words: Vec<&str> = line.split_whitespace().collect();
            !words[2].ends_with(&port) || words[4].starts_with("00000000:")
        };
        self.wait_until("all requests", |_| {
            std::fs::read_to_string("/proc/net/tcp").unwrap().lines().skip(1).all(is_delivered)
        });
    }

    pub(crate) fn wait_for(&self, name: &str, value: u64) {
        self.wait_until(&format!("{name} = {value}"), |service| service.count(name) == value);
    }

    pub(crate) fn drain(&self, at_most: Duration) {
        self.command_sender
            .iter()
            .for_each(|command_sender| command_sender.send(Command::Drain(at_most)));
    }

    /// Waits for the end of all workers; none may have failed.
    pub(crate) fn join(&mut self) {
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
        assert_eq!(self.failures.try_recv().ok(), None);
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.drain(Duration::ZERO);
        if !std::thread::panicking() {
            self.join();
            assert_eq!(self.count("application_opened"), self.count("application_closed"));
            assert_eq!(self.count("application_opened"), self.count("connections_accepted"));
            assert_eq!(self.count("connections_open"), 0);
        }
    }
}

/// One connection to a [`Service`].
pub(crate) struct Client(pub(crate) TcpStream);

impl Client {
    pub(crate) fn new(stream: TcpStream) -> Client {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        stream.set_write_timeout(Some(TEST_TIMEOUT)).unwrap();
        Client(stream)
    }

    pub(crate) fn send(&mut self, text: impl AsRef<[u8]>) {
        self.0.write_all(text.as_ref()).unwrap();
    }

    /// Whether there are bytes to read now.
    pub(crate) fn has_input(&self) -> bool {
        let flags = rustix::net::RecvFlags::PEEK | rustix::net::RecvFlags::DONTWAIT;
        rustix::net::recv(&self.0, &mut [0; 1], flags).is_ok_and(|(bytes, _)| bytes > 0)
    }

    pub(crate) fn expect(&mut self, text: impl AsRef<[u8]>) {
        let text = text.as_ref();
        let mut got = vec![0; text.len()];
        let mut filled = 0;
        while filled < got.len() {
            match self.0.read(&mut got[filled..]) {
                Ok(n) if n > 0 => filled += n,
                other => panic!("{other:?} after {filled} bytes of {}", got.len()),
            }
        }
        assert!(got == text, "got {:?}", String::from_utf8_lossy(&got[..got.len().min(200)]));
    }

    pub(crate) fn expect_pieces(&mut self, count: usize) {
        (0..count).for_each(|_| self.expect(piece()));
    }

    /// A request and its answer.
    pub(crate) fn ask(&mut self, text: &str) {
        self.send(format!("echo {text}\n"));
        self.expect(format!("{text}\n"));
    }

    /// Nothing more comes, and that in order.
    pub(crate) fn expect_end(&mut self) {
        assert_eq!(self.0.read(&mut [0; 1]).unwrap(), 0);
    }

    /// Whatever still comes, in the end the server resets the connection.
    pub(crate) fn expect_reset(&mut self) {
        let mut buf = vec![0; 65_536];
        loop {
            match self.0.read(&mut buf) {
                Ok(0) => panic!("closed in order"),
                Ok(_) => {}
                Err(error) => return assert_eq!(error.kind(), ErrorKind::ConnectionReset),
            }
        }
    }

    /// Closes with a reset.
    pub(crate) fn reset(self) {
        sockopt::set_socket_linger(&self.0, Some(Duration::ZERO)).unwrap();
    }
}

//! A panic in a handler ends one connection, over every transport: panics are injected under load,
//! and nobody else is to notice.

#[path = "contain/bed.rs"]
mod bed;
mod common;
#[path = "contain/library_log.rs"]
mod library_log;
#[path = "contain/saboteur.rs"]
mod saboteur;

use bed::{Bed, Datagrams, Service, TEST_TIMEOUT, Transport};
use saboteur::{AFTER, BEFORE, Call, Plot, TWICE};
use simoom::app::Blob;
use simoom::handler::Handler;
use simoom::kernel::Poller;
use simoom_io::send::{Pool, Queue};
use simoom_io::{Application, Closed, ConnectionId, Effects, Ends, Opened, Reply};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Threads that ask for what is answered, one connection each, and requests of each at least.
const GOOD: usize = 4;
const REQUESTS: usize = 400;
/// Threads whose every connection ends in a panic, and connections of each.
const BAD: usize = 3;
const CONNECTIONS: usize = 60;

/// Makes a test of each function for each transport of TCP.
macro_rules! over_each {
    ($($name:ident),* $(,)?) => {
        mod epoll { $(#[test] fn $name() { super::$name(super::Transport::Kernel(super::Poller::Epoll)); })* }
        mod io_uring { $(#[test] fn $name() { super::$name(super::Transport::Kernel(super::Poller::IoUring)); })* }
        mod xdp { $(#[test] fn $name() { super::$name(super::Transport::Xdp); })* }
    };
}

over_each! {
    panics_in_http_end_their_connections_only,
    panics_in_memcached_end_their_connections_only,
    a_panic_of_calls_without_a_connection_ends_nothing,
    a_panic_that_leaves_state_in_doubt_ends_the_worker,
}

fn request(path: &[u8]) -> Vec<u8> {
    [b"GET /", path, b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat()
}

/// Reads an answer of HTTP with its content.
fn answer(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let whole = |answer: &[u8]| {
        let head = memchr::memmem::find(answer, b"\r\n\r\n")? + 4;
        let text = String::from_utf8_lossy(&answer[..head]).into_owned();
        let length = text.lines().find_map(|line| line.strip_prefix("Content-Length: "))?;
        Some(head + length.parse::<usize>().unwrap())
    };
    while whole(&answer).is_none_or(|whole| answer.len() < whole) {
        let mut buf = [0; 4096];
        let n = stream.read(&mut buf).unwrap();
        assert!(n > 0, "ended after {:?}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&buf[..n]);
    }
    assert_eq!(whole(&answer), Some(answer.len()));
    String::from_utf8(answer).unwrap()
}

fn expect(stream: &mut TcpStream, text: &str) {
    let mut got = vec![0; text.len()];
    stream.read_exact(&mut got).unwrap();
    assert_eq!(String::from_utf8_lossy(&got), text);
}

/// What still comes until the connection ends, and whether it ended in order.
fn end(stream: &mut TcpStream) -> (Vec<u8>, bool) {
    let (mut rest, mut buf) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut buf) {
            Ok(0) => return (rest, true),
            Ok(n) => rest.extend_from_slice(&buf[..n]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return (rest, false),
            Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&rest)),
        }
    }
}

/// Counts a thread as done when it ends.
struct Done<'a>(&'a AtomicUsize);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Runs `good` again and again on connections that stay, while `bad` uses up one connection after
/// the other.
fn load(
    bed: &Bed,
    service: Service,
    good: impl Fn(&mut TcpStream, usize) + Sync,
    bad: impl Fn(&mut TcpStream, usize) + Sync,
) {
    let done = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..GOOD {
            scope.spawn(|| {
                let mut stream = bed.connect(service);
                let mut number = 0;
                while number < REQUESTS || done.load(Ordering::Relaxed) < BAD {
                    good(&mut stream, number);
                    number += 1;
                }
            });
        }
        for _ in 0..BAD {
            scope.spawn(|| {
                // A failure here is an end, too.
                let _done = Done(&done);
                (0..CONNECTIONS).for_each(|number| bad(&mut bed.connect(service), number));
            });
        }
    });
    assert!(bed.plot.injected() >= (BAD * CONNECTIONS) as u64);
    bed.wait_for("handler_panics", bed.plot.injected());
}

fn panics_in_http_end_their_connections_only(transport: Transport) {
    let Some(bed) = Bed::new(transport) else { return };
    let good = |stream: &mut TcpStream, number| {
        let (path, status) = [(&b""[..], "200 OK"), (b"none", "404 Not Found")][number % 2];
        stream.write_all(&request(path)).unwrap();
        let answer = answer(stream);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{answer}");
    };
    let bad = |stream: &mut TcpStream, number| match number % 4 {
        // Nothing of an answer was queued.
        0 => {
            stream.write_all(&request(BEFORE)).unwrap();
            expect_500(stream);
        }
        // The answer was queued, and is dropped.
        1 => {
            stream.write_all(&request(AFTER)).unwrap();
            let (rest, in_order) = end(stream);
            assert!(rest.is_empty() && !in_order, "{:?}", String::from_utf8_lossy(&rest));
        }
        // Half a head is kept.
        2 => {
            stream.write_all(b"GET / HTTP/1.1\r\nA: ").unwrap();
            stream.write_all(BEFORE).unwrap();
            expect_500(stream);
        }
        _ => {
            stream.write_all(&request(TWICE)).unwrap();
            expect_500(stream);
        }
    };
    load(&bed, Service::Http, good, bad);
    bed.wait_for("connections_open", 0);
    bed.stop();
}

fn expect_500(stream: &mut TcpStream) {
    let answer = answer(stream);
    let head = "HTTP/1.1 500 Internal Server Error\r\n";
    assert!(answer.starts_with(head) && answer.contains("\r\nConnection: close\r\n"), "{answer}");
    assert_eq!(end(stream), (Vec::new(), true));
}

fn panics_in_memcached_end_their_connections_only(transport: Transport) {
    let Some(bed) = Bed::new(transport) else { return };
    let large = "x".repeat(2000);
    let mut setup = bed.connect(Service::Memcached);
    setup.write_all(format!("set large 0 0 2000\r\n{large}\r\n").as_bytes()).unwrap();
    expect(&mut setup, "STORED\r\n");
    drop(setup);
    let good = |stream: &mut TcpStream, number| {
        stream
            .write_all(format!("set k 0 0 4\r\n{:04}\r\nget large\r\n", number % 10_000).as_bytes())
            .unwrap();
        expect(stream, &format!("STORED\r\nVALUE large 0 2000\r\n{large}\r\nEND\r\n"));
    };
    let bad = |stream: &mut TcpStream, number| {
        match number % 4 {
            0 => stream.write_all(&[b"get ", BEFORE, b"\r\n"].concat()).unwrap(),
            // An item is pinned by the answer.
            1 => stream.write_all(&[b"get large ", AFTER, b"\r\n"].concat()).unwrap(),
            // Space is reserved for a value.
            2 => {
                stream.write_all(b"set up 0 0 500000\r\nmn\r\n").unwrap();
                wait_for_reservation(&bed);
                stream.write_all(BEFORE).unwrap();
            }
            _ => {
                stream.write_all(b"set up 0 0 500000\r\nmn\r\n").unwrap();
                wait_for_reservation(&bed);
                stream.write_all(TWICE).unwrap();
            }
        }
        let (rest, in_order) = end(stream);
        assert!(rest.is_empty() && !in_order, "{:?}", String::from_utf8_lossy(&rest));
    };
    load(&bed, Service::Memcached, good, bad);
    bed.wait_for("connections_open", 0);
    let statistics = bed.store.statistics();
    assert_eq!((statistics.reserved_bytes, statistics.frames_pinned), (0, 0), "{statistics:?}");
    bed.stop();
}

/// Some value is on its way, this one or another's; either way the magic word ends it.
fn wait_for_reservation(bed: &Bed) {
    common::wait_until("a reservation", TEST_TIMEOUT, || bed.store.statistics().reserved_bytes > 0);
}

fn a_panic_of_calls_without_a_connection_ends_nothing(transport: Transport) {
    let Some(bed) = Bed::new(transport) else { return };
    let mut idle: Vec<_> = (0..8).map(|_| bed.connect(Service::Http)).collect();
    let mut ask_all = || {
        idle.iter_mut().for_each(|stream| stream.write_all(&request(b"")).unwrap());
        idle.iter_mut().for_each(|stream| _ = answer(stream));
    };
    ask_all();
    [Call::Publish, Call::Clock, Call::Expected]
        .into_iter()
        .for_each(|call| bed.plot.next(call, 1));
    common::wait_until("a panic of each", TEST_TIMEOUT, || {
        // Over AF_XDP only packets of one burst are prefetched; kernel sockets prefetch nothing.
        ask_all();
        bed.plot.injected() >= if transport == Transport::Xdp { 3 } else { 2 }
    });
    bed.plot.next(Call::Drain, 1);
    bed.plot.next(Call::Idle, 1);
    // The drain waits until each client has closed, too.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            idle.into_iter()
                .for_each(|mut stream| assert_eq!(end(&mut stream), (Vec::new(), true)));
        });
        bed.stop();
    });
}

fn a_panic_that_leaves_state_in_doubt_ends_the_worker(transport: Transport) {
    let Some(bed) = Bed::new(transport) else { return };
    let mut stream = bed.connect(Service::Http);
    bed.plot.spoil();
    stream.write_all(&request(BEFORE)).unwrap();
    let reason = bed.failure();
    assert!(reason.starts_with("panicked at tests/contain/saboteur.rs:"), "{reason}");
    assert!(reason.ends_with(": injected into Received"), "{reason}");
}

#[test]
fn panics_in_memcached_over_udp_cost_their_datagrams_only() {
    let bed = Datagrams::new();
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    let ask = |number: u16, text: &[u8]| {
        let [high, low] = number.to_be_bytes();
        socket.send_to(&[&[high, low, 0, 0, 0, 1, 0, 0], text].concat(), bed.at).unwrap();
    };
    let expect = |number: u16, text: &[u8]| {
        let mut buf = [0; 2000];
        let n = socket.recv(&mut buf).unwrap();
        let [high, low] = number.to_be_bytes();
        assert_eq!(&buf[..n], &[&[high, low, 0, 0, 0, 1, 0, 0], text].concat());
    };
    bed.plot.next(Call::Publish, 1);
    bed.plot.next(Call::Clock, 1);
    for number in 0..300 {
        ask(number, b"set k 0 0 1\r\nx\r\n");
        expect(number, b"STORED\r\n");
        ask(number, &[b"get ", BEFORE, b"\r\n"].concat());
        ask(number, &[b"get k ", AFTER, b"\r\n"].concat());
        ask(number, &[b"set up 0 0 500000\r\nmn\r\n", AFTER].concat());
        ask(number, b"get k\r\n");
        expect(number, b"VALUE k 0 1\r\nx\r\nEND\r\n");
    }
    let (plot, store) = (bed.plot.clone(), bed.store.clone());
    let counts = bed.stop();
    let count = |name| counts.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    assert!((900..=902).contains(&plot.injected()));
    assert_eq!(
        (count("handler_panics"), count("udp_panicked")),
        (Some(plot.injected()), Some(900))
    );
    let statistics = store.statistics();
    assert_eq!((statistics.reserved_bytes, statistics.frames_pinned), (0, 0), "{statistics:?}");
}

/// One connection in memory.
struct Conn {
    app: bed::App,
    conn: <bed::App as Application>::Conn,
    pool: Pool<Blob>,
    queue: Queue,
    effects: Effects,
}

impl Conn {
    fn new(plot: &Arc<Plot>) -> Conn {
        let (app, _) = bed::app(plot, [80, 11211]);
        let (pool, queue, effects) = (Pool::new(64, 64), Queue::default(), Effects::default());
        Conn { app, conn: Default::default(), pool, queue, effects }
    }

    fn call<R>(
        &mut self,
        call: impl FnOnce(
            &mut bed::App,
            &mut <bed::App as Application>::Conn,
            &mut Reply<'_, Blob>,
        ) -> R,
    ) -> R {
        let mut reply = Reply::new(&mut self.pool, &mut self.queue, &mut self.effects);
        call(&mut self.app, &mut self.conn, &mut reply)
    }

    fn open(&mut self, local_port: u16) {
        let [remote, local] = [50_000, local_port].map(|port| (Ipv4Addr::LOCALHOST, port).into());
        let opened = Opened {
            local_port,
            active: false,
            token: 0,
            id: ConnectionId(1),
            ends: Some(Ends { remote, local }),
        };
        self.call(|app, conn, reply| app.opened(conn, opened, reply));
    }

    fn count(&self, name: &str) -> u64 {
        let mut count = 0;
        self.app.publish(&mut |known, value| count += if known == name { value } else { 0 });
        count
    }
}

#[test]
fn every_call_of_a_connection_may_panic() {
    simoom::panics::install();
    for port in [80, 11211] {
        for call in [
            Call::Opened,
            Call::Received,
            Call::Overfull,
            Call::Resumed,
            Call::Timeout,
            Call::Panicked,
        ] {
            let plot = Arc::new(Plot::default());
            let mut line = Conn::new(&plot);
            if call != Call::Opened {
                line.open(port);
            }
            plot.next(call, 1);
            match call {
                Call::Opened => line.open(port),
                Call::Received => {
                    _ = line.call(|app, conn, reply| app.received(conn, b"GET", reply));
                }
                Call::Overfull => line.call(|app, conn, reply| app.overfull(conn, b"GET", reply)),
                Call::Resumed => line.call(Application::resumed),
                Call::Timeout => line.call(Application::timeout),
                _ => _ = line.call(|app, conn, reply| app.received(conn, BEFORE, reply)),
            }
            let answers = port == 80 && matches!(call, Call::Received | Call::Overfull);
            let asked = line.effects.asked;
            assert_eq!(
                (asked.is_closing(), asked.is_aborted(), line.queue.is_empty()),
                (answers, !answers, !answers),
                "{port} {call:?}"
            );
            assert_eq!(
                line.count("handler_panics"),
                1 + u64::from(call == Call::Panicked),
                "{port} {call:?}"
            );
            // Whatever is called now reaches nobody.
            let queued = line.queue.len();
            assert_eq!(line.call(|app, conn, reply| app.received(conn, b"mn\r\n", reply)), 4);
            line.call(Application::resumed);
            let Conn { app, conn, .. } = &mut line;
            assert!(app.idle(conn));
            app.closed(conn, Closed::Aborted);
            assert_eq!(line.queue.len(), queued, "{port} {call:?}");
            let (opened, closed) = ("memcached_connections", "memcached_connections_closed");
            assert_eq!(line.count(opened), line.count(closed), "{port} {call:?}");
            line.queue.clear(&mut line.pool);
            assert_eq!(line.pool.free(), (64, 64));
        }
    }
}

#[test]
fn a_request_behind_answered_ones_gets_its_500() {
    simoom::panics::install();
    let plot = Arc::new(Plot::default());
    let mut line = Conn::new(&plot);
    line.open(80);
    line.call(|app, conn, reply| app.received(conn, &request(b"none"), reply));
    let answered = line.queue.len();
    assert!(answered > 0);
    line.queue.acknowledge(&mut line.pool, answered);
    line.call(|app, conn, reply| app.received(conn, &request(BEFORE), reply));
    let bytes: Vec<u8> = line.queue.slices(&line.pool).flatten().copied().collect();
    assert!(bytes.starts_with(b"HTTP/1.1 500 "), "{}", String::from_utf8_lossy(&bytes));
    assert!(line.effects.asked.is_closing() && !line.effects.asked.is_aborted());
    line.queue.clear(&mut line.pool);
}

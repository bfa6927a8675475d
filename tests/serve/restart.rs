//! Starts and stops under clients that open a connection for each request: none of their requests
//! is lost.

use crate::client::get;
use crate::common::{Process, need_program, simoom, wait_until};
use crate::queues::two_workers;
use crate::site::{ADMIN, LARGE, PORT, Plan, Site, Transport, ask_admin, at};
use crate::{TEST_TIMEOUT, over_all};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Clients at once: so many that some are in each phase of a connection at any moment.
const CLIENTS: usize = 16;
/// Requests that are answered before the server is stopped.
const BEFORE_THE_STOP: u64 = 400;

over_all!(a_stop_answers_every_request_that_was_sent);

/// How long a client may take from its connection to its request: what a stop cuts short then is
/// seen.
const THINKING_MS: [u64; 4] = [0, 1, 5, 20];

/// A server that stops keeps idle connections for 500 ms. On a busy machine a client may take
/// longer to its request, whatever it wants.
const PROMPT: Duration = Duration::from_millis(400);

/// What became of requests.
#[derive(Default)]
struct Tally {
    answered: AtomicU64,
    refused: AtomicU64,
    /// The connection was there, the request was sent promptly, and no whole answer came: what came
    /// instead.
    lost: Mutex<Vec<String>>,
    ends: AtomicBool,
}

/// Sends a request on a connection of its own. Returns whether there was a server.
fn ask(address: SocketAddr, thinking: Duration, tally: &Tally) -> bool {
    let mut stream = match TcpStream::connect_timeout(&address, TEST_TIMEOUT) {
        Ok(stream) => stream,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}");
            tally.refused.fetch_add(1, Ordering::Relaxed);
            return false;
        }
    };
    stream.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    let request = get("/12").replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    let opened = Instant::now();
    std::thread::sleep(thinking);
    let mut answer = Vec::new();
    let wrote = stream.write_all(request.as_bytes());
    let is_prompt = opened.elapsed() < PROMPT;
    let read = wrote.and_then(|()| stream.read_to_end(&mut answer));
    if read.is_ok() && answer.starts_with(b"HTTP/1.1 200 ") {
        tally.answered.fetch_add(1, Ordering::Relaxed);
    } else if is_prompt {
        let client = stream.local_addr();
        let came = format!("{client:?} after {thinking:?}: {read:?}, {} bytes", answer.len());
        tally.lost.lock().unwrap().push(came);
    }
    true
}

/// Has clients ask until each is refused, or for ever refused ones `ends`; runs `act` meanwhile.
fn under_load(
    network: &crate::common::Network,
    address: SocketAddr,
    goes_on: impl Fn(bool, &Tally) -> bool + Sync,
    act: impl FnOnce(&Tally),
) -> Tally {
    let tally = Tally::default();
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let thinking = Duration::from_millis(THINKING_MS[client % THINKING_MS.len()]);
            let (tally, goes_on) = (&tally, &goes_on);
            scope.spawn(move || {
                network.client.run(|| while goes_on(ask(address, thinking, tally), tally) {});
            });
        }
        // Also when `act` panics: otherwise the scope would wait for the clients for ever.
        let _end = end_on_drop(&tally.ends);
        act(&tally);
    });
    tally
}

/// Sets `ends` when it is dropped.
fn end_on_drop(ends: &AtomicBool) -> impl Drop {
    struct End<'a>(&'a AtomicBool);
    impl Drop for End<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    End(ends)
}

fn stop_under_load(mut site: Site) {
    let address = site.address();
    let Site { network, process, .. } = &site;
    let tally = under_load(
        network,
        address,
        |served, _| served,
        |tally| {
            wait_until("requests are answered", TEST_TIMEOUT, || {
                tally.answered.load(Ordering::Relaxed) >= BEFORE_THE_STOP
            });
            process.signal(rustix::process::Signal::TERM);
        },
    );
    assert_eq!(site.process.wait(TEST_TIMEOUT).code(), Some(0), "{}", site.log());
    let lost = tally.lost.into_inner().unwrap();
    assert!(
        lost.is_empty(),
        "lost beside {} that were answered: {lost:#?}",
        tally.answered.into_inner()
    );
    assert_eq!(tally.refused.into_inner(), CLIENTS as u64);
}

fn a_stop_answers_every_request_that_was_sent(transport: Transport) {
    let Some(site) = Plan::new(transport).start() else { return };
    stop_under_load(site);
}

#[test]
fn a_stop_of_two_workers_answers_every_request_that_was_sent() {
    let Some(site) = two_workers() else { return };
    stop_under_load(site);
}

/// Before the claims are there, clients are refused; after that the stack has them, and nobody in
/// between.
#[test]
fn a_start_answers_every_request_that_was_sent() {
    let Some(network) = Plan::new(Transport::Xdp).network() else { return };
    let root = crate::site::files();
    let address = at(network.address(1));
    let mut command = simoom();
    command.args([
        "serve",
        "--transport",
        "xdp",
        "--interface",
        "s0",
        "--http",
        &PORT.to_string(),
        "--admin",
        ADMIN,
    ]);
    command.args(["--cores", "0", "--root"]).arg(root.path()).stderr(Stdio::null());
    let mut server = None;
    let goes_on = |served: bool, tally: &Tally| {
        if !served {
            std::thread::sleep(Duration::from_micros(200));
        }
        !tally.ends.load(Ordering::Relaxed)
    };
    let tally = under_load(&network, address, goes_on, |tally| {
        wait_until("clients are refused", TEST_TIMEOUT, || {
            tally.refused.load(Ordering::Relaxed) > 0
        });
        server = Some(network.server.run(|| Process::start(&mut command)));
        wait_until("requests are answered", TEST_TIMEOUT, || {
            tally.answered.load(Ordering::Relaxed) >= BEFORE_THE_STOP
        });
    });
    let lost = tally.lost.into_inner().unwrap();
    assert!(lost.is_empty(), "{lost:#?}");
    // None of them came through the kernel's TCP.
    let metrics = ask_admin(&network, "/metrics").unwrap();
    assert!(
        metrics.contains("simoom_connections_accepted_total{worker=\"kernel 0\"} 0\n"),
        "{metrics}"
    );
    drop(server);
}

/// Servers that follow each other, unless SIMOOM_RUNS names another number.
const SERVERS: usize = 3;

/// A client is refused while there is no server, and never reset: neither in the time between
/// attaching and claiming, nor at the end of a drain.
#[test]
fn starts_and_stops_reset_no_client() {
    let Some(network) = Plan::new(Transport::Xdp).network() else { return };
    let root = crate::site::files();
    let address = at(network.address(1));
    let mut command = Plan::new(Transport::Xdp).command(root.path());
    command.stderr(Stdio::null());
    let runs = std::env::var("SIMOOM_RUNS").ok().and_then(|runs| runs.parse().ok());
    let servers: usize = runs.unwrap_or(SERVERS);
    let goes_on = |served: bool, tally: &Tally| {
        if !served {
            std::thread::sleep(Duration::from_millis(1));
        }
        !tally.ends.load(Ordering::Relaxed)
    };
    let tally = under_load(&network, address, goes_on, |tally| {
        for _ in 0..servers {
            let (answered, refused) = (&tally.answered, &tally.refused);
            let mut server = network.server.run(|| Process::start(&mut command));
            let before = answered.load(Ordering::Relaxed);
            wait_until("requests are answered", TEST_TIMEOUT, || {
                answered.load(Ordering::Relaxed) >= before + CLIENTS as u64
            });
            server.signal(rustix::process::Signal::TERM);
            assert_eq!(server.wait(TEST_TIMEOUT).code(), Some(0));
            let before = refused.load(Ordering::Relaxed);
            wait_until("clients are refused", TEST_TIMEOUT, || {
                refused.load(Ordering::Relaxed) > before
            });
        }
    });
    let lost = tally.lost.into_inner().unwrap();
    assert!(lost.is_empty(), "lost beside {}: {lost:#?}", tally.answered.into_inner());
}

/// The names of the server's threads.
fn threads(site: &Site) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", site.process.id())).unwrap();
    let name = |task: std::io::Result<std::fs::DirEntry>| {
        std::fs::read_to_string(task.ok()?.path().join("comm"))
            .ok()
            .map(|name| name.trim().to_owned())
    };
    tasks.filter_map(name).collect()
}

/// The queues of a worker without connections are served as long as another one drains: segments
/// for that one may come to them, and left to the kernel they would be answered with a reset.
#[test]
fn a_worker_that_has_drained_passes_on_what_is_for_another() {
    if !need_program("ethtool") {
        return;
    }
    let Some(mut site) = two_workers() else { return };
    site.wait_for_counter("passive_opens");
    let on = |name: &str, worker: &str| {
        let counters = site.counters(name);
        counters.iter().find(|(label, _)| label == worker).map_or(0, |(_, value)| *value)
    };
    let body = site.content("/12");
    let mut kept = None;
    wait_until("a connection is the second worker's, and none the first's", TEST_TIMEOUT, || {
        if kept.is_none() {
            let before = on("passive_opens", "xdp 1");
            let requests = site.counter("http_requests");
            let mut client = site.connect();
            client.expect("/12", &body);
            site.wait_for("http_requests", requests + 1);
            kept = (on("passive_opens", "xdp 1") > before).then_some(client);
        }
        kept.is_some() && on("connections_open", "xdp 0") == 0
    });
    let mut client = kept.expect("set when the wait ended");
    rustix::net::sockopt::set_socket_recv_buffer_size(&client.stream, 16 << 10).unwrap();
    client.request(LARGE);
    assert!(client.head().starts_with("HTTP/1.1 200 "));
    // From now on everything arrives on the first worker's queue.
    site.run_client("ethtool", &["-L", "c0", "tx", "1"]);
    site.process.signal(rustix::process::Signal::TERM);
    site.wait_for_log("\"draining\"");
    let connect =
        || site.network.client.run(|| TcpStream::connect_timeout(&site.address(), TEST_TIMEOUT));
    wait_until("new connections are refused", TEST_TIMEOUT, || {
        connect().is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    });
    let content = site.content(LARGE);
    assert!(client.take(content.len()) == content, "not the bytes of the file");
    let names = threads(&site);
    assert!(names.iter().any(|name| name == "xdp 0"), "the first worker has left: {names:?}");
    client.expect_end();
    drop(client);
    assert_eq!(site.process.wait(TEST_TIMEOUT).code(), Some(0), "{}", site.log());
}

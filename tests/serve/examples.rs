//! The examples of the guide as servers, over each transport, with clients over kernel sockets.

#[allow(dead_code, unreachable_pub, reason = "a program, of which the server is used")]
#[path = "../../src/guide/examples/echo.rs"]
mod echo;
#[allow(dead_code, unreachable_pub, reason = "a program, of which the server is used")]
#[path = "../../src/guide/examples/forward.rs"]
mod forward;

use crate::TEST_TIMEOUT;
use crate::common::{Network, need_root, wait_until};
use crate::site::Transport;
use simoom::{Builder, Factories, Server, Signals};
use simoom_io::testing::Random;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

crate::over_all! {
    echo_sends_back_what_it_receives,
    a_panic_in_a_handler_of_a_user_closes_its_own_connection_only,
    echo_answers_what_comes_while_it_drains_and_closes,
    another_server_is_asked_and_its_answers_come_in_order,
    a_client_that_is_gone_before_its_answer_disturbs_nobody,
    a_drain_waits_for_answers_that_come_later,
    no_client_gets_more_or_less_than_its_own_answer,
    an_asked_server_that_misbehaves_harms_its_own_clients_only,
}

/// A server between two namespaces.
pub struct Bed {
    pub network: Network,
    pub server: Server,
    at: SocketAddr,
}

impl Bed {
    /// `None`, with the test skipped, where that cannot be.
    pub fn start<L: Factories>(transport: Transport, builder: fn() -> Builder<L>) -> Option<Bed> {
        let network = need_root().then(|| Network::new(1).unwrap())?;
        Some(Bed::start_in(network, transport, builder))
    }

    fn start_in<L: Factories>(
        network: Network,
        transport: Transport,
        builder: impl FnOnce() -> Builder<L> + Send,
    ) -> Bed {
        let way = match transport {
            Transport::Xdp => simoom::config::Transport::Xdp,
            Transport::IoUring => simoom::config::Transport::IoUring,
            Transport::Epoll => simoom::config::Transport::Epoll,
        };
        let core = simoom::config::usable_cores().unwrap()[0];
        let server = network.server.run(|| {
            let builder = builder().cores([core]).connections(64).signals(Signals::Ignore);
            builder.interface("s0").transport(way).start().unwrap()
        });
        assert_eq!(server.transport().starts_with("AF_XDP"), transport == Transport::Xdp);
        let is_v4 = |at: &&SocketAddr| at.ip() == network.address(1);
        let at = *server.addresses().iter().find(is_v4).unwrap();
        Bed { network, server, at }
    }

    fn connect(&self) -> TcpStream {
        self.connect_to(self.at.port())
    }

    /// A connection to the handler on `port`.
    pub fn connect_to(&self, port: u16) -> TcpStream {
        self.try_connect_to(port).unwrap()
    }

    /// As [`Bed::connect_to`], for a client that the server may refuse.
    pub fn try_connect_to(&self, port: u16) -> std::io::Result<TcpStream> {
        let at = SocketAddr::new(self.at.ip(), port);
        let stream = self.network.client.run(|| TcpStream::connect_timeout(&at, TEST_TIMEOUT))?;
        stream.set_read_timeout(Some(TEST_TIMEOUT))?;
        Ok(stream)
    }

    /// What a program that is run beside the clients prints, if it succeeds.
    pub fn run_client(&self, program: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null());
        let output = self.network.client.run(|| command.output()).unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {arguments:?}: {}: {stderr}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }

    /// The address of the server.
    pub fn host(&self) -> String {
        self.at.ip().to_string()
    }

    pub fn count(&self, name: &str) -> u64 {
        value_of(&self.server.totals(), name).unwrap_or(0)
    }

    pub fn wait_for(&self, name: &str, value: u64) {
        wait_until(&format!("{name} is {value}"), TEST_TIMEOUT, || self.count(name) == value);
    }
}

/// Sends `bytes` and expects them back.
fn echo(stream: &mut TcpStream, bytes: &[u8]) {
    let mut sends = stream.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || sends.write_all(bytes).unwrap());
        let mut got = vec![0; bytes.len()];
        stream.read_exact(&mut got).unwrap();
        assert!(got == bytes, "other bytes than were sent");
    });
}

/// Whether the connection has ended without another byte, in order or with a reset.
fn has_ended(stream: &mut TcpStream) -> bool {
    !matches!(stream.read(&mut [0]), Ok(1..))
}

fn echo_sends_back_what_it_receives(transport: Transport) {
    let Some(bed) = Bed::start(transport, echo::server) else { return };
    let bytes: Vec<u8> = (0..300_000u32).map(|n| (n % 251) as u8).collect();
    let (mut first, mut second) = (bed.connect(), bed.connect());
    for n in [1, 2, 1024, 1025, 300_000] {
        echo(&mut first, &bytes[..n]);
        echo(&mut second, &bytes[..n]);
    }
    first.shutdown(Shutdown::Write).unwrap();
    assert!(has_ended(&mut first));
    bed.wait_for("echo_bytes", 2 * (1 + 2 + 1024 + 1025 + 300_000));
    bed.wait_for("echo_connections_open", 1);
    let totals = bed.server.stop().unwrap();
    assert_eq!(value_of(&totals, "handler_panics"), Some(0), "{totals:?}");
}

fn a_panic_in_a_handler_of_a_user_closes_its_own_connection_only(transport: Transport) {
    let Some(bed) = Bed::start(transport, echo::server) else { return };
    let (mut good, mut bad) = (bed.connect(), bed.connect());
    echo(&mut good, b"before");
    bad.write_all(b"panic").unwrap();
    assert!(has_ended(&mut bad));
    echo(&mut good, b"after");
    echo(&mut bed.connect(), b"again");
    bed.wait_for("handler_panics", 1);
    bed.server.stop().unwrap();
}

fn echo_answers_what_comes_while_it_drains_and_closes(transport: Transport) {
    let Some(bed) = Bed::start(transport, echo::server) else { return };
    let mut stream = bed.connect();
    echo(&mut stream, b"before");
    let Bed { server, network, .. } = bed;
    let drained = std::thread::spawn(move || server.drain(Duration::from_secs(60)).unwrap());
    // Idle when the drain begins: the next answer, if it is in time, is the last.
    assert!(
        stream.write_all(b"meanwhile").is_err() || {
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).is_err() || rest.is_empty() || rest == b"meanwhile"
        }
    );
    let totals = drained.join().unwrap();
    assert_eq!(value_of(&totals, "echo_connections_open"), Some(0), "{totals:?}");
    drop(network);
}

/// A server that is asked: answers each line with itself behind "re: ", once it is told to.
struct Asked {
    at: SocketAddr,
    lines: Receiver<(String, Sender<()>)>,
}

impl Asked {
    fn start(network: &Network) -> Asked {
        let listener = network.server.run(|| TcpListener::bind("127.0.0.1:0")).unwrap();
        let at = listener.local_addr().unwrap();
        let (told, lines) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, told) = (stream.unwrap(), told.clone());
                std::thread::spawn(move || answer_lines(stream, &told));
            }
        });
        Asked { at, lines }
    }

    /// The next line that it was asked, and the way to have it answered; or, dropped, to have the
    /// connection closed.
    fn next(&self) -> (String, Sender<()>) {
        self.lines.recv_timeout(TEST_TIMEOUT).unwrap()
    }
}

fn answer_lines(stream: TcpStream, told: &Sender<(String, Sender<()>)>) {
    let mut lines = BufReader::new(stream);
    let mut line = String::new();
    while lines.read_line(&mut line).is_ok_and(|n| n > 0) {
        let (answers, may_answer) = channel();
        told.send((line.clone(), answers)).unwrap();
        if may_answer.recv().is_err() {
            return;
        }
        write!(lines.get_mut(), "re: {line}").unwrap();
        line.clear();
    }
}

/// A server that forwards, in the namespace where the asked one is.
fn forwarding(transport: Transport) -> Option<(Bed, Asked)> {
    let network = need_root().then(|| Network::new(1).unwrap())?;
    let asked = Asked::start(&network);
    let at = asked.at;
    let bed = Bed::start_in(network, transport, move || forward::server(at, 2));
    Some((bed, asked))
}

fn another_server_is_asked_and_its_answers_come_in_order(transport: Transport) {
    let Some((bed, asked)) = forwarding(transport) else { return };
    let (mut first, mut second) = (bed.connect(), bed.connect());
    first.write_all(b"a\nb\nc\n").unwrap();
    first.shutdown(Shutdown::Write).unwrap();
    let (line, answer_a) = asked.next();
    assert_eq!(line, "a\n", "b waits for it");
    second.write_all(b"d\n").unwrap();
    let (line, answer_d) = asked.next();
    assert_eq!(line, "d\n", "it does not wait for another connection's");
    answer_d.send(()).unwrap();
    let mut got = [0; 6];
    second.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"re: d\n");
    answer_a.send(()).unwrap();
    for expected in ["b\n", "c\n"] {
        let (line, answer) = asked.next();
        assert_eq!(line, expected);
        answer.send(()).unwrap();
    }
    let mut all = String::new();
    first.read_to_string(&mut all).unwrap();
    assert_eq!(all, "re: a\nre: b\nre: c\n", "although the client has finished");
    second.write_all(b"e\n").unwrap();
    drop(asked.next());
    second.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"ERROR\n", "the asked server closed");
    bed.wait_for("completions", 5);
    let totals = bed.server.stop().unwrap();
    assert_eq!(value_of(&totals, "completions_unclaimed"), Some(0), "{totals:?}");
}

fn a_client_that_is_gone_before_its_answer_disturbs_nobody(transport: Transport) {
    let Some((bed, asked)) = forwarding(transport) else { return };
    let mut gone = bed.connect();
    gone.write_all(b"a\n").unwrap();
    let (_, answer_a) = asked.next();
    rustix::net::sockopt::set_socket_linger(&gone, Some(Duration::ZERO)).unwrap();
    drop(gone);
    bed.wait_for("forward_connections_open", 0);
    // In the place of the one that is gone.
    let mut next = bed.connect();
    next.write_all(b"b\n").unwrap();
    let (_, answer_b) = asked.next();
    answer_a.send(()).unwrap();
    bed.wait_for("completions_unclaimed", 1);
    answer_b.send(()).unwrap();
    let mut got = [0; 6];
    next.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"re: b\n");
    let totals = bed.server.stop().unwrap();
    assert_eq!(value_of(&totals, "completions"), Some(2), "{totals:?}");
}

/// The asked server answers twice, then half, then restarts its connection.
fn no_client_gets_more_or_less_than_its_own_answer(transport: Transport) {
    let Some(network) = need_root().then(|| Network::new(1).unwrap()) else { return };
    let listener = network.server.run(|| TcpListener::bind("127.0.0.1:0")).unwrap();
    let at = listener.local_addr().unwrap();
    let bed = Bed::start_in(network, transport, move || forward::server(at, 1));
    let mut client = bed.connect();
    let mut expect = |line: &str, answer: &str, end: fn(&TcpStream), expected: &str| {
        client.write_all(line.as_bytes()).unwrap();
        let mut asked = BufReader::new(listener.accept().unwrap().0);
        let mut got = String::new();
        asked.read_line(&mut got).unwrap();
        assert_eq!(got, line);
        asked.get_mut().write_all(answer.as_bytes()).unwrap();
        end(asked.get_ref());
        let mut got = vec![0; expected.len()];
        client.read_exact(&mut got).unwrap();
        assert_eq!(String::from_utf8(got).unwrap(), expected, "{line}");
        asked
    };
    let close = |stream: &TcpStream| stream.shutdown(Shutdown::Both).unwrap();
    // Each line comes on a new connection: the one before is out of step, half closed, or closed.
    let mut kept = expect("a\n", "1\n2\n", |_| {}, "1\n");
    drop(expect("b\n", "half", close, "ERROR\n"));
    assert_eq!(kept.read_line(&mut String::new()).unwrap_or(0), 0, "nothing more was asked there");
    drop(expect("c\n", "3\n", close, "3\n"));
    drop(expect("d\n", "4\n", |_| {}, "4\n"));
}

/// Does with each line what the line says.
fn misbehave(stream: TcpStream) {
    let mut lines = BufReader::new(stream);
    let mut line = String::new();
    while lines.read_line(&mut line).is_ok_and(|n| n > 0) {
        let stream = lines.get_mut();
        let sent = match &line[..4] {
            "good" => write!(stream, "re: {line}"),
            "late" => {
                std::thread::sleep(Duration::from_millis(30));
                write!(stream, "re: {line}")
            }
            // In one segment: an answer too many that comes later cannot be told from the next.
            "twic" => stream.write_all(format!("re: {line}re: {line}").as_bytes()),
            "long" => stream.write_all(&[b'x'; 80 << 10]),
            "half" => {
                let _ = stream.write_all(b"re: ha");
                let reset = Some(Duration::ZERO);
                return rustix::net::sockopt::set_socket_linger(stream, reset).unwrap();
            }
            _ => return,
        };
        if sent.is_err() {
            return;
        }
        line.clear();
    }
}

/// The answer of [`misbehave`] to a line as its client sees it.
fn expected_of(line: &str) -> String {
    match &line[..4] {
        "good" | "late" | "twic" => format!("re: {line}"),
        _ => "ERROR\n".to_owned(),
    }
}

/// Lines of all kinds from clients that split them, pipeline them, leave, and close half: each gets
/// the answers to its own lines in order.
fn an_asked_server_that_misbehaves_harms_its_own_clients_only(transport: Transport) {
    let Some(network) = need_root().then(|| Network::new(1).unwrap()) else { return };
    let listener = network.server.run(|| TcpListener::bind("127.0.0.1:0")).unwrap();
    let at = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || misbehave(stream.unwrap()));
        }
    });
    let bed = Bed::start_in(network, transport, move || forward::server(at, 4));
    let seed = crate::common::seed();
    std::thread::scope(|scope| {
        for number in 0..6u64 {
            let bed = &bed;
            scope.spawn(move || {
                let mut random = Random::new(seed ^ (number + 1) << 32);
                (0..15).for_each(|turn| ask_misbehaving(bed, &mut random, number * 100 + turn));
            });
        }
    });
    bed.wait_for("forward_connections_open", 0);
    let totals = bed.server.stop().unwrap();
    assert_eq!(value_of(&totals, "handler_panics"), Some(0), "SIMOOM_TEST_SEED={seed} {totals:?}");
}

/// One client with its lines.
fn ask_misbehaving(bed: &Bed, random: &mut Random, number: u64) {
    let kinds = ["good", "late", "twice", "long", "half", "none"];
    let kind = |random: &mut Random| kinds[random.index(kinds.len())];
    let lines: Vec<String> =
        (0..1 + random.index(6)).map(|n| format!("{} {number} {n}\n", kind(random))).collect();
    let mut stream = bed.connect();
    let all = lines.concat();
    let cut = random.index(all.len());
    stream.write_all(&all.as_bytes()[..cut]).unwrap();
    if random.index(4) == 0 {
        rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
        return;
    }
    stream.write_all(&all.as_bytes()[cut..]).unwrap();
    if random.index(2) == 0 {
        stream.shutdown(Shutdown::Write).unwrap();
    }
    let mut answers = BufReader::new(stream);
    for line in &lines {
        let mut got = String::new();
        answers.read_line(&mut got).unwrap();
        // On a loaded machine an answer may take longer than the handler waits.
        assert!(got == expected_of(line) || got == "ERROR\n", "{line:?}: {got:?} of {lines:?}");
    }
}

fn a_drain_waits_for_answers_that_come_later(transport: Transport) {
    let Some((bed, asked)) = forwarding(transport) else { return };
    let mut client = bed.connect();
    client.write_all(b"a\n").unwrap();
    let (_, answer) = asked.next();
    let Bed { server, network, .. } = bed;
    let listeners = server.listeners().clone();
    let drained = std::thread::spawn(move || server.drain(TEST_TIMEOUT).unwrap());
    wait_until("the drain has begun", TEST_TIMEOUT, || listeners.all().is_empty());
    answer.send(()).unwrap();
    let mut all = String::new();
    client.read_to_string(&mut all).unwrap();
    assert_eq!(all, "re: a\n");
    drop(client);
    let totals = drained.join().unwrap();
    assert_eq!(value_of(&totals, "completions"), Some(1), "{totals:?}");
    drop(network);
}

/// The value of a metric that is published.
pub(crate) fn value_of(totals: &[simoom::metrics::Count], name: &str) -> Option<u64> {
    totals.iter().find(|(metric, _)| *metric == name).map(|(_, value)| *value)
}

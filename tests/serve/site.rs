//! A running server with the network it serves, its files and its metrics.

use crate::TEST_TIMEOUT;
use crate::client::Client;
use crate::common::{Network, Process, need_root, run_in, simoom, wait_until};
use simoom_io::testing::Random;
use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::{ChildStderr, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The port that is served.
pub const PORT: u16 = 8080;
/// Where the admin endpoint is, in the server's namespace.
pub const ADMIN: &str = "127.0.0.1:9090";
/// The files that every site serves, with their sizes.
pub const FILES: [(&str, usize); 4] =
    [("/12", 12), ("/4k", 4096), ("/64k", 65_536), (LARGE, 10 << 20)];
/// The largest file: more than all buffers between server and client hold.
pub const LARGE: &str = "/10m";

/// Bytes of the pipe of [`Plan::start_unread_in`].
pub const UNREAD_BYTES: usize = 4096;

/// Which way the packets come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Xdp,
    IoUring,
    Epoll,
}

/// Whether this machine lets io_uring be used; skips the test if not.
pub fn need_io_uring() -> bool {
    simoom::kernel::io_uring().inspect_err(|reason| crate::common::skip(reason)).is_ok()
}

/// A server that runs.
pub struct Site {
    pub network: Network,
    pub process: Process,
    log: Arc<Mutex<String>>,
    root: TempDir,
}

/// What a site is to be like.
pub struct Plan {
    pub transport: Transport,
    pub queues: u32,
    pub mtu_bytes: u32,
    pub arguments: Vec<String>,
}

impl Plan {
    pub fn new(transport: Transport) -> Plan {
        Plan { transport, queues: 1, mtu_bytes: 1500, arguments: Vec::new() }
    }

    /// More flags, as they would be typed.
    pub fn with(mut self, arguments: &str) -> Plan {
        self.arguments.extend(arguments.split_whitespace().map(String::from));
        self
    }

    /// The network alone; `None`, with the test skipped, where there can be none.
    pub fn network(&self) -> Option<Network> {
        if !need_root() {
            return None;
        }
        let network = Network::new(self.queues).unwrap();
        for (namespace, name) in [(&network.server, "s0"), (&network.client, "c0")] {
            namespace.run(|| simoom::netns::set_mtu(name, self.mtu_bytes)).unwrap();
        }
        Some(network)
    }

    /// Starts the server; `None`, with the test skipped, where that cannot be.
    pub fn start(self) -> Option<Site> {
        let network = self.network()?;
        Some(self.start_in(network))
    }

    /// Starts the server in a network made before.
    pub fn start_in(self, network: Network) -> Site {
        self.start_with(network, files())
    }

    /// Starts the server in a network made before, with the files under `root`.
    pub fn start_with(self, network: Network, root: TempDir) -> Site {
        let mut command = self.command(root.path());
        command.stderr(Stdio::piped());
        Site::of(network, root, command)
    }

    /// Starts the server in a network made before, with this pipe for its log. Makes it a pipe of
    /// 4 KiB and reads it until the server serves.
    pub fn start_unread_in(
        self,
        network: Network,
        reader: PipeReader,
        writer: PipeWriter,
    ) -> (Site, BufReader<PipeReader>) {
        let root = files();
        let mut command = self.command(root.path());
        rustix::pipe::fcntl_setpipe_size(&writer, UNREAD_BYTES).unwrap();
        let process = network.server.run(|| Process::start(command.stderr(writer)));
        // The command has the other end of the pipe: with it this process would never see the log's
        // end.
        drop(command);
        let (mut reader, mut log) = (BufReader::new(reader), String::new());
        while !log.contains("\"serving\"") {
            assert!(reader.read_line(&mut log).unwrap() > 0, "the server ended:\n{log}");
        }
        (Site { network, process, log: Arc::new(Mutex::new(log)), root }, reader)
    }

    /// The command that starts the server, which serves the files under `root`.
    pub fn command(&self, root: &std::path::Path) -> std::process::Command {
        let mut command = simoom();
        command.args(["serve", "--admin", ADMIN, "--log", "json", "--root"]).arg(root);
        match self.transport {
            Transport::Xdp => command.args([
                "--transport",
                "xdp",
                "--interface",
                "s0",
                "--http",
                &PORT.to_string(),
            ]),
            Transport::IoUring => {
                command.args(["--transport", "io-uring", "--http", &format!("0.0.0.0:{PORT}")])
            }
            Transport::Epoll => {
                command.args(["--transport", "epoll", "--http", &format!("0.0.0.0:{PORT}")])
            }
        };
        if !self.arguments.iter().any(|argument| argument == "--cores") {
            command.args(["--cores", "0"]);
        }
        command.args(&self.arguments);
        command
    }
}

impl Site {
    /// Starts the server as usual over `transport`.
    pub fn start(transport: Transport) -> Option<Site> {
        Plan::new(transport).start()
    }

    /// Runs `command` in the network's server namespace and waits until it serves.
    pub fn of(network: Network, root: TempDir, mut command: std::process::Command) -> Site {
        let mut process = network.server.run(|| Process::start(&mut command));
        let stderr = process.child().stderr.take().expect("standard error is piped");
        let log = Arc::new(Mutex::new(String::new()));
        let mut site = Site { network, process, log: log.clone(), root };
        std::thread::spawn(move || collect(stderr, &log));
        site.wait_for_log("\"serving\"");
        site
    }

    /// Waits until the log has `text`.
    pub fn wait_for_log(&mut self, text: &str) {
        wait_until(&format!("the log says {text}"), TEST_TIMEOUT, || {
            let said = self.log().contains(text);
            assert!(said || self.process.is_running(), "the server ended:\n{}", self.log());
            said
        });
    }

    /// What the server has logged.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Where the server's own address is served.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.network.address(1), PORT)
    }

    /// Where the files are.
    pub fn root(&self) -> &std::path::Path {
        self.root.path()
    }

    /// What a file of [`FILES`] holds.
    pub fn content(&self, path: &str) -> Vec<u8> {
        std::fs::read(self.root.path().join(&path[1..])).unwrap()
    }

    /// A client in the client's namespace, connected to the server's own address.
    pub fn connect(&self) -> Client {
        self.connect_to(self.address())
    }

    /// A client connected to another address.
    pub fn connect_to(&self, address: SocketAddr) -> Client {
        let stream = self.network.client.run(|| TcpStream::connect_timeout(&address, TEST_TIMEOUT));
        Client::new(stream.unwrap_or_else(|error| {
            panic!("connecting to {address}: {error}\n{}{}", self.log(), self.metrics())
        }))
    }

    /// Runs a program in the client's namespace; returns what it wrote to standard output.
    pub fn run_client(&self, program: &str, arguments: &[&str]) -> String {
        run_in(&self.network.client, program, arguments)
    }

    /// Asks for three echoes from the client, with these flags of ping's, and gets them all.
    pub fn ping(&self, address: IpAddr, flags: &[&str]) {
        let address = address.to_string();
        let arguments = [&["-c", "3", "-i", "0.2", "-W", "20"], flags, &[&address]].concat();
        let report = self.run_client("ping", &arguments);
        assert!(report.contains(" 3 received") && report.contains(" 0% packet loss"), "{report}");
    }

    /// Others are served: a new connection and the answers to a few requests on it.
    pub fn serves_others(&self) {
        let mut other = self.connect();
        for _ in 0..3 {
            other.expect("/12", &self.content("/12"));
        }
    }

    /// The whole answer of the admin endpoint to a request for this path.
    pub fn admin(&self, path: &str) -> String {
        ask_admin(&self.network, path).unwrap()
    }

    /// All metrics, as the admin endpoint shows them.
    pub fn metrics(&self) -> String {
        let text = self.admin("/metrics");
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        text
    }

    /// One counter, or gauge, of each worker that has it.
    pub fn counters(&self, name: &str) -> Vec<(String, u64)> {
        let prefixes = ["_total", ""].map(|suffix| format!("simoom_{name}{suffix}{{worker=\""));
        let metrics = self.metrics();
        let lines = metrics
            .lines()
            .filter_map(|line| prefixes.iter().find_map(|prefix| line.strip_prefix(prefix)));
        let found: Vec<(String, u64)> = lines
            .map(|line| {
                let (worker, value) = line.split_once("\"} ").unwrap();
                (worker.to_owned(), value.parse().unwrap())
            })
            .collect();
        assert!(!found.is_empty(), "there is no counter {name} in\n{metrics}");
        found
    }

    /// The sum of one counter over all workers.
    pub fn counter(&self, name: &str) -> u64 {
        self.counters(name).iter().map(|(_, value)| value).sum()
    }

    /// Waits until the worker whose counter it is has published it for the first time.
    pub fn wait_for_counter(&self, name: &str) {
        let published = format!("simoom_{name}");
        wait_until(&format!("{name} is published"), TEST_TIMEOUT, || {
            self.metrics().contains(&published)
        });
    }

    /// Waits until a counter is at least `least`.
    pub fn wait_for(&self, name: &str, least: u64) {
        let deadline = Instant::now() + TEST_TIMEOUT;
        while self.counter(name) < least {
            assert!(Instant::now() < deadline, "{name} did not reach {least}:\n{}", self.metrics());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends the server with SIGTERM; returns how it ended.
    pub fn terminate(&mut self) -> ExitStatus {
        self.process.signal(rustix::process::Signal::TERM);
        self.process.wait(TEST_TIMEOUT)
    }
}

/// The whole answer of the admin endpoint in the network's server namespace.
pub fn ask_admin(network: &Network, path: &str) -> std::io::Result<String> {
    let mut stream = network.server.run(|| TcpStream::connect(ADMIN))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: admin\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// An address of the site's network with the port that is served.
pub fn at(address: IpAddr) -> SocketAddr {
    SocketAddr::new(address, PORT)
}

fn collect(stderr: ChildStderr, log: &Mutex<String>) {
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        let mut log = log.lock().unwrap();
        log.push_str(&line);
        log.push('\n');
    }
}

/// A directory with [`FILES`] of bytes that do not repeat themselves.
pub fn files() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, len) in FILES {
        std::fs::write(root.path().join(&path[1..]), Random::new(0).bytes(len)).unwrap();
    }
    root
}

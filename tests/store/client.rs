//! A server with a cache, Simoom or memcached, and a client that keeps requests in step.

use crate::common::{Network, Process, memcached, need_root, simoom, skip};
use simoom::Stopper;
use simoom::config::{Endpoint, Serve, ServeOptions, usable_cores};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Requests in flight: their answers fit in the buffers of the sockets.
const IN_FLIGHT: usize = 100;
/// The port of caches in a namespace.
const PORT: u16 = 11211;

/// A running cache.
pub enum Target {
    Simoom {
        address: SocketAddr,
        stopper: Stopper,
        thread: Option<JoinHandle<()>>,
    },
    Memcached {
        directory: tempfile::TempDir,
        _process: Process,
    },
    /// A program in the server's namespace. Clients are in the other one.
    InNamespace {
        process: Process,
        network: Network,
        is_simoom: bool,
    },
}

impl Target {
    /// Simoom with one worker over kernel sockets.
    pub fn simoom(memory_bytes: u64) -> Target {
        let options = ServeOptions {
            memcached: Some(Endpoint { address: Some(LOOPBACK), port: 0 }),
            memory: Some(memory_bytes),
            connections: Some(64),
            ..ServeOptions::default()
        };
        let cores = usable_cores().expect("cores");
        let serve = Serve::resolve(options, &cores[..1]).expect("valid options");
        let mut server = simoom::serve::start(&serve).expect("the server starts");
        let (address, stopper) = (server.addresses()[0], server.stopper());
        // The control thread: it maintains the store.
        let thread = std::thread::spawn(move || {
            server.wait().expect("the server runs");
            server.drain(Duration::from_secs(60)).expect("the server drains");
        });
        Target::Simoom { address, stopper, thread: Some(thread) }
    }

    /// The memcached that is installed.
    pub fn memcached(memory_bytes: u64) -> Target {
        let directory = tempfile::tempdir().expect("a directory for the socket");
        let (process, _) = memcached::start(directory.path(), memory_bytes >> 20);
        Target::Memcached { directory, _process: process }
    }

    /// Simoom in a namespace, with one worker over a transport: `xdp` or `io-uring`. `None`, with
    /// the test skipped, where that cannot be.
    pub fn simoom_over(transport: &str, memory_bytes: u64) -> Option<Target> {
        if transport == "io-uring"
            && let Err(reason) = simoom::kernel::io_uring()
        {
            skip(&reason);
            return None;
        }
        let mut command = simoom();
        command.args(["serve", "--cores", "0", "--transport", transport, "--memory"]);
        command.arg(memory_bytes.to_string()).stderr(Stdio::null());
        match transport {
            "xdp" => command.args(["--interface", "s0", "--memcached", &PORT.to_string()]),
            _ => command.args(["--memcached", &format!("0.0.0.0:{PORT}")]),
        };
        Target::in_namespace(command, true)
    }

    /// As [`Target::simoom_over`], for the memcached that is installed.
    pub fn memcached_over_tcp(memory_bytes: u64) -> Option<Target> {
        let mut command = Command::new("memcached");
        command.args(["-u", "root", "-t", "1", "-p", &PORT.to_string(), "-m"]);
        command.arg((memory_bytes >> 20).to_string()).stdin(Stdio::null());
        Target::in_namespace(command, false)
    }

    fn in_namespace(mut command: Command, is_simoom: bool) -> Option<Target> {
        if !need_root() {
            return None;
        }
        let network = Network::new(1).expect("a network");
        let process = network.server.run(|| Process::start(&mut command));
        network.wait_for_listener(PORT, Duration::from_secs(60));
        Some(Target::InNamespace { process, network, is_simoom })
    }

    /// Bytes of the resident set of a program in a namespace.
    pub fn resident_bytes(&self) -> Option<u64> {
        let Target::InNamespace { process, .. } = self else { return None };
        let path = format!("/proc/{}/status", process.id());
        let status = std::fs::read_to_string(path).expect("the program runs");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        resident?.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib << 10)
    }

    pub fn is_simoom(&self) -> bool {
        matches!(self, Target::Simoom { .. } | Target::InNamespace { is_simoom: true, .. })
    }

    pub fn connect(&self) -> Client {
        match self {
            Target::Simoom { address, .. } => Client::over_tcp(TcpStream::connect(address)),
            Target::InNamespace { network, .. } => {
                let address = SocketAddr::new(network.address(1), PORT);
                Client::over_tcp(network.client.run(|| TcpStream::connect(address)))
            }
            Target::Memcached { directory, .. } => {
                let path = directory.path().join("socket");
                let stream = UnixStream::connect(path).expect("memcached listens");
                stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
                Client(BufReader::new(Box::new(stream)))
            }
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Target::Simoom { stopper, thread, .. } = self {
            stopper.stop();
            let ended = thread.take().map(JoinHandle::join);
            assert!(ended.is_none_or(|ended| ended.is_ok()) || std::thread::panicking());
        }
    }
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// A connection.
pub struct Client(BufReader<Box<dyn Stream>>);

impl Client {
    fn over_tcp(stream: std::io::Result<TcpStream>) -> Client {
        let stream = stream.expect("the cache listens");
        stream.set_nodelay(true).expect("a TCP socket");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        Client(BufReader::new(Box::new(stream)))
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).expect("the server reads");
    }

    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("the server answers");
        line
    }

    pub fn send_set(&mut self, key: &str, value: &[u8]) {
        let mut request = format!("set {key} 0 0 {}\r\n", value.len()).into_bytes();
        request.extend_from_slice(value);
        request.extend_from_slice(b"\r\n");
        self.send(&request);
    }

    /// Whether the value is stored.
    pub fn set(&mut self, key: &str, value: &[u8]) -> bool {
        self.send_set(key, value);
        self.line() == "STORED\r\n"
    }

    pub fn send_get(&mut self, key: &str) {
        self.send(format!("get {key}\r\n").as_bytes());
    }

    /// Reads the answer to a get of one key. Returns whether the item was there.
    pub fn is_hit(&mut self) -> bool {
        let line = self.line();
        if line == "END\r\n" {
            return false;
        }
        let bytes = line.trim_end().rsplit(' ').next().and_then(|word| word.parse::<u64>().ok());
        let bytes = bytes.unwrap_or_else(|| panic!("a get answers {line:?}")) + 2;
        let read = std::io::copy(&mut (&mut self.0).take(bytes), &mut std::io::sink());
        assert_eq!(read.expect("the value"), bytes);
        assert_eq!(self.line(), "END\r\n");
        true
    }

    pub fn get(&mut self, key: &str) -> bool {
        self.send_get(key);
        self.is_hit()
    }

    /// For each key whether its item is there. Transfers no values.
    pub fn are_there(&mut self, keys: &[String]) -> Vec<bool> {
        let mut found = Vec::with_capacity(keys.len());
        for keys in keys.chunks(IN_FLIGHT) {
            let request: String = keys.iter().map(|key| format!("mg {key}\r\n")).collect();
            self.send(request.as_bytes());
            found.extend(keys.iter().map(|_| self.line().starts_with("HD")));
        }
        found
    }

    /// Stores one value under each key; waits for no answer to single sets.
    pub fn set_all(&mut self, keys: &[String], exptime: u32, value: &str) {
        for keys in keys.chunks(IN_FLIGHT) {
            let set = |key| format!("set {key} 0 {exptime} {} noreply\r\n{value}\r\n", value.len());
            let request: String = keys.iter().map(set).collect();
            self.send(format!("{request}mn\r\n").as_bytes());
            assert_eq!(self.line(), "MN\r\n");
        }
    }

    pub fn ask(&mut self, request: &str) -> String {
        self.send(format!("{request}\r\n").as_bytes());
        self.line()
    }

    /// A number of `stats`.
    pub fn stat(&mut self, name: &str) -> u64 {
        self.send(b"stats\r\n");
        let mut number = None;
        loop {
            let line = self.line();
            let words: Vec<_> = line.split_ascii_whitespace().collect();
            match words[..] {
                ["END"] => return number.unwrap_or_else(|| panic!("no stat {name}")),
                ["STAT", found, value] if found == name => number = value.parse().ok(),
                _ => {}
            }
        }
    }
}

//! A server with a cache, Simoom or memcached, and a client that keeps requests in step.

use crate::common::{Process, memcached};
use simoom::Stopper;
use simoom::config::{Endpoint, Serve, ServeOptions, usable_cores};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::Duration;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Requests in flight: their answers fit in the buffers of the sockets.
const IN_FLIGHT: usize = 100;

/// A running cache.
pub enum Target {
    Simoom { address: SocketAddr, stopper: Stopper, thread: Option<JoinHandle<()>> },
    Memcached { directory: tempfile::TempDir, _process: Process },
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

    pub fn is_simoom(&self) -> bool {
        matches!(self, Target::Simoom { .. })
    }

    pub fn connect(&self) -> Client {
        match self {
            Target::Simoom { address, .. } => {
                let stream = TcpStream::connect(address).expect("simoom listens");
                stream.set_nodelay(true).expect("a TCP socket");
                stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
                Client(BufReader::new(Box::new(stream)))
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

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// A connection.
pub struct Client(BufReader<Box<dyn Stream>>);

impl Client {
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

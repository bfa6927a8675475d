//! A running memcached, and a connection to it or to Simoom that makes their answers comparable.

use crate::common::TEST_TIMEOUT;
use crate::common::{Process, skip};
use crate::differences::comparable;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// An installed memcached on a port of its own.
pub struct Memcached {
    _process: Process,
    address: SocketAddr,
    version: String,
}

impl Memcached {
    /// Starts one; `None`, with the test skipped, if none is installed.
    pub fn start() -> Option<Memcached> {
        let program = std::env::var("SIMOOM_TEST_MEMCACHED").unwrap_or_else(|_| "memcached".into());
        let Ok(told) = Command::new(&program).arg("-V").output() else {
            skip(&format!("needs the program {program}, which is not installed"));
            return None;
        };
        let version = String::from_utf8_lossy(&told.stdout)
            .trim()
            .trim_start_matches("memcached ")
            .to_owned();
        for _ in 0..10 {
            let address = free_address();
            if let Some(process) = serve(&program, address) {
                println!("beside memcached {version}");
                return Some(Memcached { _process: process, address, version });
            }
        }
        panic!("{program} ends as soon as it is started");
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn version(&self) -> &str {
        &self.version
    }
}

/// One of the two.
pub struct Peer {
    address: SocketAddr,
    text: TcpStream,
    binary: TcpStream,
    /// The cas unique of each key that was last told, for requests that name it.
    cas: u64,
}

/// Stands in a request for the cas unique that was told last; as long as the longest.
pub const CAS: &[u8] = b"@@@@@@@@@@@@@@@@@@@@";

/// Ends an answer that ended the connection.
pub const CLOSED: &[u8] = b"<closed>";

/// A request and its answer that show where the answers before it end.
const MARK: &[u8] = b"mn\r\n";
const MARKED: &[u8] = b"MN\r\n";
/// Behind this request there is no mark: nobody would read it.
const QUIT: &[u8] = b"quit\r\n";

impl Peer {
    pub fn connect(address: SocketAddr) -> Peer {
        Peer { address, text: connect(address), binary: connect(address), cas: 999_999_999 }
    }

    /// What a request of the text protocols is answered; [`CLOSED`] at the end if that ends the
    /// connection, which is then made anew.
    pub fn ask(&mut self, request: &[u8]) -> Vec<u8> {
        self.pipeline(&[request], &[])
    }

    /// What a pipeline is answered that is sent in pieces of these sizes, over and over.
    pub fn pipeline<R: AsRef<[u8]>>(&mut self, requests: &[R], sizes: &[usize]) -> Vec<u8> {
        let mut all: Vec<u8> =
            requests.iter().flat_map(|request| self.fill_in(request.as_ref())).collect();
        if requests.last().is_none_or(|last| last.as_ref() != QUIT) {
            all.extend(MARK);
        }
        let answer = exchange(&mut self.text, &all, MARKED, sizes);
        if answer.ends_with(CLOSED) {
            self.text = connect(self.address);
        }
        self.note_cas(&answer);
        comparable(&answer)
    }

    /// What a packet is answered, cas uniques left out.
    pub fn exchange(&mut self, packet: &[u8]) -> Vec<u8> {
        let noop = [&[0x80, 10][..], &[0; 10], b"last", &[0; 8]].concat();
        let end = [&[0x81, 10][..], &[0; 10], b"last", &[0; 8]].concat();
        let mut answer = exchange(&mut self.binary, &[packet, &noop].concat(), &end, &[]);
        if answer.ends_with(CLOSED) {
            self.binary = connect(self.address);
        }
        let mut at = 0;
        while answer.get(at) == Some(&0x81) && answer.len() >= at + 24 {
            let body = u32::from_be_bytes(answer[at + 8..at + 12].try_into().unwrap()) as usize;
            answer[at + 16..at + 24].fill(0);
            at += 24 + body;
        }
        answer
    }

    fn fill_in(&self, request: &[u8]) -> Vec<u8> {
        let Some(at) = request.windows(CAS.len()).position(|window| window == CAS) else {
            return request.to_vec();
        };
        let cas = self.cas.to_string();
        [&request[..at], cas.as_bytes(), &request[at + CAS.len()..]].concat()
    }

    fn note_cas(&mut self, answer: &[u8]) {
        let text = String::from_utf8_lossy(answer);
        let mut told = text
            .lines()
            .filter(|line| line.starts_with("VALUE "))
            .filter_map(|line| line.split(' ').nth(4));
        self.cas = told.next_back().and_then(|cas| cas.parse().ok()).unwrap_or(self.cas);
    }
}

/// The program once it answers at `address`; `None` if it has ended, because another program took
/// the port meanwhile.
fn serve(program: &str, address: SocketAddr) -> Option<Process> {
    let port = address.port().to_string();
    let mut command = Command::new(program);
    command.args(["-l", "127.0.0.1", "-p", &port, "-U", &port, "-t", "1", "-u", "root"]);
    // Without threads that hold items for a moment: whether a number is counted in place would be
    // left to chance.
    command.args(["-o", "no_lru_maintainer,no_lru_crawler"]);
    let mut process = Process::start(command.stdin(Stdio::null()).stderr(Stdio::null()));
    let deadline = Instant::now() + TEST_TIMEOUT;
    let told = format!("STAT pid {}\r\n", process.child().id());
    loop {
        let answers = TcpStream::connect(address).is_ok_and(|mut stream| {
            let mut line = vec![0; told.len()];
            let asked = stream
                .set_read_timeout(Some(TEST_TIMEOUT))
                .and_then(|()| stream.write_all(b"stats\r\n"));
            asked
                .and_then(|()| stream.read_exact(&mut line))
                .is_ok_and(|()| line == told.as_bytes())
        });
        if answers {
            return Some(process);
        }
        if process.child().try_wait().unwrap().is_some() {
            return None;
        }
        assert!(Instant::now() < deadline, "{program} does not listen on {address}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A port of loopback that is free for TCP and UDP.
fn free_address() -> SocketAddr {
    loop {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        if UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    stream
}

/// Sends `bytes` in pieces and reads up to `end`, or until the connection is closed.
fn exchange(stream: &mut TcpStream, bytes: &[u8], end: &[u8], sizes: &[usize]) -> Vec<u8> {
    let mut answer = Vec::new();
    let mut rest = bytes;
    let mut sizes = sizes.iter().cycle();
    while !rest.is_empty() {
        let size = sizes.next().map_or(rest.len(), |size| (*size).clamp(1, rest.len()));
        let (piece, behind) = rest.split_at(size);
        // A peer that has hung up is noticed when reading.
        if stream.write_all(piece).is_err() {
            break;
        }
        rest = behind;
    }
    let mut buffer = [0; 65536];
    while !answer.ends_with(end) {
        match stream.read(&mut buffer) {
            Ok(0) => return [&answer, CLOSED].concat(),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                return [&answer, CLOSED].concat();
            }
            Err(error) => {
                panic!("{error} behind {} of {}", answer.escape_ascii(), bytes.escape_ascii())
            }
            Ok(n) => answer.extend_from_slice(&buffer[..n]),
        }
    }
    answer.truncate(answer.len() - end.len());
    answer
}

//! Simoom and memcached side by side: what one is sent the other is sent, and their answers are
//! compared. A difference that is not known ends the test, with the requests that led there.

use crate::common::seed;
use crate::differences;
use crate::peer::{CLOSED, Memcached, Peer};
use simoom::Server;
use simoom::config::{Endpoint, Serve, ServeOptions, usable_cores};
use simoom_io::testing::Random;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Requests that are told when a test fails, the last ones.
const TOLD: usize = 60;

/// Both of them.
pub struct Beside {
    ours: Peer,
    theirs: Peer,
    version: String,
    /// What was sent last.
    sent: Vec<Vec<u8>>,
}

/// What both have answered.
pub struct Agreed {
    /// Simoom's words.
    pub answer: Vec<u8>,
    /// Whether memcached's are the very same; if not, they differ as is known.
    pub exactly: bool,
}

impl Beside {
    /// Runs `compare` with connections to both, Simoom's over kernel sockets on loopback, and the
    /// numbers it draws from.
    pub fn run(compare: impl FnOnce(Beside, Random)) {
        let Some(memcached) = Memcached::start() else { return };
        let server = simoom();
        let ours = Peer::connect(server.addresses()[0]);
        let theirs = Peer::connect(memcached.address());
        let version = memcached.version().to_owned();
        compare(Beside { ours, theirs, version, sent: Vec::new() }, Random::new(seed()));
        server.drain(Duration::from_secs(60)).unwrap();
    }

    /// The version of memcached.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Sends one request of the text protocols.
    pub fn ask(&mut self, request: &[u8]) -> Agreed {
        self.note(request);
        let (mine, other) = (self.ours.ask(request), self.theirs.ask(request));
        if differences::is_misread_number(&self.version, &mine, &other) {
            let words: Vec<&[u8]> = request.split(u8::is_ascii_whitespace).collect();
            return self.forget(words[1], mine);
        }
        let is_known = differences::may_differ(request, false)
            || differences::differ_in_words(&self.version, &mine, &other);
        let agreed = self.agreed(mine, &other, is_known);
        match differences::key_counted_and_changed(request) {
            Some(key) => self.forget(key, agreed.answer),
            None => agreed,
        }
    }

    /// Sends requests behind one another, in pieces of the given sizes, over and over.
    pub fn pipeline(&mut self, requests: &[Vec<u8>], sizes: &[usize]) -> Agreed {
        self.sent = requests.to_vec();
        let (mine, other) =
            (self.ours.pipeline(requests, sizes), self.theirs.pipeline(requests, sizes));
        self.agreed(mine, &other, false)
    }

    /// Sends one packet of the binary protocol.
    pub fn exchange(&mut self, packet: &[u8]) -> Agreed {
        self.note(packet);
        let (mine, other) = (self.ours.exchange(packet), self.theirs.exchange(packet));
        if differences::is_misread_number(&self.version, &mine, &other) {
            let key = packet[24 + usize::from(packet[4])..][..usize::from(packet[3])].to_vec();
            return self.forget(&key, mine);
        }
        let is_version = packet[1] == 0x0b && packet[8..12] == [0; 4];
        self.agreed(mine, &other, is_version && differences::is_old(&self.version))
    }

    /// What the two answer, not compared.
    pub fn both(&mut self, request: &[u8]) -> (Vec<u8>, Vec<u8>) {
        (self.ours.ask(request), self.theirs.ask(request))
    }

    /// The item is not the same in both: with this key they would answer differently from here on.
    fn forget(&mut self, key: &[u8], answer: Vec<u8>) -> Agreed {
        self.both(&[b"delete ", key, b"\r\n"].concat());
        Agreed { answer, exactly: false }
    }

    fn note(&mut self, request: &[u8]) {
        self.sent.push(request.to_vec());
        self.sent.drain(..self.sent.len().saturating_sub(TOLD));
    }

    fn agreed(&self, answer: Vec<u8>, other: &[u8], is_known: bool) -> Agreed {
        let exactly = answer == other;
        if !exactly && !is_known {
            self.fail(&answer, other);
        }
        Agreed { answer, exactly }
    }

    /// What differs, with the requests that led there, long values cut.
    fn fail(&self, mine: &[u8], other: &[u8]) -> ! {
        let cut = |bytes: &[u8]| bytes[..bytes.len().min(300)].escape_ascii().to_string();
        let requests: Vec<String> = self.sent.iter().map(|request| cut(request)).collect();
        let at = mine.iter().zip(other).take_while(|(a, b)| a == b).count().saturating_sub(20);
        panic!(
            "behind\n  {}\n  simoom    …{}\n  memcached …{} ({})",
            requests.join("\n  "),
            cut(&mine[at..]),
            cut(&other[at..]),
            self.version
        )
    }
}

impl Agreed {
    /// Whether both have closed the connection.
    pub fn closes(&self) -> bool {
        self.answer.ends_with(CLOSED)
    }
}

/// Simoom over kernel sockets on loopback, and over UDP.
pub fn simoom() -> Server {
    let free = Endpoint { address: Some(LOOPBACK), port: 0 };
    let options = ServeOptions {
        memcached: Some(free),
        memcached_udp: Some(free),
        connections: Some(64),
        ..ServeOptions::default()
    };
    let cores = usable_cores().unwrap();
    simoom::serve::start(&Serve::resolve(options, &cores[..1]).unwrap()).unwrap()
}

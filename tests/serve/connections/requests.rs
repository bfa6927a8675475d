//! What hostile clients send: requests good, broken, unfinished and too long, of all protocols.

use crate::site::LARGE;
use simoom_io::testing::Random;

/// What a hostile client does for a while. One abuse by all connections at once uses up a pool;
/// everything in turn hardly ever does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Anything,
    /// Begins requests and does not end them.
    HalfRequests,
    /// Announces content and does not send all of it.
    Uploads,
    /// Asks for much and does not read.
    NoReading,
}

impl Mood {
    pub fn draw(random: &mut Random) -> Mood {
        [Mood::Anything, Mood::HalfRequests, Mood::Uploads, Mood::NoReading][random.index(4)]
    }
}

/// Something to send to HTTP.
pub fn http(mood: Mood, random: &mut Random) -> Vec<u8> {
    let kind = match mood {
        Mood::Anything => random.index(12),
        Mood::HalfRequests => 3,
        Mood::Uploads => 6 + random.index(2),
        Mood::NoReading => random.index(2),
    };
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: site\r\n\r\n").into_bytes();
    match kind {
        0 => get(LARGE),
        1 => get("/12").repeat(1 + random.index(300)),
        2 => get(["/4k", "/64k", "/nowhere", "/../x"][random.index(4)]),
        // A head without its end, up to beyond the limit.
        3..=5 => {
            let field = "y".repeat(random.index(9000));
            format!("GET /12 HTTP/1.1\r\nHost: site\r\nX: {field}").into_bytes()
        }
        // Content that may never come.
        6 => upload(random, "POST /12 HTTP/1.1\r\nHost: site\r\nContent-Length: ", "\r\n\r\n"),
        7 => {
            let head = "POST /12 HTTP/1.1\r\nHost: site\r\nTransfer-Encoding: chunked\r\n\r\n";
            let (said, sent) = (random.index(1 << 20), random.index(5000));
            format!("{head}{said:x}\r\n{}", "z".repeat(sent)).into_bytes()
        }
        8 => b"GET /12 HTTP/1.0\r\n\r\n\r\n".to_vec(),
        // Bytes behind the last request.
        9 => {
            let last = b"GET /64k HTTP/1.1\r\nHost: site\r\nConnection: close\r\n\r\n";
            [&last[..], &noise(random, 3000)].concat()
        }
        10 => changed(random, get("/4k")),
        _ => noise(random, 2000),
    }
}

/// Something to send to memcached: text, meta or binary.
pub fn memcached(mood: Mood, random: &mut Random) -> Vec<u8> {
    let kind = match mood {
        Mood::Anything => random.index(14),
        Mood::HalfRequests => 9,
        Mood::Uploads => 3 + random.index(3),
        // Something to read must be stored first.
        Mood::NoReading => [0, 6, 7, 8][random.index(4)],
    };
    let key = random.index(40);
    match kind {
        0..=2 => {
            let len = [10, 1000, 60_000, 1_000_000][random.index(4)];
            [format!("set h{key} 0 0 {len}\r\n").as_bytes(), &vec![b'v'; len], b"\r\n"].concat()
        }
        // Values that may never come to their end.
        3 | 4 => upload(random, &format!("set h{key} 0 0 "), "\r\n"),
        5 => upload(random, &format!("ms h{key} "), "\r\n"),
        // Up to 40,000 keys in a line, whose values the client may never read.
        6 => {
            let keys = format!(" h{key}").repeat(random.index(40_000));
            format!("get{keys}\r\n").into_bytes()
        }
        7 => format!("get {}\r\n", format!("h{key} ").repeat(40)).into_bytes(),
        8 => format!("mg h{key} v k t\r\n").repeat(1 + random.index(500)).into_bytes(),
        9 => format!("get {}", "k".repeat(random.index(70_000))).into_bytes(),
        10 => packet(random.index(30) as u8, format!("h{key}").as_bytes(), random.index(3) * 100),
        // Says that it has more content than it sends.
        11 => packet(1, b"\0\0\0\0\0\0\0\0h", random.index(1 << 20)),
        12 => changed(random, format!("set h{key} 0 0 10\r\n0123456789\r\n").into_bytes()),
        _ => noise(random, 2000),
    }
}

/// A datagram for memcached, its frame sometimes good.
pub fn datagram(random: &mut Random) -> Vec<u8> {
    let total = [0, 1, 1, 2][random.index(4)];
    let frame = [0, random.next_u64() as u8, 0, 0, 0, total, 0, 0];
    let mut request = memcached(Mood::Anything, random);
    request.truncate(1400);
    [&frame[..], &request].concat()
}

/// A request that announces up to 1 MB, and none to all of that content.
fn upload(random: &mut Random, head: &str, end: &str) -> Vec<u8> {
    let len = 1 + random.index(1_000_000);
    let sent = [0, 1, len / 2, len - 1][random.index(4)].min(random.index(200_000));
    [format!("{head}{len}{end}").into_bytes(), vec![b'u'; sent]].concat()
}

/// A binary packet that announces `more` bytes beyond the key.
fn packet(opcode: u8, key: &[u8], more: usize) -> Vec<u8> {
    // A flush would take the good clients' items away.
    let opcode = if matches!(opcode, 0x08 | 0x18) { 0 } else { opcode };
    let body = ((key.len() + more) as u32).to_be_bytes();
    let head = [0x80, opcode, 0, key.len() as u8, 0, 0, 0, 0];
    [&head[..], &body, &[0; 12], key].concat()
}

/// With up to four bytes changed.
fn changed(random: &mut Random, mut bytes: Vec<u8>) -> Vec<u8> {
    for _ in 0..=random.index(3) {
        let at = random.index(bytes.len());
        bytes[at] = random.next_u64() as u8;
    }
    bytes
}

fn noise(random: &mut Random, max: usize) -> Vec<u8> {
    (0..random.index(max)).map(|_| random.next_u64() as u8).collect()
}

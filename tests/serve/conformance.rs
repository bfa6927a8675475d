//! The cases of http_cases.txt, over each transport, split at every byte, and against nginx.
//!
//! A case is a rule, requests, the expected responses, and what becomes of the connection. nginx
//! 1.22 answers a case with a line `nginx` otherwise: with these statuses (up to the first that
//! differs), with other fields, or with another end. A difference without such a line fails, and a
//! line without a difference.

use crate::TEST_TIMEOUT;
use crate::client::Client;
use crate::common::{Network, Process, need_program, need_root};
use crate::over_all;
use crate::site::{Plan, Site, Transport};
use simoom::app::content::{self, Content};
use simoom::app::http::{Http, Options};
use simoom::app::testing::Line;
use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

over_all!(the_cases_hold);

const TABLE: &str = include_str!("http_cases.txt");
/// The version of nginx that the table explains.
const NGINX_VERSION: &str = "nginx/1.22.";
const NGINX_PORT: u16 = 8081;
const PROBE: &str = "GET /12 HTTP/1.1\r\nHost: a\r\nX: probe\r\n\r\n";

/// The files whose entity tags the cases use.
const TAGGED: [&str; 2] = ["/1k", "/coded.bin"];
/// The entity tags of [`TAGGED`].
type Tags = [String; 2];

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Keep,
    Close,
    /// The request is not complete: nothing is answered, and the connection stays open.
    Wait,
}

struct Case {
    line: usize,
    rule: &'static str,
    /// Whether each request is raw, and its text.
    requests: Vec<(bool, &'static str)>,
    responses: Vec<&'static str>,
    end: End,
    is_split: bool,
    nginx: Option<&'static str>,
}

fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for (index, line) in TABLE.lines().enumerate() {
        if line.is_empty() || line.starts_with("//") || line.starts_with("## ") {
            continue;
        }
        if let Some(rule) = line.strip_prefix("# ") {
            let (requests, responses) = Default::default();
            let (end, is_split, nginx) = (End::Keep, false, None);
            cases.push(Case { line: index + 1, rule, requests, responses, end, is_split, nginx });
            continue;
        }
        let case = cases.last_mut().expect("a rule before its case");
        match line.split_once(' ').unwrap_or((line, "")) {
            (">>", text) => case.requests.push((true, text)),
            (">", text) => case.requests.push((false, text)),
            ("<", text) => case.responses.push(text),
            ("nginx", text) => case.nginx = Some(text),
            ("keep", _) => case.end = End::Keep,
            ("close", _) => case.end = End::Close,
            ("wait", _) => case.end = End::Wait,
            ("split", _) => case.is_split = true,
            _ => panic!("http_cases.txt:{}: {line}", index + 1),
        }
    }
    cases
}

/// Decodes `\r`, `\n`, `\t`, `\0`, `\\`, `\x41`, `{text*1000}`, `{etag}` and `{plain}`.
fn decode(text: &str, tags: &Tags) -> Vec<u8> {
    let mut repeated = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (inner, behind) = after.split_once('}').expect("a closing brace");
        repeated.push_str(before);
        match inner.rsplit_once('*') {
            Some((text, count)) => repeated.push_str(&text.repeat(count.parse().unwrap())),
            None => repeated.push_str(&tags[usize::from(inner == "plain")]),
        }
        rest = behind;
    }
    repeated.push_str(rest);
    let mut decoded = Vec::new();
    let mut bytes = repeated.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'\\' => match bytes.next().expect("an escape") {
                b'r' => b'\r',
                b'n' => b'\n',
                b't' => b'\t',
                b'0' => 0,
                b'x' => {
                    let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                    u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
                }
                other => other,
            },
            byte => byte,
        });
    }
    decoded
}

impl Case {
    /// All requests as they are sent.
    fn bytes(&self, tags: &Tags) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (is_raw, text) in &self.requests {
            if *is_raw {
                bytes.extend(decode(text, tags));
                continue;
            }
            let mut parts = text.split(" | ");
            let line = parts.next().expect("a request line");
            let has_version = line.split(' ').count() > 2;
            bytes.extend(decode(line, tags));
            let end: &[u8] = if has_version { b"\r\n" } else { b" HTTP/1.1\r\nHost: a\r\n" };
            bytes.extend(end);
            let mut content = Vec::new();
            for part in parts {
                match part.strip_prefix("= ") {
                    Some(text) => content = decode(text, tags),
                    None => bytes.extend([decode(part, tags), b"\r\n".to_vec()].concat()),
                }
            }
            bytes.extend([b"\r\n".to_vec(), content].concat());
        }
        bytes
    }

    fn is_head(&self, index: usize) -> bool {
        self.requests.get(index).is_some_and(|(_, text)| text.starts_with("HEAD "))
    }

    /// Sends the case over a new connection. Returns the statuses, and each difference.
    fn run(&self, server: &Server<'_>, is_split: bool) -> (Vec<u16>, Vec<String>) {
        let mut connection = server.connect();
        let bytes = self.bytes(&server.tags);
        let sizes = if is_split { 1 } else { bytes.len() };
        // The server may refuse a request before it has read it all, and close.
        let _ = bytes.chunks(sizes).try_for_each(|chunk| connection.stream.write_all(chunk));
        let (mut statuses, mut differences) = (Vec::new(), Vec::new());
        let mut finals = 0;
        for expected in &self.responses {
            let Some(response) = connection.response(self.is_head(finals)) else {
                differences.push(format!("no response for {expected}"));
                break;
            };
            finals += usize::from(response.status != 100);
            statuses.push(response.status);
            if let Err(difference) = response.check(expected, &server.tags) {
                differences.push(difference);
            }
            // Another status: further responses may never come.
            if !expected.starts_with(&response.status.to_string()) {
                break;
            }
        }
        if differences.is_empty() {
            let end = server.end_of(&mut connection, self.end);
            if end != self.end {
                differences.push(format!("end: {end:?} instead of {:?}", self.end));
            }
        }
        (statuses, differences)
    }
}

struct Response {
    status: u16,
    head: String,
    content: Vec<u8>,
}

impl Response {
    fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    fn check(&self, expected: &str, tags: &Tags) -> Result<(), String> {
        let mut parts = expected.split(" | ");
        let status = parts.next().unwrap();
        if self.status.to_string() != status {
            return Err(format!("status: {} instead of {status}", self.status));
        }
        parts.try_for_each(|part| {
            self.check_part(part, tags).map_err(|what| format!("{part}: {what}"))
        })
    }

    fn check_part(&self, part: &str, tags: &Tags) -> Result<(), String> {
        let same = |is: bool, what: String| if is { Ok(()) } else { Err(what) };
        if let Some(name) = part.strip_prefix('!') {
            return same(self.field(name).is_none(), format!("{:?}", self.field(name)));
        }
        if let Some(len) = part.strip_prefix('#') {
            return same(self.content.len().to_string() == len, self.content.len().to_string());
        }
        if let Some(ranges) = part.strip_prefix("parts ") {
            return self.check_parts(ranges);
        }
        if let Some(content) = part.strip_prefix('=') {
            let content = decode(content.strip_prefix(' ').unwrap_or(""), tags);
            let found = String::from_utf8_lossy(&self.content).into_owned();
            return same(self.content == content, found);
        }
        let (name, value) = part.split_once(": ").expect("a field");
        let value = decode(value, tags);
        let found = self.field(name);
        same(found.is_some_and(|found| found.as_bytes() == value), format!("{found:?}"))
    }

    /// The content is multipart/byteranges with these ranges of /1k.
    fn check_parts(&self, ranges: &str) -> Result<(), String> {
        let file = thousand();
        let boundary = self
            .field("Content-Type")
            .and_then(|value| value.strip_prefix("multipart/byteranges; boundary="))
            .ok_or("no multipart")?;
        let text = String::from_utf8_lossy(&self.content).into_owned();
        let mut expected = String::new();
        for range in ranges.split(' ') {
            let (first, last) = range.split_once('-').unwrap();
            let bytes = &file[first.parse().unwrap()..=last.parse::<usize>().unwrap()];
            let _ = write!(
                expected,
                "\r\n--{boundary}\r\nContent-Type: application/octet-stream\r\n\
                 Content-Range: bytes {range}/1000\r\n\r\n{bytes}"
            );
        }
        let _ = write!(expected, "\r\n--{boundary}--\r\n");
        if text == expected { Ok(()) } else { Err(text) }
    }
}

/// A connection and the bytes that were read but not parsed.
struct Connection {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Connection {
    /// Reads more. False at the end, or after a reset.
    fn more(&mut self) -> bool {
        let mut buffer = [0; 16 << 10];
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(n) => {
                self.unread.extend(&buffer[..n]);
                true
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("reading a response: {error}"),
        }
    }

    /// The next response. `None` if the connection ends before it. Status 0 for bytes that are no
    /// response.
    fn response(&mut self, is_head: bool) -> Option<Response> {
        let end = loop {
            if let Some(at) = memchr::memmem::find(&self.unread, b"\r\n\r\n") {
                break at + 4;
            }
            if !self.more() {
                return None;
            }
        };
        let content = self.unread.split_off(end);
        let head = String::from_utf8(std::mem::replace(&mut self.unread, content)).unwrap();
        let status = head.strip_prefix("HTTP/1.1 ").map_or(0, |text| text[..3].parse().unwrap());
        let mut response = Response { status, head, content: Vec::new() };
        let has_content = !is_head && !matches!(status, 100 | 204 | 304);
        if let Some(len) = response.field("Content-Length").filter(|_| has_content) {
            let len: usize = len.parse().unwrap();
            while self.unread.len() < len && self.more() {}
            let behind = self.unread.split_off(len.min(self.unread.len()));
            response.content = std::mem::replace(&mut self.unread, behind);
        }
        Some(response)
    }
}

/// A server to run the cases against.
struct Server<'a> {
    network: &'a Network,
    at: SocketAddr,
    tags: Tags,
}

impl<'a> Server<'a> {
    fn new(network: &'a Network, at: SocketAddr) -> Server<'a> {
        let mut server = Server { network, at, tags: Tags::default() };
        server.tags = TAGGED.map(|path| {
            let mut connection = server.connect();
            let request = format!("HEAD {path} HTTP/1.1\r\nHost: a\r\n\r\n");
            connection.stream.write_all(request.as_bytes()).unwrap();
            let response = connection.response(true).expect("the head of a file");
            response.field("ETag").expect("an entity tag").to_owned()
        });
        server
    }

    fn connect(&self) -> Connection {
        let stream = self.network.client.run(|| TcpStream::connect_timeout(&self.at, TEST_TIMEOUT));
        let Client { stream, .. } = Client::new(stream.unwrap());
        Connection { stream, unread: Vec::new() }
    }

    /// What becomes of the connection after the responses.
    fn end_of(&self, connection: &mut Connection, expected: End) -> End {
        if expected == End::Wait {
            // The server answers another client after it has seen this one's bytes.
            let mut other = self.connect();
            other.stream.write_all(PROBE.as_bytes()).unwrap();
            assert!(other.response(false).is_some_and(|response| response.status == 200));
            connection.stream.set_nonblocking(true).unwrap();
            let silent = connection
                .stream
                .read(&mut [0])
                .is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
            return if silent { End::Wait } else { End::Close };
        }
        let _ = connection.stream.write_all(PROBE.as_bytes());
        // A server that waits for more content takes this for content, and is not asked to end.
        connection.stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        match connection.response(false) {
            Some(response) if response.status == 200 => End::Keep,
            Some(_) => End::Wait,
            None => End::Close,
        }
    }
}

/// The content of /1k: its own offsets.
fn thousand() -> String {
    (0..250).fold(String::new(), |mut text, number| {
        let _ = write!(text, "{number:03} ");
        text
    })
}

/// The files that the cases ask for, all modified at one time.
fn root() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("dir")).unwrap();
    let thousand = thousand();
    let files = [
        ("12", "Hello, all!\n"),
        ("1k", &thousand),
        ("index.html", "<p>index\n"),
        ("dir/index.html", "<p>dir\n"),
        ("empty", ""),
        ("a b", "space\n"),
        ("caf\u{e9}", "utf8\n"),
        ("coded.bin", "plain text"),
        ("coded.bin.gz", "\u{1f}\u{8} in gzip"),
    ];
    let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(700_000_000);
    for (name, content) in files {
        let path = root.path().join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
    }
    root
}

fn the_cases_hold(transport: Transport) {
    let Some(network) = Plan::new(transport).network() else { return };
    let site: Site = Plan::new(transport).start_with(network, root());
    let server = Server::new(&site.network, site.address());
    let mut failures = String::new();
    for case in cases() {
        let splits: &[bool] = if case.is_split { &[false, true] } else { &[false] };
        for is_split in splits {
            let (statuses, differences) = case.run(&server, *is_split);
            if !differences.is_empty() {
                let Case { line, rule, .. } = case;
                let _ = writeln!(
                    failures,
                    "http_cases.txt:{line}: {rule} (split: {is_split}): {statuses:?} {differences:?}"
                );
            }
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
}

#[test]
fn there_are_at_least_250_cases_and_each_has_a_rule() {
    let cases = cases();
    assert!(cases.len() >= 250, "{}", cases.len());
    for case in &cases {
        assert!(case.rule.contains("RFC ") || case.rule.starts_with("h1spec: "), "{}", case.rule);
        assert!(!case.requests.is_empty(), "{}", case.rule);
        assert_eq!(case.responses.is_empty(), case.end == End::Wait, "{}", case.rule);
        assert!(case.nginx.is_none_or(|text| text.split_once(": ").is_some()), "{}", case.rule);
    }
}

/// In memory, each case is split in two at every byte, and gets the same bytes as whole.
#[test]
fn each_case_may_be_split_anywhere() {
    let root = root();
    let site = content::Site { root: Some(root.path().into()), ..content::Site::default() };
    let settings = content::Settings { limit_bytes: 1 << 20, site, ..Default::default() };
    let content = Arc::new(Content::load(&settings).unwrap());
    let answer = |parts: [&[u8]; 2]| {
        let mut http = Http::new(content.clone(), Options::default());
        http.clock(784_111_777);
        let mut line = Line::open(http, 80);
        let mut answers = Vec::new();
        for part in parts {
            if !line.closed() {
                line.offer(part);
                answers.extend(line.take());
            }
        }
        (answers, line.closed())
    };
    let tags = TAGGED.map(|path| {
        let request = format!("HEAD {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        let head = String::from_utf8(answer([request.as_bytes(), b""]).0).unwrap();
        let (_, behind) = head.split_once("ETag: ").unwrap();
        behind.lines().next().unwrap().to_owned()
    });
    for case in cases() {
        let bytes = case.bytes(&tags);
        let whole = answer([&bytes, b""]);
        // The longest requests test limits, which other tests approach byte by byte.
        for at in (1..bytes.len()).filter(|_| bytes.len() < 1000) {
            let (first, second) = bytes.split_at(at);
            assert!(answer([first, second]) == whole, "{} split at {at}", case.rule);
        }
    }
}

fn nginx(network: &Network, root: &Path) -> Process {
    let work = root.display();
    let at = SocketAddr::new(network.address(1), NGINX_PORT);
    let configuration = format!(
        "daemon off; master_process off; pid {work}/nginx.pid; error_log {work}/error.log;
         events {{ worker_connections 100; }}
         http {{ access_log off; default_type application/octet-stream;
                 types {{ text/html html; }} charset utf-8; charset_types text/html;
                 client_body_temp_path {work}/body; proxy_temp_path {work}/proxy;
                 fastcgi_temp_path {work}/fastcgi; uwsgi_temp_path {work}/uwsgi;
                 scgi_temp_path {work}/scgi;
                 server {{ listen {at}; root {work}; }} }}"
    );
    let path = root.join("nginx.conf");
    std::fs::write(&path, configuration).unwrap();
    let mut command = Command::new("nginx");
    command.arg("-p").arg(root).arg("-c").arg(&path).stdin(Stdio::null()).stderr(Stdio::null());
    let process = network.server.run(|| Process::start(&mut command));
    network.wait_for_listener(NGINX_PORT, TEST_TIMEOUT);
    process
}

/// Each difference between nginx and the table is explained, and each explanation is needed.
#[test]
fn differences_to_nginx_are_explained() {
    if !need_root() || !need_program("nginx") {
        return;
    }
    let version = Command::new("nginx").arg("-v").output().unwrap();
    if !String::from_utf8_lossy(&version.stderr).contains(NGINX_VERSION) {
        println!("the table explains {NGINX_VERSION}x, not this version");
        return;
    }
    let network = Network::new(1).unwrap();
    let root = root();
    let _nginx = nginx(&network, root.path());
    let server = Server::new(&network, SocketAddr::new(network.address(1), NGINX_PORT));
    let mut failures = String::new();
    for case in cases() {
        // nginx waits for the rest of such content, and so would this test.
        if case.nginx.is_some_and(|text| text.starts_with("end: reads content past")) {
            continue;
        }
        let (statuses, differences) = case.run(&server, false);
        let explained = case.nginx.and_then(|text| text.split_once(": ")).map(|(what, _)| what);
        let expected: Vec<_> = case
            .responses
            .iter()
            .map(|response| response.split(' ').next().unwrap().parse().unwrap_or(0))
            .collect();
        let found = match &differences[..] {
            [] => None,
            _ if statuses != expected && statuses.is_empty() => Some("none".to_owned()),
            _ if statuses != expected => {
                Some(statuses.iter().map(u16::to_string).collect::<Vec<_>>().join(" "))
            }
            [difference, ..] if difference.starts_with("end: ") => Some("end".to_owned()),
            _ => Some("fields".to_owned()),
        };
        if found.as_deref() != explained {
            let Case { line, rule, .. } = case;
            let _ = writeln!(
                failures,
                "http_cases.txt:{line}: {rule}: {found:?}, explained: {explained:?}: {differences:?}"
            );
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
}

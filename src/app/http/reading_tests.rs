//! Answers with files on disk. The test runs the requests for parts itself, so a disk is as slow as
//! the test wants.

use super::*;
use crate::app::content::{Disk, Settings, Site};
use crate::app::disk::Request;
use crate::app::testing::Line;
use crate::control::{CommandReceiver, CommandSender, command_channel};
use crossbeam_channel::Receiver;
use simoom_io::send::Pool;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use tempfile::TempDir;

const BUFFER_BYTES: usize = 8 << 20;

/// A handler whose files are all on disk, one connection, and what the threads would read.
struct Bed {
    root: TempDir,
    line: Line<Http>,
    requests: Receiver<Request>,
    commands: CommandReceiver,
    sender: CommandSender,
    reader: FileReader,
}

impl Bed {
    fn new(files: &[(&str, usize)]) -> Bed {
        Bed::with(files, BUFFER_BYTES, Pool::new(64, 64))
    }

    fn with(files: &[(&str, usize)], buffer_bytes: usize, pool: Pool<Blob>) -> Bed {
        let root = tempfile::tempdir().unwrap();
        for (name, len) in files {
            fs::write(root.path().join(name), bytes(*len)).unwrap();
        }
        let content = Content::load(&settings(root.path())).unwrap();
        let (reader, requests) = FileReader::without_threads(buffer_bytes);
        let (sender, commands) = command_channel().unwrap();
        let http = Http::new(Arc::new(content), Options::default());
        let http = http.with_files(reader.clone(), sender.later(), 4);
        let line = Line::open_with(http, 80, pool);
        Bed { root, line, requests, commands, sender, reader }
    }

    /// Passes completions to the handler. Returns whether there was any.
    fn complete(&mut self) -> bool {
        let mut any = false;
        while let Some((_, completed)) = self.commands.completions().take() {
            self.line.complete(completed);
            any = true;
        }
        any
    }

    /// Reads what was asked for. Returns whether anything was.
    fn read(&mut self) -> bool {
        let request = self.requests.try_recv().map(Request::run).is_ok();
        self.complete() | request
    }

    /// Reads and takes until nothing happens. Returns what the client got.
    fn take(&mut self) -> Vec<u8> {
        let mut taken = Vec::new();
        loop {
            let reads = self.read();
            let more = self.line.take();
            if !reads && more.is_empty() {
                return taken;
            }
            taken.extend(more);
        }
    }

    fn get(&mut self, path: &str, fields: &str) -> (String, Vec<u8>) {
        self.line.offer(format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes());
        split(&self.take())
    }

    /// Writes an access log to the buffer from now on.
    fn log(&mut self) -> Arc<Buffer> {
        let buffer = Buffer::new();
        self.line.app.access = Some(Access::new(buffer.clone(), 4));
        buffer
    }

    fn counter(&self, of: impl Fn(&Counters) -> u64) -> u64 {
        of(self.line.app.counters())
    }
}

fn settings(root: &std::path::Path) -> Settings {
    Settings {
        limit_bytes: 1 << 30,
        disk: Some(Disk { large_bytes: 0, memory_bytes: 1 << 20, buffers_bytes: 0 }),
        site: Site { root: Some(root.into()), ..Site::default() },
        ..Settings::default()
    }
}

/// Bytes whose every 8 differ.
fn bytes(len: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..len.div_ceil(8))
        .flat_map(|n| (n as u64).wrapping_mul(0x9e37_79b9).to_le_bytes())
        .collect();
    bytes.truncate(len);
    bytes
}

fn split(answer: &[u8]) -> (String, Vec<u8>) {
    let end = memchr::memmem::find(answer, b"\r\n\r\n").map_or(answer.len(), |at| at + 4);
    (String::from_utf8(answer[..end].to_vec()).unwrap(), answer[end..].to_vec())
}

#[test]
fn files_of_any_length_come_whole_and_the_connection_persists() {
    for len in [1, 4095, 4096, 262_143, 262_144, 262_145, 1_000_000, 5_000_000] {
        let mut bed = Bed::new(&[("f", len)]);
        for _ in 0..2 {
            let (head, body) = bed.get("/f", "");
            assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
            assert!(head.contains(&format!("Content-Length: {len}\r\n")), "{head}");
            assert!(body == bytes(len), "{len}");
        }
        assert_eq!(bed.counter(|c| c.http_file_bytes), 2 * len as u64);
        assert_eq!(bed.counter(|c| c.http_responses_2xx), 2);
    }
}

#[test]
fn later_requests_of_a_pipeline_are_answered_in_order() {
    let mut bed = Bed::new(&[("f", 700_000), ("g", 10)]);
    let request = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    let pipeline = ["/f", "/none", "/g", "/f"].map(request).concat();
    bed.line.offer(pipeline.as_bytes());
    let answers = bed.take();
    let mut rest = &answers[..];
    for (status, body) in [(200, bytes(700_000)), (404, vec![]), (200, bytes(10))] {
        let (head, _) = split(rest);
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        let len = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
        let len: usize = len.parse().unwrap();
        assert!(status == 404 || rest[head.len()..][..len] == body);
        rest = &rest[head.len() + len..];
    }
    assert!(rest.ends_with(&bytes(700_000)[600_000..]));
}

#[test]
fn ranges_conditions_and_head_follow_the_rfc() {
    let mut bed = Bed::new(&[("f", 1_000_000)]);
    let all = bytes(1_000_000);
    let (head, body) = bed.get("/f", "Range: bytes=300000-899999\r\n");
    assert!(head.starts_with("HTTP/1.1 206 "), "{head}");
    assert!(head.contains("Content-Range: bytes 300000-899999/1000000\r\n"), "{head}");
    assert!(body == all[300_000..900_000]);
    let etag = head.lines().find_map(|line| line.strip_prefix("ETag: ")).unwrap().to_owned();
    let (head, body) = bed.get("/f", &format!("Range: bytes=-5\r\nIf-Range: {etag}\r\n"));
    assert!(head.starts_with("HTTP/1.1 206 ") && body == all[999_995..], "{head}");
    let (head, body) = bed.get("/f", "Range: bytes=-5\r\nIf-Range: \"other\"\r\n");
    assert!(head.starts_with("HTTP/1.1 200 ") && body == all, "{head}");
    let (head, _) = bed.get("/f", "Range: bytes=1000000-\r\n");
    assert!(head.starts_with("HTTP/1.1 416 "), "{head}");
    assert!(head.contains("Content-Range: bytes */1000000\r\n"), "{head}");
    let (head, body) = bed.get("/f", &format!("If-None-Match: {etag}\r\n"));
    assert!(head.starts_with("HTTP/1.1 304 ") && body.is_empty(), "{head}");
    let reads = bed.counter(|c| c.http_file_bytes);
    bed.line.offer(b"HEAD /f HTTP/1.1\r\nHost: a\r\n\r\n");
    let (head, body) = split(&bed.take());
    assert!(head.contains("Content-Length: 1000000\r\n") && body.is_empty(), "{head}");
    assert_eq!(bed.counter(|c| c.http_file_bytes), reads);
    bed.line.offer(b"GET /f HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    assert!(split(&bed.take()).1 == all);
}

/// The answer is that of the same file in memory, byte for byte.
#[test]
fn several_ranges_are_parts_of_one_response_as_from_memory() {
    let many: Vec<String> = (0..64).map(|n| format!("{}-{}", n * 5000, n * 5000 + 99)).collect();
    let cases = [
        "0-1,900000-900001",
        "0-299999,400000-999999",
        "900000-,0-9,-1",
        &many.join(","),
        // All of the file: the ranges are longer than it.
        "0-,0-,0-",
        "1000000-,5-6",
        "1000000-,2000000-",
    ];
    for pool in [(64, 64), (24, 8)] {
        let mut bed = Bed::with(&[("f", 1_000_000)], BUFFER_BYTES, Pool::new(pool.0, pool.1));
        let in_memory = Settings { disk: None, ..settings(bed.root.path()) };
        let in_memory = Arc::new(Content::load(&in_memory).unwrap());
        for ranges in cases {
            let fields = format!("Range: bytes={ranges}\r\n");
            let (head, body) = bed.get("/f", &fields);
            let mut line = Line::open(Http::new(in_memory.clone(), Options::default()), 80);
            line.offer(format!("GET /f HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes());
            let (wanted_head, wanted) = split(&line.take());
            let [head, wanted_head] = [head, wanted_head].map(|head| without_tags(&head));
            assert_eq!(head, wanted_head, "{ranges}");
            let [body, wanted] = [body, wanted].map(|body| without_boundary(&body));
            assert!(body == wanted, "{ranges}");
        }
        assert_eq!(bed.counter(|c| c.http_file_failures), 0);
        assert!(bed.get("/f", "").1 == bytes(1_000_000), "the connection persists");
    }
}

/// The head without what depends on the entity tag, which differs for a file on disk.
fn without_tags(head: &str) -> String {
    let lines = head.lines().filter(|line| !line.starts_with("ETag: "));
    let lines = lines.map(|line| line.split("boundary=").next().unwrap());
    lines.collect::<Vec<_>>().join("\n")
}

/// The content with a common boundary.
fn without_boundary(body: &[u8]) -> Vec<u8> {
    let Some(boundary) = body.strip_prefix(b"\r\n--").map(|rest| rest[..16].to_vec()) else {
        return body.to_vec();
    };
    let mut body = body.to_vec();
    while let Some(at) = memchr::memmem::find(&body, &boundary) {
        body[at..at + 16].fill(b'-');
    }
    body
}

#[test]
fn a_client_that_takes_nothing_holds_two_parts() {
    let mut bed = Bed::new(&[("f", 5_000_000)]);
    bed.line.offer(b"GET /f HTTP/1.1\r\nHost: a\r\n\r\n");
    while bed.read() {}
    let queued = bed.line.queued();
    assert!((1..=2 * (256 << 10) + 500).contains(&queued), "{queued}");
    // The deadline of the connection does not end an answer.
    for _ in 0..3 {
        assert!(bed.line.expire().is_some());
        assert!(!bed.line.is_over() && !bed.read());
    }
    assert!(split(&bed.take()).1 == bytes(5_000_000));
}

#[test]
fn slow_clients_keep_no_new_one_out_and_one_too_many_is_refused() {
    let mut bed = Bed::with(&[("f", 100_000)], 1 << 20, Pool::new(64, 64));
    let shared: Vec<_> = std::iter::from_fn(|| bed.reader.grant(u64::MAX)).collect();
    bed.line.offer(b"GET /f HTTP/1.1\r\nHost: a\r\n\r\n");
    while bed.read() {}
    assert!(bed.line.queued() < 2048 + 500, "one part of 2 KiB");
    assert!(split(&bed.take()).1 == bytes(100_000));
    let admitted: Vec<_> = std::iter::from_fn(|| bed.reader.admit()).collect();
    let (head, _) = bed.get("/f", "");
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert_eq!(bed.counter(|c| c.http_file_refusals), 1);
    drop((shared, admitted));
    assert!(bed.get("/f", "").1 == bytes(100_000));
}

#[test]
fn an_answer_waits_for_capacity_of_the_send_queue() {
    let mut bed = Bed::with(&[("f", 1_000_000)], BUFFER_BYTES, Pool::new(24, 8));
    let request = "GET /f HTTP/1.1\r\nHost: a\r\n\r\n";
    bed.line.offer(request.repeat(3).as_bytes());
    let taken = bed.take();
    let answer = taken.len() / 3;
    assert!((1_000_000..1_000_500).contains(&answer));
    assert!(taken.ends_with(&bytes(1_000_000)));
}

#[test]
fn a_file_that_changes_ends_the_connection_and_one_that_is_replaced_does_not() {
    type Change = fn(&std::path::Path);
    let truncate: Change =
        |path| OpenOptions::new().write(true).open(path).unwrap().set_len(900_000).unwrap();
    let overwrite: Change = |path| {
        let file = OpenOptions::new().write(true).open(path).unwrap();
        file.write_all_at(b"x", 999_999).unwrap();
        // The clock of the file system may not have ticked since the file was made.
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
    };
    let replace: Change = |path| {
        fs::write(path.with_extension("new"), vec![b'x'; 1_000_000]).unwrap();
        fs::rename(path.with_extension("new"), path).unwrap();
    };
    let remove: Change = |path| fs::remove_file(path).unwrap();
    let changes = [(truncate, false), (overwrite, false), (replace, true), (remove, true)];
    for (at, (change, is_whole)) in changes.into_iter().enumerate() {
        for before_first in [true, false] {
            let mut bed = Bed::new(&[("f", 1_000_000)]);
            bed.line.offer(b"GET /f HTTP/1.1\r\nHost: a\r\n\r\n");
            if !before_first {
                bed.read();
            }
            change(&bed.root.path().join("f"));
            let (head, body) = split(&bed.take());
            let failures = u64::from(!is_whole);
            assert_eq!(bed.counter(|c| c.http_file_failures), failures, "change {at}");
            assert_eq!(bed.line.aborted(), !is_whole && !before_first, "change {at}");
            if is_whole {
                assert!(body == bytes(1_000_000), "change {at}");
            } else if before_first {
                assert!(head.starts_with("HTTP/1.1 503 "), "change {at}: {head}");
            } else {
                assert!(bytes(1_000_000).starts_with(&body), "change {at}");
            }
        }
    }
}

#[test]
fn a_reload_does_not_touch_an_answer_in_progress() {
    let mut bed = Bed::new(&[("f", 1_000_000)]);
    bed.line.offer(b"GET /f HTTP/1.1\r\nHost: a\r\n\r\n");
    bed.read();
    let path = bed.root.path().join("f");
    fs::write(path.with_extension("new"), vec![b'x'; 500_000]).unwrap();
    fs::rename(path.with_extension("new"), &path).unwrap();
    let new = Content::load(&settings(bed.root.path())).unwrap();
    bed.line.app.current.replace(Arc::new(new));
    assert!(split(&bed.take()).1 == bytes(1_000_000));
    assert!(bed.get("/f", "").1 == vec![b'x'; 500_000]);
}

#[test]
fn an_answer_that_waits_is_logged_with_its_own_request() {
    let other = b"GET /none HTTP/1.1\r\nHost: a\r\n\r\n";
    let cases = [
        ("/f", "", 200),
        ("/f?range", "Range: bytes=300000-899999\r\n", 206),
        ("/f?ranges", "Range: bytes=0-99,300000-899999\r\n", 206),
        ("/f?content", "Content-Length: 3\r\n", 200),
        ("/f?changed", "", 503),
    ];
    for (target, fields, status) in cases {
        let mut bed = Bed::new(&[("f", 1_000_000)]);
        let buffer = bed.log();
        bed.line.offer(format!("GET {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes());
        bed.line.beside(|line| line.offer(other));
        if fields.starts_with("Content-Length") {
            bed.line.offer(b"abc");
            bed.line.beside(|line| line.offer(other));
        }
        if status == 503 {
            let file = OpenOptions::new().write(true).open(bed.root.path().join("f")).unwrap();
            file.set_len(900_000).unwrap();
        }
        let answer = bed.take().len() as u64;
        let mut spare = Vec::with_capacity(access::BUFFER_BYTES);
        buffer.take(&mut spare);
        let mut logged = records(&spare).filter(|record| record.target != b"/none");
        let record = logged.next().unwrap();
        assert_eq!((record.status, record.bytes), (status, answer), "{target}");
        assert_eq!(record.target, target.as_bytes());
        assert_eq!(logged.next(), None, "{target}");
    }
}

#[test]
fn a_request_with_content_gets_the_file_of_a_reload_meanwhile() {
    let mut bed = Bed::new(&[("f", 1_000_000)]);
    bed.line.offer(b"GET /f HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na");
    let path = bed.root.path().join("f");
    fs::write(path.with_extension("new"), vec![b'x'; 500_000]).unwrap();
    fs::rename(path.with_extension("new"), &path).unwrap();
    let new = Content::load(&settings(bed.root.path())).unwrap();
    bed.line.app.current.replace(Arc::new(new));
    bed.line.offer(b"bc");
    assert!(split(&bed.take()).1 == vec![b'x'; 500_000]);
}

#[test]
fn a_connection_that_ends_leaves_nothing_behind() {
    for reads in 0..4 {
        let mut bed = Bed::new(&[("f", 5_000_000)]);
        bed.line.offer(b"GET /f HTTP/1.1\r\nHost: a\r\n\r\n");
        for _ in 0..reads {
            bed.read();
        }
        bed.line.close();
        bed.line.take_all();
        assert_eq!(bed.line.app.files_waiting(), 0);
        while bed.requests.try_recv().map(Request::run).is_ok() {}
        while bed.commands.completions().take().is_some() {}
        let all = std::iter::from_fn(|| bed.reader.admit()).collect::<Vec<_>>().len();
        assert_eq!(all, BUFFER_BYTES / 4 * 3 / 2048, "after {reads} reads");
        let places = bed.line.app.files.as_ref().map(Files::is_empty);
        assert_eq!(places, Some(true));
    }
}

#[test]
fn without_a_reader_files_on_disk_are_refused() {
    let bed = Bed::new(&[("f", 10)]);
    let content = Content::load(&settings(bed.root.path())).unwrap();
    let mut line = Line::open(Http::new(Arc::new(content), Options::default()), 80);
    line.offer(b"GET /f HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(line.take().starts_with(b"HTTP/1.1 503 "));
    drop(bed.sender);
}

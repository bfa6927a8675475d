//! The records of the access log: each of its own request, each once.

use super::*;
use crate::app::testing::Line;

const GET: &[u8] = b"GET /12 HTTP/1.1\r\nHost: a\r\n\r\n";

fn logging() -> (Line<Http>, Arc<Buffer>) {
    let buffer = Buffer::new();
    let access = Access::new(buffer.clone(), 4);
    let content = Arc::new(Content::for_tests());
    let http = Http::new(content, Options::default()).with_access_log(Some(access));
    (Line::open(http, 80), buffer)
}

/// The new records: status, target and bytes.
fn taken(buffer: &Buffer) -> Vec<(u16, String, u64)> {
    let mut spare = Vec::with_capacity(BUFFER_BYTES);
    buffer.take(&mut spare);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    records(&spare).map(|record| (record.status, text(record.target), record.bytes)).collect()
}

/// Serves another connection of the same worker with `input`, or lets its time pass.
fn beside(line: &mut Line<Http>, input: Option<&[u8]>) {
    line.beside(|other| match input {
        Some(input) => other.offer(input),
        None => {
            other.offer(b"GE");
            other.expire();
        }
    });
}

#[test]
fn a_refused_connection_is_not_logged_with_the_request_of_another() {
    let ranges: Vec<_> = (0..60).map(|at| format!("{}-{}", at * 300, at * 300 + 199)).collect();
    let ranges = format!("Range: bytes={}\r\n", ranges.join(","));
    let content = "Content-Length: 3\r\n".to_owned();
    for fields in [content, ranges] {
        for input in [Some(&b"(\r\n\r\n"[..]), Some(&[b'x'; 20_000]), None] {
            let (mut line, buffer) = logging();
            let narrow = simoom_io::send::Pool::new(8, 8);
            if fields.starts_with("Range") {
                line = Line::open_with(line.app, 80, narrow);
            }
            line.offer(format!("GET /large HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes());
            beside(&mut line, input);
            let records = taken(&buffer);
            let (_, target, _) = records.iter().find(|(status, ..)| *status >= 400).unwrap();
            assert_eq!(target, "", "{fields:?} {input:?}");
        }
    }
}

#[test]
fn a_request_with_bad_content_is_logged_with_its_own_head() {
    let (mut line, buffer) = logging();
    line.offer(b"POST /chunks HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    beside(&mut line, Some(b"GET /12 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n"));
    line.offer(b"x\r\n");
    let refused = line.take().len() as u64;
    assert_eq!(taken(&buffer), [(400, "/chunks".into(), refused)]);
    let (mut line, buffer) = logging();
    line.offer(&[GET, b"POST /late HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n"].concat());
    line.expire();
    let records = taken(&buffer);
    let late = line.take().len() as u64 - records[0].2;
    assert_eq!(records[1], (408, "/late".into(), late));
}

#[test]
fn the_record_of_several_parts_has_all_bytes_and_comes_once() {
    for count in [3, 60] {
        let ranges: Vec<_> =
            (0..count).map(|at| format!("{}-{}", at * 300, at * 300 + 9)).collect();
        let (line, buffer) = logging();
        let mut line = Line::open_with(line.app, 80, simoom_io::send::Pool::new(8, 8));
        let head =
            format!("GET /large HTTP/1.1\r\nHost: a\r\nRange: bytes={}\r\n\r\n", ranges.join(","));
        line.offer(&[GET, head.as_bytes()].concat());
        let answers = line.take().len() as u64;
        let records = taken(&buffer);
        assert_eq!(records.len(), 2, "{records:?}");
        assert_eq!(records[1], (206, "/large".into(), answers - records[0].2));
    }
}

#[test]
fn a_list_over_several_fields_keeps_its_last_members() {
    let forwarded = |fields: &str| {
        let (mut line, buffer) = logging();
        line.offer(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes());
        let mut spare = Vec::with_capacity(BUFFER_BYTES);
        buffer.take(&mut spare);
        let record = records(&spare).next().unwrap();
        String::from_utf8(record.forwarded_for.to_vec()).unwrap()
    };
    assert_eq!(forwarded(""), "");
    assert_eq!(forwarded("X-Forwarded-For: 192.0.2.1\r\n"), "192.0.2.1");
    let two = "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 192.0.2.2\r\n";
    assert_eq!(forwarded(two), "192.0.2.1, 192.0.2.2");
    let long =
        format!("X-Forwarded-For: {}\r\nX-Forwarded-For: 192.0.2.2\r\n", "1.2.3.4,".repeat(900));
    let kept = forwarded(&long);
    assert!(kept.ends_with("1.2.3.4,, 192.0.2.2") && kept.len() <= 1024, "{kept}");
    assert!(
        kept.split(',').all(|member| ["1.2.3.4", "", " 192.0.2.2"].contains(&member)),
        "{kept}"
    );
    assert_eq!(
        forwarded(&format!("X-Forwarded-For: {}\r\n", "1".repeat(2000))),
        "",
        "no member is whole"
    );
}

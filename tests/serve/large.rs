//! Files that are read from disk for each request.

use crate::TEST_TIMEOUT;
use crate::client::get;
use crate::common::{need_program, wait_until};
use crate::over_all;
use crate::site::{LARGE, Plan, Site, Transport};
use std::fs::{self, OpenOptions};
use std::io::Read;

over_all!(
    a_file_on_disk_comes_whole,
    slow_readers_of_a_file_on_disk_leave_others_alone,
    curl_resumes_a_file_on_disk,
    a_file_that_is_replaced_while_it_is_sent_comes_whole,
    a_file_that_is_truncated_while_it_is_sent_is_cut_off,
    several_ranges_of_a_file_on_disk_come_in_parts,
);

/// A server that reads [`LARGE`] from disk. No timeout ends a client that a loaded machine slows
/// down.
fn start(transport: Transport) -> Option<Site> {
    let flags = "--large-file-size 1M --file-buffers 1M --file-threads 2 --send-timeout 10m \
                 --drain-timeout 60s";
    let site = Plan::new(transport).with(flags).start()?;
    site.wait_for("content_files_on_disk", 1);
    Some(site)
}

fn a_file_on_disk_comes_whole(transport: Transport) {
    let Some(site) = start(transport) else { return };
    let mut client = site.connect();
    let (small, large) = (site.content("/12"), site.content(LARGE));
    client.send([get(LARGE), get("/12"), get(LARGE)].concat());
    client.answer().is(200, &large);
    client.answer().is(200, &small);
    client.answer().is(200, &large);
    client.send(format!("GET {LARGE} HTTP/1.1\r\nHost: a\r\nRange: bytes=-1000000\r\n\r\n"));
    client.answer().is(206, &large[large.len() - 1_000_000..]);
    let mut old = site.connect();
    old.send(format!("GET {LARGE} HTTP/1.0\r\n\r\n"));
    old.answer().is(200, &large);
    old.expect_end();
    let mut half_closed = site.connect();
    half_closed.request(LARGE);
    half_closed.finish_sending();
    half_closed.answer().is(200, &large);
    half_closed.expect_end();
    site.wait_for("http_file_bytes", 4 * large.len() as u64 + 1_000_000);
    // A server that drains finishes what it has begun.
    let mut last = site.connect();
    last.request(LARGE);
    last.head();
    site.process.signal(rustix::process::Signal::TERM);
    assert!(last.take(large.len()) == large);
}

fn slow_readers_of_a_file_on_disk_leave_others_alone(transport: Transport) {
    let Some(site) = start(transport) else { return };
    let large = site.content(LARGE);
    let mut slow: Vec<_> = (0..40).map(|_| site.connect()).collect();
    for client in &mut slow {
        client.request(LARGE);
        client.head();
    }
    site.serves_others();
    site.connect().expect(LARGE, &large);
    for (number, mut client) in slow.into_iter().enumerate() {
        match number % 2 {
            0 => assert!(client.take(large.len()) == large, "client {number}"),
            _ => client.reset(),
        }
    }
    site.connect().expect(LARGE, &large);
    assert_eq!(site.counter("http_file_refusals"), 0);
}

fn curl_resumes_a_file_on_disk(transport: Transport) {
    if !need_program("curl") {
        return;
    }
    let Some(site) = start(transport) else { return };
    let to = tempfile::NamedTempFile::new().unwrap();
    let path = to.path().to_str().unwrap();
    let url = format!("http://{}{LARGE}", site.address());
    let large = site.content(LARGE);
    for len in [1, 300_000, 5_000_000, large.len() - 1] {
        fs::write(path, &large[..len]).unwrap();
        site.run_client("curl", &["-sSf", "--max-time", "60", "-C", "-", "-o", path, &url]);
        assert!(fs::read(path).unwrap() == large, "resumed at {len}");
    }
}

fn a_file_that_is_replaced_while_it_is_sent_comes_whole(transport: Transport) {
    let Some(site) = start(transport) else { return };
    let old = site.content(LARGE);
    let mut client = site.connect();
    client.request(LARGE);
    client.head();
    let path = site.root().join(&LARGE[1..]);
    let new = vec![b'n'; 2_000_000];
    fs::write(path.with_extension("new"), &new).unwrap();
    fs::rename(path.with_extension("new"), &path).unwrap();
    site.wait_for("content_reloads", 1);
    assert!(client.take(old.len()) == old);
    client.expect(LARGE, &new);
    assert_eq!(site.counter("http_file_failures"), 0);
}

fn a_file_that_is_truncated_while_it_is_sent_is_cut_off(transport: Transport) {
    let Some(mut site) = start(transport) else { return };
    let old = site.content(LARGE);
    let mut client = site.connect();
    client.request(LARGE);
    client.head();
    let file = OpenOptions::new().write(true).open(site.root().join(&LARGE[1..])).unwrap();
    file.set_len(2_000_000).unwrap();
    let mut taken = Vec::new();
    // The reset may be an error, and it may drop bytes that were received.
    let _ = client.stream.read_to_end(&mut taken);
    assert!(taken.len() < old.len(), "{} bytes", taken.len());
    site.wait_for("http_file_failures", 1);
    site.wait_for_log("a file cannot be read for its answer");
    site.serves_others();
}

fn several_ranges_of_a_file_on_disk_come_in_parts(transport: Transport) {
    let Some(site) = start(transport) else { return };
    let large = site.content(LARGE);
    let mut client = site.connect();
    let ranges = [0..2, 1_000_000..4_000_000, large.len() - 10..large.len()];
    let spec = ranges.clone().map(|range| format!("{}-{}", range.start, range.end - 1)).join(",");
    for _ in 0..2 {
        client.send(format!("GET {LARGE} HTTP/1.1\r\nHost: a\r\nRange: bytes={spec}\r\n\r\n"));
        let answer = client.answer();
        assert_eq!(answer.status, 206);
        let mut rest = &answer.body[..];
        for range in ranges.clone() {
            let end = rest.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
            let head = String::from_utf8(rest[..end].to_vec()).unwrap();
            let span = format!("bytes {}-{}/{}\r\n", range.start, range.end - 1, large.len());
            assert!(head.contains(&span), "{head}");
            assert!(rest[end..][..range.len()] == large[range.clone()]);
            rest = &rest[end + range.len()..];
        }
        assert!(rest.ends_with(b"--\r\n") && rest.len() == 24, "{rest:?}");
    }
    client.expect("/12", &site.content("/12"));
}

/// truncate(2) tells inotify(7) nothing that a writer who is at work does not.
#[test]
fn a_file_that_is_truncated_is_served_again_without_another_change() {
    let Some(site) = start(Transport::Epoll) else { return };
    let mut large = site.content(LARGE);
    let path = site.root().join(&LARGE[1..]);
    // Stays open: inotify(7) would tell that it is closed.
    let writer = fs::File::options().write(true).open(&path).unwrap();
    for len in [2_000_000, 1_900_000] {
        writer.set_len(len).unwrap();
        large.truncate(len as usize);
        let mut client = site.connect();
        wait_until("the shorter file is served", TEST_TIMEOUT, || {
            client.request(LARGE);
            let answer = client.answer();
            assert!([200, 503].contains(&answer.status), "{}", answer.status);
            answer.body == large
        });
    }
}

/// Neither memory nor threads are taken for files on disk before there is one.
#[test]
fn the_first_file_on_disk_may_come_with_a_reload() {
    let Some(site) = Site::start(Transport::Epoll) else { return };
    let threads = || {
        let tasks = fs::read_dir(format!("/proc/{}/task", site.process.id())).unwrap();
        let names = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("comm")));
        names.filter(|name| name.as_ref().is_ok_and(|name| name.starts_with("file "))).count()
    };
    assert_eq!(threads(), 0);
    let path = site.root().join("sparse");
    fs::File::create(&path).unwrap().set_len(300 << 20).unwrap();
    site.wait_for("content_files_on_disk", 1);
    assert_eq!(threads(), 4);
    let mut client = site.connect();
    client.send("GET /sparse HTTP/1.1\r\nHost: a\r\nRange: bytes=-1000000\r\n\r\n");
    client.answer().is(206, &[0; 1_000_000]);
}

//! The access log when its file is slow, full or replaced, and when the server ends.

use crate::client::Client;
use crate::common::wait_until;
use crate::site::{Plan, Site, Transport, at};
use crate::{TEST_TIMEOUT, client, over_all, site};
use rustix::process::Signal;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

over_all!(
    the_answers_of_the_drain_are_logged,
    lines_that_the_disk_refuses_are_counted,
    a_file_that_became_full_ends_with_a_whole_line,
    a_reader_that_stops_delays_no_reopening,
    each_proxy_adds_a_field_and_the_last_one_names_the_client,
);

fn start(transport: Transport, log: &Path, flags: &str) -> Option<Site> {
    Plan::new(transport).with(&format!("--access-log {} {flags}", log.display())).start()
}

fn the_answers_of_the_drain_are_logged(transport: Transport) {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("access.log");
    let Some(mut site) = start(transport, &log, "--drain-timeout 60s") else { return };
    // Their content keeps the drain open: the server ends right after the last answer.
    let mut clients: Vec<Client> = (0..50).map(|_| site.connect()).collect();
    for client in &mut clients {
        client.send("GET /12 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n");
    }
    site.wait_for("http_requests", 50);
    site.process.signal(Signal::TERM);
    wait_until("it drains", TEST_TIMEOUT, || {
        site.admin("/readyz").ends_with("not ready: draining\n")
    });
    for client in &mut clients {
        client.send("x");
        assert_eq!(client.answer().status, 200);
    }
    drop(clients);
    assert_eq!(site.process.wait(TEST_TIMEOUT).code(), Some(0));
    let text = fs::read_to_string(&log).unwrap();
    assert_eq!(text.matches("\"GET /12 HTTP/1.1\" 200 ").count(), 50, "{text}");
}

fn lines_that_the_disk_refuses_are_counted(transport: Transport) {
    let Some(mut site) = start(transport, Path::new("/dev/full"), "") else { return };
    let mut client = site.connect();
    for _ in 0..20 {
        client.expect("/12", &site.content("/12"));
    }
    site.wait_for("http_access_log_lost", 20);
    assert_eq!(site.counter("http_access_log_lost"), 20);
    site.wait_for_log("the access log cannot be written");
    let warnings = site.log().matches("the access log cannot be written").count();
    assert_eq!(warnings, 1, "{}", site.log());
}

/// A limit of the size of files refuses the end of a line as a full disk does.
fn a_file_that_became_full_ends_with_a_whole_line(transport: Transport) {
    let plan = Plan::new(transport);
    let Some(network) = plan.network() else { return };
    let (root, directory) = (site::files(), tempfile::tempdir().unwrap());
    let log = directory.path().join("access.log");
    let flags = format!("--access-log {} --access-log-format common", log.display());
    let server = plan.with(&flags).command(root.path());
    let mut command = Command::new("sh");
    // Blocks of 512 bytes, or of 1024. The shell's children ignore the signal, too.
    let script = "trap '' XFSZ; ulimit -f 8; exec \"$@\"";
    command.args(["-c", script, "sh"]).arg(server.get_program()).args(server.get_args());
    command.stdin(Stdio::null()).stderr(Stdio::piped());
    let mut site = Site::of(network, root, command);
    let mut client = site.connect();
    let content = site.content("/12");
    let text = || fs::read_to_string(&log).unwrap();
    wait_until("the file is full", TEST_TIMEOUT, || {
        client.expect("/12", &content);
        site.counter("http_access_log_lost") > 0
    });
    assert!(!text().ends_with('\n'), "a part of a line: {}", text());
    drop(client);
    assert!(site.terminate().success(), "{}", site.log());
    let text = text();
    assert!(text.len() > 3900 && text.ends_with('\n'), "whole lines only: {text}");
}

fn a_reader_that_stops_delays_no_reopening(transport: Transport) {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("access.log");
    assert!(std::process::Command::new("mkfifo").arg(&log).status().unwrap().success());
    // Linux opens a FIFO for both without waiting.
    let reader = fs::OpenOptions::new().read(true).write(true).open(&log).unwrap();
    let Some(mut site) = start(transport, &log, "") else { return };
    rustix::pipe::fcntl_setpipe_size(&reader, 4096).unwrap();
    let mut client = site.connect();
    client.send(client::get("/12").repeat(200));
    for _ in 0..200 {
        assert_eq!(client.answer().status, 200);
    }
    // It has space for a fifth of them.
    wait_until("the FIFO has lines", TEST_TIMEOUT, || {
        rustix::io::ioctl_fionread(&reader).unwrap() > 0
    });
    fs::rename(&log, log.with_extension("old")).unwrap();
    site.process.signal(Signal::USR1);
    site.wait_for_log("opened the access log again");
    client.expect("/4k", &site.content("/4k"));
    wait_until("the new file has the line", TEST_TIMEOUT, || {
        fs::read_to_string(&log).is_ok_and(|text| text.contains("\"GET /4k HTTP/1.1\" 200 "))
    });
    let text = fs::read_to_string(&log).unwrap();
    assert!(text.lines().all(|line| line.contains("] \"GET ")), "whole lines only: {text}");
}

/// As HAProxy does, which adds a field of its own behind what the client sent.
fn each_proxy_adds_a_field_and_the_last_one_names_the_client(transport: Transport) {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("access.log");
    let Some(network) = Plan::new(transport).network() else { return };
    let flags = format!("--access-log {} --trusted-proxy {}", log.display(), network.address(2));
    let site = Plan::new(transport).with(&flags).start_in(network);
    let mut client = site.connect_to(at(site.network.address(1)));
    for forged in ["192.0.2.66".to_owned(), "192.0.2.66,".repeat(300)] {
        client.send(format!(
            "GET /12 HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {forged}\r\n\
             X-Forwarded-For: 198.51.100.7\r\n\r\n"
        ));
        assert_eq!(client.answer().status, 200);
    }
    wait_until("both lines are written", TEST_TIMEOUT, || {
        fs::read_to_string(&log).unwrap().lines().count() == 2
    });
    let text = fs::read_to_string(&log).unwrap();
    assert!(text.lines().all(|line| line.starts_with("198.51.100.7 - - [")), "{text}");
}

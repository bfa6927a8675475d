//! Content that changes while it is served, sites, and codings, with real clients.

use crate::client::Client;
use crate::common::{Process, need_program, wait_until};
use crate::over_all;
use crate::site::{Plan, Site, Transport, ask_admin};
use crate::{TEST_TIMEOUT, client};
use simoom_io::testing::Random;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

over_all!(
    a_changed_file_is_served_without_a_signal,
    content_switched_under_load_is_never_mixed,
    files_of_a_large_tree_change,
    curl_decodes_what_was_compressed_beforehand,
    the_access_log_has_each_answer,
    a_password_is_verified_while_others_are_served,
    a_proxy_names_the_client,
);

/// Replaces a file in one step.
fn replace(path: &Path, content: &[u8]) {
    let new = path.with_extension("new");
    fs::write(&new, content).unwrap();
    fs::rename(new, path).unwrap();
}

/// Waits until `path` is answered with `content`.
fn wait_for(client: &mut Client, path: &str, content: &[u8]) {
    wait_until(&format!("{path} is served anew"), TEST_TIMEOUT, || {
        client.request(path);
        client.answer().body == content
    });
}

fn a_changed_file_is_served_without_a_signal(transport: Transport) {
    let Some(mut site) = Site::start(transport) else { return };
    let mut client = site.connect();
    client.expect("/12", &site.content("/12"));
    replace(&site.root().join("12"), b"changed");
    wait_for(&mut client, "/12", b"changed");
    fs::create_dir_all(site.root().join("a/b")).unwrap();
    fs::write(site.root().join("a/b/new.html"), "new").unwrap();
    wait_for(&mut client, "/a/b/new.html", b"new");
    fs::write(site.root().join("a/b/new.html"), "in a new directory").unwrap();
    wait_for(&mut client, "/a/b/new.html", b"in a new directory");
    fs::remove_dir_all(site.root().join("a")).unwrap();
    wait_until("the file is gone", TEST_TIMEOUT, || {
        client.request("/a/b/new.html");
        client.answer().status == 404
    });
    // A reload counts after its content is served.
    site.wait_for("content_reloads", 4);
    let reloads = site.counter("content_reloads");
    site.process.signal(rustix::process::Signal::HUP);
    site.wait_for("content_reloads", reloads + 1);
    site.wait_for_log("\"SIGHUP\"");
}

/// Two trees with different bytes under equal names, and a link that is switched between them.
/// Every answer belongs to one tree, whole, and its tag is that of its bytes.
fn content_switched_under_load_is_never_mixed(transport: Transport) {
    switch_under_load(transport, 20);
}

#[test]
#[ignore = "takes some minutes"]
fn content_switched_a_thousand_times_is_never_mixed() {
    for transport in [Transport::Epoll, Transport::IoUring, Transport::Xdp] {
        switch_under_load(transport, 1000);
    }
}

fn switch_under_load(transport: Transport, switches: usize) {
    let plan = Plan::new(transport);
    let Some(network) = plan.network() else { return };
    let root = crate::site::files();
    let text = |tree: &str| tree.repeat(100_000).into_bytes();
    for tree in ["a", "b"] {
        fs::create_dir(root.path().join(tree)).unwrap();
        fs::write(root.path().join(tree).join("page"), text(tree)).unwrap();
    }
    let link = root.path().join("now");
    let new = root.path().join("link");
    let switch = |tree: &str| {
        symlink(tree, &new).unwrap();
        fs::rename(&new, &link).unwrap();
    };
    switch("a");
    let mut command = plan.command(&link);
    command.stderr(std::process::Stdio::piped());
    let site = Site::of(network, root, command);
    let mut client = site.connect();
    let mut tags = std::collections::BTreeMap::new();
    for turn in 0..switches {
        let tree = ["b", "a"][turn % 2];
        switch(tree);
        let wanted = text(tree);
        wait_until("the other tree is served", TEST_TIMEOUT, || {
            client.request("/page");
            let answer = client.answer();
            let first = char::from(answer.body[0]);
            assert!(answer.body == text(&first.to_string()), "mixed content");
            let tag = client::field(&answer.head, "etag").unwrap().to_owned();
            assert_eq!(*tags.entry(first).or_insert(tag.clone()), tag);
            answer.body == wanted
        });
    }
    assert_eq!(tags.len(), 2);
    let memory = site.counter("content_memory");
    assert!(memory < 110_000, "{memory}: one tree at a time");
}

/// Without a memory limit, replaced files are freed all the same.
#[test]
fn a_file_that_is_replaced_again_and_again_takes_no_more_memory() {
    const BYTES: usize = 2 << 20;
    let Some(site) = Site::start(Transport::Epoll) else { return };
    let path = site.root().join("again");
    replace(&path, &vec![b'0'; BYTES]);
    let mut client = site.connect();
    wait_for(&mut client, "/again", &vec![b'0'; BYTES]);
    let gauges = || ["content_files", "content_memory"].map(|name| site.counter(name));
    let before = gauges();
    for version in b"1234567890abcdef" {
        let content = vec![*version; BYTES];
        replace(&path, &content);
        wait_for(&mut client, "/again", &content);
    }
    assert_eq!(gauges(), before, "what is served");
    // Less than 4 MiB wait to be freed, and those of the last change until the workers know it.
    wait_until("replaced files are freed", TEST_TIMEOUT, || {
        site.counter("content_superseded") < 5 << 20
    });
}

/// Files that change again and again in a tree of many files, each replaced by a rename. Each
/// change is served, and no answer is anything but one of the versions.
fn files_of_a_large_tree_change(transport: Transport) {
    change_files(transport, 2000, 200, 20);
}

#[test]
#[ignore = "takes minutes, and says what was measured"]
fn files_of_a_tree_of_200_000_change_100_times_a_second() {
    change_files(Transport::Epoll, 200_000, 3000, 10);
}

/// Changes `changes` of `files` files, one each `pause_ms`.
fn change_files(transport: Transport, files: usize, changes: usize, pause_ms: u64) {
    const IN_DIRECTORY: usize = 100;
    let plan = Plan::new(transport).with("--memory-limit 2G --log-level debug");
    let Some(network) = plan.network() else { return };
    let root = crate::site::files();
    let path = |file: usize| format!("/t{}/{file}.html", file / IN_DIRECTORY);
    for file in 0..files {
        if file % IN_DIRECTORY == 0 {
            fs::create_dir(root.path().join(format!("t{}", file / IN_DIRECTORY))).unwrap();
        }
        fs::write(root.path().join(&path(file)[1..]), format!("{file} 0")).unwrap();
    }
    let site = plan.start_with(network, root);
    site.wait_for("content_files", files as u64);
    let mut client = site.connect();
    let cpu = || content_thread_cpu(site.process.id());
    let (before, begin) = (cpu(), std::time::Instant::now());
    let mut slowest = std::time::Duration::ZERO;
    for change in 1..=changes {
        let file = change * 7919 % files;
        let text = format!("{file} {change}");
        replace(&site.root().join(&path(file)[1..]), text.as_bytes());
        if change % 50 == 0 {
            let since = std::time::Instant::now();
            wait_for(&mut client, &path(file), text.as_bytes());
            slowest = slowest.max(since.elapsed());
        }
        client.request(&path(change % files));
        let answer = client.answer();
        let body = String::from_utf8(answer.body).unwrap();
        assert!(body.starts_with(&format!("{} ", change % files)), "{body}");
        std::thread::sleep(std::time::Duration::from_millis(pause_ms));
    }
    let (cpu, took) = (cpu() - before, begin.elapsed());
    let reloads = site.counter("content_reloads");
    println!(
        "{files} files, {changes} changes in {took:.1?}: {cpu:.2?} s of CPU, {reloads} reloads, at \
         most {slowest:.1?} until a change is served"
    );
    let loads = site.log().matches("serving changed content").count();
    assert_eq!(loads, 0, "loads of all files");
}

/// Seconds of CPU that the thread has taken that loads content.
fn content_thread_cpu(process: u32) -> f64 {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let content = tasks.map(|task| task.unwrap().path()).find(|task| {
        fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "content")
    });
    let stat = fs::read_to_string(content.expect("the thread runs").join("stat")).unwrap();
    let ticks = stat.split(' ').skip(13).take(2).map(|n| n.parse::<f64>().unwrap());
    ticks.sum::<f64>() / 100.0
}

fn curl_decodes_what_was_compressed_beforehand(transport: Transport) {
    if !need_program("curl") || !need_program("gzip") {
        return;
    }
    let Some(network) = Plan::new(transport).network() else { return };
    let site = Plan::new(transport).with("--compress --autoindex --fallback /12").start_in(network);
    let text = "Words that repeat. ".repeat(500);
    fs::write(site.root().join("a.txt"), &text).unwrap();
    fs::write(site.root().join("b.txt"), &text).unwrap();
    let zip = |name| {
        let mut gzip = std::process::Command::new("gzip");
        assert!(gzip.arg("-kn9").arg(site.root().join(name)).status().unwrap().success());
    };
    zip("b.txt");
    let mut client = site.connect();
    wait_for(&mut client, "/b.txt", text.as_bytes());
    let zipped = fs::read(site.root().join("b.txt.gz")).unwrap();
    wait_for(&mut client, "/b.txt.gz", &zipped);
    let url = |path: &str| format!("http://{}{path}", site.address());
    for path in ["/a.txt", "/b.txt"] {
        assert!(site.run_client("curl", &["-sS", "--compressed", &url(path)]) == text, "{path}");
    }
    client.send("GET /b.txt HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n");
    client.answer().is(200, &zipped);
    client.expect("/none", &site.content("/12"));
}

fn the_access_log_has_each_answer(transport: Transport) {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("access.log");
    let plan = Plan::new(transport).with(&format!("--access-log {}", log.display()));
    let Some(site) = plan.start() else { return };
    let client_address = site.network.address(2).to_string();
    let mut client = site.connect();
    client.send("GET /12?a HTTP/1.1\r\nHost: a\r\nUser-Agent: \"me\r\nReferer: /r\r\n\r\n");
    assert_eq!(client.answer().status, 200);
    client.send("POST /none HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n");
    // The content comes after the head was handled.
    site.serves_others();
    client.send("abc");
    assert_eq!(client.answer().status, 405);
    client.send("BAD\r\n\r\n");
    assert_eq!(client.answer().status, 400);
    let mut lines = Vec::new();
    wait_until("all lines are written", TEST_TIMEOUT, || {
        let text = fs::read_to_string(&log).unwrap();
        lines =
            text.lines().filter(|line| !line.ends_with(" \"-\" \"-\"")).map(String::from).collect();
        text.lines().count() == 6
    });
    let text = fs::read_to_string(&log).unwrap();
    assert!(
        text.lines().all(|line| line.starts_with(&format!("{client_address} - - ["))),
        "{text}"
    );
    assert!(lines[0].contains("\"GET /12?a HTTP/1.1\" 200 "), "{text}");
    assert!(lines[0].ends_with(" \"/r\" \"\\x22me\""), "{text}");
    assert!(text.contains("\"POST /none HTTP/1.1\" 405 "), "{text}");
    assert!(text.contains("\"-\" 400 "), "{text}");
    fs::rename(&log, log.with_extension("old")).unwrap();
    site.process.signal(rustix::process::Signal::USR1);
    wait_until("the log is opened again", TEST_TIMEOUT, || log.exists());
    site.connect().expect("/12", &site.content("/12"));
    wait_until("the new file has the line", TEST_TIMEOUT, || {
        fs::read_to_string(&log).unwrap().lines().count() == 1
    });
    assert_eq!(site.counter("http_access_log_lost"), 0);
}

fn a_password_is_verified_while_others_are_served(transport: Transport) {
    // "secret" with a cost of 10: some 100 ms.
    const USER: &str = "me:$2b$07$KIXxPfEtk4LsYiJAm7JwTuQHkAS6Rvi1bSPtYy0TwvR8F6oTqjwbK\n";
    let directory = tempfile::tempdir().unwrap();
    let (users, config) = (directory.path().join("users"), directory.path().join("simoom.toml"));
    fs::write(&users, USER).unwrap();
    fs::write(&config, format!("[[auth]]\npath = \"/4k\"\nusers = {users:?}\n")).unwrap();
    let plan = Plan::new(transport).with(&format!("--config {}", config.display()));
    let Some(site) = plan.start() else { return };
    let mut client = site.connect();
    client.request("/4k");
    assert_eq!(client.answer().status, 401);
    // Each password is new, so each is verified. Other connections are served meanwhile.
    let mut waiting: Vec<Client> = (0..4).map(|_| site.connect()).collect();
    for (number, client) in waiting.iter_mut().enumerate() {
        let credentials = ["bWU6YQ==", "bWU6Yg==", "bWU6Yw==", "bWU6ZA=="][number];
        client.send(format!(
            "GET /4k HTTP/1.1\r\nHost: a\r\nAuthorization: Basic {credentials}\r\n\r\n"
        ));
    }
    site.serves_others();
    for client in &mut waiting {
        assert_eq!(client.answer().status, 401);
        client.expect("/12", &site.content("/12"));
    }
}

fn a_proxy_names_the_client(transport: Transport) {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("access.log");
    let plan = Plan::new(transport);
    let Some(network) = plan.network() else { return };
    let proxy = network.address(2);
    let flags = format!("--access-log {} --proxy-protocol {proxy}", log.display());
    let site = plan.with(&flags).start_in(network);
    let mut client = site.connect();
    let header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc6\x33\x64\x01\0\x50\0\x50";
    client.send(&header[..20]);
    client.send([&header[20..], client::get("/12").as_bytes()].concat());
    client.answer().is(200, &site.content("/12"));
    client.expect("/4k", &site.content("/4k"));
    let mut client = site.connect();
    client.send("PROXY TCP4 192.0.2.8 198.51.100.1 5 80\r\n");
    client.expect("/12", &site.content("/12"));
    let mut rude = site.connect();
    rude.send(client::get("/12"));
    site.wait_for("http_bad_proxy_header", 1);
    wait_until("all lines are written", TEST_TIMEOUT, || {
        fs::read_to_string(&log).unwrap().lines().count() == 3
    });
    let text = fs::read_to_string(&log).unwrap();
    let count = |address| text.lines().filter(|line| line.starts_with(address)).count();
    assert_eq!((count("192.0.2.7 - - ["), count("192.0.2.8 - - [")), (2, 1), "{text}");
}

#[test]
fn hosts_of_the_configuration_file_have_their_files_and_fields() {
    let Some(network) = Plan::new(Transport::Epoll).network() else { return };
    let root = crate::site::files();
    fs::create_dir(root.path().join("b")).unwrap();
    fs::write(root.path().join("b/index.html"), "<p>b").unwrap();
    let text = format!(
        "transport = \"epoll\"\nhttp = \"0.0.0.0:8080\"\nroot = {:?}\ncores = [0]\nlog = \"json\"\n\
         admin = \"127.0.0.1:9090\"\n[[header]]\npath = \"*\"\nfields = {{ X-Site = \"a\" }}\n\
         [[host]]\nnames = [\"b.example\"]\nroot = {:?}\n[[host.redirect]]\nfrom = \"/old\"\nto = \"/\"\n",
        root.path(),
        root.path().join("b")
    );
    let file = root.path().join("simoom.toml");
    fs::write(&file, text).unwrap();
    let mut command = crate::common::simoom();
    command.args(["serve", "--config"]).arg(&file).stderr(std::process::Stdio::piped());
    let site = Site::of(network, root, command);
    let mut client = site.connect();
    client.send("GET /12 HTTP/1.1\r\nHost: a\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.status, client::field(&answer.head, "x-site")), (200, Some("a")));
    client.send("GET / HTTP/1.1\r\nHost: b.example:8080\r\n\r\n");
    let answer = client.answer();
    answer.is(200, b"<p>b");
    assert_eq!(client::field(&answer.head, "x-site"), None);
    client.send("GET /old HTTP/1.1\r\nHost: B.EXAMPLE\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.status, client::field(&answer.head, "location")), (301, Some("/")));
}

/// While files are read and compressed, the admin endpoint answers: live, not ready.
#[test]
fn a_server_that_reads_its_files_is_live_and_not_ready() {
    let plan = Plan::new(Transport::Epoll).with("--compress");
    let Some(network) = plan.network() else { return };
    let root = crate::site::files();
    let mut random = Random::new(1);
    let words: Vec<String> = (0..5000).map(|_| format!("{:x} ", random.next_u64() >> 24)).collect();
    let text: String = (0..200_000).map(|_| words[random.index(words.len())].as_str()).collect();
    fs::write(root.path().join("words.txt"), &text).unwrap();
    let mut command = plan.command(root.path());
    command.stderr(std::process::Stdio::null());
    let _server = network.server.run(|| Process::start(&mut command));
    let mut was_starting = false;
    wait_until("the server is ready", TEST_TIMEOUT, || {
        // The port is not open yet, or the server was just about to open it.
        let Ok(ready) = ask_admin(&network, "/readyz") else { return false };
        if ready.ends_with("not ready: starting\n") {
            was_starting = true;
            let live = ask_admin(&network, "/healthz").unwrap();
            assert!(live.starts_with("HTTP/1.1 200 "), "{live}");
        }
        ready.starts_with("HTTP/1.1 200 ")
    });
    assert!(was_starting);
}

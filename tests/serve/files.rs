//! Requests and answers: every file byte for byte, however the request arrives.

use crate::client::get;
use crate::common::need_program;
use crate::over_all;
use crate::site::{FILES, LARGE, Plan, Site, Transport};

over_all!(
    curl_gets_every_file,
    curl_gets_what_the_rfcs_say,
    pipelined_requests_are_answered_in_order,
    a_request_may_be_split_anywhere,
    an_http_1_0_client_is_answered_and_left,
    a_half_closed_client_gets_its_whole_answer,
    a_configuration_file_says_it_all,
    odd_mtus_carry_every_file,
);

fn curl(site: &Site, path: &str, flags: &str) -> String {
    let url = format!("http://{}{path}", site.address());
    let mut arguments: Vec<&str> = vec!["-sS", "--max-time", "60"];
    arguments.extend(flags.split_whitespace());
    arguments.push(&url);
    site.run_client("curl", &arguments)
}

fn curl_gets_every_file(transport: Transport) {
    if !need_program("curl") {
        return;
    }
    let Some(site) = Site::start(transport) else { return };
    let to = tempfile::NamedTempFile::new().unwrap();
    for (path, _) in FILES {
        let flags = format!("-f -o {}", to.path().display());
        curl(&site, path, &flags);
        assert!(
            std::fs::read(to.path()).unwrap() == site.content(path),
            "{path} is not what was sent"
        );
    }
    site.wait_for("http_responses_2xx", FILES.len() as u64);
}

fn curl_gets_what_the_rfcs_say(transport: Transport) {
    if !need_program("curl") {
        return;
    }
    let Some(site) = Site::start(transport) else { return };
    let head = curl(&site, "/4k", "-I");
    assert!(
        head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("Content-Length: 4096\r\n"),
        "{head}"
    );
    let etag = head.lines().find_map(|line| line.strip_prefix("ETag: ")).expect("an ETag").trim();

    let code = "-o /dev/null -w %{http_code}:%{size_download}:%{num_connects}";
    let url = format!("http://{}/4k", site.address());
    let condition = format!("If-None-Match: {etag}");
    let conditional = site.run_client(
        "curl",
        &["-sS", "-o", "/dev/null", "-w", "%{http_code}:%{size_download}", "-H", &condition, &url],
    );
    assert_eq!(conditional, "304:0");
    assert!(curl(&site, "/nothing", code).starts_with("404:"));
    let old = curl(&site, "/12", &format!("-0 {code}"));
    assert_eq!(old, "200:12:1");
    let twice = site.run_client(
        "curl",
        &["-sS", "-o", "/dev/null", "-o", "/dev/null", "-w", "%{num_connects}", &url, &url],
    );
    assert_eq!(twice, "10", "the second request goes over the first one's connection");
    site.wait_for("http_not_modified", 1);
    site.wait_for("http_not_found", 1);
}

fn pipelined_requests_are_answered_in_order(transport: Transport) {
    let Some(site) = Site::start(transport) else { return };
    let paths = ["/12", "/4k", "/64k", "/nothing"];
    let order: Vec<&str> = (0..400).map(|i: usize| paths[i * 7 % 13 % 4]).collect();
    let mut client = site.connect();
    let mut writer = crate::client::Client::new(client.stream.try_clone().unwrap());
    let requests: String = order.iter().map(|path| get(path)).collect();
    let writing = std::thread::spawn(move || writer.send(requests));
    for path in &order {
        let answer = client.answer();
        match *path {
            "/nothing" => assert_eq!(answer.status, 404),
            path => answer.is(200, &site.content(path)),
        }
    }
    writing.join().unwrap();
    site.wait_for("http_requests", order.len() as u64);
}

fn a_request_may_be_split_anywhere(transport: Transport) {
    let Some(site) = Site::start(transport) else { return };
    let request = get("/12");
    let body = site.content("/12");
    let mut client = site.connect();
    let mut other = site.connect();
    for at in 1..request.len() {
        client.send(&request[..at]);
        // The server has seen the first part before the second is sent.
        other.expect("/12", &body);
        client.send(&request[at..]);
        client.answer().is(200, &body);
    }
    for byte in request.as_bytes() {
        client.send([*byte]);
        other.expect("/12", &body);
    }
    client.answer().is(200, &body);
}

fn an_http_1_0_client_is_answered_and_left(transport: Transport) {
    let Some(site) = Site::start(transport) else { return };
    for (path, _) in FILES {
        let mut client = site.connect();
        client.send(format!("GET {path} HTTP/1.0\r\n\r\n"));
        client.answer().is(200, &site.content(path));
        client.expect_end();
    }
}

fn a_half_closed_client_gets_its_whole_answer(transport: Transport) {
    let Some(site) = Site::start(transport) else { return };
    let mut client = site.connect();
    client.request(LARGE);
    client.finish_sending();
    client.answer().is(200, &site.content(LARGE));
    client.expect_end();
    site.wait_for("closed_finished", 1);
}

fn a_configuration_file_says_it_all(transport: Transport) {
    let Some(network) = Plan::new(transport).network() else { return };
    let root = crate::site::files();
    let place = match transport {
        Transport::Xdp => {
            "interface = \"s0\"\ntransport = \"xdp\"\nxdp-mode = \"generic\"\nhttp = 8080\n"
        }
        Transport::IoUring => "transport = \"io-uring\"\nhttp = \"0.0.0.0:8080\"\n",
        Transport::Epoll => "transport = \"epoll\"\nhttp = \"0.0.0.0:8080\"\n",
    };
    let text = format!(
        "# All of it\n{place}root = {:?}\ncores = [0]\nconnections = 500\nmemory-limit = \"512M\"\n\
         admin = \"127.0.0.1:9090\"\nheader-timeout = \"5s\"\nidle-timeout = \"20s\"\ndrain-timeout = \"1s\"\n\
         log = \"json\"\nlog-level = \"info\"\n",
        root.path()
    );
    let file = root.path().join("simoom.toml");
    std::fs::write(&file, text).unwrap();
    let mut command = crate::common::simoom();
    command.args(["serve", "--config"]).arg(&file).stderr(std::process::Stdio::piped());
    let site = Site::of(network, root, command);
    site.connect().expect("/64k", &site.content("/64k"));
}

fn odd_mtus_carry_every_file(transport: Transport) {
    for mtu_bytes in [9000, 1281, 576] {
        let Some(site) = (Plan { mtu_bytes, ..Plan::new(transport) }).start() else { return };
        let mut client = site.connect();
        for (path, _) in FILES {
            client.expect(path, &site.content(path));
        }
        // A request of several segments, which segmentation offload sends as one frame.
        let padding = "x".repeat(6000);
        client.send(format!("GET /12 HTTP/1.1\r\nHost: site\r\nX: {padding}\r\n\r\n"));
        client.answer().is(200, &site.content("/12"));
    }
}

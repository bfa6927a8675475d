//! The command line from outside: exit codes, messages, help, and the configuration file.

mod common;

use common::{Network, Process, need_program, need_root, run, simoom};
use rustix::process::Signal;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("messages are UTF-8")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("help is UTF-8")
}

/// The flags of `serve`, from the parser's own list.
fn serve_flags() -> Vec<clap::Arg> {
    let command = simoom::cli::command();
    let serve = command.find_subcommand("serve").expect("there is a serve command");
    serve.get_arguments().filter(|flag| flag.get_id() != "help").cloned().collect()
}

fn long_name(flag: &clap::Arg) -> &str {
    flag.get_long().expect("every flag of serve has a long name")
}

#[test]
fn bad_usage_exits_with_2_and_names_flag_value_and_bound() {
    for (arguments, expected) in [
        ("serve --connections 5000000000", "error: --connections 5000000000: at most 16777216; "),
        (
            "serve --connections=-1",
            "error: --connections -1: not a number; write one from 1 to 16777216",
        ),
        ("serve --conections 5", "error: --conections: unknown flag; did you mean --connections?"),
        (
            "serve --transport dpdk",
            "error: --transport dpdk: expected one of auto, xdp, io-uring, epoll",
        ),
        (
            "serve --transport",
            "error: --transport: a value is missing; expected one of auto, xdp, io-uring, epoll",
        ),
        ("serve --http", "error: --http: a value is missing; write --http [ADDR:]PORT\n"),
        ("serve --port 80", "error: --port: unknown flag; did you mean --http?\n"),
        ("serve --listen=80", "error: --listen: unknown flag; did you mean --http?\n"),
        ("serve --tls", "error: --tls: unknown flag; Simoom has no TLS"),
        ("serve --zzz", "error: --zzz: unknown flag; `simoom serve --help` lists the flags\n"),
        ("serve --rate-limit 5", "error: --rate-limit: unknown flag; `simoom serve --help` lists"),
        ("serve --autoindex true", "error: --autoindex true: write --autoindex=true\n"),
        ("serve --busy-poll false", "error: --busy-poll false: write --busy-poll=false\n"),
        ("serve true", "error: unexpected argument 'true' found"),
        ("serve --http 0 --access-log-format json", "json: no access log; give --access-log FILE"),
        ("load --zzz", "error: --zzz: unknown flag; `simoom load --help` lists the flags\n"),
        ("--zzz", "error: --zzz: unknown flag; `simoom --help` lists the commands\n"),
        ("serve --http 80 --http 81", "error: --http: given more than once"),
        ("serve --http 70000", "error: --http 70000: a port is from 0 to 65535"),
        ("serve --transport xdp", "error: --transport xdp: cannot be used without --interface"),
        ("serve --busy-poll=maybe", "error: --busy-poll maybe: expected one of true, false"),
        ("serve --cores 0-1023", "error: --cores 0-1023: core "),
        ("serve --memory 1K", "error: --memory 1K: at least 1M"),
        (
            "serve --memory 1M --item-size-max 1M",
            "error: --item-size-max 1.0 MiB: with --memory 1.0 MiB it must be from",
        ),
        ("serve --memcached x", "error: --memcached x: neither a port nor ADDR:PORT"),
        ("serve --memory-limit 5X", "error: --memory-limit 5X: not a size; write 512M or 2G"),
        ("serve --memory -1", "error: --memory -1: not a size; write 512M or 2G"),
        (
            "serve --idle-timeout -5s",
            "error: --idle-timeout -5s: not a time; write 30s, 500ms or 5m",
        ),
        ("serve --http -80", "error: --http -80: "),
        ("serve --connections -1", "error: --connections -1: "),
        ("serve --watch -1", "error: --watch -1: expected one of true, false"),
        ("load --connections -.5 http://198.18.0.1/", "error: --connections -.5: "),
        ("load --rate -1 http://198.18.0.1/", "error: --rate -1: "),
        ("serve --idle-timeout 2d", "error: --idle-timeout 2d: not a time; write 30s, 500ms or 5m"),
        ("serve --root /does/not/exist", "error: --root /does/not/exist: no such directory"),
        (
            "serve --root /dev/null",
            "error: --root /dev/null: not a directory; name the one that holds the files",
        ),
        ("serve --config /does/not/exist", "error: --config /does/not/exist: No such file"),
        ("serve --config /dev/zero", "error: --config /dev/zero: longer than 1 MiB"),
        ("serve --config /", "error: --config /: Is a directory"),
        ("serve file", "error: unexpected argument 'file' found"),
        ("probe a b", "error: unexpected argument 'b' found"),
        ("sevre", "error: unrecognized subcommand 'sevre'"),
    ] {
        let output = run(arguments.split_whitespace());
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "simoom {arguments}: {text}");
        assert!(
            text.contains(expected),
            "simoom {arguments}\n  said {text:?}\n  not  {expected:?}"
        );
        assert!(output.stdout.is_empty(), "simoom {arguments}: errors go to standard error");
    }
}

#[test]
fn an_access_log_that_no_process_reads_is_an_error_and_no_wait() {
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let output = run(["serve", "--http", "127.0.0.1:0", "--access-log", fifo.to_str().unwrap()]);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    let path = fifo.display();
    assert!(text.contains(&format!("--access-log {path}: a FIFO that no process reads")), "{text}");
}

#[test]
fn an_interface_that_does_not_exist_is_a_usage_error() {
    for arguments in [
        "probe nosuchif0",
        "serve --interface nosuchif0",
        "load --interface nosuchif0 --source 198.18.0.9/32 http://198.18.0.1/",
        "ceiling --interface nosuchif0 --port 80 --response-bytes 100",
    ] {
        let output = run(arguments.split_whitespace());
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "simoom {arguments}: {text}");
        assert!(text.contains("there is no interface \"nosuchif0\" here"), "{arguments}: {text}");
    }
}

#[test]
fn what_serve_cannot_have_is_named_with_its_flag_and_a_remedy() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap();
    let held = format!(
        "cannot listen on {taken}: Address already in use (os error 98); stop the process that holds"
    );
    let unknown =
        "error: --interface nosuchif0: there is no interface \"nosuchif0\" here; there is: ";
    for (arguments, code, expected) in [
        (format!("serve --http {taken}"), 1, format!("error: --http {taken}: {held}")),
        (
            format!("serve --http 127.0.0.1:0 --admin {taken}"),
            1,
            format!("error: --admin {taken}: {held}"),
        ),
        ("serve --interface nosuchif0 --http 8080".to_owned(), 2, unknown.to_owned()),
        (
            "load http://192.0.2.1/ --interface nosuchif0 --source 192.0.2.7".to_owned(),
            2,
            unknown.to_owned(),
        ),
    ] {
        let output = run(arguments.split_whitespace());
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "simoom {arguments}: {text}");
        assert!(
            text.contains(&expected),
            "simoom {arguments}\n  said {text:?}\n  not  {expected:?}"
        );
    }
}

#[test]
fn memory_that_a_resource_limit_refuses_is_refused_before_anything_is_served() {
    if !need_program("sh") {
        return;
    }
    let program = simoom().get_program().to_string_lossy().into_owned();
    for (limit, name) in
        [("-v 400000", "RLIMIT_AS of 390.6 MiB"), ("-d 60000", "RLIMIT_DATA of 58.6 MiB")]
    {
        let script = format!(
            "ulimit {limit} && {program} serve --http 127.0.0.1:0 --memcached 127.0.0.1:0 --cores 0"
        );
        let output =
            Command::new("sh").args(["-c", &script]).stdin(Stdio::null()).output().unwrap();
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{limit}: {text}");
        assert!(
            text.contains(" connection needs ") && text.contains(name) && text.contains("--memory"),
            "{limit}: {text}"
        );
        assert!(!text.contains("serving"), "{limit}: {text}");
    }
}

#[test]
fn a_log_that_nobody_reads_ends_nothing() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    // What is logged first cannot be written; that the port is taken is found out later, and ends
    // it in order.
    let status = simoom().args(["serve", "--http", &taken]).stderr(writer).status().unwrap();
    assert_eq!(status.code(), Some(1), "{status}");
}

#[test]
fn help_and_version_exit_with_0_on_standard_output() {
    for arguments in [
        "--help",
        "-h",
        "--version",
        "serve --help",
        "serve -h",
        "probe --help",
        "demo --help",
        "guide --help",
    ] {
        let output = run(arguments.split_whitespace());
        assert_eq!(output.status.code(), Some(0), "simoom {arguments}");
        assert!(!output.stdout.is_empty() && output.stderr.is_empty(), "simoom {arguments}");
    }
    assert!(stdout(&run(["--version"])).starts_with(concat!("simoom ", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn the_guide_lists_its_topics_and_prints_each() {
    let list = stdout(&run(["guide"]));
    for page in simoom::guide::PAGES {
        assert!(list.contains(&format!("\n  {} ", page.topic)), "{list}");
        let output = run(["guide", page.topic]);
        let title = page.text.lines().next().unwrap();
        assert!(
            stdout(&output).starts_with(title) && output.status.code() == Some(0),
            "{}",
            page.topic
        );
    }
    let output = run(["guide", "limit"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output)
            .starts_with("error: guide limit: unknown topic; expected one of nic, http, ")
    );
}

#[test]
fn a_guide_that_nobody_reads_to_the_end_is_no_failure() {
    for topic in [&["guide"][..], &["guide", "limits"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = simoom().args(topic).stdout(writer).output().unwrap();
        assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""), "{topic:?}");
    }
}

#[test]
fn without_a_command_help_goes_to_standard_error() {
    let output = run([""; 0]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("simoom demo") && output.stdout.is_empty());
}

#[test]
fn help_tells_of_every_flag_and_its_default() {
    let help = stdout(&run(["serve", "--help"]));
    let summary = stdout(&run(["serve", "-h"]));
    for flag in serve_flags() {
        let name = long_name(&flag);
        assert!(
            help.contains(&format!("--{name}")) && summary.contains(&format!("--{name}")),
            "--{name}"
        );
        assert!(
            flag.get_help().is_some_and(|text| !text.to_string().is_empty()),
            "--{name} has no help"
        );
        assert!(flag.get_help_heading().is_some(), "--{name} stands in no section");
    }
    assert!(help.contains("Examples:") && help.contains("[default: 16384]"));
}

/// A valid value for a flag that takes one, as TOML.
fn toml_value(flag: &clap::Arg) -> String {
    match long_name(flag) {
        "http" | "memcached" | "memcached-udp" | "admin" => "8080".into(),
        "root" => "\"/\"".into(),
        "interface" => "\"s0\"".into(),
        "address" => "[\"198.18.0.1\"]".into(),
        "cores" => "[0]".into(),
        "tunnel" => "[\"gre\"]".into(),
        name if name.contains("connections") => "5".into(),
        "memory-limit" | "memory" | "http-body-size" => "\"512M\"".into(),
        "http-head-size" | "http-line-size" => "\"8K\"".into(),
        "http-requests" | "http-pipeline" => "100".into(),
        "large-file-size" | "file-buffers" => "\"64M\"".into(),
        "file-threads" => "2".into(),
        "fallback" => "\"/index.html\"".into(),
        "prefix-length-v4" | "prefix-length-v6" => "24".into(),
        "access-log" => "\"/var/log/access.log\"".into(),
        "proxy-protocol" | "trusted-proxy" => "[\"198.18.0.0/16\"]".into(),
        "address-probe" => "\"300ms\"".into(),
        "item-size-max" => "\"1M\"".into(),
        "busy-poll" => "true".into(),
        name if name.ends_with("tcp-keepalive") => "\"5m\"".into(),
        name if name == "address-probe" || name.ends_with("-timeout") => "\"5s\"".into(),
        name => {
            let values = flag.get_possible_values();
            let value = values
                .first()
                .unwrap_or_else(|| panic!("give a value for the new flag --{name} here"));
            format!("{:?}", value.get_name())
        }
    }
}

/// What `simoom serve` says of a file with this text; a last line that is always wrong keeps it
/// from serving.
fn with_file(text: &str) -> (String, String) {
    let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    std::fs::write(&file, text).unwrap();
    let output = simoom().args(["serve", "--config"]).arg(file.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}: {}", stderr(&output));
    (stderr(&output), file.path().display().to_string())
}

#[test]
fn every_flag_can_stand_in_the_file() {
    for flag in serve_flags() {
        let name = long_name(&flag);
        if name == "config" {
            continue;
        }
        let (text, path) = with_file(&format!("{name} = {}\nlast-line = 0\n", toml_value(&flag)));
        let expected = format!("error: {path}:2: last-line: unknown key");
        assert!(text.starts_with(&expected), "{name}: {text}");
    }
}

#[test]
fn a_pipe_is_as_good_as_a_file() {
    if !need_program("bash") {
        return;
    }
    let script = format!(
        "{} serve --config <(echo last-line = 0)",
        simoom().get_program().to_string_lossy()
    );
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    assert!(stderr(&output).contains(":1: last-line: unknown key"), "{}", stderr(&output));
}

#[test]
fn errors_in_the_file_name_file_and_line() {
    for (text, line, expected) in [
        ("# a comment\n\nconections = 5\n", 3, "conections: unknown key"),
        ("http = 80\nconnections = 5000000000\n", 2, "connections = 5000000000: at most 16777216"),
        ("http = 80\nbusy-poll = \"on\"\n", 2, "busy-poll = on: expected one of true, false"),
        ("http = 80\nhttp 81\n", 2, ""),
    ] {
        let (said, path) = with_file(text);
        assert!(said.starts_with(&format!("error: {path}:{line}: {expected}")), "{text:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn the_level_in_the_environment_is_checked_too() {
    let output = simoom().arg("serve").env("SIMOOM_LOG", "loud").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).starts_with("error: SIMOOM_LOG=loud: expected one of error, warn"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn probe_reports_the_loopback_interface_for_people_and_programs() {
    let text = stdout(&run(["probe", "lo"]));
    assert!(text.starts_with("kernel ") && text.contains("\nlo: up, MTU"), "{text}");
    assert!(text.contains("serve would use"), "{text}");
    assert!(text.contains("listening on      HTTP 127.0.0.1:8080, HTTP [::1]:8080\n"), "{text}");
    let output = run(["probe", "lo", "--json"]);
    let json: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("probe --json writes JSON");
    assert_eq!(json["interfaces"][0]["name"], "lo");
    let places = json["interfaces"][0]["listens"].as_array().unwrap();
    let at = serde_json::json!({"service": "HTTP", "address": "127.0.0.1:8080", "claimed": false});
    assert!(places.contains(&at), "{places:?}");
    let transport = if simoom::kernel::io_uring().is_ok() { "io-uring" } else { "epoll" };
    assert_eq!(json["interfaces"][0]["choice"]["transport"], transport);
    assert_eq!(json["machine"]["io_uring"]["works"], transport == "io-uring");
    assert!(json["machine"]["capabilities"].as_array().is_some_and(|list| list.len() >= 6));
}

#[test]
fn probe_would_serve_a_veth_in_generic_mode() {
    if !need_root() {
        return;
    }
    let network = Network::new(2).unwrap();
    let output = network.server.run(|| run(["probe", "s0", "--json"]));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let json: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("probe --json writes JSON");
    let s0 = &json["interfaces"][0];
    assert_eq!(
        (&s0["driver"], &s0["rx_queues"], &s0["tx_queues"]),
        (&"veth".into(), &2.into(), &2.into())
    );
    assert_eq!(
        (&s0["choice"]["transport"], &s0["choice"]["mode"]),
        (&"xdp".into(), &"generic".into()),
        "{s0}"
    );
    let outside = run(["probe", "s0"]);
    assert_eq!(outside.status.code(), Some(2), "s0 is not in the test's own namespace");
}

/// FIFOs, and names that would write lines into the log; a name that begins with a dot.
#[test]
fn odd_names_under_the_root_neither_hold_up_the_start_nor_write_log_lines() {
    if !need_program("mkfifo") {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let forged = "pipe\n2026-01-01T00:00:00.000000Z  INFO forged\r\u{1b}[2J";
    let made =
        Command::new("mkfifo").args([root.path().join("pipe"), root.path().join(forged)]).status();
    assert!(made.unwrap().success());
    std::fs::create_dir(root.path().join(".well-known")).unwrap();
    for name in [".env", ".well-known/token"] {
        std::fs::write(root.path().join(name), "x").unwrap();
    }
    let mut command = simoom();
    command
        .args(["serve", "--transport", "epoll", "--http", "127.0.0.1:0", "--root"])
        .arg(root.path());
    let mut process = Process::start(command.stderr(Stdio::piped()));
    let mut lines =
        BufReader::new(process.child().stderr.take().unwrap()).lines().map(Result::unwrap);
    let mut log = Vec::new();
    let address = loop {
        let line = lines.next().unwrap_or_else(|| panic!("the server ended: {log:?}"));
        let address =
            line.split_once("addresses=[").map(|(_, rest)| rest.trim_end_matches(']').to_owned());
        log.push(line);
        if let Some(address) = address {
            break address;
        }
    };
    assert!(
        log.iter().all(|line| !line.contains(char::is_control) && !line.ends_with("forged")),
        "{log:#?}"
    );
    let pipes =
        log.iter().filter(|line| line.contains("a FIFO") && line.contains("WARN not served"));
    assert_eq!(pipes.count(), 2, "{log:#?}");
    for (path, code) in [("/.env", "404"), ("/.well-known/token", "200"), ("/pipe", "404")] {
        let mut client = TcpStream::connect(&address).unwrap();
        write!(client, "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{path}: {answer}");
    }
}

#[test]
fn a_process_ends_with_its_guard() {
    if !need_program("sh") {
        return;
    }
    let start =
        || Process::start(Command::new("sh").args(["-c", "read line"]).stdin(Stdio::piped()));
    let mut signalled = start();
    assert!(signalled.is_running());
    signalled.signal(Signal::TERM);
    assert_eq!(signalled.wait(Duration::from_secs(60)).signal(), Some(Signal::TERM.as_raw()));
    let dropped = start();
    let entry = format!("/proc/{}", dropped.id());
    assert!(Path::new(&entry).exists());
    drop(dropped);
    assert!(!Path::new(&entry).exists());
}

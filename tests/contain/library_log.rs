//! What a program of the library logs: a contained panic, and the end of the server.

use simoom::app::router::{Response, Router, Routes};
use simoom::config::{LogFormat, usable_cores};
use simoom::log::{self, Log};
use simoom::{Server, Signals};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::thread;

/// Makes the first test the program.
const IS_PROGRAM: &str = "SIMOOM_TEST_LIBRARY_LOG";

/// The program that the next test runs in a process of its own, because a process has one log. It
/// ends as a `main` does that returns after `run`.
#[test]
fn serves_until_its_handler_has_panicked() {
    if std::env::var_os(IS_PROGRAM).is_none() {
        return;
    }
    log::init(Log { format: LogFormat::Json, ..Log::default() }).unwrap();
    let routes = Routes::<()>::new().get("/", |_, ()| -> Response { panic!("injected") });
    let routes = Arc::new(routes);
    let server = Server::builder()
        .handler("web", "127.0.0.1:0", move |_| Ok(Router::new(routes.clone(), ())))
        .cores(usable_cores().unwrap().into_iter().take(1))
        .connections(16)
        .signals(Signals::Ignore)
        .start()
        .unwrap();
    let (at, stopper) = (server.addresses()[0], server.stopper());
    let client = thread::spawn(move || {
        let mut stream = TcpStream::connect(at).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        stopper.stop();
        answer
    });
    server.run().unwrap();
    let answer = client.join().unwrap();
    let is_whole = answer.starts_with("HTTP/1.1 500 ")
        && answer.contains("\r\nContent-Length: 26\r\n")
        && answer.ends_with("\r\n\r\n500 Internal Server Error\n");
    std::process::exit(if is_whole { 0 } else { 3 });
}

#[test]
fn a_panic_is_logged_with_its_service_and_the_end_with_the_number_of_requests() {
    let program = std::env::current_exe().unwrap();
    let name = "library_log::serves_until_its_handler_has_panicked";
    let mut program = Command::new(program);
    program.args(["--exact", name, "--nocapture"]).env(IS_PROGRAM, "1");
    let output = program.output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{log}");
    let lines: Vec<serde_json::Value> =
        log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let starts = |text: &str| {
        let mut found = lines.iter().filter(|line| {
            line["message"].as_str().is_some_and(|message| message.starts_with(text))
        });
        (found.next().unwrap_or_else(|| panic!("{text}: {log}")), found.count())
    };
    let (panic, more) = starts("a panic was contained; its connection is closed");
    assert_eq!((&panic["service"], &panic["panic"], more), (&"web".into(), &"injected".into(), 0));
    let location = panic["location"].as_str().unwrap();
    assert!(location.starts_with("tests/contain/library_log.rs:"), "{location}");
    assert_eq!(panic.get("suppressed"), None);
    let last = lines.last().expect("a line for the end");
    assert_eq!((&last["message"], &last["requests"]), (&"stopped".into(), &1.into()));
}

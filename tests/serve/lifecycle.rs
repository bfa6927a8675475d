//! How a server ends, what it leaves behind, and what it costs while nothing happens.

use crate::client::{Client, get};
use crate::common::{Process, need_program, simoom, wait_until};
use crate::site::{LARGE, Plan, Site, Transport, at};
use crate::{TEST_TIMEOUT, over_all};
use rustix::net::sockopt;
use rustix::process::Signal;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

over_all!(
    an_open_download_is_finished_at_the_end,
    clients_that_do_not_close_hold_up_no_end,
    what_does_not_finish_in_time_is_cut_off,
    a_second_signal_ends_it_at_once,
    signals_that_ask_for_something_are_logged,
    a_kill_leaves_the_kernel_working,
    an_idle_server_costs_nothing,
    a_low_file_limit_is_raised,
    an_idle_client_is_closed_in_time,
    a_short_idle_timeout_cuts_no_answer,
    a_client_that_has_vanished_is_let_go,
);

/// A client in the middle of a download that it takes slowly.
fn downloading(site: &Site) -> Client {
    let mut client = site.connect();
    sockopt::set_socket_recv_buffer_size(&client.stream, 16 << 10).unwrap();
    client.request(LARGE);
    assert!(client.head().starts_with("HTTP/1.1 200 "));
    client
}

/// Says whether a program is attached to the server's interface.
fn has_program(site: &Site) -> bool {
    let show =
        || Command::new("ip").args(["link", "show", "dev", "s0"]).stdin(Stdio::null()).output();
    let output = site.network.server.run(show).unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().contains("xdp")
}

/// The kernel has the port again, and no program stands before it.
fn kernel_has_the_port(site: &Site) {
    wait_until("no program is attached", TEST_TIMEOUT, || !has_program(site));
    // After a kill the kernel cancels what io_uring had under way, accepting too, in its own time.
    let mut listener = None;
    wait_until("the port is free", TEST_TIMEOUT, || {
        listener = site.network.server.run(|| TcpListener::bind(site.address())).ok();
        listener.is_some()
    });
    let listener = listener.expect("set when the wait ended");
    let client = site.connect();
    let (accepted, _) = listener.accept().unwrap();
    assert_eq!(accepted.peer_addr().unwrap(), client.stream.local_addr().unwrap());
}

fn an_open_download_is_finished_at_the_end(transport: Transport) {
    if !need_program("ip") {
        return;
    }
    let Some(mut site) = Plan::new(transport).with("--drain-timeout 60s").start() else { return };
    assert_eq!(has_program(&site), transport == Transport::Xdp);
    let mut slow = downloading(&site);
    let mut idle = site.connect();
    idle.expect("/12", &site.content("/12"));

    site.process.signal(Signal::TERM);
    idle.expect_end();
    let connect =
        || site.network.client.run(|| TcpStream::connect_timeout(&site.address(), TEST_TIMEOUT));
    wait_until("new connections are refused", TEST_TIMEOUT, || {
        connect().is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    });
    assert!(site.process.is_running(), "a download is open");
    let content = site.content(LARGE);
    assert!(slow.take(content.len()) == content, "not the bytes of the file");
    slow.expect_end();
    drop(slow);
    assert_eq!(site.process.wait(TEST_TIMEOUT).code(), Some(0), "{}", site.log());
    kernel_has_the_port(&site);
}

/// Pools of clients notice the end of a connection when they next use it.
fn clients_that_do_not_close_hold_up_no_end(transport: Transport) {
    let place = if transport == Transport::Xdp { "" } else { "0.0.0.0:" };
    let plan = Plan::new(transport);
    let plan = plan.with(&format!("--drain-timeout 1h --memcached {place}11211"));
    let Some(mut site) = plan.start() else { return };
    let content = site.content("/12");
    let mut silent = site.connect();
    let mut answered = site.connect();
    answered.expect("/12", &content);
    let mut cache = site.connect_to(SocketAddr::new(site.network.address(1), 11211));
    cache.send("version\r\n");
    cache.take("VERSION ".len());
    let mut last = site.connect();
    last.send("GET /12 HTTP/1.1\r\n");
    site.process.signal(Signal::TERM);
    site.wait_for_log("\"draining\"");
    // What is answered in the drain ends with the answer, and is not closed either.
    last.send("Host: a\r\n\r\n");
    last.answer().is(200, &content);
    assert_eq!(site.process.wait(TEST_TIMEOUT).code(), Some(0), "{}", site.log());
    // They see an orderly end, not a reset.
    for client in [&mut silent, &mut answered, &mut last] {
        client.expect_end();
    }
    assert!(cache.stream.read_to_end(&mut Vec::new()).is_ok());
}

fn what_does_not_finish_in_time_is_cut_off(transport: Transport) {
    let Some(mut site) = Plan::new(transport).with("--drain-timeout 500ms").start() else { return };
    let mut stopped = downloading(&site);
    assert_eq!(site.terminate().code(), Some(0), "{}", site.log());
    let error = stopped.stream.read_to_end(&mut Vec::new()).expect_err("the answer is not whole");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

fn a_second_signal_ends_it_at_once(transport: Transport) {
    let Some(mut site) = Plan::new(transport).with("--drain-timeout 1h").start() else { return };
    let _stopped = downloading(&site);
    site.process.signal(Signal::TERM);
    site.wait_for_log("\"draining\"");
    site.process.signal(Signal::INT);
    site.wait_for_log("ending the drain at once");
    assert_eq!(site.process.wait(TEST_TIMEOUT).code(), Some(0), "{}", site.log());
}

fn signals_that_ask_for_something_are_logged(transport: Transport) {
    let Some(mut site) = Plan::new(transport).with("--drain-timeout 1h").start() else { return };
    for signal in [Signal::HUP, Signal::USR1, Signal::USR2, Signal::ALARM] {
        site.process.signal(signal);
    }
    for name in ["SIGHUP", "SIGUSR1", "SIGUSR2", "SIGALRM"] {
        site.wait_for_log(&format!("\"signal\":\"{name}\""));
    }
    assert_eq!(site.log().matches("ignored: restart").count(), 3, "{}", site.log());
    site.serves_others();
    assert!(site.admin("/readyz").ends_with("\r\n\r\nready\n"));
    let _open = downloading(&site);
    site.process.signal(Signal::QUIT);
    site.wait_for_log("\"draining\"");
    wait_until("/readyz tells of the drain", TEST_TIMEOUT, || {
        site.admin("/readyz").ends_with("not ready: draining\n")
    });
    assert!(site.admin("/healthz").starts_with("HTTP/1.1 200 "));
    site.process.signal(Signal::USR1);
    wait_until("a signal while draining is logged", TEST_TIMEOUT, || {
        site.log().matches("ignored: restart").count() == 4
    });
    assert!(site.process.is_running());
    site.process.signal(Signal::TERM);
    assert_eq!(site.process.wait(TEST_TIMEOUT).code(), Some(0), "{}", site.log());
}

fn a_kill_leaves_the_kernel_working(transport: Transport) {
    if !need_program("ip") {
        return;
    }
    let Some(mut site) = Site::start(transport) else { return };
    let open = downloading(&site);
    site.process.signal(Signal::KILL);
    assert_eq!(site.process.wait(TEST_TIMEOUT).signal(), Some(Signal::KILL.as_raw()));
    drop(open);
    kernel_has_the_port(&site);
}

/// Processor time that the server has used so far, in ticks of 10 ms.
fn ticks(site: &Site) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", site.process.id())).unwrap();
    // The name, in parentheses, may hold spaces; utime and stime are the 12th and 13th fields
    // behind it.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// How often the server's threads have gone to sleep so far, and how many threads it has.
fn sleeps(site: &Site) -> (u64, u64) {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", site.process.id())).unwrap();
    let each: Vec<u64> = tasks
        .map(|task| {
            let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
            let line =
                status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            line.unwrap().trim().parse::<u64>().unwrap()
        })
        .collect();
    (each.iter().sum(), each.len() as u64)
}

/// How often it wakes is a count, and so independent of how fast the machine is. A thread that does
/// not sleep at all takes what others leave of a core, at least a share of its own.
fn an_idle_server_costs_nothing(transport: Transport) {
    let Some(site) = Site::start(transport) else { return };
    let mut client = site.connect();
    let body = site.content("/12");
    client.expect("/12", &body);
    let ((slept_before, threads), used_before, start) =
        (sleeps(&site), ticks(&site), Instant::now());
    std::thread::sleep(Duration::from_secs(3));
    let (slept, used, elapsed) =
        (sleeps(&site).0 - slept_before, ticks(&site) - used_before, start.elapsed());
    let each_second = slept as f64 / threads as f64 / elapsed.as_secs_f64();
    println!(
        "idle: {used} ticks of 10 ms and {each_second:.1} wakes a second of each of {threads} threads"
    );
    assert!(each_second <= 10.0, "{slept} wakes of {threads} threads in {elapsed:?}");
    let share = used as f64 * 0.01 / elapsed.as_secs_f64();
    assert!(share <= 0.05, "{used} ticks of 10 ms in {elapsed:?}");
    client.expect("/12", &body);
}

fn a_low_file_limit_is_raised(transport: Transport) {
    if transport == Transport::Xdp {
        // Its connections take no files.
        return;
    }
    if !need_program("sh") {
        return;
    }
    let Some(network) = Plan::new(transport).network() else { return };
    let root = crate::site::files();
    let mut command = Command::new("sh");
    let script = "ulimit -Sn 100; exec \"$@\"";
    command.args(["-c", script, "sh"]).arg(simoom().get_program());
    let name = if transport == Transport::IoUring { "io-uring" } else { "epoll" };
    command.args([
        "serve",
        "--transport",
        name,
        "--http",
        "0.0.0.0:8080",
        "--admin",
        "127.0.0.1:9090",
    ]);
    command.args(["--log", "json", "--root"]);
    command.arg(root.path()).stdin(Stdio::null()).stderr(Stdio::piped());
    let site = Site::of(network, root, command);
    let mut clients: Vec<Client> = (0..300).map(|_| site.connect()).collect();
    for client in &mut clients {
        client.expect("/12", &site.content("/12"));
    }
    assert_eq!(site.counter("accept_pauses"), 0);
}

fn an_idle_client_is_closed_in_time(transport: Transport) {
    let Some(site) = Plan::new(transport).with("--idle-timeout 500ms").start() else { return };
    site.connect().expect_end();
    let mut closed = 1;
    // On a busy machine the client may be closed before it has asked.
    wait_until("a client is answered and closed", TEST_TIMEOUT, || {
        let mut client = site.connect();
        closed += 1;
        let mut answer = Vec::new();
        let asked = client.stream.write_all(get("/12").as_bytes());
        asked.is_ok() && client.stream.read_to_end(&mut answer).is_ok_and(|n| n > 0) && {
            assert!(answer.starts_with(b"HTTP/1.1 200 ") && answer.ends_with(&site.content("/12")));
            true
        }
    });
    site.wait_for("http_idle_timeouts", closed);
}

fn a_short_idle_timeout_cuts_no_answer(transport: Transport) {
    let Some(site) = Plan::new(transport).with("--idle-timeout 200ms").start() else { return };
    let mut reader = downloading(&site);
    // The server's own clock: three idle clients are closed in turn.
    for _ in 0..3 {
        site.connect().expect_end();
    }
    let content = site.content(LARGE);
    assert!(reader.take(content.len()) == content);
    assert_eq!(site.counter("closed_aborted"), 0);
}

/// Its address is gone: nothing answers for it.
fn a_client_that_has_vanished_is_let_go(transport: Transport) {
    if !need_program("ip") {
        return;
    }
    let flags = "--http-tcp-keepalive 1s --idle-timeout 1h";
    let Some(site) = Plan::new(transport).with(flags).start() else { return };
    let mut client = site.connect();
    client.expect("/12", &site.content("/12"));
    site.run_client("ip", &["address", "flush", "dev", "c0"]);
    site.wait_for("closed_timed_out", 1);
}

/// Ends when its interface is removed, with a reason.
fn ends_with_its_interface(flags: &str) {
    if !need_program("ip") {
        return;
    }
    let Some(mut site) = Plan::new(Transport::Xdp).with(flags).start() else { return };
    site.connect().expect("/12", &site.content("/12"));
    site.run_client("ip", &["link", "delete", "c0"]);
    assert_eq!(site.process.wait(TEST_TIMEOUT).code(), Some(1), "{}", site.log());
    wait_until("the reason is told", TEST_TIMEOUT, || {
        site.log().contains("error: worker xdp 0: queue 0 was unbound")
    });
}

#[test]
fn a_server_ends_with_its_interface() {
    ends_with_its_interface("--drain-timeout 1s");
}

#[test]
fn a_server_that_never_sleeps_ends_with_its_interface_too() {
    ends_with_its_interface("--drain-timeout 1s --busy-poll");
}

#[test]
fn a_taken_port_is_an_error() {
    let Some(network) = Plan::new(Transport::Xdp).network() else { return };
    let _taken = network.server.run(|| TcpListener::bind(at(network.address(1)))).unwrap();
    let mut command = simoom();
    command.args(["serve", "--interface", "s0", "--http", "8080"]).stderr(Stdio::piped());
    let mut process = network.server.run(|| Process::start(&mut command));
    assert_eq!(process.wait(TEST_TIMEOUT).code(), Some(1));
    let said = process.stderr();
    assert!(
        said.contains(&format!("error: --http {}: cannot listen on", at(network.address(1)))),
        "{said}"
    );
}

/// `ip link set IF xdp off` does nothing to a program that hangs on a bpf_link.
#[test]
fn another_program_on_the_interface_is_an_error_with_a_remedy() {
    let Some(site) = Site::start(Transport::Xdp) else { return };
    for mode in ["generic", "copy"] {
        let mut command = simoom();
        command.args([
            "serve",
            "--interface",
            "s0",
            "--transport",
            "xdp",
            "--xdp-mode",
            mode,
            "--http",
            "8081",
        ]);
        command.args(["--cores", "0"]).stderr(Stdio::piped());
        let mut second = site.network.server.run(|| Process::start(&mut command));
        assert_eq!(second.wait(TEST_TIMEOUT).code(), Some(1));
        let said = second.stderr();
        assert!(said.contains("bpftool link detach id N"), "{mode}: {said}");
    }
    site.serves_others();
}

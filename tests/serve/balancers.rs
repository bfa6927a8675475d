//! nginx and HAProxy in front, with connections that they keep: no request fails, when Simoom
//! closes idle connections, and when it is restarted.
//!
//! A standby serves the same files while the server restarts. HAProxy checks both with its default
//! check, `OPTIONS / HTTP/1.0`.

use crate::client::Client;
use crate::common::{Network, Process, need_program, wait_until};
use crate::site::{PORT, Plan, Transport};
use crate::{TEST_TIMEOUT, over_all};
use rustix::process::Signal;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tempfile::TempDir;

over_all!(idle_connections_and_restarts_fail_no_request);

const NGINX: u16 = 8001;
const HAPROXY: u16 = 8002;
const STANDBY: u16 = 8081;
/// Clients of each proxy.
const CLIENTS: u64 = 4;

fn idle_connections_and_restarts_fail_no_request(transport: Transport) {
    fails_none(transport, "--idle-timeout 1s", 2, 3);
}

#[test]
#[ignore = "takes four minutes"]
fn twenty_seconds_and_twenty_restarts_fail_no_request() {
    for transport in [Transport::Epoll, Transport::IoUring, Transport::Xdp] {
        for idle in ["", "--idle-timeout 1s"] {
            fails_none(transport, idle, 20, 0);
            fails_none(transport, idle, 0, 20);
        }
    }
}

/// Clients ask through both proxies, in bursts about a second apart: when an idle timeout of a
/// second ends a connection, the next request may be on its way. Ends after `bursts` of each client
/// and `restarts`.
fn fails_none(transport: Transport, flags: &str, bursts: u64, restarts: u64) {
    if !need_program("nginx") || !need_program("haproxy") {
        return;
    }
    let plan = Plan::new(transport).with(flags);
    let Some(network) = plan.network() else { return };
    let root = crate::site::files();
    let start = |command: &mut Command| {
        network.server.run(|| Process::start(command.stderr(Stdio::null())))
    };
    let mut standby = crate::common::simoom();
    standby.args(["serve", "--transport", "epoll", "--cores", "0", "--http"]);
    standby.arg(format!("{}:{STANDBY}", network.address(1))).arg("--root").arg(root.path());
    let _standby = start(&mut standby);
    let mut command = plan.command(root.path());
    let mut server = start(&mut command);
    for port in [PORT, STANDBY] {
        network.wait_for_listener(port, TEST_TIMEOUT);
    }
    let _proxies = proxies(&network);
    let (answers, ends) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for client in 0..2 * CLIENTS {
            let (network, answers, ends, root) = (&network, &answers, &ends, &root);
            scope.spawn(move || {
                let port = [NGINX, HAPROXY][client as usize % 2];
                let mut burst = 0;
                while burst < bursts || restarts > 0 && !ends.load(Ordering::Relaxed) {
                    answers.fetch_add(ask(network, port, root), Ordering::Relaxed);
                    // The pace of the clients; the steps cross the idle timeout.
                    let pause_ms = if restarts > 0 { 5 } else { 980 + (burst + client) % 9 * 5 };
                    std::thread::sleep(Duration::from_millis(pause_ms));
                    burst += 1;
                }
            });
        }
        let _end = EndOnDrop(&ends);
        for _ in 0..restarts {
            let before = answers.load(Ordering::Relaxed);
            wait_until("requests are answered", TEST_TIMEOUT, || {
                answers.load(Ordering::Relaxed) >= before + 200
            });
            server.signal(Signal::TERM);
            assert_eq!(server.wait(TEST_TIMEOUT).code(), Some(0));
            server = start(&mut command);
            network.wait_for_listener(PORT, TEST_TIMEOUT);
        }
    });
    println!("{} answers with {flags:?}, {restarts} restarts", answers.into_inner());
}

/// Ends the clients, also when a restart fails.
struct EndOnDrop<'a>(&'a AtomicBool);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Some requests on one connection to the proxy. Returns their number.
fn ask(network: &Network, port: u16, root: &TempDir) -> u64 {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let stream = network.client.run(|| TcpStream::connect_timeout(&address, TEST_TIMEOUT));
    let mut client = Client::new(stream.unwrap());
    for path in ["/12", "/4k", "/64k", "/12", "/12"] {
        client.expect(path, &std::fs::read(root.path().join(&path[1..])).unwrap());
    }
    5
}

/// Both proxies, in the client's namespace.
fn proxies(network: &Network) -> [(Process, TempDir); 2] {
    let IpAddr::V4(server) = network.address(1) else { unreachable!("IPv4") };
    let nginx = |work: &str| {
        format!(
            "daemon off; master_process off; pid {work}/pid; error_log {work}/error.log;
             events {{ worker_connections 200; }}
             http {{ access_log off; client_body_temp_path {work}/b; proxy_temp_path {work}/p;
               fastcgi_temp_path {work}/f; uwsgi_temp_path {work}/u; scgi_temp_path {work}/s;
               upstream simoom {{ keepalive 8; server {server}:{PORT} max_fails=0;
                                  server {server}:{STANDBY} max_fails=0; }}
               server {{ listen 127.0.0.1:{NGINX}; location / {{ proxy_pass http://simoom;
                 proxy_http_version 1.1; proxy_set_header Connection \"\"; }} }} }}"
        )
    };
    let haproxy = |_: &str| {
        format!(
            "defaults
               mode http
               timeout connect 5s
               timeout client 60s
               timeout server 60s
               timeout check 60s
               option redispatch 1
               retry-on conn-failure empty-response
               http-reuse always
             listen simoom
               bind 127.0.0.1:{HAPROXY}
               option httpchk
               default-server check inter 100ms
               server one {server}:{PORT}
               server two {server}:{STANDBY}\n"
        )
    };
    let start = |program: &str, text: &dyn Fn(&str) -> String, flags: &[&str], port: u16| {
        let work = tempfile::tempdir().unwrap();
        let path = work.path().join("conf");
        std::fs::write(&path, text(&work.path().display().to_string())).unwrap();
        let mut command = Command::new(program);
        command.args(flags).arg(&path).stdin(Stdio::null()).stdout(Stdio::null());
        command.current_dir(work.path()).stderr(Stdio::null());
        let process = network.client.run(|| Process::start(&mut command));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        wait_until(&format!("{program} listens"), TEST_TIMEOUT, || {
            network.client.run(|| TcpStream::connect(address).is_ok())
        });
        (process, work)
    };
    [start("nginx", &nginx, &["-c"], NGINX), start("haproxy", &haproxy, &["-db", "-f"], HAPROXY)]
}

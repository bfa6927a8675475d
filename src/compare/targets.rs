//! The table of targets: the servers to compare, with their best configuration for a workload. This
//! module only runs programs to read their version.

use super::plans::Workload;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Port of all servers.
pub(super) const PORT: u16 = 8080;
/// Address of all servers.
pub(super) const SERVER: &str = "198.18.0.1";
/// The file that the load requests.
pub(super) const FILE: &str = "file";
/// Memory for memcached items.
const STORE_MEGABYTES: u32 = 256;
/// Open files that nginx needs besides connections.
const NGINX_FILES: u32 = 100;
/// Size from which nginx is faster with sendfile than with copying.
const SENDFILE_BYTES: u32 = 16 * 1024;

/// A server to compare.
#[derive(Debug)]
pub(super) struct Target {
    /// The name for `--contender`.
    pub(super) name: &'static str,
    /// A name for readers.
    pub(super) title: &'static str,
    /// Its program; `None` for Simoom itself.
    pub(super) program: Option<&'static str>,
    /// Flag that prints the version.
    version: &'static str,
    /// The supported protocols.
    http: bool,
    memcached: bool,
    /// Whether each connection takes a file descriptor.
    pub(super) takes_files: bool,
    /// Whether this is the ceiling, a responder without TCP.
    pub(super) is_ceiling: bool,
    start: fn(&Scenario<'_>) -> Start,
}

/// The parameters that the configuration of a target depends on.
#[derive(Debug)]
pub(super) struct Scenario<'a> {
    /// What the load will request.
    pub(super) workload: Workload,
    /// Connections at the same time.
    pub(super) connections: u32,
    /// Whether each connection carries one request.
    pub(super) connection_per_request: bool,
    /// The working directory. Its `www` contains the file to serve.
    pub(super) directory: &'a Path,
}

/// The command line and configuration of a target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Start {
    /// The arguments.
    pub(super) arguments: Vec<String>,
    /// Name and text of the configuration file in the working directory.
    pub(super) file: Option<(&'static str, String)>,
}

/// All targets.
#[rustfmt::skip]
pub(super) const TARGETS: &[Target] = &[
    Target { name: "xdp", title: "Simoom, AF_XDP", program: None, version: "--version",
        http: true, memcached: true, takes_files: false, is_ceiling: false, start: simoom_xdp },
    Target { name: "uring", title: "Simoom, io_uring", program: None, version: "--version",
        http: true, memcached: true, takes_files: true, is_ceiling: false, start: simoom_uring },
    Target { name: "epoll", title: "Simoom, epoll", program: None, version: "--version",
        http: true, memcached: true, takes_files: true, is_ceiling: false, start: simoom_epoll },
    Target { name: "nginx", title: "nginx", program: Some("nginx"), version: "-v",
        http: true, memcached: false, takes_files: true, is_ceiling: false, start: nginx },
    Target { name: "h2o", title: "h2o", program: Some("h2o"), version: "--version",
        http: true, memcached: false, takes_files: true, is_ceiling: false, start: h2o },
    Target { name: "memcached", title: "memcached", program: Some("memcached"), version: "-V",
        http: false, memcached: true, takes_files: true, is_ceiling: false, start: memcached },
    Target { name: "ceiling", title: "ceiling", program: None, version: "--version",
        http: true, memcached: true, takes_files: false, is_ceiling: true, start: ceiling },
];

/// Servers that readers may expect but that are never measured, with the reason.
pub(super) const NEVER_COMPARED: &[(&str, &str)] = &[(
    "nginx, busy-polled",
    "net.core.busy_poll has no effect on veth, which hands packets over with no NAPI instance to poll: with it at 50 µs \
     and at 0 nginx's rates are the same within 3 %",
)];

/// The target whose peak other targets are measured at.
pub(super) const NGINX: &str = "nginx";
pub(super) const MEMCACHED: &str = "memcached";
/// The target that shows the limit of the machine.
pub(super) const CEILING: &str = "ceiling";

impl Target {
    /// The file of the program if it is installed. `simoom` is the file of this program.
    pub(super) fn find(&self, simoom: &Path) -> Option<PathBuf> {
        let Some(program) = self.program else { return Some(simoom.to_owned()) };
        let path = std::env::var_os("PATH").unwrap_or_default();
        let sbin = ["/usr/sbin", "/sbin"].map(PathBuf::from);
        std::env::split_paths(&path)
            .chain(sbin)
            .map(|directory| directory.join(program))
            .find(|file| file.is_file())
    }

    /// The version, in one line of the program's output.
    pub(super) fn version(&self, program: &Path) -> String {
        let output = Command::new(program).arg(self.version).stdin(Stdio::null()).output();
        let said = output.map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        said.lines()
            .next()
            .unwrap_or("unknown")
            .trim_start_matches("nginx version: ")
            .trim_start_matches("h2o version ")
            .trim()
            .to_owned()
    }

    /// Whether it supports the protocol of this workload.
    pub(super) fn speaks(&self, workload: Workload) -> bool {
        match workload {
            Workload::Http(_) | Workload::Static => self.http,
            Workload::Memcached(_) => self.memcached,
        }
    }

    /// The command line and configuration for a scenario.
    pub(super) fn start(&self, scenario: &Scenario<'_>) -> Start {
        (self.start)(scenario)
    }
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// Connection limit of a server: a client may open a connection before its last one is gone.
fn with_headroom(connections: u32) -> u32 {
    connections + connections / 10 + 1024
}

fn simoom_serve(scenario: &Scenario<'_>, how: &str, address: &str) -> Start {
    let room = with_headroom(scenario.connections);
    let what = match scenario.workload {
        Workload::Http(_) | Workload::Static => {
            format!("--http {address}{PORT} --root {}/www", scenario.directory.display())
        }
        Workload::Memcached(_) => {
            format!("--memcached {address}{PORT} --memory {STORE_MEGABYTES}M")
        }
    };
    let rest = format!("--connections {room} --drain-timeout 0s --log-level warn");
    Start { arguments: words(&format!("serve {how} {what} {rest}")), file: None }
}

fn simoom_xdp(scenario: &Scenario<'_>) -> Start {
    simoom_serve(scenario, "--interface s0 --transport xdp", "")
}

fn simoom_uring(scenario: &Scenario<'_>) -> Start {
    simoom_serve(scenario, "--transport io-uring", &format!("{SERVER}:"))
}

fn simoom_epoll(scenario: &Scenario<'_>) -> Start {
    simoom_serve(scenario, "--transport epoll", &format!("{SERVER}:"))
}

fn ceiling(scenario: &Scenario<'_>) -> Start {
    let (bytes, how) = match scenario.workload {
        Workload::Http(bytes) if scenario.connection_per_request => (bytes, "--close"),
        Workload::Http(bytes) => (bytes, ""),
        Workload::Memcached(bytes) => (bytes, "--memcached"),
        Workload::Static => return Start::default(),
    };
    let arguments =
        words(&format!("ceiling --interface s0 --port {PORT} --response-bytes {bytes} {how}"));
    Start { arguments, file: None }
}

/// One thread for one core. More threads cost without a gain.
fn memcached(scenario: &Scenario<'_>) -> Start {
    let room = with_headroom(scenario.connections);
    let arguments = format!(
        "-u root -l {SERVER} -p {PORT} -U 0 -t 1 -c {room} -m {STORE_MEGABYTES} -b 16384 -R 200"
    );
    Start { arguments: words(&arguments), file: None }
}

/// One worker without access log, with cached open files and enough connections. Small files are
/// copied: on this testbed that serves up to five times as many requests as `sendfile`, which is
/// faster for large files.
fn nginx(scenario: &Scenario<'_>) -> Start {
    let (bytes, coded) = match scenario.workload {
        Workload::Http(bytes) => (bytes, ""),
        // Most files are longer.
        Workload::Static => (SENDFILE_BYTES, " gzip_static on;"),
        Workload::Memcached(_) => return Start::default(),
    };
    let connections = with_headroom(scenario.connections);
    let files = connections + NGINX_FILES;
    let send = if bytes < SENDFILE_BYTES { "sendfile off;" } else { "sendfile on; tcp_nopush on;" };
    let directory = scenario.directory.display();
    let mut text = String::new();
    let _ = writeln!(text, "daemon off; worker_processes 1; worker_rlimit_nofile {files};");
    let _ = writeln!(text, "pid {directory}/nginx.pid; error_log {directory}/nginx-error.log;");
    let _ = writeln!(text, "events {{ use epoll; worker_connections {connections}; }}");
    let _ = writeln!(text, "http {{ access_log off; {send} tcp_nodelay on;{coded}");
    let _ = writeln!(text, "    keepalive_requests 1000000000; keepalive_timeout 1h; etag off;");
    let _ = writeln!(
        text,
        "    open_file_cache max=100; open_file_cache_valid 1h; default_type text/plain;"
    );
    for temporary in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        let _ = writeln!(text, "    {temporary}_temp_path {directory}/temp;");
    }
    let _ = writeln!(
        text,
        "    server {{ listen {SERVER}:{PORT} backlog=16384 reuseport; root {directory}/www; }} }}"
    );
    Start {
        arguments: words(&format!("-p {directory} -c {directory}/nginx.conf")),
        file: Some(("nginx.conf", text)),
    }
}

/// One thread without access log, with enough connections, and compressed files where they are.
fn h2o(scenario: &Scenario<'_>) -> Start {
    let connections = with_headroom(scenario.connections);
    let directory = scenario.directory.display();
    let text = format!(
        "user: root\nnum-threads: 1\nmax-connections: {connections}\n\
         pid-file: {directory}/h2o.pid\nerror-log: {directory}/h2o-error.log\n\
         http1-request-timeout: 3600\n\
         file.etag: OFF\nfile.send-compressed: ON\nfile.mime.setdefaulttype: text/plain\n\
         listen:\n  host: {SERVER}\n  port: {PORT}\n\
         hosts:\n  default:\n    paths:\n      /:\n        file.dir: {directory}/www\n"
    );
    let arguments = words(&format!("-m worker -c {directory}/h2o.conf"));
    Start { arguments, file: Some(("h2o.conf", text)) }
}

impl Target {
    /// File descriptors needed for this many connections.
    pub(super) fn files_needed(&self, connections: u32) -> u32 {
        if self.takes_files { connections + connections / 100 + 2 * NGINX_FILES } else { 0 }
    }
}

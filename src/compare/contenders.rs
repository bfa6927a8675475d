//! Who is compared: a table of contenders, and how each is started at its best.
//!
//! A contender is a program with arguments and files, made for what a plan asks. Nothing is started
//! here but programs that are asked for their version.

use super::plans::Asked;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where servers listen.
pub(super) const PORT: u16 = 8080;
/// The servers' address.
pub(super) const SERVER: &str = "198.18.0.1";
/// The file that is asked for.
pub(super) const FILE: &str = "file";
/// Memory for memcached's items.
const STORE_MEGABYTES: u32 = 256;
/// Files that nginx keeps open, besides connections.
const NGINX_FILES: u32 = 100;
/// From this size on, nginx is faster if the kernel sends the file (sendfile) than if nginx copies
/// it.
const SENDFILE_BYTES: u32 = 16 * 1024;

/// A row of the table.
#[derive(Debug)]
pub(super) struct Contender {
    /// The name that `--contender` takes.
    pub(super) name: &'static str,
    /// The name for a reader.
    pub(super) title: &'static str,
    /// Its program; `None` for this one.
    pub(super) program: Option<&'static str>,
    /// The flag with which the program tells its version.
    version: &'static str,
    /// What it speaks.
    http: bool,
    memcached: bool,
    /// Each connection takes a file descriptor.
    pub(super) takes_files: bool,
    /// Answers without looking: no server.
    pub(super) is_ceiling: bool,
    start: fn(&Setting<'_>) -> Start,
}

/// What a contender is started for.
#[derive(Debug)]
pub(super) struct Setting<'a> {
    /// What will be asked for.
    pub(super) asked: Asked,
    /// Over so many connections at once.
    pub(super) connections: u32,
    /// Each connection is for one request.
    pub(super) connection_per_request: bool,
    /// The working directory, which has the file to serve in `www`.
    pub(super) place: &'a Path,
}

/// How a contender is started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Start {
    /// The arguments.
    pub(super) arguments: Vec<String>,
    /// Its configuration file, by name, in the working directory.
    pub(super) file: Option<(&'static str, String)>,
}

/// The table.
#[rustfmt::skip]
pub(super) const CONTENDERS: &[Contender] = &[
    Contender { name: "xdp", title: "Simoom, AF_XDP", program: None, version: "--version",
        http: true, memcached: true, takes_files: false, is_ceiling: false, start: simoom_xdp },
    Contender { name: "uring", title: "Simoom, io_uring", program: None, version: "--version",
        http: true, memcached: true, takes_files: true, is_ceiling: false, start: simoom_uring },
    Contender { name: "epoll", title: "Simoom, epoll", program: None, version: "--version",
        http: true, memcached: true, takes_files: true, is_ceiling: false, start: simoom_epoll },
    Contender { name: "nginx", title: "nginx", program: Some("nginx"), version: "-v",
        http: true, memcached: false, takes_files: true, is_ceiling: false, start: nginx },
    Contender { name: "memcached", title: "memcached", program: Some("memcached"), version: "-V",
        http: false, memcached: true, takes_files: true, is_ceiling: false, start: memcached },
    Contender { name: "ceiling", title: "ceiling", program: None, version: "--version",
        http: true, memcached: true, takes_files: false, is_ceiling: true, start: ceiling },
];

/// Contenders that one would look for here and that are left out always, with the reason.
pub(super) const NOT_COMPARED: &[(&str, &str)] = &[(
    "nginx, busy-polled",
    "net.core.busy_poll has no effect on veth, which hands packets over with no NAPI instance to poll: with it at 50 µs \
     and at 0 nginx's rates are the same within 3 %",
)];

/// The contender whose peak others are measured at.
pub(super) const NGINX: &str = "nginx";

impl Contender {
    /// The program's file, if it is installed; `simoom` is this one's.
    pub(super) fn find(&self, simoom: &Path) -> Option<PathBuf> {
        let Some(program) = self.program else { return Some(simoom.to_owned()) };
        let path = std::env::var_os("PATH").unwrap_or_default();
        let sbin = ["/usr/sbin", "/sbin"].map(PathBuf::from);
        std::env::split_paths(&path)
            .chain(sbin)
            .map(|directory| directory.join(program))
            .find(|file| file.is_file())
    }

    /// What the program says of its version, in one line.
    pub(super) fn version(&self, program: &Path) -> String {
        let output = Command::new(program).arg(self.version).stdin(Stdio::null()).output();
        let said = output.map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        said.lines()
            .next()
            .unwrap_or("unknown")
            .trim_start_matches("nginx version: ")
            .trim()
            .to_owned()
    }

    /// Whether it can be asked for that.
    pub(super) fn speaks(&self, asked: Asked) -> bool {
        match asked {
            Asked::Http(_) => self.http,
            Asked::Memcached(_) => self.memcached,
        }
    }

    /// How to start it, for what it speaks.
    pub(super) fn start(&self, setting: &Setting<'_>) -> Start {
        (self.start)(setting)
    }
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// Connections to make room for: a client may open one before the last one is gone.
fn room(connections: u32) -> u32 {
    connections + connections / 10 + 1024
}

fn simoom_serve(setting: &Setting<'_>, how: &str, address: &str) -> Start {
    let room = room(setting.connections);
    let what = match setting.asked {
        Asked::Http(_) => format!("--http {address}{PORT} --root {}/www", setting.place.display()),
        Asked::Memcached(_) => format!("--memcached {address}{PORT} --memory {STORE_MEGABYTES}M"),
    };
    let rest = format!("--connections {room} --drain-timeout 0s --log-level warn");
    Start { arguments: words(&format!("serve {how} {what} {rest}")), file: None }
}

fn simoom_xdp(setting: &Setting<'_>) -> Start {
    simoom_serve(setting, "--interface s0 --transport xdp", "")
}

fn simoom_uring(setting: &Setting<'_>) -> Start {
    simoom_serve(setting, "--transport io-uring", &format!("{SERVER}:"))
}

fn simoom_epoll(setting: &Setting<'_>) -> Start {
    simoom_serve(setting, "--transport epoll", &format!("{SERVER}:"))
}

fn ceiling(setting: &Setting<'_>) -> Start {
    let (bytes, how) = match setting.asked {
        Asked::Http(bytes) if setting.connection_per_request => (bytes, "--close"),
        Asked::Http(bytes) => (bytes, ""),
        Asked::Memcached(bytes) => (bytes, "--memcached"),
    };
    let arguments =
        words(&format!("ceiling --interface s0 --port {PORT} --response-bytes {bytes} {how}"));
    Start { arguments, file: None }
}

/// One thread, as there is one core; a thread more for each only costs.
fn memcached(setting: &Setting<'_>) -> Start {
    let room = room(setting.connections);
    let arguments = format!(
        "-u root -l {SERVER} -p {PORT} -U 0 -t 1 -c {room} -m {STORE_MEGABYTES} -b 16384 -R 200"
    );
    Start { arguments: words(&arguments), file: None }
}

/// One worker without access log, its files open beforehand, as many connections as needed. Small
/// files are copied: measured here, that answers up to five times as many requests as `sendfile`,
/// which is the faster for large ones.
fn nginx(setting: &Setting<'_>) -> Start {
    let Asked::Http(bytes) = setting.asked else { return Start::default() };
    let connections = room(setting.connections);
    let files = connections + NGINX_FILES;
    let send = if bytes < SENDFILE_BYTES { "sendfile off;" } else { "sendfile on; tcp_nopush on;" };
    let place = setting.place.display();
    let mut text = String::new();
    let _ = writeln!(text, "daemon off; worker_processes 1; worker_rlimit_nofile {files};");
    let _ = writeln!(text, "pid {place}/nginx.pid; error_log {place}/nginx-error.log;");
    let _ = writeln!(text, "events {{ use epoll; worker_connections {connections}; }}");
    let _ = writeln!(text, "http {{ access_log off; {send} tcp_nodelay on;");
    let _ = writeln!(text, "    keepalive_requests 1000000000; keepalive_timeout 1h; etag off;");
    let _ = writeln!(
        text,
        "    open_file_cache max=100; open_file_cache_valid 1h; default_type text/plain;"
    );
    for temporary in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        let _ = writeln!(text, "    {temporary}_temp_path {place}/temp;");
    }
    let _ = writeln!(
        text,
        "    server {{ listen {SERVER}:{PORT} backlog=16384 reuseport; root {place}/www; }} }}"
    );
    Start {
        arguments: words(&format!("-p {place} -c {place}/nginx.conf")),
        file: Some(("nginx.conf", text)),
    }
}

impl Contender {
    /// Descriptors that it needs for so many connections.
    pub(super) fn files_needed(&self, connections: u32) -> u32 {
        if self.takes_files { connections + connections / 100 + 2 * NGINX_FILES } else { 0 }
    }
}

//! What the integration tests share: skipping, the built program, deadlines, and a network of two
//! namespaces.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary compiles this file and uses a part of it"
)]
#![allow(clippy::print_stdout, reason = "a skip must be seen in the test's output")]

mod bridge;
pub mod capture;
pub mod memcached;
pub mod zipf;

pub use bridge::{Bridge, Path};

use pnet::util::MacAddr;
use simoom::netns::{self, Namespace};
use std::ffi::OsStr;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Says why a test is left out. Under `SIMOOM_TEST_REQUIRE=all` nothing may be: then it fails.
///
/// ```ignore
/// if !need_root() { return; }
/// ```
pub fn skip(reason: &str) {
    println!("SKIPPED: {reason}");
    let required = std::env::var("SIMOOM_TEST_REQUIRE").is_ok_and(|value| value == "all");
    assert!(!required, "SIMOOM_TEST_REQUIRE=all, but this test cannot run: {reason}");
}

/// What a randomised test begins with, printed: the same number each time, so that a suite which
/// passed does so again. SIMOOM_TEST_SEED=N is another; SIMOOM_TEST_SEED=new one that was not tried
/// before.
pub fn seed() -> u64 {
    let since_1970 = || SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock past 1970");
    let seed = match std::env::var("SIMOOM_TEST_SEED").as_deref() {
        Err(_) => 1,
        Ok("new") => since_1970().as_nanos() as u64,
        Ok(given) => given.parse().expect("SIMOOM_TEST_SEED is a number below 2^64, or new"),
    };
    println!("SIMOOM_TEST_SEED={seed}");
    seed
}

/// Whether namespaces and AF_XDP sockets can be made; skips the test if not.
pub fn need_root() -> bool {
    match Namespace::new() {
        Ok(_) => true,
        Err(error) => {
            skip(&error.to_string());
            false
        }
    }
}

/// Whether `program` is installed; skips the test if not.
pub fn need_program(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .chain([std::path::PathBuf::from("/usr/sbin"), std::path::PathBuf::from("/sbin")])
        .any(|directory| directory.join(program).is_file());
    if !found {
        skip(&format!("needs the program {program}, which is not installed"));
    }
    found
}

/// Nothing that a test waits for takes longer than this, however busy the machine is.
pub const TEST_TIMEOUT: Duration = Duration::from_secs(60);

/// The built program, ready to be given arguments. Its environment has no SIMOOM_LOG.
pub fn simoom() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_simoom"));
    command.env_remove("SIMOOM_LOG").stdin(Stdio::null());
    command
}

/// Runs the built program as a user without any privilege. It is a copy that is run: wherever the
/// program lies, others may not be let in there.
pub fn run_as_nobody(subcommand: &str) -> Output {
    let place = tempfile::tempdir().unwrap();
    std::fs::set_permissions(place.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let program = place.path().join("simoom");
    std::fs::copy(simoom().get_program(), &program).unwrap();
    Command::new(program).arg(subcommand).uid(65_534).gid(65_534).output().unwrap()
}

/// The interpreter of the modules that packages install: another may come first in PATH.
pub const PYTHON: &str = "/usr/bin/python3";

/// Runs the built program to its end.
pub fn run<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(arguments: I) -> Output {
    simoom().args(arguments).output().expect("running the built program")
}

/// Runs a program in a namespace; returns what it wrote to standard output. Fails if the program
/// does.
pub fn run_in(namespace: &Namespace, program: &str, arguments: &[&str]) -> String {
    let run = || Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = namespace.run(run).unwrap_or_else(|error| panic!("starting {program}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {text}{complaint}");
    text
}

/// A child process that is ended, by its own process id, when this value goes.
#[derive(Debug)]
pub struct Process(Child);

impl Process {
    /// Starts `command`.
    pub fn start(command: &mut Command) -> Process {
        Process(command.spawn().unwrap_or_else(|error| panic!("starting {command:?}: {error}")))
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// The child, to take its pipes from.
    pub fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.0.try_wait().expect("asking after a child process").is_none()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, signal)
            .expect("signalling a child process that was not waited for");
    }

    /// Waits until it ends; fails if that takes longer than `limit`.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let mut status = None;
        wait_until("the child process ends", limit, || {
            status = self.0.try_wait().expect("asking after a child process");
            status.is_some()
        });
        status.expect("set when the wait ended")
    }

    /// What it wrote to a piped standard error until it closed it.
    pub fn stderr(&mut self) -> String {
        let mut text = String::new();
        if let Some(pipe) = &mut self.0.stderr {
            pipe.read_to_string(&mut text).expect("reading a child's standard error");
        }
        text
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails when it has ended by itself, which is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts nginx over Linux's TCP in the network's server namespace, with one worker, and waits
/// until it answers. It serves what is in `root`, and keeps its own files there. Towards the client
/// it uses CUBIC, as Simoom does, whatever the kernel's own choice.
pub fn nginx(network: &Network, root: &std::path::Path, port: u16) -> Process {
    let work = root.display();
    let IpAddr::V4(address) = network.address(1) else { unreachable!("IPv4") };
    let configuration = format!(
        "daemon off; master_process off; pid {work}/nginx.pid; error_log {work}/error.log;
         events {{ worker_connections 100; }}
         http {{ access_log off; sendfile on; tcp_nopush on; server {{ listen {address}:{port}; root {work}; }} }}"
    );
    let path = root.join("nginx.conf");
    std::fs::write(&path, configuration).expect("room for nginx's configuration");
    let mut command = Command::new("nginx");
    command.arg("-p").arg(root).arg("-c").arg(&path).stdin(Stdio::null()).stderr(Stdio::null());
    let process = network.server.run(|| {
        netns::set_congestion_control("s0", address, 24, "cubic").unwrap();
        Process::start(&mut command)
    });
    network.wait_for_listener(port, Duration::from_secs(60));
    process
}

/// Looks every few milliseconds until `condition` holds; fails, saying `what` was awaited, after
/// `limit`.
pub fn wait_until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < deadline, "waited {limit:?} in vain until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A server's and a client's namespace, joined by a veth pair: `s0` with 198.18.x.1/24 and
/// 2001:db8:x::1/64, `c0` with .2 and ::2, both up.
#[derive(Debug)]
pub struct Network {
    /// What lies between, if it is more than a veth pair.
    pub bridge: Option<Bridge>,
    /// Where `s0` is.
    pub server: Namespace,
    /// Where `c0` is.
    pub client: Namespace,
    subnet: u8,
}

impl Network {
    /// Makes one with `queues` queues at either end; needs root (see [`need_root`]).
    pub fn new(queues: u32) -> io::Result<Network> {
        let network = Network::unconnected()?;
        netns::veth(&network.server, "s0", &network.client, "c0", queues)?;
        network.bring_up()?;
        Ok(network)
    }

    /// Makes one whose ends are as far apart as `path` says, a queue each. Needs root and ethtool:
    /// frames leave either end as they are on a wire, none longer than the MTU and all with their
    /// checksums.
    pub fn through(path: Path) -> io::Result<Network> {
        let (mut network, middle) = (Network::unconnected()?, Namespace::new()?);
        netns::veth(&network.server, "s0", &middle, "s1", 1)?;
        netns::veth(&network.client, "c0", &middle, "c1", 1)?;
        for (namespace, name) in [(&network.server, "s0"), (&network.client, "c0")] {
            let arguments = ["-K", name, "tx", "off", "tso", "off", "gso", "off", "gro", "off"];
            run_in(namespace, "ethtool", &arguments);
        }
        let mac = |namespace: &Namespace, name: &str| -> io::Result<MacAddr> {
            Ok(namespace.run(|| netns::interface(name))?.mac.into())
        };
        let ends = [("s1", mac(&network.server, "s0")?), ("c1", mac(&network.client, "c0")?)];
        let bridge = middle.run(|| {
            netns::set_up("s1")?;
            netns::set_up("c1")?;
            Bridge::new(ends[0], ends[1], path)
        })?;
        network.bridge = Some(bridge);
        network.bring_up()?;
        Ok(network)
    }

    fn unconnected() -> io::Result<Network> {
        static SUBNET: AtomicU8 = AtomicU8::new(0);
        let subnet = SUBNET.fetch_add(1, Ordering::Relaxed);
        Ok(Network { bridge: None, server: Namespace::new()?, client: Namespace::new()?, subnet })
    }

    fn bring_up(&self) -> io::Result<()> {
        for (namespace, name, host) in [(&self.server, "s0", 1), (&self.client, "c0", 2)] {
            namespace.run(|| {
                netns::set_address(name, self.address(host), 24)?;
                netns::set_address(name, self.address_v6(host), 64)?;
                netns::set_up(name)
            })?;
        }
        Ok(())
    }

    /// Waits until a client can connect to this port of the server's address.
    pub fn wait_for_listener(&self, port: u16, limit: Duration) {
        let at = SocketAddr::new(self.address(1), port);
        let reach = || self.client.run(|| TcpStream::connect_timeout(&at, limit).is_ok());
        wait_until(&format!("{at} answers"), limit, reach);
    }

    /// The IPv4 address of `host` (1 the server, 2 the client, others free) in this network.
    pub fn address(&self, host: u8) -> IpAddr {
        Ipv4Addr::new(198, 18, self.subnet, host).into()
    }

    /// The IPv6 address of `host` in this network.
    pub fn address_v6(&self, host: u8) -> IpAddr {
        IpAddr::V6(std::net::Ipv6Addr::new(
            0x2001,
            0xdb8,
            u16::from(self.subnet),
            0,
            0,
            0,
            0,
            u16::from(host),
        ))
    }
}

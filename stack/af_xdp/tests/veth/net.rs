//! Two namespaces joined by a veth pair, and the queue at one end of it as a worker has it.

use af_xdp::{Device, Error, Frame, FramePool, Mode, OpenOptions, Program, Queue, Umem, features};
use pnet::datalink::{self, Channel, DataLinkReceiver, DataLinkSender};
use pnet::util::MacAddr;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Reports why a test is left out. With `SIMOOM_TEST_REQUIRE=all` that fails it.
pub fn skip(reason: &str) {
    println!("SKIPPED: {reason}");
    let required = std::env::var("SIMOOM_TEST_REQUIRE").is_ok_and(|value| value == "all");
    assert!(!required, "SIMOOM_TEST_REQUIRE=all, but this test cannot run: {reason}");
}

/// Whether sockets can be made and programs loaded; skips the test if not.
pub fn can_run() -> bool {
    let able = features::can_open_sockets().and_then(|()| features::can_load_program());
    able.inspect_err(|error| skip(&error.to_string())).is_ok()
}

/// How long anything may take that does happen.
pub const TEST_TIMEOUT: Duration = Duration::from_secs(60);

pub const SERVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// An address that neither kernel has.
pub const DEDICATED: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 9);
pub const SERVER_MAC: MacAddr = MacAddr(2, 0, 0, 0, 0, 1);
pub const CLIENT_MAC: MacAddr = MacAddr(2, 0, 0, 0, 0, 9);

/// The modes that a veth has.
pub const MODES: [Mode; 2] = [Mode::Generic, Mode::Copy];

/// A network namespace without a name, gone when nothing uses it any more.
pub struct Namespace(File);

impl Namespace {
    /// Runs `inside` on a thread within the namespace.
    pub fn run<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let ran = scope.spawn(|| {
                move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))
                    .unwrap();
                inside()
            });
            ran.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

pub fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

pub fn ethtool(arguments: &[&str]) {
    let output = Command::new("ethtool").args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Two namespaces and a veth pair: `s0` in the server's, `c0` in the client's.
pub struct Net {
    pub server: Namespace,
    pub client: Namespace,
}

impl Net {
    /// A pair with `queues` queues each way; nothing, with the reason told, where it cannot be had.
    pub fn new(queues: u32) -> Option<Net> {
        Net::with(queues, queues)
    }

    /// A pair with `queues` queues at the server's end, and `client_queues` at the client's.
    pub fn with(queues: u32, client_queues: u32) -> Option<Net> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        if !can_run() {
            return None;
        }
        if Command::new("ip").arg("-V").output().is_err() {
            skip("needs ip (iproute2)");
            return None;
        }
        let base =
            format!("simoom-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let names = Names([format!("{base}s"), format!("{base}c")]);
        let [server, client] = &names.0;
        ip(&format!("netns add {server}"));
        ip(&format!("netns add {client}"));
        let many = |queues| format!("numrxqueues {queues} numtxqueues {queues}");
        let (here, there) = (many(queues), many(client_queues));
        ip(&format!(
            "-n {server} link add s0 {here} type veth peer name c0 {there} netns {client}"
        ));
        for (namespace, name, mac, address) in
            [(server, "s0", SERVER_MAC, SERVER), (client, "c0", CLIENT_MAC, CLIENT)]
        {
            ip(&format!("-n {namespace} link set {name} address {mac} addrgenmode none up"));
            ip(&format!("-n {namespace} address add {address}/24 dev {name}"));
        }
        ip(&format!(
            "-n {client} neighbour add {DEDICATED} lladdr {SERVER_MAC} dev c0 nud permanent"
        ));
        let open = |name: &str| Namespace(File::open(format!("/run/netns/{name}")).unwrap());
        Some(Net { server: open(server), client: open(client) })
    }

    pub fn open(
        &self,
        change: impl FnOnce(&mut OpenOptions),
    ) -> Result<(Device, Vec<(Queue, FramePool)>), Error> {
        let mut options = OpenOptions::new("s0");
        change(&mut options);
        self.server
            .run(move || Device::open(&options, Program::redirect_all(options.queue_count()?)?))
    }

    /// A device in `mode` with its only queue.
    pub fn one_queue(&self, mode: Mode) -> (Device, End) {
        let (device, mut parts) = self.open(|options| options.mode = Some(mode)).unwrap();
        assert_eq!((device.mode(), parts.len()), (mode, 1));
        let (queue, pool) = parts.pop().unwrap();
        (device, End { queue, pool })
    }

    /// A raw socket at the client's end.
    pub fn wire(&self) -> (Box<dyn DataLinkSender>, Box<dyn DataLinkReceiver>) {
        self.client.run(|| {
            let interface = datalink::interfaces()
                .into_iter()
                .find(|interface| interface.name == "c0")
                .unwrap();
            let config = datalink::Config {
                read_timeout: Some(Duration::from_millis(100)),
                read_buffer_size: 1 << 17,
                ..Default::default()
            };
            match datalink::channel(&interface, config).unwrap() {
                Channel::Ethernet(sender, receiver) => (sender, receiver),
                _ => panic!("not an Ethernet channel"),
            }
        })
    }

    /// Whether an XDP program is on `s0`.
    pub fn program_attached(&self) -> bool {
        let output = self
            .server
            .run(|| Command::new("ip").args(["-d", "link", "show", "s0"]).output().unwrap());
        assert!(output.status.success());
        String::from_utf8_lossy(&output.stdout).contains("prog/xdp")
    }
}

/// Names of namespaces, which are only needed while they are set up: a file descriptor keeps them.
pub struct Names([String; 2]);

impl Drop for Names {
    fn drop(&mut self) {
        for name in &self.0 {
            let _ = Command::new("ip").args(["netns", "del", name]).output();
        }
    }
}

/// A queue with its pool, as a worker has them.
pub struct End {
    pub queue: Queue,
    pub pool: FramePool,
}

impl End {
    pub fn umem(&self) -> std::sync::Arc<Umem> {
        self.queue.umem().clone()
    }

    /// Waits until at least one frame is received; at most `max`, as [`Queue::receive`] has it.
    pub fn receive(&mut self, max: usize) -> Vec<Frame> {
        let mut frames = Vec::new();
        until("a frame is received", || {
            self.queue.receive(&mut self.pool, &mut frames, max);
            if frames.is_empty() {
                let mut fds = [PollFd::new(&self.queue, PollFlags::IN)];
                poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 50_000_000 })).unwrap();
            }
            !frames.is_empty()
        });
        frames
    }

    /// Sends bytes as one frame, without flushing.
    pub fn put(&mut self, bytes: &[u8]) {
        let umem = self.umem();
        let mut frame = self.pool.take().expect("a free frame");
        umem.chunk_mut(&mut frame)[..bytes.len()].copy_from_slice(bytes);
        frame.set_len(bytes.len());
        self.queue.transmit(frame).expect("space on the TX ring");
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.put(bytes);
        self.flush();
    }

    pub fn flush(&mut self) {
        until("all is sent", || {
            self.queue.flush().unwrap();
            self.queue.complete(&mut self.pool);
            self.queue.unsent() == 0
        });
    }

    pub fn give_all(&mut self, frames: Vec<Frame>) {
        for frame in frames {
            self.pool.give(frame);
        }
    }

    /// Frames in the pool and with the kernel, after all transmissions are done.
    pub fn settled(&mut self) -> usize {
        until("all transmissions are completed", || {
            self.queue.flush().unwrap();
            self.queue.complete(&mut self.pool);
            self.queue.frames().transmit == 0
        });
        self.pool.len() + self.queue.frames().receive
    }
}

pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + TEST_TIMEOUT;
    while !done() {
        assert!(Instant::now() < deadline, "waited for {TEST_TIMEOUT:?}: {what}");
        thread::yield_now();
    }
}

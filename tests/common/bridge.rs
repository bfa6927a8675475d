//! A link with a length: two interfaces of a namespace between server and client, and threads that
//! carry each frame from one to the other after a given time, in order and byte for byte, or lose
//! it as a seed says.
//!
//! In come whole frames of at most [`FRAME_BYTES`]: both ends must leave segmentation and checksums
//! to their kernels ([`super::Network::through`] sees to that). Nothing is reordered,
//! and nothing changed but by [`Path::encapsulate`].
//! This stands in for netem, which is not everywhere.

use pnet::datalink::{self, Channel, Config, DataLinkReceiver, DataLinkSender};
use pnet::util::MacAddr;
use rustix::net::{AddressFamily, SocketType, socket, sockopt};
use std::io::{self, ErrorKind};
use std::os::fd::IntoRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The longest frame carried.
const FRAME_BYTES: usize = 9100;
/// What may wait to be taken over, each way: more than both ends ever have in flight.
const BUFFER_BYTES: usize = 64 << 20;

/// Returns the frame in its tunnel; `None` for a frame that stays as it is.
pub type Encapsulate = fn(&[u8]) -> Option<Vec<u8>>;

/// How the link is, each way.
#[derive(Clone, Copy, Debug, Default)]
pub struct Path {
    /// The time from one end to the other: half a round trip.
    pub delay: Duration,
    /// So many frames of a thousand are lost.
    pub loss_permille: u64,
    /// Which ones.
    pub seed: u64,
    /// The rate of a bottleneck before the delay, in bytes a second; 0 for none.
    pub bytes_per_second: u64,
    /// The queue of the bottleneck, in bytes. A frame that does not fit is lost.
    pub queue_bytes: u64,
    /// Puts frames to the server into a tunnel, as a load balancer does. `None`: the frame stays as
    /// it is.
    pub encapsulate: Option<Encapsulate>,
}

impl Path {
    /// For each frame that comes to a lane, 0 from the server and 1 to it, whether it is lost.
    pub fn losses(&self, lane: u64) -> impl Iterator<Item = bool> + Send + use<> {
        let permille = self.loss_permille;
        // A xorshift generator.
        let mut random = (self.seed * 2 + lane).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        std::iter::repeat_with(move || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % 1000 < permille
        })
    }
}

/// The threads that carry frames. They end when this value goes.
#[derive(Debug)]
pub struct Bridge {
    ends: Arc<AtomicBool>,
    counts: [Arc<Counts>; 2],
    threads: Vec<JoinHandle<()>>,
}

impl Bridge {
    /// Joins the calling thread's interfaces `a` and `b`; behind `a` is the interface with the
    /// address `a_mac`, and so on.
    pub fn new(a: (&str, MacAddr), b: (&str, MacAddr), path: Path) -> io::Result<Bridge> {
        let (ends, counts) = (Arc::new(AtomicBool::new(false)), <[Arc<Counts>; 2]>::default());
        let ((a_out, a_in), (b_out, b_in)) = (open(a.0)?, open(b.0)?);
        let mut threads = Vec::new();
        for (number, (from, input, output)) in
            [(a.1, a_in, b_out), (b.1, b_in, a_out)].into_iter().enumerate()
        {
            let (put, take) = mpsc::channel();
            // Lane 0 is from the server.
            let encapsulate = path.encapsulate.filter(|_| number == 1);
            let path = Path { encapsulate, ..path };
            let lane = Lane { from, path, counts: counts[number].clone() };
            let (losses, ends) = (path.losses(number as u64), ends.clone());
            threads.push(std::thread::spawn(move || lane.take_in(input, losses, &put, &ends)));
            threads.push(std::thread::spawn(move || hand_over(&take, output)));
        }
        Ok(Bridge { ends, counts, threads })
    }

    /// The mean time that a frame waited in the queue of the bottleneck from the server, so far.
    pub fn mean_wait(&self) -> Duration {
        let Counts { taken, lost, waited_us } = &*self.counts[0];
        let passed = taken.load(Ordering::Relaxed) - lost.load(Ordering::Relaxed);
        Duration::from_micros(waited_us.load(Ordering::Relaxed) / passed.max(1))
    }

    /// Frames that came to each lane, and those of them that were lost.
    pub fn lanes(&self) -> [(u64, u64); 2] {
        [0, 1].map(|lane: usize| {
            let Counts { taken, lost, .. } = &*self.counts[lane];
            (taken.load(Ordering::Relaxed), lost.load(Ordering::Relaxed))
        })
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // One that panicked has said so already.
            let _ = thread.join();
        }
    }
}

fn open(interface: &str) -> io::Result<(Box<dyn DataLinkSender>, Box<dyn DataLinkReceiver>)> {
    let found = datalink::interfaces().into_iter().find(|found| found.name == interface);
    let interface =
        found.ok_or_else(|| io::Error::new(ErrorKind::NotFound, interface.to_owned()))?;
    // Receives nothing before it is bound, so that nothing comes in while its buffer is small.
    let socket = socket(AddressFamily::PACKET, SocketType::RAW, None)?;
    sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER_BYTES)?;
    let config = Config {
        read_timeout: Some(Duration::from_millis(50)),
        read_buffer_size: FRAME_BYTES,
        socket_fd: Some(socket.into_raw_fd()),
        ..Config::default()
    };
    match datalink::channel(&interface, config)? {
        Channel::Ethernet(sender, receiver) => Ok((sender, receiver)),
        _ => Err(io::Error::other("not an Ethernet interface")),
    }
}

/// One direction: when a frame arrives there, and the frame.
type Carried = (Instant, Vec<u8>);

#[derive(Debug, Default)]
struct Counts {
    taken: AtomicU64,
    lost: AtomicU64,
    waited_us: AtomicU64,
}

struct Lane {
    from: MacAddr,
    path: Path,
    counts: Arc<Counts>,
}

impl Lane {
    fn take_in(
        self,
        mut input: Box<dyn DataLinkReceiver>,
        mut losses: impl Iterator<Item = bool>,
        put: &mpsc::Sender<Carried>,
        ends: &AtomicBool,
    ) {
        let mut busy_until = Instant::now();
        while !ends.load(Ordering::Relaxed) {
            let frame = match input.next() {
                // This namespace's own kernel speaks up, too.
                Ok(frame) if frame.len() < 14 || frame[6..12] != self.from.octets() => continue,
                Ok(frame) => frame,
                Err(error)
                    if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) =>
                {
                    continue;
                }
                // The interface is gone: so is the network.
                Err(_) => return,
            };
            self.counts.taken.fetch_add(1, Ordering::Relaxed);
            let passes = losses.next() != Some(true);
            let tunnelled = self.path.encapsulate.and_then(|encapsulate| encapsulate(frame));
            let frame = tunnelled.as_deref().unwrap_or(frame);
            match passes.then(|| self.pass_bottleneck(&mut busy_until, frame.len())).flatten() {
                None => _ = self.counts.lost.fetch_add(1, Ordering::Relaxed),
                Some(at) if put.send((at + self.path.delay, frame.to_vec())).is_err() => return,
                Some(_) => {}
            }
        }
    }
}

impl Lane {
    /// When a frame of `len` bytes that comes now has passed the bottleneck; `None` if its queue is
    /// full.
    fn pass_bottleneck(&self, busy_until: &mut Instant, len: usize) -> Option<Instant> {
        let Path { bytes_per_second, queue_bytes, .. } = self.path;
        let now = Instant::now();
        if bytes_per_second == 0 {
            return Some(now);
        }
        let wait = busy_until.saturating_duration_since(now);
        if wait.as_micros() as u64 * bytes_per_second / 1_000_000 + len as u64 > queue_bytes {
            return None;
        }
        self.counts.waited_us.fetch_add(wait.as_micros() as u64, Ordering::Relaxed);
        let takes = Duration::from_nanos(len as u64 * 1_000_000_000 / bytes_per_second);
        *busy_until = now + wait + takes;
        Some(*busy_until)
    }
}

/// Sends each frame when its time has come, until there is nobody left to bring any.
fn hand_over(take: &mpsc::Receiver<Carried>, mut output: Box<dyn DataLinkSender>) {
    while let Ok((at, frame)) = take.recv() {
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
        // Refused while the interface is down or its queue full: lost, as on any link.
        let _ = output.send_to(&frame, None);
    }
}

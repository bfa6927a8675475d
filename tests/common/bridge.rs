//! A link with a length: two interfaces of a namespace between server and client, and threads that carry each frame from
//! one to the other after a given time, in order and byte for byte, or lose it as a seed says.
//!
//! In come whole frames of at most [`FRAME_BYTES`]: both ends must leave segmentation and checksums to their kernels
//! ([`super::Network::through`] sees to that). Nothing is reordered or changed. This stands in for netem, which is not
//! everywhere.

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

/// How the link is, each way.
#[derive(Clone, Copy, Debug, Default)]
pub struct Path {
    /// The time from one end to the other: half a round trip.
    pub delay: Duration,
    /// So many frames of a thousand are lost.
    pub loss_permille: u64,
    /// Which ones.
    pub seed: u64,
}

/// The threads that carry frames. They end when this value goes.
#[derive(Debug)]
pub struct Bridge {
    ends: Arc<AtomicBool>,
    carried: Arc<AtomicU64>,
    lost: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Bridge {
    /// Joins the calling thread's interfaces `a` and `b`; behind `a` is the interface with the address `a_mac`, and so on.
    pub fn new(a: (&str, MacAddr), b: (&str, MacAddr), path: Path) -> io::Result<Bridge> {
        let (ends, counts) = (Arc::new(AtomicBool::new(false)), [(); 2].map(|()| Arc::new(AtomicU64::new(0))));
        let ((a_out, a_in), (b_out, b_in)) = (open(a.0)?, open(b.0)?);
        let mut threads = Vec::new();
        for (from, input, output, seed) in
            [(a.1, a_in, b_out, path.seed * 2), (b.1, b_in, a_out, path.seed * 2 + 1)]
        {
            let (put, take) = mpsc::channel();
            let [carried, lost] = counts.clone();
            let lane = Lane { from, path, random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, lost };
            let ends = ends.clone();
            threads.push(std::thread::spawn(move || lane.take_in(input, &put, &ends)));
            threads.push(std::thread::spawn(move || hand_over(&take, output, &carried)));
        }
        let [carried, lost] = counts;
        Ok(Bridge { ends, carried, lost, threads })
    }

    /// Frames handed over, and frames lost.
    pub fn counts(&self) -> (u64, u64) {
        (self.carried.load(Ordering::Relaxed), self.lost.load(Ordering::Relaxed))
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
    let interface = found.ok_or_else(|| io::Error::new(ErrorKind::NotFound, interface.to_owned()))?;
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

struct Lane {
    from: MacAddr,
    path: Path,
    /// State of a xorshift generator.
    random: u64,
    lost: Arc<AtomicU64>,
}

impl Lane {
    fn take_in(mut self, mut input: Box<dyn DataLinkReceiver>, put: &mpsc::Sender<Carried>, ends: &AtomicBool) {
        while !ends.load(Ordering::Relaxed) {
            let frame = match input.next() {
                // This namespace's own kernel speaks up, too.
                Ok(frame) if frame.len() < 14 || frame[6..12] != self.from.octets() => continue,
                Ok(frame) => frame,
                Err(error) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) => continue,
                // The interface is gone: so is the network.
                Err(_) => return,
            };
            if self.loses() {
                self.lost.fetch_add(1, Ordering::Relaxed);
            } else if put.send((Instant::now() + self.path.delay, frame.to_vec())).is_err() {
                return;
            }
        }
    }

    fn loses(&mut self) -> bool {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % 1000 < self.path.loss_permille
    }
}

/// Sends each frame when its time has come, until there is nobody left to bring any.
fn hand_over(take: &mpsc::Receiver<Carried>, mut output: Box<dyn DataLinkSender>, carried: &AtomicU64) {
    while let Ok((at, frame)) = take.recv() {
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
        // Refused while the interface is down or its queue full: lost, as on any link.
        if let Some(Ok(())) = output.send_to(&frame, None) {
            carried.fetch_add(1, Ordering::Relaxed);
        }
    }
}

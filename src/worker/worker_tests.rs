//! Two workers, joined by a link in memory that copies frames.

use super::*;
use crate::control::{CommandSender, Waker, command_channel};
use crate::handler::Seconds;
use crate::metrics::Metric;
use af_xdp::{Counter, Umem};
use crossbeam_channel::{Receiver, Sender, unbounded};
use simoom_io::Closed;
use simoom_tcp::testing::echo::Echo;
use simoom_tcp::testing::pair::config;
use simoom_tcp::wire::Link;
use simoom_tcp::{Connect, Gso, Limits, Transmit, TxChecksum};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::thread;
use std::time::Duration;

const PORT: u16 = 7;
const FRAMES: u32 = 64;
/// Frames that an end accepts before it must be flushed: fewer than the stack has to send at once.
const SLOTS: usize = 8;
/// Bytes that are echoed: many times the size of all frames.
const TOTAL: u64 = 1 << 20;

/// One end of a link: frames sent are copied into frames of the other end.
struct End {
    umem: Arc<Umem>,
    to: Sender<Vec<u8>>,
    from: Receiver<Vec<u8>>,
    /// Wakes the other end, and is woken by it.
    waker: Waker,
    wake: CommandReceiver,
    command_sender: CommandSender,
    queued: Vec<Frame>,
    sent: Vec<Frame>,
    received: u64,
    is_gone: Arc<AtomicBool>,
}

/// The other end is gone.
#[derive(Debug)]
struct Gone;

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the link is cut")
    }
}

impl std::error::Error for Gone {}

impl AsFd for End {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

impl FrameIo for End {
    const COUNTERS: &'static [&'static [Counter]] =
        &[&[Counter { name: "frames_received", help: "Frames received.", is_bytes: false }]];

    type Error = Gone;

    fn umem(&self) -> &Arc<Umem> {
        &self.umem
    }

    fn receive(&mut self, pool: &mut FramePool, frames: &mut Vec<Frame>, max: usize) -> usize {
        self.wake.clear_wake();
        let before = frames.len();
        while frames.len() - before < max
            && !pool.is_empty()
            && let Ok(bytes) = self.from.try_recv()
        {
            let mut frame = pool.take().expect("the pool is not empty");
            self.umem.chunk_mut(&mut frame)[..bytes.len()].copy_from_slice(&bytes);
            frame.set_len(bytes.len());
            frames.push(frame);
        }
        if !self.from.is_empty() {
            self.command_sender.waker().wake();
        }
        self.received += (frames.len() - before) as u64;
        frames.len() - before
    }

    fn transmit(&mut self, frame: Frame) -> Result<(), Frame> {
        if frame.is_empty() || self.transmit_space() == 0 {
            return Err(frame);
        }
        self.queued.push(frame);
        Ok(())
    }

    fn transmit_space(&mut self) -> usize {
        SLOTS - self.queued.len() - self.sent.len()
    }

    fn unsent(&self) -> usize {
        self.queued.len()
    }

    fn flush(&mut self) -> Result<(), Gone> {
        self.check()?;
        for frame in self.queued.drain(..) {
            // An end that has left receives nothing.
            let _ = self.to.send(self.umem.bytes(&frame).to_vec());
            self.sent.push(frame);
        }
        self.waker.wake();
        Ok(())
    }

    fn complete(&mut self, pool: &mut FramePool) -> usize {
        let done = self.sent.len();
        self.sent.drain(..).for_each(|frame| pool.give(frame));
        done
    }

    fn check(&self) -> Result<(), Gone> {
        if self.is_gone.load(Ordering::Relaxed) { Err(Gone) } else { Ok(()) }
    }

    fn counters(&self, count: &mut dyn FnMut(u64)) {
        count(self.received);
    }
}

/// Both ends of a link, each with its frames; the flag cuts it.
fn link() -> ([(End, FramePool); 2], Arc<AtomicBool>) {
    let is_gone = Arc::new(AtomicBool::new(false));
    let [(a_command_sender, a_wake), (b_command_sender, b_wake)] =
        [(); 2].map(|()| command_channel().unwrap());
    let ((a_to, b_from), (b_to, a_from)) = (unbounded(), unbounded());
    let end = |to, from, waker, wake, command_sender| {
        let (umem, mut pools) = Umem::new(FRAMES, 2048, 1).unwrap();
        let (umem, is_gone) = (Arc::new(umem), is_gone.clone());
        let (queued, sent) = (Vec::new(), Vec::new());
        let end =
            End { umem, to, from, waker, wake, command_sender, queued, sent, received: 0, is_gone };
        (end, pools.remove(0))
    };
    let (a_waker, b_waker) = (a_command_sender.waker(), b_command_sender.waker());
    let ends = [
        end(a_to, a_from, b_waker, a_wake, a_command_sender),
        end(b_to, b_from, a_waker, b_wake, b_command_sender),
    ];
    (ends, is_gone)
}

static OPENED: Metric = Metric::new("opened", "Connections opened.");

impl Handler for Echo {
    fn clock(&mut self, _: Seconds) {}

    fn drain(&mut self) {}

    fn publish(&self, sink: &mut dyn FnMut(&'static Metric, u64)) {
        sink(&OPENED, self.opened);
    }
}

/// A worker of host 1 or 2 at this end, and the sender of its commands.
fn worker(
    host: u8,
    queue: (End, FramePool),
    snapshot: Arc<Snapshot>,
) -> (Worker<Echo, End>, CommandSender) {
    let (command_sender, commands) = command_channel().unwrap();
    let parts = Parts {
        queues: vec![queue],
        app: Echo { total: TOTAL, ..Echo::default() },
        // The link completes no checksums, so the worker does.
        stack: Config {
            tx_checksum: TxChecksum::Partial,
            ..config(host, Limits::for_connections(8))
        },
        ports: vec![(PORT, u32::MAX)],
        handover: handover::ring(&[command_sender.waker()], FRAMES as usize).remove(0),
        commands,
        snapshot,
        busy_poll: false,
        drained: None,
        gso: None,
    };
    (Worker::new(parts), command_sender)
}

/// Opens a connection, sends all bytes and receives their echo. Ends when it is closed.
fn run_client(client: Worker<Echo, End>) -> io::Result<Echo> {
    let mut is_open = false;
    client.run_with(|hand| {
        if !std::mem::replace(&mut is_open, true) {
            let [local, remote] =
                [1, 2].map(|host| simoom_tcp::Address::from_v4([198, 18, 0, host]));
            let link = Some(Link { mac: [2, 0, 0, 0, 0, 2], vlan: 0 });
            let to =
                Connect { local, local_port: 50_000, remote, remote_port: PORT, link, token: 1 };
            hand.stack.connect(hand.now, &to, hand.outbound).unwrap();
        }
        hand.app.closed.is_empty()
    })
}

#[test]
fn a_worker_runs_over_frames_in_memory() {
    let ([client, server], _) = link();
    let snapshot = Snapshot::new("server");
    let (server, command_sender) = worker(2, server, snapshot.clone());
    let server = thread::spawn(move || server.run_with(|_| true));
    let (client, _command_sender) = worker(1, client, Snapshot::new("client"));
    let client = run_client(client).unwrap();
    assert_eq!(client.closed, [(1, Closed::Finished, TOTAL)]);
    command_sender.send(Command::Drain(Duration::from_secs(60)));
    let server = server.join().unwrap().unwrap();
    assert_eq!(server.closed, [(0, Closed::Finished, TOTAL)]);
    let counts = snapshot.read();
    let count =
        |name: &str| counts.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    assert_eq!((count("opened"), count("connections_open")), (Some(1), Some(0)));
    assert!(count("frames_received") > Some(TOTAL / 2048), "{counts:?}");
}

#[test]
fn a_worker_whose_queue_is_gone_ends_and_says_so() {
    let ([end, _other], is_gone) = link();
    let (worker, _command_sender) = worker(1, end, Snapshot::new("worker"));
    is_gone.store(true, Ordering::Relaxed);
    let error = worker.run().expect_err("nothing to send on").to_string();
    assert_eq!(error, "the link is cut");
}

/// A retransmission and new data may leave in one iteration.
#[test]
fn a_gso_packet_does_not_overtake_frames() {
    let ([(end, pool), (peer, _)], _) = link();
    let (socket, receiver) = UnixDatagram::pair().unwrap();
    let mut outbound =
        Outbound::new(vec![(end, pool)]).with_gso(Some(OwnedFd::from(socket).into()));
    let write = |frame: &mut [u8]| {
        frame[..60].fill(1);
        60
    };
    let gso = Gso { is_ipv6: false, tcp_at: 34, header_bytes: 54, segment_bytes: 2 };
    assert!(outbound.transmit(write));
    assert!(peer.from.is_empty(), "frames wait for the end of the iteration");
    assert!(outbound.transmit_gso(gso, write));
    assert_eq!(peer.from.len(), 1, "the frame is sent");
    let mut packet = [0; 100];
    assert_eq!(receiver.recv(&mut packet).unwrap(), 10 + 60);
}

/// The stack has moved past what it wrote: told that it was not sent, it would send what follows
/// in its place.
#[test]
fn a_packet_that_the_queue_refuses_is_lost_as_if_on_the_wire() {
    let ([queue, _], _) = link();
    let mut outbound = Outbound::new(vec![queue]);
    let mut written = 0;
    // More packets than there are frames: a refused frame is free again.
    for _ in 0..=FRAMES {
        // An empty packet is refused although there is space.
        assert!(outbound.transmit_segment(None, |_| {
            written += 1;
            0
        }));
    }
    assert_eq!(written, FRAMES + 1);
    assert!(!outbound.is_behind(), "nothing waits for space");
}

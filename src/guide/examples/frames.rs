//! HTTP at 198.18.0.2, port 80, over a transport of frames: Ethernet in the datagrams of a Unix
//! socket, as QEMU's `-netdev dgram` sends them.
//!
//!     cargo run --example frames OWN_PATH PEER_PATH

use af_xdp::{Frame, FrameIo, FramePool, Umem};
use simoom::app::content::Content;
use simoom::app::http::{Http, Options};
use simoom::control::command_channel;
use simoom::metrics::Snapshot;
use simoom::worker::{Parts, Worker, handover};
use simoom_tcp::{Address, Config, Limits, LocalAddress};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;

/// Frames in memory: one for each packet that waits or is being handled.
const FRAMES: u32 = 1024;
/// Frames that wait to be sent at most.
const UNSENT_MAX: usize = 256;

/// The transport. A frame must hold the longest packet, because a datagram is never split.
pub struct Datagrams {
    socket: UnixDatagram,
    umem: Arc<Umem>,
    unsent: VecDeque<Frame>,
    sent: Vec<Frame>,
}

impl Datagrams {
    /// Sends and receives through a connected socket. Returns the free frames with it.
    pub fn new(socket: UnixDatagram) -> io::Result<(Datagrams, FramePool)> {
        socket.set_nonblocking(true)?;
        let (umem, mut pools) = Umem::new(FRAMES, 2048, 1).map_err(io::Error::other)?;
        let (umem, unsent, sent) = (Arc::new(umem), VecDeque::new(), Vec::new());
        Ok((Datagrams { socket, umem, unsent, sent }, pools.remove(0)))
    }
}

/// The worker sleeps until this is readable.
impl AsFd for Datagrams {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl FrameIo for Datagrams {
    type Error = io::Error;

    fn umem(&self) -> &Arc<Umem> {
        &self.umem
    }

    fn receive(&mut self, pool: &mut FramePool, frames: &mut Vec<Frame>, max: usize) -> usize {
        let mut received = 0;
        while received < max
            && let Some(mut frame) = pool.take()
        {
            let Ok(len) = self.socket.recv(self.umem.chunk_mut(&mut frame)) else {
                pool.give(frame);
                break;
            };
            frame.set_len(len);
            frames.push(frame);
            received += 1;
        }
        received
    }

    fn transmit(&mut self, frame: Frame) -> Result<(), Frame> {
        if frame.is_empty() || self.transmit_space() == 0 {
            return Err(frame);
        }
        self.unsent.push_back(frame);
        Ok(())
    }

    fn transmit_space(&mut self) -> usize {
        UNSENT_MAX - self.unsent.len()
    }

    fn unsent(&self) -> usize {
        self.unsent.len()
    }

    fn flush(&mut self) -> io::Result<()> {
        while let Some(frame) = self.unsent.front() {
            match self.socket.send(self.umem.bytes(frame)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                result => result?,
            };
            self.sent.extend(self.unsent.pop_front());
        }
        Ok(())
    }

    fn complete(&mut self, pool: &mut FramePool) -> usize {
        let sent = self.sent.len();
        self.sent.drain(..).for_each(|frame| pool.give(frame));
        sent
    }
}

/// A worker with its own TCP stack over one transport.
pub fn serve(queue: (Datagrams, FramePool)) -> io::Result<()> {
    let address = LocalAddress { address: Address::from_v4([198, 18, 0, 2]), dedicated: true };
    let limits = Limits::for_connections(100);
    // In a server, the secret is random: initial sequence numbers depend on it.
    let stack = Config::new([2, 0, 0, 0, 0, 2], vec![address], [1, 2, 3, 4], limits);
    let (control, commands) = command_channel()?;
    let parts = Parts {
        queues: vec![queue],
        app: Http::new(Arc::new(Content::built_in()), Options::default()),
        stack,
        ports: vec![(80, 100)],
        // Of one worker, there is nobody to hand over to.
        handover: handover::ring(&[control.waker()], FRAMES as usize).remove(0),
        commands,
        snapshot: Snapshot::new("frames"),
        busy_poll: false,
        drained: None,
        gso: None,
    };
    Worker::new(parts).run()
}

fn main() -> io::Result<()> {
    let mut paths = std::env::args().skip(1);
    let [own, peer] = [(); 2].map(|()| paths.next().expect("two paths of sockets"));
    let socket = UnixDatagram::bind(own)?;
    socket.connect(peer)?;
    serve(Datagrams::new(socket)?)
}

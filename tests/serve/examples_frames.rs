//! The example of a transport of frames, with a client over the same transport.

#[allow(dead_code, unreachable_pub, reason = "a program, of which the transport is used")]
#[path = "../../src/guide/examples/frames.rs"]
mod frames;

use crate::TEST_TIMEOUT;
use frames::Datagrams;
use simoom::Handler;
use simoom::app::Blob;
use simoom::control::command_channel;
use simoom::io::{Application, Closed, Opened, Reply};
use simoom::metrics::Snapshot;
use simoom::worker::{Parts, Worker, handover};
use simoom_tcp::wire::Link;
use simoom_tcp::{Address, Config, Connect, Limits, LocalAddress};
use std::os::unix::net::UnixDatagram;
use std::thread;

/// Sends one request and keeps the answer.
#[derive(Default)]
struct Client {
    answer: Vec<u8>,
    closed: Option<Closed>,
}

impl Application for Client {
    type Blob = Blob;
    type Conn = ();

    fn opened(&mut self, (): &mut (), _: Opened, reply: &mut Reply<'_, Blob>) {
        reply.set_timeout(Some(TEST_TIMEOUT.into()));
        reply.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    }

    fn received(&mut self, (): &mut (), bytes: &[u8], _: &mut Reply<'_, Blob>) -> usize {
        self.answer.extend_from_slice(bytes);
        bytes.len()
    }

    fn closed(&mut self, (): &mut (), how: Closed) {
        self.closed = Some(how);
    }
}

impl Handler for Client {}

#[test]
fn a_worker_serves_over_the_transport_of_the_example() {
    let (own, other) = UnixDatagram::pair().unwrap();
    let server = Datagrams::new(other).unwrap();
    // It serves until the process ends.
    thread::spawn(|| frames::serve(server));
    let [local, remote] = [1, 2].map(|host| Address::from_v4([198, 18, 0, host]));
    let address = LocalAddress { address: local, dedicated: true };
    let (control, commands) = command_channel().unwrap();
    let parts = Parts {
        queues: vec![Datagrams::new(own).unwrap()],
        app: Client::default(),
        stack: Config::new([2, 0, 0, 0, 0, 1], vec![address], [0; 4], Limits::for_connections(8)),
        ports: Vec::new(),
        handover: handover::ring(&[control.waker()], 64).remove(0),
        commands,
        snapshot: Snapshot::new("client"),
        busy_poll: false,
        drained: None,
        gso: None,
    };
    let link = Some(Link { mac: [2, 0, 0, 0, 0, 2], vlan: 0 });
    let to = Connect { local, local_port: 50_000, remote, remote_port: 80, link, token: 1 };
    let mut to = Some(to);
    let act = |worker: simoom::worker::WorkerContext<'_, Client, Datagrams>| {
        if let Some(to) = to.take() {
            worker.stack.connect(worker.now, &to, worker.outbound).unwrap();
        }
        worker.app.closed.is_none()
    };
    let client = Worker::new(parts).run_with(act).unwrap();
    assert_eq!(client.closed, Some(Closed::Finished));
    let answer = String::from_utf8(client.answer).unwrap();
    let (head, page) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    let length = format!("Content-Length: {}", page.len());
    assert!(head.lines().any(|line| line == length), "{head}");
}

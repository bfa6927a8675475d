//! After warm-up nothing is allocated: not for a request and its answer, not for opening and
//! closing a connection, on neither side. A counting allocator checks it.

mod counting;

use counting::ALLOCATIONS;
use simoom_io::{Application, Closed, Duration, Instant, Opened, Reply};
use simoom_tcp::testing::pair::{PORT, config};
use simoom_tcp::{BURST, Config, Connect, Limits, OwnershipCounts, Packet, Stack, Transmit, wire};

const CONNECTIONS: u32 = 100;
const REQUESTS_PER_CONNECTION: u32 = 40;
/// More than a segment holds, so that the input buffer holds the front until the rest is there.
const REQUEST: &[u8] = &[b'q'; 2000];
const HEAD: &[u8] = &[b'h'; 90];
const BODY: &[u8] = &[b'b'; 3000];

/// Sends a request, reads the answer, and repeats; closes after a number of requests.
#[derive(Default)]
struct Service {
    answers: u64,
    opened: u64,
    finished: u64,
}

#[derive(Default)]
struct Conn {
    is_client: bool,
    awaited: usize,
    requests: u32,
}

impl Application for Service {
    type Blob = &'static [u8];
    type Conn = Conn;

    fn opened(&mut self, conn: &mut Conn, opened: Opened, reply: &mut Reply<'_, &'static [u8]>) {
        self.opened += 1;
        conn.is_client = opened.active;
        if conn.is_client {
            conn.awaited = HEAD.len() + BODY.len();
            reply.copy(REQUEST);
        }
        reply.set_timeout(Some(Duration::from_secs(30)));
    }

    fn received(
        &mut self,
        conn: &mut Conn,
        bytes: &[u8],
        reply: &mut Reply<'_, &'static [u8]>,
    ) -> usize {
        if !conn.is_client {
            if bytes.len() < REQUEST.len() {
                return 0;
            }
            assert!(reply.has_capacity());
            reply.copy(HEAD);
            reply.share(BODY, 0..BODY.len());
            return REQUEST.len();
        }
        conn.awaited -= bytes.len();
        if conn.awaited == 0 {
            self.answers += 1;
            conn.requests += 1;
            if conn.requests == REQUESTS_PER_CONNECTION {
                reply.close();
            } else {
                conn.awaited = HEAD.len() + BODY.len();
                reply.copy(REQUEST);
            }
        }
        bytes.len()
    }

    fn overfull(&mut self, _: &mut Conn, _: &[u8], reply: &mut Reply<'_, &'static [u8]>) {
        reply.abort();
    }

    fn timeout(&mut self, _: &mut Conn, reply: &mut Reply<'_, &'static [u8]>) {
        reply.abort();
    }

    fn closed(&mut self, _: &mut Conn, how: Closed) {
        assert_eq!(how, Closed::Finished);
        self.finished += 1;
    }
}

/// Frames in flight, in memory allocated beforehand. Some are lost or reordered at a fixed
/// interval.
struct Frames {
    frames: Vec<([u8; 1600], usize)>,
    held: usize,
    sent: u64,
}

impl Frames {
    fn new() -> Frames {
        Frames { frames: vec![([0; 1600], 0); 4096], held: 0, sent: 0 }
    }
}

impl Transmit for Frames {
    fn transmit(&mut self, write: impl FnOnce(&mut [u8]) -> usize) -> bool {
        let Some((frame, len)) = self.frames.get_mut(self.held) else { return false };
        *len = write(frame);
        self.sent += 1;
        if self.sent.is_multiple_of(1009) {
            return true;
        }
        self.held += 1;
        if self.sent.is_multiple_of(101) && self.held > 1 {
            self.frames.swap(self.held - 1, self.held - 2);
        }
        true
    }
}

struct Side {
    stack: Stack<Service>,
    app: Service,
    out: Frames,
}

impl Side {
    fn new(host: u8, now: Instant) -> Side {
        let limits = Limits::for_connections(2 * CONNECTIONS);
        let config = Config { time_wait_ms: 50, ..config(host, limits) };
        Side { stack: Stack::new(config, now), app: Service::default(), out: Frames::new() }
    }

    fn turn(&mut self, now: Instant, inbound: &mut Frames) {
        let mut first = 0;
        while first < inbound.held {
            let burst = &inbound.frames[first..inbound.held.min(first + BURST)];
            let mut parts: [[&[u8]; 1]; BURST] = [[&[]]; BURST];
            for (part, (frame, len)) in parts.iter_mut().zip(burst) {
                part[0] = &frame[..*len];
            }
            let packets: [Packet<'_>; BURST] = std::array::from_fn(|i| Packet(&parts[i]));
            self.stack.receive(now, &packets[..burst.len()], &mut self.app, &mut self.out);
            first += burst.len();
        }
        inbound.held = 0;
        self.stack.expire(now, &mut self.app, &mut self.out);
        self.stack.flush(now, &mut self.app, &mut self.out);
    }
}

fn connect(client: &mut Side, now: Instant, port: u16) {
    let to = Connect {
        local: wire::Address::from_v4([198, 18, 0, 1]),
        local_port: port,
        remote: wire::Address::from_v4([198, 18, 0, 2]),
        remote_port: PORT,
        link: Some(wire::Link { mac: [2, 0, 0, 0, 0, 2], vlan: 0 }),
        token: 0,
    };
    client.stack.connect(now, &to, &mut client.out).expect("a free four-tuple");
}

#[test]
fn requests_and_connections_allocate_nothing() {
    let mut now = Instant::from_millis(1000);
    let (mut client, mut server) = (Side::new(1, now), Side::new(2, now));
    server.stack.listen(PORT);
    let mut ports = 0;
    let mut run_until = |client: &mut Side, server: &mut Side, answers: u64, reopens: bool| {
        for _ in 0..1_000_000 {
            if client.app.answers >= answers && (reopens || client.app.finished == ports) {
                return ports;
            }
            while reopens && client.stack.connections() < CONNECTIONS as usize {
                connect(client, now, 1024 + (ports % 60_000) as u16);
                ports += 1;
            }
            now += Duration::from_micros(500);
            client.turn(now, &mut server.out);
            server.turn(now, &mut client.out);
        }
        panic!("only {} answers", client.app.answers);
    };
    run_until(&mut client, &mut server, 2000, true);
    let before = ALLOCATIONS.get();
    run_until(&mut client, &mut server, 14_000, true);
    let connections = run_until(&mut client, &mut server, 14_000, false);
    assert_eq!(
        ALLOCATIONS.get() - before,
        0,
        "allocations for 12,000 requests and {connections} connections"
    );
    assert!(connections > 300, "{connections} connections are no churn");
    assert_eq!(
        (client.stack.ownership(), client.app.finished),
        (OwnershipCounts::default(), connections)
    );
    // Loss and reordering were part of it.
    let (asked, _) = client.stack.counters();
    let (answered, _) = server.stack.counters();
    assert!(asked.out_of_order > 0 && answered.retransmissions > 0, "{asked:?} {answered:?}");
}

#[test]
fn the_allocator_counts() {
    let before = ALLOCATIONS.get();
    drop(std::hint::black_box(Box::new(7)));
    assert_eq!(ALLOCATIONS.get() - before, 1);
}

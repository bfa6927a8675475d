//! The peer is another TCP: smoltcp's sockets, over a link that loses, reorders and duplicates
//! frames. Both roles, both directions, closing from either side. Every byte is compared, and
//! nothing stays held.

use simoom_io::{Application, Closed, Duration, Instant, Opened, Reply};
use simoom_tcp::testing::echo::{Echo, stream_byte, stream_bytes};
use simoom_tcp::testing::pair::{PORT, config};
use simoom_tcp::testing::{Link, Quality};
use simoom_tcp::{Connect, Limits, OwnershipCounts, Packet, Stack, wire};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr, Ipv4Address};
use std::cell::Cell;
use std::collections::VecDeque;

thread_local! {
    static CLOCK_MS: Cell<u32> = const { Cell::new(0) };
}

/// smoltcp's end of the two links.
struct Wire {
    inbox: VecDeque<Vec<u8>>,
    out: Link,
}

struct Received(Vec<u8>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

struct Sent<'a>(&'a mut Link);

impl TxToken for Sent<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let mut frame = vec![0; len];
        let result = write(&mut frame);
        self.0.carry(&frame);
        result
    }
}

impl Device for Wire {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sent<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received, Sent<'_>)> {
        Some((Received(self.inbox.pop_front()?), Sent(&mut self.out)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sent<'_>> {
        Some(Sent(&mut self.out))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        (capabilities.medium, capabilities.max_transmission_unit) = (Medium::Ethernet, 1514);
        capabilities
    }
}

/// What the smoltcp side does.
#[derive(Clone, Copy, PartialEq)]
enum Role {
    /// Sends the stream, and closes when as much came back.
    Asks,
    /// Sends back what it reads; closes after the other side.
    Echoes,
    /// Sends the stream and closes at once.
    Pours,
    /// Reads until the other side closes, then closes.
    Drinks,
}

/// The application on this side where it is not [`Echo`]: sends the stream and closes, or only
/// reads.
#[derive(Default)]
struct Spout {
    total: u64,
    closed: Vec<(u32, Closed, u64)>,
}

#[derive(Default)]
struct SpoutConn {
    sent: u64,
    received: u64,
}

impl Spout {
    fn pour(&self, conn: &mut SpoutConn, reply: &mut Reply<'_, &'static [u8]>) {
        while conn.sent < self.total && reply.has_capacity() {
            let n = (self.total - conn.sent).min(700);
            reply.copy(&stream_bytes(conn.sent, n as usize));
            conn.sent += n;
        }
        if self.total > 0 && conn.sent == self.total {
            reply.close();
        }
    }
}

impl Application for Spout {
    type Blob = &'static [u8];
    type Conn = SpoutConn;

    fn opened(&mut self, conn: &mut SpoutConn, _: Opened, reply: &mut Reply<'_, &'static [u8]>) {
        self.pour(conn, reply);
    }

    fn received(
        &mut self,
        conn: &mut SpoutConn,
        bytes: &[u8],
        _: &mut Reply<'_, &'static [u8]>,
    ) -> usize {
        for &byte in bytes {
            assert_eq!(byte, stream_byte(conn.received));
            conn.received += 1;
        }
        bytes.len()
    }

    fn overfull(&mut self, _: &mut SpoutConn, _: &[u8], _: &mut Reply<'_, &'static [u8]>) {
        unreachable!("it reads everything");
    }

    fn resumed(&mut self, conn: &mut SpoutConn, reply: &mut Reply<'_, &'static [u8]>) {
        self.pour(conn, reply);
    }

    fn timeout(&mut self, _: &mut SpoutConn, _: &mut Reply<'_, &'static [u8]>) {}

    fn closed(&mut self, conn: &mut SpoutConn, how: Closed) {
        self.closed.push((0, how, conn.received));
    }
}

/// Both sides.
struct Bench<A: Application> {
    stack: Stack<A>,
    app: A,
    out: Link,
    interface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    wire: Wire,
    role: Role,
    total: u64,
    sent: u64,
    received: u64,
    now: Instant,
}

impl<A: Application> Bench<A> {
    fn new(app: A, role: Role, total: u64, quality: Quality, seed: u64) -> Bench<A> {
        let now = Instant::from_millis(1000);
        let link = |seed| Link::new(quality, 1600, seed);
        let mut wire = Wire { inbox: VecDeque::new(), out: link(seed ^ 0x5555) };
        let mac = EthernetAddress([2, 0, 0, 0, 0, 1]);
        let mut interface = Interface::new(Config::new(mac.into()), &mut wire, now);
        interface.update_ip_addrs(|all| {
            all.push(IpCidr::new(IpAddress::v4(198, 18, 0, 1), 24)).expect("room for one address");
        });
        let buffer = || tcp::SocketBuffer::new(vec![0; 32_768]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.set_tsval_generator(seed.is_multiple_of(2).then_some(|| CLOCK_MS.get()));
        let mut sockets = SocketSet::new(Vec::new());
        let handle = sockets.add(socket);
        let config =
            simoom_tcp::Config { time_wait_ms: 2000, ..config(2, Limits::for_connections(64)) };
        let stack = Stack::new(config, now);
        let (sent, received) = (0, 0);
        Bench {
            stack,
            app,
            out: link(seed),
            interface,
            sockets,
            handle,
            wire,
            role,
            total,
            sent,
            received,
            now,
        }
    }

    fn smoltcp_connects(&mut self) {
        self.stack.listen(PORT);
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(self.handle);
        let to = (IpAddress::from(Ipv4Address::new(198, 18, 0, 2)), PORT);
        socket.connect(self.interface.context(), to, 40_000).expect("a closed socket");
    }

    fn smoltcp_listens(&mut self) {
        self.sockets.get_mut::<tcp::Socket<'_>>(self.handle).listen(PORT).expect("a closed socket");
        let to = Connect {
            local: wire::Address::from_v4([198, 18, 0, 2]),
            local_port: 50_000,
            remote: wire::Address::from_v4([198, 18, 0, 1]),
            remote_port: PORT,
            link: Some(wire::Link { mac: [2, 0, 0, 0, 0, 1], vlan: 0 }),
            token: 0,
        };
        self.out.now = self.now;
        self.stack.connect(self.now, &to, &mut self.out).expect("a free four-tuple");
    }

    fn step(&mut self) {
        let timers = [
            self.stack.next_deadline().map(|after| self.now + after),
            self.interface.poll_at(self.now, &self.sockets),
            self.out.next_arrival(),
            self.wire.out.next_arrival(),
        ];
        let next = timers.into_iter().flatten().min().unwrap_or(self.now);
        self.now = next.max(self.now + Duration::from_micros(10));
        CLOCK_MS.set(self.now.total_millis() as u32);
        (self.out.now, self.wire.out.now) = (self.now, self.now);
        while let Some(frame) = self.wire.out.arrive() {
            self.stack.receive(self.now, &[Packet(&[&frame[..]])], &mut self.app, &mut self.out);
        }
        self.stack.expire(self.now, &mut self.app, &mut self.out);
        self.stack.flush(self.now, &mut self.app, &mut self.out);
        while let Some(frame) = self.out.arrive() {
            self.wire.inbox.push_back(frame);
        }
        self.interface.poll(self.now, &mut self.wire, &mut self.sockets);
        self.play();
        self.interface.poll(self.now, &mut self.wire, &mut self.sockets);
    }

    /// The smoltcp side's application.
    fn play(&mut self) {
        let Bench { role, total, sent, received, .. } = self;
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(self.handle);
        let echo_space = socket.send_capacity() - socket.send_queue();
        let limit = if *role == Role::Echoes { echo_space } else { usize::MAX };
        while socket.can_recv() && (*role != Role::Echoes || *received - *sent < limit as u64) {
            let at = *received;
            let read = socket.recv(|bytes| {
                for (byte, at) in bytes.iter().zip(at..) {
                    assert_eq!(*byte, stream_byte(at), "smoltcp read the stream at {at}");
                }
                (bytes.len(), bytes.len())
            });
            *received += read.expect("there was something to read") as u64;
        }
        let goal = match role {
            Role::Asks | Role::Pours => *total,
            Role::Echoes => *received,
            Role::Drinks => 0,
        };
        if socket.can_send() && *sent < goal {
            let bytes = stream_bytes(*sent, (goal - *sent).min(16_384) as usize);
            *sent += socket.send_slice(&bytes).expect("there was space") as u64;
        }
        let done = match role {
            Role::Asks => *received == *total,
            Role::Pours => *sent == *total,
            Role::Echoes => !socket.may_recv() && *sent == *received && *received > 0,
            Role::Drinks => !socket.may_recv() && *received > 0,
        };
        if done {
            socket.close();
        }
    }

    /// Runs until both ends are closed and this side's TIME-WAIT is over.
    fn run(&mut self, seed: u64) {
        for _ in 0..400_000 {
            self.step();
            let state = self.sockets.get_mut::<tcp::Socket<'_>>(self.handle).state();
            let closed = matches!(state, tcp::State::Closed | tcp::State::TimeWait)
                && self.stack.connections() == 0;
            if closed && self.sent + self.received > 0 && self.stack.next_deadline().is_none() {
                assert_eq!(self.stack.ownership(), OwnershipCounts::default(), "seed {seed}");
                return;
            }
        }
        let state = self.sockets.get_mut::<tcp::Socket<'_>>(self.handle).state();
        panic!(
            "seed {seed}: not over; smoltcp {state}, sent {} received {}; {:?} {:?}",
            self.sent,
            self.received,
            self.stack.ownership(),
            self.stack.counters()
        );
    }
}

/// Runs `one` over sizes, link qualities and seeds.
fn matrix(one: impl Fn(u64, Quality, u64)) {
    let calm = Quality { delay: Duration::from_micros(200), ..Quality::default() };
    let harsh = Quality { loss: 40, duplicate: 30, reorder: 80, ..calm };
    for total in [1, 1000, 40_000, 150_000] {
        one(total, calm, total);
        for seed in 0..20 {
            one(total, harsh, seed);
        }
    }
}

/// Whether all bytes came there and back.
fn echoes(role: Role, begin: fn(&mut Bench<Echo>)) {
    matrix(|total, quality, seed| {
        let mut bench = Bench::new(Echo { total, ..Echo::default() }, role, total, quality, seed);
        begin(&mut bench);
        bench.run(seed);
        assert_eq!(
            (bench.received, &bench.app.closed[..]),
            (total, &[(0, Closed::Finished, total)][..]),
            "{seed}"
        );
    });
}

#[test]
fn smoltcp_asks_and_closes_first() {
    echoes(Role::Asks, Bench::smoltcp_connects);
}

#[test]
fn this_side_asks_and_closes_first() {
    echoes(Role::Echoes, Bench::smoltcp_listens);
}

#[test]
fn this_side_answers_and_closes_first() {
    matrix(|total, quality, seed| {
        let mut bench =
            Bench::new(Spout { total, ..Spout::default() }, Role::Drinks, total, quality, seed);
        bench.smoltcp_connects();
        bench.run(seed);
        assert_eq!(
            (bench.received, &bench.app.closed[..]),
            (total, &[(0, Closed::Finished, 0)][..]),
            "{seed}"
        );
    });
}

#[test]
fn smoltcp_answers_and_closes_first() {
    matrix(|total, quality, seed| {
        let mut bench = Bench::new(Spout::default(), Role::Pours, total, quality, seed);
        bench.smoltcp_listens();
        bench.run(seed);
        assert_eq!(bench.app.closed, [(0, Closed::Finished, total)], "seed {seed}");
    });
}

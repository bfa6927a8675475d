use super::*;
use crate::application::{Closed, ConnectionId};
use crate::connection::Connection;
use crate::input::{self, InputBuffer, SMALL_BYTES};
use crate::testing::{Checker, FILL, Temper, stream_byte};
use proptest::prelude::*;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What happens to a connection.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// So many bytes come, behind those that the transport could not pass on.
    Receive(usize),
    /// The same, read into the space behind those held where there is any.
    ReadBehind(usize),
    /// The same, shown before they are taken from the socket.
    Peek(usize),
    /// The peer acknowledges so many bytes.
    Acknowledge(u64),
    /// Others take the capacity for answers, or give it back.
    Hog(bool),
    /// Others take the buffers for input, or give them back.
    HogInputs(bool),
    /// The deadline passes, if there is one.
    Expire,
    /// The peer has finished.
    Finish,
    Close,
    Abort,
}

fn event() -> impl Strategy<Value = Event> {
    let bytes = || prop_oneof![1..40usize, 1..3000usize, 1..30_000usize];
    prop_oneof![
        8 => bytes().prop_map(Event::Receive),
        4 => bytes().prop_map(Event::ReadBehind),
        4 => bytes().prop_map(Event::Peek),
        4 => (0u64..70_000).prop_map(Event::Acknowledge),
        2 => any::<bool>().prop_map(Event::Hog),
        2 => any::<bool>().prop_map(Event::HogInputs),
        4 => Just(Event::Expire),
        1 => Just(Event::Finish),
        1 => prop_oneof![4 => Just(None), 1 => Just(Some(Event::Close)), 1 => Just(Some(Event::Abort))]
            .prop_map(|end| end.unwrap_or(Event::Expire)),
    ]
}

const POOL: (usize, usize) = (80, 60);
const INPUTS: (usize, usize) = (2, 1);
const LARGE_BYTES: usize = 20_000;

/// A transport in memory.
struct Transport {
    app: Checker,
    connection: Connection<Checker>,
    send: send::Pool<&'static [u8]>,
    inputs: input::Pool,
    others: Queue,
    other_inputs: [InputBuffer; 3],
    /// Bytes of the stream that the transport was rid of.
    passed_on: u64,
    /// Bytes behind these that have come.
    waiting: usize,
    has_deadline: bool,
    is_finished: bool,
}

impl Transport {
    fn new(app: Checker) -> Transport {
        let mut transport = Transport {
            app,
            connection: Connection::default(),
            send: send::Pool::new(POOL.0, POOL.1),
            inputs: input::Pool::with_large_bytes(INPUTS.0, INPUTS.1, LARGE_BYTES),
            others: Queue::default(),
            other_inputs: Default::default(),
            passed_on: 0,
            waiting: 0,
            has_deadline: false,
            is_finished: false,
        };
        let opened =
            Opened { local_port: 1, active: false, token: 0, id: ConnectionId(0), ends: None };
        transport.exchange(|app, exchange| exchange.open(app, opened));
        transport
    }

    fn exchange<R>(
        &mut self,
        event: impl FnOnce(
            &mut Checker,
            &mut Exchange<
                '_,
                crate::testing::Checked,
                &'static [u8],
                crate::connection::Buffered<'_>,
            >,
        ) -> R,
    ) -> R {
        let was_open = self.connection.flow.is_open();
        let mut exchange = self.connection.exchange(&mut self.send, &mut self.inputs);
        let result = event(&mut self.app, &mut exchange);
        let requests = exchange.requests();
        if let Some(deadline) = requests.deadline {
            self.has_deadline = deadline.is_some();
        }
        self.check(was_open, requests);
        result
    }

    /// What the transport is told is what the handler asked for.
    fn check(&self, was_open: bool, requests: Requests) {
        let (conn, flow) = (&self.connection.conn, self.connection.flow);
        if conn.is_over {
            assert!(flow.is_closing(), "the handler closed");
        }
        if flow.is_closing() {
            assert!(!self.has_deadline && self.connection.input.is_empty());
            assert!(!flow.is_paused() && !flow.wants_capacity());
        } else {
            assert!(was_open);
            let asked = (conn.waits, conn.reads_later, conn.is_paused(), conn.has_deadline);
            let told =
                (flow.wants_capacity(), flow.reads_later(), flow.is_paused(), self.has_deadline);
            assert_eq!(told, asked);
            assert_eq!(self.connection.input.seen(), conn.seen);
            assert!(!self.is_finished || !flow.is_idle(), "the peer has finished");
            let unseen = self.connection.input.len().saturating_sub(conn.seen);
            assert!(unseen == 0 || !flow.takes_input(), "{unseen} bytes wait for nothing");
        }
        assert!(!requests.overflow || flow.is_aborted());
        assert!(!requests.overfull || flow.is_closing());
    }

    /// Bytes that have come and were not passed on.
    fn pending(&self) -> Vec<u8> {
        (self.passed_on..).take(self.waiting).map(stream_byte).collect()
    }

    /// `n` more bytes come, unless the stream is over.
    fn come(&mut self, n: usize) -> Vec<u8> {
        let left = self.app.total - self.passed_on - self.waiting as u64;
        if !self.is_finished {
            self.waiting += (n as u64).min(left) as usize;
        }
        self.pending()
    }

    fn passed_on(&mut self, n: usize) {
        self.passed_on += n as u64;
        self.waiting -= n;
    }

    fn receive_plain(&mut self, bytes: &[u8]) -> usize {
        let Connection { conn, queue, .. } = &mut self.connection;
        match receive_plain(&mut self.app, (conn, queue, &mut self.send), bytes) {
            Received::All(deadline) => {
                self.has_deadline = deadline.map_or(self.has_deadline, |after| after.is_some());
                self.check(true, Requests::default());
                bytes.len()
            }
            Received::Part(consumed, effects) => {
                let part = (consumed, effects);
                self.exchange(|app, exchange| exchange.received_plain(app, bytes, part))
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Receive(n) => {
                let mut bytes = self.come(n);
                bytes.truncate(LARGE_BYTES);
                if !bytes.is_empty() {
                    // A transport may take the shorter way or not.
                    let is_plain = self.connection.flow == Flow::default()
                        && self.connection.input.is_fully_consumed();
                    let taken = match is_plain && n % 2 == 0 {
                        true => self.receive_plain(&bytes),
                        false => self.exchange(|app, exchange| exchange.receive(app, &bytes)),
                    };
                    self.passed_on(taken);
                }
            }
            Event::ReadBehind(n) => {
                let bytes = self.come(n);
                let space = self.connection.input.spare(&mut self.inputs);
                let n = bytes.len().min(space.len());
                space[..n].copy_from_slice(&bytes[..n]);
                if n > 0 && self.connection.flow.takes_input() {
                    self.connection.input.extend(&mut self.inputs, n);
                    self.passed_on(n);
                    self.exchange(|app, exchange| exchange.receive_held(app));
                }
            }
            Event::Peek(n) => {
                let bytes = self.come(n);
                let held = self.connection.input.bytes(&self.inputs).to_vec();
                let mut all = [&held[..], &bytes].concat();
                all.truncate(LARGE_BYTES);
                if !bytes.is_empty() {
                    let consumed =
                        self.exchange(|app, exchange| exchange.receive_peeked(app, &all));
                    self.passed_on(consumed.saturating_sub(held.len()));
                }
            }
            Event::Acknowledge(n) => {
                let queue = &mut self.connection.queue;
                queue.acknowledge(&mut self.send, n.min(queue.len()));
                self.exchange(|app, exchange| exchange.resume(app));
            }
            Event::Hog(true) => while self.others.copy(&mut self.send, FILL) {},
            Event::Hog(false) => self.others.clear(&mut self.send),
            Event::HogInputs(take) => {
                for other in &mut self.other_inputs {
                    match take {
                        true => _ = other.append(&mut self.inputs, &[0; SMALL_BYTES]),
                        false => other.clear(&mut self.inputs),
                    }
                }
            }
            Event::Expire if self.has_deadline => {
                self.has_deadline = false;
                self.exchange(|app, exchange| exchange.expire(app));
            }
            Event::Expire => {}
            Event::Finish => {
                if self.waiting == 0 && !self.is_finished {
                    self.is_finished = true;
                    self.exchange(|_, exchange| exchange.finish());
                }
            }
            Event::Close => self.exchange(|_, exchange| exchange.close()),
            Event::Abort => self.exchange(|_, exchange| exchange.abort()),
        }
    }

    /// Nothing is in the way any more, and the peer sends the rest: the handler has all of it, or
    /// has closed.
    fn wind_up(&mut self) {
        self.app.temper = Temper::Eager;
        self.happen(Event::Hog(false));
        self.happen(Event::HogInputs(false));
        for _ in 0..1000 {
            if self.connection.flow.is_closing() {
                return;
            }
            self.happen(Event::Acknowledge(u64::MAX));
            self.happen(Event::Expire);
            self.happen(Event::Receive(LARGE_BYTES));
            if self.passed_on + self.waiting as u64 == self.app.total {
                self.happen(Event::Finish);
            }
        }
        panic!("{:?} of {} bytes", self.connection.conn, self.app.total);
    }

    fn end(&mut self) {
        self.app.closed(&mut self.connection.conn, Closed::Finished);
        self.connection.release(&mut self.send, &mut self.inputs);
        self.others.clear(&mut self.send);
        self.other_inputs.iter_mut().for_each(|other| other.clear(&mut self.inputs));
        assert_eq!((self.send.free(), self.inputs.free()), (POOL, INPUTS));
    }
}

/// Lets these events happen to a connection of such a handler. Whatever the order: each call is one
/// that the contract allows, the transport is told what was asked for, the connection comes to its
/// end, and nothing stays taken.
fn run(temper: Temper, seed: u64, total: u64, events: &[Event]) {
    let mut transport = None;
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let transport = transport.insert(Transport::new(Checker::new(total, temper, seed)));
        events.iter().for_each(|event| transport.happen(*event));
        transport.wind_up();
    }));
    match outcome {
        Ok(()) => {
            let transport = transport.as_mut().expect("it was made");
            if transport.connection.flow.is_closing() && temper == Temper::Tame {
                let ended = events.iter().any(|event| matches!(event, Event::Close | Event::Abort));
                let cut = transport.is_finished || ended;
                assert!(cut || transport.connection.conn.consumed == total);
            }
        }
        // A panic of the handler may end a connection, and takes nothing of the others.
        Err(panic) if panic.downcast_ref() == Some(&"a wild handler") => {}
        Err(panic) => std::panic::resume_unwind(panic),
    }
    if let Some(mut transport) = transport {
        transport.end();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn every_order_of_events_keeps_the_contract(
        seed in any::<u64>(),
        is_wild in any::<bool>(),
        total in prop_oneof![1u64..100, 1u64..60_000],
        events in proptest::collection::vec(event(), 0..80),
    ) {
        run(if is_wild { Temper::Wild } else { Temper::Tame }, seed, total, &events);
    }
}

/// A handler that does what each byte of input says; other bytes stay unconsumed.
#[derive(Default)]
struct Script {
    calls: Vec<&'static str>,
}

impl Application for Script {
    type Blob = &'static [u8];
    type Conn = ();

    fn opened(&mut self, (): &mut (), _: Opened, _: &mut Reply<'_, &'static [u8]>) {}

    fn received(
        &mut self,
        (): &mut (),
        bytes: &[u8],
        reply: &mut Reply<'_, &'static [u8]>,
    ) -> usize {
        self.calls.push("received");
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                b'c' => reply.close(),
                b'a' => reply.abort(),
                b'o' => (0..200).for_each(|_| reply.share(b"over", 0..4)),
                b'f' => while reply.write(FILL) > 0 {},
                b'n' => reply.read_on(),
                b'l' => reply.read_later(),
                b't' => reply.set_timeout(Some(Duration::from_millis(5))),
                b'.' => {}
                _ => return at,
            }
        }
        bytes.len()
    }

    fn overfull(&mut self, (): &mut (), _: &[u8], reply: &mut Reply<'_, &'static [u8]>) {
        self.calls.push("overfull");
        reply.copy(b"too much");
    }

    fn resumed(&mut self, (): &mut (), _: &mut Reply<'_, &'static [u8]>) {
        self.calls.push("resumed");
    }

    fn timeout(&mut self, (): &mut (), _: &mut Reply<'_, &'static [u8]>) {
        self.calls.push("timeout");
    }
}

/// One step of a table, and what it leads to: calls, bytes held, and the flow by its letters: open,
/// Closing, Aborted, Waits for capacity, reads Later, Paused.
type Row = (&'static str, &'static [&'static str], usize, &'static str);

fn letters(flow: Flow) -> String {
    let flags = [
        (flow.is_closing(), 'C'),
        (flow.is_aborted(), 'A'),
        (flow.wants_capacity(), 'W'),
        (flow.reads_later(), 'L'),
        (flow.is_paused(), 'P'),
    ];
    flags.iter().filter(|(is_set, _)| *is_set).map(|(_, letter)| letter).collect()
}

/// Steps that begin with `<` are bytes that come; the others are events.
fn follow(table: &[Row]) {
    let mut app = Script::default();
    let mut connection = Connection::<Script>::default();
    let mut send = send::Pool::new(128, 128);
    let mut inputs = input::Pool::new(1, 1);
    for (step, calls, held, flow) in table {
        let mut exchange = connection.exchange(&mut send, &mut inputs);
        match *step {
            "expire" => exchange.expire(&mut app),
            "finish" => exchange.finish(),
            "resume" => _ = exchange.resume(&mut app),
            "overfull" => _ = exchange.receive(&mut app, &[b'?'; OVERFULL_BYTES]),
            "acknowledge" => {
                connection.queue.clear(&mut send);
                _ = connection.exchange(&mut send, &mut inputs).resume(&mut app);
            }
            bytes => {
                let bytes = bytes.strip_prefix('<').expect("bytes or an event").as_bytes();
                assert_eq!(exchange.receive(&mut app, bytes), bytes.len(), "{step}");
            }
        }
        let told = (&std::mem::take(&mut app.calls)[..], connection.input.len());
        assert_eq!((told, &letters(connection.flow)[..]), ((*calls, *held), *flow), "{step}");
    }
    connection.release(&mut send, &mut inputs);
}

#[test]
fn each_effect_is_carried_out() {
    let received: &[_] = &["received"];
    let tables: &[&[Row]] = &[
        // What is not consumed is held, and delivered again with what follows.
        &[("<.?", received, 1, ""), ("<?", received, 2, "")],
        // A close drops what is held, and no call follows it.
        &[("<c?", received, 0, "C"), ("<.", &[], 0, "C"), ("expire", &[], 0, "C")],
        &[("<ca", received, 0, "CA")],
        // More than was promised resets, whatever else was asked for.
        &[("<o", received, 0, "CA")],
        &[("<oc", received, 0, "CA")],
        // Without capacity input waits, even if all was consumed, until `resumed`.
        &[
            ("<f", received, 0, "WP"),
            ("<.?", &[], 2, "WP"),
            ("resume", &[], 2, "WP"),
            ("expire", &["timeout"], 2, "WP"),
            ("acknowledge", &["resumed", "received"], 1, ""),
        ],
        // A handler that reads on says so in each call.
        &[
            ("<fn", received, 0, "W"),
            ("<n", received, 0, "W"),
            ("<.", received, 0, "WP"),
            ("<.", &[], 1, "WP"),
        ],
        // What is put off is delivered after the deadline, and not before.
        &[
            ("<tl?", received, 1, "LP"),
            ("<?", &[], 2, "LP"),
            ("expire", &["timeout", "received"], 2, ""),
            ("expire", &["timeout"], 2, ""),
        ],
        // Each pause ends for itself.
        &[
            ("<lf?", received, 1, "WLP"),
            ("acknowledge", &["resumed"], 1, "LP"),
            ("expire", &["timeout", "received"], 1, ""),
        ],
        // Overfull input is answered and closes, unless it waits for the handler.
        &[("overfull", &["received", "overfull"], 0, "C")],
        &[("<f", received, 0, "WP"), ("overfull", &[], OVERFULL_BYTES, "WP")],
        &[
            ("<fn", received, 0, "W"),
            ("overfull", received, OVERFULL_BYTES, "WP"),
            ("acknowledge", &["resumed", "received", "overfull"], 0, "C"),
        ],
        // When the peer has finished, half a request is dropped; what waits is answered first.
        &[("<.?", received, 1, ""), ("finish", &[], 0, "C")],
        &[
            ("<f", received, 0, "WP"),
            ("<.?", &[], 2, "WP"),
            ("finish", &[], 2, "WP"),
            ("acknowledge", &["resumed", "received"], 0, "C"),
        ],
        &[
            ("<tl?", received, 1, "LP"),
            ("finish", &[], 1, "LP"),
            ("expire", &["timeout", "received"], 0, "C"),
        ],
        // Even a handler that reads on is resumed before that.
        &[
            ("<fn", received, 0, "W"),
            ("finish", &[], 0, "W"),
            ("acknowledge", &["resumed"], 0, "C"),
        ],
    ];
    for table in tables {
        follow(table);
    }
}

#[test]
fn the_last_deadline_counts_and_a_close_clears_it() {
    let deadline = |input: &[u8]| {
        let mut connection = Connection::<Script>::default();
        let (mut send, mut inputs) = (send::Pool::new(8, 8), input::Pool::new(1, 1));
        let mut exchange = connection.exchange(&mut send, &mut inputs);
        exchange.receive(&mut Script::default(), input);
        exchange.requests().deadline
    };
    assert_eq!(deadline(b"."), None);
    assert_eq!(deadline(b"t"), Some(Some(Duration::from_millis(5))));
    assert_eq!(deadline(b"tc"), Some(None));
}

#[test]
fn without_memory_nothing_is_delivered_until_all_that_was_seen_is_there_again() {
    let mut app = Script::default();
    let mut connection = Connection::<Script>::default();
    let (mut send, mut inputs) = (send::Pool::new(8, 8), input::Pool::new(1, 0));
    let mut receive = |bytes: &[u8]| {
        let taken = connection.exchange(&mut send, &mut inputs).receive(&mut app, bytes);
        (taken, std::mem::take(&mut app.calls).len())
    };
    assert_eq!(receive(&[b'?'; 3000]), (SMALL_BYTES, 1));
    // The buffer is full, and shows less than was seen.
    assert_eq!(receive(&[b'?'; 3000 - SMALL_BYTES]), (0, 0));
    let all = [b'?'; 3000];
    let mut exchange = connection.exchange(&mut send, &mut inputs);
    assert_eq!(exchange.receive_peeked(&mut app, &all[1..]), 0);
    assert!(app.calls.is_empty());
    let mut exchange = connection.exchange(&mut send, &mut inputs);
    assert_eq!(exchange.receive_peeked(&mut app, &all), 0);
    assert_eq!(app.calls, ["received"]);
    connection.release(&mut send, &mut inputs);
}

/// Consumes nothing in its first call, and everything in the others.
#[derive(Default)]
struct Hesitant {
    lens: Vec<usize>,
}

impl Application for Hesitant {
    type Blob = &'static [u8];
    type Conn = ();

    fn received(&mut self, (): &mut (), bytes: &[u8], _: &mut Reply<'_, Self::Blob>) -> usize {
        self.lens.push(bytes.len());
        if self.lens.len() == 1 { 0 } else { bytes.len() }
    }
}

#[test]
fn what_finds_memory_because_something_was_consumed_is_delivered_though_nothing_follows() {
    let mut app = Hesitant::default();
    let mut connection = Connection::<Hesitant>::default();
    let (mut send, mut inputs) = (send::Pool::new(8, 8), input::Pool::new(1, 0));
    let mut receive =
        |bytes: &[u8]| connection.exchange(&mut send, &mut inputs).receive(&mut app, bytes);
    assert_eq!(receive(&[b'?'; SMALL_BYTES]), SMALL_BYTES);
    assert_eq!(receive(&[b'?'; 5]), 5);
    assert_eq!(app.lens, [SMALL_BYTES, SMALL_BYTES, 5]);
    assert!(connection.input.is_empty());
}

/// Takes a byte at a time, and puts the others off until somebody has completed it.
#[derive(Default)]
struct Asks {
    asked: Vec<u8>,
}

impl Application for Asks {
    type Blob = &'static [u8];
    type Conn = ();

    fn received(&mut self, (): &mut (), bytes: &[u8], reply: &mut Reply<'_, Self::Blob>) -> usize {
        self.asked.push(bytes[0]);
        reply.read_later();
        1
    }
}

#[test]
fn a_completion_ends_what_put_input_off_and_the_last_one_closes_after_the_peers_end() {
    let mut app = Asks::default();
    let mut connection = Connection::<Asks>::default();
    let (mut send, mut inputs) = (send::Pool::new(80, 60), input::Pool::new(2, 1));
    let mut exchange = connection.exchange(&mut send, &mut inputs);
    assert_eq!(exchange.receive(&mut app, b"abc"), 3);
    exchange.finish();
    for asked in ["a", "ab", "abc"] {
        assert_eq!(app.asked, asked.as_bytes());
        assert!(exchange.complete(&mut app, |_, (), reply| reply.copy(b"done\n")), "it is open");
    }
    assert!(!exchange.complete(&mut app, |_, (), _| panic!("it has closed")));
    let _ = exchange.requests();
    assert!(connection.flow.is_closing() && !connection.flow.is_aborted());
    assert_eq!(connection.queue.len(), 15);
    connection.release(&mut send, &mut inputs);
}

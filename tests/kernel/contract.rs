//! The contract's own checker over real sockets: pauses, left input and full queues at random, over
//! kernel sockets with ample and with scarce memory.

use crate::service::{Client, Service, TEST_TIMEOUT};
use simoom::handler::Handler;
use simoom::kernel::{Poller, Settings};
use simoom::metrics::Metric;
use simoom_io::testing::{ANSWER, Checked, Checker, FILL, Temper, stream_byte};
use simoom_io::{Application, Closed, Opened, Reply};
use simoom_tcp::testing::Random;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

/// Connections at once.
const CLIENTS: u64 = 4;

/// The checker as a handler. It counts the connections that got their whole stream.
struct Contract {
    checker: Checker,
    opened: u64,
}

impl Application for Contract {
    type Blob = &'static [u8];
    type Conn = Checked;

    fn opened(&mut self, conn: &mut Checked, opened: Opened, reply: &mut Reply<'_, Self::Blob>) {
        self.opened += 1;
        self.checker.opened(conn, opened, reply);
    }

    fn received(
        &mut self,
        conn: &mut Checked,
        bytes: &[u8],
        reply: &mut Reply<'_, Self::Blob>,
    ) -> usize {
        self.checker.received(conn, bytes, reply)
    }

    fn overfull(&mut self, conn: &mut Checked, bytes: &[u8], reply: &mut Reply<'_, Self::Blob>) {
        self.checker.overfull(conn, bytes, reply);
    }

    fn resumed(&mut self, conn: &mut Checked, reply: &mut Reply<'_, Self::Blob>) {
        self.checker.resumed(conn, reply);
    }

    fn timeout(&mut self, conn: &mut Checked, reply: &mut Reply<'_, Self::Blob>) {
        self.checker.timeout(conn, reply);
    }

    fn closed(&mut self, conn: &mut Checked, how: Closed) {
        self.checker.closed(conn, how);
    }
}

static OPENED: Metric = Metric::new("application_opened", "Connections opened.");
static CLOSED: Metric = Metric::new("application_closed", "Connections closed.");
static WHOLE: Metric = Metric::new("application_whole", "Connections with a whole stream.");

impl Handler for Contract {
    fn publish(&self, sink: &mut dyn FnMut(&'static Metric, u64)) {
        let Checker { closed, total, .. } = &self.checker;
        let whole = closed.iter().filter(|end| **end == (Closed::Finished, *total)).count();
        sink(&OPENED, self.opened);
        sink(&CLOSED, closed.len() as u64);
        sink(&WHOLE, whole as u64);
    }
}

/// Sends the stream in pieces of random length, then closes this direction if `half_close`.
fn send_stream(mut stream: TcpStream, total: u64, mut random: Random, half_close: bool) {
    let mut sent = 0;
    while sent < total {
        let most = [1, 100, 5000, 40_000][random.below(4) as usize];
        let end = total.min(sent + 1 + random.below(most));
        let piece: Vec<u8> = (sent..end).map(stream_byte).collect();
        stream.write_all(&piece).unwrap();
        sent = end;
    }
    if half_close {
        stream.shutdown(Shutdown::Write).unwrap();
    }
}

/// Reads to the end in pieces of random length: fill bytes, then the answer.
fn read_answer(mut stream: &TcpStream, mut random: Random) {
    let mut answer = Vec::new();
    loop {
        let mut piece = vec![0; 1 + random.below(20_000) as usize];
        match stream.read(&mut piece).unwrap() {
            0 => break,
            n => answer.extend_from_slice(&piece[..n]),
        }
    }
    let fill = answer.strip_suffix(ANSWER).expect("the answer ends the stream");
    assert!(fill.iter().all(|byte| *byte == FILL[0]), "other bytes than were sent");
}

/// A handler that pauses, leaves input and resumes at random: each call is one that the contract
/// allows, and the handler gets the whole stream.
pub(crate) fn the_contract_is_kept_with_every_handler(poller: Poller) {
    let first = crate::common::seed();
    for run in 0..12 {
        let seed = first.wrapping_add(run);
        eprintln!("seed {seed}, run {run}");
        let mut random = Random::new(seed);
        let total = [1, 3000, 200_000][run as usize % 3];
        let plenty = Settings {
            send_timeout: TEST_TIMEOUT,
            linger_timeout: TEST_TIMEOUT,
            ..Settings::for_connections(64)
        };
        let settings = match run % 2 {
            0 => plenty,
            _ => Settings {
                small_inputs: random.below(3) as usize,
                large_inputs: 1,
                receive_buffers: 1 + random.below(3) as usize,
                send_chunks: 96,
                ..plenty
            },
        };
        let checker =
            move || Contract { checker: Checker::new(total, Temper::Tame, seed), opened: 0 };
        let service = Service::start_with(poller, &settings, checker);
        std::thread::scope(|scope| {
            for client in 0..CLIENTS {
                let Client(stream) =
                    if client == 0 { service.connect_narrow() } else { service.connect() };
                let mut random = || Random::new(seed ^ (client + 1) << 32 ^ random.next_u64());
                let (sends, reads, half_close) = (random(), random(), client % 2 == 1);
                let writer = stream.try_clone().unwrap();
                scope.spawn(move || send_stream(writer, total, sends, half_close));
                scope.spawn(move || read_answer(&stream, reads));
            }
        });
        service.wait_for("application_whole", CLIENTS);
    }
}

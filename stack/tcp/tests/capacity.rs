//! Many answers at once, with capacity for all of them or for few. An answer that is begun is sent
//! whole. A connection that waits for capacity waits for the acknowledgements of others, never for
//! one of its own that its peer delays.

#[path = "capacity/yields.rs"]
mod yields;

use simoom_io::send::{ANSWER_BYTES, CHUNK_BYTES};
use simoom_io::{Application, Closed, Duration, Opened, Reply};
use simoom_tcp::Limits;
use simoom_tcp::testing::pair::config;
use simoom_tcp::testing::{Pair, Quality};

/// An answer is queued in pieces, as memcached's for ten keys.
const PIECES: usize = 10;
const PIECE: [u8; 125] = [b'v'; 125];
const ANSWER: usize = PIECES * PIECE.len();
/// The minimum of answers for each client, which sends the next request after each answer.
const ANSWERS: usize = 20;

/// Either end.
#[derive(Default)]
struct Pieces {
    /// Connections that have had [`ANSWERS`].
    done: usize,
    /// The maximum of any connection.
    most: usize,
}

#[derive(Default)]
struct Conn {
    is_client: bool,
    answers: usize,
    /// Bytes of the answer that have come, or pieces of it that were queued.
    at: usize,
}

impl Pieces {
    /// Queues as much of one answer as there is capacity for. Returns whether that completes it.
    fn answer(conn: &mut Conn, reply: &mut Reply<'_, &'static [u8]>) -> bool {
        while conn.at < PIECES && reply.has_capacity() {
            reply.copy(&PIECE);
            conn.at += 1;
        }
        let is_whole = conn.at == PIECES;
        if is_whole {
            conn.at = 0;
        }
        is_whole
    }

    fn take(&mut self, conn: &mut Conn, bytes: usize, reply: &mut Reply<'_, &'static [u8]>) {
        conn.at += bytes;
        if conn.at < ANSWER {
            return;
        }
        (conn.at, conn.answers) = (conn.at - ANSWER, conn.answers + 1);
        self.done += usize::from(conn.answers == ANSWERS);
        self.most = self.most.max(conn.answers);
        reply.copy(b"?");
    }
}

impl Application for Pieces {
    type Blob = &'static [u8];
    type Conn = Conn;

    fn opened(&mut self, conn: &mut Conn, opened: Opened, reply: &mut Reply<'_, &'static [u8]>) {
        conn.is_client = opened.active;
        if conn.is_client {
            reply.copy(b"?");
        }
    }

    fn received(
        &mut self,
        conn: &mut Conn,
        bytes: &[u8],
        reply: &mut Reply<'_, &'static [u8]>,
    ) -> usize {
        if conn.is_client {
            self.take(conn, bytes.len(), reply);
            return bytes.len();
        }
        bytes.iter().take_while(|_| Pieces::answer(conn, reply)).count()
    }

    fn overfull(&mut self, _: &mut Conn, _: &[u8], reply: &mut Reply<'_, &'static [u8]>) {
        reply.abort();
    }

    fn timeout(&mut self, _: &mut Conn, _: &mut Reply<'_, &'static [u8]>) {}

    fn closed(&mut self, _: &mut Conn, _: Closed) {}
}

/// Serves `clients` from a stack of these limits. Returns how many acknowledgements came alone, and
/// whether any connection waited for capacity.
fn serve(clients: usize, server: Limits) -> (u64, bool) {
    let limits = Limits::for_connections(clients as u32);
    let quality = Quality {
        delay: Duration::from_micros(50),
        jitter: Duration::from_micros(50),
        ..Quality::default()
    };
    let mut pair = Pair::new(config(1, limits), config(2, server), quality, 1, Pieces::default);
    for client in 0..clients {
        pair.connect(10_000 + client as u16);
    }
    let all_done = |pair: &Pair<Pieces>| pair.client.app.done == clients;
    assert!(
        pair.run_until(200_000, all_done),
        "{} of {clients} had their answers",
        pair.client.app.done
    );
    assert!(pair.client.app.most < 2 * ANSWERS, "one had {} answers", pair.client.app.most);
    let (served, asked) = (pair.server.stack.counters().0, pair.client.stack.counters().0);
    assert_eq!(served.retransmissions, 0);
    (asked.pure_acks_sent, served.waits_for_capacity > 0)
}

#[test]
fn a_thousand_answers_find_capacity_at_once() {
    let limits = Limits::for_connections(1000);
    assert!(limits.send_chunks >= 1000 * ANSWER_BYTES / CHUNK_BYTES as u32);
    assert_eq!(serve(1000, limits), (0, false));
}

#[test]
fn with_little_capacity_answers_are_whole_and_take_turns() {
    // Of 200 answers of three chunks each, 28 fit at a time. The other requests wait in input
    // buffers.
    let limits = Limits {
        send_chunks: 96,
        send_entries: 192,
        small_input_buffers: 200,
        ..Limits::for_connections(200)
    };
    assert_eq!(serve(200, limits), (0, true));
}

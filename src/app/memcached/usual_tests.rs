//! A plain get of one key that comes whole has a path of its own (`received_get`). It must do what
//! the path of any input does.

use super::*;
use crate::app::testing::{Line, NOW, memcached};
use simoom_io::send::Pool;

/// A handler that takes the path of any input.
struct General(Memcached);

impl Application for General {
    type Blob = Blob;
    type Conn = Connection;

    fn wants_ends(&self, port: u16) -> bool {
        self.0.wants_ends(port)
    }

    fn opened(&mut self, conn: &mut Connection, opened: Opened, reply: &mut Reply<'_, Blob>) {
        self.0.opened(conn, opened, reply);
    }

    fn received(
        &mut self,
        conn: &mut Connection,
        bytes: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> usize {
        self.0.received_any(conn, bytes, reply)
    }

    fn overfull(&mut self, conn: &mut Connection, bytes: &[u8], reply: &mut Reply<'_, Blob>) {
        self.0.overfull(conn, bytes, reply);
    }

    fn resumed(&mut self, conn: &mut Connection, reply: &mut Reply<'_, Blob>) {
        self.0.resumed(conn, reply);
    }

    fn timeout(&mut self, conn: &mut Connection, reply: &mut Reply<'_, Blob>) {
        self.0.timeout(conn, reply);
    }

    fn closed(&mut self, conn: &mut Connection, how: Closed) {
        self.0.closed(conn, how);
    }
}

/// What is between two inputs.
#[derive(Clone, Copy, Debug)]
enum Event<'a> {
    Offer(&'a str),
    /// The client reads everything.
    Take,
    /// So many seconds pass.
    Pass(u64),
    Drain,
    Expire,
}

/// All that a handler did: answers, bytes queued, deadlines, counters, whether it closed.
type Done = (Vec<u8>, Vec<(u64, Option<simoom_io::Duration>, usize)>, Vec<u64>, bool);

fn run<A: Application<Blob = Blob>>(
    app: A,
    handler: fn(&mut A) -> &mut Memcached,
    chunks: usize,
    steps: &[Event<'_>],
) -> Done {
    let mut line = Line::open_with(app, 11211, Pool::new(chunks + 2, chunks));
    let (mut answers, mut states, mut now) = (Vec::new(), Vec::new(), NOW);
    for step in steps {
        match step {
            Event::Offer(input) if !line.is_over() => line.offer(input.as_bytes()),
            Event::Offer(_) => {}
            Event::Take => answers.extend(line.take()),
            Event::Pass(seconds) => {
                now += seconds;
                handler(&mut line.app).clock(Seconds::of(now));
            }
            Event::Drain => handler(&mut line.app).drain(),
            Event::Expire => {
                line.expire();
            }
        }
        states.push((line.queued(), line.deadline(), line.settings()));
    }
    answers.extend(line.take());
    let closed = line.closed();
    let counters = handler(&mut line.app).counters.of().map(|(_, value)| value).collect();
    (answers, states, counters, closed)
}

#[test]
fn a_get_of_one_key_is_answered_as_by_the_path_of_any_input() {
    use Event::{Drain, Expire, Offer, Pass, Take};
    let set = |value_bytes: usize, exptime: u32| {
        format!("set key 7 {exptime} {value_bytes}\r\n{}\r\n", "v".repeat(value_bytes))
    };
    let (get, miss) = (Offer("get key\r\n"), Offer("get none\n"));
    let long = format!("get {}\r\n", "k".repeat(250));
    let too_long = format!("get {}\r\n", "k".repeat(251));
    // The line of an item around the longest that is copied, and long ones, which are pinned.
    let values = [0, 1, 100, 484, 485, 486, 487, 488, 5000, 100_000].map(|bytes| set(bytes, 0));
    let dying = set(10, 2);
    let mut cases: Vec<Vec<Event<'_>>> = vec![
        vec![get, Take, miss, Take, get],
        vec![Offer(&long), Offer(&too_long), get, Offer("get a\rb\r\n"), Offer("get \r\n")],
        vec![Offer(&dying), Take, get, Take, Pass(1), get, Take, Pass(1), get, Take, get],
    ];
    for value in &values {
        let stored = Offer(value);
        cases.push(vec![
            stored,
            Take,
            get,
            Take,
            get,
            get,
            Take,
            Expire,
            get,
            Pass(3),
            Expire,
            get,
        ]);
        cases.push(vec![stored, get, get, get, get, get, get, Take, get, Expire, Take, get]);
        cases.push(vec![stored, Take, Pass(1), get, Take, Offer("flush_all\r\n"), Take, get]);
        cases.push(vec![stored, Take, Offer("get k"), Offer("ey\r\n"), get, get, Take]);
        cases.push(vec![stored, Take, Drain, get, Take]);
    }
    for steps in &cases {
        for chunks in [3, 8, 64] {
            let general = run(General(memcached()), |app| &mut app.0, chunks, steps);
            let usual = run(memcached(), |app| app, chunks, steps);
            assert_eq!(usual, general, "{chunks} chunks: {steps:?}");
        }
    }
}

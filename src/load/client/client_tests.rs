//! The client without any transport: calls in, requests and counts out.

use super::*;
use simoom_stack::send::{Pool, Queue, Wishes};
use simoom_stack::{Application, Closed, Opened};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
const OPENED: Opened = Opened { local_port: 1, active: true, token: 0 };

/// A client and the connections that it has open.
struct Bench {
    client: Client,
    pool: Pool<Text>,
    conns: Vec<Conn>,
    now_us: u64,
}

/// What one call brought about.
#[derive(Debug, PartialEq, Eq)]
struct Done {
    sent: u64,
    wishes: Wishes,
}

impl Bench {
    fn new(connections: u32, in_flight: u32, pipeline: u16) -> Bench {
        let extent = Extent { duration: None, requests: None, warm_up: std::time::Duration::ZERO };
        let plan = Plan {
            connections,
            in_flight,
            pipeline,
            connection_per_request: false,
            verify: true,
            timeout: std::time::Duration::from_secs(1),
            extent,
        };
        let client = Client::new(plan, REQUEST);
        Bench { client, pool: Pool::new(256, 64), conns: Vec::new(), now_us: 0 }
    }

    fn call<R>(
        &mut self,
        slot: u32,
        act: impl FnOnce(&mut Client, &mut Conn, &mut Reply<'_, Text>) -> R,
    ) -> (R, Done) {
        let (mut queue, mut wishes) = (Queue::default(), Wishes::default());
        let conn = &mut self.conns[slot as usize];
        let result = act(&mut self.client, conn, &mut Reply::new(&mut self.pool, &mut queue, &mut wishes));
        let sent = queue.len() / REQUEST.len() as u64;
        queue.clear(&mut self.pool);
        (result, Done { sent, wishes })
    }

    /// Opens what the client wants opened; then the slots that it sends on, with the number of requests each.
    fn turn(&mut self) -> Vec<(u32, u64)> {
        self.now_us += 10;
        self.client.turn(self.now_us);
        while let Some(conn) = self.client.next_to_open() {
            let slot = conn.slot();
            assert_eq!(slot as usize, self.conns.len());
            self.conns.push(conn);
            self.call(slot, |client, conn, reply| client.opened(conn, OPENED, reply));
        }
        let mut sent = Vec::new();
        while let Some(slot) = self.client.next_to_send() {
            let (go_on, done) = self.call(slot, Client::send);
            assert!(go_on);
            sent.push((slot, done.sent));
        }
        sent
    }

    fn answer(&mut self, slot: u32, bytes: &[u8]) -> Done {
        let (consumed, done) = self.call(slot, |client, conn, reply| client.received(conn, bytes, reply));
        assert_eq!(consumed, bytes.len());
        done
    }
}

#[test]
fn the_first_request_goes_alone_and_then_all_connections_are_used_in_turn() {
    let mut bench = Bench::new(5, 2, 1);
    assert_eq!(bench.turn(), [(0, 1)]);
    assert_eq!(bench.turn(), [], "nothing more before the first answer");
    assert_eq!(bench.answer(0, ANSWER).sent, 0, "while others are opened it rests");
    assert_eq!(bench.turn(), [(1, 1), (2, 1)], "the new ones first");
    bench.answer(1, ANSWER);
    bench.answer(2, ANSWER);
    assert_eq!(bench.turn(), [(3, 1), (4, 1)]);
    let mut waiting = vec![3, 4];
    let mut order = Vec::new();
    for _ in 0..6 {
        for slot in waiting {
            bench.answer(slot, ANSWER);
        }
        waiting = bench.turn().into_iter().map(|(slot, _)| slot).collect();
        assert_eq!(waiting.len(), 2, "two in flight");
        order.extend(waiting.iter().copied());
    }
    assert_eq!(order, [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]);
}

#[test]
fn with_pipelining_a_connection_is_done_when_all_its_answers_are_there() {
    let mut bench = Bench::new(1, 1, 3);
    assert_eq!(bench.turn(), [(0, 1)], "the first is one alone");
    bench.answer(0, ANSWER);
    assert_eq!(bench.turn(), [(0, 3)], "all are open");
    let three = ANSWER.repeat(3);
    let cut = ANSWER.len() * 2 + 40;
    assert_eq!(bench.answer(0, &three[..cut]).sent, 0);
    assert_eq!(bench.answer(0, &three[cut..]).sent, 3);
    assert_eq!((bench.client.answers(), bench.client.tally.fault_count()), (4, 0));
}

#[test]
fn every_cut_through_an_answer_gives_the_same() {
    for cut in 1..ANSWER.len() {
        let mut bench = Bench::new(1, 1, 1);
        bench.turn();
        let (consumed, _) = bench.call(0, |client, conn, reply| client.received(conn, &ANSWER[..cut], reply));
        let rest = &ANSWER[consumed..];
        bench.answer(0, rest);
        assert_eq!((bench.client.answers(), bench.client.tally.fault_count()), (1, 0), "cut at {cut}");
    }
}

#[test]
fn a_deadline_is_set_with_a_request_and_its_passing_is_a_fault() {
    let mut bench = Bench::new(1, 1, 1);
    bench.client.turn(10);
    let conn = bench.client.next_to_open().unwrap();
    bench.conns.push(conn);
    bench.call(0, |client, conn, reply| client.opened(conn, OPENED, reply));
    let (_, done) = bench.call(0, Client::send);
    assert_eq!(done.wishes.timeout, Some(Some(Duration::from_secs(1))));
    let ((), done) = bench.call(0, Client::timeout);
    assert!(done.wishes.abort);
    bench.call(0, |client, conn, _| client.closed(conn, Closed::Aborted));
    let met: Vec<_> = bench.client.tally.faults().filter(|(_, count)| *count > 0).collect();
    assert_eq!((met, bench.client.in_flight, bench.client.open()), (vec![("timeout", 1)], 0, 0));
    assert_eq!(bench.client.unopened, [0], "it is opened again");
}

#[test]
fn an_attempt_that_fails_pauses_the_opening_and_is_made_again() {
    let mut bench = Bench::new(3, 3, 1);
    bench.turn();
    bench.answer(0, ANSWER);
    bench.client.turn(20);
    let mut conns: Vec<Conn> = std::iter::from_fn(|| bench.client.next_to_open()).collect();
    assert_eq!(conns.len(), 2);
    bench.client.closed(&mut conns[0], Closed::TimedOut);
    let met: Vec<_> = bench.client.tally.faults().filter(|(_, count)| *count > 0).collect();
    assert_eq!(met, [("unanswered", 1)]);
    assert!(bench.client.next_to_open().is_none());
    bench.client.turn(20 + OPENING_PAUSE_US);
    assert_eq!(bench.client.next_to_open().map(|conn| conn.slot()), Some(1));
}

#[test]
fn what_the_end_of_the_run_brings_about_is_no_fault() {
    let mut bench = Bench::new(1, 1, 1);
    bench.turn();
    bench.answer(0, ANSWER);
    bench.client.end();
    bench.call(0, |client, conn, _| client.closed(conn, Closed::ResetByPeer));
    assert_eq!((bench.client.tally.fault_count(), bench.client.in_flight), (0, 0));
}

#[test]
fn the_state_of_a_connection_stays_within_its_bound() {
    assert!(size_of::<Conn>() <= 64);
}

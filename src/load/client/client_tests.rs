//! The client without a transport: calls in, requests and counts out.

use super::super::http::Http;
use super::super::memcached::Memcached;
use super::super::pace::{Arrivals, Rate};
use super::opening::OPEN_RETRY_US;
use super::*;
use crate::load::schedule::RunLimits;
use simoom_io::send::{Pool, Queue};
use simoom_io::{Application, Closed, ConnectionId, Effects, Opened};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
type HttpConn = <Client<Http> as Application>::Conn;

const OPENED: Opened =
    Opened { local_port: 1, active: true, token: 0, id: ConnectionId(0), ends: None };

/// A client and its open connections.
struct Bench {
    client: Client<Http>,
    pool: Pool<Text>,
    conns: Vec<HttpConn>,
    now_us: u64,
}

/// The effects of one call.
#[derive(Debug, PartialEq, Eq)]
struct Done {
    sent: u64,
    effects: Effects,
}

impl Bench {
    fn new(connections: u32, in_flight: u32, pipeline: u16) -> Bench {
        let limits =
            RunLimits { duration: None, requests: None, warm_up: std::time::Duration::ZERO };
        let plan = Plan {
            connections,
            in_flight,
            pipeline,
            connection_per_request: false,
            rate: None,
            slow: None,
            verify: true,
            timeout: std::time::Duration::from_secs(1),
            limits,
            by_second: false,
        };
        Bench::of(plan)
    }

    fn of(plan: Plan) -> Bench {
        let http = Http::new(&[REQUEST.to_vec()], plan.pipeline, plan.verify);
        let client = Client::new(plan, http);
        Bench { client, pool: Pool::new(256, 64), conns: Vec::new(), now_us: 0 }
    }

    fn call<R>(
        &mut self,
        slot: u32,
        act: impl FnOnce(&mut Client<Http>, &mut HttpConn, &mut Reply<'_, Text>) -> R,
    ) -> (R, Done) {
        let (mut queue, mut effects) = (Queue::default(), Effects::default());
        let conn = &mut self.conns[slot as usize];
        let result =
            act(&mut self.client, conn, &mut Reply::new(&mut self.pool, &mut queue, &mut effects));
        let sent = queue.len() / REQUEST.len() as u64;
        queue.clear(&mut self.pool);
        (result, Done { sent, effects })
    }

    /// Opens the connections that the client wants. Returns the slots on which it sends, with the
    /// number of requests.
    fn tick(&mut self) -> Vec<(u32, u64)> {
        self.tick_at(self.now_us + 10)
    }

    fn tick_at(&mut self, now_us: u64) -> Vec<(u32, u64)> {
        self.now_us = now_us;
        self.client.tick(self.now_us);
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
        let (consumed, done) =
            self.call(slot, |client, conn, reply| client.received(conn, bytes, reply));
        assert_eq!(consumed, bytes.len());
        done
    }
}

#[test]
fn the_first_request_goes_alone_and_then_all_connections_are_used_in_turn() {
    let mut bench = Bench::new(5, 2, 1);
    assert_eq!(bench.tick(), [(0, 1)]);
    assert_eq!(bench.tick(), [], "nothing more before the first answer");
    assert_eq!(bench.answer(0, ANSWER).sent, 0, "while others are opened it rests");
    assert_eq!(bench.tick(), [(1, 1), (2, 1)], "the new ones first");
    bench.answer(1, ANSWER);
    bench.answer(2, ANSWER);
    assert_eq!(bench.tick(), [(3, 1), (4, 1)]);
    let mut waiting = vec![3, 4];
    let mut order = Vec::new();
    for _ in 0..6 {
        for slot in waiting {
            bench.answer(slot, ANSWER);
        }
        waiting = bench.tick().into_iter().map(|(slot, _)| slot).collect();
        assert_eq!(waiting.len(), 2, "two in flight");
        order.extend(waiting.iter().copied());
    }
    assert_eq!(order, [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]);
}

#[test]
fn with_pipelining_a_connection_is_done_when_all_its_answers_are_there() {
    let mut bench = Bench::new(1, 1, 3);
    assert_eq!(bench.tick(), [(0, 1)], "the first is one alone");
    bench.answer(0, ANSWER);
    assert_eq!(bench.tick(), [(0, 3)], "all are open");
    let three = ANSWER.repeat(3);
    let cut = ANSWER.len() * 2 + 40;
    assert_eq!(bench.answer(0, &three[..cut]).sent, 0);
    assert_eq!(bench.answer(0, &three[cut..]).sent, 3);
    assert_eq!((bench.client.answers(), bench.client.stats.fault_count()), (4, 0));
}

#[test]
fn every_cut_through_an_answer_gives_the_same() {
    for cut in 1..ANSWER.len() {
        let mut bench = Bench::new(1, 1, 1);
        bench.tick();
        let (consumed, _) =
            bench.call(0, |client, conn, reply| client.received(conn, &ANSWER[..cut], reply));
        let rest = &ANSWER[consumed..];
        bench.answer(0, rest);
        assert_eq!(
            (bench.client.answers(), bench.client.stats.fault_count()),
            (1, 0),
            "cut at {cut}"
        );
    }
}

#[test]
fn a_deadline_is_set_with_a_request_and_its_passing_is_a_fault() {
    let mut bench = Bench::new(1, 1, 1);
    bench.client.tick(10);
    let conn = bench.client.next_to_open().unwrap();
    bench.conns.push(conn);
    bench.call(0, |client, conn, reply| client.opened(conn, OPENED, reply));
    let (_, done) = bench.call(0, Client::send);
    assert_eq!(done.effects.timeout, Some(Some(Duration::from_secs(1))));
    let ((), done) = bench.call(0, Client::timeout);
    assert!(done.effects.asked.is_aborted());
    bench.call(0, |client, conn, _| client.closed(conn, Closed::Aborted));
    let met: Vec<_> = bench.client.stats.faults().filter(|(_, count)| *count > 0).collect();
    assert_eq!((met, bench.client.in_flight, bench.client.open()), (vec![("timeout", 1)], 0, 0));
    assert_eq!(bench.client.slots.take_unopened(), Some(0), "it is opened again");
}

#[test]
fn an_attempt_that_fails_pauses_the_opening_and_is_made_again() {
    let mut bench = Bench::new(3, 3, 1);
    bench.tick();
    bench.answer(0, ANSWER);
    bench.client.tick(20);
    let mut conns: Vec<HttpConn> = std::iter::from_fn(|| bench.client.next_to_open()).collect();
    assert_eq!(conns.len(), 2);
    bench.client.closed(&mut conns[0], Closed::TimedOut);
    let met: Vec<_> = bench.client.stats.faults().filter(|(_, count)| *count > 0).collect();
    assert_eq!(met, [("unanswered", 1)]);
    assert!(bench.client.next_to_open().is_none());
    bench.client.tick(20 + OPEN_RETRY_US);
    assert_eq!(bench.client.next_to_open().map(|conn| conn.slot()), Some(1));
}

#[test]
fn what_the_end_of_the_run_brings_about_is_no_fault() {
    let mut bench = Bench::new(1, 1, 1);
    bench.tick();
    bench.answer(0, ANSWER);
    bench.client.end();
    bench.call(0, |client, conn, _| client.closed(conn, Closed::ResetByPeer));
    assert_eq!((bench.client.stats.fault_count(), bench.client.in_flight), (0, 0));
}

#[test]
fn the_state_of_a_connection_stays_within_its_bound() {
    assert!(size_of::<HttpConn>() <= 64);
    assert!(size_of::<<Client<Memcached> as Application>::Conn>() <= 64);
}

/// A client with one open connection and a request due each millisecond from 1020 µs on.
fn open_loop() -> Bench {
    let limits = RunLimits {
        duration: Some(std::time::Duration::from_millis(10)),
        requests: None,
        warm_up: std::time::Duration::ZERO,
    };
    let mut bench = Bench::new(1, 1, 1);
    let rate = Some(Rate { per_second: 1000.0, arrivals: Arrivals::Uniform, seed: 1 });
    bench = Bench::of(Plan { rate, limits, ..bench.client.plan.clone() });
    assert_eq!(bench.tick(), [(0, 1)], "the first alone, at once");
    bench.answer(0, ANSWER);
    assert_eq!(
        (bench.tick(), bench.tick()),
        (vec![], vec![]),
        "measuring has begun, nothing is due"
    );
    assert!(bench.client.schedule().measures());
    bench
}

#[test]
fn in_the_open_loop_latency_counts_from_the_time_that_was_meant() {
    let mut bench = open_loop();
    assert_eq!(bench.tick_at(1_019), []);
    assert_eq!(bench.tick_at(1_020), [(0, 1)]);
    // The server stalls for 3.5 ms. Three requests wait, and none is skipped.
    assert_eq!(bench.tick_at(4_520), []);
    assert_eq!(bench.answer(0, ANSWER).sent, 1, "the next at once");
    for now_us in [4_530, 4_540] {
        bench.tick_at(now_us);
        assert_eq!(bench.answer(0, ANSWER).sent, 1);
    }
    bench.tick_at(4_550);
    assert_eq!(bench.answer(0, ANSWER).sent, 0, "all that were due are sent");
    let latency_us = &bench.client.stats.latency_us;
    let latencies: Vec<u64> =
        latency_us.iter_recorded().map(|step| step.value_iterated_to()).collect();
    let expected = [530, 1_520, 2_510, 3_500].map(|us| latency_us.highest_equivalent(us));
    assert_eq!(latencies, expected);
    assert_eq!(
        (bench.client.stats.sent, bench.client.stats.late),
        (4, 0),
        "the server was late, not the generator"
    );
}

#[test]
fn a_generator_that_is_late_itself_counts_that() {
    let mut bench = open_loop();
    assert_eq!(bench.tick_at(1_320), [(0, 1)]);
    bench.tick_at(1_330);
    bench.answer(0, ANSWER);
    assert_eq!((bench.client.stats.late, bench.client.stats.late_us.max()), (1, 301));
}

#[test]
fn the_open_loop_waits_for_what_is_under_way_and_counts_what_was_never_sent() {
    let mut bench = open_loop();
    bench.tick_at(8_020);
    assert_eq!(bench.tick_at(10_030), [], "it waits for the answer");
    bench.tick_at(15_000);
    assert!(!bench.client.schedule().is_over(), "one is under way");
    assert_eq!(bench.answer(0, ANSWER).sent, 0, "the time is over");
    bench.tick();
    assert!(bench.client.schedule().is_over());
    // Due at 1020, 2020, … 10020.
    let stats = &bench.client.stats;
    assert_eq!((stats.sent, stats.latency_us.len(), bench.client.waiting()), (1, 1, 9));
    assert_eq!(
        (stats.responses, stats.content_bytes),
        (0, 0),
        "it was not served in the measured time"
    );
    assert!(bench.client.stats.latency_us.max() >= 13_980);
}

/// A server that takes 2 ms for each request, with a request due each millisecond, serves half of
/// them: first those that waited since the warm-up.
#[test]
fn in_an_overload_all_that_is_served_in_the_measured_time_counts() {
    let ten_ms = std::time::Duration::from_millis(10);
    let limits = RunLimits { duration: Some(ten_ms), requests: None, warm_up: ten_ms };
    let mut bench = open_loop();
    bench = Bench::of(Plan { limits, ..bench.client.plan.clone() });
    bench.tick();
    bench.answer(0, ANSWER);
    bench.tick();
    let began_us = bench.now_us;
    for sent_ms in (1..29).step_by(2) {
        bench.tick_at(began_us + sent_ms * 1000);
        assert_eq!(bench.client.in_flight, u32::from(sent_ms <= 19), "sent after {sent_ms} ms");
        if bench.client.in_flight > 0 {
            bench.tick_at(began_us + (sent_ms + 2) * 1000);
            bench.answer(0, ANSWER);
        }
    }
    assert!(bench.client.schedule().is_over());
    let (stats, waiting) = (&bench.client.stats, bench.client.waiting());
    assert_eq!((stats.responses, stats.content_bytes), (5, 25), "half of ten, each of 5 bytes");
    assert_eq!(
        (stats.sent, stats.latency_us.len(), waiting),
        (0, 0, 10),
        "and none that was due in that time"
    );
}

#[test]
fn with_pipelining_what_waits_goes_at_once_each_with_its_own_time() {
    let mut bench = open_loop();
    bench = Bench::of(Plan { pipeline: 4, ..bench.client.plan.clone() });
    bench.tick();
    bench.answer(0, ANSWER);
    bench.tick();
    bench.tick();
    assert_eq!(bench.tick_at(3_520), [(0, 3)], "three were due");
    bench.tick_at(3_620);
    bench.answer(0, &ANSWER.repeat(3));
    let latency_us = &bench.client.stats.latency_us;
    assert_eq!((latency_us.len(), latency_us.min(), latency_us.max() / 10), (3, 600, 260));
}

#[test]
fn a_slow_reader_takes_a_sip_and_reads_on_when_it_may() {
    let plan = Bench::new(1, 1, 1).client.plan;
    let mut bench = Bench::of(Plan { slow: Some(ReadThrottle { bytes_per_second: 40 }), ..plan });
    bench.now_us = 10_000_000;
    bench.tick();
    assert!(
        !bench.answer(0, ANSWER).effects.asked.reads_later(),
        "the first is read at full speed"
    );
    assert_eq!(bench.tick(), [(0, 1)]);
    let head = ANSWER.len() - 5;
    // A read is 10 bytes, but a head must arrive whole.
    let (consumed, done) =
        bench.call(0, |client, conn, reply| client.received(conn, &ANSWER[..head + 2], reply));
    assert_eq!((consumed, done.effects.asked.reads_later()), (ANSWER.len() - 3, true));
    let wait = done.effects.timeout.flatten().unwrap();
    assert_eq!(
        wait.total_micros(),
        (consumed as u64 - 10) * 25_000,
        "as long as those bytes take, but for a sip"
    );
    let mut may_read_us = bench.now_us + wait.total_micros();
    bench.client.tick(may_read_us - 1);
    let (consumed, done) =
        bench.call(0, |client, conn, reply| client.received(conn, &ANSWER[head + 2..], reply));
    assert_eq!((consumed, done.effects.asked.reads_later()), (0, true), "not yet");
    let ((), done) = bench.call(0, Client::timeout);
    assert_eq!(
        done.effects.timeout,
        Some(Some(Duration::from_secs(1))),
        "it waits for what follows"
    );
    may_read_us += 1;
    bench.client.tick(may_read_us);
    assert_eq!(bench.answer(0, &ANSWER[head + 2..]).sent, 1, "the next request goes at once");
    assert_eq!((bench.client.answers(), bench.client.stats.fault_count()), (2, 0));
    let ((), done) = bench.call(0, Client::timeout);
    assert_eq!(
        done.effects.timeout,
        Some(Some(Duration::from_secs(1))),
        "when it has paid for its last sip"
    );
    let ((), done) = bench.call(0, Client::timeout);
    assert!(done.effects.asked.is_aborted(), "no answer is a fault");
}

#[test]
fn a_slow_reader_that_is_late_makes_up_for_it_and_leaves_nothing_without_a_deadline() {
    let plan = Bench::new(1, 1, 1).client.plan;
    let mut bench = Bench::of(Plan { slow: Some(ReadThrottle { bytes_per_second: 40 }), ..plan });
    bench.now_us = 10_000_000;
    let answer =
        [b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n".to_vec(), vec![b'x'; 100]].concat();
    let (head, content) = answer.split_at(answer.len() - 100);
    bench.tick();
    bench.answer(0, &answer);
    bench.tick();
    bench.call(0, |client, conn, reply| client.received(conn, head, reply));
    bench.call(0, Client::timeout);
    // Long after the next read was allowed: two reads of 10 bytes, then a wait of one interval.
    bench.client.tick(60_000_000);
    let (consumed, done) =
        bench.call(0, |client, conn, reply| client.received(conn, content, reply));
    assert_eq!((consumed, done.effects.asked.reads_later()), (20, true));
    assert_eq!(done.effects.timeout.flatten().map(|wait| wait.total_micros()), Some(250_000));
}

use super::*;
use crate::kernel::INPUT_BYTES;
use crate::metrics::Metric;
use simoom_io::send::CHUNK_BYTES;
use simoom_io::{ConnectionId, Reply};

/// Runs the action that each byte of input names. Other bytes stay unconsumed.
#[derive(Default)]
struct Script {
    resumed: usize,
    timeouts: usize,
    closed: Vec<Closed>,
}

impl Application for Script {
    type Blob = &'static [u8];
    type Conn = ();

    fn opened(&mut self, (): &mut (), _: Opened, reply: &mut Reply<'_, &'static [u8]>) {
        reply.set_timeout(Some(simoom_io::Duration::from_millis(100)));
    }

    fn received(
        &mut self,
        (): &mut (),
        bytes: &[u8],
        reply: &mut Reply<'_, &'static [u8]>,
    ) -> usize {
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                b'5' => reply.set_timeout(Some(simoom_io::Duration::from_micros(4_001))),
                b'n' => reply.set_timeout(None),
                b'c' => reply.close(),
                b'a' => reply.abort(),
                b'w' => reply.share(b"word", 0..4),
                b'o' => (0..200).for_each(|_| reply.share(b"over", 0..4)),
                b'l' => reply.read_later(),
                b'r' => reply.read_on(),
                b'y' => {
                    reply.yield_now();
                    return at + 1;
                }
                b'f' => {
                    while reply.has_capacity() {
                        reply.share(b"fill", 0..4);
                    }
                }
                _ => return at,
            }
        }
        bytes.len()
    }

    fn overfull(&mut self, (): &mut (), _: &[u8], reply: &mut Reply<'_, &'static [u8]>) {
        reply.copy(b"too much");
    }

    fn resumed(&mut self, (): &mut (), _: &mut Reply<'_, &'static [u8]>) {
        self.resumed += 1;
    }

    fn timeout(&mut self, (): &mut (), _: &mut Reply<'_, &'static [u8]>) {
        self.timeouts += 1;
    }

    fn closed(&mut self, (): &mut (), how: Closed) {
        self.closed.push(how);
    }
}

impl Handler for Script {
    fn clock(&mut self, _: crate::handler::Seconds) {}

    fn drain(&mut self) {}

    fn publish(&self, _: &mut dyn FnMut(&'static Metric, u64)) {}
}

fn opened() -> (AppDriver<Script>, Session<Script, ()>) {
    let mut app_driver = AppDriver {
        app: Script::default(),
        pool: Pool::new(128, 128),
        inputs: input::Pool::with_large_bytes(2, 2, INPUT_BYTES),
        counters: Counters::default(),
        now_ms: 1000,
        linger_timeout: Duration::from_secs(5),
    };
    let mut session = Session::new((), 60_000);
    app_driver.opened(
        &mut session,
        Opened { local_port: 80, active: false, token: 0, id: ConnectionId(1), ends: None },
    );
    (app_driver, session)
}

#[test]
fn the_applications_deadline_is_set_put_off_and_cleared() {
    let (mut app_driver, mut session) = opened();
    assert_eq!(session.next_deadline_ms(), 1100);
    app_driver.receive(&mut session, b"5");
    assert_eq!(session.next_deadline_ms(), 1005);
    app_driver.now_ms = 1004;
    assert_eq!(app_driver.due(&mut session), Due::Nothing);
    app_driver.now_ms = 1005;
    assert_eq!(app_driver.due(&mut session), Due::Application);
    assert_eq!(
        (app_driver.app.timeouts, app_driver.counters.timeouts, session.next_deadline_ms()),
        (1, 1, NEVER)
    );
    app_driver.receive(&mut session, b"5n");
    assert_eq!(session.next_deadline_ms(), NEVER);
}

#[test]
fn after_close_no_deadline_of_the_application_counts() {
    let (mut app_driver, mut session) = opened();
    assert_eq!(app_driver.receive(&mut session, b"wc and more"), 11);
    assert_eq!((session.phase(), session.next_deadline_ms()), (Phase::Closing, NEVER));
    app_driver.now_ms = 5000;
    assert_eq!(app_driver.due(&mut session), Due::Nothing);
    app_driver.sent(&mut session, 4);
    app_driver.linger(&mut session);
    assert_eq!(session.next_deadline_ms(), 10_000);
    app_driver.now_ms = 10_000;
    assert_eq!(app_driver.due(&mut session), Due::Linger);
}

#[test]
fn the_send_timeout_runs_from_the_last_progress() {
    let (mut app_driver, mut session) = opened();
    // A peer must accept 3 bytes in this time.
    session.send_timeout_ms = 3;
    app_driver.receive(&mut session, b"nwww");
    app_driver.sent(&mut session, 0);
    assert_eq!(session.next_deadline_ms(), 1003);
    app_driver.now_ms = 1001;
    app_driver.sent(&mut session, 2);
    assert_eq!(
        (session.next_deadline_ms(), session.took_too_little(session.taken_bytes)),
        (1003, true)
    );
    app_driver.sent(&mut session, 1);
    assert_eq!(session.next_deadline_ms(), 1004);
    app_driver.now_ms = 1004;
    assert_eq!((app_driver.due(&mut session), session.taken_bytes), (Due::Send, 0));
    app_driver.sent(&mut session, 9);
    assert_eq!((session.next_deadline_ms(), app_driver.counters.bytes_sent), (NEVER, 12));
}

#[test]
fn an_abort_wins_over_a_close() {
    let (mut app_driver, mut session) = opened();
    app_driver.receive(&mut session, b"ca");
    assert_eq!(session.phase(), Phase::Aborted);
}

#[test]
fn refused_room_is_remembered_and_kept_input_follows_resumed() {
    let (mut app_driver, mut session) = opened();
    assert_eq!(app_driver.receive(&mut session, b"f"), 1);
    assert!(session.connection.flow.wants_capacity() && !app_driver.resume(&mut session));
    assert_eq!(app_driver.receive(&mut session, b"w?"), 2);
    let queued = session.connection.queue.len() as usize;
    app_driver.sent(&mut session, queued);
    assert!(app_driver.resume(&mut session));
    assert_eq!(
        (
            app_driver.app.resumed,
            session.connection.flow.wants_capacity(),
            session.connection.queue.len()
        ),
        (1, false, 4)
    );
    assert_eq!(session.connection.input.bytes(&app_driver.inputs), b"?");
}

#[test]
fn input_at_the_bound_is_overfull_and_closes_whatever_the_application_asks() {
    let (mut app_driver, mut session) = opened();
    let mut input = vec![b'?'; INPUT_BYTES];
    assert_eq!(app_driver.receive(&mut session, &input[1..]), INPUT_BYTES - 1);
    assert_eq!((session.phase(), app_driver.counters.overfull), (Phase::Open, 0));
    session.connection.input.clear(&mut app_driver.inputs);
    input[0] = b'w';
    assert_eq!(app_driver.receive(&mut session, &input), INPUT_BYTES);
    assert_eq!((session.phase(), session.connection.input.len()), (Phase::Open, INPUT_BYTES - 1));
    assert_eq!(app_driver.receive(&mut session, b"?"), 1);
    assert_eq!((session.phase(), app_driver.counters.overfull), (Phase::Closing, 1));
    assert_eq!(
        session.connection.queue.slices(&app_driver.pool).flatten().copied().collect::<Vec<u8>>(),
        b"wordtoo much"
    );
}

#[test]
fn full_input_is_not_overfull_while_the_application_wants_room() {
    let (mut app_driver, mut session) = opened();
    app_driver.receive(&mut session, b"f");
    assert_eq!(app_driver.receive(&mut session, &[b'?'; INPUT_BYTES]), INPUT_BYTES);
    assert_eq!((session.phase(), app_driver.counters.overfull), (Phase::Open, 0));
}

#[test]
fn the_end_gives_everything_back() {
    for how in [Closed::Finished, Closed::ResetByPeer, Closed::TimedOut, Closed::Aborted] {
        let (mut app_driver, mut session) = opened();
        app_driver.receive(&mut session, b"ww?half");
        assert!(session.connection.queue.len() < CHUNK_BYTES as u64 && !session.holds_nothing());
        app_driver.end(session, how);
        assert_eq!((app_driver.pool.free(), app_driver.app.closed), ((128, 128), vec![how]));
        assert_eq!(app_driver.inputs.free(), (2, 2));
        let ends =
            ["closed_finished", "closed_reset_by_peer", "closed_timed_out", "closed_aborted"];
        let counted: u64 = app_driver
            .counters
            .iter()
            .filter(|(metric, _)| ends.contains(&metric.name))
            .map(|(_, n)| n)
            .sum();
        assert_eq!(counted, 1);
    }
}

#[test]
fn half_an_answer_is_an_abort() {
    for input in ["o", "oc"] {
        let (mut app_driver, mut session) = opened();
        app_driver.receive(&mut session, input.as_bytes());
        assert_eq!((session.phase(), app_driver.counters.answer_overflow), (Phase::Aborted, 1));
    }
}

#[test]
fn input_that_is_put_off_is_offered_right_after_the_deadline() {
    let (mut app_driver, mut session) = opened();
    assert_eq!(app_driver.receive(&mut session, b"5lw"), 3);
    assert_eq!(app_driver.receive(&mut session, b"w?"), 2);
    assert!(session.connection.flow.is_paused() && !session.holds_nothing());
    app_driver.now_ms = 1005;
    assert_eq!(app_driver.due(&mut session), Due::Application);
    assert_eq!(
        (
            app_driver.app.timeouts,
            session.connection.queue.len(),
            session.connection.flow.is_paused()
        ),
        (1, 8, false)
    );
    assert_eq!(session.connection.input.bytes(&app_driver.inputs), b"?");
}

/// Each wait for which the application has set no deadline.
#[test]
fn every_wait_ends() {
    type Wait = fn(&mut AppDriver<Script>, &mut Session<Script, ()>);
    let waits: [(&str, Wait, u64, Due); 6] = [
        ("room", |app_driver, session| app_driver.limit_wait(session, true), 61_000, Due::Held),
        ("the socket", |app_driver, session| app_driver.sent(session, 0), 61_000, Due::Send),
        (
            "the socket, to close",
            |app_driver, session| {
                app_driver.close(session);
                app_driver.sent(session, 0);
            },
            61_000,
            Due::Send,
        ),
        ("the FIN", |app_driver, session| app_driver.linger(session), 6000, Due::Linger),
        (
            "the FIN, while draining",
            |app_driver, session| {
                app_driver.linger(session);
                app_driver.shorten_linger(session, 10);
            },
            1010,
            Due::Linger,
        ),
        (
            "the FIN, after it waited for room",
            |app_driver, session| {
                app_driver.limit_wait(session, true);
                app_driver.close(session);
                assert_eq!(session.next_deadline_ms(), NEVER);
                app_driver.linger(session);
            },
            6000,
            Due::Linger,
        ),
    ];
    for (what, wait, deadline_ms, due) in waits {
        let (mut app_driver, mut session) = opened();
        app_driver.receive(&mut session, b"n");
        if due == Due::Send {
            app_driver.receive(&mut session, b"w");
        }
        wait(&mut app_driver, &mut session);
        assert_eq!(session.next_deadline_ms(), deadline_ms, "{what}");
        app_driver.now_ms = deadline_ms - 1;
        assert_eq!(app_driver.due(&mut session), Due::Nothing, "{what}");
        app_driver.now_ms = deadline_ms;
        assert_eq!(app_driver.due(&mut session), due, "{what}");
    }
}

#[test]
fn a_shortened_linger_can_go_on_until_the_linger_timeout() {
    let (mut app_driver, mut session) = opened();
    app_driver.receive(&mut session, b"n");
    app_driver.linger(&mut session);
    app_driver.shorten_linger(&mut session, 2000);
    for look_ms in [3000, 5000, 6000] {
        assert_eq!(session.next_deadline_ms(), look_ms);
        app_driver.now_ms = look_ms;
        assert_eq!(app_driver.due(&mut session), Due::Linger);
        assert_eq!(app_driver.is_linger_over(&session), look_ms == 6000);
        app_driver.resume_linger(&mut session, 2000);
    }
}

#[test]
fn a_wait_for_others_ends_with_it() {
    let (mut app_driver, mut session) = opened();
    app_driver.receive(&mut session, b"n");
    app_driver.limit_wait(&mut session, true);
    app_driver.now_ms = 2000;
    app_driver.limit_wait(&mut session, true);
    assert_eq!(session.next_deadline_ms(), 61_000);
    app_driver.limit_wait(&mut session, false);
    assert_eq!(session.next_deadline_ms(), NEVER);
}

#[test]
fn a_peer_that_sends_on_after_the_fin_is_heard_up_to_a_bound() {
    let (mut app_driver, mut session) = opened();
    app_driver.linger(&mut session);
    assert!(app_driver.dropped(&mut session, LINGER_BYTES as usize));
    assert!(!app_driver.dropped(&mut session, 1));
    assert!(!app_driver.dropped(&mut session, u32::MAX as usize));
}

#[test]
fn after_a_yield_the_application_goes_on_in_the_next_iteration_only() {
    let (mut app_driver, mut session) = opened();
    assert_eq!(app_driver.receive(&mut session, b"wyww"), 4);
    assert_eq!((session.connection.queue.len(), session.connection.input.len()), (4, 2));
    // More input, a deadline and capacity change nothing.
    assert_eq!(app_driver.receive(&mut session, b"w"), 1);
    app_driver.now_ms += 100;
    assert_eq!(app_driver.due(&mut session), Due::Application);
    assert!(!app_driver.resume(&mut session) && app_driver.app.resumed == 0);
    assert_eq!((session.connection.queue.len(), session.connection.input.len()), (4, 3));
    assert!(!app_driver.idle(&session));
    assert!(app_driver.iterate(&mut session));
    assert_eq!((app_driver.app.resumed, session.connection.queue.len()), (1, 16));
    assert!(!app_driver.iterate(&mut session) && session.connection.input.is_empty());
}

#[test]
fn one_that_has_yielded_closes_behind_the_peers_last_request() {
    let (mut app_driver, mut session) = opened();
    app_driver.receive(&mut session, b"ywyw");
    app_driver.finish(&mut session);
    assert_eq!(session.phase(), Phase::Open);
    app_driver.iterate(&mut session);
    assert_eq!((session.phase(), session.connection.queue.len()), (Phase::Open, 4));
    app_driver.iterate(&mut session);
    assert_eq!((session.phase(), session.connection.queue.len()), (Phase::Closing, 8));
}

#[test]
fn one_that_yields_without_capacity_waits_for_both() {
    let (mut app_driver, mut session) = opened();
    app_driver.receive(&mut session, b"fyw");
    assert!(session.connection.flow.wants_capacity() && session.connection.flow.has_yielded());
    assert!(!app_driver.resume(&mut session), "not in this iteration");
    app_driver.iterate(&mut session);
    assert_eq!((app_driver.app.resumed, session.connection.input.len()), (0, 1), "no capacity yet");
    let queued = session.connection.queue.len() as usize;
    app_driver.sent(&mut session, queued);
    assert!(app_driver.resume(&mut session));
    assert_eq!((app_driver.app.resumed, session.connection.queue.len()), (1, 4));
}

/// Its peer may never read: no capacity would ever come.
#[test]
fn one_that_reads_on_goes_on_after_a_yield_without_capacity() {
    let (mut app_driver, mut session) = opened();
    app_driver.receive(&mut session, b"fryn");
    assert!(session.connection.flow.wants_capacity() && session.connection.flow.has_yielded());
    app_driver.iterate(&mut session);
    assert_eq!((app_driver.app.resumed, session.connection.input.len()), (1, 0));
}

#[test]
fn a_close_ends_a_yield() {
    let (mut app_driver, mut session) = opened();
    app_driver.receive(&mut session, b"yw");
    app_driver.close(&mut session);
    assert!(!app_driver.iterate(&mut session) && session.connection.input.is_empty());
    assert_eq!(session.phase(), Phase::Closing);
}

//! The kernel transport, driven through real sockets on the loopback address.

mod common;
#[path = "kernel/contract.rs"]
mod contract;
#[path = "kernel/long.rs"]
mod long;
#[path = "kernel/service.rs"]
mod service;

use common::skip;
use contract::the_contract_is_kept_with_every_handler;
use long::a_long_answer_is_written_in_parts;
use rustix::process::{Resource, getrlimit, setrlimit};
use service::{Client, Service, piece};
use simoom::kernel::{INPUT_BYTES, Poller, Settings};
use simoom::metrics::Snapshot;
use simoom_tcp::testing::Random;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Makes a test of each function for each way to poll.
macro_rules! over_both {
    ($($name:ident),* $(,)?) => {
        mod epoll {
            $(#[test] fn $name() { super::$name(simoom::kernel::Poller::Epoll); })*
        }
        mod io_uring {
            $(#[test] fn $name() {
                if crate::service::need_io_uring() {
                    super::$name(simoom::kernel::Poller::IoUring);
                }
            })*
        }
    };
}

#[test]
fn the_contract_is_kept_with_every_handler_over_epoll() {
    the_contract_is_kept_with_every_handler(simoom::kernel::Poller::Epoll);
}

#[test]
fn the_contract_is_kept_with_every_handler_over_io_uring() {
    if service::need_io_uring() {
        the_contract_is_kept_with_every_handler(simoom::kernel::Poller::IoUring);
    }
}

over_both! {
    input_may_be_split_at_every_byte,
    input_may_come_byte_by_byte,
    pipelined_requests_beyond_all_room_are_answered_in_order,
    input_left_in_the_kernel_moves_on_when_a_block_is_free,
    a_request_that_outgrows_a_small_block_moves_on_when_a_large_one_is_free,
    input_that_was_seen_is_not_offered_in_part_when_a_small_block_is_free,
    offered_input_never_shrinks,
    a_line_beyond_the_bound_is_answered_as_overfull,
    a_slow_reader_gets_all_of_it_while_others_are_served,
    a_long_answer_is_written_in_parts,
    after_a_half_close_the_answers_are_still_sent_whole,
    an_abort_is_a_reset,
    the_last_answer_survives_input_that_nobody_reads,
    the_last_answer_survives_bytes_that_come_while_it_is_sent,
    a_peer_that_does_not_close_is_let_go,
    deadlines_of_the_application_are_kept,
    a_peer_that_takes_nothing_is_reset,
    beyond_the_limit_connections_are_reset_and_others_do_not_notice,
    a_connection_that_waits_for_the_pool_is_served_when_others_have_sent,
    a_peer_that_never_stops_does_not_starve_others,
    whoever_yields_goes_on_behind_others,
    a_peer_that_disappears_leaves_nothing,
    a_reset_right_behind_input_is_noticed,
    a_reset_is_noticed_whatever_the_connection_waits_for,
    whoever_waits_for_what_others_hold_is_given_up_in_time,
    thousands_of_connections_are_served,
    workers_share_a_port,
    a_listener_that_comes_later_is_served_until_the_drain,
    a_listener_that_goes_leaves_its_port_and_its_connections,
    ipv6_is_served,
    draining_finishes_what_is_under_way_and_nothing_more,
    draining_answers_whoever_has_connected,
    draining_gives_idle_connections_time_for_one_more_request,
    draining_does_not_wait_for_answered_clients_that_stay,
    draining_waits_for_answers_on_their_way,
    draining_is_bounded,
    a_second_order_cuts_the_drain_short,
}

fn settings() -> Settings {
    Settings { linger_timeout: service::TEST_TIMEOUT, ..Settings::for_connections(64) }
}

/// Services with plenty of blocks for kept input, with few, and with none left: another client's
/// half request holds the only one, so that what is not consumed stays in the kernel.
fn services(poller: Poller) -> [(Service, Option<Client>); 3] {
    let start = |small_inputs, large_inputs, receive_buffers| {
        let settings = Settings { small_inputs, large_inputs, receive_buffers, ..settings() };
        Service::start(poller, &settings)
    };
    let exhausted = start(0, 1, 1);
    let holder = hold_a_block(&exhausted);
    [(start(64, 64, 64), None), (start(1, 1, 2), None), (exhausted, Some(holder))]
}

fn hold_a_block(service: &Service) -> Client {
    let mut holder = service.connect();
    holder.send("echo held");
    service.wait_for("bytes_received", 9);
    holder
}

fn input_may_be_split_at_every_byte(poller: Poller) {
    let text = format!("echo one\necho \necho {}\necho four\n", "x".repeat(70));
    let answer = format!("one\n\n{}\nfour\n", "x".repeat(70));
    for (service, _holder) in services(poller) {
        let mut other = service.connect();
        let mut client = service.connect();
        for at in 0..=text.len() {
            client.send(&text[..at]);
            // The worker sees this after the first part, so the second part comes in an event of
            // its own.
            other.ask("between");
            client.send(&text[at..]);
            client.expect(&answer);
        }
    }
}

fn input_may_come_byte_by_byte(poller: Poller) {
    for (service, _holder) in services(poller) {
        let (mut other, mut client) = (service.connect(), service.connect());
        for byte in b"echo in pieces\n" {
            client.send([*byte]);
            other.ask("between");
        }
        client.expect("in pieces\n");
    }
}

/// Sends so many requests at once that no bound holds them, and reads the answers once `meanwhile`
/// is done.
fn pipeline(service: &Service, meanwhile: impl FnOnce()) {
    let requests: String = (0..20_000).map(|i| format!("echo request {i}\n")).collect();
    let answers: String = (0..20_000).map(|i| format!("request {i}\n")).collect();
    let mut client = service.connect();
    let mut writer = Client::new(client.0.try_clone().unwrap());
    let writing = std::thread::spawn(move || writer.send(requests));
    meanwhile();
    client.expect(answers);
    writing.join().unwrap();
}

fn pipelined_requests_beyond_all_room_are_answered_in_order(poller: Poller) {
    for (small_inputs, large_inputs, receive_buffers) in [(64, 64, 64), (1, 1, 2), (0, 1, 1)] {
        let settings = Settings { small_inputs, large_inputs, receive_buffers, ..settings() };
        pipeline(&Service::start(poller, &settings), || {});
    }
}

/// Only io_uring has them.
#[test]
fn without_receive_buffers_input_is_read_as_over_epoll() {
    if !service::need_io_uring() {
        return;
    }
    let service = Service::start(Poller::IoUring, &Settings { receive_buffers: 1, ..settings() });
    pipeline(&service, || {
        let exhausted = |service: &Service| service.count("receive_buffers_exhausted") > 0;
        service.wait_until("a want of buffers", exhausted);
    });
    let mut clients: Vec<Client> = (0..60).map(|_| service.connect()).collect();
    for round in 0..20 {
        clients.iter_mut().for_each(|client| client.send(format!("echo round {round}\n")));
        clients.iter_mut().for_each(|client| client.expect(format!("round {round}\n")));
    }
}

fn input_left_in_the_kernel_moves_on_when_a_block_is_free(poller: Poller) {
    for small_inputs in [0, 1] {
        let service =
            Service::start(poller, &Settings { small_inputs, large_inputs: 1, ..settings() });
        let mut holders: Vec<Client> = (0..=small_inputs).map(|_| service.connect()).collect();
        holders.iter_mut().for_each(|holder| holder.send("echo held"));
        service.wait_for("bytes_received", 9 * holders.len() as u64);
        pipeline(&service, || {
            let exhausted = |service: &Service| service.count("input_pool_exhausted") > 0;
            service.wait_until("input left in the kernel", exhausted);
            holders.iter_mut().for_each(|holder| holder.send("\n"));
            holders.iter_mut().for_each(|holder| holder.expect("held\n"));
        });
    }
}

fn a_request_that_outgrows_a_small_block_moves_on_when_a_large_one_is_free(poller: Poller) {
    let service =
        Service::start(poller, &Settings { small_inputs: 1, large_inputs: 1, ..settings() });
    let long = "x".repeat(3000);
    let mut large = service.connect();
    large.send(format!("echo {long}"));
    service.wait_for("bytes_received", 3005);
    let mut outgrown = service.connect();
    outgrown.send(format!("echo {long}"));
    service.wait_until("input left in the kernel", |service| {
        service.count("input_pool_exhausted") > 0
    });
    large.send("\n");
    large.expect(format!("{long}\n"));
    outgrown.send("\n");
    outgrown.expect(format!("{long}\n"));
}

/// More of a request was seen in the kernel than the block holds that becomes free.
fn input_that_was_seen_is_not_offered_in_part_when_a_small_block_is_free(poller: Poller) {
    let service =
        Service::start(poller, &Settings { small_inputs: 1, large_inputs: 1, ..settings() });
    let [mut large, mut small, mut other] =
        [service.connect(), service.connect(), service.connect()];
    let long = "x".repeat(3000);
    large.send(format!("echo {long}"));
    service.wait_for("bytes_received", 3005);
    small.send("echo held");
    service.wait_for("bytes_received", 3014);
    other.send(format!("echo {long}"));
    service.wait_until("input left in the kernel", |service| {
        service.count("input_pool_exhausted") > 0
    });
    small.send("\n");
    small.expect("held\n");
    large.send("\n");
    large.expect(format!("{long}\n"));
    other.send("\n");
    other.expect(format!("{long}\n"));
}

/// Requests of many lengths in pieces of many lengths, from clients that take turns at random, with
/// hardly any blocks: [`service::Lines`] checks what it is offered.
fn offered_input_never_shrinks(poller: Poller) {
    let mut random = Random::new(common::seed());
    for _ in 0..10 {
        let settings = Settings {
            small_inputs: random.below(3) as usize,
            large_inputs: 1 + random.below(2) as usize,
            receive_buffers: 1 + random.below(6) as usize,
            ..settings()
        };
        let service = Service::start(poller, &settings);
        let request = |random: &mut Random| {
            let most = [30, 900, 3000, 9000][random.below(4) as usize];
            format!("echo {}\n", "y".repeat(random.below(most) as usize))
        };
        let texts: Vec<String> = (0..8)
            .map(|_| (0..1 + random.below(6)).map(|_| request(&mut random)).collect())
            .collect();
        let mut clients: Vec<(Client, &[u8])> =
            texts.iter().map(|text| (service.connect(), text.as_bytes())).collect();
        while clients.iter().any(|(_, left)| !left.is_empty()) {
            let (client, left) = &mut clients[random.below(8) as usize];
            let most = [3, 40, 2000, 5000][random.below(4) as usize];
            let (piece, rest) = left.split_at(left.len().min(1 + random.below(most) as usize));
            client.send(piece);
            *left = rest;
        }
        for ((client, _), text) in clients.iter_mut().zip(&texts) {
            client.expect(text.replace("echo ", ""));
        }
    }
}

fn a_line_beyond_the_bound_is_answered_as_overfull(poller: Poller) {
    for (service, _holder) in services(poller) {
        let mut client = service.connect();
        client.send(vec![b'x'; INPUT_BYTES + 5000]);
        client.expect("overfull\n");
        client.expect_end();
        service.wait_for("overfull", 1);
        let mut client = service.connect();
        let longest = "y".repeat(900);
        client.ask(&longest);
        client.send(vec![b'x'; INPUT_BYTES]);
        client.expect("overfull\n");
        client.expect_end();
    }
}

fn a_slow_reader_gets_all_of_it_while_others_are_served(poller: Poller) {
    let service = Service::start(poller, &settings());
    let mut slow = service.connect_narrow();
    slow.send("stream 300\necho end\n");
    service.wait_until("a full socket", |service| service.count("socket_full") > 0);
    let mut other = service.connect();
    (0..100).for_each(|i| other.ask(&i.to_string()));
    slow.expect_pieces(300);
    slow.expect("end\n");
    service.wait_until("all bytes counted", |service| {
        service.count("bytes_sent") >= 300 * piece().len() as u64
    });
}

fn after_a_half_close_the_answers_are_still_sent_whole(poller: Poller) {
    let service = Service::start(poller, &settings());
    let mut client = service.connect_narrow();
    client.send("stream 100\necho last\necho incomp");
    client.0.shutdown(Shutdown::Write).unwrap();
    client.expect_pieces(100);
    client.expect("last\n");
    client.expect_end();
    service.wait_for("closed_finished", 1);
}

fn an_abort_is_a_reset(poller: Poller) {
    let service = Service::start(poller, &settings());
    let mut client = service.connect();
    client.ask("before");
    client.send("abort\n");
    client.expect_reset();
    service.wait_for("closed_aborted", 1);
}

fn the_last_answer_survives_input_that_nobody_reads(poller: Poller) {
    let service = Service::start(poller, &settings());
    let mut client = service.connect();
    client.send("close\n");
    client.send(vec![b'z'; 500_000]);
    client.expect("bye\n");
    client.expect_end();
    client.send("more\n");
    drop(client);
    service.wait_for("closed_finished", 1);
}

/// Closing with input unread, or before more comes, would send a reset in the place of the answer.
fn the_last_answer_survives_bytes_that_come_while_it_is_sent(poller: Poller) {
    let service = Service::start(poller, &settings());
    for i in 0..1000 {
        let mut client = service.connect();
        client.send("close\n");
        (0..i % 40 * 20).for_each(|_| std::hint::spin_loop());
        client.send("more");
        client.expect("bye\n");
        client.expect_end();
    }
    service.wait_for("closed_finished", 1000);
}

fn a_peer_that_does_not_close_is_let_go(poller: Poller) {
    let linger_timeout = Duration::from_millis(50);
    let service = Service::start(poller, &Settings { linger_timeout, ..settings() });
    let mut client = service.connect();
    client.send("close\n");
    client.expect("bye\n");
    client.expect_end();
    service.wait_for("closed_timed_out", 1);
    service.wait_for("connections_open", 0);
}

fn deadlines_of_the_application_are_kept(poller: Poller) {
    let service = Service::start(poller, &settings());
    let mut clients: Vec<Client> = (0..20).map(|_| service.connect()).collect();
    for (i, client) in clients.iter_mut().enumerate() {
        client.send(format!("later {}\n", i * 10));
    }
    for client in clients.iter_mut().rev() {
        client.expect("done\n");
    }
    service.wait_for("timeouts", 20);
}

fn a_peer_that_takes_nothing_is_reset(poller: Poller) {
    let send_timeout = Duration::from_millis(100);
    let service = Service::start(poller, &Settings { send_timeout, ..settings() });
    let mut stuck = service.connect_narrow();
    stuck.send("stream 1000\n");
    service.wait_for("closed_timed_out", 1);
    stuck.expect_reset();
    service.connect().ask("still here");
}

fn beyond_the_limit_connections_are_reset_and_others_do_not_notice(poller: Poller) {
    let service = Service::start(poller, &Settings { connections: 4, ..settings() });
    let mut clients: Vec<Client> = (0..4).map(|_| service.connect()).collect();
    clients.iter_mut().for_each(|client| client.ask("in"));
    for _ in 0..3 {
        service.connect().expect_reset();
    }
    service.wait_for("connections_refused", 3);
    clients.iter_mut().for_each(|client| client.ask("still in"));
    clients.pop();
    service.wait_for("connections_open", 3);
    service.connect().ask("in again");
}

fn a_connection_that_waits_for_the_pool_is_served_when_others_have_sent(poller: Poller) {
    const PIECES: usize = 60;
    let service =
        Service::start(poller, &Settings { send_entries: 64, send_chunks: 64, ..settings() });
    // Half of the pool is for queues that hold nothing: it takes many that hold an answer to empty
    // that half too.
    let mut greedy: Vec<Client> = (0..60).map(|_| service.connect_narrow()).collect();
    greedy.iter_mut().for_each(|client| client.send(format!("stream {PIECES}\n")));
    service.wait_until("a short pool", |service| service.count("send_pool_exhausted") > 0);
    let mut starved = service.connect();
    // The kernel may still take what others have queued: then this one is answered, and asks again.
    loop {
        let exhausted = service.count("send_pool_exhausted");
        starved.send("echo at last\n");
        service.wait_until("one more that waits, or its answer", |service| {
            service.count("send_pool_exhausted") > exhausted || starved.has_input()
        });
        if !starved.has_input() {
            break;
        }
        starved.expect("at last\n");
    }
    // All at once: those that did not read would hold what the others wait for.
    let read = |mut client: Client| std::thread::spawn(move || client.expect_pieces(PIECES));
    let reading: Vec<_> = greedy.into_iter().map(read).collect();
    starved.expect("at last\n");
    reading.into_iter().for_each(|thread| thread.join().unwrap());
}

fn a_peer_that_never_stops_does_not_starve_others(poller: Poller) {
    let service = Service::start(poller, &settings());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let (mut writer, stop) = (service.connect(), &stop);
            let mut reader = writer.0.try_clone().unwrap();
            let requests = "echo again and again\n".repeat(4000);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    writer.send(&requests);
                }
                writer.0.shutdown(Shutdown::Write).unwrap();
            });
            scope.spawn(move || while reader.read(&mut [0; 65_536]).unwrap() > 0 {});
        }
        service.wait_until("a used up turn", |service| service.count("shares_used_up") > 0);
        let mut other = service.connect();
        (0..50).for_each(|i| other.ask(&i.to_string()));
        stop.store(true, Ordering::Relaxed);
    });
}

/// Counts what is answered to others before a client that comes last and has one request.
#[test]
fn one_request_does_not_wait_for_all_that_others_have_pipelined() {
    const OTHERS: usize = 400;
    const PIPELINED: usize = 200;
    let gate = service::GATE.lock().unwrap();
    let at_gate = service::AT_GATE.load(Ordering::SeqCst);
    let service = Service::start(Poller::Epoll, &Settings::for_connections(512));
    let mut others: Vec<Client> = (0..OTHERS).map(|_| service.connect()).collect();
    let mut client = service.connect();
    for other in others.iter_mut().chain([&mut client]) {
        other.send("echo a\n");
        other.expect("a\n");
    }
    let mut blocker = service.connect();
    blocker.send("gate\n");
    service.wait_until("the worker stands still", |_| {
        service::AT_GATE.load(Ordering::SeqCst) > at_gate
    });
    for other in &mut others {
        other.send("echo a\n".repeat(PIPELINED));
    }
    client.send("echoes\n");
    service.wait_for_requests();
    drop(gate);
    let mut answer = String::new();
    BufReader::new(&client.0).read_line(&mut answer).unwrap();
    let before: usize = answer.trim_end().parse().unwrap();
    // A visit of a crowded worker answers what 512 bytes hold, 74 lines here. Meanwhile some go on.
    let most = (OTHERS + 128) * (512 / "echo a\n".len() + 1);
    assert!(before <= most, "{before} were answered before it, of {}", OTHERS * PIPELINED);
    for other in &mut others {
        other.expect("a\n".repeat(PIPELINED));
    }
    service.wait_until("others stood in line", |service| service.count("shares_used_up") > 0);
}

/// Counts what is done for connections that yield before a client that comes last is answered.
fn whoever_yields_goes_on_behind_others(poller: Poller) {
    const BUSY: usize = 20;
    const SHARES: usize = 200;
    let gate = service::GATE.lock().unwrap();
    let at_gate = service::AT_GATE.load(Ordering::SeqCst);
    let service = Service::start(poller, &settings());
    let mut busy: Vec<Client> = (0..BUSY).map(|_| service.connect()).collect();
    let mut client = service.connect();
    for other in busy.iter_mut().chain([&mut client]) {
        other.ask("first");
    }
    let mut blocker = service.connect();
    blocker.send("gate\n");
    service.wait_until("the worker stands still", |_| {
        service::AT_GATE.load(Ordering::SeqCst) > at_gate
    });
    for other in &mut busy {
        other.send("share a\n".repeat(SHARES));
        other.0.shutdown(Shutdown::Write).unwrap();
    }
    client.send("echoes\n");
    service.wait_for_requests();
    drop(gate);
    let mut answer = String::new();
    BufReader::new(&client.0).read_line(&mut answer).unwrap();
    let before: usize = answer.trim_end().parse().unwrap();
    // Each may have two shares before it: one when its input came, one when it went on.
    assert!(before <= 1 + 3 * BUSY, "{before} were answered before it, of {}", BUSY * SHARES);
    for other in &mut busy {
        other.expect("a\n".repeat(SHARES));
        other.expect_end();
    }
    service.wait_until("each share ended a visit", |service| {
        service.count("shares_used_up") >= (BUSY * SHARES) as u64
    });
}

fn a_peer_that_disappears_leaves_nothing(poller: Poller) {
    let service = Service::start(poller, &settings());
    let mut in_an_answer = service.connect_narrow();
    in_an_answer.send("stream 1000\n");
    service.wait_until("a full socket", |service| service.count("socket_full") > 0);
    let mut in_a_request = service.connect();
    in_a_request.send("echo half");
    let mut between = service.connect();
    between.ask("whole");
    in_an_answer.reset();
    in_a_request.reset();
    between.reset();
    service.wait_for("closed_reset_by_peer", 3);
    service.wait_for("connections_open", 0);
    service.connect().ask("next");
}

/// More input than io_uring receives at a time, and a reset behind it, before the worker looks
/// again.
fn a_reset_right_behind_input_is_noticed(poller: Poller) {
    let service = Service::start(poller, &Settings { receive_buffers: 64, ..settings() });
    // They ask for nothing, so that nothing is sent that would find the reset; a buffer of 2 KiB
    // holds whole lines, so that nothing is held back.
    let input = "stream \n".repeat(36 * 256);
    for served in [0, 2] {
        for _ in 0..50 {
            let mut client = service.connect();
            (0..served).for_each(|_| client.ask("served"));
            client.send(&input);
            client.reset();
        }
        service.wait_for("connections_open", 0);
    }
}

/// A service whose buffers, chunks and ranges for all are taken, and who holds them.
fn exhausted(poller: Poller, settings: &Settings) -> (Service, Vec<Client>) {
    let settings = Settings {
        connections: 200,
        small_inputs: 0,
        large_inputs: 1,
        receive_buffers: 2,
        send_entries: 64,
        send_chunks: 64,
        ..settings.clone()
    };
    let service = Service::start(poller, &settings);
    let mut holders = vec![hold_a_block(&service)];
    // Half of the pool is for queues that hold nothing: it takes many that hold an answer to empty
    // that half too.
    holders.extend((0..60).map(|_| service.connect_narrow()));
    holders[1..].iter_mut().for_each(|client| client.send("stream 60\n"));
    service.wait_until("a short pool", |service| service.count("send_pool_exhausted") > 0);
    (service, holders)
}

fn a_reset_is_noticed_whatever_the_connection_waits_for(poller: Poller) {
    // Nothing ends by a deadline.
    let never = Duration::from_secs(1000);
    let (service, mut all) =
        exhausted(poller, &Settings { send_timeout: never, linger_timeout: never, ..settings() });
    // For a buffer, with input left in the kernel; for room; for the application's deadline; for
    // the FIN.
    let held_back = service.count("input_pool_exhausted");
    for (text, count) in
        [("echo held", 0), ("stream 60\n", 0), ("later 1000000\n", 0), ("abc\necho", 1)]
    {
        let (mut client, opened) = (service.connect(), service.count("connections_accepted"));
        client.send(text);
        service
            .wait_until("it is accepted", |service| service.count("connections_accepted") > opened);
        if count == 0 {
            all.push(client);
        }
    }
    service.wait_until("input left in the kernel", |service| {
        service.count("input_pool_exhausted") > held_back
    });
    all.into_iter().for_each(Client::reset);
    service.wait_for("connections_open", 0);
    assert_eq!(service.count("closed_timed_out"), 0);
    service.connect().ask("next");
}

fn whoever_waits_for_what_others_hold_is_given_up_in_time(poller: Poller) {
    let send_timeout = Duration::from_millis(200);
    let settings = Settings { small_inputs: 0, large_inputs: 1, send_timeout, ..settings() };
    let service = Service::start(poller, &settings);
    let mut holder = hold_a_block(&service);
    let mut waits = service.connect();
    waits.send("echo held back");
    waits.expect_reset();
    service.wait_for("closed_timed_out", 1);
    // The holder waits for nobody but its peer.
    holder.send("\n");
    holder.expect("held\n");
}

fn thousands_of_connections_are_served(poller: Poller) {
    let limit = getrlimit(Resource::Nofile);
    let room = limit.maximum.unwrap_or(65_536) as usize / 4;
    setrlimit(Resource::Nofile, rustix::process::Rlimit { current: limit.maximum, ..limit })
        .unwrap();
    let count = room.min(4000);
    let service = Service::start(poller, &Settings::for_connections(count));
    let mut clients: Vec<Client> = (0..count).map(|_| service.connect()).collect();
    for round in 0..3 {
        clients.iter_mut().for_each(|client| client.send(format!("echo round {round}\n")));
        clients.iter_mut().for_each(|client| client.expect(format!("round {round}\n")));
    }
    service.wait_for("connections_open", count as u64);
    drop(clients);
    service.wait_for("connections_open", 0);
    assert_eq!(service.count("closed_finished"), count as u64);
}

fn workers_share_a_port(poller: Poller) {
    let service = Service::start_workers(poller, &settings(), 2, "127.0.0.1:0".parse().unwrap());
    // The kernel chooses by a hash: as many connections as it takes until each worker has been
    // chosen.
    service.wait_until("a connection for each worker", |service| {
        service.connect().ask("whoever");
        let accepted = |snapshot: &Snapshot| {
            snapshot.read().iter().any(|(name, n)| *name == "connections_accepted" && *n > 0)
        };
        service.registry.snapshots().iter().all(|snapshot| accepted(snapshot))
    });
}

fn a_listener_that_comes_later_is_served_until_the_drain(poller: Poller) {
    let mut service = Service::start(poller, &settings());
    let mut before = service.connect();
    before.ask("before");
    let later: Vec<_> = (0..3).map(|_| service.add_listener()).collect();
    for address in &later {
        Client::new(TcpStream::connect(address).unwrap()).ask("later");
    }
    before.ask("after");
    service.drain(service::TEST_TIMEOUT);
    // The drain ends when the first has no more to ask.
    let last = service.add_listener();
    drop(before);
    service.join();
    for address in later.iter().chain([&last]) {
        let refused = TcpStream::connect(address).unwrap_err().kind();
        assert_eq!(refused, ErrorKind::ConnectionRefused, "{address}");
    }
}

fn a_listener_that_goes_leaves_its_port_and_its_connections(poller: Poller) {
    let service = Service::start(poller, &settings());
    let address = service.add_listener();
    let mut client = Client::new(TcpStream::connect(address).unwrap());
    client.ask("before");
    for round in 0..3 {
        service.remove_listener(address);
        service.wait_until("the port is free", |_| std::net::TcpListener::bind(address).is_ok());
        client.ask(&format!("connected {round}"));
        service.add_listener_at(address);
        Client::new(TcpStream::connect(address).unwrap()).ask("again");
    }
}

fn ipv6_is_served(poller: Poller) {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return skip("no IPv6 on the loopback interface");
    }
    Service::start_workers(poller, &settings(), 1, "[::1]:0".parse().unwrap()).connect().ask("six");
}

fn draining_finishes_what_is_under_way_and_nothing_more(poller: Poller) {
    let mut service = Service::start(poller, &settings());
    let mut idle = service.connect();
    idle.ask("idle");
    let mut reading = service.connect_narrow();
    reading.send("stream 200\n");
    service.wait_until("a full socket", |service| service.count("socket_full") > 0);
    let mut waiting = service.connect();
    waiting.send("later 300\n");
    let mut queued = TcpStream::connect(service.address).map(Client::new).unwrap();
    queued.send("close\n");
    service.drain(service::TEST_TIMEOUT);
    idle.expect_end();
    queued.expect("bye\n");
    queued.expect_end();
    waiting.expect("done\n");
    waiting.expect_end();
    let error = TcpStream::connect(service.address).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    reading.expect_pieces(200);
    reading.expect_end();
    drop((idle, queued, waiting, reading));
    service.join();
    assert_eq!((service.count("drain_cut_off"), ended(&service)), (0, 4));
}

/// Connections that ended after everything was sent, whether or not their clients closed in time.
fn ended(service: &Service) -> u64 {
    service.count("closed_finished") + service.count("closed_timed_out")
}

/// They waited to be accepted when the order to drain came.
fn draining_answers_whoever_has_connected(poller: Poller) {
    const CLIENTS: usize = 300;
    let mut clients = Vec::new();
    let connect = |address, command_sender: &[simoom::control::CommandSender]| {
        clients.extend((0..CLIENTS).map(|_| Client::new(TcpStream::connect(address).unwrap())));
        clients.iter_mut().for_each(|client| client.send("echo one\n"));
        command_sender.iter().for_each(|command_sender| {
            command_sender.send(simoom::control::Command::Drain(service::TEST_TIMEOUT));
        });
    };
    let at = "127.0.0.1:0".parse().unwrap();
    let settings =
        Settings { linger_timeout: service::TEST_TIMEOUT, ..Settings::for_connections(CLIENTS) };
    let mut service = Service::start_after(poller, &settings, 1, at, connect);
    for mut client in clients {
        client.expect("one\n");
        client.expect_end();
    }
    service.join();
    assert_eq!((service.count("drain_cut_off"), ended(&service)), (0, CLIENTS as u64));
}

/// Also one whose first request has not come.
fn draining_gives_idle_connections_time_for_one_more_request(poller: Poller) {
    let settings = Settings { drain_idle: service::TEST_TIMEOUT, ..settings() };
    let mut service = Service::start(poller, &settings);
    let (mut fresh, mut idle) = (service.connect(), service.connect());
    idle.ask("before");
    service.wait_for("connections_accepted", 2);
    service.drain(2 * service::TEST_TIMEOUT);
    service.wait_for("application_draining", 1);
    for client in [&mut fresh, &mut idle] {
        client.ask("in the drain");
        client.expect_end();
    }
    drop((fresh, idle));
    service.join();
    assert_eq!((service.count("drain_cut_off"), ended(&service)), (0, 2));
}

/// Whether they were told to close before the drain or in it.
fn draining_does_not_wait_for_answered_clients_that_stay(poller: Poller) {
    let linger_timeout = 2 * service::TEST_TIMEOUT;
    let settings = Settings { drain_idle: service::TEST_TIMEOUT, linger_timeout, ..settings() };
    let mut service = Service::start(poller, &settings);
    let (mut early, mut late) = (service.connect(), service.connect());
    early.send("close\n");
    early.expect("bye\n");
    early.expect_end();
    late.ask("before");
    service.drain(2 * service::TEST_TIMEOUT);
    service.wait_for("application_draining", 1);
    late.ask("in the drain");
    late.expect_end();
    service.wait_for("closed_timed_out", 2);
    service.join();
}

fn draining_waits_for_answers_on_their_way(poller: Poller) {
    let settings = Settings { linger_timeout: 2 * service::TEST_TIMEOUT, ..settings() };
    let mut service = Service::start(poller, &settings);
    let (mut slow, mut quick) = (service.connect_narrow(), service.connect());
    slow.send("stream 2\nclose\n");
    let bytes = 2 * service::piece().len() as u64 + 4;
    service
        .wait_until("a whole answer in the socket", |service| service.count("bytes_sent") == bytes);
    quick.send("close\n");
    quick.expect("bye\n");
    quick.expect_end();
    service.drain(2 * service::TEST_TIMEOUT);
    service.wait_until("the end of the other", |service| service.count("closed_timed_out") > 0);
    assert_eq!((service.count("closed_timed_out"), service.count("connections_open")), (1, 1));
    slow.expect_pieces(2);
    slow.expect("bye\n");
    slow.expect_end();
    service.wait_for("connections_open", 0);
    service.join();
}

fn draining_is_bounded(poller: Poller) {
    let mut service = Service::start(poller, &settings());
    let mut stuck = service.connect_narrow();
    stuck.send("stream 1000\n");
    service.wait_until("a full socket", |service| service.count("socket_full") > 0);
    service.drain(Duration::from_millis(50));
    service.join();
    assert_eq!(service.count("drain_cut_off"), 1);
    stuck.expect_reset();
}

fn a_second_order_cuts_the_drain_short(poller: Poller) {
    let mut service = Service::start(poller, &settings());
    let mut waiting = service.connect();
    waiting.send("later 100000000\n");
    let mut idle = service.connect();
    idle.ask("idle");
    service.drain(Duration::from_secs(100_000));
    idle.expect_end();
    service.drain(Duration::ZERO);
    service.join();
    waiting.expect_reset();
}

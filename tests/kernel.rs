//! The kernel transport, driven through real sockets on the loopback address.

mod common;
#[path = "kernel/service.rs"]
mod service;

use common::skip;
use rustix::process::{Resource, getrlimit, setrlimit};
use service::{Client, Service, piece};
use simoom::kernel::{INPUT_BYTES, Settings};
use std::io::{ErrorKind, Read};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn settings() -> Settings {
    Settings { linger_timeout: service::PATIENCE, ..Settings::for_connections(64) }
}

/// Services with plenty of blocks for kept input, with few, and with none left: another client's half request holds
/// the only one, so that what is not consumed stays in the kernel.
fn services() -> [(Service, Option<Client>); 3] {
    let start = |small_inputs, large_inputs| Service::start(&Settings { small_inputs, large_inputs, ..settings() });
    let exhausted = start(0, 1);
    let holder = hold_a_block(&exhausted);
    [(start(64, 64), None), (start(1, 1), None), (exhausted, Some(holder))]
}

fn hold_a_block(service: &Service) -> Client {
    let mut holder = service.connect();
    holder.send("echo held");
    service.wait_for("bytes_received", 9);
    holder
}

#[test]
fn input_may_be_split_at_every_byte() {
    let text = format!("echo one\necho \necho {}\necho four\n", "x".repeat(70));
    let answer = format!("one\n\n{}\nfour\n", "x".repeat(70));
    for (service, _holder) in services() {
        let mut other = service.connect();
        let mut client = service.connect();
        for at in 0..=text.len() {
            client.send(&text[..at]);
            // The worker sees this after the first part, so the second part comes in an event of its own.
            other.ask("between");
            client.send(&text[at..]);
            client.expect(&answer);
        }
    }
}

#[test]
fn input_may_come_byte_by_byte() {
    for (service, _holder) in services() {
        let (mut other, mut client) = (service.connect(), service.connect());
        for byte in b"echo in pieces\n" {
            client.send([*byte]);
            other.ask("between");
        }
        client.expect("in pieces\n");
    }
}

/// Sends so many requests at once that no bound holds them, and reads the answers once `meanwhile` is done.
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

#[test]
fn pipelined_requests_beyond_all_room_are_answered_in_order() {
    for (small_inputs, large_inputs) in [(64, 64), (1, 1), (0, 1)] {
        let settings = Settings { small_inputs, large_inputs, ..settings() };
        pipeline(&Service::start(&settings), || {});
    }
}

#[test]
fn input_left_in_the_kernel_moves_on_when_a_block_is_free() {
    for small_inputs in [0, 1] {
        let service = Service::start(&Settings { small_inputs, large_inputs: 1, ..settings() });
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

#[test]
fn a_request_that_outgrows_a_small_block_moves_on_when_a_large_one_is_free() {
    let service = Service::start(&Settings { small_inputs: 1, large_inputs: 1, ..settings() });
    let long = "x".repeat(3000);
    let mut large = service.connect();
    large.send(format!("echo {long}"));
    service.wait_for("bytes_received", 3005);
    let mut outgrown = service.connect();
    outgrown.send(format!("echo {long}"));
    service.wait_until("input left in the kernel", |service| service.count("input_pool_exhausted") > 0);
    large.send("\n");
    large.expect(format!("{long}\n"));
    outgrown.send("\n");
    outgrown.expect(format!("{long}\n"));
}

#[test]
fn a_line_beyond_the_bound_is_answered_as_overfull() {
    for (service, _holder) in services() {
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

#[test]
fn a_slow_reader_gets_all_of_it_while_others_are_served() {
    let service = Service::start(&settings());
    let mut slow = service.connect_narrow();
    slow.send("stream 300\necho end\n");
    service.wait_until("a full socket", |service| service.count("socket_full") > 0);
    let mut other = service.connect();
    (0..100).for_each(|i| other.ask(&i.to_string()));
    slow.expect_pieces(300);
    slow.expect("end\n");
    service.wait_until("all bytes counted", |service| service.count("bytes_sent") >= 300 * piece().len() as u64);
}

#[test]
fn after_a_half_close_the_answers_are_still_sent_whole() {
    let service = Service::start(&settings());
    let mut client = service.connect_narrow();
    client.send("stream 100\necho last\necho incomp");
    client.0.shutdown(Shutdown::Write).unwrap();
    client.expect_pieces(100);
    client.expect("last\n");
    client.expect_end();
    service.wait_for("closed_finished", 1);
}

#[test]
fn an_abort_is_a_reset() {
    let service = Service::start(&settings());
    let mut client = service.connect();
    client.ask("before");
    client.send("abort\n");
    client.expect_reset();
    service.wait_for("closed_aborted", 1);
}

#[test]
fn the_last_answer_survives_input_that_nobody_reads() {
    let service = Service::start(&settings());
    let mut client = service.connect();
    client.send("close\n");
    client.send(vec![b'z'; 500_000]);
    client.expect("bye\n");
    client.expect_end();
    client.send("more\n");
    drop(client);
    service.wait_for("closed_finished", 1);
}

#[test]
fn a_peer_that_does_not_close_is_let_go() {
    let linger_timeout = Duration::from_millis(50);
    let service = Service::start(&Settings { linger_timeout, ..settings() });
    let mut client = service.connect();
    client.send("close\n");
    client.expect("bye\n");
    client.expect_end();
    service.wait_for("closed_timed_out", 1);
    service.wait_for("connections_open", 0);
}

#[test]
fn deadlines_of_the_application_are_kept() {
    let service = Service::start(&settings());
    let mut clients: Vec<Client> = (0..20).map(|_| service.connect()).collect();
    for (i, client) in clients.iter_mut().enumerate() {
        client.send(format!("later {}\n", i * 10));
    }
    for client in clients.iter_mut().rev() {
        client.expect("done\n");
    }
    service.wait_for("timeouts", 20);
}

#[test]
fn a_peer_that_takes_nothing_is_reset() {
    let send_timeout = Duration::from_millis(100);
    let service = Service::start(&Settings { send_timeout, ..settings() });
    let mut stuck = service.connect_narrow();
    stuck.send("stream 1000\n");
    service.wait_for("closed_timed_out", 1);
    stuck.expect_reset();
    service.connect().ask("still here");
}

#[test]
fn beyond_the_limit_connections_are_reset_and_others_do_not_notice() {
    let service = Service::start(&Settings { connections: 4, ..settings() });
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

#[test]
fn a_connection_that_waits_for_the_pool_is_served_when_others_have_sent() {
    const PIECES: usize = 60;
    let service = Service::start(&Settings { send_entries: 64, send_chunks: 64, ..settings() });
    // Half of the pool is for queues that hold nothing: it takes many that hold an answer to empty that half too.
    let mut greedy: Vec<Client> = (0..40).map(|_| service.connect_narrow()).collect();
    greedy.iter_mut().for_each(|client| client.send(format!("stream {PIECES}\n")));
    service.wait_until("a short pool", |service| service.count("send_pool_exhausted") > 0);
    let exhausted = service.count("send_pool_exhausted");
    let mut starved = service.connect();
    starved.send("echo at last\n");
    service.wait_until("one more that waits", |service| service.count("send_pool_exhausted") > exhausted);
    let reading = std::thread::spawn(move || greedy.iter_mut().for_each(|client| client.expect_pieces(PIECES)));
    starved.expect("at last\n");
    reading.join().unwrap();
}

#[test]
fn a_peer_that_never_stops_does_not_starve_others() {
    let service = Service::start(&settings());
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
        service.wait_until("a used up turn", |service| service.count("turns_used_up") > 0);
        let mut other = service.connect();
        (0..50).for_each(|i| other.ask(&i.to_string()));
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_peer_that_disappears_leaves_nothing() {
    let service = Service::start(&settings());
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

#[test]
fn thousands_of_connections_are_served() {
    let limit = getrlimit(Resource::Nofile);
    let room = limit.maximum.unwrap_or(65_536) as usize / 4;
    setrlimit(Resource::Nofile, rustix::process::Rlimit { current: limit.maximum, ..limit }).unwrap();
    let count = room.min(4000);
    let service = Service::start(&Settings::for_connections(count));
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

#[test]
fn workers_share_a_port() {
    let service = Service::start_workers(&settings(), 2, "127.0.0.1:0".parse().unwrap());
    let mut clients: Vec<Client> = (0..40).map(|_| service.connect()).collect();
    clients.iter_mut().for_each(|client| client.ask("whoever"));
    service.wait_for("connections_accepted", 40);
    let each = service.board.sheets.iter().map(|sheet| sheet.read()[1].1);
    assert!(each.clone().all(|accepted| accepted > 0), "{:?}", each.collect::<Vec<_>>());
}

#[test]
fn ipv6_is_served() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return skip("no IPv6 on the loopback interface");
    }
    Service::start_workers(&settings(), 1, "[::1]:0".parse().unwrap()).connect().ask("six");
}

#[test]
fn draining_finishes_what_is_under_way_and_nothing_more() {
    let mut service = Service::start(&settings());
    let mut idle = service.connect();
    idle.ask("idle");
    let mut reading = service.connect_narrow();
    reading.send("stream 200\n");
    service.wait_until("a full socket", |service| service.count("socket_full") > 0);
    let mut waiting = service.connect();
    waiting.send("later 300\n");
    let mut queued = TcpStream::connect(service.address).map(Client::new).unwrap();
    queued.send("close\n");
    service.drain(service::PATIENCE);
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
    assert_eq!(service.count("drain_cut_off"), 0);
    assert_eq!(service.count("closed_finished"), 4);
}

#[test]
fn draining_is_bounded() {
    let mut service = Service::start(&settings());
    let mut stuck = service.connect_narrow();
    stuck.send("stream 1000\n");
    service.wait_until("a full socket", |service| service.count("socket_full") > 0);
    service.drain(Duration::from_millis(50));
    service.join();
    assert_eq!(service.count("drain_cut_off"), 1);
    stuck.expect_reset();
}

#[test]
fn a_second_order_cuts_the_drain_short() {
    let mut service = Service::start(&settings());
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

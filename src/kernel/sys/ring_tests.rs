use super::super::buffers::BUFFER_BYTES;
use super::*;
use crate::kernel::table::Table;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

const TEST_TIMEOUT: Duration = Duration::from_secs(20);

/// A ring, if io_uring is available. Otherwise the test is skipped.
fn ring(buffers: usize) -> Option<Ring> {
    if let Err(reason) = crate::kernel::io_uring() {
        let required = std::env::var("SIMOOM_TEST_REQUIRE").is_ok_and(|value| value == "all");
        assert!(!required, "this test needs io_uring: {reason}");
        return None;
    }
    Some(Ring::new(buffers).unwrap())
}

fn key() -> Key {
    Table::new(1).insert(()).unwrap()
}

/// The next completion. Fails if there is none.
fn next(ring: &mut Ring) -> Completion {
    if let Some(completion) = ring.next() {
        return completion;
    }
    ring.wait(TEST_TIMEOUT).unwrap();
    ring.next().expect("something has happened")
}

fn receive(ring: &mut Ring, socket: &UnixStream) {
    ring.submit(|batch| batch.receive(socket.as_fd(), key())).unwrap();
}

fn received(ring: &mut Ring) -> Result<Option<Buffer>, Errno> {
    match next(ring) {
        Completion::Received { input, .. } => input,
        other => panic!("{other:?}"),
    }
}

#[test]
fn ranges_arrive_whole_and_in_order_however_they_are_passed_on() {
    let Some(mut ring) = ring(1) else { return };
    let (near, mut far) = UnixStream::pair().unwrap();
    let bytes: Vec<u8> =
        (0..200_000u32).map(|i| (i.wrapping_mul(0x9E37_79B9) >> 24) as u8).collect();
    let reader = std::thread::spawn(move || {
        let mut got = Vec::new();
        far.read_to_end(&mut got).unwrap();
        got
    });
    // One range, short ranges that are gathered, and ranges that are listed.
    let mut sent = 0;
    for (range_bytes, ranges) in [(700, 1), (100, 20), (500, 64)] {
        let answer = &bytes[sent..sent + range_bytes * ranges];
        ring.submit(|batch| {
            batch.send(near.as_fd(), key(), false, answer.len(), answer.chunks(range_bytes));
        })
        .unwrap();
        let Some(Completion::Sent { taken, .. }) = ring.next() else {
            panic!("a send is done when submitted")
        };
        assert_eq!(taken, Ok(answer.len()));
        sent += answer.len();
    }
    drop(near);
    assert_eq!(reader.join().unwrap(), &bytes[..sent]);
}

#[test]
fn more_than_the_queue_and_the_outbox_hold_is_submitted_in_parts() {
    let Some(mut ring) = ring(1) else { return };
    const SENDS: usize = 3 * SUBMISSIONS as usize;
    let pairs: Vec<(UnixStream, UnixStream)> =
        (0..16).map(|_| UnixStream::pair().unwrap()).collect();
    let text = |i: usize| format!("{i:0>64}");
    let all: Vec<String> = (0..SENDS).map(text).collect();
    ring.submit(|batch| {
        for (i, text) in all.iter().enumerate() {
            let (near, _) = &pairs[i % pairs.len()];
            // Halves, so that each is gathered.
            batch.send(near.as_fd(), key(), false, 64, text.as_bytes().chunks(32));
        }
    })
    .unwrap();
    for _ in 0..SENDS {
        assert!(matches!(ring.next(), Some(Completion::Sent { taken: Ok(64), .. })));
    }
    for i in 0..SENDS {
        let mut got = [0; 64];
        (&pairs[i % pairs.len()].1).read_exact(&mut got).unwrap();
        assert_eq!(std::str::from_utf8(&got).unwrap(), text(i));
    }
}

#[test]
fn a_full_socket_takes_a_part_then_nothing_and_holds_nobody_up() {
    let Some(mut ring) = ring(1) else { return };
    let (near, mut far) = UnixStream::pair().unwrap();
    let bytes = vec![7; 8 << 20];
    let mut outcomes = Vec::new();
    for _ in 0..3 {
        ring.submit(|batch| {
            batch.send(near.as_fd(), key(), false, bytes.len(), std::iter::once(&bytes[..]));
        })
        .unwrap();
        let Some(Completion::Sent { taken, .. }) = ring.next() else {
            panic!("a send is done when submitted")
        };
        outcomes.push(taken);
    }
    assert!(matches!(outcomes[0], Ok(n) if n > 0 && n < bytes.len()), "{outcomes:?}");
    assert_eq!(outcomes[2], Err(Errno::AGAIN));
    ring.submit(|batch| batch.poll(near.as_fd(), key(), PollFlags::OUT, false)).unwrap();
    assert!(ring.next().is_none());
    far.read_exact(&mut vec![0; outcomes[0].unwrap()]).unwrap();
    assert!(
        matches!(next(&mut ring), Completion::Ready { events: Ok(events), more: false, .. } if events == PollFlags::OUT)
    );
}

#[test]
fn buffers_are_filled_once_each_until_they_are_given_back() {
    let Some(mut ring) = ring(2) else { return };
    let (near, mut far) = UnixStream::pair().unwrap();
    receive(&mut ring, &near);
    assert!(ring.next().is_none());
    far.write_all(&[b'a'; BUFFER_BYTES]).unwrap();
    far.write_all(b"b").unwrap();
    far.write_all(b"c").unwrap();
    let first = received(&mut ring).unwrap().unwrap();
    let second = received(&mut ring).unwrap().unwrap();
    far.write_all(b"d").unwrap();
    assert_eq!(received(&mut ring).unwrap_err(), Errno::NOBUFS);
    assert!(first.id() != second.id() && ring.free_buffers() == 0);
    assert_eq!((ring.bytes(&first), ring.bytes(&second)), (&[b'a'; BUFFER_BYTES][..], &b"bc"[..]));
    ring.give(first);
    assert_eq!(ring.free_buffers(), 1);
    receive(&mut ring, &near);
    let third = received(&mut ring).unwrap().unwrap();
    assert_eq!((ring.bytes(&third), ring.bytes(&second)), (&b"d"[..], &b"bc"[..]));
    ring.give(second);
    ring.give(third);
    drop(far);
    loop {
        match received(&mut ring) {
            // No receive buffer was free.
            Err(Errno::NOBUFS) => receive(&mut ring, &near),
            end => break assert!(matches!(end, Ok(None)), "{end:?}"),
        }
    }
    assert_eq!(ring.free_buffers(), 2);
}

#[test]
fn accepted_descriptors_are_owned_and_accepting_stops() {
    let Some(mut ring) = ring(1) else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    ring.submit(|batch| batch.accept(listener.as_fd(), 3)).unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let Completion::Accepted { listener: 3, socket: Ok(socket), more: true } = next(&mut ring)
    else {
        panic!("a connection was accepted")
    };
    drop(socket);
    assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
    ring.stop_accept(3);
    let stopped = next(&mut ring);
    assert!(
        matches!(stopped, Completion::Accepted { socket: Err(Errno::CANCELED), more: false, .. }),
        "{stopped:?}"
    );
}

#[test]
fn a_submission_that_breaks_off_is_the_last() {
    let Some(mut ring) = ring(1) else { return };
    let (near, mut far) = UnixStream::pair().unwrap();
    let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let bytes = b"gone".to_vec();
        ring.submit(|batch| {
            batch.send(near.as_fd(), key(), false, bytes.len(), std::iter::once(&bytes[..]));
            panic!("in the middle");
        })
    }));
    assert!(unwound.is_err());
    assert!(ring.submit(|_| {}).is_err() && ring.wait(Duration::ZERO).is_err());
    drop((ring, near));
    let mut got = Vec::new();
    far.read_to_end(&mut got).unwrap();
    assert!(got.is_empty(), "{got:?}");
}

#[test]
fn operations_that_are_told_to_stop_end() {
    let Some(mut ring) = ring(1) else { return };
    let (near, _far) = UnixStream::pair().unwrap();
    let all = PollFlags::IN | PollFlags::RDHUP;
    ring.submit(|batch| {
        batch.receive(near.as_fd(), key());
        batch.poll(near.as_fd(), key(), all, true);
    })
    .unwrap();
    assert!(ring.next().is_none());
    ring.stop_receive(key());
    assert_eq!(received(&mut ring).unwrap_err(), Errno::CANCELED);
    ring.stop_poll(key());
    assert!(matches!(
        next(&mut ring),
        Completion::Ready { events: Err(Errno::CANCELED), more: false, .. }
    ));
    // Cancelling a completed operation fails without a completion.
    ring.stop_poll(key());
    ring.wait(Duration::ZERO).unwrap();
    assert!(ring.next().is_none());
}

/// A multishot receive can miss a reset: if the input exceeds what the kernel reads at once and a
/// reset follows, it never completes. So connections also have a hang-up poll.
#[test]
fn a_reset_behind_much_input_is_told_by_the_hangup() {
    const BUFFERS: usize = 64;
    let Some(mut ring) = ring(BUFFERS) else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (socket, _) = listener.accept().unwrap();
    let input = vec![b'x'; 40 * BUFFER_BYTES];
    client.write_all(&input).unwrap();
    rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
    drop(client);
    ring.submit(|batch| {
        batch.receive(socket.as_fd(), key());
        batch.hangup(socket.as_fd(), key());
    })
    .unwrap();
    let (mut bytes, mut is_told) = (0, false);
    while bytes < input.len() || !is_told {
        match next(&mut ring) {
            Completion::HungUp { events: Ok(events), .. } => {
                is_told = events.contains(PollFlags::HUP);
            }
            Completion::Received { input: Ok(Some(buffer)), .. } => {
                bytes += buffer.len();
                ring.give(buffer);
            }
            Completion::Received { input: Err(_), .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

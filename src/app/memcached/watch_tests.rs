//! Timeouts of connections, and requests that wait for readers.

use super::super::{Memcached, Options, Shared};
use super::CHECK_SECONDS;
use crate::app::Blob;
use crate::app::testing::{Line, NOW};
use crate::handler::{Handler, Seconds};
use crate::store::{Settings, Store};
use simoom_io::send::Pool;
use std::net::Ipv4Addr;
use std::sync::Arc;

#[path = "senders_tests.rs"]
mod senders;

/// A store of 4 MiB that all connections share, with frames of 16 KiB.
struct Bed {
    shared: Arc<Shared>,
    handlers: usize,
}

impl Bed {
    fn new(options: Options) -> Bed {
        Bed::of(options, 256 << 10, 1)
    }

    fn of(options: Options, item_max_bytes: u64, workers: usize) -> Bed {
        let memory_bytes = 4 << 20;
        let settings = Settings { memory_bytes, item_max_bytes, workers, ..Settings::default() };
        let store = Store::new(&Settings { hash_key: Some([1, 2]), ..settings }).unwrap();
        Bed { shared: Shared::new(store, Options { workers: 64, ..options }, NOW), handlers: 0 }
    }

    /// A connection, with a handler of its own on this thread: the store takes them for one worker.
    fn open(&mut self) -> Line<Memcached> {
        self.handlers += 1;
        let handler = Memcached::new(self.shared.clone(), self.handlers - 1, 4);
        Line::open_with(handler, 11211, Pool::<Blob>::new(512, 512))
    }
}

fn counted(line: &Line<Memcached>, name: &str) -> u64 {
    counted_by(&line.app, name)
}

fn counted_by(app: &Memcached, name: &str) -> u64 {
    let mut found = None;
    app.publish(&mut |known, value| found = found.or((known == name).then_some(value)));
    found.unwrap_or_else(|| panic!("no counter {name}"))
}

/// Lets deadlines pass, each when it is set for, until `seconds` are over or the connection is.
fn pass(line: &mut Line<Memcached>, now: &mut u64, seconds: u64) {
    let end = *now * 1000 + seconds * 1000;
    let mut at_ms = *now * 1000;
    while let Some(deadline) = line.deadline()
        && !line.closed()
        && !line.aborted()
        && at_ms + deadline.total_millis() <= end
    {
        at_ms += deadline.total_millis();
        line.app.clock(Seconds::of(at_ms / 1000));
        line.expire();
        line.offer(b"");
    }
    *now = end / 1000;
    line.app.clock(Seconds::of(*now));
}

#[test]
fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    let mut bed = Bed::new(Options { idle_seconds: 10, ..Options::default() });
    let (mut line, mut now) = (bed.open(), NOW);
    for _ in 0..20 {
        pass(&mut line, &mut now, 9);
        line.offer(b"version\r\n");
        line.take();
    }
    assert!(!line.closed());
    pass(&mut line, &mut now, 12);
    assert!(line.closed() && !line.aborted());
    assert_eq!(counted(&line, "memcached_idle_kicks"), 1);
    // Nothing tells one that is never closed from one that is, before its time.
    let mut bed = Bed::new(Options { idle_seconds: 0, ..Options::default() });
    let line = bed.open();
    assert_eq!(line.deadline(), None);
}

#[test]
fn requests_on_time_set_no_deadline() {
    let (mut bed, mut line) = (Bed::new(Options::default()), None);
    let line = line.insert(bed.open());
    let before = line.settings();
    for _ in 0..100 {
        line.offer(b"set a 0 0 3\r\nabc\r\nget a\r\n");
        assert_eq!(line.take(), b"STORED\r\nVALUE a 0 3\r\nabc\r\nEND\r\n");
    }
    assert_eq!(line.settings(), before);
}

#[test]
fn a_value_that_does_not_come_ends_the_connection() {
    for begun in ["set a 0 0 100\r\nabc", "set a 0 0 90000\r\nabc", "get a", "gets ", "set"] {
        let (mut bed, mut now) = (Bed::new(Options::default()), NOW);
        let mut line = bed.open();
        line.offer(begun.as_bytes());
        pass(&mut line, &mut now, 29);
        assert!(!line.aborted(), "{begun}");
        pass(&mut line, &mut now, u64::from(CHECK_SECONDS) + 1);
        assert!(line.aborted(), "{begun}");
        assert_eq!(counted(&line, "memcached_slow_requests_ended"), 1);
    }
}

#[test]
fn a_value_that_comes_too_slowly_ends_the_connection_and_one_fast_enough_does_not() {
    for (bytes_each_second, ends) in [(1, true), (900, true), (1200, false)] {
        let (mut bed, mut now) = (Bed::new(Options::default()), NOW);
        let mut line = bed.open();
        line.offer(b"set a 0 0 200000\r\n");
        for _ in 0..40 {
            line.offer(&vec![b'x'; bytes_each_second * CHECK_SECONDS as usize]);
            pass(&mut line, &mut now, CHECK_SECONDS.into());
        }
        assert_eq!(line.aborted(), ends, "{bytes_each_second} B/s");
    }
}

#[test]
fn requests_cut_anywhere_are_not_slow_as_long_as_they_end() {
    let (mut bed, mut now) = (Bed::new(Options::default()), NOW);
    let mut line = bed.open();
    let request = b"set a 0 0 3\r\nabc\r\n";
    line.offer(&request[..5]);
    for n in 0..200 {
        let cut = n % request.len();
        line.offer(&request[if n == 0 { 5 } else { (n - 1) % request.len() }..]);
        line.offer(&request[..cut]);
        line.take();
        pass(&mut line, &mut now, CHECK_SECONDS.into());
    }
    assert!(!line.aborted());
}

#[test]
fn uploads_that_never_end_keep_out_no_value_that_is_complete() {
    let mut bed = Bed::new(Options::default());
    // Each has a handler of its own, so that none can give up another's space.
    let mut uploads: Vec<_> = (0..20).map(|_| bed.open()).collect();
    for (n, line) in uploads.iter_mut().enumerate() {
        line.offer(format!("set k{n} 0 0 200000\r\nabc").as_bytes());
    }
    let waiting = uploads.iter().filter(|line| line.buffered() > 0).count();
    assert!((10..20).contains(&waiting), "{waiting}");
    uploads.iter_mut().for_each(|line| pass(line, &mut NOW.clone(), 3));
    let refused = uploads.iter().filter(|line| line.queued() > 0).count();
    assert_eq!(refused, waiting);
    let mut line = bed.open();
    for n in 0..100 {
        let value = "v".repeat(200_000);
        line.offer(format!("set k{n} 0 0 200000\r\n{value}\r\n").as_bytes());
        assert_eq!(line.take(), b"STORED\r\n");
    }
}

#[test]
fn a_get_waits_for_readers_and_is_no_miss_and_readers_that_do_not_read_are_reset() {
    let (mut bed, mut now) = (Bed::new(Options::default()), NOW);
    let mut writer = bed.open();
    for n in 0..16 {
        writer.offer(format!("set k{n} 0 0 100000\r\n{}\r\n", "v".repeat(100_000)).as_bytes());
        writer.offer(format!("set m{n} 0 0 20000\r\n{}\r\n", "m".repeat(20_000)).as_bytes());
    }
    assert_eq!(writer.take(), b"STORED\r\n".repeat(32));
    let mut readers: Vec<_> = (0..16).map(|_| bed.open()).collect();
    for (n, reader) in readers.iter_mut().enumerate() {
        reader.offer(format!("get k{n} k{}\r\n", (n + 1) % 16).as_bytes());
    }
    let mut victim = bed.open();
    // What can be copied is answered at once, whatever the command.
    let m = "m".repeat(20_000);
    for command in ["get m1", "gets m1", "gat 0 m1", "mg m1 v"] {
        victim.offer(format!("{command}\r\n").as_bytes());
        assert!(String::from_utf8(victim.take()).unwrap().contains(&m), "{command}");
    }
    // What cannot waits.
    for command in ["get k1", "gets k1", "gat 0 k1", "mg k1 v"] {
        let mut victim = bed.open();
        victim.offer(format!("{command}\r\n").as_bytes());
        assert_eq!((victim.queued(), victim.closed()), (0, false), "{command}");
        assert_eq!(counted(&victim, "memcached_requests_held_back"), 1);
        assert_eq!(counted(&victim, "memcached_get_misses"), 0);
    }
    victim.offer(b"get k1\r\n");
    assert_eq!(victim.queued(), 0);
    for reader in &mut readers {
        let mut now = now;
        pass(reader, &mut now, 2 * u64::from(CHECK_SECONDS) + 1);
        if reader.aborted() {
            assert_eq!(counted(reader, "memcached_stalled_readers_ended"), 1);
            reader.take_all();
        }
    }
    assert!(readers.iter().any(Line::aborted));
    pass(&mut victim, &mut now, 1);
    assert!(String::from_utf8(victim.take()).unwrap().contains(&"v".repeat(100_000)));
}

#[test]
fn a_slow_reader_is_left_alone_while_nobody_waits() {
    let (mut bed, mut now) = (Bed::new(Options::default()), NOW);
    let mut line = bed.open();
    line.offer(format!("set k 0 0 100000\r\n{}\r\nget k\r\n", "v".repeat(100_000)).as_bytes());
    pass(&mut line, &mut now, 600);
    assert!(!line.aborted() && line.queued() > 100_000);
}

#[test]
fn a_line_of_keys_that_is_held_waits_for_readers_too() {
    const KEYS: usize = 1000;
    let (mut bed, mut now) = (Bed::new(Options::default()), NOW);
    let value = "v".repeat(100_000);
    let mut victim = bed.open();
    for n in 0..16 {
        victim.offer(format!("set k{n} 0 0 100000\r\n{value}\r\n").as_bytes());
    }
    victim.take();
    victim.offer(format!("get {}", ["k0"; KEYS].join(" ")).as_bytes());
    victim.offer(b"\r\n");
    assert!(victim.queued() > 0 && victim.buffered() == 0, "a part is answered, the rest is held");
    let mut readers: Vec<_> = (1..16).map(|_| bed.open()).collect();
    for (n, reader) in readers.iter_mut().enumerate() {
        reader.offer(format!("get k{} k{}\r\n", n + 1, (n + 2) % 16).as_bytes());
    }
    let mut answer = victim.take();
    let waited = counted(&victim, "memcached_requests_held_back") > 0;
    assert!(waited && !answer.ends_with(b"END\r\n"), "{} bytes", answer.len());
    drop(readers.drain(..).map(|mut reader| reader.take_all()).collect::<Vec<_>>());
    while !answer.ends_with(b"END\r\n") {
        assert!(!victim.aborted() && victim.deadline().is_some());
        pass(&mut victim, &mut now, 1);
        answer.extend(victim.take());
    }
    let hit = format!("VALUE k0 0 100000\r\n{value}\r\n");
    assert!(answer == format!("{}END\r\n", hit.repeat(KEYS)).as_bytes());
}

/// Offers `more` every [`CHECK_SECONDS`] for 40 times, and reads all answers; says whether that
/// ended the connection.
fn dribble(begun: &[u8], more: &[u8]) -> bool {
    let (mut bed, mut now) = (Bed::new(Options::default()), NOW);
    let mut line = bed.open();
    line.offer(begun);
    for _ in 0..40 {
        line.take();
        pass(&mut line, &mut now, CHECK_SECONDS.into());
        if line.aborted() {
            assert_eq!(counted(&line, "memcached_slow_requests_ended"), 1);
            return true;
        }
        line.offer(more);
    }
    false
}

#[test]
fn whatever_dribbles_for_ever_ends_the_connection_and_what_comes_fast_enough_does_not() {
    let keys = [b"get ".as_slice(), &b"a ".repeat(1500)].concat();
    let too_long = [keys.as_slice(), &[b'k'; 300], b" "].concat();
    let mut packet = [0; 24];
    // An opcode that there is not, with a body.
    (packet[0], packet[1], packet[8]) = (0x80, 0xee, 0x3f);
    let begun: [(&str, &[u8], &[u8]); 7] = [
        ("a refused value", b"set big 0 0 2000000000\r\n", b"x"),
        ("a refused meta value", b"ms big 2000000000\r\n", b"x"),
        ("a refused packet", &packet, b"x"),
        ("a value", b"set a 0 0 250000\r\n", b"x"),
        ("a line of keys", &keys, b"a "),
        ("a key", &keys[..keys.len() - 1], b" a"),
        ("a line with a key too long", &too_long, b"a "),
    ];
    for (what, begun, more) in begun {
        assert!(dribble(begun, more), "{what}, {} bytes each time", more.len());
        let enough = 1200 * CHECK_SECONDS as usize / more.len();
        assert!(!dribble(begun, &more.repeat(enough)), "{what}, fast enough");
    }
}

#[test]
fn requests_that_are_refused_but_end_are_not_slow() {
    assert!(!dribble(b"", b"set big 0 0 9\r\nset b 0 0 9999999\r\n"), "a value that has come");
    let (mut bed, mut now) = (Bed::new(Options::default()), NOW);
    let mut line = bed.open();
    for _ in 0..20 {
        line.offer(b"set a x 0 9\r\n012345678");
        pass(&mut line, &mut now, 20);
        line.offer(b"\r\n");
        line.take();
    }
    assert!(!line.aborted());
}

#[test]
fn a_line_of_keys_whose_answers_the_client_has_not_read_is_not_slow() {
    let (mut bed, mut now) = (Bed::new(Options::default()), NOW);
    let mut line = bed.open();
    line.offer(format!("set k 0 0 100000\r\n{}\r\n", "v".repeat(100_000)).as_bytes());
    line.take();
    line.offer(format!("get {}", "k ".repeat(2000)).as_bytes());
    for _ in 0..40 {
        line.offer(b"k ");
        pass(&mut line, &mut now, CHECK_SECONDS.into());
    }
    assert!(!line.aborted() && line.queued() > 0);
    // Once it has read them, its time for the rest of the line begins.
    line.take();
    pass(&mut line, &mut now, 2 * u64::from(CHECK_SECONDS));
    assert!(!line.aborted());
    pass(&mut line, &mut now, 30);
    assert!(line.aborted());
}

#[test]
fn while_others_wait_no_reader_holds_an_item_for_longer_than_half_a_minute() {
    const VALUE_BYTES: u64 = 100_000;
    for (others_wait, bytes_each_second, ends) in [
        (true, 1100, true),
        (true, VALUE_BYTES / 50, true),
        (true, VALUE_BYTES / 15, false),
        (false, 1100, false),
    ] {
        let (mut bed, mut now) = (Bed::new(Options::default()), NOW);
        let mut writer = bed.open();
        let value = "v".repeat(VALUE_BYTES as usize);
        for n in 0..16 {
            writer.offer(format!("set k{n} 0 0 {VALUE_BYTES}\r\n{value}\r\n").as_bytes());
        }
        writer.take();
        let mut reader = bed.open();
        reader.offer(b"get k15\r\n");
        assert!(reader.queued() > VALUE_BYTES);
        // Others hold the rest of what may be held, and stay.
        let mut others: Vec<_> = (0..15).map(|_| bed.open()).collect();
        for (n, other) in others.iter_mut().enumerate() {
            other.offer(format!("get k{n} k{}\r\n", n + 1).as_bytes());
        }
        let from = now;
        while reader.queued() > 0 && !reader.aborted() && now < from + 60 {
            // A get of a connection of the same worker is held back.
            reader.app.held_back_at = others_wait.then_some(now as u32);
            reader.acknowledge(reader.queued().min(bytes_each_second * u64::from(CHECK_SECONDS)));
            pass(&mut reader, &mut now, CHECK_SECONDS.into());
        }
        assert_eq!(reader.aborted(), ends, "{bytes_each_second} B/s, others wait: {others_wait}");
        assert!(!others_wait || now <= from + 30, "{bytes_each_second} B/s: {} s", now - from);
    }
}

/// Many connections of one handler, and the time: deadlines pass in their order, a millisecond is
/// the least.
struct Crowd {
    handler: Memcached,
    /// Each has a handler of its own, of which nothing is used.
    lines: Vec<Line<Memcached>>,
    due_ms: Vec<Option<u64>>,
    now_ms: u64,
}

impl Crowd {
    fn new(bed: &Bed) -> Crowd {
        let handler = Memcached::new(bed.shared.clone(), 0, 1000);
        Crowd { handler, lines: Vec::new(), due_ms: Vec::new(), now_ms: NOW * 1000 }
    }

    /// Opens a connection and sends `request`; returns its number.
    fn open(&mut self, bed: &Bed, request: &str) -> usize {
        self.open_from(Ipv4Addr::LOCALHOST, bed, request)
    }

    /// Opens a connection from `peer` and sends `request`; returns its number.
    fn open_from(&mut self, peer: Ipv4Addr, bed: &Bed, request: &str) -> usize {
        let spare = Memcached::new(bed.shared.clone(), 0, 1);
        let handler = std::mem::replace(&mut self.handler, spare);
        let mut line = Line::open_from(peer, handler, 11211, Pool::<Blob>::new(512, 512));
        std::mem::swap(&mut self.handler, &mut line.app);
        self.due_ms.push(line.deadline().map(|after| self.now_ms + after.total_millis()));
        self.lines.push(line);
        let n = self.lines.len() - 1;
        self.act(n, |line| line.offer(request.as_bytes()));
        n
    }

    fn act(&mut self, n: usize, act: impl FnOnce(&mut Line<Memcached>)) {
        let line = &mut self.lines[n];
        std::mem::swap(&mut self.handler, &mut line.app);
        let settings = line.settings();
        act(line);
        if line.settings() != settings {
            let after = line.deadline();
            self.due_ms[n] = after.map(|after| self.now_ms + after.total_millis());
        }
        if line.aborted() {
            line.take_all();
            line.close();
            self.due_ms[n] = None;
        }
        std::mem::swap(&mut self.handler, &mut line.app);
    }

    /// Lets deadlines pass until `is_done`, or for `limit_ms`; returns how long that took.
    fn pass(&mut self, limit_ms: u64, mut is_done: impl FnMut(&mut Crowd) -> bool) -> u64 {
        let from = self.now_ms;
        while !is_done(self) {
            let first = (0..self.lines.len()).filter_map(|n| self.due_ms[n].zip(Some(n))).min();
            let Some((due_ms, n)) = first.filter(|(due_ms, _)| *due_ms <= from + limit_ms) else {
                self.now_ms = from + limit_ms;
                break;
            };
            self.now_ms = due_ms.max(self.now_ms);
            self.due_ms[n] = None;
            let now = Seconds::of(self.now_ms / 1000);
            self.act(n, |line| {
                line.app.clock(now);
                line.expire();
                line.offer(b"");
            });
        }
        self.now_ms - from
    }
}

const LARGE_BYTES: u64 = 46_000;
const LARGE_ITEMS: usize = 64;

/// A store with more large items than readers may hold.
fn bed_of_large_items() -> Bed {
    let mut bed = Bed::new(Options::default());
    let mut writer = bed.open();
    let value = "v".repeat(LARGE_BYTES as usize);
    for n in 0..LARGE_ITEMS {
        writer.offer(format!("set k{n} 0 0 {LARGE_BYTES}\r\n{value}\r\n").as_bytes());
    }
    assert_eq!(writer.take(), b"STORED\r\n".repeat(LARGE_ITEMS));
    bed
}

/// Opens as many readers of large items as hold all they may, and `waiting` more.
fn open_readers(crowd: &mut Crowd, bed: &Bed, waiting: usize) -> (Vec<usize>, Vec<usize>) {
    let (mut reading, mut waiters) = (Vec::new(), Vec::new());
    while waiters.len() < waiting {
        let item = (reading.len() + waiters.len()) % LARGE_ITEMS;
        let n = crowd.open(bed, &format!("get k{item}\r\n"));
        if crowd.lines[n].queued() > 0 { &mut reading } else { &mut waiters }.push(n);
    }
    assert!((20..40).contains(&reading.len()), "{} read", reading.len());
    (reading, waiters)
}

/// Readers read at a fixed rate for `quarters` of a second, or until `is_done`. Returns the number
/// of quarters that passed.
fn trickle(
    crowd: &mut Crowd,
    readers: std::ops::Range<usize>,
    rate: u64,
    quarters: u64,
    is_done: impl Fn(&Crowd) -> bool,
) -> u64 {
    for n in 1..=quarters {
        crowd.pass(250, |crowd| is_done(crowd));
        if is_done(crowd) {
            return n;
        }
        for line in &mut crowd.lines[readers.clone()] {
            line.acknowledge(line.queued().saturating_sub(1).min(rate / 4));
        }
    }
    quarters
}

#[test]
fn a_get_waits_for_about_a_second_behind_readers_that_do_not_read() {
    for (rate, others_waiting) in [(0, 1), (0, 30), (2000, 30), (5000, 30)] {
        let bed = bed_of_large_items();
        let mut crowd = Crowd::new(&bed);
        open_readers(&mut crowd, &bed, others_waiting);
        let victim = crowd.open(&bed, "get k63\r\n");
        assert_eq!(crowd.lines[victim].queued(), 0, "it has to wait");
        let is_served = |crowd: &Crowd| crowd.lines[victim].queued() > 0;
        let waited = trickle(&mut crowd, 0..victim, rate, 40, is_served);
        assert!(
            waited <= 6,
            "{waited} quarters of a second, behind readers at {rate} B/s and {others_waiting} that wait"
        );
        assert!(crowd.lines[victim].take().ends_with(b"v\r\nEND\r\n"));
        // It went on because others were reset, and is not reset itself.
        assert!(crowd.lines.iter().any(Line::aborted) && !crowd.lines[victim].aborted());
        assert_eq!(counted_by(&crowd.handler, "memcached_get_misses"), 0);
    }
}

#[test]
fn gets_that_wait_are_served_in_their_order() {
    let bed = bed_of_large_items();
    let mut crowd = Crowd::new(&bed);
    let (_, waiters) = open_readers(&mut crowd, &bed, 30);
    // One that comes when space was just made stands behind them.
    let mut order: Vec<usize> = Vec::new();
    let mut late = None;
    for _ in 0..4000 {
        crowd.pass(1, |_| false);
        for n in waiters.iter().copied().chain(late) {
            if crowd.lines[n].queued() > 0 && !order.contains(&n) {
                order.push(n);
                // It reads at once, which makes space for the next.
                let queued = crowd.lines[n].queued();
                crowd.lines[n].acknowledge(queued);
            }
        }
        if !order.is_empty() && late.is_none() {
            late = Some(crowd.open(&bed, "get k63\r\n"));
        }
    }
    assert_eq!(order.len(), waiters.len() + 1, "all are served");
    for (at, n) in order.iter().enumerate() {
        let overtaken = order[at..].iter().filter(|later| *later < n).count();
        assert!(overtaken < 16, "{n} was served before {overtaken} that came earlier: {order:?}");
    }
    assert!(order.iter().position(|n| Some(*n) == late).unwrap() >= waiters.len() - 16);
}

/// Addresses of two peers, which are not counted as one with each other or with localhost.
fn other_peers(crowd: &Crowd) -> [Ipv4Addr; 2] {
    let peer = |address: Ipv4Addr| crowd.handler.uploads.peer(address.into());
    let mut found = vec![Ipv4Addr::LOCALHOST];
    for host in 1.. {
        let address = Ipv4Addr::new(198, 18, 0, host);
        if found.iter().all(|other| peer(*other) != peer(address)) {
            found.push(address);
        }
        if let [_, first, second] = found[..] {
            return [first, second];
        }
    }
    unreachable!("the hash is keyed, and has more than three values")
}

#[test]
fn a_peer_with_many_waiting_gets_delays_no_other_peer() {
    let bed = bed_of_large_items();
    let mut crowd = Crowd::new(&bed);
    let (reading, waiters) = open_readers(&mut crowd, &bed, 200);
    let peers = other_peers(&crowd);
    let gets = peers.map(|peer| crowd.open_from(peer, &bed, "get k63\r\n"));
    assert!(gets.iter().all(|n| crowd.lines[*n].queued() == 0), "both wait");
    let served =
        |crowd: &Crowd, of: &[usize]| of.iter().filter(|n| crowd.lines[**n].queued() > 0).count();
    // The readers read, one after the other.
    for n in reading {
        let queued = crowd.lines[n].queued();
        crowd.lines[n].acknowledge(queued);
        crowd.pass(40, |_| false);
        if served(&crowd, &gets) == gets.len() {
            break;
        }
    }
    assert_eq!(served(&crowd, &gets), gets.len());
    let overtook = served(&crowd, &waiters);
    assert!(overtook <= 16, "{overtook} gets of the peer with 200 were served first");
}

#[test]
fn a_waiter_that_goes_away_holds_up_nobody() {
    let bed = bed_of_large_items();
    let mut crowd = Crowd::new(&bed);
    let (_, waiters) = open_readers(&mut crowd, &bed, 20);
    for n in &waiters[..19] {
        crowd.act(*n, Line::close);
        crowd.due_ms[*n] = None;
    }
    let last = waiters[19];
    let is_served = |crowd: &Crowd| crowd.lines[last].queued() > 0;
    assert!(trickle(&mut crowd, 0..0, 0, 40, is_served) <= 4);
    assert!(crowd.handler.waiters.may_pass(None), "nobody waits any more");
}

/// Readers that read are not reset, however long others wait for what they hold.
#[test]
fn readers_that_read_fast_enough_stay() {
    let bed = bed_of_large_items();
    let mut crowd = Crowd::new(&bed);
    let (readers, _) = open_readers(&mut crowd, &bed, 1);
    let rate = LARGE_BYTES * 3 / 2;
    trickle(&mut crowd, readers[0]..readers[readers.len() - 1] + 1, rate, 3, |_| false);
    assert!(!crowd.lines.iter().any(Line::aborted));
}

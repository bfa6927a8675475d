use super::*;
use crate::app::contained::Contained;
use crate::app::testing::{Line, answers_and_line};
use crate::handler::Handler;
use proptest::prelude::*;
use simoom_io::Application;
use simoom_io::send::Pool;
use std::sync::Arc;

/// What is answered to `input` in pieces of these sizes, over and over, and whether the connection
/// closes. All that was gathered is given back at the end.
fn answers<C, S>(app: Framed<C, S>, input: &[u8], sizes: &[usize], narrow: bool) -> (Vec<u8>, bool)
where
    C: Codec,
    S: Service<C>,
{
    let (answers, mut line) = answers_and_line(app, 7, input, sizes, narrow);
    let closed = line.closed();
    line.close();
    assert_eq!(line.app.gathered_bytes(), 0);
    (answers, closed)
}

/// Echoes lines, and repeats some.
fn repeat(line: &[u8], call: &mut Call<'_, Lines>) {
    match line {
        b"quit" => call.close(),
        b"long" => call.answer(&[b'l'; 50_000]),
        b"many" => (0..500).for_each(|n| call.answer(format!("line {n}").as_bytes())),
        b"share" => {
            let shared: Arc<[u8]> = vec![b's'; 3000].into();
            (0..20).for_each(|_| {
                call.output().copy(b"<");
                call.output().share(Arc::clone(&shared));
                call.output().copy(b">\r\n");
            });
        }
        b"none" => {}
        line => call.answer(line),
    }
}

fn lines() -> Framed<Lines, impl Service<Lines>> {
    Framed::new(Lines::default(), repeat)
}

const TALK: &[u8] =
    b"hello\r\n\nbare\nnone\r\nshare\r\nlong\r\nagain\r\nmany\r\nlast\r\nquit\r\nunread\r\n";

#[test]
fn lines_are_answered_the_same_whatever_the_split_and_the_capacity() {
    let whole = answers(lines(), TALK, &[], false);
    let text = String::from_utf8_lossy(&whole.0);
    assert!(
        text.starts_with("hello\r\n\r\nbare\r\n<sss") && text.ends_with("line 499\r\nlast\r\n")
    );
    assert_eq!((text.len(), whole.1), (7 + 2 + 6 + 20 * 3004 + 50_002 + 7 + 4890 + 6, true));
    for at in 1..TALK.len() {
        assert!(answers(lines(), TALK, &[at, usize::MAX], false) == whole, "split at byte {at}");
    }
    for sizes in [&[1][..], &[][..], &[7, 2][..]] {
        assert!(answers(lines(), TALK, sizes, true) == whole, "narrow, split by {sizes:?}");
    }
}

#[test]
fn a_line_at_its_bound_is_a_frame_and_a_longer_one_ends_the_connection() {
    let echo = || Framed::new(Lines::new(10), repeat);
    for sizes in [&[][..], &[1][..], &[4][..]] {
        let at = answers(echo(), b"12345678\r\nx\r\n", sizes, false);
        assert_eq!(at, (b"12345678\r\nx\r\n".to_vec(), false), "{sizes:?}");
        let past = answers(echo(), b"a\n123456789\r\nx\r\n", sizes, false);
        assert_eq!(past, (b"a\r\n".to_vec(), true), "{sizes:?}");
    }
}

fn prefixed(max: usize) -> Framed<Prefixed, impl Service<Prefixed>> {
    let echo = |frame: &[u8], call: &mut Call<'_, Prefixed>| call.answer(frame);
    Framed::new(Prefixed::new(4, max), echo)
}

fn frame(byte: u8, len: usize) -> Vec<u8> {
    [&(len as u32).to_be_bytes()[..], &vec![byte; len]].concat()
}

#[test]
fn frames_longer_than_a_transport_keeps_are_gathered() {
    let input =
        [frame(b'a', 3), frame(b'b', 100_000), frame(b'c', 0), frame(b'd', 20_000)].concat();
    for sizes in [&[][..], &[1000][..], &[4093, 3][..], &[60_000][..]] {
        for narrow in [false, true] {
            let given = answers(prefixed(100_000), &input, sizes, narrow);
            assert!(given == (input.clone(), false), "split by {sizes:?}, narrow: {narrow}");
        }
    }
    let mut line = Line::open(prefixed(100_000), 7);
    line.offer(&input[..50_000]);
    assert!(line.app.gathered_bytes() > 0 && line.buffered() == 0);
}

#[test]
fn a_length_past_the_bound_is_malformed_at_once() {
    let (_, closed) = answers(prefixed(1000), &frame(b'a', 1001)[..4], &[1], false);
    assert!(closed);
    let options = Options { gathered_max_bytes: 30_000, ..Options::default() };
    let app = prefixed(100_000).with_options(options);
    let (given, closed) = answers(app, &frame(b'a', 40_000), &[1000], false);
    assert!(given.is_empty() && closed, "more than may be gathered");
}

#[test]
fn a_service_greets_and_says_what_is_malformed() {
    struct Polite;
    impl Service<Lines> for Polite {
        type Session = u32;

        fn opened(&mut self, _: &mut u32, call: &mut Call<'_, Lines>) {
            call.answer(b"welcome");
        }

        fn call(&mut self, session: &mut u32, _: &[u8], call: &mut Call<'_, Lines>) {
            *session += 1;
            call.answer(session.to_string().as_bytes());
        }

        fn malformed(&mut self, _: &mut u32, reason: &str, call: &mut Call<'_, Lines>) {
            call.answer(reason.as_bytes());
        }
    }
    let given = answers(Framed::new(Lines::new(8), Polite), b"a\nb\n123456789\n", &[], false);
    assert_eq!(given, (b"welcome\r\n1\r\n2\r\nframe too long\r\n".to_vec(), true));
}

#[test]
fn a_panic_leaves_nothing_of_its_answer_to_others() {
    let app = Framed::new(Lines::default(), |line: &[u8], call: &mut Call<'_, Lines>| {
        call.answer(line);
        assert!(line != b"panic", "injected");
    });
    let mut line = Line::open(Contained::new(app), 7);
    line.offer(b"panic\n");
    assert!(line.aborted() && line.take().is_empty());
    line.offer_in_place(b"next\n");
    assert_eq!(line.take(), b"next\r\n");
}

#[test]
fn deadlines_are_for_the_rest_of_a_frame_and_for_the_next() {
    let options = Options::default();
    let mut line = Line::open(lines(), 7);
    assert_eq!(line.deadline(), Some(options.idle_timeout));
    line.offer(b"half");
    assert_eq!(line.deadline(), Some(options.frame_timeout));
    line.offer(b" a line\n");
    assert_eq!(line.deadline(), Some(options.idle_timeout));
    line.expire();
    assert!(!line.aborted() && !line.closed(), "the answer was not taken");
    assert_eq!(line.deadline(), Some(options.idle_timeout));
    let mut line = Line::open(lines(), 7);
    line.offer(b"half");
    line.expire();
    assert!(line.closed() && line.app.counters().framed_frame_timeouts == 1);
    let mut line = Line::open(lines(), 7);
    line.expire();
    assert!(line.closed() && line.app.counters().framed_idle_timeouts == 1);
}

#[test]
fn draining_closes_behind_the_next_answer() {
    let mut line = Line::open(lines(), 7);
    line.app.drain();
    assert!(line.app.idle(&Default::default()));
    line.offer(b"one\ntwo\n");
    assert_eq!((line.take(), line.closed()), (b"one\r\n".to_vec(), true));
}

#[test]
fn an_incomplete_frame_is_looked_through_once() {
    use std::cell::Cell;
    struct Counting<'c>(&'c Cell<usize>);
    impl Codec for Counting<'_> {
        type Frame<'a> = &'a [u8];
        type Answer<'a> = &'a [u8];
        type Scan = ();

        fn max_frame_bytes(&self) -> usize {
            1 << 20
        }

        fn decode<'a>(&self, bytes: &'a [u8], (): &mut ()) -> Decoded<&'a [u8]> {
            self.0.set(self.0.get() + 1);
            match bytes.len() {
                len @ 0..1000 => Decoded::Missing(1000 - len),
                _ => Decoded::Frame(bytes, 1000),
            }
        }

        fn encode(&self, _: &[u8], _: &mut Output) {}
    }
    let calls = Cell::new(0);
    let quiet = |_: &[u8], _: &mut Call<'_, Counting<'_>>| {};
    let mut app = Framed::new(Counting(&calls), quiet);
    let _ = app.wants_ends(7);
    app.drain();
    answers(app, &[0; 1000], &[1], false);
    assert_eq!(calls.get(), 2);
}

proptest! {
    #[test]
    fn any_input_gets_the_same_answers_whatever_the_split(
        words in prop::collection::vec(
            prop::sample::select(&["long", "many", "share", "none", "a", "quit", "\r", "\u{fc}"][..]), 0..12),
        ends in prop::collection::vec(prop::sample::select(&["\n", "\r\n", "\r", ""][..]), 12),
        sizes in prop::collection::vec(1usize..30, 1..4),
        narrow in any::<bool>(),
    ) {
        let input: String = words.iter().zip(ends).flat_map(|(word, end)| [*word, end]).collect();
        let whole = answers(lines(), input.as_bytes(), &[], false);
        prop_assert!(answers(lines(), input.as_bytes(), &sizes, narrow) == whole);
    }
}

#[test]
fn frames_without_answers_go_on_in_the_next_iterations() {
    let mut line = Line::open(lines(), 7);
    line.offer(&b"none\n".repeat(3000));
    let mut frames = vec![line.app.counters().framed_frames];
    while line.iterate() {
        frames.push(line.app.counters().framed_frames);
    }
    assert!(frames.windows(2).all(|pair| pair[1] - pair[0] <= 512), "{frames:?}");
    assert!(frames[0] <= 512 && frames.last() == Some(&3000), "{frames:?}");
}

#[test]
fn many_frames_are_answered_before_the_client_reads() {
    let frames = 30_000;
    let text: String = (0..frames).map(|number| format!("{number}\n")).collect();
    let expected: String = (0..frames).map(|number| format!("{number}\r\n")).collect();
    let echo = |line: &[u8], call: &mut Call<'_, Lines>| call.answer(line);
    for answers_max_bytes in [64 << 20, 4 << 10] {
        let options = Options { answers_max_bytes, ..Options::default() };
        let app = Framed::new(Lines::default(), echo).with_options(options);
        let mut line = Line::open_with(app, 7, Pool::new(5, 3));
        for piece in text.as_bytes().chunks(1400) {
            line.offer(piece);
            while line.iterate() {}
            let waiting = line.app.waiting_bytes();
            assert!(waiting <= answers_max_bytes.max(text.len() * 2), "{waiting}");
        }
        let is_ahead = answers_max_bytes > expected.len() * 4;
        assert_eq!(line.buffered() == 0, is_ahead, "{answers_max_bytes}");
        assert_eq!(String::from_utf8(line.take()).unwrap(), expected);
        assert_eq!((line.app.waiting_bytes(), line.buffered()), (0, 0));
    }
}

#[test]
fn answers_that_wait_are_freed_with_their_connection() {
    let shared: std::sync::Arc<[u8]> = vec![b's'; 30_000].into();
    let share = move |_: &[u8], call: &mut Call<'_, Lines>| call.output().share(shared.clone());
    let mut line = Line::open_with(Framed::new(Lines::default(), share), 7, Pool::new(5, 3));
    line.offer(&b"x\n".repeat(100));
    assert!(line.buffered() > 0, "shared bytes may be pinned: few of them wait");
    assert!(line.app.waiting_bytes() > 30_000, "{}", line.app.waiting_bytes());
    line.close();
    assert_eq!(line.app.waiting_bytes(), 0);
}

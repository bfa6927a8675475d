use super::*;
use crate::app::testing::memcached;

/// A frame that asks in one datagram, and what follows it.
fn request(text: &[u8]) -> Vec<u8> {
    [&[0x12, 0x34, 0, 0, 0, 1, 0, 0], text].concat()
}

/// Both ends in memory.
struct Exchange {
    datagrams: Datagrams,
}

impl Exchange {
    fn new() -> Exchange {
        Exchange { datagrams: Datagrams::new(memcached()) }
    }

    /// What becomes of a datagram, and those of its answer.
    fn send(&mut self, datagram: &[u8]) -> (Fate, Vec<Vec<u8>>) {
        let fate = self.datagrams.serve(datagram);
        (fate, self.datagrams.answer().map(<[u8]>::to_vec).collect())
    }

    /// The text that answers a request, which takes one datagram or none.
    fn ask(&mut self, text: &[u8]) -> (Fate, String) {
        let (fate, answer) = self.send(&request(text));
        assert!(answer.len() <= 1, "one datagram or none");
        let answer = answer.concat();
        assert!(answer.is_empty() || answer.starts_with(&[0x12, 0x34, 0, 0, 0, 1, 0, 0]));
        (fate, String::from_utf8_lossy(answer.get(FRAME_BYTES..).unwrap_or_default()).into_owned())
    }
}

#[test]
fn a_request_is_answered_with_its_number() {
    let mut exchange = Exchange::new();
    for (asked, answered) in [
        ("set a 0 0 1\r\nx\r\n", "STORED\r\n"),
        ("get a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n"),
        ("get a b a\r\nmn\r\n", "VALUE a 0 1\r\nx\r\nVALUE a 0 1\r\nx\r\nEND\r\nMN\r\n"),
        ("set a 0 0 1 noreply\r\ny\r\n", ""),
        ("mg a v q\r\nmg b v q\r\n", "VA 1\r\ny\r\n"),
        ("nonsense\r\n", "ERROR\r\n"),
        ("quit\r\n", ""),
        ("quit\r\nmn\r\n", ""),
        ("mn\r\n", "MN\r\n"),
        ("", ""),
    ] {
        assert_eq!(exchange.ask(asked.as_bytes()), (Fate::Done, answered.into()), "{asked}");
    }
}

#[test]
fn each_datagram_may_speak_the_other_protocol() {
    let mut exchange = Exchange::new();
    exchange.ask(b"set a 0 0 1\r\nx\r\n");
    let get = [&[0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1][..], b"opaq", &[0; 8], b"a"].concat();
    let (fate, answer) = exchange.send(&request(&get));
    assert_eq!(fate, Fate::Done);
    assert_eq!(answer[0][FRAME_BYTES..FRAME_BYTES + 2], [0x81, 0]);
    assert!(answer[0].ends_with(b"\0\0\0\0x"));
    assert_eq!(exchange.ask(b"get b\r\n").1, "END\r\n");
}

#[test]
fn a_long_answer_is_several_datagrams_numbered_through() {
    let mut exchange = Exchange::new();
    let value = "v".repeat(5000);
    exchange.ask(format!("set a 0 0 5000\r\n{value}\r\n").as_bytes());
    let (fate, answer) = exchange.send(&request(b"get a\r\n"));
    assert_eq!(fate, Fate::Done);
    let frames: Vec<&[u8]> = answer.iter().map(|datagram| &datagram[..FRAME_BYTES]).collect();
    assert_eq!(frames, [0, 1, 2, 3].map(|sequence| [0x12, 0x34, 0, sequence, 0, 4, 0, 0]));
    assert!(answer[..3].iter().all(|datagram| datagram.len() == DATAGRAM_MAX_BYTES));
    let text: Vec<u8> =
        answer.iter().flat_map(|datagram| &datagram[FRAME_BYTES..]).copied().collect();
    assert_eq!(text, format!("VALUE a 0 5000\r\n{value}\r\nEND\r\n").as_bytes());
}

/// Every length around the ends of datagrams, up to the bound and past it.
#[test]
fn an_answer_is_whole_up_to_the_bound_and_refused_beyond() {
    let most = ANSWER_DATAGRAMS_MAX * PART_BYTES;
    for len in [PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, most - 1, most, most + 1, most * 50] {
        let mut exchange = Exchange::new();
        let around = "VALUE a 0 00000\r\n\r\nEND\r\n".len() - 5;
        let value = "v".repeat(len - around - (len - around).to_string().len());
        let set = format!("set a 0 0 {}\r\n{value}\r\n", value.len());
        let (fate, stored) = exchange.send(&request(set.as_bytes()));
        assert_eq!((fate, &stored[0][FRAME_BYTES..]), (Fate::Done, &b"STORED\r\n"[..]));
        let (fate, answer) = exchange.send(&request(b"get a\r\n"));
        let bytes: usize = answer.iter().map(|datagram| datagram.len() - FRAME_BYTES).sum();
        if len <= most {
            assert_eq!((fate, answer.len()), (Fate::Done, bytes.div_ceil(PART_BYTES)), "{len}");
            assert!(bytes.abs_diff(len) <= 1, "{bytes} of {len}");
        } else {
            assert_eq!((fate, answer.len()), (Fate::TooLarge, 1), "{len}");
            assert_eq!(&answer[0][FRAME_BYTES..], b"SERVER_ERROR answer too large for UDP\r\n");
        }
    }
}

#[test]
fn a_packet_whose_answer_is_too_long_is_refused_as_a_packet() {
    let mut exchange = Exchange::new();
    let value = "v".repeat(20_000);
    exchange.send(&request(format!("set a 0 0 20000\r\n{value}\r\n").as_bytes()));
    let get = [&[0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1][..], b"opaq", &[0; 8], b"a"].concat();
    let (fate, answer) = exchange.send(&request(&get));
    assert_eq!(fate, Fate::TooLarge);
    assert_eq!(
        answer.concat()[FRAME_BYTES..],
        [&[0x81, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0], &b"opaq"[..], &[0; 8]].concat()
    );
}

#[test]
fn datagrams_that_are_no_whole_request_are_dropped() {
    let mut exchange = Exchange::new();
    for len in 0..FRAME_BYTES {
        assert_eq!(exchange.send(&request(b"")[..len]), (Fate::Malformed, vec![]), "{len} bytes");
    }
    for total in [0, 2, 255, 256, 257] {
        let [t0, t1] = u16::to_be_bytes(total);
        let datagram = [&[0, 1, 0, 0, t0, t1, 0, 0], &b"set a 0 0 1\r\nx\r\n"[..]].concat();
        assert_eq!(exchange.send(&datagram), (Fate::Malformed, vec![]), "of {total}");
    }
    assert_eq!(exchange.ask(b"get a\r\n"), (Fate::Done, "END\r\n".into()));
    // What the frame says besides is not looked at, as in memcached.
    let odd = [&[0x12, 0x34, 0, 9, 0, 1, 7, 7], &b"mn\r\n"[..]].concat();
    assert_eq!(exchange.send(&odd).0, Fate::Done);
}

/// What is missing does not come with the next datagram, and no space stays reserved for it.
#[test]
fn a_request_without_its_end_is_forgotten() {
    let mut exchange = Exchange::new();
    for (asked, answered) in [
        ("get a", ""),
        ("get a\r\nget b", "END\r\n"),
        ("set a 0 0 10\r\nabc\r\n", ""),
        ("set a 0 0 10\r\n", ""),
        ("set a 0 0 3\r\nabc", ""),
        ("set a 0 0 9999999\r\nabc", "SERVER_ERROR object too large for cache\r\n"),
        ("\u{80}", ""),
    ] {
        assert_eq!(exchange.ask(asked.as_bytes()), (Fate::Incomplete, answered.into()), "{asked}");
        assert_eq!(exchange.datagrams.handler.store.statistics().reserved_bytes, 0, "{asked}");
    }
    assert_eq!(exchange.ask(&[0x80, 0, 0, 1, 0]), (Fate::Incomplete, String::new()));
    assert_eq!(exchange.ask(b"get a\r\n"), (Fate::Done, "END\r\n".into()));
}

proptest::proptest! {
    #[test]
    fn any_datagram_is_answered_within_the_bound(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
        let mut exchange = Exchange::new();
        for datagram in [bytes.clone(), request(&bytes), request(&[b"get ", &bytes[..]].concat())] {
            let (_, answer) = exchange.send(&datagram);
            assert!(answer.len() <= ANSWER_DATAGRAMS_MAX);
            assert!(answer.iter().all(|datagram| datagram.len() <= DATAGRAM_MAX_BYTES));
            assert_eq!(exchange.datagrams.handler.store.statistics().reserved_bytes, 0);
        }
    }
}

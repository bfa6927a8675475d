//! Segments of a client, and the ceiling's answers.

use super::super::answer::{Http, Memcached};
use super::*;
use simoom_tcp::testing::Forged;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
/// Payload bytes of a segment in a packet of 1500 bytes.
const SEGMENT_BYTES: usize = 1448;
/// Destination of the frames that `Forged` builds.
const MAC: Mac = [2, 0, 0, 0, 0, 2];

/// Collects frames. Never runs out of free ones.
#[derive(Default)]
struct Wire(Vec<Vec<u8>>);

impl Transmit for Wire {
    fn transmit(&mut self, write: impl FnOnce(&mut [u8]) -> usize) -> bool {
        let mut frame = vec![0; 2048];
        let len = write(&mut frame);
        frame.truncate(len);
        self.0.push(frame);
        true
    }
}

fn responder(answers: Answers) -> Responder {
    let port = Forged::syn(1, 0).port;
    Responder::new(MAC, port, ChecksumPolicy::Verify, answers, SEGMENT_BYTES)
}

fn http(content_bytes: usize, closes: bool) -> Responder {
    let answers = Answers::Http(Box::new(Http::new(content_bytes, closes, SEGMENT_BYTES, 1)));
    responder(answers)
}

/// The answers to a segment with this text: flags, SEG.SEQ, SEG.ACK and text of each. Verifies the
/// checksums.
fn answers(
    responder: &mut Responder,
    segment: &Forged,
    text: &[u8],
) -> Vec<(Flags, u32, u32, Vec<u8>)> {
    let mut wire = Wire::default();
    responder.respond(Packet(&[&segment.frame(text)]), &mut wire);
    let read = |frame: &Vec<u8>| match wire::parse(Packet(&[frame]), ChecksumPolicy::Verify) {
        Ok(Incoming::Tcp(answer)) => {
            assert_eq!(
                (answer.remote_port, answer.local_port),
                (segment.port, segment.source_port)
            );
            assert_eq!(
                answer.options.timestamps,
                segment.options.timestamps.map(|(value, _)| (TIMESTAMP, value))
            );
            (
                answer.flags,
                answer.seq.0,
                answer.ack.0,
                answer.payload.parts().flatten().copied().collect(),
            )
        }
        other => panic!("not a segment with right checksums: {other:?}"),
    };
    wire.0.iter().map(read).collect()
}

/// A segment of an established connection.
fn segment(seq: u32, ack: u32, flags: Flags) -> Forged {
    let options = Options { timestamps: Some((77, 1)), ..Options::default() };
    Forged { seq, ack, flags, options, ..Forged::syn(4000, 0) }
}

#[test]
fn a_syn_is_answered_with_its_options() {
    let options = Options {
        mss: Some(1460),
        window_scale: Some(7),
        timestamps: Some((5, 0)),
        ..Options::default()
    };
    let syn = Forged { options, ..Forged::syn(4000, u32::MAX) };
    let got = answers(&mut http(12, false), &syn, &[]);
    assert_eq!(got, [(Flags::SYN.with(Flags::ACK), 0, 0, vec![])]);
}

#[test]
fn an_answer_begins_where_the_peer_waits_for_it_and_acknowledges_all() {
    let [(flags, seq, ack, text)] =
        answers(&mut http(12, false), &segment(1000, 50, Flags::ACK), REQUEST).try_into().unwrap();
    assert_eq!((flags, seq, ack), (Flags::ACK.with(Flags::PSH), 50, 1000 + REQUEST.len() as u32));
    assert_eq!(text, b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nxxxxxxxxxxxx");
}

#[test]
fn a_long_answer_comes_in_segments_that_follow_each_other() {
    let got = answers(&mut http(64 * 1024, false), &segment(1000, 50, Flags::ACK), REQUEST);
    let mut next = 50;
    for (_, seq, _, text) in &got {
        assert!(*seq == next && text.len() <= 1448);
        next += text.len() as u32;
    }
    assert_eq!(
        next,
        50 + 64 * 1024 + b"HTTP/1.1 200 OK\r\nContent-Length: 65536\r\n\r\n".len() as u32
    );
    let pushes = got.iter().filter(|(flags, ..)| flags.has(Flags::PSH)).count();
    assert!(pushes == 1 && got.last().unwrap().0.has(Flags::PSH));
}

#[test]
fn each_request_of_a_segment_has_its_answer() {
    let three = REQUEST.repeat(3);
    assert_eq!(answers(&mut http(12, false), &segment(1, 1, Flags::ACK), &three).len(), 3);
    let cut_off = &three[..three.len() - 1];
    assert_eq!(answers(&mut http(12, false), &segment(1, 1, Flags::ACK), cut_off).len(), 2);
}

#[test]
fn a_connection_ends_with_the_peer_or_with_its_first_answer() {
    let (fin, fin_ack) = (Flags::ACK.with(Flags::FIN), Flags::ACK.with(Flags::FIN));
    let got = answers(&mut http(12, false), &segment(9, 60, fin), &[]);
    assert_eq!(got, [(fin_ack, 60, 10, vec![])]);
    let mut closing = http(12, true);
    let [(flags, seq, _, text)] =
        answers(&mut closing, &segment(1, 1, Flags::ACK), REQUEST).try_into().unwrap();
    assert!(flags == fin_ack.with(Flags::PSH) && text.starts_with(b"HTTP/1.1 200 OK\r\n"));
    let after = seq + text.len() as u32 + 1;
    assert_eq!(
        answers(&mut closing, &segment(9, after, fin), &[]),
        [(Flags::ACK, after, 10, vec![])]
    );
    assert_eq!(
        answers(&mut closing, &segment(9, 1, fin), &[]),
        [(fin_ack, 1, 10, vec![])],
        "before any answer"
    );
}

#[test]
fn what_asks_for_nothing_is_not_answered() {
    let mut responder = http(12, false);
    assert!(
        answers(&mut responder, &segment(1, 1, Flags::ACK), &[]).is_empty(),
        "an acknowledgement"
    );
    assert!(answers(&mut responder, &segment(1, 1, Flags::RST.with(Flags::ACK)), &[]).is_empty());
    let elsewhere = Forged { port: 7, ..segment(1, 1, Flags::ACK) };
    assert!(answers(&mut responder, &elsewhere, REQUEST).is_empty());
    let mut wire = Wire::default();
    let mut frame = segment(1, 1, Flags::ACK).frame(REQUEST);
    *frame.last_mut().unwrap() ^= 1;
    responder.respond(Packet(&[&frame]), &mut wire);
    assert!(wire.0.is_empty(), "a wrong checksum");
}

fn memcached() -> Responder {
    let answers = Answers::Memcached(Memcached::new(3, SEGMENT_BYTES));
    responder(answers)
}

/// The text of all answers to segments with these texts.
fn text(responder: &mut Responder, texts: &[&[u8]]) -> String {
    let answers =
        texts.iter().flat_map(|text| answers(responder, &segment(1, 1, Flags::ACK), text));
    String::from_utf8(answers.flat_map(|(.., text)| text).collect()).unwrap()
}

#[test]
fn every_key_has_a_value_and_every_set_is_stored() {
    let got =
        text(&mut memcached(), &[b"get a\r\nget b c\r\nset a 0 0 5\r\nget\r\n\r\nversion\r\n"]);
    let value = |key| format!("VALUE {key} 0 3\r\n000\r\n");
    let expected =
        [value("a"), "END\r\n".into(), value("b"), value("c"), "END\r\nSTORED\r\nERROR\r\n".into()]
            .concat();
    assert_eq!(got, expected);
}

#[test]
fn a_request_that_is_cut_off_is_answered_with_its_rest() {
    let whole = b"get abc\r\nset a 0 0 5\r\nvalue\r\nget d\r\n";
    let expected = text(&mut memcached(), &[whole]);
    for cut in 1..whole.len() {
        let mut responder = memcached();
        let [first, second] = [&whole[..cut], &whole[cut..]].map(|part| {
            // The client sent the second segment before any answer arrived.
            answers(&mut responder, &segment(1, 1, Flags::ACK), part)
        });
        let bytes = |answers: &[(Flags, u32, u32, Vec<u8>)]| {
            answers.iter().flat_map(|(.., text)| text.clone()).collect()
        };
        let (first_text, second_text): (Vec<u8>, Vec<u8>) = (bytes(&first), bytes(&second));
        assert_eq!(
            String::from_utf8([first_text.clone(), second_text].concat()).unwrap(),
            expected,
            "cut at {cut}"
        );
        // A request ends there.
        let is_whole = [9, 29].contains(&cut);
        assert!(is_whole || second[0].1 == 1 + first_text.len() as u32, "cut at {cut}: {second:?}");
    }
}

/// Takes GSO packets only.
#[derive(Default)]
struct Offload(Vec<(Gso, Vec<u8>)>);

impl Transmit for Offload {
    fn transmit(&mut self, _: impl FnOnce(&mut [u8]) -> usize) -> bool {
        panic!("a frame")
    }

    fn transmit_gso(&mut self, gso: Gso, write: impl FnOnce(&mut [u8]) -> usize) -> bool {
        let mut packet = vec![0; 65_553];
        let len = write(&mut packet);
        packet.truncate(len);
        self.0.push((gso, packet));
        true
    }
}

#[test]
fn a_long_answer_is_one_packet_to_be_cut() {
    let answers = Answers::Http(Box::new(Http::new(10_000, false, SEGMENT_BYTES, 45)));
    let mut responder = responder(answers);
    let mut offload = Offload::default();
    let segment = segment(1, 1, Flags::ACK);
    responder.respond(Packet(&[&segment.frame(REQUEST)]), &mut offload);
    let [(gso, packet)] = &offload.0[..] else { panic!("{} packets", offload.0.len()) };
    assert_eq!((usize::from(gso.segment_bytes), gso.tcp_at), (SEGMENT_BYTES, 34));
    let text = &packet[usize::from(gso.header_bytes)..];
    assert!(text.starts_with(b"HTTP/1.1 200 OK\r\n") && text.ends_with(b"xx"));
    let parts = [&packet[..]];
    let accepted = wire::parse(Packet(&parts), ChecksumPolicy::AcceptPartial);
    assert!(matches!(accepted, Ok(Incoming::Tcp(answer)) if answer.payload.len() == text.len()));
}

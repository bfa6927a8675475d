//! The fast path of short answers, against the rules for all answers.

use super::*;
use crate::tcp::BUSY_MS;
use crate::testing::pair;
use crate::testing::wire::Peer;
use crate::wire::{Address, Packet};
use proptest::prelude::*;
use simoom_io::Reply;
use simoom_io::application::Opened;
use simoom_io::timer::Tick;

const TEXT: &[u8] = &[b'x'; 4096];

/// Answers with so many bytes, and closes if that is wanted.
#[derive(Clone, Copy, Debug)]
struct Answer {
    bytes: usize,
    closes: bool,
}

impl Application for Answer {
    type Blob = &'static [u8];
    type Conn = u8;

    fn opened(&mut self, _: &mut u8, _: Opened, _: &mut Reply<'_, &'static [u8]>) {}

    fn received(
        &mut self,
        _: &mut u8,
        input: &[u8],
        reply: &mut Reply<'_, &'static [u8]>,
    ) -> usize {
        reply.share(TEXT, 0..self.bytes);
        if self.closes {
            reply.close();
        }
        input.len()
    }

    fn overfull(&mut self, _: &mut u8, _: &[u8], _: &mut Reply<'_, &'static [u8]>) {}

    fn timeout(&mut self, _: &mut u8, _: &mut Reply<'_, &'static [u8]>) {}

    fn closed(&mut self, _: &mut u8, _: Closed) {}
}

/// Keeps the frames.
#[derive(Default)]
struct Frames(Vec<Vec<u8>>);

impl Transmit for Frames {
    fn transmit(&mut self, write: impl FnOnce(&mut [u8]) -> usize) -> bool {
        let mut frame = vec![0; 2048];
        let len = write(&mut frame);
        frame.truncate(len);
        self.0.push(frame);
        true
    }
}

/// What the flush of an answer depends on besides the answer.
#[derive(Clone, Copy, Debug)]
struct Windows {
    mss: u16,
    wnd: u32,
    cwnd: u32,
    /// The congestion window is instead larger by this than the answer and a full segment.
    spare: Option<u8>,
    is_limited: bool,
    /// The persist timer runs.
    persists: bool,
    owes_ack: bool,
}

fn windows() -> impl Strategy<Value = Windows> {
    let spare = proptest::option::of(0u8..4);
    let parts = (88u16..1460, 0u32..4000, 1u32..18_000, spare, any::<[bool; 3]>());
    parts.prop_map(|(mss, wnd, cwnd, spare, [is_limited, persists, owes_ack])| Windows {
        mss,
        wnd,
        cwnd,
        spare,
        is_limited,
        persists,
        owes_ack,
    })
}

/// A connection with a queued answer that was not flushed.
fn answering(mut app: Answer, windows: Windows) -> (Stack<Answer>, Peer) {
    let (now, mut tx) = (Instant::from_millis(5), Frames::default());
    let mut stack = Stack::new(pair::config(1, Limits::for_connections(4)), now);
    stack.listen(80);
    let mut peer =
        Peer::new(Address::from_v4([198, 18, 0, 2]), 4000, Address::from_v4([198, 18, 0, 1]), 80);
    stack.receive(now, &[Packet(&[&peer.syn()])], &mut app, &mut tx);
    peer.read(&tx.0[0]);
    let mut frame = Vec::new();
    peer.data_into(b"a", &mut frame);
    stack.receive(now, &[Packet(&[&frame])], &mut app, &mut tx);
    let tcb = &mut stack.tcbs[0];
    assert_eq!(tcb.hot.queue.unread(), app.bytes as u64);
    let Windows { mss, wnd, cwnd, spare, is_limited, persists, owes_ack } = windows;
    let with_spare = |spare| u32::from(mss) + app.bytes as u32 + u32::from(spare);
    let cwnd = spare.map_or(cwnd, with_spare);
    (tcb.hot.mss, tcb.hot.snd.wnd, tcb.hot.snd.cwnd) = (mss, wnd, cwnd);
    if is_limited {
        tcb.hot.flags.set(ConnFlags::CWND_LIMITED);
        tcb.cold.limited_until = tcb.hot.snd.una;
    }
    if persists {
        (tcb.hot.retransmit_at, tcb.cold.timeouts) = (Tick::from_millis(90), 2);
    }
    if owes_ack {
        tcb.hot.flags.set(ConnFlags::ACK_NOW);
    }
    (stack, peer)
}

proptest! {
    #[test]
    fn a_short_answer_leaves_as_by_all_rules(
        bytes in 1usize..1600,
        closes: bool,
        windows in windows(),
    ) {
        let mut app = Answer { bytes, closes };
        let answering = || answering(Answer { bytes, closes }, windows).0;
        let (mut one, mut other) = (answering(), answering());
        let (mut frames, mut by_all_rules) = (Frames::default(), Frames::default());
        let sent = one.flush_one(0, &mut app, &mut frames);
        other.tcbs[0].hot.flags.clear(ConnFlags::READY);
        prop_assert_eq!(other.flush_other(0, &mut app, &mut by_all_rules), sent);
        prop_assert_eq!(frames.0, by_all_rules.0);
        prop_assert_eq!(format!("{:?}", one.tcbs[0]), format!("{:?}", other.tcbs[0]));
        prop_assert_eq!(format!("{:?}", one.counters()), format!("{:?}", other.counters()));
    }
}

/// Windows that a short answer is far from filling.
const WIDE: Windows = Windows {
    mss: 1448,
    wnd: 65_535,
    cwnd: 14_480,
    spare: None,
    is_limited: false,
    persists: false,
    owes_ack: false,
};

#[test]
fn the_acknowledgement_of_everything_leaves_nothing_to_flush() {
    for closes in [false, true] {
        let (mut app, bytes) = (Answer { bytes: 100, closes }, 100);
        let (mut stack, mut peer) = answering(app, WIDE);
        let (mut tx, now) = (Frames::default(), Instant::from_millis(6));
        stack.flush(now, &mut app, &mut tx);
        assert_eq!(tx.0.len(), 1);
        peer.expect(bytes as u32 + u32::from(closes));
        stack.receive(now, &[Packet(&[&peer.ack()])], &mut app, &mut tx);
        assert!(stack.shared.ready.is_empty(), "the connection waits for a flush");
        let before = format!("{:?}", stack.tcbs[0]);
        assert!(stack.flush_other(0, &mut app, &mut tx));
        assert_eq!((format!("{:?}", stack.tcbs[0]), tx.0.len()), (before, 1));
    }
}

#[test]
fn the_near_timer_of_a_busy_connection_stays_in_the_wheel() {
    for (idle_ms, stays) in [(0, true), (BUSY_MS - 1, true), (BUSY_MS, false)] {
        let mut app = Answer { bytes: 100, closes: false };
        let (mut stack, mut peer) = answering(app, WIDE);
        let (mut tx, mut request) = (Frames::default(), Vec::new());
        let at = |ms: i32| Instant::from_millis(6 + i64::from(ms));
        stack.flush(at(0), &mut app, &mut tx);
        peer.expect(100);
        stack.receive(at(0), &[Packet(&[&peer.ack()])], &mut app, &mut tx);
        peer.data_into(b"a", &mut request);
        stack.receive(at(idle_ms), &[Packet(&[&request])], &mut app, &mut tx);
        stack.flush(at(idle_ms), &mut app, &mut tx);
        let near_at = |stack: &Stack<Answer>| stack.tcbs[0].warm.near_at;
        assert_ne!(near_at(&stack), Tick::NEVER, "the answer has a timer");
        peer.expect(100);
        stack.receive(at(idle_ms), &[Packet(&[&peer.ack()])], &mut app, &mut tx);
        assert_eq!(near_at(&stack) != Tick::NEVER, stays, "idle for {idle_ms} ms");
        // It fires for nothing at most once.
        stack.expire(at(1000), &mut app, &mut tx);
        stack.flush(at(1000), &mut app, &mut tx);
        assert_eq!((near_at(&stack), tx.0.len()), (Tick::NEVER, 2));
    }
}

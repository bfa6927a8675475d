//! Which states RFC 9293 §3.10 lets follow which event in which state, and why some pairs cannot
//! be.

use simoom_tcp::testing::Coverage;
use simoom_tcp::testing::coverage::{Event, STATES};

/// The states that may follow, the first as a rule, or why the event cannot meet this state.
type Expected = Result<&'static [&'static str], &'static str>;

const NO_NUMBERS: Expected = Err("without a connection there are no numbers to be right or wrong");
const NO_WINDOW: Expected = Err("the peer's numbers are not known yet");
const NO_FIN: Expected = Err("this side has sent no FIN");
const FIN_TAKEN: Expected = Err("this side's FIN is acknowledged, and nothing in flight");
const NO_NAME: Expected = Err("the application has no name for it to call by");
const NO_TIMER: Expected = Err("no such timer runs");
const BOTH: &str = STATES[4];

pub(crate) fn expected(state: &'static str, event: Event) -> Expected {
    match state {
        "CLOSED" | "LISTEN" => without_connection(state, event),
        "SYN-SENT" => syn_sent(event),
        "SYN-RECEIVED" | BOTH => syn_received(state, event),
        "TIME-WAIT" => time_wait(event),
        _ => synchronized(state, event),
    }
}

/// §3.10.7.1, §3.10.7.2.
fn without_connection(state: &'static str, event: Event) -> Expected {
    match (state, event) {
        // LISTEN stays where a cookie is the answer, or a table is full.
        ("LISTEN", Event::Syn) => Ok(&["SYN-RECEIVED", "LISTEN"]),
        // ... and is left at once by an acknowledgement that bears a cookie.
        ("LISTEN", Event::Ack) => Ok(&["LISTEN", "ESTABLISHED"]),
        ("LISTEN", Event::Text) => Ok(&["LISTEN", "ESTABLISHED"]),
        (_, Event::Open) => Ok(&["SYN-SENT"]),
        ("LISTEN", Event::Close) => Ok(&["CLOSED"]),
        ("LISTEN", Event::Send | Event::Abort) => NO_NAME,
        (_, Event::RstDoubtful | Event::RstOutside | Event::Outside) => NO_NUMBERS,
        (_, Event::AckUnsent | Event::AckOld | Event::AckAgain | Event::AckOfFin) => NO_NUMBERS,
        (_, Event::TextAhead | Event::FinAhead | Event::FinAndAckOfFin) => NO_NUMBERS,
        (_, Event::Retransmission | Event::UserTimeout | Event::TimeWaitTimeout) => NO_TIMER,
        ("LISTEN", _) => Ok(&["LISTEN"]),
        _ => Ok(&["CLOSED"]),
    }
}

/// §3.10.7.3.
fn syn_sent(event: Event) -> Expected {
    match event {
        // A FIN beside it is processed at once.
        Event::SynAck => Ok(&["ESTABLISHED", "CLOSE-WAIT"]),
        Event::Syn => Ok(&[BOTH]),
        Event::Rst | Event::Abort | Event::UserTimeout => Ok(&["CLOSED"]),
        Event::RstOutside | Event::Outside | Event::AckOld | Event::AckAgain => NO_WINDOW,
        Event::Text | Event::TextAhead | Event::Fin | Event::FinAhead => NO_WINDOW,
        Event::AckOfFin | Event::FinAndAckOfFin => NO_FIN,
        Event::TimeWaitTimeout => NO_TIMER,
        _ => Ok(&["SYN-SENT"]),
    }
}

/// §3.10.7.4 with its exceptions for SYN-RECEIVED.
fn syn_received(state: &'static str, event: Event) -> Expected {
    match (state, event) {
        // A FIN may have come with the crossing SYN.
        (BOTH, Event::Ack | Event::Text | Event::SynAck) => Ok(&["ESTABLISHED", "CLOSE-WAIT"]),
        // At the limit of its port or prefix it stays until there is capacity.
        ("SYN-RECEIVED", Event::Ack) => Ok(&["ESTABLISHED", "SYN-RECEIVED"]),
        (_, Event::Ack | Event::Text | Event::TextAhead | Event::FinAhead) => Ok(&["ESTABLISHED"]),
        (_, Event::Fin) => Ok(&["CLOSE-WAIT"]),
        (_, Event::Rst | Event::UserTimeout) | (BOTH, Event::Abort) => Ok(&["CLOSED"]),
        ("SYN-RECEIVED", Event::Send | Event::Close | Event::Abort) => NO_NAME,
        (_, Event::AckOfFin | Event::FinAndAckOfFin) => NO_FIN,
        (_, Event::TimeWaitTimeout) => NO_TIMER,
        (BOTH, _) => Ok(&[BOTH]),
        _ => Ok(&["SYN-RECEIVED"]),
    }
}

/// §3.10.7.4, and the calls and timers.
fn synchronized(state: &'static str, event: Event) -> Expected {
    match (state, event) {
        (_, Event::SynAck) => Err("once synchronized, a SYN with an ACK is a SYN"),
        (_, Event::TimeWaitTimeout) => NO_TIMER,
        (_, Event::Rst | Event::UserTimeout | Event::Abort) => Ok(&["CLOSED"]),
        ("ESTABLISHED" | "CLOSE-WAIT", Event::AckOfFin | Event::FinAndAckOfFin) => NO_FIN,
        (
            "FIN-WAIT-2",
            Event::AckOfFin | Event::FinAndAckOfFin | Event::Ack | Event::Retransmission,
        ) => FIN_TAKEN,
        // The FIN is processed once there is memory for the text before it.
        ("ESTABLISHED", Event::Fin) => Ok(&["CLOSE-WAIT", "ESTABLISHED"]),
        // A FIN takes no memory, and is processed at the right edge of a window, open or shut.
        ("ESTABLISHED", Event::Outside) => Ok(&["ESTABLISHED", "CLOSE-WAIT"]),
        ("ESTABLISHED", Event::Text) => Ok(&["ESTABLISHED", "CLOSE-WAIT"]),
        ("ESTABLISHED", Event::Close) => Ok(&["FIN-WAIT-1"]),
        ("CLOSE-WAIT", Event::Close) => Ok(&["LAST-ACK"]),
        ("FIN-WAIT-1", Event::AckOfFin) => Ok(&["FIN-WAIT-2"]),
        ("FIN-WAIT-1", Event::Fin) => Ok(&["CLOSING"]),
        // Text may fill the gap before a FIN that came ahead, and may acknowledge this side's.
        ("FIN-WAIT-1", Event::Text | Event::TextAhead | Event::FinAhead) => {
            Ok(&["FIN-WAIT-1", "FIN-WAIT-2", "CLOSING", "TIME-WAIT", "CLOSED"])
        }
        // CLOSED if the TIME-WAIT table has no slots.
        ("FIN-WAIT-1", Event::FinAndAckOfFin) | ("FIN-WAIT-2", Event::Fin) => {
            Ok(&["TIME-WAIT", "CLOSED"])
        }
        ("FIN-WAIT-2", Event::Text) => Ok(&["FIN-WAIT-2", "TIME-WAIT", "CLOSED"]),
        ("CLOSING", Event::AckOfFin | Event::FinAndAckOfFin) => Ok(&["TIME-WAIT", "CLOSED"]),
        ("LAST-ACK", Event::AckOfFin | Event::FinAndAckOfFin) => Ok(&["CLOSED"]),
        ("ESTABLISHED", _) => Ok(&["ESTABLISHED"]),
        ("FIN-WAIT-1", _) => Ok(&["FIN-WAIT-1"]),
        ("FIN-WAIT-2", _) => Ok(&["FIN-WAIT-2"]),
        ("CLOSE-WAIT", _) => Ok(&["CLOSE-WAIT"]),
        ("CLOSING", _) => Ok(&["CLOSING"]),
        _ => Ok(&["LAST-ACK"]),
    }
}

/// §3.10.7.4 for TIME-WAIT; RFC 1337, RFC 6191.
fn time_wait(event: Event) -> Expected {
    match event {
        // A SYN may be new by its timestamp, wherever its number lies.
        Event::Syn | Event::Outside => Ok(&["TIME-WAIT", "SYN-RECEIVED"]),
        // CLOSED where the reset answers the challenge to a SYN.
        Event::Rst => Ok(&["TIME-WAIT", "CLOSED"]),
        Event::SynAck => Err("once synchronized, a SYN with an ACK is a SYN"),
        Event::Ack | Event::AckOfFin | Event::FinAndAckOfFin => FIN_TAKEN,
        Event::Abort | Event::Send | Event::Close => Ok(&["TIME-WAIT"]),
        Event::Retransmission | Event::UserTimeout => NO_TIMER,
        Event::TimeWaitTimeout => Ok(&["CLOSED"]),
        _ => Ok(&["TIME-WAIT"]),
    }
}

/// The violations of the table: pairs that did not occur, or must not occur, or led to a state that
/// must not follow.
pub(crate) fn faults(coverage: &Coverage, must_be_whole: bool) -> Vec<String> {
    let mut faults = Vec::new();
    for (state, event) in
        STATES.into_iter().flat_map(|state| Event::ALL.map(|event| (state, event)))
    {
        match (expected(state, event), coverage.followed(state, event)) {
            (Ok(may), seen) if must_be_whole && !seen.is_some_and(|seen| seen.contains(may[0])) => {
                faults.push(format!("{state}, {event:?}: never seen to lead to {}", may[0]));
            }
            (Err(why), Some(_)) => faults.push(format!("{state}, {event:?}: seen, but {why}")),
            (Ok(may), Some(followed)) => {
                // A call that is refused changes nothing.
                let is_call =
                    matches!(event, Event::Open | Event::Send | Event::Close | Event::Abort);
                let wrong = followed
                    .iter()
                    .filter(|after| !(may.contains(after) || is_call && **after == state));
                faults
                    .extend(wrong.map(|after| {
                        format!("{state}, {event:?}: led to {after}, not to {may:?}")
                    }));
            }
            _ => {}
        }
    }
    faults
}

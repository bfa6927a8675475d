//! Which events of RFC 9293 §3.10 met a connection in which state, and which state followed.
//!
//! A bench drives a stack through [`Coverage`], which reads the connection before and after each
//! event. It derives the event from the numbers of the segment and the connection, not from the
//! stack's reaction, so that the resulting states can be checked against the RFC. It changes
//! nothing.

use crate::demux::Tuple;
use crate::seq::Seq;
use crate::stack::{SIMULTANEOUS, Stack, Standing};
use crate::wire::{self, ChecksumPolicy, Flags, Incoming, Packet, Segment};
use simoom_io::application::Application;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// An event of a connection: a segment arrives (§3.10.7), the user calls (§3.10.1 to §3.10.5), or a
/// timer expires (§3.10.8). A segment that is several events counts as the last in the order of the
/// RFC's steps: FIN before text, text before ACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// A SYN: in SYN-RECEIVED the one that began it, in other states any in the window.
    Syn,
    /// SYN and a right ACK.
    SynAck,
    /// A reset that is right: at RCV.NXT, or in SYN-SENT with a right ACK.
    Rst,
    /// A reset in the window, or in SYN-SENT one without a right ACK.
    RstDoubtful,
    /// A reset outside the window.
    RstOutside,
    /// Any other segment outside the window, or older than it by its timestamp.
    Outside,
    /// None of SYN, ACK and RST.
    NoAck,
    /// An acknowledgement of what was never sent.
    AckUnsent,
    /// SEG.ACK is before SND.UNA.
    AckOld,
    /// SEG.ACK is SND.UNA.
    AckAgain,
    /// An acknowledgement of what is in flight; without a connection, any.
    Ack,
    /// An acknowledgement of everything, this side's FIN included.
    AckOfFin,
    /// Text at RCV.NXT, or from before to beyond it.
    Text,
    /// Text beyond RCV.NXT.
    TextAhead,
    /// The FIN is the next thing to take.
    Fin,
    /// The same, and an acknowledgement of this side's FIN.
    FinAndAckOfFin,
    /// There is a gap before the FIN.
    FinAhead,
    /// OPEN, active.
    Open,
    /// SEND.
    Send,
    /// CLOSE: the call, or its FIN sent once what was queued before is.
    Close,
    /// ABORT.
    Abort,
    /// RETRANSMISSION TIMEOUT.
    Retransmission,
    /// USER TIMEOUT, or the last of the retransmissions or keep-alive probes.
    UserTimeout,
    /// TIME-WAIT TIMEOUT.
    TimeWaitTimeout,
}

impl Event {
    /// All of them.
    pub const ALL: [Event; 24] = [
        Event::Syn,
        Event::SynAck,
        Event::Rst,
        Event::RstDoubtful,
        Event::RstOutside,
        Event::Outside,
        Event::NoAck,
        Event::AckUnsent,
        Event::AckOld,
        Event::AckAgain,
        Event::Ack,
        Event::AckOfFin,
        Event::Text,
        Event::TextAhead,
        Event::Fin,
        Event::FinAndAckOfFin,
        Event::FinAhead,
        Event::Open,
        Event::Send,
        Event::Close,
        Event::Abort,
        Event::Retransmission,
        Event::UserTimeout,
        Event::TimeWaitTimeout,
    ];
}

/// The states, SYN-RECEIVED twice: by either way that figure 5 shows.
pub const STATES: [&str; 12] = [
    "CLOSED",
    "LISTEN",
    "SYN-SENT",
    "SYN-RECEIVED",
    SIMULTANEOUS,
    "ESTABLISHED",
    "FIN-WAIT-1",
    "FIN-WAIT-2",
    "CLOSE-WAIT",
    "CLOSING",
    "LAST-ACK",
    "TIME-WAIT",
];

/// The recorded events: for each state and event how often, and the states that followed.
#[derive(Debug, Default)]
pub struct Coverage {
    seen: BTreeMap<(&'static str, Event), (u64, BTreeSet<&'static str>)>,
    alive: Vec<Tuple>,
}

impl Coverage {
    /// The states that followed this event in this state; `None` if the event never occurred there.
    pub fn followed(&self, state: &'static str, event: Event) -> Option<&BTreeSet<&'static str>> {
        self.seen.get(&(state, event)).map(|(_, followed)| followed)
    }

    /// How many pairs were seen.
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// Whether nothing was seen.
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// A frame arrives by `act`, alone.
    pub fn segment<A: Application, R>(
        &mut self,
        stack: &mut Stack<A>,
        frame: &[u8],
        act: impl FnOnce(&mut Stack<A>) -> R,
    ) -> R {
        let parts = [frame];
        let Ok(Incoming::Tcp(segment)) = wire::parse(Packet(&parts), ChecksumPolicy::Verify) else {
            return act(stack);
        };
        let tuple = Tuple::of(&segment);
        let before = stack.standing(&tuple);
        let result = act(stack);
        self.note(&tuple, before.state, arrival(&before, &segment), stack);
        result
    }

    /// The user calls by `act`.
    pub(crate) fn call<A: Application, R>(
        &mut self,
        stack: &mut Stack<A>,
        tuple: &Tuple,
        event: Event,
        act: impl FnOnce(&mut Stack<A>) -> R,
    ) -> R {
        let before = stack.standing(tuple);
        let result = act(stack);
        self.note(tuple, before.state, event, stack);
        result
    }

    /// Timers expire by `act`.
    pub fn time<A: Application, R>(
        &mut self,
        stack: &mut Stack<A>,
        act: impl FnOnce(&mut Stack<A>) -> R,
    ) -> R {
        self.watch(stack, act, |before, after| match (before.state, after.state) {
            ("TIME-WAIT", "CLOSED" | "LISTEN") => Some(Event::TimeWaitTimeout),
            (_, "CLOSED" | "LISTEN") => Some(Event::UserTimeout),
            _ if after.timeouts > before.timeouts => Some(Event::Retransmission),
            _ => None,
        })
    }

    /// `act` flushes, or resets every connection: this sends the FINs and resets that applications
    /// requested.
    pub fn flush<A: Application, R>(
        &mut self,
        stack: &mut Stack<A>,
        act: impl FnOnce(&mut Stack<A>) -> R,
    ) -> R {
        self.watch(stack, act, |before, after| match (before.state, after.state) {
            ("ESTABLISHED", "FIN-WAIT-1") | ("CLOSE-WAIT", "LAST-ACK") => Some(Event::Close),
            ("TIME-WAIT", _) => None,
            (_, "CLOSED" | "LISTEN") => Some(Event::Abort),
            _ => None,
        })
    }

    fn watch<A: Application, R>(
        &mut self,
        stack: &mut Stack<A>,
        act: impl FnOnce(&mut Stack<A>) -> R,
        event: impl Fn(&Standing, &Standing) -> Option<Event>,
    ) -> R {
        let before: Vec<(Tuple, Standing)> = self
            .alive
            .iter()
            .map(|tuple| (*tuple, stack.standing(tuple)))
            .filter(|(_, at)| at.is_alive())
            .collect();
        let result = act(stack);
        for (tuple, before) in before {
            if let Some(event) = event(&before, &stack.standing(&tuple)) {
                self.note(&tuple, before.state, event, stack);
            }
        }
        result
    }

    fn note<A: Application>(
        &mut self,
        tuple: &Tuple,
        before: &'static str,
        event: Event,
        stack: &Stack<A>,
    ) {
        let after = stack.standing(tuple).state;
        // If no connection is left, LISTEN and CLOSED are the same.
        let after = if after == "LISTEN" && before != "LISTEN" { "CLOSED" } else { after };
        let (count, followed) = self.seen.entry((before, event)).or_default();
        *count += 1;
        followed.insert(after);
        self.alive.retain(|known| known != tuple);
        if !matches!(after, "CLOSED" | "LISTEN") {
            self.alive.push(*tuple);
        }
    }
}

/// What a segment is to a connection.
fn arrival(standing: &Standing, segment: &Segment<'_>) -> Event {
    match standing.state {
        "CLOSED" | "LISTEN" => without_connection(segment),
        "SYN-SENT" => in_syn_sent(standing, segment),
        _ => synchronized(standing, segment),
    }
}

fn without_connection(segment: &Segment<'_>) -> Event {
    let has = |flag| segment.flags.has(flag);
    match (has(Flags::RST), has(Flags::SYN), has(Flags::ACK)) {
        (true, ..) => Event::Rst,
        (_, true, true) => Event::SynAck,
        (_, true, false) => Event::Syn,
        (.., false) => Event::NoAck,
        _ if has(Flags::FIN) => Event::Fin,
        _ if !segment.payload.is_empty() => Event::Text,
        _ => Event::Ack,
    }
}

fn in_syn_sent(standing: &Standing, segment: &Segment<'_>) -> Event {
    let has = |flag| segment.flags.has(flag);
    let is_right = has(Flags::ACK) && segment.ack == standing.snd_nxt;
    match (has(Flags::RST), has(Flags::SYN)) {
        (true, _) => [Event::RstDoubtful, Event::Rst][usize::from(is_right)],
        _ if has(Flags::ACK) && !is_right => Event::AckUnsent,
        (_, true) => [Event::Syn, Event::SynAck][usize::from(is_right)],
        _ => [Event::NoAck, Event::Ack][usize::from(is_right)],
    }
}

/// §3.10.7.4, in the order of its steps.
fn synchronized(standing: &Standing, segment: &Segment<'_>) -> Event {
    let has = |flag| segment.flags.has(flag);
    let Standing { snd_una, snd_nxt, rcv_nxt, rcv_edge, .. } = *standing;
    let (seq, ack, len) = (segment.seq, segment.ack, segment.len());
    let is_opening = matches!(standing.state, "SYN-RECEIVED" | SIMULTANEOUS);
    if is_opening && has(Flags::SYN) && !has(Flags::RST) && seq + 1 == rcv_nxt {
        return [Event::Syn, Event::SynAck][usize::from(has(Flags::ACK) && ack == snd_nxt)];
    }
    let acceptable = match (len, rcv_edge == rcv_nxt) {
        (0, true) => seq == rcv_nxt,
        (0, false) => seq.at_or_after(rcv_nxt) && seq.before(rcv_edge),
        (_, true) => false,
        (_, false) => seq.before(rcv_edge) && (seq + len).after(rcv_nxt),
    };
    if has(Flags::RST) {
        return match (acceptable, seq == rcv_nxt) {
            (false, _) => Event::RstOutside,
            (_, true) => Event::Rst,
            _ => Event::RstDoubtful,
        };
    }
    let is_old = |(value, _)| standing.ts_recent.is_some_and(|recent| Seq(value).before(recent));
    let acceptable = acceptable && !segment.options.timestamps.is_some_and(is_old);
    let acks_fin = standing.fin_sent && ack == snd_nxt && ack.after(snd_una);
    let is_next = seq.at_or_before(rcv_nxt);
    match () {
        () if !acceptable => Event::Outside,
        () if has(Flags::SYN) => Event::Syn,
        () if !has(Flags::ACK) => Event::NoAck,
        () if ack.after(snd_nxt) => Event::AckUnsent,
        () if is_opening && ack.before(snd_una) => Event::AckOld,
        () if is_opening && ack == snd_una => Event::AckAgain,
        () if has(Flags::FIN) && !is_next => Event::FinAhead,
        () if has(Flags::FIN) => [Event::Fin, Event::FinAndAckOfFin][usize::from(acks_fin)],
        () if len > 0 => [Event::TextAhead, Event::Text][usize::from(is_next)],
        () if acks_fin => Event::AckOfFin,
        () if ack.before(snd_una) => Event::AckOld,
        () if ack == snd_una => Event::AckAgain,
        () => Event::Ack,
    }
}

/// A table: a line for each event, a column for each state, in it how often the two met.
impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const COLUMNS: [&str; 12] = [
            "CLOSED", "LISTEN", "SYN-SENT", "SYN-RCVD", "(both)", "ESTAB", "FIN-W-1", "FIN-W-2",
            "CLOSE-W", "CLOSING", "LAST-ACK", "TIME-W",
        ];
        write!(f, "{:16}", "")?;
        for column in COLUMNS {
            write!(f, " {column:>8}")?;
        }
        for event in Event::ALL {
            write!(f, "\n{:16}", format!("{event:?}"))?;
            for state in STATES {
                match self.seen.get(&(state, event)) {
                    Some((count, _)) => write!(f, " {count:>8}")?,
                    None => write!(f, " {:>8}", "-")?,
                }
            }
        }
        Ok(())
    }
}

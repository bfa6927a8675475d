//! Every combination of control bits, with and without text, against every state: what RFC 9293
//! §3.10.7 and RFC 5961 answer before a segment counts. Each cell is a packet script, so that a
//! failure shows it. Each runs over both versions of IP, and with every controller of congestion.

use simoom_tcp::Congestion;
use simoom_tcp::testing::script;

/// A segment: its bits, its text, its number and the one that it acknowledges.
#[derive(Clone, Copy)]
struct Cell {
    fin: bool,
    syn: bool,
    rst: bool,
    psh: bool,
    ack: bool,
    len: i64,
    seq: i64,
    acked: i64,
}

impl Cell {
    /// All combinations of bits and text, at `seq`, acknowledging `acked`.
    fn all(seq: i64, acked: i64) -> impl Iterator<Item = Cell> {
        (0..64).map(move |bits| {
            let has = |bit: i64| bits & bit != 0;
            let (fin, syn, rst, psh, ack) = (has(1), has(2), has(4), has(8), has(16));
            let len = if has(32) { 10 } else { 0 };
            Cell { fin, syn, rst, psh, ack, len, seq, acked }
        })
    }

    /// SEG.LEN.
    fn space(&self) -> i64 {
        self.len + i64::from(self.fin) + i64::from(self.syn)
    }

    /// The line of a script in which it arrives.
    fn line(&self) -> String {
        let bits = [
            (self.fin, "FIN"),
            (self.syn, "SYN"),
            (self.rst, "RST"),
            (self.psh, "PSH"),
            (self.ack, "ACK"),
        ];
        let bits: String =
            bits.iter().filter(|(is_set, _)| *is_set).map(|(_, bit)| format!("{bit} ")).collect();
        format!("< {bits}seq {}+{} ack {}\n", self.seq, self.len, self.acked)
    }
}

/// A state: how a script reaches it, its name there, SND.NXT and RCV.NXT.
struct Reached {
    by: &'static str,
    name: &'static str,
    snd_nxt: i64,
    rcv_nxt: i64,
}

const SYNCHRONIZED: [Reached; 7] = [
    Reached {
        by: "connect\n> SYN seq 0 mss 1460 ws 1 sackOK ts 0 0\n\
             < SYN seq 0 mss 1460\n> SYN ACK seq 0 ack 1 mss 1460\n",
        name: "SYN-RECEIVED",
        snd_nxt: 1,
        rcv_nxt: 1,
    },
    Reached { by: "established\n", name: "ESTABLISHED", snd_nxt: 1, rcv_nxt: 1 },
    Reached {
        by: "established\nclose\n> ACK FIN seq 1 ack 1\n",
        name: "FIN-WAIT-1",
        snd_nxt: 2,
        rcv_nxt: 1,
    },
    Reached {
        by: "established\nclose\n> ACK FIN seq 1 ack 1\n< ACK seq 1 ack 2\n",
        name: "FIN-WAIT-2",
        snd_nxt: 2,
        rcv_nxt: 1,
    },
    Reached {
        by: "established win 0\nsend 10\n< ACK FIN seq 1 ack 1 win 0\n> ACK seq 1 ack 2\n",
        name: "CLOSE-WAIT",
        snd_nxt: 1,
        rcv_nxt: 2,
    },
    Reached {
        by: "established\nclose\n> ACK FIN seq 1 ack 1\n< ACK FIN seq 1 ack 1\n> ACK seq 2 ack 2\n",
        name: "CLOSING",
        snd_nxt: 2,
        rcv_nxt: 2,
    },
    Reached {
        by: "established\n< ACK FIN seq 1 ack 1\n> ACK FIN seq 1 ack 2\n",
        name: "LAST-ACK",
        snd_nxt: 2,
        rcv_nxt: 2,
    },
];

fn run(scripts: impl Iterator<Item = String>, at_least: usize) {
    let (mut count, mut failures) = (0, Vec::new());
    for text in scripts {
        count += 1;
        failures.extend(outcomes(&text).err().map(|why| format!("{text}{why}\n")));
    }
    let some = failures.iter().take(5).cloned().collect::<String>();
    assert!(failures.is_empty(), "{} of {count} cells failed:\n{some}", failures.len());
    assert!(count >= at_least, "{count} cells");
}

/// Runs a cell over both versions of IP, and with every controller.
fn outcomes(text: &str) -> Result<(), String> {
    script::run_over_ipv6("cell over IPv6", text)?;
    Congestion::ALL.iter().try_for_each(|congestion| {
        script::run(&format!("cell with {congestion}"), &format!("set {congestion} 1\n{text}"))
    })
}

/// The answer of a stack without a connection (§3.10.7.1).
fn reset(cell: &Cell) -> String {
    match (cell.rst, cell.ack) {
        (true, _) => String::new(),
        (_, true) => format!("> RST seq {} win 0\n", cell.acked),
        _ => format!("> RST ACK seq 0 ack {} win 0\n", cell.seq + cell.space()),
    }
}

#[test]
fn rfc_9293_section_3_10_7_1_closed_resets_all_but_resets() {
    let cells = Cell::all(5, 7);
    run(cells.map(|cell| format!("stop\n{}{}", cell.line(), reset(&cell))), 64);
}

#[test]
fn rfc_9293_section_3_10_7_2_listen_answers_a_syn_and_resets_acknowledgements() {
    let answer = |cell: &Cell| match (cell.rst, cell.ack, cell.syn && !cell.fin) {
        (true, ..) | (_, true, _) => reset(cell),
        (.., true) => "> SYN ACK seq 0 ack 1 mss 1460\nownership half_open 1\n".to_owned(),
        _ => "ownership half_open 0\n".to_owned(),
    };
    run(Cell::all(0, 7).map(|cell| format!("{}{}", cell.line(), answer(&cell))), 64);
}

#[test]
fn rfc_9293_section_3_10_7_3_syn_sent_takes_a_syn_or_a_reset_that_acknowledges_its_own() {
    let opening = "connect\n> SYN seq 0 mss 1460 ws 1 sackOK ts 0 0\n";
    let answer = |cell: &Cell| {
        let is_right = cell.ack && cell.acked == 1;
        match (cell.ack && !is_right, cell.rst, cell.syn) {
            (true, true, _) => "state SYN-SENT\n".to_owned(),
            (true, ..) => format!("> RST seq {}\nstate SYN-SENT\n", cell.acked),
            (_, true, _) if is_right => "state NONE\nended Refused\n".to_owned(),
            (.., true) if !cell.rst && !is_right => {
                "state SYN-RECEIVED\n> SYN ACK seq 0 ack 1 mss 1460\nreceived 0\n".to_owned()
            }
            (.., true) if !cell.rst => {
                let ack = 1 + cell.len + i64::from(cell.fin);
                let fin = if cell.fin { "FIN " } else { "" };
                format!("> ACK {fin}seq 1 ack {ack}\nreceived {}\n", cell.len)
            }
            _ => "state SYN-SENT\n".to_owned(),
        }
    };
    let cells = [0, 1, 2].into_iter().flat_map(|acked| Cell::all(0, acked));
    run(cells.map(|cell| format!("{opening}{}{}", cell.line(), answer(&cell))), 192);
}

/// What the first five steps of §3.10.7.4 answer; `None` if the segment passes them.
fn answer(state: &Reached, cell: &Cell) -> Option<String> {
    const WINDOW: i64 = 65535;
    let Reached { name, snd_nxt, rcv_nxt, .. } = state;
    let acknowledged = format!("> ACK seq {snd_nxt} ack {rcv_nxt}\nstate {name}\n");
    let dropped = format!("state {name}\n");
    let (start, end) = (cell.seq - rcv_nxt, cell.seq + cell.space() - rcv_nxt);
    let is_acceptable = match cell.space() {
        0 => (0..WINDOW).contains(&start),
        _ => start < WINDOW && end > 0,
    };
    match () {
        () if !is_acceptable && cell.rst => Some(dropped),
        () if !is_acceptable => Some(acknowledged),
        () if cell.rst && start == 0 => Some("state NONE\n".to_owned()),
        () if cell.rst || cell.syn => Some(acknowledged),
        () if !cell.ack => Some(dropped),
        () if (-60000..=*snd_nxt).contains(&cell.acked) => None,
        () if *name == "SYN-RECEIVED" => Some(format!("> RST seq {}\n{dropped}", cell.acked)),
        () => Some(acknowledged),
    }
}

#[test]
fn rfc_9293_section_3_10_7_4_what_does_not_fit_is_challenged_dropped_or_ends_the_connection() {
    let scripts = SYNCHRONIZED.iter().flat_map(|state| {
        let next = state.rcv_nxt;
        [next, next + 50, next + 100_000, next - 200].into_iter().flat_map(move |seq| {
            let acks = [state.snd_nxt, state.snd_nxt + 5, -70_000];
            acks.into_iter().flat_map(move |acked| Cell::all(seq, acked)).filter_map(move |cell| {
                let answer = answer(state, &cell)?;
                Some(format!("{}{}{answer}", state.by, cell.line()))
            })
        })
    });
    run(scripts, 4000);
}

/// RFC 5961 §4.2, RFC 6191, RFC 1337: TIME-WAIT is left for a new connection only.
#[test]
fn rfc_9293_section_3_10_7_4_time_wait_acknowledges_or_ignores_what_opens_nothing() {
    let closed = "established\nclose\n> ACK FIN seq 1 ack 1\n< ACK FIN seq 1 ack 2\n\
                  > ACK seq 2 ack 2\n";
    let answer = |cell: &Cell| {
        let is_ignored = cell.rst
            || !cell.syn
                && cell.seq == 2
                && (!cell.ack || cell.acked <= 2 && cell.len == 0 && !cell.fin);
        if is_ignored { "" } else { "> ACK seq 2 ack 2\n" }
    };
    // A SYN below RCV.NXT opens nothing.
    let cells = [-200, 2, 1000]
        .into_iter()
        .flat_map(|seq| [2, 7].into_iter().flat_map(move |acked| Cell::all(seq, acked)));
    let cells = cells.filter(|cell| !cell.syn || cell.ack || cell.fin || cell.seq < 2);
    run(cells.map(|cell| format!("{closed}{}{}", cell.line(), answer(&cell))), 300);
}

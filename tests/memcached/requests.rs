//! Requests at random, some broken: each is whole, so that the next begins behind it.

use crate::peer::CAS;
use simoom_io::testing::Random;

/// Few keys, so that they meet.
const KEYS: &[&str] =
    &["a", "b", "key:1", "Zm9v", "a_much_longer_key_with_quite_a_few_characters_in_it"];
/// Far from now, so that the clock's last second does not matter.
const TIMES: &[&str] = &[
    "0",
    "0",
    "0",
    "1000",
    "100000",
    "2592000",
    "-1",
    "2592001",
    "4000000000",
    "x",
    "1x",
    "-",
    "+5",
];
const NUMBERS: &[&str] = &[
    "0",
    "1",
    "10",
    "99",
    "18446744073709551615",
    "18446744073709551616",
    "-1",
    "x",
    "007",
    "1000000000000000000000",
];

fn key(random: &mut Random) -> String {
    match random.index(40) {
        0 => "k".repeat(250),
        1 => "k".repeat(251),
        _ => random.choose(KEYS).to_owned(),
    }
}

fn value(random: &mut Random) -> String {
    match random.index(12) {
        0 => String::new(),
        1 => "x".repeat(random.index(2000)),
        2 => "y".repeat(10_000 + random.index(20_000)),
        3..=6 => random.choose(NUMBERS).to_owned(),
        _ => "v".repeat(random.index(40)),
    }
}

fn noreply(random: &mut Random) -> &'static str {
    if random.one_in(6) { " noreply" } else { "" }
}

fn end(random: &mut Random) -> &'static str {
    if random.one_in(10) { "\n" } else { "\r\n" }
}

/// A request of the text or the meta protocol.
pub fn text(random: &mut Random) -> Vec<u8> {
    let request = match random.index(24) {
        0..=4 => storage(random),
        5..=7 => retrieval(random),
        8 => format!("delete {}{}{}", key(random), noreply(random), end(random)),
        9 | 10 => {
            let command = random.choose(&["incr", "decr"]);
            format!(
                "{command} {} {}{}{}",
                key(random),
                random.choose(NUMBERS),
                noreply(random),
                end(random)
            )
        }
        11 => {
            format!(
                "touch {} {}{}{}",
                key(random),
                random.choose(TIMES),
                noreply(random),
                end(random)
            )
        }
        12..=14 => meta_get(random),
        15..=17 => meta_set(random),
        18 => meta_delete(random),
        19 | 20 => meta(
            random,
            "ma",
            &[
                "v",
                "q",
                "k",
                "O7",
                "t",
                "c",
                "N1000",
                "N0",
                "J13",
                "J",
                "D2",
                "D18446744073709551615",
                "T1000",
                "MI",
                "MD",
                "M+",
                "M-",
                "Mx",
                "C7777777",
                "C999999999",
                "E7777777",
            ],
        ),
        21 => cas(random),
        _ => rare(random),
    };
    request.into_bytes()
}

fn storage(random: &mut Random) -> String {
    let (command, value) =
        (random.choose(&["set", "set", "add", "replace", "append", "prepend"]), value(random));
    let flags = random.choose(&["0", "5", "4294967295", "4294967296", "-1", "x", "+7"]);
    let len =
        if random.one_in(30) { value.len().saturating_sub(random.index(3)) } else { value.len() };
    format!(
        "{command} {} {flags} {} {len}{}\r\n{value}\r\n",
        key(random),
        random.choose(TIMES),
        noreply(random)
    )
}

/// The cas unique that was told last is named, or another.
fn cas(random: &mut Random) -> String {
    let key = random.choose(KEYS);
    let number = if random.one_in(4) { "999999999" } else { str::from_utf8(CAS).unwrap() };
    format!("gets {key}\r\ncas {key} 3 0 2 {number}{}\r\n42\r\n", noreply(random))
}

fn retrieval(random: &mut Random) -> String {
    let command = random.choose(&["get", "gets", "gat", "gats"]);
    let time = if command.starts_with("gat") {
        format!(" {}", random.choose(TIMES))
    } else {
        String::new()
    };
    let mut keys: String = (0..random.index(5)).map(|_| format!(" {}", key(random))).collect();
    if keys.split(' ').any(|key| key.len() > 250) {
        // Memcached has touched those before it, though it does not answer them.
        keys = format!(" {}", "k".repeat(251));
    }
    format!("{command}{time} {keys}{}{}", if random.one_in(8) { " " } else { "" }, end(random))
}

fn flags(random: &mut Random, choices: &[&'static str]) -> String {
    (0..random.index(6)).map(|_| format!(" {}", random.choose(choices))).collect()
}

fn meta(random: &mut Random, command: &str, choices: &[&'static str]) -> String {
    format!("{command} {}{}{}", key(random), flags(random, choices), end(random))
}

fn meta_get(random: &mut Random) -> String {
    let choices = &[
        "v",
        "v",
        "k",
        "c",
        "t",
        "s",
        "f",
        "q",
        "h",
        "u",
        "b",
        "O7",
        "N1000",
        "R500",
        "R5000",
        "R",
        "T1000",
        "T0",
        "C7777777",
        "C999999999",
        "E7777777",
        "P1",
        "Lx",
        "S1",
        "!",
        "1",
    ];
    without(&meta(random, "mg", choices), " b", &[" N"])
}

fn meta_delete(random: &mut Random) -> String {
    let choices = &[
        "q",
        "k",
        "O7",
        "O12345678901234567890123456789012",
        "b",
        "I",
        "x",
        "T1000",
        "C7777777",
        "C999999999",
        "E7777777",
        "v",
        "P1",
        "L",
    ];
    without(&meta(random, "md", choices), " b", &[" x"])
}

fn meta_set(random: &mut Random) -> String {
    let choices = &[
        "q",
        "k",
        "c",
        "s",
        "b",
        "O7",
        "F5",
        "F",
        "T1000",
        "T-1",
        "T0",
        "T",
        "ME",
        "MA",
        "MP",
        "MR",
        "MS",
        "M",
        "MX",
        "N1000",
        "I",
        "C7777777",
        "C999999999",
        "C0",
        "E7777777",
        "O12345678901234567890123456789012",
        "P1",
        "S5",
    ];
    let flags = without(&flags(random, choices), " b", &[" MA", " MP"]);
    // Memcached gives the cas unique of an `ms` that it refuses for its opaque to what the
    // connection stores next.
    let (flags, value) = (without(&flags, " E7777777", &[" O1234"]), value(random));
    format!("ms {} {}{flags}\r\n{value}\r\n", key(random), value.len())
}

/// A line without a flag if it has one of others: memcached forgets that a key is binary when it
/// creates, joins or empties.
fn without(line: &str, flag: &str, others: &[&str]) -> String {
    if others.iter().any(|other| line.contains(other)) {
        line.replace(flag, "")
    } else {
        line.to_owned()
    }
}

fn rare(random: &mut Random) -> String {
    let long_key = "k".repeat(300);
    random
        .choose(&[
            "version\r\n",
            "verbosity 1\r\n",
            "verbosity\r\n",
            "nonsense\r\n",
            "nonsense noreply\r\n",
            "get\r\n",
            "set a\r\n",
            "set a 0 0 -1\r\n",
            "set a 0 0 x\r\n",
            "cas a 0 0 1\r\nx\r\n",
            "incr a\r\n",
            "touch a\r\n",
            "delete\r\n",
            "gat 0\r\n",
            "mg\r\n",
            "ms a\r\n",
            "ms a S1\r\n",
            "ms a -1\r\n",
            "\r\n",
            "\n",
            "a\r\n",
            "stats reset\r\n",
            "stats sizes\r\n",
            "stats nonsense\r\n",
            "shutdown\r\n",
            "flush_all\r\n",
            "flush_all noreply\r\n",
            "flush_all x\r\n",
            "flush_all 1000\r\nflush_all\r\n",
            "cache_memlimit 1\r\n",
            "GET / HTTP/1.1\r\n",
            "quit\r\n",
            "set a 0 0 3\r\nabcdef\r\n",
            "set a 0 0 2000000\r\n",
            "get KEY300 a\r\n",
        ])
        .replace("KEY300", &long_key)
        .replace("2000000\r\n", &format!("2000000\r\n{}\r\n", "z".repeat(2_000_000)))
}

/// Sizes of the pieces that a pipeline is sent in.
pub fn cuts(random: &mut Random) -> Vec<usize> {
    (0..1 + random.index(5)).map(|_| 1 + random.index(3000)).collect()
}

/// A packet of the binary protocol. Those of an unknown opcode have no body: memcached reads past
/// too much of it.
pub fn packet(random: &mut Random) -> Vec<u8> {
    let opcode = random.index(0x26) as u8;
    let is_known = !matches!(opcode, 0x1b | 0x1f | 0x25);
    let broken = is_known && random.one_in(40);
    let key = match opcode {
        7 | 8 | 0x0a | 0x0b | 0x17 | 0x18 | 0x1b | 0x1f | 0x20 | 0x25 if !broken => String::new(),
        // What `stat` tells is not the same of both, but for these.
        0x10 => random.choose(&["sizes", "reset", "nonsense"]).to_owned(),
        _ => key(random),
    };
    let time = random.choose(&[0u32, 0, 1000, u32::MAX, 100]);
    let count = [
        &(random.index(1000) as u64).to_be_bytes()[..],
        &(random.index(1000) as u64).to_be_bytes(),
        &time.to_be_bytes(),
    ]
    .concat();
    let (extras, value) = match opcode {
        1..=3 | 0x11..=0x13 => ([7u32.to_be_bytes(), time.to_be_bytes()].concat(), value(random)),
        0x0e | 0x0f | 0x19 | 0x1a => (vec![], value(random)),
        5 | 6 | 0x15 | 0x16 => (count, String::new()),
        0x1c..=0x1e | 0x23 | 0x24 => (time.to_be_bytes().to_vec(), String::new()),
        0x21 | 0x22 => (vec![], "secret".into()),
        _ => (vec![], String::new()),
    };
    let extras = if broken && random.one_in(2) { vec![0; random.index(24)] } else { extras };
    let cas = if random.one_in(12) { 999_999_999u64 } else { 0 };
    let body = (extras.len() + key.len() + value.len()) as u32;
    let head =
        [&[0x80, opcode][..], &(key.len() as u16).to_be_bytes(), &[extras.len() as u8, 0, 0, 0]]
            .concat();
    [
        &head,
        &body.to_be_bytes()[..],
        b"opaq",
        &cas.to_be_bytes(),
        &extras,
        key.as_bytes(),
        value.as_bytes(),
    ]
    .concat()
}

//! The lines of `stats`, of Simoom and of memcached: the same names, and values of the same types.

use crate::beside::Beside;
use crate::differences;

/// Simoom's lines, each of which memcached has, too, with a value of the same type; `topic` begins
/// with a blank. Numbers in names are told as `#`.
pub fn compared(beside: &mut Beside, topic: &str) -> Vec<(String, String)> {
    let (mine, other) = beside.both(format!("stats{topic}\r\n").as_bytes());
    let (mine, theirs) = (lines(&mine), lines(&other));
    for (name, value) in
        mine.iter().filter(|(name, _)| !differences::is_own_stat(beside.version(), name))
    {
        let Some((_, other)) = theirs.iter().find(|(known, _)| known == name) else {
            panic!("stats{topic}: memcached has no {name}");
        };
        assert_eq!(kind(value), kind(other), "stats{topic}: {name}: {value}, {other}");
    }
    mine
}

/// The lines of `stats conns` of both, Simoom's first, in order: numbers, ports and times told as
/// `#`.
pub fn connections(beside: &mut Beside) -> [Vec<String>; 2] {
    let (mine, theirs) = beside.both(b"stats conns\r\n");
    [mine, theirs].map(|answer| {
        let shape = |(name, value): (String, String)| match value.rsplit_once(':') {
            Some((address, port)) if port.parse::<u16>().is_ok() => format!("{name} {address}:#"),
            _ if value.parse::<u64>().is_ok() => format!("{name} #"),
            _ => format!("{name} {value}"),
        };
        let mut shapes: Vec<String> = lines(&answer).into_iter().map(shape).collect();
        shapes.sort();
        shapes
    })
}

fn lines(answer: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8(answer.to_vec()).unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix("STAT ")?.split_once(' '));
    lines.map(|(name, value)| (without_numbers(name), value.to_owned())).collect()
}

fn without_numbers(name: &str) -> String {
    let parts = name.split(':').map(|part| if part.parse::<u64>().is_ok() { "#" } else { part });
    parts.collect::<Vec<&str>>().join(":")
}

fn kind(value: &str) -> &'static str {
    let is_number = |part: &str| part.parse::<u64>().is_ok();
    match value.split_once('.') {
        Some((whole, part)) if is_number(whole) && is_number(part) => "decimal",
        None if is_number(value) => "integer",
        _ => "text",
    }
}

//! Where Simoom and memcached answer differently, and why; and what is left out of every comparison.
//!
//! Simoom follows memcached 1.6.45. Debian's stable release has 1.6.18, whose words are other ones in places.

/// A difference that is known.
struct Difference {
    /// Why the two differ.
    _why: &'static str,
    /// In which of them, and where.
    scope: Scope,
    /// Whether a request meets it.
    meets: fn(&str) -> bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Scope {
    /// With any memcached.
    Always,
    /// With any, but only if other requests are before it in the same read.
    Pipelined,
    /// With memcached before 1.6.45.
    Old,
}

const KNOWN: &[Difference] = &[
    Difference {
        _why: "1.6.45 ends its complaint of a long key behind others twice, and drops what it has answered before",
        scope: Scope::Always,
        meets: |request| request.starts_with('g') && has_long_key(request),
    },
    Difference {
        _why: "hanging up on HTTP, memcached drops what it has answered before",
        scope: Scope::Pipelined,
        meets: |request| request.contains("HTTP/"),
    },
];

fn has_long_key(request: &str) -> bool {
    first_line(request).split(' ').any(|word| word.len() > 250)
}

fn first_line(request: &str) -> &str {
    request.split('\n').next().unwrap_or_default().trim_end_matches('\r')
}

/// Whether `request`, other requests before it or none, is one that the two may answer differently.
pub fn may_differ(version: &str, request: &[u8], is_pipelined: bool) -> bool {
    let request = String::from_utf8_lossy(request);
    KNOWN.iter().any(|difference| {
        let applies = match difference.scope {
            Scope::Always => true,
            Scope::Pipelined => is_pipelined,
            Scope::Old => version != simoom::app::memcached::VERSION,
        };
        applies && (difference.meets)(&request)
    })
}

/// An answer without what may differ: cas uniques, seconds since the last access, and the last seconds of a time to
/// live; each line on its own, which is enough because no value looks like a line.
pub fn comparable(answer: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(answer);
    let lines = text.split_inclusive('\n').map(|line| {
        let body = line.trim_end_matches(['\r', '\n']);
        let words: Vec<&str> = body.split(' ').collect();
        let masked: Vec<String> = match words[0] {
            "VALUE" if words.len() == 5 => {
                words[..4].iter().map(|word| (*word).to_owned()).chain(["#".into()]).collect()
            }
            "HD" | "VA" | "EN" | "NS" | "EX" | "NF" => words.iter().map(|word| masked(word)).collect(),
            "VERSION" => vec!["VERSION".into()],
            _ => return line.to_owned(),
        };
        format!("{}{}", masked.join(" "), &line[body.len()..])
    });
    lines.collect::<String>().into_bytes()
}

fn masked(word: &str) -> String {
    let Some((flag, number)) = word.split_at_checked(1) else { return word.to_owned() };
    match (flag, number.parse::<u64>()) {
        ("c" | "l", Ok(_)) => format!("{flag}#"),
        ("t", Ok(seconds)) => format!("t{}", seconds.div_ceil(100) * 100),
        _ => word.to_owned(),
    }
}

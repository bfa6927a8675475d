//! Where Simoom and memcached answer differently, and why; and what is left out of every
//! comparison.
//!
//! Simoom follows memcached 1.6.45. Debian's stable release has 1.6.18, whose words are other ones
//! in places.

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
    Difference {
        _why: "memcached counts a number in its place, padded, unless an answer before it still holds the item",
        scope: Scope::Pipelined,
        meets: |request| {
            ["incr ", "decr ", "ma "].iter().any(|command| request.starts_with(command))
        },
    },
];

fn has_long_key(request: &str) -> bool {
    first_line(request).split(' ').any(|word| word.len() > 250)
}

fn first_line(request: &str) -> &str {
    request.split('\n').next().unwrap_or_default().trim_end_matches('\r')
}

/// Whether `request`, other requests before it or none, is one that the two may answer differently.
pub fn may_differ(request: &[u8], is_pipelined: bool) -> bool {
    let request = String::from_utf8_lossy(request);
    let applies = |scope| scope == Scope::Always || is_pipelined;
    KNOWN.iter().any(|difference| applies(difference.scope) && (difference.meets)(&request))
}

/// Memcached before 1.6.45: other words for the same refusals, and the flags and numbers of
/// [`is_understood`].
pub fn is_old(version: &str) -> bool {
    version != simoom::app::memcached::VERSION
}

/// Whether both versions take a request for the same. Older ones do not know the meta flags `E` and
/// `x`, nor `b` and `q` of `ma`, `s` and `N` of `ms`; they take `+5` for a time but not `-` or what
/// exceeds 32 bits; and they read a request with more tokens than it has use for as nonsense. What
/// they count without an answer is left out because of [`is_misread_number`].
pub fn is_understood(version: &str, request: &[u8]) -> bool {
    let request = String::from_utf8_lossy(request);
    let words: Vec<&str> =
        first_line(&request).split(' ').filter(|word| !word.is_empty()).collect();
    let command = words.first().copied().unwrap_or_default();
    let has = |unknown: &[&str]| words[1..].iter().any(|word| unknown.contains(word));
    let is_meta = matches!(command, "mg" | "ms" | "md" | "ma");
    !is_old(version)
        || words.is_empty()
        || !(is_meta
            && has(&[
                "E7777777", "x", "s", "b", "S1", "S5", "1", "!", "M", "MX", "Mx", "h", "L", "Lx",
                "P1", "N1000",
            ])
            || command == "ma" && has(&["q", "N0"])
            || matches!(command, "incr" | "decr") && has(&["noreply"])
            || matches!(command, "touch" | "gat" | "gats") && has(&["-", "+5", "4000000000"])
            || matches!(command, "set" | "add" | "replace" | "append" | "prepend")
                && has(&["-", "1x", "x", "-1"]))
}

/// Memcached before 1.6.45, reading a stored number of 2^63 or more, looks for a minus sign past
/// the end of the item, and takes one that it finds there for the number's own. What lies there,
/// pointers for instance, is left to chance. Whether that has happened: memcached has not counted
/// what Simoom has.
pub fn is_misread_number(version: &str, mine: &[u8], other: &[u8]) -> bool {
    let is_refused = match other {
        [0x81, _, _, _, _, _, status @ ..] => status.starts_with(&[0, 6]),
        text => text == b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n",
    };
    is_old(version) && mine != other && is_refused
}

/// The key that `request` counts and gives a cas unique or a time of its own. Memcached tells those
/// but gives them to the item that was there, which is another one if the number grew longer: the
/// number keeps its time, and has a cas unique of memcached's own counting.
pub fn key_counted_and_changed(request: &[u8]) -> Option<&[u8]> {
    let mut words = request.split(u8::is_ascii_whitespace);
    (words.next()? == b"ma").then_some(())?;
    let key = words.next()?;
    words.any(|word| matches!(word.first(), Some(b'E' | b'T'))).then_some(key)
}

/// Whether a line of `stats` is one that memcached of this version does not have.
pub fn is_own_stat(version: &str, name: &str) -> bool {
    name == "simoom_version" || is_old(version) && name == "client_flags_size"
}

/// Whether both refuse, in different words.
pub fn differ_in_words(version: &str, mine: &[u8], other: &[u8]) -> bool {
    is_old(version) && is_refusal(mine) && is_refusal(other)
}

/// Whether an answer says that nothing was done.
pub fn is_refusal(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    text.lines().all(|line| {
        ["ERROR", "CLIENT_ERROR", "SERVER_ERROR", "<closed>", "END"]
            .iter()
            .any(|word| line.starts_with(word))
    })
}

/// An answer without what may differ: cas uniques, seconds since the last access, and the last
/// seconds of a time to live; each line on its own, which is enough because no value looks like a
/// line.
pub fn comparable(answer: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(answer);
    let lines = text.split_inclusive('\n').map(|line| {
        let body = line.trim_end_matches(['\r', '\n']);
        let words: Vec<&str> = body.split(' ').collect();
        let masked: Vec<String> = match words[0] {
            "VALUE" if words.len() == 5 => {
                words[..4].iter().map(|word| (*word).to_owned()).chain(["#".into()]).collect()
            }
            "HD" | "VA" | "EN" | "NS" | "EX" | "NF" => {
                words.iter().map(|word| masked(word)).collect()
            }
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
        // Until a second of the calendar: the two may ask their clocks in different ones.
        ("t", Ok(1_000_000_000..)) => "t#".into(),
        ("t", Ok(seconds)) => format!("t{}", seconds.div_ceil(100) * 100),
        _ => word.to_owned(),
    }
}

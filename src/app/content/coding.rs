//! Content codings and their choice (RFC 9110 §12.5.3). Input: an Accept-Encoding field and the
//! codings in which a file is available. Output: one of them.

/// A content coding that a file may be available in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Coding {
    /// RFC 7932.
    Brotli,
    /// RFC 8878.
    Zstd,
    /// RFC 1952.
    Gzip,
}

/// The number of codings.
pub(crate) const CODINGS: usize = 3;

impl Coding {
    /// The codings in order of preference: a client that accepts several equally gets the first
    /// that is available.
    pub(crate) const ALL: [Coding; CODINGS] = [Coding::Brotli, Coding::Zstd, Coding::Gzip];

    /// The name in Accept-Encoding and Content-Encoding.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Coding::Brotli => "br",
            Coding::Zstd => "zstd",
            Coding::Gzip => "gzip",
        }
    }

    /// The suffix of a file that was compressed beforehand.
    pub(crate) fn suffix(self) -> &'static [u8] {
        match self {
            Coding::Brotli => b".br",
            Coding::Zstd => b".zst",
            Coding::Gzip => b".gz",
        }
    }
}

/// The chosen form of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// Without a coding.
    Identity,
    Coded(Coding),
    /// The client refuses the file without a coding, and each available coding.
    NotAcceptable,
}

/// Weights in thousandths. `None`: not mentioned.
#[derive(Default)]
struct Weights {
    codings: [Option<u16>; CODINGS],
    identity: Option<u16>,
    others: Option<u16>,
}

/// Chooses for a client that sent the field values `accept`, at least one, among the `available`
/// codings. §12.5.3: a coding that is not mentioned is refused, but identity is accepted unless the
/// field refuses it. So identity is the last choice if it is not mentioned.
#[cold]
pub(crate) fn choose<'a>(
    accept: impl Iterator<Item = &'a [u8]>,
    available: impl Fn(Coding) -> bool,
) -> Choice {
    let mut weights = Weights::default();
    accept.for_each(|value| weights.note(value));
    let identity = weights.identity.or(weights.others.filter(|weight| *weight == 0));
    let mut best = (identity.unwrap_or(0), Choice::Identity);
    for coding in Coding::ALL.into_iter().filter(|coding| available(*coding)) {
        let weight = weights.codings[coding as usize].or(weights.others).unwrap_or(0);
        let wins = match best.1 {
            // An equal weight goes to the shorter form.
            Choice::Identity => weight >= best.0,
            _ => weight > best.0,
        };
        if weight > 0 && wins {
            best = (weight, Choice::Coded(coding));
        }
    }
    match best {
        (_, Choice::Identity) if identity == Some(0) => Choice::NotAcceptable,
        (_, choice) => choice,
    }
}

impl Weights {
    fn note(&mut self, value: &[u8]) {
        for member in value.split(|&byte| byte == b',') {
            let mut parts = member.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
            let name = parts.next().unwrap_or_default();
            let Some(weight) = parts.next().map_or(Some(1000), weight) else { continue };
            let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
            if name == b"*" {
                self.others = Some(weight);
            } else if is("identity") {
                self.identity = Some(weight);
            } else if let Some(coding) = Coding::ALL.into_iter().find(|coding| is(coding.name())) {
                self.codings[coding as usize] = Some(weight);
            } else if is("x-gzip") {
                // RFC 9110 §8.4.1.3.
                self.codings[Coding::Gzip as usize] = Some(weight);
            }
        }
    }
}

/// `q=` and a number from 0 to 1 with up to three decimals, in thousandths (§12.4.2). A member with
/// any other parameter is ignored.
fn weight(parameter: &[u8]) -> Option<u16> {
    let [b'q' | b'Q', b'=', digits @ ..] = parameter else { return None };
    let (whole, fraction) = match digits {
        [whole] => (whole, &b""[..]),
        [whole, b'.', fraction @ ..] if fraction.len() <= 3 => (whole, fraction),
        _ => return None,
    };
    let mut thousandths = match whole {
        b'0' => 0,
        b'1' => 1000,
        _ => return None,
    };
    let mut unit = 100;
    for digit in fraction {
        thousandths += char::from(*digit).to_digit(10)? as u16 * unit;
        unit /= 10;
    }
    (thousandths <= 1000).then_some(thousandths)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BR: Choice = Choice::Coded(Coding::Brotli);
    const ZSTD: Choice = Choice::Coded(Coding::Zstd);
    const GZIP: Choice = Choice::Coded(Coding::Gzip);

    fn chosen(accept: &str, available: &[Coding]) -> Choice {
        choose([accept.as_bytes()].into_iter(), |coding| available.contains(&coding))
    }

    #[test]
    fn rfc_9110_12_5_3() {
        let table = [
            ("", Choice::Identity),
            ("gzip", GZIP),
            ("x-gzip", GZIP),
            ("GZIP", GZIP),
            ("gzip, deflate, br, zstd", BR),
            ("zstd, gzip", ZSTD),
            ("deflate", Choice::Identity),
            ("br;q=0.5, gzip;q=0.9", GZIP),
            ("br; q=0.5 , gzip ;q=0.5", BR),
            ("br;q=0, gzip;q=0.001", GZIP),
            ("gzip;q=0", Choice::Identity),
            ("*", BR),
            ("br;q=0, *", ZSTD),
            ("*;q=0", Choice::NotAcceptable),
            ("*;q=0, gzip", GZIP),
            ("identity;q=0, *;q=0", Choice::NotAcceptable),
            ("identity;q=0", Choice::NotAcceptable),
            ("identity;q=0, gzip", GZIP),
            ("identity, *;q=0", Choice::Identity),
            ("identity;q=1, gzip;q=0.5", Choice::Identity),
            ("identity;q=0.5, gzip;q=0.5", GZIP),
            ("gzip;q=1.000", GZIP),
            ("gzip;q=1.001, br;q=2, zstd;q=", Choice::Identity),
            ("gzip;level=9", Choice::Identity),
            (",, ,gzip,", GZIP),
            ("compress;q=0.5, gzip;q=1.0", GZIP),
        ];
        for (accept, expected) in table {
            assert_eq!(chosen(accept, &Coding::ALL), expected, "{accept}");
        }
    }

    #[test]
    fn only_what_is_available_is_chosen() {
        let table = [
            ("gzip, br", &[Coding::Gzip][..], GZIP),
            ("gzip, br", &[], Choice::Identity),
            ("br, identity;q=0", &[Coding::Gzip], Choice::NotAcceptable),
            ("*;q=0.1, identity;q=0", &[Coding::Zstd], ZSTD),
        ];
        for (accept, available, expected) in table {
            assert_eq!(chosen(accept, available), expected, "{accept}");
        }
    }

    #[test]
    fn several_fields_are_one_list() {
        let choice = choose([&b"identity;q=0"[..], b"gzip"].into_iter(), |_| true);
        assert_eq!(choice, GZIP);
    }
}

//! Queries and forms: `name=value` pairs, percent-decoded, with `+` for a space
//! (application/x-www-form-urlencoded of the URL standard).

use crate::app::http::path::hex;
use std::borrow::Cow;

/// The decoded pairs of `text`, in order. A pair without `=` has an empty value.
pub(super) fn pairs(text: &[u8]) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    text.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty()).map(|pair| {
        let equals = memchr::memchr(b'=', pair).unwrap_or(pair.len());
        let value = pair.get(equals + 1..).unwrap_or(b"");
        (decode(&pair[..equals]), decode(value))
    })
}

/// As in the URL standard, invalid UTF-8 becomes U+FFFD, and a `%` without two digits remains.
/// Allocates only if something must be decoded.
fn decode(text: &[u8]) -> Cow<'_, str> {
    if !text.iter().any(|byte| b"%+".contains(byte)) {
        return String::from_utf8_lossy(text);
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        decoded.push(match (byte, behind) {
            (b'+', _) => b' ',
            (b'%', &[high, low, ..]) => match (hex(high), hex(low)) {
                (Some(high), Some(low)) => {
                    rest = &behind[2..];
                    high << 4 | low
                }
                _ => b'%',
            },
            _ => byte,
        });
    }
    Cow::Owned(String::from_utf8_lossy(&decoded).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_of_queries() {
        let table: [(&str, &[(&str, &str)]); 8] = [
            ("", &[]),
            ("a=1", &[("a", "1")]),
            ("a=1&b=2&a=3", &[("a", "1"), ("b", "2"), ("a", "3")]),
            ("a&b=&=c", &[("a", ""), ("b", ""), ("", "c")]),
            ("&&a=1&", &[("a", "1")]),
            ("a=b=c", &[("a", "b=c")]),
            ("caf%C3%A9=a+b%2B%26", &[("café", "a b+&")]),
            ("a=%&b=%4&c=%zz&d=%ff", &[("a", "%"), ("b", "%4"), ("c", "%zz"), ("d", "\u{fffd}")]),
        ];
        for (query, expected) in table {
            let pairs: Vec<_> = pairs(query.as_bytes()).collect();
            let pairs: Vec<_> = pairs.iter().map(|(name, value)| (&**name, &**value)).collect();
            assert_eq!(pairs, expected, "{query}");
        }
    }
}

//! Numbers in values, as memcached's `incr` and `decr` read and write them.

/// Parses as memcached's safe_strtoull does with C's strtoull: white space, a sign, digits, and
/// then white space, a NUL or the end. `decr` leaves spaces behind. A negative number is valid only
/// if it wraps to less than 2⁶³.
pub(crate) fn parse(value: &[u8]) -> Option<u64> {
    let (negative, magnitude) = sign_and_magnitude(value)?;
    let value = if negative { magnitude.wrapping_neg() } else { magnitude };
    (!negative || value < 1 << 63).then_some(value)
}

/// Whether the number is negative, and its magnitude.
pub(crate) fn sign_and_magnitude(bytes: &[u8]) -> Option<(bool, u64)> {
    let start = bytes.iter().position(|byte| !is_space(*byte))?;
    let (negative, unsigned) = match &bytes[start..] {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let len = unsigned.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let ends = unsigned.get(len).is_none_or(|byte| is_space(*byte) || *byte == 0);
    if len == 0 || !ends {
        return None;
    }
    let magnitude = unsigned[..len].iter().try_fold(0u64, |number, digit| {
        number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    });
    Some((negative, magnitude?))
}

/// C's isspace.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// Increments with wrap-around at 64 bits, or decrements down to 0.
pub(super) fn apply(number: u64, delta: u64, decrement: bool) -> u64 {
    if decrement { number.saturating_sub(delta) } else { number.wrapping_add(delta) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_spell_numbers_as_memcached_reads_them() {
        let table: [(&[u8], Option<u64>); 20] = [
            (b"0", Some(0)),
            (b"10", Some(10)),
            (b"9 ", Some(9)),
            (b" 9", Some(9)),
            (b"+9", Some(9)),
            (b"18446744073709551615", Some(u64::MAX)),
            (b"18446744073709551616", None),
            (b"", None),
            (b"-1", None),
            (b"9a", None),
            (b"a9", None),
            (b" ", None),
            (b"5\0", Some(5)),
            (b"5\0x", Some(5)),
            (b"12\x0b", Some(12)),
            (b"\x0b12", Some(12)),
            (b"12 5", Some(12)),
            (b"-0", Some(0)),
            (b"-18446744073709551615", Some(1)),
            (b"-9223372036854775808", None),
        ];
        for (value, expected) in table {
            assert_eq!(parse(value), expected, "{:?}", String::from_utf8_lossy(value));
        }
    }

    #[test]
    fn increments_wrap_and_decrements_stop() {
        assert_eq!(apply(u64::MAX, 2, false), 1);
        assert_eq!(apply(5, 7, true), 0);
        assert_eq!(apply(5, 3, true), 2);
    }
}

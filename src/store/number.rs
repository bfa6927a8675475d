//! Numbers in values, as memcached's `incr` and `decr` read and write them.

/// Parses a decimal number of 64 bits. Spaces around it are allowed: `decr` leaves some behind.
pub(super) fn parse(value: &[u8]) -> Option<u64> {
    let text = value.trim_ascii_start();
    let text = text.strip_prefix(b"+").unwrap_or(text);
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    if end == 0 || text.get(end).is_some_and(|byte| !byte.is_ascii_whitespace()) {
        return None;
    }
    text[..end].iter().try_fold(0u64, |number, digit| {
        number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    })
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
        let table: [(&[u8], Option<u64>); 12] = [
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

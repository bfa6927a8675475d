//! Parses numbers as memcached does. Input: the bytes of a token. Output: a number or `None`.
//!
//! memcached parses numbers in two ways, and so does this module. Most numbers are plain digits
//! ([`unsigned`], [`signed`]). Client flags and expiration times of storage commands, and the
//! stored values of `incr`, follow C's strtoul ([`strtoul`], [`strtol`]): skip white space, accept
//! a sign, and wrap.

pub(super) use crate::store::number::parse as strtoul;
use crate::store::number::sign_and_magnitude;

/// The maximum number of digits in a 64-bit token, with leading zeros.
const DIGITS64_MAX: usize = 22;
/// The maximum length of a 32-bit token, with a minus sign.
const DIGITS32_MAX: usize = 11;

/// Parses plain digits as 64 bits.
pub(super) fn unsigned(token: &[u8]) -> Option<u64> {
    if token.len() > DIGITS64_MAX {
        return None;
    }
    digits(token)
}

/// Parses plain digits as 32 bits.
pub(super) fn unsigned32(token: &[u8]) -> Option<u32> {
    if token.len() > DIGITS32_MAX {
        return None;
    }
    digits(token)?.try_into().ok()
}

/// Parses digits as 32 bits, with an optional minus sign.
pub(super) fn signed(token: &[u8]) -> Option<i32> {
    if token.len() > DIGITS32_MAX {
        return None;
    }
    match token {
        [b'-', rest @ ..] => i32::try_from(-i64::try_from(digits(rest)?).ok()?).ok(),
        _ => digits(token)?.try_into().ok(),
    }
}

#[inline]
fn digits(token: &[u8]) -> Option<u64> {
    let mut sum = 0u64;
    for byte in token {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        sum = sum.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(sum)
}

/// Parses as strtol does. White space or the end must follow the digits.
pub(super) fn strtol(bytes: &[u8]) -> Option<i64> {
    let (negative, magnitude) = sign_and_magnitude(bytes)?;
    if negative { 0i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_digits() {
        for (token, value) in [
            (&b"0"[..], Some(0)),
            (b"18446744073709551615", Some(u64::MAX)),
            (b"18446744073709551616", None),
            (b"0000000000000000000001", Some(1)),
            (b"00000000000000000000001", None),
            (b"-1", None),
            (b"+1", None),
            (b"1a", None),
        ] {
            assert_eq!(unsigned(token), value, "{}", token.escape_ascii());
        }
        assert_eq!([unsigned32(b"4294967295"), unsigned32(b"4294967296")], [Some(u32::MAX), None]);
    }

    #[test]
    fn digits_behind_a_minus() {
        for (token, value) in [
            (&b"2147483647"[..], Some(i32::MAX)),
            (b"2147483648", None),
            (b"-2147483648", Some(i32::MIN)),
            (b"-2147483649", None),
            (b"-", Some(0)),
            (b"--1", None),
            (b"000000000001", None),
        ] {
            assert_eq!(signed(token), value, "{}", token.escape_ascii());
        }
    }

    #[test]
    fn as_c_reads_them() {
        for (bytes, value) in [
            (&b"5"[..], Some(5)),
            (b" \t+5 6", Some(5)),
            (b"5\r\n", Some(5)),
            (b"5\0x", Some(5)),
            (b"5x", None),
            (b"", None),
            (b"  ", None),
            (b"+", None),
            (b"-1", None),
            (b"-18446744073709551615", Some(1)),
            (b"18446744073709551616", None),
        ] {
            assert_eq!(strtoul(bytes), value, "{}", bytes.escape_ascii());
        }
        assert_eq!(strtol(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!([strtol(b"-9223372036854775809"), strtol(b"9223372036854775808")], [None, None]);
        assert_eq!(strtol(b"99999999999"), Some(99_999_999_999));
    }
}

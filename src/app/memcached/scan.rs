//! Scans words of a command line, eight bytes at a time: words are short, so the setup of a vector
//! search would cost more than the search.

/// The byte `b` in all eight bytes of a word.
const fn all(b: u8) -> u64 {
    u64::from_ne_bytes([b; 8])
}

/// The high bits of all bytes of a word.
const HIGH: u64 = all(0x80);

/// Marks the bytes of `word` that are less than `limit`, which is at most 128. Above the first
/// marked byte others may be marked too.
#[inline]
fn less_than(word: u64, limit: u8) -> u64 {
    word.wrapping_sub(all(limit)) & !word & HIGH
}

/// The first position from `start` on of a space or a control character, or the length of `bytes`.
#[inline(always)]
pub(super) fn blank(bytes: &[u8], start: usize) -> usize {
    const WORD: usize = size_of::<u64>();
    let Some(last) = bytes.last_chunk::<WORD>() else { return blank_in_short(bytes, start) };
    let (mut at, last_at) = (start, bytes.len() - WORD);
    while at < last_at {
        let word = bytes[at..at + WORD].try_into().expect("eight bytes");
        let marks = less_than(u64::from_le_bytes(word), b' ' + 1);
        if marks != 0 {
            return at + marks.trailing_zeros() as usize / 8;
        }
        at += WORD;
    }
    // Bytes beyond the end are 0 and marked.
    let word = u64::from_le_bytes(*last).checked_shr(8 * (at - last_at) as u32).unwrap_or(0);
    let marks = less_than(word, b' ' + 1);
    (at + marks.trailing_zeros() as usize / 8).min(bytes.len())
}

/// As [`blank`], for less than eight bytes.
#[cold]
fn blank_in_short(bytes: &[u8], start: usize) -> usize {
    (start..bytes.len()).find(|at| bytes[*at] <= b' ').unwrap_or(bytes.len())
}

/// The first position from `start` on of a space or a line feed, or `None`.
#[inline]
pub(super) fn space_or_line_feed(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    loop {
        at = blank(bytes, at);
        match bytes.get(at) {
            None => return None,
            Some(b' ' | b'\n') => return Some(at),
            // A control character belongs to the key.
            Some(_) => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_byte_is_found_or_passed_at_every_position() {
        for len in 0..20 {
            for at in 0..len {
                for byte in 0..=255u8 {
                    let mut bytes = vec![b'x'; len];
                    bytes[at] = byte;
                    for start in 0..=at {
                        let expected = if byte <= b' ' { at } else { len };
                        assert_eq!(blank(&bytes, start), expected, "{byte} at {at} of {len}");
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn searches_find_what_an_iteration_finds(
            bytes in proptest::collection::vec(prop_oneof![0u8..=34, any::<u8>()], 0..40),
            start in 0usize..42,
        ) {
            let from = |is_it: fn(&u8) -> bool| {
                (start..bytes.len()).find(|at| is_it(&bytes[*at]))
            };
            prop_assert_eq!(
                blank(&bytes, start), from(|byte| *byte <= b' ').unwrap_or(bytes.len()));
            prop_assert_eq!(
                space_or_line_feed(&bytes, start),
                from(|byte| matches!(byte, b' ' | b'\n')));
        }
    }
}

//! Where a head ends: bytes in, a length out.
//!
//! The search remembers how far it looked, so that a head that comes byte by byte is looked through
//! once.

use super::refusal::Refusal;
use super::target::alphanumeric_or;

/// Longest request line, its CR LF not counted.
pub(in crate::app) const REQUEST_LINE_MAX_BYTES: usize = 8 * 1024;
/// Longest head, request line and empty line included. No transport may keep less for one
/// connection.
pub(in crate::app) const HEAD_MAX_BYTES: usize = 16 * 1024;

/// `tchar` of RFC 9110 §5.6.2.
static TOKEN: [bool; 256] = alphanumeric_or(b"!#$%&'*+-.^_`|~");

/// How far the search for the end of a head has come.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::app) struct Search {
    /// Bytes of the head that were looked at.
    seen: u16,
    /// Whether the request line ends among them.
    past_line: bool,
}

impl Search {
    /// Whether the request line was seen to its end.
    pub(in crate::app) fn is_past_line(self) -> bool {
        self.past_line
    }
}

/// The length of the head that `bytes` begin with, its empty line included; `None` until all of it
/// is there. `bytes` begin with what they began with at the last call. Lines end in CR LF: a bare
/// LF, which RFC 9112 §2.2 would let pass, is refused, because others along the way may see a
/// different message in it.
#[inline]
pub(in crate::app) fn find_end(
    bytes: &[u8],
    search: &mut Search,
) -> Result<Option<usize>, Refusal> {
    let window = &bytes[..bytes.len().min(HEAD_MAX_BYTES)];
    // Transports never offer less than before. If one did, the search would begin at the end, not
    // panic.
    debug_assert!(usize::from(search.seen) <= window.len(), "offered input has shrunk");
    let mut at = usize::from(search.seen).min(window.len());
    if at == 0 && window.first().is_some_and(|&byte| !TOKEN[usize::from(byte)]) {
        return Err(Refusal::BadSyntax);
    }
    while let Some(distance) = memchr::memchr(b'\n', &window[at..]) {
        let lf = at + distance;
        at = lf + 1;
        if !search.past_line {
            if lf > REQUEST_LINE_MAX_BYTES + 1 {
                return Err(Refusal::LineTooLong);
            }
            search.past_line = true;
        }
        if lf == 0 || window[lf - 1] != b'\r' {
            return Err(Refusal::BadSyntax);
        }
        if lf >= 3 && window[lf - 2] == b'\n' {
            return Ok(Some(at));
        }
    }
    if !search.past_line && window.len() > REQUEST_LINE_MAX_BYTES + 1 {
        return Err(Refusal::LineTooLong);
    }
    if window.len() == HEAD_MAX_BYTES {
        return Err(Refusal::HeadTooLarge);
    }
    search.seen = window.len() as u16;
    Ok(None)
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;

//! Finds the end of a head. Input: bytes. Output: the head's length.
//!
//! The search remembers its position, so it reads each byte once even if a head arrives byte by
//! byte.

use super::error::HttpError;
use super::options::HeadLimits;
use super::target::alphanumeric_or;

/// The default limit of the request line, without its CR LF.
pub(in crate::app) const LINE_MAX_BYTES: usize = 8 * 1024;
/// The largest limit of a head, with its request line and empty line, and the default. A transport
/// must buffer at least this much for one connection.
pub(in crate::app) const HEAD_MAX_BYTES: usize = 16 * 1024;

/// `tchar` of RFC 9110 §5.6.2.
static TOKEN: [bool; 256] = alphanumeric_or(b"!#$%&'*+-.^_`|~");

/// The position of the search for the end of a head.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::app) struct Search {
    /// Bytes of the head that were searched.
    seen: u16,
    /// Whether the request line ends within these bytes.
    past_line: bool,
}

impl Search {
    /// Whether no byte was searched.
    #[inline]
    pub(super) fn is_new(self) -> bool {
        self.seen == 0
    }

    /// The error for a head that exceeds the input buffer of a transport.
    pub(in crate::app) fn overfull(self) -> HttpError {
        if self.past_line { HttpError::HeadTooLarge } else { HttpError::LineTooLong }
    }
}

/// Whether `byte` may occur in a token (RFC 9110 §5.6.2).
pub(in crate::app) fn is_tchar(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

/// The length of the head at the start of `bytes`, with its empty line. `None` until the whole head
/// has arrived. Each call must pass the bytes of the last call again, and more. Lines end in CR LF.
/// A bare LF, which RFC 9112 §2.2 permits, is refused, because another recipient may parse a
/// different message.
#[inline(always)]
pub(in crate::app) fn find_end(
    bytes: &[u8],
    search: &mut Search,
    limits: HeadLimits,
) -> Result<Option<usize>, HttpError> {
    let line_max_bytes = usize::from(limits.line_max_bytes);
    let head_max_bytes = usize::from(limits.head_max_bytes).min(HEAD_MAX_BYTES);
    let window = &bytes[..bytes.len().min(head_max_bytes)];
    // A transport never delivers fewer bytes than before. If one did, start the search again and do
    // not panic.
    debug_assert!(usize::from(search.seen) <= window.len(), "offered input has shrunk");
    let mut at = usize::from(search.seen).min(window.len());
    if at == 0 && window.first().is_some_and(|&byte| !is_tchar(byte)) {
        return Err(HttpError::BadSyntax);
    }
    while let Some(distance) = memchr::memchr(b'\n', &window[at..]) {
        let lf = at + distance;
        at = lf + 1;
        if !search.past_line {
            if lf > line_max_bytes + 1 {
                return Err(HttpError::LineTooLong);
            }
            search.past_line = true;
        }
        if lf == 0 || window[lf - 1] != b'\r' {
            return Err(HttpError::BadSyntax);
        }
        if lf >= 3 && window[lf - 2] == b'\n' {
            return Ok(Some(at));
        }
        // An empty line that has arrived with its predecessor needs no search.
        if window[at..].starts_with(b"\r\n") {
            return Ok(Some(at + 2));
        }
    }
    if !search.past_line && window.len() > line_max_bytes + 1 {
        return Err(HttpError::LineTooLong);
    }
    if window.len() == head_max_bytes {
        return Err(HttpError::HeadTooLarge);
    }
    search.seen = window.len() as u16;
    Ok(None)
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;

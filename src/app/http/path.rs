//! Converts a request target to a file name: percent-decoding and dot segments (RFC 3986 §§2.1,
//! 5.2.4, 6.2.2).
//!
//! Input: a target in origin form. Output: an absolute path without a `.` or `..` segment, an empty
//! segment, or a query. The path never leads above the root and contains no byte that file names
//! cannot contain. Targets without escapes and dots, nearly all targets, are returned without a
//! copy.

/// The reason that a target names no file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Not a path: a `%` without two hexadecimal digits, or a fragment.
    Malformed,
    /// `..` leads above the root.
    AboveRoot,
    /// An encoded `/` or NUL. The target is well-formed, but no file has such a name.
    NoFileName,
}

/// The path of `target`, decoded into `scratch` if necessary. `scratch` must be at least as long as
/// `target`. A target that is empty or only a query, as absolute form allows, names the root.
#[inline(always)]
pub(super) fn resolve<'a>(target: &'a [u8], scratch: &'a mut [u8]) -> Result<&'a [u8], Refused> {
    let mut plain = true;
    let mut previous = 0;
    let mut end = target.len();
    for (at, &byte) in target.iter().enumerate() {
        match byte {
            _ if !SPECIAL[usize::from(byte)] => {}
            b'%' => plain = false,
            b'.' | b'/' if previous == b'/' => plain = false,
            b'?' => {
                end = at;
                break;
            }
            b'#' => return Err(Refused::Malformed),
            _ => {}
        }
        previous = byte;
    }
    match &target[..end] {
        b"" => Ok(b"/"),
        path if plain => Ok(path),
        path => decode(path, scratch),
    }
}

/// The bytes for which [`resolve`] does anything: one lookup passes over all others.
static SPECIAL: [bool; 256] = {
    let mut table = [false; 256];
    let special = b"%./?#";
    let mut at = 0;
    while at < special.len() {
        table[special[at] as usize] = true;
        at += 1;
    }
    table
};

/// Decodes segment by segment. A `.` removes itself, a `..` also removes the preceding segment.
/// Decoding comes first, so that `%2e%2e` acts like `..`.
fn decode<'a>(path: &[u8], scratch: &'a mut [u8]) -> Result<&'a [u8], Refused> {
    let mut len = 0;
    let mut ends_in_slash = false;
    for segment in path[1..].split(|&byte| byte == b'/') {
        let start = len;
        scratch[len] = b'/';
        len += 1 + decode_segment(segment, &mut scratch[len + 1..])?;
        ends_in_slash = true;
        match &scratch[start + 1..len] {
            b"" | b"." => len = start,
            b".." => {
                len = scratch[..start]
                    .iter()
                    .rposition(|&byte| byte == b'/')
                    .ok_or(Refused::AboveRoot)?;
            }
            _ => ends_in_slash = false,
        }
    }
    if ends_in_slash {
        scratch[len] = b'/';
        len += 1;
    }
    Ok(&scratch[..len])
}

fn decode_segment(segment: &[u8], out: &mut [u8]) -> Result<usize, Refused> {
    let mut bytes = segment.iter();
    let mut len = 0;
    while let Some(&byte) = bytes.next() {
        out[len] = match byte {
            b'%' => {
                let mut digit =
                    || bytes.next().and_then(|&digit| hex(digit)).ok_or(Refused::Malformed);
                match digit()? << 4 | digit()? {
                    0 | b'/' => return Err(Refused::NoFileName),
                    decoded => decoded,
                }
            }
            byte => byte,
        };
        len += 1;
    }
    Ok(len)
}

/// The value of a hexadecimal digit.
pub(in crate::app) fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
#[path = "path_tests.rs"]
mod tests;

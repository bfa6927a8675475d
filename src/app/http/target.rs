//! Parses a request target in any of its forms and returns its path and query (RFC 9112 §3.2).
//!
//! The parser checks the authority in the target and in Host, and then ignores it: all authorities
//! are equivalent for this server.

use super::error::HttpError;
use super::request::Method;

/// The 4 forms of RFC 9112 §3.2.
#[inline]
pub(super) fn path_of(target: &[u8], method: Method) -> Result<Option<&[u8]>, HttpError> {
    if target.starts_with(b"/") && method != Method::Connect {
        return Ok(Some(target));
    }
    match method {
        Method::Connect if is_authority(target) => Ok(None),
        Method::Connect => Err(HttpError::BadTarget),
        Method::Options | Method::Other | Method::Unknown if target == b"*" => Ok(None),
        _ => absolute_form(target).map(Some),
    }
}

/// §3.2.2: the authority of an absolute form replaces Host. All authorities are equivalent for this
/// server.
fn absolute_form(target: &[u8]) -> Result<&[u8], HttpError> {
    let rest = ["http://", "https://"]
        .iter()
        .find_map(|scheme| {
            let (start, rest) = target.split_at_checked(scheme.len())?;
            start.eq_ignore_ascii_case(scheme.as_bytes()).then_some(rest)
        })
        .ok_or(HttpError::BadTarget)?;
    let end = rest.iter().position(|byte| b"/?#".contains(byte)).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if authority.is_empty() || !is_authority(authority) {
        return Err(HttpError::BadTarget);
    }
    Ok(path)
}

/// The authority of a target in absolute form, which [`path_of`] accepted.
#[inline]
pub(super) fn authority_of(target: &[u8]) -> Option<&[u8]> {
    if matches!(target, [] | [b'/' | b'*', ..]) {
        return None;
    }
    let start = memchr::memmem::find(target, b"://")? + 3;
    target[start..].split(|byte| b"/?#".contains(byte)).next()
}

/// Whether `value` is `uri-host [":" port]` (RFC 3986 §3.2.2 and §3.2.3). An empty value is valid.
#[inline]
pub(super) fn is_authority(value: &[u8]) -> bool {
    let host_end = match value.strip_prefix(b"[") {
        Some(literal) => {
            let Some(len) = literal.iter().position(|byte| !IP_LITERAL[usize::from(*byte)]) else {
                return false;
            };
            if len == 0 || literal[len] != b']' {
                return false;
            }
            len + 2
        }
        None => value.iter().position(|byte| !REG_NAME[usize::from(*byte)]).unwrap_or(value.len()),
    };
    match &value[host_end..] {
        [] => true,
        [b':', port @ ..] => port.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

/// Whether each byte is an ASCII letter, a digit or one of `others`.
pub(super) const fn alphanumeric_or(others: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
}

/// `unreserved / pct-encoded / sub-delims` of RFC 3986 §3.2.2. A colon ends a registered name.
static REG_NAME: [bool; 256] = alphanumeric_or(b"-._~%!$&'()*+,;=");
/// The text between the brackets of an IP literal, also of a future version.
static IP_LITERAL: [bool; 256] = alphanumeric_or(b":-._~!$&'()*+,;=");

//! The lines of the access log. Input: a record. Output: its line, and the client's address.

use crate::app::http::{Network, Record};
use crate::config::AccessLogFormat;
use serde_json::json;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};

/// The client that a trusted proxy speaks for: the last address of X-Forwarded-For that is not of
/// another trusted proxy. Clients can write any address before it.
pub(super) fn client(record: &Record<'_>, trusted: &[Network]) -> Option<IpAddr> {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut client = record.address?;
    // RFC 9110 §5.6.1: ignore empty members.
    let members = record.forwarded_for.rsplit(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    for member in members.filter(|member| !member.is_empty()) {
        match address(member) {
            Some(address) if is_trusted(client) => client = address,
            _ => break,
        }
    }
    Some(client)
}

/// The address of a member: alone, in brackets, or with a port.
fn address(member: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(member).ok()?;
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let with_port = || bare.parse().ok().map(|address: SocketAddr| address.ip());
    bare.parse().ok().or_else(with_port).map(|address: IpAddr| address.to_canonical())
}

/// Appends the line of a record.
pub(super) fn push(record: &Record<'_>, format: AccessLogFormat, lines: &mut Vec<u8>) {
    match format {
        AccessLogFormat::Json => push_json(record, lines),
        AccessLogFormat::Common => push_common(record, lines),
        AccessLogFormat::Combined => {
            push_common(record, lines);
            for text in [record.referer, record.user_agent] {
                lines.extend_from_slice(b" \"");
                push_quoted(text, lines);
                lines.push(b'"');
            }
        }
    }
    lines.push(b'\n');
}

fn push_json(record: &Record<'_>, lines: &mut Vec<u8>) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let address = record.address.map_or_else(|| "-".to_owned(), |address| address.to_string());
    let line = json!({
        "time": record.unix_seconds,
        "address": address,
        "method": text(record.method),
        "target": text(record.target),
        "host": text(record.host),
        "version": format!("HTTP/1.{}", record.minor),
        "status": record.status,
        "bytes": record.bytes,
        "took_us": record.took_us,
        "referer": text(record.referer),
        "user_agent": text(record.user_agent),
        "forwarded_for": text(record.forwarded_for),
    });
    // Writing to a vector cannot fail.
    let _ = write!(lines, "{line}");
}

/// `ADDRESS - - [TIME] "REQUEST" STATUS BYTES`.
fn push_common(record: &Record<'_>, lines: &mut Vec<u8>) {
    // Writing to a vector cannot fail.
    let _ = match record.address {
        Some(address) => write!(lines, "{address} - - ["),
        None => write!(lines, "- - - ["),
    };
    push_time(record.unix_seconds, lines);
    lines.extend_from_slice(b"] \"");
    if record.method.is_empty() {
        lines.push(b'-');
    } else {
        push_quoted(record.method, lines);
        lines.push(b' ');
        push_quoted(record.target, lines);
        let _ = write!(lines, " HTTP/1.{}", record.minor);
    }
    let _ = write!(lines, "\" {} {}", record.status, record.bytes);
}

/// `29/Nov/2026:15:36:44 +0000`.
fn push_time(unix_seconds: u64, lines: &mut Vec<u8>) {
    let date = crate::app::http::imf_fixdate(unix_seconds);
    // Sun, 06 Nov 1994 08:49:37 GMT
    for (part, behind) in [(5..7, b"/"), (8..11, b"/"), (12..16, b":"), (17..25, b" ")] {
        lines.extend_from_slice(&date[part]);
        lines.extend_from_slice(behind);
    }
    lines.extend_from_slice(b"+0000");
}

/// Text between quotes: quotes, backslashes and other bytes than visible ASCII as `\xHH`. `-` if it
/// is empty.
fn push_quoted(text: &[u8], lines: &mut Vec<u8>) {
    if text.is_empty() {
        lines.push(b'-');
    }
    for &byte in text {
        if (b' '..0x7f).contains(&byte) && byte != b'"' && byte != b'\\' {
            lines.push(byte);
        } else {
            // Writing to a vector cannot fail.
            let _ = write!(lines, "\\x{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record<'a>(target: &'a [u8], user_agent: &'a [u8]) -> Record<'a> {
        Record {
            unix_seconds: 784_111_777,
            took_us: 42,
            bytes: 250,
            status: 200,
            minor: 1,
            address: Some("192.0.2.1".parse().unwrap()),
            method: b"GET",
            target,
            host: b"a",
            referer: b"",
            user_agent,
            forwarded_for: b"198.51.100.7",
        }
    }

    fn written(record: &Record<'_>, format: AccessLogFormat) -> String {
        let mut lines = Vec::new();
        push(record, format, &mut lines);
        String::from_utf8(lines).unwrap()
    }

    #[test]
    fn each_format_has_one_line_for_a_record() {
        let record = record(b"/a?b", b"curl/8");
        assert_eq!(
            written(&record, AccessLogFormat::Combined),
            "192.0.2.1 - - [06/Nov/1994:08:49:37 +0000] \"GET /a?b HTTP/1.1\" 200 250 \"-\" \"curl/8\"\n"
        );
        assert_eq!(
            written(&record, AccessLogFormat::Common),
            "192.0.2.1 - - [06/Nov/1994:08:49:37 +0000] \"GET /a?b HTTP/1.1\" 200 250\n"
        );
        let json: serde_json::Value =
            serde_json::from_str(&written(&record, AccessLogFormat::Json)).unwrap();
        assert_eq!(
            (&json["took_us"], &json["forwarded_for"]),
            (&json!(42), &json!("198.51.100.7"))
        );
    }

    #[test]
    fn only_trusted_proxies_name_the_client() {
        let trusted: Vec<Network> =
            ["192.0.2.0/24", "10.0.0.0/8"].map(|text| Network::parse(text).unwrap()).into();
        for (forwarded_for, expected) in [
            ("198.51.100.7", "198.51.100.7"),
            ("1.1.1.1, 198.51.100.7", "198.51.100.7"),
            ("198.51.100.7, 10.0.0.1", "198.51.100.7"),
            ("x, 10.0.0.1", "10.0.0.1"),
            ("unknown", "192.0.2.1"),
            ("", "192.0.2.1"),
            ("198.51.100.7,", "198.51.100.7"),
            ("198.51.100.7:80, 10.0.0.1:443", "198.51.100.7"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:80,10.0.0.1", "2001:db8::1"),
            ("::ffff:198.51.100.7", "198.51.100.7"),
            ("198.51.100.7, ::ffff:10.0.0.1", "198.51.100.7"),
            ("198.51.100.7:", "192.0.2.1"),
        ] {
            let forwarded_for = forwarded_for.as_bytes();
            let record = Record { forwarded_for, ..record(b"/", b"") };
            let address = |trusted: &[Network]| client(&record, trusted).unwrap().to_string();
            assert_eq!(address(&trusted), expected);
            assert_eq!(address(&[]), "192.0.2.1");
        }
    }

    #[test]
    fn no_client_can_forge_a_line() {
        let record = record(b"/\"\\\xff", b"a\" 200 1\r\n1.2.3.4 - -");
        let line = written(&record, AccessLogFormat::Combined);
        assert_eq!(line.matches('\n').count(), 1);
        assert!(line.contains("\"GET /\\x22\\x5C\\xFF HTTP/1.1\""), "{line}");
        assert!(line.ends_with("\"a\\x22 200 1\\x0D\\x0A1.2.3.4 - -\"\n"), "{line}");
        assert_eq!(written(&record, AccessLogFormat::Json).matches('\n').count(), 1);
    }
}

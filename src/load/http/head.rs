//! Parses response heads: status and framing.
//!
//! A server repeats the same head until its Date changes. A head that equals the last parsed head,
//! byte by byte up to the empty line, is not parsed again.

/// Limit of the fields in a head.
const FIELDS: usize = 64;
/// Limit of the length of a head.
pub(crate) const HEAD_MAX_BYTES: usize = 8 * 1024;

/// The parsed head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Status code.
    pub(crate) status: u16,
    /// Length of the content.
    pub(crate) length: u64,
    /// Whether the server closes the connection after the content.
    pub(crate) closes: bool,
}

/// Result of parsing the start of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// A complete head of this length.
    Whole(usize, Head),
    /// The start of a head.
    Partial,
    /// Not a head, or one with framing that is not supported.
    Garbled(String),
}

/// Parses heads and caches the last one.
#[derive(Debug, Default)]
pub(crate) struct Heads {
    /// The last head, its empty line included; empty at first.
    last: Vec<u8>,
    said: Option<Head>,
}

impl Heads {
    /// Parses the head at the start of `bytes`.
    #[inline]
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Read {
        if let Some(said) = self.said
            && bytes.starts_with(&self.last)
        {
            return Read::Whole(self.last.len(), said);
        }
        let read = parse(bytes);
        if let Read::Whole(len, head) = read {
            self.last.clear();
            self.last.extend_from_slice(&bytes[..len]);
            self.said = Some(head);
        }
        read
    }
}

fn parse(bytes: &[u8]) -> Read {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let len = match response.parse(bytes) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_MAX_BYTES => return Read::Partial,
        Ok(httparse::Status::Partial) => {
            return Read::Garbled(format!("a head of over {HEAD_MAX_BYTES} bytes"));
        }
        Err(error) => return Read::Garbled(format!("not an HTTP response: {error}")),
    };
    let status = response.code.unwrap_or_default();
    match framing(response.headers, response.version == Some(0), status) {
        Ok((length, closes)) => Read::Whole(len, Head { status, length, closes }),
        Err(reason) => Read::Garbled(reason),
    }
}

/// The framing by RFC 9112 §6.3. The length must be known from the head. Returns it, and whether
/// the server closes.
fn framing(
    fields: &[httparse::Header<'_>],
    is_http10: bool,
    status: u16,
) -> Result<(u64, bool), String> {
    let mut length = matches!(status, 204 | 304).then_some(0);
    let (mut closes, mut keeps) = (false, false);
    for field in fields {
        let value = std::str::from_utf8(field.value).unwrap_or_default().trim();
        if field.name.eq_ignore_ascii_case("content-length") {
            let told =
                value.parse().map_err(|_| format!("Content-Length: {value:?} is not a length"))?;
            if length.is_some_and(|length| length != told) {
                return Err("two lengths that differ".to_owned());
            }
            length = Some(told);
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(format!(
                "Transfer-Encoding: {value}, where only Content-Length is understood"
            ));
        } else if field.name.eq_ignore_ascii_case("connection") {
            closes |= value.split(',').any(|option| option.trim().eq_ignore_ascii_case("close"));
            keeps |=
                value.split(',').any(|option| option.trim().eq_ignore_ascii_case("keep-alive"));
        }
    }
    let length = length.ok_or_else(|| "no Content-Length".to_owned())?;
    Ok((length, closes || (is_http10 && !keeps)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &str) -> Head {
        match Heads::default().read(text.as_bytes()) {
            Read::Whole(_, head) => head,
            other => panic!("{text:?}: {other:?}"),
        }
    }

    #[test]
    fn status_length_and_end_of_the_connection() {
        let head = whole("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nhello");
        assert_eq!(head, Head { status: 200, length: 12, closes: false });
        assert!(
            whole("HTTP/1.1 200 OK\r\ncontent-length:0\r\nConnection: Foo, Close\r\n\r\n").closes
        );
        assert!(whole("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n").closes);
        assert!(
            !whole("HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n").closes
        );
        assert_eq!(whole("HTTP/1.1 304 Not Modified\r\n\r\n").length, 0);
    }

    #[test]
    fn what_cannot_be_followed_is_named() {
        for (text, expected) in [
            ("SSH-2.0-OpenSSH\r\n", "not an HTTP response"),
            ("HTTP/1.1 200 OK\r\n\r\n", "no Content-Length"),
            ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "\"-1\" is not a length"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "two lengths"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "Transfer-Encoding: chunked"),
        ] {
            let read = Heads::default().read(text.as_bytes());
            assert!(
                matches!(&read, Read::Garbled(reason) if reason.contains(expected)),
                "{text:?}: {read:?}"
            );
        }
        let endless = "HTTP/1.1 200 OK\r\nA: ".to_owned() + &"a".repeat(HEAD_MAX_BYTES);
        assert!(matches!(Heads::default().read(endless.as_bytes()), Read::Garbled(_)));
    }

    #[test]
    fn a_remembered_head_is_told_only_for_the_same_bytes() {
        let mut heads = Heads::default();
        let first = "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n";
        for _ in 0..2 {
            assert_eq!(
                heads.read(format!("{first}Hello").as_bytes()),
                Read::Whole(first.len(), Head { status: 200, length: 12, closes: false })
            );
        }
        assert_eq!(heads.read(&first.as_bytes()[..first.len() - 1]), Read::Partial);
        let other = "HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n";
        assert!(matches!(heads.read(other.as_bytes()), Read::Whole(_, Head { length: 13, .. })));
    }
}

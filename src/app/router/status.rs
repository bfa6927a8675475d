//! Status codes with reason phrases, and the start of a response for each. A worker renders the
//! starts once a second.

use crate::app::http::imf_fixdate;
use crate::app::http::response::ResponseHead;

/// Codes and reason phrases of RFC 9110 §15, RFC 4918, RFC 6585 and RFC 8470, each with a line end,
/// in ascending order.
#[rustfmt::skip]
const STATUSES: &[&str] = &[
    "200 OK\n", "201 Created\n", "202 Accepted\n", "203 Non-Authoritative Information\n",
    "204 No Content\n", "205 Reset Content\n", "206 Partial Content\n",
    "300 Multiple Choices\n", "301 Moved Permanently\n", "302 Found\n", "303 See Other\n",
    "304 Not Modified\n", "307 Temporary Redirect\n", "308 Permanent Redirect\n",
    "400 Bad Request\n", "401 Unauthorized\n", "402 Payment Required\n", "403 Forbidden\n",
    "404 Not Found\n", "405 Method Not Allowed\n", "406 Not Acceptable\n",
    "407 Proxy Authentication Required\n", "408 Request Timeout\n", "409 Conflict\n", "410 Gone\n",
    "411 Length Required\n", "412 Precondition Failed\n", "413 Content Too Large\n",
    "414 URI Too Long\n", "415 Unsupported Media Type\n", "416 Range Not Satisfiable\n",
    "417 Expectation Failed\n", "421 Misdirected Request\n", "422 Unprocessable Content\n",
    "425 Too Early\n", "426 Upgrade Required\n", "428 Precondition Required\n",
    "429 Too Many Requests\n", "431 Request Header Fields Too Large\n",
    "500 Internal Server Error\n", "501 Not Implemented\n", "502 Bad Gateway\n",
    "503 Service Unavailable\n", "504 Gateway Timeout\n", "505 HTTP Version Not Supported\n",
    "507 Insufficient Storage\n",
];

/// Codes of final responses.
pub(super) const CODES: std::ops::RangeInclusive<u16> = 200..=599;

fn code_of(line: &str) -> u16 {
    line[..3].parse().expect("each line begins with its code")
}

/// Code and reason phrase with a line end: the default text of an error. `None` if no RFC defines a
/// phrase for `code`.
pub(super) fn line(code: u16) -> Option<&'static str> {
    let at = STATUSES.binary_search_by_key(&code, |line| code_of(line)).ok()?;
    Some(STATUSES[at])
}

/// The starts of responses, all with the same Date.
pub(super) struct ResponseHeads {
    heads: Vec<ResponseHead>,
    /// For each of [`CODES`], its index plus 1, or 0.
    indices: Box<[u8]>,
    unix_seconds: u64,
}

impl ResponseHeads {
    pub(super) fn new() -> ResponseHeads {
        let mut indices = vec![0; CODES.count()];
        for (index, line) in STATUSES.iter().enumerate() {
            indices[usize::from(code_of(line) - CODES.start())] = index as u8 + 1;
        }
        let heads = STATUSES.iter().map(|line| ResponseHead::new(line.trim_end())).collect();
        let mut all = ResponseHeads { heads, indices: indices.into(), unix_seconds: 0 };
        all.render(0);
        all
    }

    /// Sets the Date of all further responses.
    pub(super) fn set_date(&mut self, unix_seconds: u64) {
        if unix_seconds != self.unix_seconds {
            self.render(unix_seconds);
        }
    }

    fn render(&mut self, unix_seconds: u64) {
        self.unix_seconds = unix_seconds;
        let date = imf_fixdate(unix_seconds);
        for head in &mut self.heads {
            head.set_date(&date);
        }
    }

    /// The start of a response with `code`, which must be in [`CODES`].
    #[inline]
    pub(super) fn get(&self, code: u16) -> ResponseHead {
        match self.indices[usize::from(code - CODES.start())] {
            0 => self.render_unnamed(code),
            index => self.heads[usize::from(index) - 1],
        }
    }

    /// Without a phrase, the space after the code remains (RFC 9112 §4).
    #[cold]
    fn render_unnamed(&self, code: u16) -> ResponseHead {
        let mut head = ResponseHead::new(&format!("{code} "));
        head.set_date(&imf_fixdate(self.unix_seconds));
        head
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::http::response::test_head;

    #[test]
    fn codes_ascend_and_each_has_its_head() {
        assert!(STATUSES.windows(2).all(|pair| code_of(pair[0]) < code_of(pair[1])));
        let mut heads = ResponseHeads::new();
        heads.set_date(784_111_777);
        for line in STATUSES.iter().map(|line| line.trim_end()).chain(["299 ", "599 "]) {
            let expected = test_head(line);
            assert_eq!(heads.get(code_of(line)).bytes(), expected.as_bytes());
        }
    }
}

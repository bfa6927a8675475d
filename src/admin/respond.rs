//! The answers of the admin endpoint: from a request head to a whole response.

use super::Source;
use super::exposition::exposition;
use crate::app::http::imf_fixdate;
use crate::readiness::Reason;

/// Limit of the length of a request head.
pub(super) const HEAD_BYTES: usize = 4096;
const TEXT: &str = "text/plain; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The response to a request that hit a bug of this program.
pub(super) const FAILED: &[u8] =
    b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

struct Answer {
    status: &'static str,
    content_type: &'static str,
    /// Further header lines, each with its line end.
    fields: &'static str,
    body: String,
}

impl Answer {
    fn new(status: &'static str, body: impl Into<String>) -> Answer {
        Answer { status, content_type: TEXT, fields: "", body: body.into() }
    }
}

/// The response to a request that begins with `head`; `None` if the head is incomplete. `is_end`
/// tells that no more bytes follow.
pub(super) fn respond(
    head: &[u8],
    is_end: bool,
    source: &Source,
    unix_seconds: u64,
) -> Option<Vec<u8>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    let is_head = head.starts_with(b"HEAD ");
    let answer = match request.parse(head) {
        Ok(httparse::Status::Complete(_)) => answer(&request, source),
        Ok(httparse::Status::Partial) if head.len() >= HEAD_BYTES => Answer::new(
            "431 Request Header Fields Too Large",
            "the head has more than 4096 bytes\n",
        ),
        Ok(httparse::Status::Partial) if !is_end => return None,
        Ok(httparse::Status::Partial) | Err(_) => {
            Answer::new("400 Bad Request", "not an HTTP request\n")
        }
    };
    let Answer { status, content_type, fields, body } = answer;
    let date = imf_fixdate(unix_seconds);
    let mut response = format!(
        "HTTP/1.1 {status}\r\nDate: {}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n{fields}\
         Connection: close\r\n\r\n",
        String::from_utf8_lossy(&date),
        body.len()
    )
    .into_bytes();
    if !is_head {
        response.extend_from_slice(body.as_bytes());
    }
    Some(response)
}

fn answer(request: &httparse::Request<'_, '_>, source: &Source) -> Answer {
    let path = path(request.path.unwrap_or_default());
    let is_known = matches!(path, "/metrics" | "/healthz" | "/livez" | "/readyz");
    if is_known && !matches!(request.method, Some("GET" | "HEAD")) {
        let error = Answer::new("405 Method Not Allowed", "only GET and HEAD\n");
        return Answer { fields: "Allow: GET, HEAD\r\n", ..error };
    }
    match path {
        "/metrics" => {
            Answer { content_type: PROMETHEUS, ..Answer::new("200 OK", exposition(source)) }
        }
        "/healthz" | "/livez" => Answer::new("200 OK", "ok\n"),
        "/readyz" => readiness(source),
        _ => Answer::new("404 Not Found", "try /metrics, /healthz, /livez or /readyz\n"),
    }
}

fn readiness(source: &Source) -> Answer {
    let reasons: Vec<&str> = source.readiness.reasons().map(Reason::name).collect();
    if reasons.is_empty() {
        return Answer::new("200 OK", "ready\n");
    }
    Answer::new("503 Service Unavailable", format!("not ready: {}\n", reasons.join(", ")))
}

/// The path of a target in origin-form or absolute-form (RFC 9112 §3.2). Any authority is accepted.
fn path(target: &str) -> &str {
    let absolute = ["http://", "https://"].iter().find_map(|scheme| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    });
    let path = absolute.map_or(target, |rest| rest.find('/').map_or("/", |at| &rest[at..]));
    path.split('?').next().unwrap_or(path)
}

//! The response of a handler.

use super::status::{self, CODES};
use crate::app::Bytes;
use crate::app::http::head::is_tchar;
use serde::Serialize;
use std::borrow::Cow;

/// Fields that only the router sends: it determines the end of the body and whether the connection
/// persists.
const RESERVED: [&str; 5] = ["Connection", "Content-Length", "Date", "Server", "Transfer-Encoding"];

/// A response: status, fields, body.
///
/// A response with a static body and no fields of its own needs no allocation.
///
/// ```
/// use simoom::app::router::Response;
/// let _ = Response::ok().text("Hello\n");
/// let _ = Response::new(201).header("Location", "/users/7").json(&[1, 2, 3]);
/// let _ = Response::ok().pieces("text/plain", (0..1000).map(|n| format!("{n}\n")));
/// ```
#[derive(Debug)]
pub struct Response {
    pub(super) status: u16,
    pub(super) content_type: Cow<'static, str>,
    /// Whole lines, each with a CR LF.
    pub(super) fields: String,
    pub(super) body: Body,
    pub(super) close: bool,
}

/// The body of a response.
pub(super) enum Body {
    Whole(Bytes),
    Pieces(Pieces),
}

/// The chunks of a body of unknown length.
pub(super) type Pieces = Box<dyn Iterator<Item = Bytes> + Send>;

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Body::Whole(bytes) => bytes.fmt(f),
            Body::Pieces(_) => f.write_str("Pieces"),
        }
    }
}

impl Response {
    /// A response without a body. `status` is from 200 to 599: the router sends 100 itself. Any
    /// other value panics, and the client receives a 500.
    pub fn new(status: u16) -> Response {
        assert!(CODES.contains(&status), "status {status}: must be between 200 and 599");
        Response {
            status,
            content_type: Cow::Borrowed(""),
            fields: String::new(),
            body: Body::Whole(Bytes::Static(b"")),
            close: false,
        }
    }

    /// A 200 without a body.
    pub fn ok() -> Response {
        Response::new(200)
    }

    /// A response with the code and reason phrase as its text.
    pub fn error(status: u16) -> Response {
        let text = status::line(status).unwrap_or("");
        Response::new(status).text(text)
    }

    /// Sets the body to `text`, of type `text/plain` in UTF-8.
    pub fn text(self, text: impl Into<Bytes>) -> Response {
        self.bytes("text/plain; charset=utf-8", text)
    }

    /// Sets the body to `html`, of type `text/html` in UTF-8.
    pub fn html(self, html: impl Into<Bytes>) -> Response {
        self.bytes("text/html; charset=utf-8", html)
    }

    /// Sets the body to `value` as JSON. A value that JSON cannot represent, such as a map with
    /// non-string keys, results in a 500, with the reason in the log.
    pub fn json(self, value: &impl Serialize) -> Response {
        match serde_json::to_vec(value) {
            Ok(json) => self.bytes("application/json", json),
            Err(error) => {
                tracing::error!(%error, "a handler's value cannot be serialized as JSON; sent a 500");
                Response::error(500)
            }
        }
    }

    /// Sets the body to `bytes` of this media type, up to 2 GiB.
    pub fn bytes(
        mut self,
        content_type: impl Into<Cow<'static, str>>,
        bytes: impl Into<Bytes>,
    ) -> Response {
        self.content_type = content_type.into();
        self.body = Body::Whole(bytes.into());
        self
    }

    /// Sets the body to the items of `pieces`. Its length is unknown. The router takes the next
    /// piece when there is capacity to send it, so the longest piece limits the memory. Empty
    /// pieces are skipped. HTTP/1.1 clients get the chunked coding. For HTTP/1.0 clients the close
    /// of the connection ends the body. A panic in `pieces` resets the connection, so that the
    /// client sees that the body is cut off.
    pub fn pieces<P, B>(mut self, content_type: impl Into<Cow<'static, str>>, pieces: P) -> Response
    where
        P: IntoIterator<Item = B>,
        P::IntoIter: Send + 'static,
        B: Into<Bytes> + 'static,
    {
        self.content_type = content_type.into();
        self.body = Body::Pieces(Box::new(pieces.into_iter().map(Into::into)));
        self
    }

    /// Adds a field. Replaces control characters in `value` by spaces, so that no value can start
    /// another line (RFC 9110 §5.5).
    ///
    /// Panics if `name` is not a token, or is Connection, Content-Length, Date, Server or
    /// Transfer-Encoding, which the router sends. The client then receives a 500. Content-Type
    /// replaces the type of the body.
    pub fn header(mut self, name: &str, value: impl AsRef<str>) -> Response {
        let is_reserved = RESERVED.iter().any(|reserved| reserved.eq_ignore_ascii_case(name));
        assert!(!is_reserved, "field {name}: reserved, because the router sends it; remove it");
        assert!(
            !name.is_empty() && name.bytes().all(is_tchar),
            "field {name:?}: not a token (RFC 9110 §5.6.2)"
        );
        let value: String = value.as_ref().trim().chars().map(without_controls).collect();
        if name.eq_ignore_ascii_case("Content-Type") {
            self.content_type = value.into();
        } else {
            self.fields.extend([name, ": ", &value, "\r\n"]);
        }
        self
    }

    /// Sets the status, from 200 to 599.
    pub fn status(mut self, status: u16) -> Response {
        assert!(CODES.contains(&status), "status {status}: must be between 200 and 599");
        self.status = status;
        self
    }

    /// Whether the length of the body is unknown.
    pub(super) fn is_of_unknown_length(&self) -> bool {
        matches!(self.body, Body::Pieces(_))
    }

    /// Closes the connection after this response.
    pub fn close(mut self) -> Response {
        self.close = true;
        self
    }
}

fn without_controls(char: char) -> char {
    if char.is_ascii_control() { ' ' } else { char }
}

/// A return value of a handler.
pub trait IntoResponse {
    /// Converts the value to a response.
    fn into_response(self) -> Response;
}

impl IntoResponse for Response {
    fn into_response(self) -> Response {
        self
    }
}

/// 200 with this text.
impl IntoResponse for &'static str {
    fn into_response(self) -> Response {
        Response::ok().text(self)
    }
}

/// 200 with this text.
impl IntoResponse for String {
    fn into_response(self) -> Response {
        Response::ok().text(self)
    }
}

/// Both variants are responses. So `?` can return a response early.
impl<T: IntoResponse, E: IntoResponse> IntoResponse for Result<T, E> {
    fn into_response(self) -> Response {
        self.map_or_else(E::into_response, T::into_response)
    }
}

/// 404 for `None`.
impl<T: IntoResponse> IntoResponse for Option<T> {
    fn into_response(self) -> Response {
        self.map_or_else(|| Response::error(404), T::into_response)
    }
}

/// 200 with this value as JSON.
#[derive(Clone, Copy, Debug)]
pub struct Json<T>(pub T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        Response::ok().json(&self.0)
    }
}

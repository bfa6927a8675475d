//! Why a request is refused, and the status that tells its sender.

use super::response::Status;

/// Why a request is refused in a way that ends the connection, either because where it ends is not
/// known or because reading on would cost too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::app) enum Refusal {
    /// The head is not what RFC 9112 §2 and §5 describe.
    BadSyntax,
    /// Host is missing, repeated or malformed (RFC 9112 §3.2).
    BadHost,
    /// Content-Length or Transfer-Encoding do not say where the content ends (RFC 9112 §6).
    BadFraming,
    /// The target names nothing that could be: wrong escapes, or above the root.
    BadTarget,
    /// The chunked coding is broken (RFC 9112 §7.1).
    BadChunk,
    /// The head did not arrive in time.
    HeadTimeout,
    /// The content did not arrive in time.
    BodyTimeout,
    /// More content than is read past.
    BodyTooLarge,
    /// A request line longer than [`super::head::REQUEST_LINE_MAX_BYTES`].
    LineTooLong,
    /// An expectation other than 100-continue.
    UnknownExpectation,
    /// A head longer than [`super::head::HEAD_MAX_BYTES`].
    HeadTooLarge,
    /// More than [`super::request::FIELDS_MAX`] fields.
    TooManyFields,
    /// A transfer coding other than chunked.
    UnknownCoding,
    /// A version of HTTP other than 1.0 and 1.1.
    UnknownVersion,
}

impl Refusal {
    /// What the client is told.
    pub(in crate::app) fn status(self) -> Status {
        use Refusal::*;
        match self {
            BadSyntax | BadHost | BadFraming | BadTarget | BadChunk => Status::BadRequest,
            HeadTimeout | BodyTimeout => Status::RequestTimeout,
            BodyTooLarge => Status::ContentTooLarge,
            LineTooLong => Status::UriTooLong,
            UnknownExpectation => Status::ExpectationFailed,
            HeadTooLarge | TooManyFields => Status::FieldsTooLarge,
            UnknownCoding => Status::NotImplemented,
            UnknownVersion => Status::VersionNotSupported,
        }
    }
}

//! Protocol errors of a request, and their statuses.

use super::response::Status;

/// A protocol error that closes the connection: the end of the request is unknown, or reading it
/// costs too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::app) enum HttpError {
    /// The head violates the grammar of RFC 9112 §2 and §5.
    BadSyntax,
    /// Host is missing, repeated or malformed (RFC 9112 §3.2).
    BadHost,
    /// Content-Length or Transfer-Encoding do not define the end of the content (RFC 9112 §6).
    BadFraming,
    /// The target is invalid: malformed escapes, or a path above the root.
    BadTarget,
    /// The chunked coding is broken (RFC 9112 §7.1).
    BadChunk,
    /// The head did not arrive in time.
    HeadTimeout,
    /// The content did not arrive in time.
    BodyTimeout,
    /// The content exceeds the limit.
    BodyTooLarge,
    /// A request line longer than [`super::HeadLimits::line_max_bytes`].
    LineTooLong,
    /// An expectation other than 100-continue.
    UnknownExpectation,
    /// A head longer than [`super::HeadLimits::head_max_bytes`].
    HeadTooLarge,
    /// More than [`super::request::FIELDS_MAX`] fields.
    TooManyFields,
    /// A transfer coding other than chunked.
    UnknownCoding,
    /// An HTTP version other than 1.0 and 1.1.
    UnknownVersion,
}

impl HttpError {
    /// The status for the client.
    pub(in crate::app) fn status(self) -> Status {
        use HttpError::*;
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

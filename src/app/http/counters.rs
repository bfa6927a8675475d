//! What the HTTP handler of one worker counts.

use super::error::HttpError;
use super::response::Status;

simoom_io::counters! {
    /// What the HTTP handler of one worker counts; names are those they are published by.
    pub struct Counters {
        /// HTTP connections that were opened.
        http_connections,
        /// HTTP requests with a whole head, answered or refused.
        http_requests,
        /// Bytes of whole HTTP request heads.
        http_head_bytes: bytes,
        /// Bytes of HTTP request content, which is discarded.
        http_request_content_bytes: bytes,
        /// Interim answers 100 (Continue).
        http_continues,
        /// Answers 200, 204 and 206.
        http_responses_2xx,
        /// Answers 300 to 399.
        http_responses_3xx,
        /// Answers 400 to 499, refused requests included.
        http_responses_4xx,
        /// Answers 500 to 599.
        http_responses_5xx,
        /// Answers 206 with one range or several.
        http_partial,
        /// Answers 304.
        http_not_modified,
        /// Answers 404.
        http_not_found,
        /// Answers 405.
        http_method_not_allowed,
        /// Answers 412.
        http_precondition_failed,
        /// Answers 416: the range begins past the end of the file.
        http_range_not_satisfiable,
        /// Answers 501 to an unknown method.
        http_unknown_method,
        /// Requests refused because the head does not follow the grammar.
        http_bad_syntax,
        /// Requests refused because Host is missing, repeated or malformed.
        http_bad_host,
        /// Requests refused because Content-Length or Transfer-Encoding is ambiguous or malformed.
        http_bad_framing,
        /// Requests refused because the path is malformed or leads above the root.
        http_bad_target,
        /// Requests refused because of broken chunked coding.
        http_bad_chunk,
        /// Requests refused because the head did not arrive in time (408).
        http_head_timeouts,
        /// Requests refused because the content did not arrive in time (408).
        http_body_timeouts,
        /// Requests refused because of too much content (413).
        http_body_too_large,
        /// Requests refused because the request line is too long (414).
        http_line_too_long,
        /// Requests refused because of an expectation other than 100-continue (417).
        http_unknown_expectation,
        /// Requests refused because the head is too long (431).
        http_head_too_large,
        /// Requests refused because of too many fields (431).
        http_too_many_fields,
        /// Requests refused because of a transfer coding other than chunked (501).
        http_unknown_coding,
        /// Requests refused because of a version other than 1.0 and 1.1 (505).
        http_unknown_version,
        /// Connections closed after the largest number of requests (`--http-requests`).
        http_request_limits,
        /// Pipelines interrupted to serve other connections (`--http-pipeline`).
        http_pipeline_limits,
        /// Connections closed because no HTTP request arrived.
        http_idle_timeouts,
        /// Connections reset because they came from a proxy and did not begin with a header of the
        /// PROXY protocol.
        http_bad_proxy_header,
        /// Bytes of files that were read from disk for answers.
        http_file_bytes: bytes,
        /// Answers that wait for a part of a file from disk.
        http_file_waiting: gauge,
        /// Answers that were refused (503) or cut off because a file could not be read, or changed.
        http_file_failures,
        /// Requests for a file on disk that were refused (503) because the memory for its parts was
        /// used up (`--file-buffers`).
        http_file_refusals,
        /// Lines of the access log that were lost because its file did not accept them, or not in
        /// time.
        http_access_log_lost,
    }
}

impl Counters {
    pub(super) fn note_answer(&mut self, status: Status) {
        match status {
            Status::Ok | Status::NoContent => self.http_responses_2xx += 1,
            Status::PartialContent => {
                self.http_responses_2xx += 1;
                self.http_partial += 1;
            }
            Status::MovedPermanently
            | Status::Found
            | Status::SeeOther
            | Status::TemporaryRedirect
            | Status::PermanentRedirect => self.http_responses_3xx += 1,
            Status::NotModified => {
                self.http_responses_3xx += 1;
                self.http_not_modified += 1;
            }
            Status::InternalServerError
            | Status::NotImplemented
            | Status::ServiceUnavailable
            | Status::VersionNotSupported => {
                self.http_responses_5xx += 1;
            }
            Status::RangeNotSatisfiable => {
                self.http_responses_4xx += 1;
                self.http_range_not_satisfiable += 1;
            }
            _ => self.http_responses_4xx += 1,
        }
    }

    /// Counts a response that has no file and leaves the connection open.
    pub(super) fn note_status_body(&mut self, status: Status) {
        match status {
            Status::NotFound => self.http_not_found += 1,
            Status::MethodNotAllowed => self.http_method_not_allowed += 1,
            Status::UriTooLong => self.http_line_too_long += 1,
            Status::PreconditionFailed => self.http_precondition_failed += 1,
            Status::NotImplemented => self.http_unknown_method += 1,
            _ => {}
        }
    }

    pub(super) fn note_error(&mut self, error: HttpError) {
        *match error {
            HttpError::BadSyntax => &mut self.http_bad_syntax,
            HttpError::BadHost => &mut self.http_bad_host,
            HttpError::BadFraming => &mut self.http_bad_framing,
            HttpError::BadTarget => &mut self.http_bad_target,
            HttpError::BadChunk => &mut self.http_bad_chunk,
            HttpError::HeadTimeout => &mut self.http_head_timeouts,
            HttpError::BodyTimeout => &mut self.http_body_timeouts,
            HttpError::BodyTooLarge => &mut self.http_body_too_large,
            HttpError::LineTooLong => &mut self.http_line_too_long,
            HttpError::UnknownExpectation => &mut self.http_unknown_expectation,
            HttpError::HeadTooLarge => &mut self.http_head_too_large,
            HttpError::TooManyFields => &mut self.http_too_many_fields,
            HttpError::UnknownCoding => &mut self.http_unknown_coding,
            HttpError::UnknownVersion => &mut self.http_unknown_version,
        } += 1;
    }
}

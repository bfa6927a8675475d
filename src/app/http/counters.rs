//! What the HTTP handler of one worker counts.

use super::refusal::Refusal;
use super::response::Status;

simoom_io::counters! {
    /// What the HTTP handler of one worker counts; names are those they are published by.
    pub struct Counters {
        /// Connections opened.
        http_connections,
        /// Requests whose head was whole, answered or refused.
        http_requests,
        /// Bytes of those heads.
        http_head_bytes,
        /// Bytes of content that came with requests and was read past.
        http_request_content_bytes,
        /// Interim answers 100 (Continue).
        http_continues,
        /// Answers 200.
        http_responses_2xx,
        /// Answers 301 and 304.
        http_responses_3xx,
        /// Answers 400 to 499, refusals included.
        http_responses_4xx,
        /// Answers 500, 501 and 505.
        http_responses_5xx,
        /// Answers 304.
        http_not_modified,
        /// Answers 404.
        http_not_found,
        /// Answers 405.
        http_method_not_allowed,
        /// Answers 412.
        http_precondition_failed,
        /// Answers 501 to a method nobody here knows.
        http_unknown_method,
        /// Refused: the head does not follow the grammar.
        http_bad_syntax,
        /// Refused: Host missing, repeated or malformed.
        http_bad_host,
        /// Refused: Content-Length or Transfer-Encoding ambiguous or malformed.
        http_bad_framing,
        /// Refused: the target's path malformed, or above the root.
        http_bad_target,
        /// Refused: broken chunked coding.
        http_bad_chunk,
        /// Refused: the head did not arrive in time.
        http_head_timeouts,
        /// Refused: the content did not arrive in time.
        http_body_timeouts,
        /// Refused: more content than is read past.
        http_body_too_large,
        /// Refused: request line too long.
        http_line_too_long,
        /// Refused: an expectation other than 100-continue.
        http_unknown_expectation,
        /// Refused: head too long.
        http_head_too_large,
        /// Refused: too many fields.
        http_too_many_fields,
        /// Refused: a transfer coding other than chunked.
        http_unknown_coding,
        /// Refused: a version other than 1.0 and 1.1.
        http_unknown_version,
        /// Connections closed because no request came.
        http_idle_timeouts,
        /// Connections reset because the client stopped reading.
        http_stalled,
    }
}

impl Counters {
    pub(super) fn note_answer(&mut self, status: Status) {
        match status {
            Status::Ok | Status::NoContent => self.http_responses_2xx += 1,
            Status::MovedPermanently => self.http_responses_3xx += 1,
            Status::NotModified => {
                self.http_responses_3xx += 1;
                self.http_not_modified += 1;
            }
            Status::InternalServerError | Status::NotImplemented | Status::VersionNotSupported => {
                self.http_responses_5xx += 1;
            }
            _ => self.http_responses_4xx += 1,
        }
    }

    /// The named kinds of answers that are pages but end nothing.
    pub(super) fn note_page(&mut self, status: Status) {
        match status {
            Status::NotFound => self.http_not_found += 1,
            Status::MethodNotAllowed => self.http_method_not_allowed += 1,
            Status::UriTooLong => self.http_line_too_long += 1,
            Status::PreconditionFailed => self.http_precondition_failed += 1,
            Status::NotImplemented => self.http_unknown_method += 1,
            _ => {}
        }
    }

    pub(super) fn note_refusal(&mut self, refusal: Refusal) {
        *match refusal {
            Refusal::BadSyntax => &mut self.http_bad_syntax,
            Refusal::BadHost => &mut self.http_bad_host,
            Refusal::BadFraming => &mut self.http_bad_framing,
            Refusal::BadTarget => &mut self.http_bad_target,
            Refusal::BadChunk => &mut self.http_bad_chunk,
            Refusal::HeadTimeout => &mut self.http_head_timeouts,
            Refusal::BodyTimeout => &mut self.http_body_timeouts,
            Refusal::BodyTooLarge => &mut self.http_body_too_large,
            Refusal::LineTooLong => &mut self.http_line_too_long,
            Refusal::UnknownExpectation => &mut self.http_unknown_expectation,
            Refusal::HeadTooLarge => &mut self.http_head_too_large,
            Refusal::TooManyFields => &mut self.http_too_many_fields,
            Refusal::UnknownCoding => &mut self.http_unknown_coding,
            Refusal::UnknownVersion => &mut self.http_unknown_version,
        } += 1;
    }
}

//! What a router counts.

simoom_io::counters! {
    /// What the router of one worker counts; names are those they are published by.
    pub struct Counters {
        /// Connections to a router that were opened.
        router_connections,
        /// Requests to a router with a whole head, answered or refused.
        router_requests,
        /// Requests that no route matched and that the content handler took.
        router_files,
        /// Interim answers 100 (Continue) of a router.
        router_continues,
        /// Bytes of request bodies for routes, without chunk framing.
        router_body_bytes: bytes,
        /// Answers 200 to 299 of a router.
        router_responses_2xx,
        /// Answers 300 to 399 of a router.
        router_responses_3xx,
        /// Answers 400 to 499 of a router, refused requests included.
        router_responses_4xx,
        /// Answers 500 to 599 of a router.
        router_responses_5xx,
        /// Answers 404 because no route matched.
        router_not_found,
        /// Answers 405 because the path has no route for the method.
        router_method_not_allowed,
        /// Requests to a router refused, with the end of the connection: malformed, too large or
        /// too slow.
        router_refused,
        /// Requests answered with 503 because request bodies use all memory for them.
        router_bodies_full,
        /// Connections to a router closed because no request arrived.
        router_idle_timeouts,
    }
}

impl Counters {
    pub(super) fn note_answer(&mut self, status: u16) {
        *match status / 100 {
            2 => &mut self.router_responses_2xx,
            3 => &mut self.router_responses_3xx,
            4 => &mut self.router_responses_4xx,
            _ => &mut self.router_responses_5xx,
        } += 1;
    }
}

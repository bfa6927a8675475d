//! What a router counts.

simoom_io::counters! {
    /// What the router of one worker counts; names are those they are published by.
    pub struct Counters {
        /// Connections opened.
        router_connections,
        /// Requests whose head was whole, answered or refused.
        router_requests,
        /// Requests that no route matched and that the content handler took.
        router_files,
        /// Interim answers 100 (Continue).
        router_continues,
        /// Bytes of bodies that came with requests to routes, without chunk framing.
        router_body_bytes,
        /// Answers 200 to 299.
        router_responses_2xx,
        /// Answers 300 to 399.
        router_responses_3xx,
        /// Answers 400 to 499, refusals included.
        router_responses_4xx,
        /// Answers 500 to 599.
        router_responses_5xx,
        /// Answers 404 because no route matched.
        router_not_found,
        /// Answers 405 because the path has no route for the method.
        router_method_not_allowed,
        /// Requests refused in a way that ends the connection: malformed, too large, too slow.
        router_refused,
        /// Requests answered with 503 because bodies take all memory that they may take.
        router_bodies_full,
        /// Connections closed because no request came.
        router_idle_timeouts,
        /// Connections reset because the client stopped reading.
        router_stalled,
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

//! The worker's interface to the HTTP handler, besides the calls for each connection.

use super::{Access, Blob, Connection, Http};
use crate::handler::{Handler, Seconds};
use crate::metrics::Metric;
use simoom_io::Reply;

impl Handler for Http {
    fn clock(&mut self, seconds: Seconds) {
        Http::clock(self, seconds.unix);
    }

    fn drain(&mut self) {
        Http::drain(self);
    }

    fn idle(&self, conn: &Connection) -> bool {
        conn.is_between_requests()
    }

    fn panicked(&mut self, conn: &mut Connection, reply: &mut Reply<'_, Blob>) {
        Http::panicked(self, conn, reply);
    }

    fn publish(&self, sink: &mut dyn FnMut(&'static Metric, u64)) {
        // The thread that writes the access log counts what it cannot write.
        let unwritten = self.access.as_ref().map_or(0, Access::unwritten);
        let mut counters = self.counters().clone();
        counters.http_access_log_lost += unwritten;
        counters.iter().for_each(|(metric, value)| sink(metric, value));
    }
}

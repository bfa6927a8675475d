//! The worker's interface to the HTTP handler, besides the calls for each connection.

use super::{Access, Blob, Connection, Counters, Http};
use crate::handler::{Handler, Seconds};
use crate::later::Completed;
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

    fn completed(
        &mut self,
        conn: &mut Connection,
        completed: Completed,
        reply: &mut Reply<'_, Blob>,
    ) {
        self.file_completed(conn, completed, reply);
    }

    fn publish(&self, sink: &mut dyn FnMut(&'static Metric, u64)) {
        let http_file_waiting = self.files_waiting();
        // The thread that writes the access log counts what it cannot write.
        let unwritten = self.access.as_ref().map_or(0, Access::unwritten);
        let http_access_log_lost = self.counters().http_access_log_lost + unwritten;
        let counters = Counters { http_file_waiting, http_access_log_lost, ..*self.counters() };
        counters.iter().for_each(|(metric, value)| sink(metric, value));
    }
}

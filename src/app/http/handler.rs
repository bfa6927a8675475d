//! The worker's interface to the HTTP handler, besides the calls for each connection.

use super::{Blob, Connection, Http};
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
        self.counters().iter().for_each(|(metric, value)| sink(metric, value));
    }
}

//! Answers that are longer than a socket accepts in one call.

use crate::service::Service;
use crate::settings;
use simoom::Handler;
use simoom::kernel::Poller;
use simoom::metrics::Metric;
use simoom_io::{Application, Closed, Opened, Reply};
use std::sync::LazyLock;

const BYTES: usize = 16 << 20;
/// The largest write.
const WRITE_BYTES: usize = 256 << 10;

static LONG: LazyLock<Vec<u8>> = LazyLock::new(|| (0..BYTES).map(|at| (at / 997) as u8).collect());

/// Answers any input with [`LONG`], shared.
#[derive(Default)]
struct Long {
    opened: u64,
    closed: u64,
}

static OPENED: Metric = Metric::new("application_opened", "Connections opened.");
static CLOSED: Metric = Metric::new("application_closed", "Connections closed.");

impl Application for Long {
    type Blob = &'static [u8];
    type Conn = ();

    fn opened(&mut self, (): &mut (), _: Opened, _: &mut Reply<'_, Self::Blob>) {
        self.opened += 1;
    }

    fn received(&mut self, (): &mut (), bytes: &[u8], reply: &mut Reply<'_, Self::Blob>) -> usize {
        if !reply.has_capacity() {
            return 0;
        }
        reply.share(&LONG, 0..BYTES);
        bytes.len()
    }

    fn closed(&mut self, (): &mut (), _: Closed) {
        self.closed += 1;
    }
}

impl Handler for Long {
    fn publish(&self, sink: &mut dyn FnMut(&'static Metric, u64)) {
        sink(&OPENED, self.opened);
        sink(&CLOSED, self.closed);
    }
}

/// A socket buffer takes megabytes at once. A worker that gives them delays all its connections.
pub(crate) fn a_long_answer_is_written_in_parts(poller: Poller) {
    let service = Service::start_with(poller, &settings(), Long::default);
    let mut clients = [service.connect(), service.connect()];
    clients.iter_mut().for_each(|client| client.send("x"));
    clients.iter_mut().for_each(|client| client.expect(&*LONG));
    service.wait_until("a bounded length of each write", |service| {
        service.count("write_calls") >= (clients.len() * BYTES / WRITE_BYTES) as u64
    });
}

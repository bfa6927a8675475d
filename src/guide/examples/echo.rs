//! Echo (RFC 862) on port 7007: sends back what it receives.
//!
//!     cargo run --example echo [INTERFACE]

use simoom::app::Blob;
use simoom::io::{Application, Duration, Opened, Reply};
use simoom::metrics::Metric;
use simoom::{Builder, Factories, Handler, Result, Server, log};

/// A client that sends nothing for this long is disconnected.
const IDLE: Duration = Duration::from_secs(60);

/// Exported as `simoom_echo_bytes_total`, with this help text.
static BYTES: Metric = Metric::new("echo_bytes", "Bytes echoed.").bytes();

/// The handler: one value for each worker, which only that worker's thread uses.
#[derive(Default)]
struct Echo {
    bytes: u64,
    is_draining: bool,
}

impl Application for Echo {
    type Blob = Blob;
    /// What is kept for each connection: nothing.
    type Conn = ();

    fn opened(&mut self, (): &mut (), _: Opened, reply: &mut Reply<'_, Blob>) {
        reply.set_timeout(Some(IDLE));
    }

    fn received(&mut self, (): &mut (), bytes: &[u8], reply: &mut Reply<'_, Blob>) -> usize {
        assert!(!bytes.starts_with(b"panic"), "a client asked for it");
        // What there is no capacity for is delivered again, when there is some.
        let taken = reply.write(bytes);
        reply.set_timeout(Some(IDLE));
        if self.is_draining && taken == bytes.len() {
            reply.close();
        }
        self.bytes += taken as u64;
        taken
    }
}

impl Handler for Echo {
    fn drain(&mut self) {
        self.is_draining = true;
    }

    fn publish(&self, sink: &mut dyn FnMut(&'static Metric, u64)) {
        sink(&BYTES, self.bytes);
    }
}

/// The server; the caller may add options.
pub fn server() -> Builder<impl Factories> {
    Server::builder().handler("echo", 7007, |_worker| Ok(Echo::default()))
}

fn main() -> Result<()> {
    log::init(log::Log::default())?;
    match std::env::args().nth(1) {
        Some(interface) => server().interface(&interface).run().map(drop),
        None => server().run().map(drop),
    }
}

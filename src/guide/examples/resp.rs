//! Two protocols of frames: a subset of Redis on port 6379, and lines on port 7070.
//!
//!     cargo run --example resp [INTERFACE]

use simoom::app::codec::{Call, Framed, Lines, Service};
use simoom::app::resp;
use simoom::metrics::Metric;
use simoom::store::{Settings, Store};
use simoom::{Builder, Factories, Result, Server, log};

const MEMORY_BYTES: u64 = 64 << 20;

static LINES: Metric = Metric::new("sum_lines", "Lines that the calculator read.");

/// A calculator: each line is a number, or `=` for the sum of those before it.
#[derive(Default)]
struct Sum {
    lines: u64,
}

impl Service<Lines> for Sum {
    /// What is known of one connection.
    type Session = f64;

    fn call(&mut self, sum: &mut f64, line: &[u8], call: &mut Call<'_, Lines>) {
        self.lines += 1;
        match std::str::from_utf8(line).map(str::trim) {
            Ok("=") => call.answer(std::mem::take(sum).to_string().as_bytes()),
            Ok("quit") => call.close(),
            Ok(text) => match text.parse::<f64>() {
                Ok(number) => *sum += number,
                Err(error) => call.answer(error.to_string().as_bytes()),
            },
            Err(error) => call.answer(error.to_string().as_bytes()),
        }
    }

    fn malformed(&mut self, _: &mut f64, reason: &str, call: &mut Call<'_, Lines>) {
        call.answer(reason.as_bytes());
    }

    fn publish(&self, sink: &mut dyn FnMut(&'static Metric, u64)) {
        sink(&LINES, self.lines);
    }
}

/// The server; the caller may add options.
pub fn server() -> Result<Builder<impl Factories>> {
    let store = Store::new(&Settings { memory_bytes: MEMORY_BYTES, ..Settings::default() })?;
    Ok(Server::builder()
        .memory("the store", MEMORY_BYTES as usize)
        .handler("resp", 6379, move |_worker| Ok(resp::application(store.clone())))
        .handler("sum", 7070, |_worker| Ok(Framed::new(Lines::default(), Sum::default()))))
}

fn main() -> Result<()> {
    log::init(log::Log::default())?;
    match std::env::args().nth(1) {
        Some(interface) => server()?.interface(&interface).run().map(drop),
        None => server()?.run().map(drop),
    }
}

//! A key-value store over HTTP on port 8080, and over the Redis protocol on port 6379.
//!
//!     cargo run --example kv_rest [INTERFACE]
//!     curl -X PUT -d 'Hello' -H 'Content-Type: text/plain' localhost:8080/kv/greeting?ttl=60
//!     curl -i localhost:8080/kv/greeting

use simoom::app::kv::KeyValue;
use simoom::app::resp;
use simoom::app::router::{Router, Routes};
use simoom::store::{Settings, Store};
use simoom::{Builder, Factories, Result, Server, log};
use std::sync::Arc;

const MEMORY_BYTES: u64 = 64 << 20;

/// The server; the caller may add options.
pub fn server() -> Result<Builder<impl Factories>> {
    let store = Store::new(&Settings { memory_bytes: MEMORY_BYTES, ..Settings::default() })?;
    let routes = KeyValue::new(store.clone())
        .routes(Routes::new(), "/kv/{key}")
        .get("/", |_, _| "PUT, GET or DELETE /kv/{key}\n");
    let routes = Arc::new(routes);
    Ok(Server::builder()
        .memory("the store", MEMORY_BYTES as usize)
        .handler("kv", 8080, move |_worker| Ok(Router::new(Arc::clone(&routes), ())))
        .handler("resp", 6379, move |_worker| Ok(resp::application(store.clone()))))
}

fn main() -> Result<()> {
    log::init(log::Log::default())?;
    match std::env::args().nth(1) {
        Some(interface) => server()?.interface(&interface).run().map(drop),
        None => server()?.run().map(drop),
    }
}

//! A router and a codec as users of the library write them, for tests and fuzz targets.

use super::{NOW, answers, fuzz};
use crate::app::content::Content;
use crate::app::resp;
use crate::app::router::{Options, Request, Response, Router, Routes, Upload};
use crate::handler::{Handler, Seconds};
use crate::store::{Settings, Store};
use std::sync::Arc;

/// Responds with the length of the request body.
struct Length(usize);

impl Upload<()> for Length {
    fn write(&mut self, chunk: &[u8], (): &()) -> Result<(), Response> {
        self.0 += chunk.len();
        if chunk.contains(&b'!') { Err(Response::error(422)) } else { Ok(()) }
    }

    fn finish(self: Box<Self>, _: Seconds, (): &()) -> Response {
        Response::ok().json(&self.0)
    }
}

fn json(request: &Request<'_>, (): &()) -> Result<Response, Response> {
    let value: serde_json::Value = request.json()?;
    Ok(Response::new(201).header("X-Query", request.query("q").unwrap_or_default()).json(&value))
}

/// A router with one route of each kind, and files.
fn router() -> Router<()> {
    let routes = Routes::<()>::new()
        .get("/a/{b}", |request, ()| {
            Response::ok().bytes("text/plain", request.param_bytes("b").unwrap_or(b"").to_vec())
        })
        .put("/a/{*rest}", |request, ()| Response::ok().text(request.body().to_vec()))
        .get("/pieces", |_, ()| {
            Response::ok().pieces("text/plain", (0..20).map(|n| vec![b'p'; n * 100]))
        })
        .post("/json", json)
        .stream("POST", "/stream", |_, ()| Ok(Length(0)));
    let options = Options { body_max_bytes: 4096, stream_max_bytes: 8192, ..Options::default() };
    let content = Arc::new(Content::for_tests());
    let mut router = Router::new(Arc::new(routes), ()).with_options(options).with_files(content);
    router.clock(Seconds::of(784_111_777));
    router
}

/// As [`super::http_answers`], for a router with one route of each kind.
pub fn router_answers(input: &[u8], sizes: &[usize], narrow: bool) -> (Vec<u8>, bool) {
    answers(router(), 80, input, sizes, narrow)
}

/// As [`super::http_answers`], for the Redis subset. Each call uses a fresh store.
pub fn resp_answers(input: &[u8], sizes: &[usize], narrow: bool) -> (Vec<u8>, bool) {
    let settings =
        Settings { memory_bytes: 8 << 20, hash_key: Some([1, 2]), ..Settings::default() };
    let mut app = resp::application(Store::new(&settings).expect("the bounds are kept"));
    app.clock(Seconds::of(NOW));
    answers(app, 6379, input, sizes, narrow)
}

/// Entry point of the router's fuzz target. As [`super::fuzz_http`].
pub fn fuzz_router(data: &[u8]) {
    fuzz(data, router_answers);
}

/// Entry point of the Redis subset's fuzz target. As [`super::fuzz_http`].
pub fn fuzz_resp(data: &[u8]) {
    fuzz(data, resp_answers);
}

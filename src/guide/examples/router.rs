//! HTTP with routes on port 8080: notes in JSON, an upload, a long answer, files.
//!
//!     cargo run --example router [INTERFACE]

use simoom::app::content::Content;
use simoom::app::router::{Json, Request, Response, Router, Routes, Upload};
use simoom::handler::Seconds;
use simoom::metrics::Metric;
use simoom::{Builder, Factories, Server, log};
use std::cell::Cell;
use std::sync::{Arc, Mutex};

static LISTED: Metric = Metric::new("notes_listed", "Lists of notes sent.");

/// What handlers work with: one value for each worker.
struct State {
    notes: Arc<Mutex<Vec<String>>>, // Shared by all workers.
    listed: Cell<u64>,              // This worker's alone.
}

fn list(_: &Request<'_>, state: &State) -> Response {
    state.listed.set(state.listed.get() + 1);
    Response::ok().json(&*state.notes.lock().unwrap())
}

fn add(request: &Request<'_>, state: &State) -> Result<Response, Response> {
    let mut notes = state.notes.lock().unwrap();
    notes.push(request.json()?);
    let location = format!("/notes/{}", notes.len());
    Ok(Response::new(201).header("Location", location).json(&notes.len()))
}

fn show(request: &Request<'_>, state: &State) -> Result<Option<Json<String>>, Response> {
    let number: usize = request.parse_param("number")?;
    Ok(state.notes.lock().unwrap().get(number.wrapping_sub(1)).cloned().map(Json))
}

fn count(request: &Request<'_>, _: &State) -> Result<Response, Response> {
    let end: u64 = request.parse_query("end")?.unwrap_or(1000);
    Ok(Response::ok().pieces("text/plain", (1..=end).map(|n| format!("{n}\n"))))
}

/// Counts the lines of a body of any length, as it arrives.
struct Lines(usize);

impl Upload<State> for Lines {
    fn write(&mut self, piece: &[u8], _: &State) -> Result<(), Response> {
        self.0 += piece.iter().filter(|byte| **byte == b'\n').count();
        Ok(())
    }

    fn finish(self: Box<Self>, _: Seconds, _: &State) -> Response {
        Response::ok().json(&self.0)
    }
}

/// The server; the caller may add options.
pub fn server() -> Builder<impl Factories> {
    let routes = Routes::<State>::new()
        .get("/notes", list)
        .post("/notes", add)
        .get("/notes/{number}", show)
        .get("/numbers", count)
        .get("/peer", |request, _| Json(request.peer().map(|peer| peer.ip())))
        .stream("POST", "/lines", |_, _| Ok(Lines(0)))
        .counters(|state, sink| sink(&LISTED, state.listed.get()));
    let (routes, notes, files) = (Arc::new(routes), Arc::default(), Arc::new(Content::built_in()));
    Server::builder().handler("web", 8080, move |_worker| {
        let state = State { notes: Arc::clone(&notes), listed: Cell::new(0) };
        Ok(Router::new(Arc::clone(&routes), state).with_files(Arc::clone(&files)))
    })
}

fn main() -> simoom::Result<()> {
    log::init(log::Log::default())?;
    match std::env::args().nth(1) {
        Some(interface) => server().interface(&interface).run().map(drop),
        None => server().run().map(drop),
    }
}

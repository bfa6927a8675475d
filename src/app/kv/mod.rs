//! A key-value store over HTTP: GET, HEAD, PUT and DELETE of items of the store, as routes.
//!
//! ```
//! use simoom::app::kv::KeyValue;
//! use simoom::app::router::{Router, Routes};
//! use simoom::store::{Settings, Store};
//! use std::sync::Arc;
//!
//! let store = Store::new(&Settings { memory_bytes: 8 << 20, ..Settings::default() })?;
//! let routes = KeyValue::new(store).routes(Routes::new(), "/kv/{key}");
//! let mut line = simoom::app::testing::Line::open(Router::new(Arc::new(routes), ()), 80);
//! line.offer(b"PUT /kv/greeting HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nHello");
//! assert!(line.take().starts_with(b"HTTP/1.1 201 Created\r\n"));
//! line.offer(b"GET /kv/greeting HTTP/1.1\r\nHost: a\r\n\r\n");
//! assert!(line.take().ends_with(b"\r\n\r\nHello"));
//! # Ok::<(), simoom::Error>(())
//! ```
//!
//! - PUT stores the body with its Content-Type. `?ttl=SECONDS` has the value expire. It answers 201
//!   if there was no value, else 204, each with the new ETag. A body without Content-Length is
//!   refused with 411: the store must know the size before the first byte. It is written to the
//!   store as it arrives.
//! - A part of a value (Content-Range) cannot be stored: 400. Nor is Content-Encoding kept: 415.
//! - GET answers with the value, its ETag and, if it expires, Cache-Control.
//! - DELETE answers 204, or 404.
//! - If-Match and If-None-Match hold for all three, also against changes that happen while a body
//!   arrives. `If-None-Match: *` with PUT stores only where there is no value.
//! - A key has 1 to 250 bytes. Encode a slash in it as `%2F`.
//! - 413: the value exceeds the store's limit. 507: no memory is free, because unfinished values
//!   fill their quarter of it. 503: clients that do not read pin the maximum of the store's memory.
//!
//! The items are those that memcached clients see under the same keys.

mod media;

use super::router::{Bytes, Precondition, Request, Response, Routes, Upload};
use crate::handler::Seconds;
use crate::store::{
    Commit, Delete, Full, Item, KEY_MAX_BYTES, Meta, Mode, NewItem, Outcome, Reservation,
    ReserveError, Store,
};
use media::MEDIA_TYPE_MAX_BYTES;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

/// Values of a store over HTTP. One for all workers; clones share the store.
#[derive(Clone, Debug)]
pub struct KeyValue {
    store: Arc<Store>,
    /// Part of each ETag: the store restarts its counter, but clients remember ETags.
    epoch: u32,
}

/// An unfinished value.
struct Put {
    kv: KeyValue,
    reservation: Reservation,
    commit: Commit,
    existed: bool,
}

impl KeyValue {
    /// Values of `store`.
    pub fn new(store: Arc<Store>) -> KeyValue {
        KeyValue { store, epoch: RandomState::new().hash_one(0) as u32 }
    }

    /// Adds the routes under `pattern`, which has a parameter `{key}`.
    pub fn routes<S: 'static>(&self, routes: Routes<S>, pattern: &str) -> Routes<S> {
        let [get, put, delete, store, sound] = [(); 5].map(|()| self.clone());
        routes
            .get(pattern, move |request: &Request<'_>, _: &S| get.get(request))
            .stream("PUT", pattern, move |request: &Request<'_>, _: &S| put.begin_put(request))
            .delete(pattern, move |request: &Request<'_>, _: &S| delete.delete(request))
            .every_second(move |_, seconds| _ = store.store.maintain(now(seconds)))
            .sound_if(move |_| sound.store.is_sound())
    }

    fn get(&self, request: &Request<'_>) -> Result<Response, Response> {
        let now = now(request.seconds());
        let item = self.store.get(key(request)?, now).ok_or_else(|| Response::error(404))?;
        let meta = item.meta();
        let etag = self.etag(meta.cas);
        Ok(match request.precondition(&etag, None) {
            Precondition::Failed => Response::error(412),
            Precondition::NotModified => Response::new(304).header("ETag", etag),
            Precondition::Perform => self.value(item, &meta, now).header("ETag", etag),
        })
    }

    fn value(&self, item: Item, meta: &Meta, now: u32) -> Response {
        let (media_type, front) = media::read(meta.flags, item.value());
        let body = match Bytes::of_item(&self.store, item) {
            Some(Bytes::Item(item, range)) => Bytes::Item(item, range.start + front..range.end),
            Some(bytes) => bytes.as_slice()[front..].to_vec().into(),
            None => return Response::error(503).header("Retry-After", "1"),
        };
        let response = Response::ok().bytes(media_type, body);
        match meta.exptime {
            0 => response,
            exptime => {
                let left = exptime.saturating_sub(now);
                response.header("Cache-Control", format!("max-age={left}"))
            }
        }
    }

    fn begin_put(&self, request: &Request<'_>) -> Result<Put, Response> {
        let (key, now) = (key(request)?, now(request.seconds()));
        refuse_unkept(request)?;
        let media_type = request.header("Content-Type").unwrap_or("application/octet-stream");
        if media_type.len() > MEDIA_TYPE_MAX_BYTES {
            return Err(Response::error(415));
        }
        let body_bytes = body_bytes(request)?;
        let (commit, existed) = self.condition(request, key, now)?;
        let (flags, in_front) = media::flags(media_type);
        let front = if in_front { format!("{media_type}\n") } else { String::new() };
        let exptime = match request.parse_query::<u32>("ttl")? {
            None | Some(0) => 0,
            Some(ttl) => now.saturating_add(ttl),
        };
        let new = NewItem {
            key,
            flags,
            exptime,
            value_bytes: body_bytes.saturating_add(front.len()),
            // A text command of memcached cannot carry such a key: its meta commands encode it.
            binary_key: key.iter().any(|byte| *byte <= b' ' || *byte == 0x7f),
        };
        let mut reservation =
            self.store.reserve_incoming(&new, now, || Full::Exceed).map_err(refusal)?;
        reservation.write(front.as_bytes());
        Ok(Put { kv: self.clone(), reservation, commit, existed })
    }

    /// The condition for storing a value, and whether a value exists.
    fn condition(
        &self,
        request: &Request<'_>,
        key: &[u8],
        now: u32,
    ) -> Result<(Commit, bool), Response> {
        let has = |name| request.header_bytes(name).is_some();
        let is_conditional = has("If-Match") || has("If-None-Match");
        let cas = self.store.peek(key, now).map(|item| item.cas());
        let commit = match cas {
            _ if !is_conditional => Commit::default(),
            Some(cas) => {
                self.must_perform(request, cas)?;
                Commit { compare: Some(cas), ..Commit::default() }
            }
            None if has("If-Match") => return Err(Response::error(412)),
            None => Commit { mode: Mode::Add, ..Commit::default() },
        };
        Ok((commit, cas.is_some()))
    }

    fn must_perform(&self, request: &Request<'_>, cas: u64) -> Result<(), Response> {
        match request.precondition(&self.etag(cas), None) {
            Precondition::Perform => Ok(()),
            Precondition::NotModified | Precondition::Failed => Err(Response::error(412)),
        }
    }

    fn delete(&self, request: &Request<'_>) -> Result<Response, Response> {
        let (key, now) = (key(request)?, now(request.seconds()));
        let (commit, existed) = self.condition(request, key, now)?;
        if !existed {
            return Err(Response::error(404));
        }
        let how = Delete { compare: commit.compare, ..Delete::default() };
        Ok(match self.store.delete(key, &how, now) {
            Outcome::Stored { .. } => Response::new(204),
            Outcome::Exists => Response::error(412),
            _ => Response::error(404),
        })
    }

    fn etag(&self, cas: u64) -> String {
        format!("\"{:x}-{cas:x}\"", self.epoch)
    }
}

impl<S> Upload<S> for Put {
    fn write(&mut self, chunk: &[u8], _: &S) -> Result<(), Response> {
        self.reservation.write(chunk);
        Ok(())
    }

    fn finish(self: Box<Self>, seconds: Seconds, _: &S) -> Response {
        let Put { kv, reservation, commit, existed } = *self;
        match kv.store.commit(reservation, &commit, now(seconds)) {
            Outcome::Stored { cas } => {
                Response::new(if existed { 204 } else { 201 }).header("ETag", kv.etag(cas))
            }
            Outcome::NotStored | Outcome::Exists | Outcome::NotFound => Response::error(412),
            Outcome::TooLarge => refusal(ReserveError::TooLarge),
            Outcome::OutOfMemory => refusal(ReserveError::OutOfMemory),
        }
    }
}

fn refusal(refusal: ReserveError) -> Response {
    Response::error(match refusal {
        ReserveError::TooLarge => 413,
        ReserveError::OutOfMemory => 507,
    })
}

/// The store's current time.
fn now(seconds: Seconds) -> u32 {
    u32::try_from(seconds.steady).unwrap_or(u32::MAX)
}

fn key<'a>(request: &Request<'a>) -> Result<&'a [u8], Response> {
    let key = request.param_bytes("key").unwrap_or(b"");
    if (1..=KEY_MAX_BYTES).contains(&key.len()) {
        Ok(key)
    } else {
        let text = format!("key of {} bytes: must have 1 to {KEY_MAX_BYTES} bytes\n", key.len());
        Err(Response::error(400).text(text))
    }
}

/// Refuses a body that GET could not give back as it was meant. RFC 9110 §14.5: a part of a value
/// must not replace it.
fn refuse_unkept(request: &Request<'_>) -> Result<(), Response> {
    if request.header_bytes("Content-Range").is_some() {
        return Err(Response::error(400).text("Content-Range: store whole values only\n"));
    }
    if request.header_bytes("Content-Encoding").is_some() {
        return Err(Response::error(415).text("Content-Encoding is not kept: omit it\n"));
    }
    Ok(())
}

/// The length of the body, which the router has checked.
fn body_bytes(request: &Request<'_>) -> Result<usize, Response> {
    match request.header("Content-Length") {
        Some(length) => length.parse().map_err(|_| Response::error(413)),
        None if request.header_bytes("Transfer-Encoding").is_some() => Err(Response::error(411)),
        None => Ok(0),
    }
}

#[cfg(test)]
#[path = "kv_tests.rs"]
mod tests;

//! The routes of a server: methods and patterns with their handlers. Created at start-up, then
//! immutable and shared by all workers.

use super::path::Path;
use super::pattern;
use super::request::{Param, Request};
use super::response::{IntoResponse, Response};
use super::tree::Tree;
use super::upload::Upload;
use crate::handler::Seconds;
use crate::metrics::Metric;
use std::fmt;

/// Known methods: without a route, they get a 405 and not a 501.
const KNOWN: [&str; 9] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"];
/// The maximum number of methods: one bit of a [`Methods`] each.
const METHODS_MAX: usize = 64;

type Whole<S> = dyn Fn(&Request<'_>, &S) -> Response + Send + Sync;
type Begin<S> = dyn Fn(&Request<'_>, &S) -> Result<Box<dyn Upload<S>>, Response> + Send + Sync;
type Sound<S> = dyn Fn(&S) -> bool + Send + Sync;
type EverySecond<S> = dyn Fn(&S, Seconds) + Send + Sync;
type Publish<S> = dyn Fn(&S, &mut dyn FnMut(&'static Metric, u64)) + Send + Sync;

/// The handler of a route, by the way it receives the body.
pub(super) enum Handler<S> {
    /// The handler takes the whole body.
    Whole(Box<Whole<S>>),
    /// The handler takes the body as it arrives.
    Stream(Box<Begin<S>>),
}

pub(super) struct Route<S> {
    /// Index in [`Routes::methods`].
    method: usize,
    pub(super) params: Vec<Param>,
    pub(super) handler: Handler<S>,
}

/// A set of methods. Bits are indices in [`Routes::methods`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Methods(u64);

/// The result of finding a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// This route matches.
    Route(usize),
    /// The path has routes, but only for these methods.
    Methods(Methods),
    /// The path has no route.
    Nothing,
}

/// Routes by method and path, with a state `S` for each worker.
///
/// A pattern is a path with literal segments and parameters `{name}`, each for one segment.
/// `{*name}` at its end matches the remaining path. The most literal pattern with the method wins:
/// `/users/me` before `/users/{id}` before `/{*rest}`. The order of the calls does not matter.
/// `/users` and `/users/` are different paths.
///
/// A GET route also answers HEAD, without the body, unless HEAD has its own route. OPTIONS returns
/// the methods of the path, unless OPTIONS has its own route.
///
/// Each call panics if the pattern is malformed or if the route exists. Routes are created at
/// start-up, so the program reports the error at once.
pub struct Routes<S> {
    routes: Vec<Route<S>>,
    tree: Tree,
    methods: Vec<Box<str>>,
    sound: Vec<Box<Sound<S>>>,
    every_second: Vec<Box<EverySecond<S>>>,
    publish: Vec<Box<Publish<S>>>,
}

impl<S> Default for Routes<S> {
    fn default() -> Routes<S> {
        Routes::new()
    }
}

impl<S> fmt::Debug for Routes<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Routes({})", self.routes.len())
    }
}

impl<S> Routes<S> {
    /// No routes.
    pub fn new() -> Routes<S> {
        Routes {
            routes: Vec::new(),
            tree: Tree::new(),
            methods: KNOWN.map(Box::from).into(),
            sound: Vec::new(),
            every_second: Vec::new(),
            publish: Vec::new(),
        }
    }

    /// Answers GET, and HEAD without the body, of paths that match `pattern`.
    pub fn get<R: IntoResponse>(
        self,
        pattern: &str,
        handler: impl Fn(&Request<'_>, &S) -> R + Send + Sync + 'static,
    ) -> Routes<S> {
        self.on("GET", pattern, handler)
    }

    /// Answers POST of paths that match `pattern`.
    pub fn post<R: IntoResponse>(
        self,
        pattern: &str,
        handler: impl Fn(&Request<'_>, &S) -> R + Send + Sync + 'static,
    ) -> Routes<S> {
        self.on("POST", pattern, handler)
    }

    /// Answers PUT of paths that match `pattern`.
    pub fn put<R: IntoResponse>(
        self,
        pattern: &str,
        handler: impl Fn(&Request<'_>, &S) -> R + Send + Sync + 'static,
    ) -> Routes<S> {
        self.on("PUT", pattern, handler)
    }

    /// Answers DELETE of paths that match `pattern`.
    pub fn delete<R: IntoResponse>(
        self,
        pattern: &str,
        handler: impl Fn(&Request<'_>, &S) -> R + Send + Sync + 'static,
    ) -> Routes<S> {
        self.on("DELETE", pattern, handler)
    }

    /// Answers `method` of paths that match `pattern`. Calls the handler with the whole body, up to
    /// [`super::Options::body_max_bytes`].
    pub fn on<R: IntoResponse>(
        self,
        method: &str,
        pattern: &str,
        handler: impl Fn(&Request<'_>, &S) -> R + Send + Sync + 'static,
    ) -> Routes<S> {
        let handler = move |request: &Request<'_>, state: &S| {
            let response = handler(request, state);
            response.into_response()
        };
        self.add(method, pattern, Handler::Whole(Box::new(handler)))
    }

    /// Streams the bodies of `method` to paths that match `pattern`, up to
    /// [`super::Options::stream_max_bytes`]. The router calls `begin` with the head. `begin`
    /// returns the receiver of the body, or a response that refuses it.
    pub fn stream<U: Upload<S> + 'static>(
        self,
        method: &str,
        pattern: &str,
        begin: impl Fn(&Request<'_>, &S) -> Result<U, Response> + Send + Sync + 'static,
    ) -> Routes<S> {
        let begin = move |request: &Request<'_>, state: &S| {
            let upload = begin(request, state)?;
            Ok(Box::new(upload) as Box<dyn Upload<S>>)
        };
        self.add(method, pattern, Handler::Stream(Box::new(begin)))
    }

    /// Calls `sound` after a panic. It reports whether the state shared with other workers is still
    /// consistent. If not, the process ends.
    pub fn sound_if(mut self, sound: impl Fn(&S) -> bool + Send + Sync + 'static) -> Routes<S> {
        self.sound.push(Box::new(sound));
        self
    }

    /// Calls `maintain` with each worker's state before the first connection, and when the second
    /// changes. A sleeping worker does not wake for it.
    pub fn every_second(
        mut self,
        maintain: impl Fn(&S, Seconds) + Send + Sync + 'static,
    ) -> Routes<S> {
        self.every_second.push(Box::new(maintain));
        self
    }

    /// Publishes counters of the state among the worker's metrics. `publish` passes each metric and
    /// its value to its argument.
    pub fn counters(
        mut self,
        publish: impl Fn(&S, &mut dyn FnMut(&'static Metric, u64)) + Send + Sync + 'static,
    ) -> Routes<S> {
        self.publish.push(Box::new(publish));
        self
    }

    fn add(mut self, method: &str, pattern: &str, handler: Handler<S>) -> Routes<S> {
        let segments = pattern::parse(pattern)
            .unwrap_or_else(|error| panic!("route {method} {pattern}: the pattern {error}"));
        let param = |(at, segment): (usize, &pattern::Segment<'_>)| {
            let is_rest = matches!(segment, pattern::Segment::Rest(_));
            Some(Param { name: segment.name()?.into(), segment: at, is_rest })
        };
        let params = segments.iter().enumerate().filter_map(param).collect();
        let method_place = self.place(method);
        let same = self.tree.insert(&segments, self.routes.len());
        let others = &same[..same.len() - 1];
        let is_new = others.iter().all(|other| self.routes[*other].method != method_place);
        assert!(
            is_new,
            "route {method} {pattern}: another route matches the same requests; remove one"
        );
        self.routes.push(Route { method: method_place, params, handler });
        self
    }

    fn place(&mut self, method: &str) -> usize {
        if let Some(place) = self.methods.iter().position(|known| **known == *method) {
            return place;
        }
        assert!(
            self.methods.len() < METHODS_MAX,
            "method {method}: a server has at most {METHODS_MAX} methods"
        );
        self.methods.push(method.into());
        self.methods.len() - 1
    }

    pub(super) fn route(&self, index: usize) -> &Route<S> {
        &self.routes[index]
    }

    /// Whether the server knows `method`, with or without a route.
    pub(super) fn knows(&self, method: &str) -> bool {
        self.methods.iter().any(|known| **known == *method)
    }

    /// Finds the route of `method` and `path`.
    pub(super) fn find(&self, method: &str, path: &Path) -> Found {
        let is_head = method == "HEAD";
        let mut allowed = Methods::default();
        let mut matched = false;
        let mut as_get = None;
        let found = self.tree.find(path, &mut |routes| {
            matched = true;
            let mut found = None;
            for &index in routes {
                let place = self.routes[index].method;
                allowed.0 |= 1 << place;
                let name = &*self.methods[place];
                if name == method {
                    found = Some(index);
                } else if is_head && name == "GET" {
                    as_get = as_get.or(Some(index));
                }
            }
            found.or(as_get)
        });
        match found {
            Some(index) => Found::Route(index),
            None if matched => Found::Methods(allowed),
            None => Found::Nothing,
        }
    }

    /// The methods of all routes.
    pub(super) fn all_methods(&self) -> Methods {
        Methods(self.routes.iter().fold(0, |all, route| all | 1 << route.method))
    }

    /// The value of Allow: `methods` and the methods that they imply.
    pub(super) fn allow(&self, methods: Methods) -> String {
        let has = |name: &str| {
            self.methods
                .iter()
                .position(|known| **known == *name)
                .is_some_and(|place| methods.0 >> place & 1 == 1)
        };
        let is_allowed =
            |name: &&str| has(name) || *name == "OPTIONS" || *name == "HEAD" && has("GET");
        let names: Vec<&str> = self.methods.iter().map(|name| &**name).filter(is_allowed).collect();
        names.join(", ")
    }

    pub(super) fn is_sound(&self, state: &S) -> bool {
        self.sound.iter().all(|sound| sound(state))
    }

    pub(super) fn clock(&self, state: &S, seconds: Seconds) {
        for maintain in &self.every_second {
            maintain(state, seconds);
        }
    }

    pub(super) fn publish(&self, state: &S, sink: &mut dyn FnMut(&'static Metric, u64)) {
        for publish in &self.publish {
            publish(state, sink);
        }
    }
}

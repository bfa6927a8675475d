//! Combines the handlers of one worker into one application: a list, built at compile time.
//!
//! [`Services`] is a handler with its ports, followed by the rest of the list, which ends with
//! [`Nobody`]: `Services<Echo, Services<Http, Nobody>>`. Each connection belongs to the handler of
//! its local port. The variant of the connection's state selects the handler. So dispatch costs one
//! comparison for each preceding handler, and no indirect call.

use super::Blob;
use crate::handler::{Handler, PortNames, Seconds};
use crate::later::Completed;
use crate::metrics::Metric;
use simoom_io::{Application, Closed, Opened, Reply};

/// Inputs of one handler that are prefetched together, even if inputs of other handlers lie in
/// between.
const EXPECTED_AT_ONCE: usize = 16;

/// A handler with its ports, followed by the rest of the list.
pub struct Services<H, R = Nobody> {
    ports: Box<[u16]>,
    port_names: Option<PortNames>,
    /// `None` if the handler has no port on this worker.
    handler: Option<H>,
    rest: R,
}

/// The end of a list of [`Services`]. Resets every connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nobody;

/// The state of a connection, in the variant of its handler.
#[derive(Debug)]
pub enum Conn<A, B> {
    /// A connection of the first handler in the list.
    First(A),
    /// A connection of a later handler, or one that is not open.
    Rest(B),
}

impl<A, B: Default> Default for Conn<A, B> {
    fn default() -> Conn<A, B> {
        Conn::Rest(B::default())
    }
}

impl<H, R> Services<H, R> {
    /// Puts `handler` on `ports` before `rest`. `port_names` name its connection counters. Without
    /// a handler, nobody serves its ports.
    pub fn new(
        ports: &[u16],
        port_names: Option<PortNames>,
        handler: Option<H>,
        rest: R,
    ) -> Services<H, R> {
        let ports = if handler.is_some() { ports.into() } else { [].into() };
        Services { ports, port_names, handler, rest }
    }

    #[inline]
    fn owns(&self, port: u16) -> bool {
        is_among(&self.ports, port)
    }
}

/// Whether `port` is one of a few.
#[inline(always)]
#[allow(clippy::manual_contains, reason = "its loop for long slices is not inlined")]
fn is_among(ports: &[u16], port: u16) -> bool {
    ports.iter().any(|own| *own == port)
}

impl<H, R> Services<H, R>
where
    H: Handler<Blob = Blob>,
    R: Handler<Blob = Blob>,
{
    /// Prefetches the inputs that belong to the first handler.
    fn expect_own(handler: &mut H, inputs: &[(u16, &[u8])], is_own: impl Fn(u16) -> bool) {
        let mut own: [(u16, &[u8]); EXPECTED_AT_ONCE] = [(0, &[]); EXPECTED_AT_ONCE];
        let mut count = 0;
        for input in inputs.iter().filter(|(port, _)| is_own(*port)) {
            own[count] = *input;
            count += 1;
            if count == own.len() {
                handler.prefetch(&own);
                count = 0;
            }
        }
        if count > 0 {
            handler.prefetch(&own[..count]);
        }
    }
}

/// Forwards a call to the handler of a connection.
macro_rules! dispatch {
    ($services:ident, $conn:ident, $method:ident($($argument:expr),*), $otherwise:expr) => {
        match $conn {
            Conn::First(conn) => match &mut $services.handler {
                Some(handler) => handler.$method(conn $(, $argument)*),
                None => $otherwise,
            },
            Conn::Rest(conn) => $services.rest.$method(conn $(, $argument)*),
        }
    };
}

impl<H, R> Application for Services<H, R>
where
    H: Handler<Blob = Blob>,
    R: Handler<Blob = Blob>,
{
    type Blob = Blob;
    type Conn = Conn<H::Conn, R::Conn>;

    fn wants_ends(&self, local_port: u16) -> bool {
        match &self.handler {
            Some(handler) if self.owns(local_port) => handler.wants_ends(local_port),
            _ => self.rest.wants_ends(local_port),
        }
    }

    fn opened(&mut self, conn: &mut Self::Conn, opened: Opened, reply: &mut Reply<'_, Blob>) {
        *conn = if self.owns(opened.local_port) {
            Conn::First(H::Conn::default())
        } else {
            Conn::Rest(R::Conn::default())
        };
        dispatch!(self, conn, opened(opened, reply), reply.abort());
    }

    #[inline]
    fn prefetches(&self) -> bool {
        self.handler.as_ref().is_some_and(H::prefetches) || self.rest.prefetches()
    }

    #[inline]
    fn prefetch(&mut self, inputs: &[(u16, &[u8])]) {
        let (handler, ports) = (&mut self.handler, &self.ports);
        let Some(handler) = handler else { return self.rest.prefetch(inputs) };
        let is_own = |port| is_among(ports, port);
        if inputs.iter().all(|(port, _)| is_own(*port)) {
            return handler.prefetch(inputs);
        }
        Self::expect_own(handler, inputs, is_own);
        self.rest.prefetch(inputs);
    }

    #[inline]
    fn received(
        &mut self,
        conn: &mut Self::Conn,
        bytes: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> usize {
        dispatch!(self, conn, received(bytes, reply), bytes.len())
    }

    fn overfull(&mut self, conn: &mut Self::Conn, bytes: &[u8], reply: &mut Reply<'_, Blob>) {
        dispatch!(self, conn, overfull(bytes, reply), reply.abort());
    }

    fn resumed(&mut self, conn: &mut Self::Conn, reply: &mut Reply<'_, Blob>) {
        dispatch!(self, conn, resumed(reply), ());
    }

    fn timeout(&mut self, conn: &mut Self::Conn, reply: &mut Reply<'_, Blob>) {
        dispatch!(self, conn, timeout(reply), reply.abort());
    }

    fn closed(&mut self, conn: &mut Self::Conn, how: Closed) {
        dispatch!(self, conn, closed(how), ());
    }
}

impl<H, R> Handler for Services<H, R>
where
    H: Handler<Blob = Blob>,
    R: Handler<Blob = Blob>,
{
    fn clock(&mut self, seconds: Seconds) {
        self.handler.iter_mut().for_each(|handler| handler.clock(seconds));
        self.rest.clock(seconds);
    }

    fn drain(&mut self) {
        self.handler.iter_mut().for_each(H::drain);
        self.rest.drain();
    }

    fn idle(&self, conn: &Self::Conn) -> bool {
        match conn {
            Conn::First(conn) => self.handler.as_ref().is_none_or(|handler| handler.idle(conn)),
            Conn::Rest(conn) => self.rest.idle(conn),
        }
    }

    fn service(&self, conn: &Self::Conn) -> Option<&'static str> {
        match conn {
            Conn::First(_) => self.port_names.map(|names| names.service),
            Conn::Rest(conn) => self.rest.service(conn),
        }
    }

    fn panicked(&mut self, conn: &mut Self::Conn, reply: &mut Reply<'_, Blob>) {
        dispatch!(self, conn, panicked(reply), reply.abort());
    }

    fn completed(
        &mut self,
        conn: &mut Self::Conn,
        completed: Completed,
        reply: &mut Reply<'_, Blob>,
    ) {
        dispatch!(self, conn, completed(completed, reply), ());
    }

    fn is_sound(&self) -> bool {
        self.handler.as_ref().is_none_or(H::is_sound) && self.rest.is_sound()
    }

    fn port_names(&self, port: u16) -> Option<PortNames> {
        if self.owns(port) { self.port_names } else { self.rest.port_names(port) }
    }

    fn publish(&self, sink: &mut dyn FnMut(&'static Metric, u64)) {
        // In the order of the handler names. The last named handler is the first of the list.
        self.rest.publish(sink);
        self.handler.iter().for_each(|handler| handler.publish(sink));
    }
}

impl Application for Nobody {
    type Blob = Blob;
    type Conn = ();

    fn prefetches(&self) -> bool {
        false
    }

    fn opened(&mut self, (): &mut (), _: Opened, reply: &mut Reply<'_, Blob>) {
        reply.abort();
    }

    fn received(&mut self, (): &mut (), bytes: &[u8], _: &mut Reply<'_, Blob>) -> usize {
        bytes.len()
    }

    fn overfull(&mut self, (): &mut (), _: &[u8], reply: &mut Reply<'_, Blob>) {
        reply.abort();
    }

    fn timeout(&mut self, (): &mut (), reply: &mut Reply<'_, Blob>) {
        reply.abort();
    }
}

impl Handler for Nobody {}

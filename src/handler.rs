//! What a transport asks of the application it hosts, beyond the calls for each connection.
//!
//! A worker of either transport owns one application and nothing else knows it, so the time of day,
//! the order to drain and the question for counters come to it this way.

use crate::later::Completed;
use crate::metrics::{self, Count, Metric};
use simoom_io::{Application, Reply};
use simoom_tcp::ports::Port;

/// The time, in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seconds {
    /// The time of day, as the system has it: may be set forward or back.
    pub unix: u64,
    /// The same when the process started, and counted from there by a clock that nobody sets. The
    /// same for all workers.
    pub steady: u64,
}

impl Seconds {
    /// Both clocks tell this Unix time.
    pub fn of(unix: u64) -> Seconds {
        Seconds { unix, steady: unix }
    }
}

/// An application that a worker can run.
pub trait Handler: Application {
    /// The time: called before the first connection, and before other calls whenever the second has
    /// changed. A worker that sleeps does not wake for it.
    fn clock(&mut self, seconds: Seconds) {
        let _ = seconds;
    }

    /// The worker drains: from now on each connection is to be closed with its next answer. Called
    /// once.
    fn drain(&mut self) {}

    /// Whether `conn` is between requests, so that draining may close it now. A transport asks only
    /// when it holds neither input nor answers of the connection; say no while a request is half
    /// consumed.
    fn idle(&self, conn: &Self::Conn) -> bool {
        let _ = conn;
        true
    }

    /// A call for `conn` panicked. Only `closed` follows for it.
    ///
    /// If no byte of an answer to the current request is queued, the handler may queue an error and
    /// close. Otherwise it aborts, so that the client does not take a part for the whole. Called
    /// after a panic in `received`, `overfull` or `completed`; after a panic in another method the
    /// connection is reset.
    ///
    /// Default: the connection is reset.
    fn panicked(&mut self, conn: &mut Self::Conn, reply: &mut Reply<'_, Self::Blob>) {
        let _ = conn;
        reply.abort();
    }

    /// A request of `conn` is completed that a [`Token`](crate::Token) was taken for: answer it.
    /// Between the two, [`Reply::read_later`] puts off what the client sends, and
    /// [`idle`](Handler::idle) must say no. Not called for a connection that has ended.
    fn completed(
        &mut self,
        conn: &mut Self::Conn,
        completed: Completed,
        reply: &mut Reply<'_, Self::Blob>,
    ) {
        let _ = (conn, completed, reply);
    }

    /// Whether the state that this application shares with other connections and workers is
    /// intact. Asked after a panic: false if a lock is poisoned, for example. Then the worker ends,
    /// and with it the process.
    ///
    /// Default: true.
    fn is_sound(&self) -> bool {
        true
    }

    /// The name of the service that `conn` belongs to, for the log; `None` if it is not known.
    #[doc(hidden)]
    fn service(&self, conn: &Self::Conn) -> Option<&'static str> {
        let _ = conn;
        None
    }

    /// The metrics of the connections to `port`; `None` if they are not counted apart.
    fn port_names(&self, port: u16) -> Option<PortNames> {
        let _ = port;
        None
    }

    /// Gives each metric and its value to `sink`: always the same metrics, declared with
    /// [`counters!`](crate::metrics::counters) or as statics. A name with two declarations is
    /// an error at start.
    fn publish(&self, sink: &mut dyn FnMut(&'static Metric, u64)) {
        let _ = sink;
    }

    /// Bytes of memory that one worker's value takes when it serves `connections`, beyond what
    /// [`Application::Conn`] takes: counted in the memory plan.
    fn memory_bytes(connections: usize) -> usize
    where
        Self: Sized,
    {
        let _ = connections;
        0
    }
}

/// What is counted of a port's connections.
#[derive(Clone, Copy, Debug)]
pub struct PortNames {
    /// The name of the service.
    pub service: &'static str,
    /// Connections now.
    pub open: &'static Metric,
    /// The largest number of connections at once.
    pub limit: &'static Metric,
    /// Connections refused because of the limit.
    pub refused: &'static Metric,
}

impl PortNames {
    /// The metrics of the connections of a service.
    pub fn of(service: &str) -> PortNames {
        let of = |what, help| metrics::of_service(service, what, help);
        PortNames {
            service: metrics::interned(service),
            open: metrics::declared(of("connections_open", "Open connections").gauge()),
            limit: metrics::declared(
                of("connections_limit", "Upper bound of the open connections").gauge(),
            ),
            refused: metrics::declared(of(
                "connections_refused",
                "Connections refused because of the limit",
            )),
        }
    }
}

/// Adds what is counted of `port` under the application's names. Ports of one handler are counted
/// together.
pub(crate) fn count_port<A: Handler>(app: &A, port: &Port, counts: &mut Vec<Count>) {
    if let Some(names) = app.port_names(port.number) {
        let mut add = |name, value| match counts.iter_mut().find(|(known, _)| *known == name) {
            Some((_, sum)) => *sum += value,
            None => counts.push((name, value)),
        };
        add(names.open, port.open.into());
        add(names.limit, port.limit.into());
        add(names.refused, port.refused);
    }
}

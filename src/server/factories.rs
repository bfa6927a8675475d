//! Creates the handlers of each worker from a type-level list of factories.

use crate::app::{Blob, Nobody, Services};
use crate::error::Result;
use crate::handler::Handler;
use crate::later::Later;
use crate::limits::Plan;
use crate::listening::Via;
use crate::metrics::interned;
use crate::setup::Service;
use std::marker::PhantomData;
use std::sync::Arc;

/// The worker that a handler is created for.
#[derive(Clone, Debug)]
pub struct WorkerInfo {
    /// Number of the worker, from 0.
    pub number: usize,
    /// Maximum number of workers of the server.
    pub workers: usize,
    /// Core that the worker is pinned to, if any.
    pub core: Option<usize>,
    /// Maximum of open connections of the worker, over all its handlers.
    pub connections: usize,
    /// Whether the worker serves the queues of an interface or kernel sockets.
    pub via: Via,
    /// Source of tokens with which other threads complete requests.
    pub later: Later,
}

/// A list of factories: [`With`] adds one before the others, and [`Nobody`] ends the list.
pub trait Factories {
    /// The handlers of one worker.
    type Handlers: Handler<Blob = Blob> + Send + 'static;

    /// Creates the handlers of `worker` for the services in `ports`.
    #[doc(hidden)]
    fn make(&self, worker: WorkerInfo, ports: &Ports) -> Result<Self::Handlers>;

    /// Adds the memory of the handlers of `workers` workers to `plan`, each with `connections`.
    #[doc(hidden)]
    fn plan(&self, workers: usize, connections: usize, plan: Plan) -> Plan;
}

/// Ports of a worker, each with its service.
#[derive(Clone, Debug, Default)]
pub struct Ports(pub(super) Vec<(u16, Arc<Service>)>);

/// A factory before the rest of the list.
pub struct With<F, H, R> {
    service: Option<Arc<Service>>,
    factory: F,
    rest: R,
    makes: PhantomData<fn() -> H>,
}

impl<F, H, R> With<F, H, R> {
    /// Adds `factory`, for `service` if there is one, before `rest`.
    pub(super) fn new(service: Option<Arc<Service>>, factory: F, rest: R) -> With<F, H, R> {
        With { service, factory, rest, makes: PhantomData }
    }
}

impl Factories for Nobody {
    type Handlers = Nobody;

    fn make(&self, _: WorkerInfo, _: &Ports) -> Result<Nobody> {
        Ok(Nobody)
    }

    fn plan(&self, _: usize, _: usize, plan: Plan) -> Plan {
        plan
    }
}

impl<F, H, R> Factories for With<F, H, R>
where
    F: Fn(WorkerInfo) -> Result<H>,
    H: Handler<Blob = Blob> + Send + 'static,
    R: Factories,
{
    type Handlers = Services<H, R::Handlers>;

    fn make(&self, worker: WorkerInfo, ports: &Ports) -> Result<Self::Handlers> {
        // In the order of the configuration: the last factory is the head of the list.
        let rest = self.rest.make(worker.clone(), ports)?;
        let own = ports.0.iter().filter(|(_, service)| Some(service) == self.service.as_ref());
        let own: Vec<u16> = own.map(|(port, _)| *port).collect();
        let handler = if own.is_empty() { None } else { Some((self.factory)(worker)?) };
        let names = self.service.as_ref().map(|service| service.port_names);
        Ok(Services::new(&own, names, handler, rest))
    }

    fn plan(&self, workers: usize, connections: usize, plan: Plan) -> Plan {
        let plan = self.rest.plan(workers, connections, plan);
        match (&self.service, H::memory_bytes(connections)) {
            (None, _) | (_, 0) => plan,
            (Some(service), bytes) => {
                plan.add(interned(&format!("{} handlers", service.name)), workers, bytes)
            }
        }
    }
}

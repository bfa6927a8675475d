//! Starts the kernel transport of a server: one worker for each core, or one worker beside AF_XDP.

use super::factories::{Factories, Ports};
use super::{Common, Running, Server, count, failed, plan};
use crate::config::Transport;
use crate::control::command_channel;
use crate::error::{Error, Result};
use crate::kernel::listener::ListenError;
use crate::kernel::{self, Listener, Poller, Presence, Reserved};
use crate::listening::{Listening, Via};
use crate::metrics::Snapshot;
use crate::setup::Service;
use crate::setup::endpoints::{self, Origin};
use crate::{open_files, thread};
use crossbeam_channel::bounded;
use rustix::io::Errno;
use std::net::SocketAddr;
use std::sync::Arc;

/// Connections that can wait to be accepted.
pub(super) const BACKLOG: u16 = 4096;
/// Open files other than connections and listeners: queues, maps, standard streams and a reserve.
const OTHER_FILES: u64 = 256;

/// When the kernel must have the address of a listener.
pub(super) fn presence(origin: Origin) -> Presence {
    if origin == Origin::Interface { Presence::AnyTime } else { Presence::Now }
}

impl Server {
    /// Serves through kernel sockets only, with one worker for each core.
    pub(super) fn start_kernel<L: Factories>(&mut self, common: &Common<'_, L>) -> Result<()> {
        let setup = common.setup;
        common.endpoints.check_kernel_alone()?;
        let workers = setup.cores.len();
        let waiting = Waiting::alone(common);
        plan::check_kernel(common, workers, waiting.poller)?;
        let cores: Vec<Option<usize>> = setup.cores.iter().copied().map(Some).collect();
        let bound = reserve(common, workers)?;
        self.addresses = bound.iter().map(|bound| bound.address).collect();
        self.start_kernel_workers(common, bound, setup.connections, &cores, waiting)?;
        self.transport =
            format!("kernel sockets over {}, {}", waiting.poller, count(workers, "worker"));
        Ok(())
    }

    /// Listens on the reserved sockets, and starts a kernel worker for each of `cores`.
    pub(super) fn start_kernel_workers<L: Factories>(
        &mut self,
        common: &Common<'_, L>,
        bound: Vec<Bound>,
        connections: u32,
        cores: &[Option<usize>],
        Waiting { poller, busy_poll }: Waiting,
    ) -> Result<()> {
        if bound.is_empty() {
            return Ok(());
        }
        let mut ports: Vec<(u16, Arc<Service>)> =
            bound.iter().map(|bound| (bound.address.port(), bound.service.clone())).collect();
        ports.dedup();
        let ports = Ports(ports);
        self.tell_kernel_listeners(common, &bound)?;
        let sockets = bound.len() * cores.len();
        if busy_poll {
            steer_by_queue(&bound)?;
        }
        let mut listeners = listen(bound)?;
        let mut settings = plan::kernel_settings(common.setup, connections, cores.len());
        settings.busy_poll = busy_poll;
        settings.port_limits =
            plan::port_limits(common.setup, &ports, settings.connections, cores.len());
        allow_files(connections, sockets);
        for (index, core) in cores.iter().enumerate() {
            let own = listeners.iter_mut().filter_map(Iterator::next).collect();
            let name = format!("kernel {index}");
            let cannot = |error| Error::because(format!("starting worker {name}"), error);
            let (command_sender, commands) = command_channel().map_err(cannot)?;
            let snapshot = Snapshot::new(&name);
            let app = common.handlers(
                &ports,
                *core,
                settings.connections,
                Via::Kernel,
                &command_sender,
            )?;
            self.registry.add(snapshot.clone());
            let settings = settings.clone();
            let (ready, is_ready) = bounded(1);
            let ready = move || {
                let _ = ready.send(());
            };
            let work = move || kernel::run(poller, &settings, own, app, commands, snapshot, ready);
            let thread = thread::spawn(name.clone(), *core, common.failures.clone(), work);
            self.workers.push(Running {
                command_sender,
                thread: thread.map_err(cannot)?,
                drained: None,
            });
            if is_ready.recv().is_err() {
                let failure = self.failures.recv();
                return Err(failure.map_or_else(
                    |_| Error::failed("a kernel worker ended before it was ready"),
                    |why| failed(&why),
                ));
            }
        }
        Ok(())
    }

    fn tell_kernel_listeners<L>(&self, common: &Common<'_, L>, bound: &[Bound]) -> Result<()> {
        bound.iter().try_for_each(|Bound { service, address, .. }| {
            let (service, address) = (service.name, *address);
            self.listens(common, Listening { service, protocol: "tcp", address, via: Via::Kernel })
        })
    }
}

/// How a kernel worker waits for packets.
#[derive(Clone, Copy)]
pub(super) struct Waiting {
    poller: Poller,
    busy_poll: bool,
}

impl Waiting {
    /// Without AF_XDP. Busy polling is over epoll alone: io_uring can poll a NIC, but not suspend
    /// its interrupts.
    fn alone<L>(common: &Common<'_, L>) -> Waiting {
        let busy_poll = common.setup.busy_poll;
        Waiting { poller: if busy_poll { Poller::Epoll } else { common.poller }, busy_poll }
    }

    /// Beside AF_XDP, whose workers alone poll.
    pub(super) fn beside<L>(common: &Common<'_, L>) -> Waiting {
        Waiting { poller: common.poller, busy_poll: false }
    }
}

/// The bound sockets of a service, one for each worker, which do not listen yet.
pub(super) struct Bound {
    service: Arc<Service>,
    address: SocketAddr,
    sockets: Vec<Reserved>,
}

/// Binds the kernel sockets in the order of the configuration. Skips a service that was not
/// requested explicitly if its port is in use.
pub(super) fn reserve<L>(common: &Common<'_, L>, workers: usize) -> Result<Vec<Bound>> {
    let mut all = Vec::new();
    for socket in &common.endpoints.listening {
        let service = socket.service.clone();
        match Reserved::bind(socket.at, presence(socket.origin), workers) {
            Ok(sockets) => {
                let address = sockets.first().map_or(socket.at, Reserved::address);
                all.push(Bound { service, address, sockets });
            }
            Err(error) if socket.origin.may_lack(error.source) => {
                tracing::debug!(address = %socket.at, "left out: {error}");
            }
            Err(error) if service.optional => {
                tracing::warn!(
                    "{} is not served: {error}; {} PORT serves it elsewhere",
                    service.name,
                    service.option
                );
            }
            Err(error) => {
                let (option, remedy) = (&service.option, loopback_remedy(socket, &error));
                return Err(Error::failed(format!("{option} {}: {error}{remedy}", socket.at)));
            }
        }
    }
    Ok(all)
}

/// How to leave out a loopback address that no flag names, and that another process has: it may be
/// an instance on another interface.
fn loopback_remedy(socket: &endpoints::Listening, error: &ListenError) -> String {
    match (socket.origin, error.source) {
        (Origin::Loopback, Errno::ADDRINUSE) => format!(
            "; {} ADDRESS:{} serves at that address of the interface alone, without loopback",
            socket.service.option,
            socket.at.port()
        ),
        _ => String::new(),
    }
}

/// Gives each worker the connections of its own receive queues: it can poll one NAPI instance.
fn steer_by_queue(bound: &[Bound]) -> Result<()> {
    for Bound { service, address, sockets } in bound {
        let workers = sockets.len() as u32;
        let Some(first) = sockets.first().filter(|_| workers > 1) else { continue };
        first
            .steer_by_queue(workers)
            .map_err(|error| Error::failed(format!("{} {address}: {error}", service.option)))?;
    }
    Ok(())
}

/// Starts listening on all sockets: one for each worker and address.
fn listen(bound: Vec<Bound>) -> Result<Vec<impl Iterator<Item = Listener>>> {
    let listen = |Bound { service, address, sockets }: Bound| {
        let listeners: Result<Vec<Listener>, ListenError> =
            sockets.into_iter().map(|socket| socket.listen(BACKLOG)).collect();
        let listeners = listeners
            .map_err(|error| Error::failed(format!("{} {address}: {error}", service.option)))?;
        Ok(listeners.into_iter())
    };
    bound.into_iter().map(listen).collect()
}

/// The poller of kernel sockets: that of `transport`, or the best that this machine supports.
pub(super) fn poller(transport: Transport) -> Result<Poller> {
    if transport == Transport::Epoll {
        return Ok(Poller::Epoll);
    }
    match (kernel::io_uring(), transport) {
        (Ok(()), _) => Ok(Poller::IoUring),
        (Err(reason), Transport::IoUring) => {
            Err(Error::failed(format!("--transport io-uring: {reason}")))
        }
        (Err(reason), _) => {
            tracing::info!(reason, "kernel sockets are served over epoll, not io_uring");
            Ok(Poller::Epoll)
        }
    }
}

/// Raises the soft limit of open files for `connections`, up to the hard limit. Each connection
/// takes a file descriptor. With a lower limit the server accepts as many connections as it can.
fn allow_files(connections: u32, listeners: usize) {
    let wanted = u64::from(connections) + listeners as u64 + OTHER_FILES;
    let allowed = open_files::allow(wanted);
    if allowed < wanted {
        tracing::warn!(
            "{connections} connections take up to {wanted} open files, and {allowed} are allowed: raise the limit \
             with `ulimit -n` or LimitNOFILE=, or give --connections"
        );
    }
}

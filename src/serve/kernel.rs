//! The kernel transport's part of a server: alone with a worker a core, or one worker beside AF_XDP.

use super::{Common, Running, Server, count, failed, plan};
use crate::app::Service;
use crate::config::{self, Transport};
use crate::control::mailbox;
use crate::error::{Error, Result};
use crate::kernel::{self, Listener, Poller};
use crate::metrics::Sheet;
use crate::thread;
use crossbeam_channel::bounded;
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// Connections that may wait to be accepted.
const BACKLOG: u16 = 4096;
/// Open files besides those of the connections: listeners, queues, maps, standard streams, and some to spare.
const OTHER_FILES: u64 = 256;

impl Server {
    /// Serves through kernel sockets alone: one worker a core.
    pub(super) fn start_kernel(&mut self, common: &Common<'_>) -> Result<()> {
        let config = common.config;
        let workers = config.cores.len();
        plan::check_kernel(config, common.bound.as_ref(), &common.content, workers, common.poller)?;
        let cores: Vec<Option<usize>> = config.cores.iter().copied().map(Some).collect();
        self.addresses = self.start_kernel_workers(common, config.connections, &cores)?;
        self.transport = format!("kernel sockets over {}, {}", common.poller, count(workers, "worker"));
        Ok(())
    }

    /// Starts one kernel worker for each of `cores` on the configured addresses; returns these with their ports.
    pub(super) fn start_kernel_workers(
        &mut self,
        common: &Common<'_>,
        connections: u32,
        cores: &[Option<usize>],
    ) -> Result<Vec<SocketAddr>> {
        let bound = bind(common, cores.len())?;
        let mut ports: Vec<(u16, Service)> =
            bound.iter().map(|bound| (bound.address.port(), bound.service)).collect();
        ports.dedup();
        let addresses = bound.iter().map(|bound| bound.address).collect();
        let memcached = bound.iter().filter(|bound| bound.service == Service::Memcached);
        let at: Vec<SocketAddr> = memcached.map(|bound| bound.address).collect();
        common.tell_listeners(&at, false)?;
        let mut listeners: Vec<_> = bound.into_iter().map(|bound| bound.listeners.into_iter()).collect();
        let mut settings = plan::kernel_settings(common.config, connections, cores.len());
        settings.port_limits = plan::port_limits(common.config, &ports, settings.connections, cores.len());
        allow_files(connections);
        for (index, core) in cores.iter().enumerate() {
            let own = listeners.iter_mut().filter_map(Iterator::next).collect();
            let name = format!("kernel {index}");
            let cannot = |error| Error::because(format!("starting worker {name}"), error);
            let (orders, mailbox) = mailbox().map_err(cannot)?;
            let sheet = Sheet::new(&name);
            let app = common.services(&ports, settings.connections)?;
            self.board.add(sheet.clone());
            let (poller, settings) = (common.poller, settings.clone());
            let (ready, is_ready) = bounded(1);
            let ready = move || {
                let _ = ready.send(());
            };
            let work = move || kernel::run(poller, &settings, own, app, mailbox, sheet, ready);
            let thread = thread::spawn(name.clone(), *core, common.failures.clone(), work);
            self.workers.push(Running { orders, thread: thread.map_err(cannot)? });
            if is_ready.recv().is_err() {
                let failure = self.failures.recv();
                return Err(failure.map_or_else(|_| Error::failed("a worker has ended"), |why| failed(&why)));
            }
        }
        Ok(addresses)
    }
}

/// A service's sockets, one a worker.
struct Bound {
    service: Service,
    address: SocketAddr,
    listeners: Vec<Listener>,
}

/// Binds what is to be served, in the order of the configuration. A service that nobody asked for is left out if its
/// port is taken.
fn bind(common: &Common<'_>, workers: usize) -> Result<Vec<Bound>> {
    let mut all = Vec::new();
    let places = common.config.services().flat_map(|(service, address)| {
        let both = both_versions(common.config, address);
        both.into_iter().flatten().map(move |address| (service, address))
    });
    for (service, address) in places {
        match Listener::bind(address, workers, BACKLOG) {
            Err(error) if error.source == Errno::AFNOSUPPORT && address.ip() == Ipv6Addr::UNSPECIFIED => {
                tracing::debug!("{address} is left out: {error}");
            }
            Ok(listeners) => {
                let address = listeners.first().map_or(address, Listener::address);
                all.push(Bound { service, address, listeners });
            }
            Err(error) if common.is_optional(service) => {
                tracing::warn!(
                    "{} is not served: {error}; {} PORT serves it elsewhere",
                    service.name(),
                    service.flag()
                );
            }
            Err(error) => return Err(Error::failed(format!("{} {address}: {error}", service.flag()))),
        }
    }
    Ok(all)
}

/// Beside an interface, whose addresses are of both versions of IP, listening everywhere means both.
fn both_versions(config: &config::Serve, address: SocketAddr) -> [Option<SocketAddr>; 2] {
    let is_everywhere = config.interface.is_some() && address.ip() == Ipv4Addr::UNSPECIFIED;
    [Some(address), is_everywhere.then(|| SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), address.port()))]
}

/// How kernel sockets are to be polled: as `transport` says, or else the better way that this machine allows.
pub(super) fn poller(transport: Transport) -> Result<Poller> {
    if transport == Transport::Epoll {
        return Ok(Poller::Epoll);
    }
    match (kernel::io_uring(), transport) {
        (Ok(()), _) => Ok(Poller::IoUring),
        (Err(reason), Transport::IoUring) => Err(Error::failed(format!("--transport io-uring: {reason}"))),
        (Err(reason), _) => {
            tracing::info!(reason, "kernel sockets are served over epoll, not io_uring");
            Ok(Poller::Epoll)
        }
    }
}

/// Each connection of a kernel socket takes a file descriptor: raises the soft limit as far as that needs and the hard
/// limit allows. With fewer the server works, and accepts as many as it can.
fn allow_files(connections: u32) {
    let limit = getrlimit(Resource::Nofile);
    let wanted = u64::from(connections) + OTHER_FILES;
    if limit.current.is_none_or(|current| current >= wanted) {
        return;
    }
    let allowed = limit.maximum.map_or(wanted, |most| most.min(wanted));
    // Fails for no value up to the hard limit.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(allowed), ..limit });
    if allowed < wanted {
        tracing::warn!(
            "{connections} connections take up to {wanted} open files, and {allowed} are allowed: raise the limit \
             with `ulimit -n` or LimitNOFILE=, or give --connections"
        );
    }
}

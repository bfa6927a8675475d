//! The kernel transport's part of a server: alone with a worker a core, or one worker beside AF_XDP.

use super::{Common, Running, Server, count, failed, plan};
use crate::config::Transport;
use crate::control::mailbox;
use crate::error::{Error, Result};
use crate::kernel::{self, Listener, Poller};
use crate::metrics::Sheet;
use crate::thread;
use crossbeam_channel::bounded;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::net::SocketAddr;

/// Connections that may wait to be accepted.
const BACKLOG: u16 = 4096;
/// Open files besides those of the connections: listeners, queues, maps, standard streams, and some to spare.
const OTHER_FILES: u64 = 256;

impl Server {
    /// Serves through kernel sockets alone: one worker a core.
    pub(super) fn start_kernel(&mut self, common: &Common<'_>) -> Result<()> {
        let config = common.config;
        let workers = config.cores.len();
        plan::check_kernel(config, &common.content, workers, common.poller)?;
        let cores: Vec<Option<usize>> = config.cores.iter().copied().map(Some).collect();
        let bound = self.start_kernel_workers(common, config.connections, &cores)?;
        self.transport = format!("kernel sockets over {}, {}", common.poller, count(workers, "worker"));
        self.addresses = vec![bound];
        Ok(())
    }

    /// Starts one kernel worker for each of `cores` on the configured address; returns the address with its port.
    pub(super) fn start_kernel_workers(
        &mut self,
        common: &Common<'_>,
        connections: u32,
        cores: &[Option<usize>],
    ) -> Result<SocketAddr> {
        let address = common.config.http;
        let listeners = Listener::bind(address, cores.len(), BACKLOG)
            .map_err(|error| Error::failed(format!("--http {address}: {error}")))?;
        let bound = listeners.first().map_or(address, Listener::address);
        let settings = plan::kernel_settings(common.config, connections, cores.len());
        allow_files(connections);
        for (index, (listener, core)) in listeners.into_iter().zip(cores).enumerate() {
            let name = format!("kernel {index}");
            let cannot = |error| Error::because(format!("starting worker {name}"), error);
            let (orders, mailbox) = mailbox().map_err(cannot)?;
            let sheet = Sheet::new(&name);
            let app = common.services(bound.port());
            self.board.sheets.push(sheet.clone());
            let (poller, settings) = (common.poller, settings.clone());
            let (ready, is_ready) = bounded(1);
            let ready = move || {
                let _ = ready.send(());
            };
            let work = move || kernel::run(poller, &settings, vec![listener], app, mailbox, sheet, ready);
            let thread = thread::spawn(name.clone(), *core, common.failures.clone(), work);
            self.workers.push(Running { orders, thread: thread.map_err(cannot)? });
            if is_ready.recv().is_err() {
                let failure = self.failures.recv();
                return Err(failure.map_or_else(|_| Error::failed("a worker has ended"), |why| failed(&why)));
            }
        }
        Ok(bound)
    }
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

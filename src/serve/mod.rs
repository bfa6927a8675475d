//! `simoom serve`: a [`Server`] for HTTP with content and memcached with a store, from command-line
//! flags.

mod access_log;
mod changing;
mod reload;
mod stored;

use crate::app::content::{self, Disk};
use crate::app::disk::{FileReader, Threads};
use crate::app::http::{self, Access, Http};
use crate::app::memcached::datagram::Datagrams;
use crate::app::memcached::{self, Memcached, Shared};
use crate::clock;
use crate::config;
use crate::error::{Error, Result};
use crate::kernel::udp::{self, Udp};
use crate::limits::{self, Limit};
use crate::log;
use crate::metrics::{Registry, Snapshot};
use crate::server::{Builder, Factories, Server, Signals, UdpFactory, WorkerInfo};
use crate::setup::Setup;
use crate::store::Store;
use access_log::AccessLog;
use reload::{Reloader, Reloads};
use simoom_io::Duration;
use std::sync::{Arc, Mutex, PoisonError};
use stored::Stored;

/// Memory for a connection, about: see the memory plan.
const CONNECTION_BYTES: u64 = 1500;
/// Memory for what does not depend on connections, about.
const OTHER_BYTES: u64 = 16 << 20;

/// Serves with `config` until SIGTERM, SIGINT or SIGQUIT.
pub fn run(config: &config::Serve) -> Result<()> {
    let (builder, access_log) = builder(config)?;
    let outcome = builder.run();
    if let Some(access_log) = access_log {
        access_log.end();
    }
    outcome.map(drop)
}

/// Starts a server with `config`, in the network namespace of the calling thread. The caller
/// handles signals.
pub fn start(config: &config::Serve) -> Result<Server> {
    builder(config)?.0.signals(Signals::Ignore).start()
}

/// The builder of a server with `config`, and its access log, if any.
fn builder(
    config: &config::Serve,
) -> Result<(Builder<impl Factories + use<>>, Option<Arc<AccessLog>>)> {
    let setup = config.setup();
    let named = |name| setup.services.iter().find(|service| service.name == name).cloned();
    let (http, memcached) = (named(config::HTTP), named(config::MEMCACHED));
    let datagrams = setup.datagrams.clone();
    let cannot = |error| Error::because("preparing reloads of the content", error);
    let reloads = Reloads::new().map_err(cannot)?;
    let hangups = reloads.clone();
    let items = Arc::new(Items::new(config, &setup));
    let (files, threads) = file_reader(config, &reloads);
    let builder = Builder::of_flags(setup)
        .prepare("content", load_content(config, reloads.clone(), threads))
        .prepare("parts of files", file_memory(config, reloads.clone(), files.is_some()))
        .memory("log queue", log::MEMORY_BYTES)
        .metrics(reloads.snapshot.clone())
        .on_signal("SIGHUP", move || hangups.request());
    let (builder, access_log) = open_access_log(builder, config)?;
    let answers_bytes = Http::files_memory_bytes(config.connections as usize);
    let builder = match &files {
        Some(_) => builder.memory("answers with files on disk", answers_bytes),
        None => builder,
    };
    let builder = builder.serve(http, make_http(config, reloads, access_log.clone(), files));
    let builder = add_memory(builder, config.memcached)
        .serve(memcached, make_memcached(items.clone()))
        .udp(datagrams, make_udp(items.clone()));
    let told = items.clone();
    let builder = builder
        .on_listen(move |listening| {
            if listening.service == config::MEMCACHED {
                let (address, over_udp) = (listening.address, listening.protocol == "udp");
                told.shared()?.listens(memcached::Listening { address, over_udp });
            }
            Ok(())
        })
        .every_second(move |registry| items.maintain(registry));
    Ok((builder, access_log))
}

/// Opens the access log, if one is configured.
fn open_access_log<L: Factories>(
    builder: Builder<L>,
    config: &config::Serve,
) -> Result<(Builder<L>, Option<Arc<AccessLog>>)> {
    let Some(path) = &config.access_log else { return Ok((builder, None)) };
    let log = AccessLog::start(path, config.access_log_format, &config.trusted_proxies)?;
    let log = Arc::new(log);
    let memory_bytes = Access::memory_bytes(config.connections as usize);
    let reopened = log.clone();
    let builder =
        builder.memory("access log", memory_bytes).on_signal("SIGUSR1", move || reopened.reopen());
    Ok((builder, Some(log)))
}

/// What reads files from disk, if there may be files. Its threads start with the first such file.
fn file_reader(
    config: &config::Serve,
    reloads: &Arc<Reloads>,
) -> (Option<FileReader>, Option<Threads>) {
    if !has_root(&config.content) {
        return (None, None);
    }
    let reloads = Arc::downgrade(reloads);
    let (reader, threads) = FileReader::new(&config.files, move |path| {
        if let Some(reloads) = reloads.upgrade() {
            reloads.suspect(path);
        }
    });
    (Some(reader), Some(threads))
}

fn has_root(settings: &content::Settings) -> bool {
    [&settings.site].into_iter().chain(&settings.hosts).any(|site| site.root.is_some())
}

/// The memory for files: three quarters of what other parts of the memory plan leave. Those that
/// depend on the transport are not known yet, so they are estimated.
fn disk(config: &config::Serve, limit_bytes: usize) -> Option<Disk> {
    let limit_bytes = Limit::from_flag(None).bytes().min(limit_bytes as u64);
    let connections_bytes = u64::from(config.connections) * CONNECTION_BYTES;
    let memcached_bytes = config.memcached.map_or(0, |memcached| memcached.memory_bytes);
    let files_bytes = config.files.memory_bytes() as u64;
    let left_bytes =
        limit_bytes.saturating_sub(connections_bytes + memcached_bytes + files_bytes + OTHER_BYTES);
    let disk = config.content.disk?;
    Some(Disk { memory_bytes: left_bytes / 4 * 3, ..disk })
}

/// Loads the content while the server starts.
fn load_content(
    config: &config::Serve,
    reloads: Arc<Reloads>,
    threads: Option<Threads>,
) -> impl FnOnce(usize) -> Result<usize> + use<> {
    let config = config.clone();
    move |limit_bytes| {
        let buffers_bytes = config.files.memory_bytes();
        let reads_files = config.reads_files && threads.is_some();
        let mut disk = disk(&config, limit_bytes);
        let mut limit_bytes = limit_bytes;
        if reads_files {
            limit_bytes = limit_bytes.saturating_sub(buffers_bytes);
        } else if let Some(disk) = &mut disk {
            disk.buffers_bytes = buffers_bytes as u64;
        }
        let settings = content::Settings { limit_bytes, disk, ..config.content };
        let watches = config.watch && has_root(&settings);
        let mut reloader = Reloader::load(settings, watches, threads)?;
        let content = reloader.content();
        if reads_files || content.files_on_disk() > 0 {
            reloader.start_file_threads()?;
        }
        reloads.start(reloader)?;
        Ok(content.memory_bytes())
    }
}

/// The memory that reading files from disk takes at start-up: all, if there is such a file or if
/// the operator expects one.
fn file_memory(
    config: &config::Serve,
    reloads: Arc<Reloads>,
    has_root: bool,
) -> impl FnOnce(usize) -> Result<usize> + use<> {
    let (files, is_expected) = (config.files, config.reads_files);
    move |_| {
        let reads_files = has_root && (is_expected || reloads.has_files_on_disk());
        Ok(if reads_files { files.memory_bytes() } else { 0 })
    }
}

fn make_http(
    config: &config::Serve,
    reloads: Arc<Reloads>,
    access_log: Option<Arc<AccessLog>>,
    files: Option<FileReader>,
) -> impl Fn(WorkerInfo) -> Result<Http> + use<> {
    let config::Timeouts { header, idle, .. } = config.timeouts;
    let mut options = config.http_options;
    options.timeouts.head = Duration::from(header);
    options.timeouts.idle = Duration::from(idle);
    let proxies: Arc<[http::Network]> = config.proxy_protocol.clone().into();
    move |worker| {
        let access = access_log.as_ref().map(|log| log.worker(worker.connections));
        let http = Http::following(reloads.current(worker.later.clone())?, options);
        let http = match &files {
            Some(files) => http.with_files(files.clone(), worker.later, worker.connections),
            None => http,
        };
        Ok(http.with_access_log(access).with_proxies(proxies.clone()))
    }
}

/// The store of memcached and the state that its handlers share. Created with the first handler,
/// after the check of the memory plan.
struct Items {
    config: Option<config::Memcached>,
    /// Maximum number of handlers.
    workers: usize,
    threads: usize,
    connections: u32,
    shared: Mutex<Option<Arc<Shared>>>,
    stored: Mutex<Option<Stored>>,
}

impl Items {
    fn new(config: &config::Serve, setup: &Setup) -> Items {
        let service = setup.services.iter().find(|service| service.name == config::MEMCACHED);
        let limit = |service| setup.connection_limit(service, setup.connections, 1);
        let threads = config.cores.len();
        Items {
            config: config.memcached,
            workers: setup.workers(),
            threads,
            connections: service.map_or(0, |service| limit(service)),
            shared: Mutex::default(),
            stored: Mutex::default(),
        }
    }

    fn shared(&self) -> Result<Arc<Shared>> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = &*shared {
            return Ok(shared.clone());
        }
        let config = self.config.ok_or_else(|| Error::failed("memcached is not served"))?;
        let options = memcached::Options {
            port: config.endpoint.port,
            udp_port: config.udp.map_or(0, |udp| udp.port),
            workers: self.workers,
            threads: self.threads,
            connections: self.connections,
            memory_bytes: config.memory_bytes,
            item_max_bytes: config.item_max_bytes,
            idle_seconds: config.idle.as_millis().div_ceil(1000) as u32,
            ..memcached::Options::default()
        };
        let store = Store::new(&config.store(self.workers))?;
        let made = Shared::new(store, options, clock::steady_seconds());
        Ok(shared.insert(made).clone())
    }

    fn handler(&self, worker: &WorkerInfo) -> Result<Memcached> {
        Ok(Memcached::new(self.shared()?, worker.number, worker.connections))
    }

    /// Maintains the store, if there is one.
    fn maintain(&self, registry: &Registry) -> Result<()> {
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(shared) = shared else { return Ok(()) };
        let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        let stored = stored.get_or_insert_with(|| {
            let snapshot = Snapshot::new("store");
            registry.add(snapshot.clone());
            Stored::new(shared.store().clone(), snapshot)
        });
        stored.maintain()
    }
}

fn make_memcached(items: Arc<Items>) -> impl Fn(WorkerInfo) -> Result<Memcached> {
    move |worker| items.handler(&worker)
}

fn make_udp(items: Arc<Items>) -> UdpFactory {
    Box::new(move |worker, sockets, commands, snapshot| {
        let udp = Udp::new(sockets, Datagrams::new(items.handler(&worker)?), commands, snapshot);
        Ok(Box::new(move || udp.run()))
    })
}

/// The memory that memcached's handlers share.
fn add_memory<L: Factories>(
    builder: Builder<L>,
    memcached: Option<config::Memcached>,
) -> Builder<L> {
    let Some(memcached) = memcached else { return builder };
    let builder = builder.memory(limits::STORE, memcached.memory_bytes as usize);
    if memcached.udp.is_none() {
        return builder;
    }
    let handler = <Datagrams>::memory_bytes() + Memcached::memory_bytes(1);
    let udp = udp::memory_bytes() + handler + Shared::UDP_MEMORY_BYTES;
    builder.memory("memcached over UDP", udp)
}

//! Reloads the content when its files change, and on SIGHUP, on a thread of its own.
//!
//! Workers go on with the old content until the new one is complete. A content that cannot be
//! loaded, or does not fit the memory limit beside the old one, changes nothing. This thread frees
//! the old content when no worker uses it any more.

use super::changing::Changing;
use crate::app::Checksummed;
use crate::app::content::{
    self, Change, Content, ContentCounters, Current, Update, Watch, directory_of,
};
use crate::app::disk::Threads;
use crate::error::{Error, Result};
use crate::later::Later;
use crate::metrics::Snapshot;
use rustix::event::{EventfdFlags, eventfd};
use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};
use tracing::{debug, info, warn};

/// Interval of the checks that no event triggers: the root behind a link, open files, and retired
/// content.
const CHECK_PERIOD: Duration = Duration::from_millis(400);
/// Files are loaded when nothing has changed for this long,
const QUIET: Duration = Duration::from_millis(50);
/// or when the first change is this old.
const QUIET_MAX: Duration = Duration::from_millis(300);
/// Interval of looking at all files where the kernel refuses a watch.
const POLL_PERIOD: Duration = Duration::from_millis(900);

/// Suspects that are remembered.
const SUSPECTS_MAX: usize = 1000;

/// The part that workers and signals see.
pub(super) struct Reloads {
    current: Mutex<Option<Arc<Current>>>,
    workers: Mutex<Vec<Later>>,
    /// Files that have other bytes than an answer needed.
    suspects: Mutex<HashSet<PathBuf>>,
    request: OwnedFd,
    pub(super) snapshot: Arc<Snapshot>,
}

impl Reloads {
    pub(super) fn new() -> io::Result<Arc<Reloads>> {
        let request = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        let snapshot = Snapshot::new("content");
        snapshot.publish(ContentCounters::default().iter());
        Ok(Arc::new(Reloads {
            current: Mutex::default(),
            workers: Mutex::default(),
            suspects: Mutex::default(),
            request,
            snapshot,
        }))
    }

    /// Serves the first content, and starts to reload it.
    pub(super) fn start(self: &Arc<Self>, mut reloader: Reloader) -> Result<()> {
        reloader.reloads = Arc::downgrade(self);
        let current = reloader.current.clone();
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(current);
        let cannot = |error| Error::because("starting the thread that reloads content", error);
        let request = self.request.try_clone().map_err(cannot)?;
        let work = move || reloader.run(&request);
        let thread = std::thread::Builder::new().name("content".into()).spawn(work);
        thread.map(drop).map_err(cannot)
    }

    /// A file has other bytes than an answer needed. It is loaded once nobody writes it any more.
    pub(super) fn suspect(&self, path: &Path) {
        let mut suspects = self.suspects.lock().unwrap_or_else(PoisonError::into_inner);
        if suspects.len() < SUSPECTS_MAX {
            suspects.insert(path.to_owned());
        }
    }

    fn take_suspects(&self) -> HashSet<PathBuf> {
        std::mem::take(&mut self.suspects.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The content, for one more worker.
    pub(super) fn current(&self, worker: Later) -> Result<Arc<Current>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).push(worker);
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner).clone();
        current.ok_or_else(|| Error::failed("the content is not loaded"))
    }

    /// Whether a file of the content is read from disk.
    pub(super) fn has_files_on_disk(&self) -> bool {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner).clone();
        current.is_some_and(|current| current.get().0.files_on_disk() > 0)
    }

    /// Asks for a reload.
    pub(super) fn request(&self) {
        // Fails only if the eventfd is full, and then a reload is asked for already.
        let _ = rustix::io::write(&self.request, &1u64.to_ne_bytes());
    }

    /// Wakes all workers, so that they take the new content and let go of the old.
    fn wake_workers(&self) {
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.iter().for_each(Later::wake);
    }
}

/// How changes are noticed.
struct Watching {
    /// `None`: the kernel refuses it, so the files are looked at regularly.
    watch: Option<Watch>,
}

impl Watching {
    fn new() -> Watching {
        Watching { watch: Watch::new().map_err(|error| Watching::refused(&error)).ok() }
    }

    fn refused(error: &io::Error) {
        warn!(
            %error,
            "no watch for changes; the files are looked at every second: raise \
             fs.inotify.max_user_watches with sysctl"
        );
    }

    /// Looks at the files regularly if the kernel refused to watch a directory.
    fn check(&mut self) {
        if let Some(Err(error)) = self.watch.as_ref().map(Watch::check) {
            Watching::refused(&error);
            self.watch = None;
        }
    }
}

pub(super) struct Reloader {
    reloads: Weak<Reloads>,
    current: Arc<Current>,
    settings: content::Settings,
    watching: Option<Watching>,
    /// The directories that the roots led to before the last load.
    roots: Vec<Option<(u64, u64)>>,
    changing: Changing,
    /// The threads that read files from disk, before they start.
    threads: Option<Threads>,
    counters: ContentCounters,
    /// Former content that workers may still use.
    retired: Vec<Arc<Content>>,
    /// The bytes of replaced files.
    superseded: Vec<Weak<Checksummed>>,
    /// The last failure, so that it is logged once.
    failure: Option<String>,
    /// How long the last load of all files took, and the last load of those that changed.
    load_took: Duration,
    update_took: Duration,
}

impl Reloader {
    /// Loads the first content.
    pub(super) fn load(
        settings: content::Settings,
        watches: bool,
        threads: Option<Threads>,
    ) -> Result<Reloader> {
        let mut watching = watches.then(Watching::new);
        let roots = roots(&settings);
        let watch = watching.as_mut().and_then(|watching| watching.watch.as_mut());
        let content = Content::load_watched(&settings, watch);
        let content = content.map_err(|error| Error::usage(error.to_string()))?;
        if let Some(watching) = &mut watching {
            watching.check();
        }
        Ok(Reloader {
            reloads: Weak::new(),
            changing: Changing::new(&content),
            current: Arc::new(Current::new(Arc::new(content))),
            settings,
            watching,
            roots,
            threads,
            counters: ContentCounters::default(),
            retired: Vec::new(),
            superseded: Vec::new(),
            failure: None,
            load_took: Duration::ZERO,
            update_took: Duration::ZERO,
        })
    }

    /// The content that is served.
    pub(super) fn content(&self) -> Arc<Content> {
        self.current.get().0
    }

    /// Starts the threads that read files from disk, unless they run.
    pub(super) fn start_file_threads(&mut self) -> Result<()> {
        let cannot = |error| Error::because("starting the threads that read files", error);
        self.threads.take().map_or(Ok(()), Threads::start).map_err(cannot)
    }

    /// Runs until the server has ended.
    fn run(mut self, request: &OwnedFd) {
        self.publish();
        let mut next_check = Instant::now() + CHECK_PERIOD;
        loop {
            let polls = self.watching.as_ref().is_some_and(|watching| watching.watch.is_none());
            let timeout = if polls { POLL_PERIOD } else { CHECK_PERIOD };
            let mut change = self.wait(request, timeout);
            if self.reloads.strong_count() == 0 {
                return;
            }
            self.free_retired();
            if Instant::now() >= next_check {
                next_check = Instant::now() + CHECK_PERIOD;
                if self.find_changed_on_disk() && change == Change::Nothing {
                    change = Change::Files;
                }
            }
            let now = self.watching.as_ref().map(|_| roots(&self.settings));
            let is_moved = now.is_some_and(|now| now != self.roots);
            match change {
                Change::Woken => {
                    let _ = rustix::io::read(request, &mut [0; 8]);
                    self.reload(true);
                }
                Change::Files => {
                    self.settle(request, is_moved);
                    if is_moved { self.reload(false) } else { self.update() }
                }
                Change::Nothing if is_moved || polls => self.reload(false),
                Change::Nothing => {}
            }
        }
    }

    fn watch(&mut self) -> Option<&mut Watch> {
        self.watching.as_mut().and_then(|watching| watching.watch.as_mut())
    }

    fn wait(&mut self, request: &OwnedFd, timeout: Duration) -> Change {
        match self.watch() {
            Some(watch) => watch.wait(request.as_fd(), timeout),
            None => content::wait(request.as_fd(), timeout),
        }
    }

    /// Adds the files on disk whose bytes have changed to the changes. Returns whether there is
    /// any. Without a watch, only SIGHUP or a regular look at all files loads them.
    fn find_changed_on_disk(&mut self) -> bool {
        let Some(reloads) = self.reloads.upgrade() else { return false };
        let suspects = reloads.take_suspects();
        let watch = self.watching.as_mut().and_then(|watching| watching.watch.as_mut());
        let Some(watch) = watch else { return false };
        let changed = self.changing.find(suspects);
        let is_any = !changed.is_empty();
        watch.add_changes(changed);
        is_any
    }

    /// Waits until nothing has changed for a while. A load that takes long comes less often.
    fn settle(&mut self, request: &OwnedFd, is_moved: bool) {
        let begin = Instant::now();
        loop {
            // One name more may make a load of all files necessary.
            let loads_all = is_moved || self.watch().is_none_or(|watch| watch.has_lost_changes());
            let took = if loads_all { self.load_took } else { self.update_took };
            if begin.elapsed() >= QUIET_MAX.max(took) {
                return;
            }
            match self.wait(request, QUIET.max(took.min(QUIET_MAX))) {
                Change::Files => {}
                Change::Nothing | Change::Woken => return,
            }
        }
    }

    /// Serves the files that changed, or loads all files again if it must.
    fn update(&mut self) {
        let begin = Instant::now();
        let Some(changes) = self.watch().and_then(Watch::take_changes) else {
            return self.reload(false);
        };
        match self.content().update(&self.settings, &changes) {
            Update::Unknown => return self.reload(false),
            Update::Unchanged => {}
            Update::Changed(content) => {
                self.update_took = begin.elapsed();
                debug!(changes = changes.len(), took = ?self.update_took, "serving changed files");
                if let Err(error) = self.serve(*content) {
                    return self.failed(error.to_string());
                }
            }
        }
        self.failure = None;
    }

    /// Serves `content` from now on.
    fn serve(&mut self, content: Content) -> Result<()> {
        if content.files_on_disk() > 0 {
            self.start_file_threads()?;
        }
        self.superseded.extend_from_slice(content.released());
        self.counters.content_reloads += 1;
        self.replace(content);
        Ok(())
    }

    fn replace(&mut self, content: Content) {
        self.changing = Changing::new(&content);
        self.retired.push(self.current.replace(Arc::new(content)));
        self.wake_workers();
        self.publish();
    }

    /// Loads the content again and serves it if it changed.
    fn reload(&mut self, is_forced: bool) {
        let begin = Instant::now();
        // The load sees what changed before it.
        if let Some(watch) = self.watch() {
            watch.take_changes();
        }
        let roots = roots(&self.settings);
        // Superseded files are not in the way of new ones.
        if self.content().has_superseded() {
            self.replace(self.content().compacted());
        }
        let before = self.content();
        let watch = self.watching.as_mut().and_then(|watching| watching.watch.as_mut());
        let loaded = before.reload_watched(&self.settings, is_forced, watch);
        if let Some(watching) = &mut self.watching {
            watching.check();
        }
        self.load_took = begin.elapsed();
        self.roots = roots;
        match loaded {
            Ok(None) => self.failure = None,
            Ok(Some(content)) => {
                let (files, mib) = (content.files(), content.memory_bytes() >> 20);
                if let Err(error) = self.serve(content) {
                    return self.failed(error.to_string());
                }
                info!(files, mib, took = ?self.load_took, "serving changed content");
                self.failure = None;
            }
            Err(error) => {
                if let Some(watch) = self.watch() {
                    watch.lose_changes();
                }
                self.failed(error.to_string());
            }
        }
    }

    /// Logs and counts a failure, unless the last one was the same.
    fn failed(&mut self, error: String) {
        if self.failure.as_ref() != Some(&error) {
            warn!("the content is not reloaded: {error}");
            self.failure = Some(error);
            self.counters.content_reload_failures += 1;
            self.publish();
        }
    }

    /// Frees content that no worker uses any more.
    fn free_retired(&mut self) {
        self.retired.retain(|content| Arc::strong_count(content) > 1);
        if !self.retired.is_empty() {
            self.wake_workers();
        }
        if !self.superseded.is_empty() {
            self.publish();
        }
    }

    fn wake_workers(&self) {
        if let Some(reloads) = self.reloads.upgrade() {
            reloads.wake_workers();
        }
    }

    fn publish(&mut self) {
        let (content, _) = self.current.get();
        self.superseded.retain(|bytes| bytes.strong_count() > 0);
        let superseded = self.superseded.iter().filter_map(Weak::upgrade);
        let superseded_bytes: usize = superseded.map(|bytes| bytes.memory_bytes()).sum();
        self.counters.content_superseded = superseded_bytes as u64;
        self.counters.content_files = content.files() as u64;
        self.counters.content_files_on_disk = content.files_on_disk() as u64;
        self.counters.content_memory = content.served_memory_bytes() as u64;
        if let Some(reloads) = self.reloads.upgrade() {
            // A reader that holds the lock lets it go at once.
            while !reloads.snapshot.publish(self.counters.iter()) {
                std::thread::yield_now();
            }
        }
    }
}

/// The directories that the roots lead to.
fn roots(settings: &content::Settings) -> Vec<Option<(u64, u64)>> {
    let sites = [&settings.site].into_iter().chain(&settings.hosts);
    sites.filter_map(|site| site.root.as_deref()).map(directory_of).collect()
}

//! Reloads the content when its files change, and on SIGHUP, on a thread of its own.
//!
//! Workers go on with the old content until the new one is complete. A content that cannot be
//! loaded, or does not fit the memory limit beside the old one, changes nothing. This thread frees
//! the old content when no worker uses it any more.

use crate::app::content::{
    self, Change, Content, ContentCounters, Current, Update, Watch, directory_of,
};
use crate::error::{Error, Result};
use crate::later::Later;
use crate::metrics::Snapshot;
use rustix::event::{EventfdFlags, eventfd};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};
use tracing::{debug, info, warn};

/// Interval of the checks that no event triggers: the root behind a link, and retired content.
const CHECK_PERIOD: Duration = Duration::from_millis(400);
/// Files are loaded when nothing has changed for this long,
const QUIET: Duration = Duration::from_millis(50);
/// or when the first change is this old.
const QUIET_MAX: Duration = Duration::from_millis(300);
/// Interval of looking at all files where the kernel refuses a watch.
const POLL_PERIOD: Duration = Duration::from_millis(900);

/// The part that workers and signals see.
pub(super) struct Reloads {
    current: Mutex<Option<Arc<Current>>>,
    workers: Mutex<Vec<Later>>,
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
            request,
            snapshot,
        }))
    }

    /// Serves the first content, and starts to reload it.
    pub(super) fn start(
        self: &Arc<Self>,
        content: Content,
        settings: content::Settings,
        watches: bool,
    ) -> Result<()> {
        let current = Arc::new(Current::new(Arc::new(content)));
        let reloader = Reloader {
            reloads: Arc::downgrade(self),
            current: current.clone(),
            settings,
            watch: watches.then(Watching::new),
            counters: ContentCounters::default(),
            retired: Vec::new(),
            failure: None,
            took: Duration::ZERO,
        };
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(current);
        let cannot = |error| Error::because("starting the thread that reloads content", error);
        let request = self.request.try_clone().map_err(cannot)?;
        let work = move || reloader.run(&request);
        let thread = std::thread::Builder::new().name("content".into()).spawn(work);
        thread.map(drop).map_err(cannot)
    }

    /// The content, for one more worker.
    pub(super) fn current(&self, worker: Later) -> Result<Arc<Current>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).push(worker);
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner).clone();
        current.ok_or_else(|| Error::failed("the content is not loaded"))
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

    /// Watches the directories of the content. Returns whether changes may have been missed.
    fn follow(&mut self, content: &Content) -> bool {
        let Some(watch) = &mut self.watch else { return false };
        watch.follow(content).unwrap_or_else(|error| {
            Watching::refused(&error);
            self.watch = None;
            false
        })
    }
}

struct Reloader {
    reloads: Weak<Reloads>,
    current: Arc<Current>,
    settings: content::Settings,
    watch: Option<Watching>,
    counters: ContentCounters,
    /// Former content that workers may still use.
    retired: Vec<Arc<Content>>,
    /// The last failure, so that it is logged once.
    failure: Option<String>,
    /// How long the last load took.
    took: Duration,
}

impl Reloader {
    /// Runs until the server has ended.
    fn run(mut self, request: &OwnedFd) {
        let (content, _) = self.current.get();
        let mut missed = self.watch.as_mut().is_some_and(|watch| watch.follow(&content));
        drop(content);
        let mut roots = self.roots();
        self.publish();
        loop {
            let polls = self.watch.as_ref().is_some_and(|watch| watch.watch.is_none());
            let timeout = if polls { POLL_PERIOD } else { CHECK_PERIOD };
            let change = if missed { Change::Files } else { self.wait(request, timeout) };
            if self.reloads.strong_count() == 0 {
                return;
            }
            self.free_retired();
            let now = self.watch.as_ref().map(|_| self.roots());
            let is_moved = now.as_ref().is_some_and(|now| *now != roots);
            missed = match change {
                Change::Woken => {
                    let _ = rustix::io::read(request, &mut [0; 8]);
                    self.reload(true)
                }
                Change::Files => {
                    self.settle(request);
                    if missed || is_moved { self.reload(false) } else { self.update() }
                }
                Change::Nothing if is_moved || polls => self.reload(false),
                Change::Nothing => false,
            };
            roots = now.unwrap_or(roots);
        }
    }

    fn wait(&mut self, request: &OwnedFd, timeout: Duration) -> Change {
        if let Some(Watching { watch: Some(watch) }) = &mut self.watch {
            return watch.wait(request.as_fd(), timeout);
        }
        content::wait(request.as_fd(), timeout)
    }

    /// Waits until nothing has changed for a while. A reload that takes long comes less often.
    fn settle(&mut self, request: &OwnedFd) {
        let begin = Instant::now();
        let longest = QUIET_MAX.max(self.took);
        while begin.elapsed() < longest {
            match self.wait(request, QUIET.max(self.took.min(QUIET_MAX))) {
                Change::Files => {}
                Change::Nothing | Change::Woken => return,
            }
        }
    }

    /// Serves the files that changed, or loads all files again if it must. Returns whether changes
    /// may have been missed meanwhile.
    fn update(&mut self) -> bool {
        let begin = Instant::now();
        let watch = self.watch.as_mut().and_then(|watch| watch.watch.as_mut());
        let Some(changes) = watch.and_then(Watch::take_changes) else { return self.reload(false) };
        let (before, _) = self.current.get();
        match before.update(&self.settings, &changes) {
            Update::Unknown => return self.reload(false),
            Update::Unchanged => {}
            Update::Changed(content) => {
                self.took = begin.elapsed();
                debug!(changes = changes.len(), took = ?self.took, "serving changed files");
                self.serve(*content);
            }
        }
        self.failure = None;
        false
    }

    /// Serves `content` from now on.
    fn serve(&mut self, content: Content) {
        self.retired.push(self.current.replace(Arc::new(content)));
        self.counters.content_reloads += 1;
        self.wake_workers();
        self.publish();
    }

    /// Loads the content again and serves it if it changed. Returns whether changes may have been
    /// missed meanwhile.
    fn reload(&mut self, is_forced: bool) -> bool {
        let begin = Instant::now();
        // The load sees what changed before it.
        if let Some(Watching { watch: Some(watch) }) = &mut self.watch {
            watch.take_changes();
        }
        let (before, _) = self.current.get();
        let loaded = if is_forced {
            before.reload(&self.settings).map(Some)
        } else {
            before.reload_if_changed(&self.settings)
        };
        self.took = begin.elapsed();
        match loaded {
            Ok(None) => {
                self.failure = None;
                false
            }
            Ok(Some(content)) => {
                let (files, mib) = (content.files(), content.memory_bytes() >> 20);
                let missed = self.watch.as_mut().is_some_and(|watch| watch.follow(&content));
                self.serve(content);
                info!(files, mib, took = ?self.took, "serving changed content");
                self.failure = None;
                missed
            }
            Err(error) => {
                if let Some(Watching { watch: Some(watch) }) = &mut self.watch {
                    watch.lose_changes();
                }
                let error = error.to_string();
                if self.failure.as_ref() != Some(&error) {
                    warn!("the content is not reloaded: {error}");
                    self.failure = Some(error);
                    self.counters.content_reload_failures += 1;
                    self.publish();
                }
                false
            }
        }
    }

    /// Frees content that no worker uses any more.
    fn free_retired(&mut self) {
        self.retired.retain(|content| Arc::strong_count(content) > 1);
        if !self.retired.is_empty() {
            self.wake_workers();
        }
    }

    fn wake_workers(&self) {
        if let Some(reloads) = self.reloads.upgrade() {
            reloads.wake_workers();
        }
    }

    /// The directories that the roots lead to.
    fn roots(&self) -> Vec<Option<(u64, u64)>> {
        let sites = [&self.settings.site].into_iter().chain(&self.settings.hosts);
        sites.filter_map(|site| site.root.as_deref()).map(directory_of).collect()
    }

    fn publish(&mut self) {
        let (content, _) = self.current.get();
        self.counters.content_files = content.files() as u64;
        self.counters.content_files_on_disk = content.files_on_disk() as u64;
        self.counters.content_memory = content.memory_bytes() as u64;
        if let Some(reloads) = self.reloads.upgrade() {
            // A reader that holds the lock lets it go at once.
            while !reloads.snapshot.publish(self.counters.iter()) {
                std::thread::yield_now();
            }
        }
    }
}

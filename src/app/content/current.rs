//! The content that all workers serve now, and its replacement.
//!
//! A worker compares the version, one load of a word that rarely changes, and takes the new content
//! when it differs. The caller of [`Current::replace`] gets the old content back and drops it: that
//! takes time for many files, which no worker has.

use super::Content;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

simoom_io::counters! {
    /// What is counted of the content.
    pub struct ContentCounters {
        /// Files that are served, each form of a file counted.
        content_files: gauge,
        /// Files that are read from disk for each request, each form of a file counted.
        content_files_on_disk: gauge,
        /// Memory of the content that is served.
        content_memory: gauge bytes,
        /// Memory of replaced files that is not free yet, such as of those that answers send.
        content_superseded: gauge bytes,
        /// Times that changed content was loaded and served.
        content_reloads,
        /// Times that changed content could not be loaded; the log says why.
        content_reload_failures,
    }
}

/// The content that is served now.
#[derive(Debug)]
pub struct Current {
    version: AtomicU32,
    content: Mutex<Arc<Content>>,
}

impl Current {
    /// Serves `content`.
    pub fn new(content: Arc<Content>) -> Current {
        Current { version: AtomicU32::new(0), content: Mutex::new(content) }
    }

    /// Serves `content` from now on. Returns what was served before.
    pub fn replace(&self, content: Arc<Content>) -> Arc<Content> {
        let mut current = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        self.version.fetch_add(1, Ordering::Release);
        std::mem::replace(&mut *current, content)
    }

    /// The content and its version.
    pub fn get(&self) -> (Arc<Content>, u32) {
        let content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        (content.clone(), self.version.load(Ordering::Acquire))
    }

    /// The version. It changes with each replacement.
    #[inline]
    pub fn version(&self) -> u32 {
        self.version.load(Ordering::Acquire)
    }
}

//! The files that HTTP serves, held in memory and ready to send: a directory tree or the built-in
//! page.
//!
//! Created at start-up, then immutable and shared by all workers. A lookup maps a request path to
//! an index, with one hash lookup and no allocation. The index identifies a pre-rendered response.
//! No code here touches the file system after [`Content::load`], so no request reaches a file that
//! was not loaded. A reload creates another content and shares the bytes of unchanged files.
//!
//! In the order of the work: [`walk`] finds files, [`read`] reads them, [`compress`] compresses
//! them, [`build`] applies the rules of [`site`] and renders the responses. [`rules`] remains for
//! requests whose path has no file.

mod auth;
mod build;
mod charset;
mod coding;
mod compress;
mod current;
mod data;
mod file;
mod grown;
mod hash;
mod hosts;
mod listing;
mod load;
mod media_type;
mod on_disk;
mod pattern;
mod place;
mod read;
mod root;
mod rules;
mod site;
mod skipped;
mod table;
mod update;
mod uses;
mod walk;
mod watch;

pub use auth::{AuthRule, Users, check_realm};
#[cfg(test)]
pub(crate) use auth::{hold, wait_for_verdict};
pub(crate) use coding::{Choice, choose};
#[cfg(feature = "cli")]
pub(crate) use compress::compressed_forms;
pub use current::{ContentCounters, Current};
pub(crate) use file::File;
pub use load::Error;
pub use media_type::Types;
pub(crate) use on_disk::OnDisk;
pub use pattern::{Pattern, Template};
pub(crate) use rules::Outcome;
pub use site::{
    ERROR_PAGE_STATUSES, HeaderRule, REDIRECT_STATUSES, RedirectRule, RewriteRule, Site,
    check_field, check_host_name,
};

pub(crate) use update::Update;
pub(crate) use watch::{Change, Changed, Watch, wait};

use super::http::response::{Redirect, Rendered, Status};
use build::Builder;
use grown::List;
use hosts::Hosts;
use read::Known;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use table::Table;
use update::Origin;
use uses::Uses;

/// The page at `/` if no root is configured.
pub(crate) const BUILT_IN_PAGE: &[u8] = include_bytes!("built_in.html");

/// Settings for loading the files of all sites.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Memory limit, in bytes.
    pub limit_bytes: usize,
    /// Which files are read from disk for each request. `None`: all files are in memory.
    pub disk: Option<Disk>,
    /// Whether to compress files at start.
    pub compress: bool,
    /// The site of all hosts that no other site names.
    pub site: Site,
    /// The other sites.
    pub hosts: Vec<Site>,
}

/// Which files are read from disk for each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Longer files are read from disk.
    pub large_bytes: u64,
    /// Memory for the other files. The largest of those that do not fit are read from disk, too. A
    /// reload may take a quarter more: until it is complete, old and new files are held.
    pub memory_bytes: u64,
    /// Memory that reading such files takes. If there is one, it is not for content.
    pub buffers_bytes: u64,
}

impl Settings {
    /// All sites, the default first.
    fn sites(&self) -> Vec<&Site> {
        [&self.site].into_iter().chain(&self.hosts).collect()
    }
}

/// The result of a path lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// A file; the index is for [`Content::file`].
    File(u32),
    /// A directory, requested without its trailing slash. The index is for [`Content::redirect`].
    Redirect(u32),
    /// A path that a rule applies to, although it has an entry. For [`Content::resolve`].
    Ruled(u32),
}

/// A response without a file of its own: the page of an error, or an answer to OPTIONS.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) status: Status,
    pub(crate) rendered: Rendered,
}

/// The files of all sites. A clone shares all of them, and may replace some.
#[derive(Clone, Debug, Default)]
pub struct Content {
    /// At least one: the default site comes first.
    sites: Vec<Table>,
    hosts: Arc<Hosts>,
    files: List<File>,
    redirects: List<Redirect>,
    pages: List<Page>,
    /// Answers to OPTIONS, by their fields.
    options: Arc<HashMap<String, u32>>,
    /// What of the files is served.
    uses: Uses,
    /// The bytes of files by their version, for the next load.
    known: Known,
    /// What an update needs; `None` if each change needs a load of all files.
    origin: Option<Arc<Origin>>,
    /// The files that the walk found. `None` if some may have changed unnoticed while they were
    /// read.
    fingerprint: Option<u64>,
    /// The lines of the log about paths that are not served.
    not_served: Arc<Vec<String>>,
    memory_bytes: usize,
}

impl Content {
    /// Loads the files of all sites, or the built-in page without a root. Logs and skips paths that
    /// cannot be served: unreadable files, special files, and links that leave the root.
    pub fn load(settings: &Settings) -> Result<Content, Error> {
        Content::load_watched(settings, None)
    }

    /// As [`Content::load`]. Watches the directories from before they are read.
    pub(crate) fn load_watched(
        settings: &Settings,
        watch: Option<&mut Watch>,
    ) -> Result<Content, Error> {
        let loaded = load::load(settings, None, true, watch)?;
        Ok(loaded.expect("loaded although nothing changed"))
    }

    /// Loads again, and shares the bytes of unchanged files. Both contents together must fit the
    /// memory limit.
    pub fn reload(&self, settings: &Settings) -> Result<Content, Error> {
        let loaded = load::load(settings, Some(self), true, None)?;
        Ok(loaded.expect("loaded although nothing changed"))
    }

    /// As [`Content::reload`], if any file changed; otherwise `None`.
    pub fn reload_if_changed(&self, settings: &Settings) -> Result<Option<Content>, Error> {
        load::load(settings, Some(self), false, None)
    }

    /// As [`Content::reload`] if `is_forced`, or else [`Content::reload_if_changed`]. Watches the
    /// directories from before they are read.
    pub(crate) fn reload_watched(
        &self,
        settings: &Settings,
        is_forced: bool,
        watch: Option<&mut Watch>,
    ) -> Result<Option<Content>, Error> {
        load::load(settings, Some(self), is_forced, watch)
    }

    /// The built-in page alone.
    pub fn built_in() -> Content {
        let mut builder = Builder::new(0);
        builder.add_built_in(&Site::default(), &[("/index.html", BUILT_IN_PAGE, None)]);
        builder.finish()
    }

    /// The content for [`crate::app::testing`].
    pub(crate) fn for_tests() -> Content {
        let modified = Some(700_000_000);
        let mut builder = Builder::new(u64::MAX);
        let files: [(&str, &[u8], Option<u64>); 5] = [
            ("/index.html", BUILT_IN_PAGE, None),
            ("/12", b"Hello, all!\n", modified),
            ("/small", &[b's'; 200], modified),
            ("/large", &[b'l'; 20_000], modified),
            ("/dir/index.html", b"<p>dir", modified),
        ];
        builder.add_built_in(&Site::default(), &files);
        builder.finish()
    }

    /// Bytes of memory in use: contents, heads, paths and tables. Superseded files count.
    pub fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    /// As [`Content::memory_bytes`], without superseded files.
    pub fn served_memory_bytes(&self) -> usize {
        self.memory_bytes - self.uses.superseded().memory_bytes
    }

    /// The number of served files that are read from disk, each form counted.
    pub fn files_on_disk(&self) -> usize {
        self.uses.served().on_disk
    }

    /// The served files on disk that stay open: all if they are few.
    pub(crate) fn open_files(&self) -> Vec<Arc<OnDisk>> {
        let served = self.files.iter().filter(|file| self.uses.is_served(file.bytes()));
        served.filter_map(File::on_disk).filter(|file| file.is_kept()).cloned().collect()
    }

    /// The number of served files, each form of a file counted.
    pub fn files(&self) -> usize {
        self.files.len() - self.uses.superseded().files
    }

    /// The site that serves `host`, the value of Host.
    #[inline]
    pub(crate) fn site(&self, host: &[u8]) -> u32 {
        if self.hosts.is_empty() { 0 } else { self.hosts.find(host) }
    }

    /// Looks up `path`, which must be decoded and free of dot segments.
    #[inline]
    pub(crate) fn find(&self, site: u32, path: &[u8]) -> Option<Entry> {
        self.sites[site as usize].get(path)
    }

    #[inline]
    pub(crate) fn file(&self, index: u32) -> &File {
        self.files.get(index as usize)
    }

    pub(crate) fn redirect(&self, index: u32) -> &Redirect {
        self.redirects.get(index as usize)
    }

    pub(crate) fn page(&self, index: u32) -> &Page {
        self.pages.get(index as usize)
    }

    /// The site's own page for an error.
    pub(crate) fn error_page(&self, site: u32, status: Status) -> Option<u32> {
        let pages = &self.sites[site as usize].rules().pages;
        pages.iter().find(|(of, _)| *of == status).map(|(_, page)| *page)
    }
}

/// The directory that `root` leads to, for a comparison with a later one.
pub fn directory_of(root: &Path) -> Option<(u64, u64)> {
    load::directory_of(root)
}

/// A path in URI form.
fn encode(path: &[u8]) -> String {
    let encoded = path.iter().flat_map(|byte| pattern::encoded(byte).to_vec());
    encoded.map(char::from).collect()
}

#[cfg(test)]
#[path = "content_tests.rs"]
mod tests;

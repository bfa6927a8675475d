//! Loads the files of all sites into memory. Input: the settings. Output: [`Content`], or an error
//! that tells the operator what to change.
//!
//! The walk finishes before any file is read, so a tree that is too large is rejected early, with
//! its full size. Files that cannot be served are logged and skipped. A symbolic link is followed
//! only if its target lies under the root. A reload shares the bytes of unchanged files with the
//! previous content.

use super::build::{self, Builder};
use super::read::{self, Known, Loaded, TooLarge};
use super::root::Root;
use super::site::Site;
use super::update::Origin;
use super::walk::{self, Tree};
use super::watch::Watch;
use super::{BUILT_IN_PAGE, Content, Settings, compress, place};
use crate::clock::unix_time;
use std::fmt;
use std::hash::Hash;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::info;
use xxhash_rust::xxh3::Xxh3;

/// The reason that the files under a root cannot be served.
#[derive(Debug)]
pub enum Error {
    /// The root is unreadable or not a directory.
    Root {
        /// The path that the operator gave.
        root: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The files exceed the memory limit.
    TooLarge {
        /// The path that the operator gave.
        root: PathBuf,
        /// The number of files.
        files: usize,
        /// Memory that the files need.
        needed_bytes: u64,
        /// Memory available for files.
        limit_bytes: u64,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Root { root, source } => {
                write!(f, "--root {}: {source}; give a directory that can be read", root.display())
            }
            Error::TooLarge { root, files, needed_bytes, limit_bytes } => write!(
                f,
                "--root {}: its {files} files need {needed_bytes} bytes of memory, which is more than the \
                 {limit_bytes} left for them; raise --memory-limit or serve a smaller tree",
                root.display()
            ),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Root { source, .. } => Some(source),
            Error::TooLarge { .. } => None,
        }
    }
}

/// A site with the files that the walk found. Without a root there are none.
struct Walked<'a> {
    site: &'a Site,
    root: Option<Arc<Root>>,
    tree: Tree,
}

/// Loads the content. Shares what it can with the `previous` content, whose memory counts too.
/// `None` if no file changed since, unless `is_forced`. Watches the directories with `watch`: it
/// misses no change after its directory was read.
pub(super) fn load(
    settings: &Settings,
    previous: Option<&Content>,
    is_forced: bool,
    mut watch: Option<&mut Watch>,
) -> Result<Option<Content>, Error> {
    let mut progress = Progress::default();
    let sites = settings.sites();
    if let Some(watch) = &mut watch {
        watch.begin();
    }
    let walked = sites.iter().map(|site| find(site, settings, watch.as_deref_mut(), &mut progress));
    let mut walked = walked.collect::<Result<Vec<_>, _>>()?;
    if let Some(watch) = watch {
        watch.finish();
    }
    let fingerprint = fingerprint(&walked);
    let known_fingerprint = previous.and_then(|previous| previous.fingerprint);
    if !is_forced && known_fingerprint == Some(fingerprint) {
        return Ok(None);
    }
    let not_served: Vec<String> =
        walked.iter().flat_map(|walked| walked.tree.skipped.text()).collect();
    // A load that nobody asked for repeats no line.
    if is_forced || previous.is_none_or(|previous| *previous.not_served != not_served) {
        walked.iter().for_each(|walked| walked.tree.skipped.log());
    }
    // The built-in page always fits: the check of the memory plan names what does not.
    let has_files = walked.iter().any(|walked| walked.root.is_some());
    let limit_bytes = if has_files { settings.limit_bytes as u64 } else { u64::MAX };
    let no_files = Known::default();
    let known = previous.map_or(&no_files, |previous| &previous.known);
    let held_bytes = previous.map_or(0, Content::memory_bytes) as u64;
    let mut limit_bytes = limit_bytes;
    if let Some(disk) = settings.disk.filter(|_| has_files) {
        let mut trees = walked.iter_mut().map(|walked| &mut walked.tree).collect::<Vec<_>>();
        let is_any = place::place(&mut trees, &disk, known, held_bytes, limit_bytes);
        if is_any || previous.is_some_and(|previous| previous.files_on_disk() > 0) {
            limit_bytes = limit_bytes.saturating_sub(disk.buffers_bytes);
        }
    }
    let too_large = |needed_bytes| too_large(&walked, needed_bytes, limit_bytes);
    let needed_bytes = walked.iter().map(|walked| place::needed_bytes(&walked.tree)).sum();
    if needed_bytes > limit_bytes {
        return Err(too_large(needed_bytes));
    }
    let left_bytes = limit_bytes.saturating_sub(held_bytes);
    let sources: Vec<read::Source<'_>> = walked
        .iter()
        .filter_map(|Walked { root, tree, .. }| {
            Some(read::Source { root: root.as_ref()?, files: &tree.files })
        })
        .collect();
    let loaded = read::read_all(&sources, known, left_bytes, &mut progress)
        .map_err(|TooLarge { needed_bytes }| too_large(held_bytes + needed_bytes))?;
    let mut content = build(settings, &walked, loaded, &mut progress);
    let is_certain = !content.known.iter().any(|(identity, _)| identity.is_of_no_version());
    content.fingerprint = is_certain.then_some(fingerprint);
    content.not_served = Arc::new(not_served);
    content.count_uses(previous);
    match content.memory_bytes() as u64 {
        needed_bytes if needed_bytes > limit_bytes => Err(too_large(needed_bytes)),
        _ => Ok(Some(content)),
    }
}

/// Finds the files of a site.
fn find<'a>(
    site: &'a Site,
    settings: &Settings,
    watch: Option<&mut Watch>,
    progress: &mut Progress,
) -> Result<Walked<'a>, Error> {
    let Some(path) = &site.root else {
        return Ok(Walked { site, root: None, tree: Tree::default() });
    };
    let error = |source| Error::Root { root: path.clone(), source };
    let root = path.canonicalize().and_then(Root::open).map_err(error)?;
    let settings = walk::Settings {
        limit_bytes: settings.limit_bytes,
        dotfiles: site.dotfiles,
        disk: settings.disk.is_some(),
    };
    let tree = walk::walk(&root, settings, watch, |tree| {
        if progress.is_due(Instant::now()) {
            let (directories, paths) = (tree.directories.len(), tree.paths.len());
            info!(directories, paths, "looking for the files under --root");
        }
    });
    Ok(Walked { site, root: Some(Arc::new(root)), tree: tree.map_err(error)? })
}

/// Identifies the paths and the versions of all files.
fn fingerprint(walked: &[Walked<'_>]) -> u64 {
    let mut hasher = Xxh3::new();
    for Walked { tree, .. } in walked {
        for (path, file) in &tree.paths {
            (path, tree.files[*file].identity).hash(&mut hasher);
        }
        tree.directories.hash(&mut hasher);
    }
    hasher.digest()
}

fn too_large(walked: &[Walked<'_>], needed_bytes: u64, limit_bytes: u64) -> Error {
    let largest = walked.iter().max_by_key(|walked| place::needed_bytes(&walked.tree));
    let root = largest.and_then(|walked| walked.site.root.clone()).unwrap_or_default();
    let files = walked.iter().map(|walked| walked.tree.files.len()).sum();
    Error::TooLarge { root, files, needed_bytes, limit_bytes }
}

fn build(
    settings: &Settings,
    walked: &[Walked<'_>],
    loaded: Vec<Vec<Option<Loaded>>>,
    progress: &mut Progress,
) -> Content {
    let now = unix_time().as_secs();
    let mut builder = Builder::new(now);
    let mut of_sites = loaded.iter();
    for (index, Walked { site, root, tree }) in walked.iter().enumerate() {
        match root.as_ref().and_then(|_| of_sites.next()) {
            Some(loaded) => {
                let files = build::by_path(tree, loaded);
                if settings.compress {
                    let left_bytes = settings.limit_bytes.saturating_sub(builder.memory_bytes());
                    compress::compress(site, tree, &files, left_bytes, progress);
                }
                builder.add_site(site, tree, &files);
            }
            None if index == 0 => {
                builder.add_built_in(site, &[("/index.html", BUILT_IN_PAGE, None)]);
            }
            None => builder.add_built_in(site, &[]),
        }
    }
    let mut content = builder.finish();
    let all = loaded.into_iter().flatten().flatten();
    for Loaded { data, identity } in all {
        content.known.insert(identity, data);
    }
    let sources = walked.iter().map(|walked| (walked.root.clone(), &walked.tree));
    content.origin = Origin::of(settings, sources).map(Arc::new);
    content
}

/// Decides when to log the progress of loading.
#[derive(Default)]
pub(super) struct Progress {
    last: Option<Instant>,
}

impl Progress {
    /// Interval of the progress messages in the log.
    pub(super) const PERIOD: Duration = Duration::from_secs(2);

    /// Whether [`Progress::PERIOD`] has passed since the last message, or since the first call.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let last = *self.last.get_or_insert(now);
        let is_due = now.duration_since(last) >= Progress::PERIOD;
        if is_due {
            self.last = Some(now);
        }
        is_due
    }
}

/// The directory that `root` leads to, for a comparison with a later one.
pub(super) fn directory_of(root: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(root).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_told_once_in_a_while() {
        let mut progress = Progress::default();
        let start = Instant::now();
        let due: Vec<u32> =
            (0..10).filter(|n| progress.is_due(start + *n * Progress::PERIOD / 4)).collect();
        assert_eq!(due, [4, 8]);
    }
}

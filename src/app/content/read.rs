//! Reads the files that the walk found, with several threads. Input: paths. Output: their bytes.
//!
//! A file whose [`Identity`] the previous content has is not read again. Files with equal bytes
//! share one copy.

use super::data::{Data, Identity};
use super::grown::Map;
use super::load::Progress;
use super::on_disk::OnDisk;
use super::root::Root;
use super::walk::Found;
use crate::clock::unix_time;
use crossbeam_channel::{RecvTimeoutError, Sender, unbounded};
use rustix::fs::fstat;
use std::collections::HashMap;
use std::hash::RandomState;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;
use tracing::{info, warn};

/// Limit of the reading threads. More do not help one disk.
const THREADS_MAX: usize = 8;
/// Files that cannot be read, named in the log one by one. Further ones are only counted.
const NAMED_MAX: usize = 8;

/// The bytes of files by their version.
pub(super) type Known = Map<Identity, Arc<Data>, RandomState>;

/// A file that was read.
#[derive(Clone, Debug)]
pub(super) struct Loaded {
    pub(super) data: Arc<Data>,
    pub(super) identity: Identity,
}

/// The files of one site.
pub(super) struct Source<'a> {
    pub(super) root: &'a Arc<Root>,
    pub(super) files: &'a [Found],
}

/// The memory limit was reached.
pub(super) struct TooLarge {
    pub(super) needed_bytes: u64,
}

/// The loaded files of each source; `None` for a file that cannot be read. Reads up to
/// `limit_bytes`, those of `known` files not counted.
pub(super) fn read_all(
    sources: &[Source<'_>],
    known: &Known,
    limit_bytes: u64,
    progress: &mut Progress,
) -> Result<Vec<Vec<Option<Loaded>>>, TooLarge> {
    let mut loaded: Vec<Vec<Option<Loaded>>> =
        sources.iter().map(|source| vec![None; source.files.len()]).collect();
    let mut jobs = Vec::new();
    for (site, source) in sources.iter().enumerate() {
        for (file, found) in source.files.iter().enumerate() {
            let known = known.get(&found.identity);
            match known.filter(|data| data.file().is_some() == found.on_disk) {
                Some(data) => {
                    let (data, identity) = (data.clone(), found.identity);
                    loaded[site][file] = Some(Loaded { data, identity });
                }
                None => jobs.push((site, file)),
            }
        }
    }
    let reader = Reader { sources, jobs: &jobs, limit_bytes, ..Reader::default() };
    let (sender, results) = unbounded();
    let threads = thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    let (mut read_files, mut unread) = (0, 0);
    let mut distinct = Distinct::default();
    known.iter().for_each(|(_, data)| drop(distinct.only(data.clone())));
    thread::scope(|scope| {
        for _ in 0..threads.min(jobs.len()) {
            let (reader, sender) = (&reader, sender.clone());
            scope.spawn(move || reader.run(&sender));
        }
        drop(sender);
        loop {
            match results.recv_timeout(Progress::PERIOD) {
                Ok((site, file, Ok(read))) => {
                    read_files += 1;
                    let data = distinct.only(read.data);
                    loaded[site][file] = Some(Loaded { data, ..read });
                }
                Ok((site, file, Err(error))) => {
                    unread += 1;
                    let path = sources[site].files[file].path.display();
                    if unread <= NAMED_MAX {
                        warn!(%path, %error, "not served: cannot be read");
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if progress.is_due(Instant::now()) {
                let (files, mib) = (jobs.len(), reader.taken.load(Ordering::Relaxed) >> 20);
                info!(read_files, files, mib, "reading the files under --root");
            }
        }
    });
    if unread > NAMED_MAX {
        warn!(unread, "not served: further files cannot be read");
    }
    let needed_bytes = reader.taken.load(Ordering::Relaxed);
    if needed_bytes > limit_bytes { Err(TooLarge { needed_bytes }) } else { Ok(loaded) }
}

#[derive(Default)]
struct Reader<'a> {
    sources: &'a [Source<'a>],
    jobs: &'a [(usize, usize)],
    next: AtomicUsize,
    taken: AtomicU64,
    limit_bytes: u64,
}

impl Reader<'_> {
    fn run(&self, results: &Sender<(usize, usize, io::Result<Loaded>)>) {
        while let Some(&(site, file)) = self.jobs.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            let Source { root, files } = &self.sources[site];
            let Found { path, on_disk, .. } = &files[file];
            let result = if *on_disk { open_only(root, path) } else { self.read(root, path) };
            if self.taken.load(Ordering::Relaxed) > self.limit_bytes
                || results.send((site, file, result)).is_err()
            {
                return;
            }
        }
    }

    fn read(&self, root: &Root, path: &Path) -> io::Result<Loaded> {
        read_file(root, path, |bytes| {
            let taken = self.taken.fetch_add(bytes, Ordering::Relaxed) + bytes;
            taken <= self.limit_bytes
        })
    }
}

/// Reads a file if `fits` allows its length. If it changes meanwhile, its identity is that of no
/// version, so that the next reload reads it again.
pub(super) fn read_file(
    root: &Root,
    path: &Path,
    fits: impl FnOnce(u64) -> bool,
) -> io::Result<Loaded> {
    let mut file = open(root, path)?;
    let before = Identity::of(&fstat(&file)?);
    if !fits(before.bytes) {
        return Err(io::Error::other("larger than the memory limit"));
    }
    let len = usize::try_from(before.bytes).map_err(io::Error::other)?;
    let mut bytes = vec![0; len];
    let filled = fill(&mut file, &mut bytes)?;
    bytes.truncate(filled);
    let after = Identity::of(&fstat(&file)?);
    let is_certain = before == after && !after.is_recent(unix_nanoseconds());
    let identity = if is_certain { after } else { after.of_no_version() };
    Ok(Loaded { data: Arc::new(Data::new(bytes.into())), identity })
}

/// Opens a file that is read for each request.
pub(super) fn open_only(root: &Arc<Root>, path: &Path) -> io::Result<Loaded> {
    let file = open(root, path)?;
    let version = Identity::of(&fstat(&file)?);
    let now = unix_nanoseconds();
    // A version with the time of another gets a tag that no other load gives.
    let (identity, nonce) =
        if version.is_recent(now) { (version.of_no_version(), now as u64) } else { (version, 0) };
    let on_disk = OnDisk::new(root.clone(), path.to_owned(), version, file);
    let data = Arc::new(Data::on_disk(on_disk, &version, nonce));
    Ok(Loaded { data, identity })
}

fn unix_nanoseconds() -> i128 {
    unix_time().as_nanos() as i128
}

/// Opens a file that the walk found. Does not follow a link. If a FIFO or device replaced the file,
/// returns an error and does not block.
fn open(root: &Root, path: &Path) -> io::Result<std::fs::File> {
    let file = root.file(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other("no longer a regular file"))
    }
}

/// Reads until `bytes` is full or the file ends. Returns the number of bytes.
fn fill(file: &mut std::fs::File, bytes: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read(&mut bytes[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Files with different bytes.
#[derive(Default)]
struct Distinct(HashMap<(u64, usize), Vec<Arc<Data>>>);

impl Distinct {
    /// The data with the bytes of `data` that was seen first.
    fn only(&mut self, data: Arc<Data>) -> Arc<Data> {
        if data.file().is_some() {
            return data;
        }
        let alike = self.0.entry((data.hash(), data.bytes().len())).or_default();
        match alike.iter().find(|known| known.bytes() == data.bytes()) {
            Some(known) => known.clone(),
            None => {
                alike.push(data.clone());
                data
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_is_no_regular_file_is_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let canonical = directory.path().canonicalize().unwrap();
        let path = |name: &str| canonical.join(name);
        let made = std::process::Command::new("mkfifo").arg(path("fifo")).status().unwrap();
        assert!(made.success());
        fs::write(path("file"), "x").unwrap();
        std::os::unix::fs::symlink("file", path("link")).unwrap();
        let root = Root::open(canonical.clone()).unwrap();
        assert!(open(&root, &path("file")).is_ok());
        for name in ["fifo", "link"] {
            assert!(open(&root, &path(name)).is_err(), "{name}");
        }
    }
}

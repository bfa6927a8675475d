//! Compresses files at start (`--compress`), with several threads, within the memory limit.
//!
//! Only types that compress well, only files without a form of the same coding beside them, and
//! only if the result is shorter. A reload keeps the results for files that did not change.

use super::build::{ByPath, sidecar, type_of};
use super::coding::Coding;
use super::data::Data;
use super::load::Progress;
use super::media_type;
use super::site::Site;
use super::walk::Tree;
use flate2::Compression;
use std::collections::HashSet;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// Shorter files fit a packet or two as they are.
const FILE_MIN_BYTES: usize = 256;
/// The codings that are made. zstd has no encoder in Rust that compresses better than gzip.
const MADE: [Coding; 2] = [Coding::Brotli, Coding::Gzip];
/// Brotli from 0 to 11: 9 is within some percent of 11 and ten times as fast.
const BROTLI_QUALITY: u32 = 9;
/// 2²² bytes, the largest window that all browsers accept by default.
const BROTLI_WINDOW_LOG2: u32 = 22;

/// Compresses the files of a site, up to `limit_bytes`.
pub(super) fn compress(
    site: &Site,
    tree: &Tree,
    files: &ByPath<'_>,
    limit_bytes: usize,
    progress: &mut Progress,
) {
    let jobs = jobs(site, tree, files);
    if jobs.is_empty() {
        return;
    }
    let (next, made_bytes, done) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let threads = thread::available_parallelism().map_or(1, usize::from).min(jobs.len());
    let work = || {
        while let Some((data, coding)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            // What does not fit is tried again by the next reload.
            if made_bytes.load(Ordering::Relaxed) + data.bytes().len() <= limit_bytes {
                let made = data.coded(*coding).get_or_init(|| coded(data.bytes(), *coding));
                let bytes = made.as_ref().map_or(0, |made| made.memory_bytes());
                made_bytes.fetch_add(bytes, Ordering::Relaxed);
                done.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        while !workers.iter().all(thread::ScopedJoinHandle::is_finished) {
            if progress.is_due(Instant::now()) {
                let done = done.load(Ordering::Relaxed);
                info!(done, all = jobs.len(), "compressing the files under --root");
            }
            thread::park_timeout(Duration::from_millis(5));
        }
    });
    let (done, mib) = (done.into_inner(), made_bytes.into_inner() >> 20);
    info!(compressed = done, mib, "compressed files");
    if done < jobs.len() {
        let left = jobs.len() - done;
        warn!(left, "not compressed: the memory limit is reached; raise --memory-limit");
    }
}

/// The data to compress, each once for each coding.
fn jobs(site: &Site, tree: &Tree, files: &ByPath<'_>) -> Vec<(Arc<Data>, Coding)> {
    let mut seen = HashSet::new();
    let mut jobs = Vec::new();
    for (path, _) in &tree.paths {
        let Some(loaded) = files.get(path.as_slice()) else { continue };
        let data = &loaded.data;
        if data.bytes().len() < FILE_MIN_BYTES || !media_type::is_compressible(&type_of(site, path))
        {
            continue;
        }
        for coding in MADE {
            if sidecar(files, path, coding).is_none()
                && data.coded(coding).get().is_none()
                && seen.insert((Arc::as_ptr(data), coding))
            {
                jobs.push((data.clone(), coding));
            }
        }
    }
    jobs
}

/// The compressed bytes, if they are shorter.
fn coded(bytes: &[u8], coding: Coding) -> Option<Arc<Data>> {
    let coded = match coding {
        Coding::Brotli => brotli(bytes),
        Coding::Gzip => gzip(bytes),
        Coding::Zstd => return None,
    };
    let coded = coded.ok().filter(|coded| coded.len() < bytes.len())?;
    Some(Arc::new(Data::new(coded.into())))
}

/// `bytes` in the codings brotli and gzip.
#[cfg(feature = "cli")]
pub(crate) fn compressed_forms(bytes: &[u8]) -> std::io::Result<[Vec<u8>; 2]> {
    Ok([brotli(bytes)?, gzip(bytes)?])
}

fn brotli(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut writer =
        brotli::CompressorWriter::new(&mut out, 4096, BROTLI_QUALITY, BROTLI_WINDOW_LOG2);
    writer.write_all(bytes)?;
    writer.flush()?;
    drop(writer);
    Ok(out)
}

fn gzip(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), Compression::best());
    writer.write_all(bytes)?;
    writer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn both_codings_hold_the_content() {
        let text = "All of it, and again. ".repeat(1000);
        let form = |coding| coded(text.as_bytes(), coding).unwrap().bytes().to_vec();
        let (br, gz) = (form(Coding::Brotli), form(Coding::Gzip));
        let (mut from_br, mut from_gz) = (String::new(), String::new());
        brotli::Decompressor::new(&br[..], 4096).read_to_string(&mut from_br).unwrap();
        flate2::read::GzDecoder::new(&gz[..]).read_to_string(&mut from_gz).unwrap();
        assert!(from_br == text && from_gz == text);
        assert!(coded(&[7, 3, 9], Coding::Gzip).is_none(), "not shorter");
    }
}

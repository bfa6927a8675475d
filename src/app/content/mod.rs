//! The files that HTTP serves: a directory tree, or the built-in page, held in memory ready for the
//! wire.
//!
//! Made once at start-up, then immutable and shared by all workers. A request path goes in, an
//! index comes out, found by one hash lookup without allocation; behind the index stands an answer
//! rendered whole. Nothing here touches the file system after [`Content::load`], so no request can
//! reach anything that was not loaded.

mod charset;
mod file;
mod hash;
mod load;
mod root;
mod skipped;
mod walk;

pub(crate) use file::File;
pub use load::Error;

use super::http::response::Redirect;
use hash::PathHasher;
use mime_guess::Mime;
use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::path::Path;

/// The page that is served when no root is given, at `/`.
pub(crate) const BUILT_IN_PAGE: &[u8] = include_bytes!("built_in.html");

/// How a tree of files is loaded.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The most memory that it may take.
    pub limit_bytes: usize,
    /// Whether names that begin with a dot are served, too. `.well-known` always is.
    pub dotfiles: bool,
}

/// What a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// For [`Content::file`].
    File(u32),
    /// A directory that is called without its slash; for [`Content::redirect`].
    Redirect(u32),
}

/// The tree of files.
#[derive(Debug, Default)]
pub struct Content {
    entries: HashMap<Box<[u8]>, Entry, BuildHasherDefault<PathHasher>>,
    files: Vec<File>,
    redirects: Vec<Redirect>,
    memory_bytes: usize,
}

impl Content {
    /// The files under `root`, or without one the built-in page. What cannot be served (unreadable,
    /// not a regular file, a symbolic link that leaves the root) is logged and left out.
    pub fn load(root: Option<&Path>, settings: Settings) -> Result<Content, Error> {
        match root {
            Some(root) => load::load(root, settings),
            None => Ok(Content::built_in()),
        }
    }

    /// The page that is served when no root is given, alone.
    pub fn built_in() -> Content {
        let mut content = Content::default();
        content.add_file_at("/index.html", BUILT_IN_PAGE, None);
        content.add_directory(b"/");
        content
    }

    /// What [`crate::app::testing`] serves.
    pub(crate) fn for_tests() -> Content {
        let mut content = Content::built_in();
        let modified = Some(700_000_000);
        content.add_file_at("/12", b"Hello, all!\n", modified);
        content.add_file_at("/small", &[b's'; 200], modified);
        content.add_file_at("/large", &[b'l'; 20_000], modified);
        content.add_file_at("/dir/index.html", b"<p>dir", modified);
        content.add_directory(b"/dir/");
        content
    }

    /// Bytes of memory held: contents, heads, paths and tables.
    pub fn memory_bytes(&self) -> usize {
        let tables = self.entries.capacity() * (size_of::<(Box<[u8]>, Entry)>() + 1)
            + self.files.capacity() * size_of::<File>()
            + self.redirects.capacity() * size_of::<Redirect>();
        self.memory_bytes + tables
    }

    /// How many files there are.
    pub fn files(&self) -> usize {
        self.files.len()
    }

    /// What `path`, decoded and without dot segments, names.
    #[inline]
    pub(crate) fn find(&self, path: &[u8]) -> Option<Entry> {
        self.entries.get(path).copied()
    }

    #[inline]
    pub(crate) fn file(&self, index: u32) -> &File {
        &self.files[index as usize]
    }

    pub(crate) fn redirect(&self, index: u32) -> &Redirect {
        &self.redirects[index as usize]
    }

    /// Adds a file under its path, which also tells its type.
    fn add_file_at(&mut self, path: &str, content: &[u8], modified: Option<u64>) {
        let index = self.add_file(&file::mime_of(Path::new(path)), content, modified);
        self.add_path(path.as_bytes(), index);
    }

    /// Adds a file that has no path yet; returns its index.
    fn add_file(&mut self, mime: &Mime, content: &[u8], modified: Option<u64>) -> u32 {
        let file = File::new(mime, content, modified);
        self.memory_bytes += file.memory_bytes();
        let index = index(self.files.len());
        self.files.push(file);
        index
    }

    /// Adds a path of a file.
    fn add_path(&mut self, path: &[u8], index: u32) {
        self.add_entry(path, Entry::File(index));
    }

    /// Makes a directory, `path` with its slash, answer with its index.html if it has one, and send
    /// those to it who leave out the slash. To be called after its files were added.
    fn add_directory(&mut self, path: &[u8]) {
        let Some(entry) = self.find(&[path, b"index.html"].concat()) else { return };
        self.add_entry(path, entry);
        let without_slash = &path[..path.len() - 1];
        if without_slash.is_empty() {
            return;
        }
        let redirect = Redirect::new(&encode(path));
        self.memory_bytes += redirect.memory_bytes();
        let index = index(self.redirects.len());
        self.redirects.push(redirect);
        self.add_entry(without_slash, Entry::Redirect(index));
    }

    fn add_entry(&mut self, path: &[u8], entry: Entry) {
        self.memory_bytes += path.len();
        self.entries.insert(path.into(), entry);
    }
}

fn index(count: usize) -> u32 {
    u32::try_from(count).expect("the memory limit allows far fewer than 2^32 files")
}

/// A path as it stands in a URI: what is not `pchar` or `/` (RFC 3986 §3.3) percent-encoded.
fn encode(path: &[u8]) -> String {
    let mut encoded = String::with_capacity(path.len());
    for &byte in path {
        if byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
#[path = "content_tests.rs"]
mod tests;

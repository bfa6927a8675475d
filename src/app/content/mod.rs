//! The files that HTTP serves, held in memory and ready to send: a directory tree or the built-in
//! page.
//!
//! Created at start-up, then immutable and shared by all workers. A lookup maps a request path to
//! an index, with one hash lookup and no allocation. The index identifies a pre-rendered response.
//! No code here touches the file system after [`Content::load`], so no request reaches a file that
//! was not loaded.

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

/// The page at `/` if no root is configured.
pub(crate) const BUILT_IN_PAGE: &[u8] = include_bytes!("built_in.html");

/// Settings for loading a tree of files.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Memory limit, in bytes.
    pub limit_bytes: usize,
    /// Whether to serve names that begin with a dot. `.well-known` is always served.
    pub dotfiles: bool,
}

/// The result of a path lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// A file; the index is for [`Content::file`].
    File(u32),
    /// A directory, requested without its trailing slash. The index is for [`Content::redirect`].
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
    /// Loads the files under `root`, or the built-in page without a root. Logs and skips paths that
    /// cannot be served: unreadable files, special files, and links that leave the root.
    pub fn load(root: Option<&Path>, settings: Settings) -> Result<Content, Error> {
        match root {
            Some(root) => load::load(root, settings),
            None => Ok(Content::built_in()),
        }
    }

    /// The built-in page alone.
    pub fn built_in() -> Content {
        let mut content = Content::default();
        content.add_file_at("/index.html", BUILT_IN_PAGE, None);
        content.add_directory(b"/");
        content
    }

    /// The content for [`crate::app::testing`].
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

    /// Bytes of memory in use: contents, heads, paths and tables.
    pub fn memory_bytes(&self) -> usize {
        let tables = self.entries.capacity() * (size_of::<(Box<[u8]>, Entry)>() + 1)
            + self.files.capacity() * size_of::<File>()
            + self.redirects.capacity() * size_of::<Redirect>();
        self.memory_bytes + tables
    }

    /// The number of files.
    pub fn files(&self) -> usize {
        self.files.len()
    }

    /// Looks up `path`, which must be decoded and free of dot segments.
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

    /// Adds a file under its path. The path's extension selects the media type.
    fn add_file_at(&mut self, path: &str, content: &[u8], modified: Option<u64>) {
        let index = self.add_file(&file::mime_of(Path::new(path)), content, modified);
        self.add_path(path.as_bytes(), index);
    }

    /// Adds a file without a path. Returns its index.
    fn add_file(&mut self, mime: &Mime, content: &[u8], modified: Option<u64>) -> u32 {
        let file = File::new(mime, &content.into(), modified);
        self.memory_bytes += file.memory_bytes() + content.len();
        let index = index(self.files.len());
        self.files.push(file);
        index
    }

    /// Adds a path for a file.
    fn add_path(&mut self, path: &[u8], index: u32) {
        self.add_entry(path, Entry::File(index));
    }

    /// Adds a directory; `path` ends with a slash. It serves its index.html, if any. A request
    /// without the slash gets a redirect. Call this after the directory's files were added.
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

/// A path in URI form: characters other than `pchar` and `/` (RFC 3986 §3.3) are percent-encoded.
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

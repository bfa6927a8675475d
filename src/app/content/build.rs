//! Builds the tables of [`Content`] from the files of its sites and their rules.
//!
//! Everything that depends on a path alone is computed here: fields, codings, lists of directories,
//! and whether a rule applies. A request then needs one lookup.

use super::coding::{CODINGS, Coding};
use super::data::{Data, Identity};
use super::file::{Description, File};
use super::media_type::{self, MediaType};
use super::read::Loaded;
use super::rules::Rules;
use super::site::{ERROR_PAGE_STATUSES, Site};
use super::table::Table;
use super::walk::Tree;
use super::{Content, Entry, Page, encode, listing};
use crate::app::http::response::{ALLOW, Redirect, Rendered, Status};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

/// The builder of one [`Content`].
#[derive(Default)]
pub(super) struct Builder {
    content: Content,
    files: HashMap<FileKey, u32>,
    /// Whether the content is a version of another, whose uses go on.
    is_update: bool,
    /// The data that is counted, by its address, which stays taken meanwhile.
    counted: HashMap<usize, Arc<Data>>,
    /// The time of day, in unix seconds.
    now: u64,
}

/// Equal files are held once. Data is compared by its address.
#[derive(PartialEq, Eq, Hash)]
struct FileKey {
    data: usize,
    coded: [usize; CODINGS],
    media_type: MediaType,
    modified: Option<u64>,
    fields: String,
}

/// A file and the forms that it is available in.
pub(super) struct Source<'a> {
    pub(super) data: &'a Arc<Data>,
    pub(super) coded: [Option<&'a Arc<Data>>; CODINGS],
    pub(super) media_type: MediaType,
    pub(super) modified: Option<u64>,
}

/// The files of one site by their paths.
pub(super) type ByPath<'a> = HashMap<&'a [u8], &'a Loaded>;

/// The readable files of the tree.
pub(super) fn by_path<'a>(tree: &'a Tree, loaded: &'a [Option<Loaded>]) -> ByPath<'a> {
    let paths = tree.paths.iter();
    paths.filter_map(|(path, file)| Some((path.as_slice(), loaded[*file].as_ref()?))).collect()
}

/// The media type for a request path.
pub(super) fn type_of(site: &Site, path: &[u8]) -> MediaType {
    site.types.of(Path::new(OsStr::from_bytes(path)))
}

/// The data of the file beside `path` that was compressed beforehand.
pub(super) fn sidecar<'a>(
    files: &ByPath<'a>,
    path: &[u8],
    coding: Coding,
) -> Option<&'a Arc<Data>> {
    files.get([path, coding.suffix()].concat().as_slice()).map(|loaded| &loaded.data)
}

impl Builder {
    pub(super) fn new(now: u64) -> Builder {
        Builder { now, ..Builder::default() }
    }

    /// The builder of a version that replaces some files of `content`.
    pub(super) fn of(content: Content, now: u64) -> Builder {
        Builder { content, now, is_update: true, ..Builder::default() }
    }

    /// Sets the file for a path, which is among `files` with its compressed forms.
    pub(super) fn replace(
        &mut self,
        (index, site): (u32, &Site),
        path: &[u8],
        loaded: &Loaded,
        files: &ByPath<'_>,
    ) -> Entry {
        let entry = Entry::File(self.file_at(site, path, loaded, files));
        self.content.known.insert(loaded.identity, loaded.data.clone());
        self.set(index, path, Some(entry));
        entry
    }

    /// Sets or removes the entry for a path. What it serves no more is superseded.
    pub(super) fn set(&mut self, site: u32, path: &[u8], entry: Option<Entry>) {
        let Content { sites, files, uses, .. } = &mut self.content;
        let table = &mut sites[site as usize];
        let before = table.file(path);
        match entry {
            Some(entry) => table.replace(path, entry),
            None => table.remove(path),
        }
        if let Some(Entry::File(index)) = entry {
            uses.serve(files, index);
        }
        if let Some(index) = before {
            uses.release(files, index);
        }
    }

    /// The bytes of a version of a file.
    pub(super) fn known(&self, identity: &Identity) -> Option<&Arc<Data>> {
        self.content.known.get(identity)
    }

    /// The paths of a site.
    pub(super) fn table(&self, site: u32) -> &Table {
        &self.content.sites[site as usize]
    }

    /// Bytes of memory so far.
    pub(super) fn memory_bytes(&self) -> usize {
        self.content.memory_bytes
    }

    /// The finished content.
    pub(super) fn finish(self) -> Content {
        self.content
    }

    /// Adds a site with the files of its root.
    pub(super) fn add_site(&mut self, site: &Site, tree: &Tree, files: &ByPath<'_>) {
        let mut table = Table::default();
        for (path, loaded) in
            tree.paths.iter().filter_map(|(path, _)| files.get_key_value(path.as_slice()))
        {
            let index = self.file_at(site, path, loaded, files);
            table.insert(path, Entry::File(index));
        }
        let lists = site.autoindex.then(|| listing::children(tree, files));
        for path in &tree.directories {
            self.add_directory(site, &mut table, path, lists.as_ref());
        }
        self.finish_site(site, table);
    }

    /// Adds a site with files that are built in: path, content, modification.
    pub(super) fn add_built_in(&mut self, site: &Site, files: &[(&str, &[u8], Option<u64>)]) {
        let mut table = Table::default();
        for (path, content, modified) in files {
            let data = Arc::new(Data::new((*content).into()));
            let media_type = type_of(site, path.as_bytes());
            let (modified, coded) = (*modified, [None; CODINGS]);
            let source = Source { data: &data, coded, media_type, modified };
            let index = self.file(site, path.as_bytes(), &source);
            table.insert(path.as_bytes(), Entry::File(index));
        }
        for (path, ..) in files.iter().filter(|(path, ..)| path.ends_with("/index.html")) {
            let directory = &path[..path.len() - "index.html".len()];
            self.add_directory(site, &mut table, directory.as_bytes(), None);
        }
        self.finish_site(site, table);
    }

    fn finish_site(&mut self, site: &Site, mut table: Table) {
        let rules = self.rules(site, &table);
        table.apply(rules);
        self.content.memory_bytes += table.memory_bytes();
        let index = index(self.content.sites.len());
        self.content.sites.push(table);
        if let Some(hosts) = Arc::get_mut(&mut self.content.hosts) {
            hosts.add(&site.names, index);
        }
    }

    fn file_at(&mut self, site: &Site, path: &[u8], loaded: &Loaded, files: &ByPath<'_>) -> u32 {
        let data = &loaded.data;
        let made = |coding| data.coded(coding).get().and_then(Option::as_ref);
        let media_type = type_of(site, path);
        let is_compressible = media_type::is_compressible(&media_type);
        let coded = Coding::ALL.map(|coding| {
            sidecar(files, path, coding).or_else(|| made(coding).filter(|_| is_compressible))
        });
        let modified = loaded.identity.modified(self.now);
        self.file(site, path, &Source { data, coded, media_type, modified })
    }

    /// The index of the file for `path`.
    fn file(&mut self, site: &Site, path: &[u8], source: &Source<'_>) -> u32 {
        let address = |data: &Arc<Data>| Arc::as_ptr(data) as usize;
        let fields = fields_of(site, path);
        let key = FileKey {
            data: address(source.data),
            coded: source.coded.map(|data| data.map_or(0, address)),
            media_type: source.media_type.clone(),
            modified: source.modified,
            fields: fields.clone(),
        };
        if let Some(index) = self.files.get(&key) {
            return *index;
        }
        let varies = source.coded.iter().any(Option::is_some);
        let description = |coding| Description {
            media_type: &source.media_type,
            modified: source.modified,
            coding,
            varies,
            fields: &fields,
            text: source.data,
        };
        let mut file = File::new(source.data, &description(None));
        for coding in Coding::ALL {
            if let Some(data) = source.coded[coding as usize] {
                let coded = File::new(data, &description(Some(coding)));
                self.count(data);
                file.set_coded(coding, self.push(coded));
            }
        }
        if !fields.is_empty() {
            file.set_options(self.options(&fields));
        }
        self.count(source.data);
        let index = self.push(file);
        self.files.insert(key, index);
        index
    }

    fn push(&mut self, file: File) -> u32 {
        let index = index(self.content.files.len());
        self.content.memory_bytes += file.memory_bytes() + size_of::<File>();
        if self.is_update && self.content.uses.push(&file, index) {
            self.content.memory_bytes += Data::memory_bytes_of(file.bytes());
        }
        self.content.files.push(file);
        index
    }

    /// Counts the bytes of a load. Those of an update are counted with their file.
    fn count(&mut self, data: &Arc<Data>) {
        if !self.is_update
            && self.counted.insert(Arc::as_ptr(data) as usize, data.clone()).is_none()
        {
            self.content.memory_bytes += data.memory_bytes();
        }
    }

    /// Adds a directory; `path` ends with a slash. It serves its index.html or its list, if any. A
    /// request without the slash gets a redirect.
    fn add_directory(
        &mut self,
        site: &Site,
        table: &mut Table,
        path: &[u8],
        lists: Option<&listing::Children>,
    ) {
        let index_html = table.get(&[path, b"index.html"].concat());
        let entry = index_html.or_else(|| {
            let page = listing::page(path, lists?.get(path).map_or(&[], Vec::as_slice));
            let data = Arc::new(Data::new(page.into_bytes().into()));
            let media_type = "text/html; charset=utf-8".into();
            let source = Source { data: &data, coded: [None; CODINGS], media_type, modified: None };
            Some(Entry::File(self.file(site, path, &source)))
        });
        let Some(entry) = entry else { return };
        table.insert(path, entry);
        let without_slash = &path[..path.len() - 1];
        if !without_slash.is_empty() {
            let fields = fields_of(site, without_slash);
            let redirect = self.redirect(Status::MovedPermanently, &encode(path), &fields);
            table.insert(without_slash, Entry::Redirect(redirect));
        }
    }

    fn redirect(&mut self, status: Status, location: &str, fields: &str) -> u32 {
        let redirect = Redirect::new(status, location, fields);
        self.content.memory_bytes += redirect.memory_bytes() + size_of::<Redirect>();
        self.content.redirects.push(redirect);
        index(self.content.redirects.len() - 1)
    }

    fn page(&mut self, status: Status, rendered: Rendered) -> u32 {
        self.content.memory_bytes += rendered.memory_bytes() + size_of::<Page>();
        self.content.pages.push(Page { status, rendered });
        index(self.content.pages.len() - 1)
    }

    /// The answer to OPTIONS with these fields.
    fn options(&mut self, fields: &str) -> u32 {
        if let Some(page) = self.content.options.get(fields) {
            return *page;
        }
        // RFC 9110 §8.6: no Content-Length.
        let rendered = Rendered::new(&format!("{ALLOW}{fields}"), b"");
        let page = self.page(Status::NoContent, rendered);
        Arc::make_mut(&mut self.content.options).insert(fields.to_owned(), page);
        page
    }

    fn rules(&mut self, site: &Site, table: &Table) -> Rules {
        let fields = fields_of_all(site);
        let mut rules = Rules::new(site);
        for rule in &site.redirects {
            let status = Status::of_code(rule.status).unwrap_or(Status::Found);
            let redirect = self.redirect(status, "", &fields);
            rules.redirects.push((rule.from.clone(), rule.to.clone(), redirect));
        }
        for rule in &site.auth {
            // RFC 9110 §11.6.1, RFC 7617 §2.1.
            let realm =
                format!("WWW-Authenticate: Basic realm=\"{}\", charset=\"UTF-8\"\r\n", rule.realm);
            let rendered = Rendered::status_body(Status::Unauthorized, &(realm + &fields));
            let page = self.page(Status::Unauthorized, rendered);
            rules.auth.push((rule.path.clone(), rule.users.clone(), page));
        }
        for path in site.fallbacks().filter(|path| table.get(path.as_bytes()).is_none()) {
            tracing::warn!(path, "the file of a fallback is missing: requests for it get 404");
        }
        for code in ERROR_PAGE_STATUSES {
            let Some(status) = Status::of_code(code) else { continue };
            let own = site.error_pages.iter().find(|(of, _)| *of == code);
            let file = own.and_then(|(_, path)| match table.get(path.as_bytes()) {
                Some(Entry::File(index)) => Some(index),
                _ => None,
            });
            let is_in_memory = |index: &u32| self.content.file(*index).on_disk().is_none();
            let file = file.filter(is_in_memory);
            if let Some((_, path)) = own.filter(|_| file.is_none()) {
                tracing::warn!(
                    path,
                    status = code,
                    "the file of an error page is missing or too large for memory"
                );
            }
            let rendered = match file {
                Some(file) => self.content.file(file).error_page(status, &fields),
                None if !fields.is_empty() => {
                    Rendered::status_body(status, &with_allow(status, &fields))
                }
                None => continue,
            };
            rules.pages.push((status, self.page(status, rendered)));
        }
        rules
    }
}

/// The fields of an error page: those of the site, and Allow if the status demands it.
pub(super) fn with_allow(status: Status, fields: &str) -> String {
    if status == Status::MethodNotAllowed { format!("{ALLOW}{fields}") } else { fields.to_owned() }
}

/// The fields of the responses for a path. A later rule replaces the field of an earlier one.
fn fields_of(site: &Site, path: &[u8]) -> String {
    fields(
        site.headers.iter().filter(|rule| rule.path.matches(path)).map(|r| (&*r.name, &*r.value)),
    )
}

/// The fields of all responses of a site, those of errors and redirects too.
fn fields_of_all(site: &Site) -> String {
    fields(
        site.headers.iter().filter(|rule| rule.path.matches_all()).map(|r| (&*r.name, &*r.value)),
    )
}

fn fields<'a>(given: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut fields: Vec<(&str, &str)> = Vec::new();
    for (name, value) in given {
        fields.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        fields.push((name, value));
    }
    fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect()
}

fn index(count: usize) -> u32 {
    u32::try_from(count).expect("the memory limit allows far fewer than 2^32 files")
}

//! The compiled rules of a site, for paths that have no file or that a rule applies to.
//!
//! A request comes here only if the lookup of its path found nothing or [`Entry::Ruled`]. No rule
//! allocates.

use super::auth::{self, Access, Users};
use super::pattern::{Captures, Insert, Pattern, Template};
use super::site::Site;
use super::table::Table;
use super::{Content, Entry};
use crate::app::http::response::Status;
use std::sync::Arc;

/// Rewrites that one request may follow, so that a loop ends.
const REWRITES_MAX: usize = 8;
/// Longest path that a rule makes, in bytes.
const PATH_MAX_BYTES: usize = 2048;
/// The file that a directory is answered with.
const INDEX: &[u8] = b"index.html";

/// The rules of one site.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    /// Pattern, users, and the page that asks for a password.
    pub(super) auth: Vec<(Pattern, Arc<Users>, u32)>,
    /// Pattern, location, and the index of the redirect without a location.
    pub(super) redirects: Vec<(Pattern, Template, u32)>,
    rewrites: Vec<(Pattern, Template)>,
    try_files: Vec<Template>,
    /// The pages of errors, by status. The index is for [`Content::page`].
    pub(super) pages: Vec<(Status, u32)>,
}

/// What the rules make of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    File(u32),
    /// A redirect to its own location.
    Redirect(u32),
    /// A redirect to the location that was written, with its length.
    Moved(u32, usize),
    NotFound,
    /// The page that asks for a password.
    Denied(u32),
    /// The password is not verified yet.
    Pending,
    /// The location does not fit.
    TooLong,
}

impl Rules {
    /// The rules that need no index.
    pub(super) fn new(site: &Site) -> Rules {
        Rules {
            rewrites: site
                .rewrites
                .iter()
                .map(|rule| (rule.from.clone(), rule.to.clone()))
                .collect(),
            try_files: site.try_files.clone(),
            ..Rules::default()
        }
    }

    /// Whether any rule may apply to a path that has a file.
    pub(super) fn apply_to_files(&self) -> bool {
        !(self.redirects.is_empty() && self.rewrites.is_empty() && self.auth.is_empty())
    }

    /// Whether a rule applies to the path, even if it has a file.
    pub(super) fn apply_to(&self, path: &[u8]) -> bool {
        let mut patterns = self.redirects.iter().map(|(pattern, ..)| pattern);
        patterns.any(|pattern| pattern.matches(path))
            || self.rewrites.iter().any(|(pattern, _)| pattern.matches(path))
            || self.asks_at(path)
            // The index of a directory may need a password although the directory does not.
            || (path.ends_with(b"/") && self.asks_at(&[path, INDEX].concat()))
    }

    /// Whether the path needs a password.
    fn asks_at(&self, path: &[u8]) -> bool {
        self.auth.iter().any(|(pattern, ..)| pattern.matches(path))
    }
}

/// Decides about paths that need a password, for one request. The path of a request decides, and so
/// does each path that rules make of it: no rule leads around a password.
struct Guard<'a> {
    table: &'a Table,
    authorization: Option<&'a [u8]>,
}

impl Guard<'_> {
    /// Why the request does not get the file of `path`, if it does not.
    fn refuses(&self, path: &[u8]) -> Option<Outcome> {
        let auth = &self.table.rules().auth;
        // The first rule that matches decides, so that a part may have other users than the whole.
        let rule_of = |path: &[u8]| auth.iter().find(|(pattern, ..)| pattern.matches(path));
        let rule_of_index = || {
            let mut space = [0; PATH_MAX_BYTES];
            let len = path.len() + INDEX.len();
            let index = space.get_mut(..len).filter(|_| path.ends_with(b"/"))?;
            index[..path.len()].copy_from_slice(path);
            index[path.len()..].copy_from_slice(INDEX);
            self.table.get(index).and_then(|_| rule_of(index))
        };
        if auth.is_empty() {
            return None;
        }
        let (_, users, page) = rule_of(path).or_else(rule_of_index)?;
        match auth::check(users, self.authorization) {
            Access::Granted => None,
            Access::Denied => Some(Outcome::Denied(*page)),
            Access::Pending => Some(Outcome::Pending),
        }
    }
}

impl Rules {
    /// Whether a path without an entry may lead to an answer other than 404.
    fn is_any(&self) -> bool {
        !(self.auth.is_empty()
            && self.redirects.is_empty()
            && self.rewrites.is_empty()
            && self.try_files.is_empty())
    }
}

impl Content {
    /// Whether [`Content::resolve`] has rules to apply.
    pub(crate) fn has_rules(&self, site: u32) -> bool {
        self.sites[site as usize].rules().is_any()
    }

    /// Applies the rules of a site to a path without a plain entry. `authorization` is the value of
    /// that field. Writes a location to `location`.
    #[cold]
    pub(crate) fn resolve(
        &self,
        site: u32,
        path: &[u8],
        authorization: Option<&[u8]>,
        location: &mut [u8],
    ) -> Outcome {
        let table = &self.sites[site as usize];
        let guard = Guard { table, authorization };
        if let Some(refused) = guard.refuses(path) {
            return refused;
        }
        for (pattern, to, redirect) in &table.rules().redirects {
            if let Some(captures) = pattern.captures(path) {
                let filled = to.fill(&captures, Insert::Encoded, location);
                return filled.map_or(Outcome::TooLong, |len| Outcome::Moved(*redirect, len));
            }
        }
        rewritten(&guard, path, REWRITES_MAX)
    }
}

/// The file of a path after rewrites, at most `left`.
fn rewritten(guard: &Guard<'_>, path: &[u8], left: usize) -> Outcome {
    let rules = guard.table.rules();
    let matched = rules
        .rewrites
        .iter()
        .find_map(|(pattern, to)| Some((to, pattern.captures(path)?)))
        .filter(|_| left > 0);
    if let Some((to, captures)) = matched {
        let mut space = [0; PATH_MAX_BYTES];
        return match to.fill(&captures, Insert::Plain, &mut space) {
            Some(len) if space[..len] != *path => {
                let path = &space[..len];
                guard.refuses(path).unwrap_or_else(|| rewritten(guard, path, left - 1))
            }
            Some(_) => file(guard, path),
            None => Outcome::NotFound,
        };
    }
    file(guard, path)
}

/// The file of a path, or the first of the paths to try that has one.
fn file(guard: &Guard<'_>, path: &[u8]) -> Outcome {
    let table = guard.table;
    let found = |path: &[u8]| match table.get(path)? {
        Entry::File(index) => Some(Outcome::File(index)),
        Entry::Redirect(index) => Some(Outcome::Redirect(index)),
        Entry::Ruled(index) => match table.ruled(index) {
            Entry::File(index) => Some(Outcome::File(index)),
            Entry::Redirect(index) => Some(Outcome::Redirect(index)),
            Entry::Ruled(_) => None,
        },
    };
    let tried = |template: &Template| {
        let mut space = [0; PATH_MAX_BYTES];
        let len = template.fill(&Captures::path(path), Insert::Plain, &mut space)?;
        let found = found(&space[..len])?;
        Some(guard.refuses(&space[..len]).unwrap_or(found))
    };
    let trying = || table.rules().try_files.iter().find_map(tried);
    found(path).or_else(trying).unwrap_or(Outcome::NotFound)
}

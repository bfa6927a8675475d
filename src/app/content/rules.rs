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
            || self.auth.iter().any(|(pattern, ..)| pattern.matches(path))
    }
}

impl Content {
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
        // The first rule that matches decides, so that a part may have other users than the whole.
        let mut auth = table.rules().auth.iter();
        if let Some((_, users, page)) = auth.find(|(pattern, ..)| pattern.matches(path)) {
            match auth::check(users, authorization) {
                Access::Granted => {}
                Access::Denied => return Outcome::Denied(*page),
                Access::Pending => return Outcome::Pending,
            }
        }
        for (pattern, to, redirect) in &table.rules().redirects {
            if let Some(captures) = pattern.captures(path) {
                let filled = to.fill(&captures, Insert::Encoded, location);
                return filled.map_or(Outcome::TooLong, |len| Outcome::Moved(*redirect, len));
            }
        }
        rewritten(table, path, REWRITES_MAX)
    }
}

/// The file of a path after rewrites, at most `left`.
fn rewritten(table: &Table, path: &[u8], left: usize) -> Outcome {
    let rules = table.rules();
    let matched = rules
        .rewrites
        .iter()
        .find_map(|(pattern, to)| Some((to, pattern.captures(path)?)))
        .filter(|_| left > 0);
    if let Some((to, captures)) = matched {
        let mut space = [0; PATH_MAX_BYTES];
        return match to.fill(&captures, Insert::Plain, &mut space) {
            Some(len) if space[..len] != *path => rewritten(table, &space[..len], left - 1),
            Some(_) => file(table, path),
            None => Outcome::NotFound,
        };
    }
    file(table, path)
}

/// The file of a path, or the first of the paths to try that has one.
fn file(table: &Table, path: &[u8]) -> Outcome {
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
        found(&space[..len])
    };
    let trying = || table.rules().try_files.iter().find_map(tried);
    found(path).or_else(trying).unwrap_or(Outcome::NotFound)
}

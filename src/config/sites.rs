//! The sites in the configuration file: tables that no flag stands for.
//!
//! Input: keys and values of the file. Output: sites, or what is wrong and where: the offset in the
//! file, the value and its bound.

use super::check::no_directory;
use super::hints;
use crate::app::content::{
    AuthRule, ERROR_PAGE_STATUSES, HeaderRule, Pattern, REDIRECT_STATUSES, RedirectRule,
    RewriteRule, Site, Template, Users, check_field, check_host_name, check_realm,
};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

/// Limit of the rules of one kind in one site.
const RULES_MAX: usize = 256;
/// Limit of the hosts with settings of their own.
const HOSTS_MAX: usize = 1024;

/// The keys of the default site that are no flags.
const SITE_KEYS: [&str; 7] =
    ["auth", "error-pages", "header", "redirect", "rewrite", "try-files", "types"];
/// Further keys of a host, which are flags for the default site.
const HOST_KEYS: [&str; 5] = ["autoindex", "dotfiles", "fallback", "names", "root"];
/// The key of the hosts.
const HOST: &str = "host";

/// The sites of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sites {
    /// The rules of the default site. Flags set the rest.
    pub(super) site: Site,
    pub(super) hosts: Vec<Site>,
}

/// What is wrong, and its offset in the file.
pub(super) type Problem = (usize, String);

type Value<'a, 'i> = &'a Spanned<DeValue<'i>>;

/// The tables of the file.
pub(super) fn keys() -> impl Iterator<Item = &'static str> {
    SITE_KEYS.into_iter().filter(|key| *key != "try-files").chain([HOST])
}

/// Whether the key belongs to the sites.
pub(super) fn is_key(key: &str) -> bool {
    key == HOST || SITE_KEYS.contains(&key)
}

/// Sets a key for which [`is_key`] holds.
pub(super) fn set(
    sites: &mut Sites,
    key: &Spanned<DeString<'_>>,
    value: Value<'_, '_>,
) -> Result<(), Problem> {
    if key.get_ref() != HOST {
        return set_rules(&mut sites.site, key.get_ref(), value);
    }
    for host in list(HOST, value, HOSTS_MAX)? {
        let at = host.span().start;
        let host = self::host(host)?;
        let known: BTreeSet<&String> = sites.hosts.iter().flat_map(|site| &site.names).collect();
        if let Some(twice) = host.names.iter().find(|name| known.contains(name)) {
            return Err((at, format!("host {twice}: named by two hosts")));
        }
        sites.hosts.push(host);
    }
    Ok(())
}

fn host(value: Value<'_, '_>) -> Result<Site, Problem> {
    let mut site = Site::default();
    // The key of a flag that needs files of the host.
    let mut needs_root = None;
    for (key, value) in table(HOST, value)? {
        let name: &str = key.get_ref();
        if matches!(name, "autoindex" | "dotfiles") {
            needs_root = Some((key.span().start, name));
        }
        match name {
            "names" => {
                for name in list(name, value, RULES_MAX)? {
                    let checked = check_host_name(text("names", name)?);
                    site.names.push(checked.map_err(|what| (name.span().start, what))?);
                }
            }
            "root" => {
                let root = PathBuf::from(text(name, value)?);
                if !root.is_dir() {
                    let what = format!("root {}", no_directory(&root));
                    return Err((value.span().start, what));
                }
                site.root = Some(root);
            }
            "dotfiles" => site.dotfiles = boolean(name, value)?,
            "autoindex" => site.autoindex = boolean(name, value)?,
            "fallback" => site.try_files.push(path(name, value)?),
            name if SITE_KEYS.contains(&name) => set_rules(&mut site, name, value)?,
            name => {
                let known = || [&HOST_KEYS[..], &SITE_KEYS[..]].concat().join(", ");
                let what = hints::misplaced(name)
                    .unwrap_or_else(|| format!("{name}: unknown key; a host has {}", known()));
                return Err((key.span().start, what));
            }
        }
    }
    if site.names.is_empty() {
        let example = "names = [\"example.com\", \"*.example.com\"]";
        return Err((value.span().start, format!("host: without a name; add {example}")));
    }
    if let (Some((at, name)), None) = (needs_root, &site.root) {
        return Err((at, format!("{name}: the host has no files; add root = \"/srv/www\"")));
    }
    Ok(site)
}

/// Sets a key of [`SITE_KEYS`].
fn set_rules(site: &mut Site, key: &str, value: Value<'_, '_>) -> Result<(), Problem> {
    match key {
        "types" => {
            for (extension, value) in table(key, value)? {
                let (at, extension) = (value.span().start, extension.get_ref());
                let add = text(extension, value).and_then(|media_type| {
                    let added = site.types.add(extension, media_type);
                    added.map_err(|what| (at, format!("types: {what}")))
                });
                add.map_err(|(at, what)| (at, hints::misplaced(extension).unwrap_or(what)))?;
            }
        }
        "error-pages" => {
            for (status, value) in table(key, value)? {
                let code = status.get_ref().parse().ok();
                let code =
                    code.filter(|code| ERROR_PAGE_STATUSES.contains(code)).ok_or_else(|| {
                        let (status, known) = (status.get_ref(), listed(&ERROR_PAGE_STATUSES));
                        let what = hints::misplaced(status).unwrap_or_else(|| {
                            format!("error-pages: status {status}: one of {known}")
                        });
                        (value.span().start, what)
                    })?;
                path(key, value)?;
                site.error_pages.push((code, text(key, value)?.to_owned()));
            }
        }
        "try-files" => {
            // A fallback comes last.
            let tried = list(key, value, RULES_MAX)?.map(|value| path(key, value));
            let tried = tried.collect::<Result<Vec<_>, _>>()?;
            site.try_files.splice(0..0, tried);
        }
        "auth" => {
            for rule in list(key, value, RULES_MAX)? {
                site.auth.push(auth(rule)?);
            }
        }
        "header" => {
            for rule in list(key, value, RULES_MAX)? {
                header(site, rule)?;
            }
        }
        "redirect" => {
            for rule in list(key, value, RULES_MAX)? {
                site.redirects.push(redirect(rule)?);
            }
        }
        _ => {
            for rule in list(key, value, RULES_MAX)? {
                let [from, to] = members("rewrite", rule, ["from", "to"])?;
                let from = pattern("rewrite", rule, from)?;
                let to = required("rewrite", "to", rule, to)?;
                let to = Template::path(text("to", to)?, from.stars())
                    .map_err(|what| (to.span().start, format!("rewrite: {what}")))?;
                site.rewrites.push(RewriteRule { from, to });
            }
        }
    }
    Ok(())
}

fn auth(rule: Value<'_, '_>) -> Result<AuthRule, Problem> {
    let [path, realm, users] = members("auth", rule, ["path", "realm", "users"])?;
    let path = pattern("auth", rule, path)?;
    let at = |value: Value<'_, '_>, what: String| (value.span().start, format!("auth: {what}"));
    let realm = match realm {
        None => "Restricted",
        Some(value) => {
            let realm = text("realm", value)?;
            check_realm(realm).map_err(|what| at(value, what))?;
            realm
        }
    };
    let value = required("auth", "users", rule, users)?;
    let file = text("users", value)?;
    let content = std::fs::read_to_string(file);
    let users =
        content.map_err(|error| at(value, format!("users {file}: {error}"))).and_then(|text| {
            Users::parse(&text).map_err(|what| at(value, format!("users {file}: {what}")))
        })?;
    Ok(AuthRule { path, realm: realm.to_owned(), users: Arc::new(users) })
}

fn header(site: &mut Site, rule: Value<'_, '_>) -> Result<(), Problem> {
    let [from, fields] = members("header", rule, ["path", "fields"])?;
    let path = pattern("header", rule, from)?;
    let fields = required("header", "fields", rule, fields)?;
    for (name, value) in table("fields", fields)? {
        let (at, name, value) = (value.span().start, name.get_ref(), text(name.get_ref(), value)?);
        check_field(name, value).map_err(|what| (at, format!("header: {what}")))?;
        let (name, value) = (name.to_string(), value.to_owned());
        site.headers.push(HeaderRule { path: path.clone(), name, value });
    }
    Ok(())
}

fn redirect(rule: Value<'_, '_>) -> Result<RedirectRule, Problem> {
    let [from, to, status] = members("redirect", rule, ["from", "to", "status"])?;
    let from = pattern("redirect", rule, from)?;
    let to = required("redirect", "to", rule, to)?;
    let to = Template::location(text("to", to)?, from.stars())
        .map_err(|what| (to.span().start, format!("redirect: {what}")))?;
    let status = match status {
        None => REDIRECT_STATUSES[0],
        Some(status) => match status.get_ref() {
            DeValue::Integer(code) => code.as_str().parse().ok(),
            _ => None,
        }
        .filter(|code| REDIRECT_STATUSES.contains(code))
        .ok_or_else(|| {
            let known = listed(&REDIRECT_STATUSES);
            let given = match status.get_ref() {
                DeValue::Integer(code) => code.as_str(),
                other => other.type_str(),
            };
            (status.span().start, format!("redirect: status {given}: one of {known}"))
        })?,
    };
    Ok(RedirectRule { from, to, status })
}

/// The values of the known keys of a rule.
fn members<'a, 'i, const N: usize>(
    what: &str,
    rule: Value<'a, 'i>,
    keys: [&str; N],
) -> Result<[Option<Value<'a, 'i>>; N], Problem> {
    let table = table(what, rule)?;
    if let Some((key, _)) = table.iter().find(|(key, _)| !keys.contains(&&**key.get_ref())) {
        let (known, key, at) = (keys.join(", "), key.get_ref(), key.span().start);
        let misplaced = hints::misplaced(key);
        let example = if keys.contains(&"fields") {
            format!("; to set a field, add fields = {{ {key} = \"…\" }}")
        } else {
            String::new()
        };
        let unknown = || format!("{what}: {key}: unknown key; expected {known}{example}");
        return Err((at, misplaced.unwrap_or_else(unknown)));
    }
    Ok(keys
        .map(|key| table.iter().find(|(known, _)| known.get_ref() == key).map(|(_, value)| value)))
}

fn required<'a, 'i>(
    what: &str,
    key: &str,
    rule: Value<'a, 'i>,
    value: Option<Value<'a, 'i>>,
) -> Result<Value<'a, 'i>, Problem> {
    value.ok_or_else(|| (rule.span().start, format!("{what}: without {key}")))
}

fn pattern(
    what: &str,
    rule: Value<'_, '_>,
    value: Option<Value<'_, '_>>,
) -> Result<Pattern, Problem> {
    let value = required(what, "a path pattern", rule, value)?;
    let parsed = Pattern::parse(text(what, value)?);
    parsed.map_err(|problem| (value.span().start, format!("{what}: {problem}")))
}

fn path(what: &str, value: Value<'_, '_>) -> Result<Template, Problem> {
    let parsed = Template::path(text(what, value)?, 0);
    parsed.map_err(|problem| (value.span().start, format!("{what}: {problem}")))
}

fn text<'a>(what: &str, value: Value<'a, '_>) -> Result<&'a str, Problem> {
    match value.get_ref() {
        DeValue::String(text) => Ok(text),
        other => Err(kind(what, value, other, "a string")),
    }
}

fn boolean(what: &str, value: Value<'_, '_>) -> Result<bool, Problem> {
    match value.get_ref() {
        DeValue::Boolean(value) => Ok(*value),
        other => Err(kind(what, value, other, "true or false, without quotes,")),
    }
}

fn table<'a, 'i>(what: &str, value: Value<'a, 'i>) -> Result<&'a DeTable<'i>, Problem> {
    match value.get_ref() {
        DeValue::Table(table) => Ok(table),
        other => Err(kind(what, value, other, "a table")),
    }
}

fn list<'a, 'i>(
    what: &str,
    value: Value<'a, 'i>,
    max: usize,
) -> Result<impl Iterator<Item = Value<'a, 'i>>, Problem> {
    match value.get_ref() {
        DeValue::Array(array) if array.len() > max => {
            Err((value.span().start, format!("{what}: {} of them, at most {max}", array.len())))
        }
        DeValue::Array(array) => Ok(array.iter()),
        DeValue::String(text) => {
            let (at, problem) = kind(what, value, value.get_ref(), "a list");
            Err((at, format!("{problem}; write {what} = [\"{text}\"]")))
        }
        DeValue::Table(_) => {
            Err((value.span().start, format!("{what}: a list; write [[{what}]] above its keys")))
        }
        other => Err(kind(what, value, other, "a list")),
    }
}

fn kind(what: &str, value: Value<'_, '_>, is: &DeValue<'_>, expected: &str) -> Problem {
    (value.span().start, format!("{what}: {expected} is expected, not {}", is.type_str()))
}

fn listed(statuses: &[u16]) -> String {
    statuses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

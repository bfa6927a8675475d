//! What a user meant by a flag, a key or a table that does not exist.
//!
//! In: its name, without dashes. Out: the end of an error, which says what to write instead.

use super::options::ServeOptions;
use super::sites;
use clap::{Args, Command};

/// Names that other servers have for `http`.
const PORTS: [&str; 8] =
    ["addr", "bind", "bind-address", "host-port", "http-port", "listen", "port", "server-port"];

/// Names that other servers have for TLS.
const TLS: [&str; 9] = [
    "cert",
    "certificate",
    "https",
    "key",
    "ssl",
    "ssl-certificate",
    "ssl-certificate-key",
    "tls",
    "tls-cert",
];

/// The tables of the configuration file, for errors.
pub(super) const TABLES: &str = "the tables are types, error-pages, header, redirect, rewrite, auth and host: \
     see `simoom guide http`";

/// What stands for `name` of another server; `dashes` come before a flag.
pub(crate) fn meant(name: &str, dashes: &str) -> Option<String> {
    let name = name.to_ascii_lowercase().replace('_', "-");
    if PORTS.contains(&&*name) {
        return Some(format!("did you mean {dashes}http?"));
    }
    TLS.contains(&&*name).then(|| "Simoom has no TLS: put a proxy that has it in front".to_owned())
}

/// The table that `name` resembles.
pub(super) fn table(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase().replace('_', "-");
    let is_like = |known: &&str| {
        let stem = known.trim_end_matches('s');
        name.trim_end_matches('s') == stem
    };
    match &*name {
        "site" | "sites" | "vhost" | "vhosts" | "virtual-host" | "virtual-hosts" => Some("host"),
        "mime" | "mime-types" | "media-types" => Some("types"),
        _ => sites::keys().find(is_like),
    }
}

/// Whether a user who wrote `name` may have meant `known`: at most a third of the letters differ,
/// rounded up, or one contains the other.
pub(super) fn is_near(name: &str, known: &str) -> bool {
    let (shorter, longer) = (name.len().min(known.len()), name.len().max(known.len()));
    let contains = shorter >= 4 && (name.contains(known) || known.contains(name));
    contains || distance(name, known) <= longer.div_ceil(3)
}

/// The end of an error that names the key of `known` that `name` resembles, if one does.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let near = known.into_iter().filter(|known| is_near(name, known));
    near.min_by_key(|known| distance(name, known))
        .map_or_else(String::new, |near| format!("; did you mean {near}?"))
}

/// The letters to insert, remove or replace to get from `a` to `b` (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// What is wrong if `name`, in a table, is a key that stands above all tables.
pub(super) fn misplaced(name: &str) -> Option<String> {
    let flags = ServeOptions::augment_args(Command::new("serve"));
    let is_flag = flags.get_arguments().any(|flag| flag.get_long() == Some(name));
    is_flag.then(|| format!("{name}: a key of the server; write it above the first table"))
}

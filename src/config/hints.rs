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

/// What is wrong if `name`, in a table, is a key that stands above all tables.
pub(super) fn misplaced(name: &str) -> Option<String> {
    let flags = ServeOptions::augment_args(Command::new("serve"));
    let is_flag = flags.get_arguments().any(|flag| flag.get_long() == Some(name));
    is_flag.then(|| format!("{name}: a key of the server; write it above the first table"))
}

//! Settings of a site: its files, and the rules for its paths.
//!
//! The configuration creates them. [`super::load`] compiles them with the files of the site.

use super::auth::AuthRule;
use super::media_type::Types;
use super::pattern::{Pattern, Template};
use std::path::PathBuf;

/// Settings of one host, or of all hosts without settings of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Site {
    /// Host names in lower case, IP addresses, or `*.` and a domain. Empty for the default site.
    pub names: Vec<String>,
    /// The directory of the files. `None`: the built-in page for the default site, no file for
    /// others.
    pub root: Option<PathBuf>,
    /// Whether to serve names that begin with a dot. `.well-known` is always served.
    pub dotfiles: bool,
    /// Whether a directory without index.html is answered with a list of its files.
    pub autoindex: bool,
    /// Media types by extension.
    pub types: Types,
    /// Fields of the responses, by path.
    pub headers: Vec<HeaderRule>,
    /// Redirects, by path.
    pub redirects: Vec<RedirectRule>,
    /// Paths that are answered with the file of another path.
    pub rewrites: Vec<RewriteRule>,
    /// Paths that need a password.
    pub auth: Vec<AuthRule>,
    /// Paths to look for if the path of a request has no file. `$0` is that path.
    pub try_files: Vec<Template>,
    /// Files that replace the short pages of errors, by status.
    pub error_pages: Vec<(u16, String)>,
}

impl Site {
    /// The paths of [`Site::try_files`] that do not depend on the request.
    pub(super) fn fallbacks(&self) -> impl Iterator<Item = &str> {
        self.try_files.iter().filter_map(Template::constant)
    }
}

/// A field of the responses whose path matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderRule {
    /// The paths.
    pub path: Pattern,
    /// The field's name. [`check_field`] accepts it.
    pub name: String,
    /// The field's value. [`check_field`] accepts it.
    pub value: String,
}

/// A redirect of the paths that match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedirectRule {
    /// The paths.
    pub from: Pattern,
    /// The location.
    pub to: Template,
    /// One of [`REDIRECT_STATUSES`].
    pub status: u16,
}

/// A path whose file answers requests for the paths that match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RewriteRule {
    /// The paths.
    pub from: Pattern,
    /// The path of the file.
    pub to: Template,
}

/// The statuses of redirects.
pub const REDIRECT_STATUSES: [u16; 5] = [301, 302, 303, 307, 308];
/// The statuses whose pages a site may replace.
pub const ERROR_PAGE_STATUSES: [u16; 5] = [404, 405, 406, 412, 416];

/// Limit of the length of a field, name and value, in bytes.
const FIELD_MAX_BYTES: usize = 2048;
/// Fields that the server sets itself, because they describe the message or the file.
const OWN_FIELDS: [&str; 15] = [
    "accept-ranges",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "date",
    "etag",
    "keep-alive",
    "last-modified",
    "location",
    "server",
    "transfer-encoding",
    "upgrade",
    "www-authenticate",
];

/// Checks a field for responses. An error says what is wrong.
pub fn check_field(name: &str, value: &str) -> Result<(), String> {
    let is_tchar = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || !name.bytes().all(is_tchar) {
        return Err(format!("field name {name:?}: letters, digits and -"));
    }
    if OWN_FIELDS.contains(&name.to_ascii_lowercase().as_str()) {
        let remedy = if name.eq_ignore_ascii_case("content-type") { "; use `types`" } else { "" };
        return Err(format!("field {name}: the server sets it itself{remedy}"));
    }
    if name.len() + value.len() > FIELD_MAX_BYTES {
        let len = name.len() + value.len();
        return Err(format!("field {name}: {len} bytes, at most {FIELD_MAX_BYTES}"));
    }
    // RFC 9110 §5.5: visible ASCII, spaces and tabs.
    let is_value = |b: u8| b == b'\t' || (b' '..0x7f).contains(&b);
    if !value.bytes().all(is_value) || value.trim() != value {
        return Err(format!("field {name}: {value:?}: visible ASCII and single spaces"));
    }
    Ok(())
}

/// Checks a host name and returns it in lower case. An error says what is wrong.
pub fn check_host_name(name: &str) -> Result<String, String> {
    let bare = name.strip_prefix("*.").unwrap_or(name);
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let is_address = name.parse::<std::net::IpAddr>().is_ok();
    if is_address || (!bare.is_empty() && bare.len() <= 253 && bare.bytes().all(is_name)) {
        return Ok(name.to_ascii_lowercase());
    }
    Err(format!("host name {name:?}: a domain, *. and a domain, or an IP address, without a port"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_describe_the_message_are_the_servers() {
        assert_eq!(check_field("Cache-Control", "max-age=60, immutable"), Ok(()));
        for (name, value) in [
            ("", "a"),
            ("A B", "a"),
            ("Content-Length", "1"),
            ("ETag", "\"a\""),
            ("X", "a\r\nY: b"),
            ("X", " a"),
            ("X", "ä"),
        ] {
            assert!(check_field(name, value).is_err(), "{name} {value}");
        }
        assert!(check_field("content-type", "a/b").unwrap_err().ends_with("use `types`"));
        assert!(check_field("X", &"y".repeat(2048)).unwrap_err().contains("at most 2048"));
    }

    #[test]
    fn hosts_are_names_or_addresses() {
        assert_eq!(check_host_name("WWW.Example").as_deref(), Ok("www.example"));
        for name in ["*.example", "192.0.2.1", "2001:db8::1", "localhost"] {
            assert_eq!(check_host_name(name).as_deref(), Ok(name));
        }
        for name in ["", "*", "*.", "a:80", "[::1]", "http://a", "a/b", "a b"] {
            assert!(check_host_name(name).is_err(), "{name}");
        }
    }
}

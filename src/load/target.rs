//! The target of a load: parses its URL, resolves its address, and builds the request.

use crate::error::{Error, Result};
use std::net::{SocketAddr, ToSocketAddrs};

/// The protocol of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    Memcached,
}

impl Scheme {
    /// The name in URLs and reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Memcached => "memcached",
        }
    }

    fn port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Memcached => 11211,
        }
    }
}

/// A parsed URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The URL as given.
    pub(crate) url: String,
    /// The protocol.
    pub(crate) scheme: Scheme,
    /// `HOST[:PORT]` as in the URL.
    pub(crate) authority: String,
    /// Path and query.
    pub(crate) path: String,
}

impl Target {
    /// Parses `http://HOST[:PORT][/PATH]` or `memcached://HOST[:PORT]`.
    pub(crate) fn parse(url: &str) -> Result<Target> {
        let wrong = |reason: &str| {
            Error::usage(format!(
                "{url}: {reason}; write http://198.18.0.1:8080/path or memcached://198.18.0.1:11211"
            ))
        };
        let (scheme, rest) = match url.split_once("://") {
            Some(("http", rest)) => (Scheme::Http, rest),
            Some(("memcached", rest)) => (Scheme::Memcached, rest),
            Some((scheme, _)) => return Err(wrong(&format!("{scheme} is not a supported scheme"))),
            None => return Err(wrong("it does not begin with http:// or memcached://")),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.is_empty() {
            return Err(wrong("it names no host"));
        }
        if !has_brackets_right(authority) {
            return Err(wrong("an IPv6 address is written in brackets, as in [2001:db8::1]:8080"));
        }
        if authority.contains('@') {
            return Err(wrong("a user name is of no use here"));
        }
        if url.bytes().any(|byte| !byte.is_ascii_graphic()) {
            return Err(wrong("spaces and other characters must be written as %20 and the like"));
        }
        if scheme == Scheme::Memcached && !matches!(path, "" | "/") {
            return Err(wrong("memcached has no paths"));
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Target { url: url.to_owned(), scheme, authority: authority.to_owned(), path })
    }

    /// Resolves the host.
    pub(crate) fn address(&self) -> Result<SocketAddr> {
        let is_v6 = self.authority.ends_with(']');
        let has_port = !is_v6 && self.authority.rsplit_once(':').is_some();
        let with_port = if has_port {
            self.authority.clone()
        } else {
            format!("{}:{}", self.authority, self.scheme.port())
        };
        if with_port
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0))
        {
            let found = with_port.to_socket_addrs().map(|mut found| found.next());
            return match found {
                Ok(Some(address)) => Ok(address),
                Ok(None) => Err(Error::failed(format!("{}: the host has no address", self.url))),
                Err(error) => {
                    Err(Error::failed(format!("{}: looking up the host: {error}", self.url)))
                }
            };
        }
        Err(Error::usage(format!("{}: a port is a number from 1 to 65535", self.url)))
    }

    /// The bytes of an HTTP request for `path`, with further `fields`.
    pub(crate) fn request(&self, path: &str, fields: &[String], closes: bool) -> Vec<u8> {
        let authority = &self.authority;
        let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
        let connection = if closes { "Connection: close\r\n" } else { "" };
        format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: simoom-load\r\n{fields}{connection}\r\n").into()
    }
}

/// Whether an IPv6 address is in brackets, and nothing else is.
fn has_brackets_right(authority: &str) -> bool {
    match authority.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(Some((_, port))) => port.is_empty() || port.starts_with(':'),
        Some(None) => false,
        None => !authority.contains(['[', ']']) && authority.matches(':').count() <= 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        for (url, authority, path, address) in [
            ("http://198.18.0.1:8080/a?b=c", "198.18.0.1:8080", "/a?b=c", "198.18.0.1:8080"),
            ("http://198.18.0.1", "198.18.0.1", "/", "198.18.0.1:80"),
            ("http://198.18.0.1?q", "198.18.0.1", "/?q", "198.18.0.1:80"),
            ("http://[::1]:81/#top", "[::1]:81", "/", "[::1]:81"),
            ("http://[::1]", "[::1]", "/", "[::1]:80"),
            ("memcached://198.18.0.1", "198.18.0.1", "/", "198.18.0.1:11211"),
            ("memcached://198.18.0.1:11212/", "198.18.0.1:11212", "/", "198.18.0.1:11212"),
        ] {
            let target = Target::parse(url).unwrap();
            assert_eq!(
                (target.authority.as_str(), target.path.as_str()),
                (authority, path),
                "{url}"
            );
            assert_eq!(target.address().unwrap(), address.parse().unwrap(), "{url}");
        }
    }

    #[test]
    fn wrong_urls_are_usage_errors_that_say_why() {
        for (url, expected) in [
            ("198.18.0.1:8080", "does not begin with http://"),
            ("https://198.18.0.1/", "https is not a supported scheme"),
            ("http:///path", "names no host"),
            ("memcached://198.18.0.1/key", "memcached has no paths"),
            ("http://me@198.18.0.1/", "user name"),
            ("http://198.18.0.1/a b", "%20"),
            ("http://[::1/", "in brackets"),
            ("http://[::1]81/", "in brackets"),
            ("http://::1]:81/", "in brackets"),
            ("http://::1/", "in brackets"),
        ] {
            let error = Target::parse(url).unwrap_err();
            assert!(
                matches!(&error, Error::Usage(text) if text.contains(expected)),
                "{url}: {error}"
            );
        }
        let error = Target::parse("http://198.18.0.1:99999/").unwrap().address().unwrap_err();
        assert!(error.to_string().contains("1 to 65535"), "{error}");
    }

    #[test]
    fn a_request_names_host_and_path() {
        let fields = ["A: b".to_owned()];
        let text =
            String::from_utf8(Target::parse("http://a:81/b").unwrap().request("/b", &fields, true))
                .unwrap();
        assert!(
            text.starts_with("GET /b HTTP/1.1\r\nHost: a:81\r\n") && text.ends_with("\r\n\r\n"),
            "{text}"
        );
        assert!(text.contains("\r\nA: b\r\nConnection: close\r\n"));
    }
}

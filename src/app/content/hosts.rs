//! Which site serves a host. Input: the value of Host. Output: the index of a site.

use std::collections::HashMap;

/// Longest host name (RFC 1035 §2.3.4), and room for brackets.
const NAME_MAX_BYTES: usize = 256;

/// The sites by their names. Site 0 serves all other hosts.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    names: HashMap<Box<[u8]>, u32>,
    /// Domains whose subdomains a site serves, with a leading dot, the longest first.
    domains: Vec<(Box<[u8]>, u32)>,
}

impl Hosts {
    /// Adds the names of a site, in lower case.
    pub(super) fn add(&mut self, names: &[String], site: u32) {
        for name in names {
            match name.strip_prefix('*') {
                Some(domain) => self.domains.push((domain.as_bytes().into(), site)),
                None => drop(self.names.insert(name.as_bytes().into(), site)),
            }
        }
        self.domains.sort_by_key(|(domain, _)| std::cmp::Reverse(domain.len()));
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty() && self.domains.is_empty()
    }

    /// The site that serves `host`, an authority with or without a port.
    pub(super) fn find(&self, host: &[u8]) -> u32 {
        let mut space = [0; NAME_MAX_BYTES];
        let host = without_port(host);
        let Some(name) = space.get_mut(..host.len()) else { return 0 };
        name.copy_from_slice(host);
        name.make_ascii_lowercase();
        let name: &[u8] = name.strip_suffix(b".").unwrap_or(name);
        let domain = || self.domains.iter().find(|(domain, _)| name.ends_with(domain));
        self.names.get(name).copied().or_else(|| domain().map(|(_, site)| *site)).unwrap_or(0)
    }
}

fn without_port(host: &[u8]) -> &[u8] {
    if let Some(literal) = host.strip_prefix(b"[") {
        return literal.split(|&byte| byte == b']').next().unwrap_or_default();
    }
    host.split(|&byte| byte == b':').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_found_by_name_domain_or_address() {
        let mut hosts = Hosts::default();
        assert!(hosts.is_empty());
        hosts.add(&["a.example".into(), "192.0.2.1".into(), "2001:db8::1".into()], 1);
        hosts.add(&["*.example".into()], 2);
        hosts.add(&["*.b.example".into()], 3);
        let table = [
            ("a.example", 1),
            ("A.Example.:8080", 1),
            ("192.0.2.1:80", 1),
            ("[2001:DB8::1]:80", 1),
            ("x.example", 2),
            ("x.a.example", 2),
            ("x.b.example", 3),
            ("b.example", 2),
            ("example", 0),
            ("", 0),
        ];
        for (host, site) in table {
            assert_eq!(hosts.find(host.as_bytes()), site, "{host}");
        }
        assert_eq!(hosts.find(&[b'x'; 300]), 0);
    }
}

//! The limit of the process's open files (RLIMIT_NOFILE). Each connection through kernel sockets
//! takes a file descriptor.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io;

/// Raises the soft limit to `wanted` files, or to the hard limit if that is lower. Returns the
/// files that are allowed now.
pub(crate) fn allow(wanted: u64) -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let current = limit.current.unwrap_or(u64::MAX);
    let raised = limit.maximum.map_or(wanted, |max| max.min(wanted));
    if current >= raised {
        return current;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: Some(raised), ..limit }) {
        Ok(()) => raised,
        Err(_) => current,
    }
}

/// Raises the soft limit to the hard limit.
pub(crate) fn allow_all() -> io::Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}

/// Raises the hard limit to `wanted` files if it is lower and the process may. Returns the hard
/// limit.
pub(crate) fn raise_hard_limit(wanted: u64) -> u64 {
    let max = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let limit = Rlimit { current: Some(wanted), maximum: Some(wanted) };
    if max < wanted && setrlimit(Resource::Nofile, limit).is_ok() { wanted } else { max }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_allowed_than_the_hard_limit_and_nothing_is_lowered() {
        let before = getrlimit(Resource::Nofile);
        let current = before.current.unwrap_or(u64::MAX);
        assert_eq!(allow(1), current);
        let max = before.maximum.unwrap_or(u64::MAX);
        assert_eq!(allow(u64::MAX), max);
        assert_eq!(getrlimit(Resource::Nofile).maximum, before.maximum);
    }
}

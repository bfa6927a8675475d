//! The limit of the process's open files (RLIMIT_NOFILE). Each connection through kernel sockets
//! takes a file descriptor, and each listener.

use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

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

/// The number of descriptors, up to `most`, that can be opened now with `reserve` left. Raises the
/// soft limit if it is short. Opens one of the reserve for a moment, at most.
pub(crate) fn spare(most: usize, reserve: usize) -> usize {
    let current = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    match spare_below(current, most, reserve) {
        short if short < most => {
            spare_below(allow(current.saturating_add((most - short) as u64)), most, reserve)
        }
        enough => enough,
    }
}

/// A new descriptor is the lowest that is free (POSIX, open(2)): one below `limit` less `reserve`
/// takes none of the reserve.
fn spare_below(limit: u64, most: usize, reserve: usize) -> usize {
    let end = limit.saturating_sub(reserve as u64);
    let is_spare = |file: &OwnedFd| u64::try_from(file.as_raw_fd()).is_ok_and(|file| file < end);
    let open = || fcntl_dupfd_cloexec(io::stderr(), 0).ok().filter(is_spare);
    let opened: Vec<OwnedFd> = std::iter::from_fn(open).take(most).collect();
    opened.len()
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
    fn a_reserve_is_left_and_no_more_is_spare_than_the_limit_allows() {
        let limit = 4096;
        assert_eq!(spare_below(limit, 3, 32), 3);
        assert_eq!(spare_below(limit, 3, 4096), 0);
        let open = spare_below(limit, 4096, 32);
        // Other tests of this process have files open.
        assert!((3000..4096 - 32).contains(&open), "{open}");
    }

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

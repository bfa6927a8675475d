//! What can go wrong between a NIC and its frames, each with what the user can do about it.

use super::{Claim, Mode};
use std::fmt;
use std::io;

/// A failure to open, or to go on using, an interface through AF_XDP.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The interface is not there, in the calling thread's network namespace.
    NoInterface {
        /// The name as given.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// An option is out of its bounds.
    Option {
        /// The field of [`super::OpenOptions`].
        name: &'static str,
        /// The value as given.
        value: u64,
        /// The bound it broke and what to do.
        bound: String,
    },
    /// No AF_XDP socket can be made.
    Socket(io::Error),
    /// The kernel did not take the UMEM.
    Umem {
        /// Its size.
        bytes: usize,
        /// What the kernel said.
        source: io::Error,
    },
    /// A ring could not be made or mapped.
    Ring {
        /// The receive queue.
        queue: u32,
        /// What the kernel said.
        source: io::Error,
    },
    /// A socket could not be bound to its queue.
    Bind {
        /// The receive queue.
        queue: u32,
        /// In which mode it was tried.
        mode: Mode,
        /// What the kernel said.
        source: io::Error,
    },
    /// The steering program or its maps refused a step.
    Program {
        /// The step.
        step: &'static str,
        /// What was said about it, by the loader and by the kernel.
        reason: String,
    },
    /// No mode worked; the reasons in the order they were tried.
    NoMode {
        /// The interface.
        interface: String,
        /// Each mode with the reason against it.
        tried: Vec<(Mode, String)>,
    },
    /// The claim is on an address that no host on a network can have.
    NoHostAddress {
        /// The claim.
        claim: Claim,
    },
    /// More is claimed than the program's maps hold.
    TooManyClaims {
        /// The bound that was reached.
        bound: String,
    },
    /// The interface cannot be told to receive what neighbour discovery sends to a group.
    Group(io::Error),
    /// The interface went away, or its queue was unbound, while in use.
    Gone {
        /// The receive queue.
        queue: u32,
        /// What the kernel said.
        source: io::Error,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NoInterface { name, source } => {
                write!(f, "no interface {name:?} in this network namespace ({source}); `ip link` lists them")
            }
            Error::Option { name, value, bound } => write!(f, "{name} is {value}: {bound}"),
            Error::Socket(source) => write!(f, "no AF_XDP socket: {source}{}", socket_remedy(source)),
            Error::Umem { bytes, source } => {
                write!(f, "the kernel did not take {} MiB of UMEM: {source}", bytes >> 20)?;
                match source.raw_os_error() {
                    Some(libc::ENOBUFS) => f.write_str(
                        "; raise the locked-memory limit (`ulimit -l`, LimitMEMLOCK=) or grant CAP_IPC_LOCK",
                    ),
                    _ => Ok(()),
                }
            }
            Error::Ring { queue, source } => write!(f, "queue {queue}: a ring could not be set up: {source}"),
            Error::Bind { queue, mode, source } => {
                write!(f, "queue {queue} cannot be bound in {mode} mode: {source}{}", bind_remedy(source))
            }
            Error::Program { step, reason } => write!(f, "the XDP program: {step}: {reason}"),
            Error::NoMode { interface, tried } => {
                write!(f, "{interface} cannot be opened through AF_XDP")?;
                tried.iter().try_for_each(|(mode, reason)| write!(f, "; {mode}: {reason}"))
            }
            Error::NoHostAddress { claim } => write!(
                f,
                "{claim} cannot be claimed: no host on a network has this address, and the kernel takes no packet for it"
            ),
            Error::TooManyClaims { bound } => f.write_str(bound),
            Error::Group(source) => write!(f, "a group of neighbour discovery cannot be joined: {source}"),
            Error::Gone { queue, source } => {
                write!(f, "queue {queue} was unbound: the interface is gone or was reconfigured ({source})")
            }
        }
    }
}

/// What mends a failure to make an AF_XDP socket.
fn socket_remedy(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EPERM) => "; it needs CAP_NET_RAW: run as root or grant it",
        Some(libc::EAFNOSUPPORT) => "; the kernel is built without CONFIG_XDP_SOCKETS",
        _ => "",
    }
}

fn bind_remedy(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EBUSY) => "; another AF_XDP socket holds it: `ss --xdp -p` or `bpftool net` may show whose",
        Some(libc::EOPNOTSUPP) => "; the driver does not offer it",
        Some(libc::ENETDOWN) => "; bring the interface up: `ip link set IF up`",
        _ => "",
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::NoInterface { source, .. }
            | Error::Socket(source)
            | Error::Group(source)
            | Error::Umem { source, .. }
            | Error::Ring { source, .. }
            | Error::Bind { source, .. }
            | Error::Gone { source, .. } => Some(source),
            Error::Option { .. }
            | Error::Program { .. }
            | Error::NoMode { .. }
            | Error::NoHostAddress { .. }
            | Error::TooManyClaims { .. } => None,
        }
    }
}

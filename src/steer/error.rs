//! The errors of opening an interface and of claiming its traffic.

use super::Claim;
use std::fmt;
use std::io;

/// A failure to open an interface, or to claim traffic of it.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The interface, its queues or the program.
    Xdp(af_xdp::Error),
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
}

impl From<af_xdp::Error> for Error {
    fn from(error: af_xdp::Error) -> Error {
        Error::Xdp(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Xdp(error) => error.fmt(f),
            Error::NoHostAddress { claim } => write!(
                f,
                "{claim} cannot be claimed: not the address of a host; give a unicast address"
            ),
            Error::TooManyClaims { bound } => f.write_str(bound),
            Error::Group(source) => {
                write!(f, "cannot join a multicast group of neighbour discovery: {source}")
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Xdp(error) => error.source(),
            Error::Group(source) => Some(source),
            Error::NoHostAddress { .. } | Error::TooManyClaims { .. } => None,
        }
    }
}

//! The route to the target: the next hop by `--gateway` or by the kernel's routes. The stack
//! resolves its hardware address.

use super::sources::Source;
use crate::error::{Error, Result};
use crate::netns;
use simoom_tcp::Route;
use std::net::IpAddr;

/// The route to one target.
#[derive(Clone, Copy, Debug)]
pub(super) struct TargetRoute {
    target: IpAddr,
    gateway: Option<IpAddr>,
}

impl TargetRoute {
    /// The route from `interface`: through `gateway` if given, otherwise by the kernel's routes. A
    /// target in the prefix of `source` is on-link.
    pub(super) fn find(
        interface: &str,
        source: Source,
        target: IpAddr,
        gateway: Option<IpAddr>,
    ) -> Result<TargetRoute> {
        if gateway.is_some() {
            return Ok(TargetRoute { target, gateway });
        }
        match netns::gateway(interface, target) {
            Ok(gateway) => Ok(TargetRoute { target, gateway }),
            Err(_) if source.is_neighbour(target) => Ok(TargetRoute { target, gateway: None }),
            Err(error) => Err(Error::failed(format!(
                "{target} is not reached from {interface}: {error}; name the next hop with --gateway, or give \
                 --source a prefix that {target} is in"
            ))),
        }
    }

    /// The route for the stack.
    pub(super) fn route(&self) -> Route {
        Route::new(self.target, u8::MAX, self.gateway)
    }

    /// The error for a next hop that does not answer.
    pub(super) fn no_answer(&self, interface: &str) -> Error {
        Error::failed(match self.gateway {
            Some(gateway) => format!(
                "no host on {interface} answered for {gateway}, the gateway to {}; is it on that network, and up?",
                self.target
            ),
            None => format!(
                "no host on {interface} answered for {}; is it on that network, and up? If it is behind a router, \
                 name that with --gateway",
                self.target
            ),
        })
    }
}

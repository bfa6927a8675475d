//! Follows the addresses of the host while the stack runs.

use super::Stack;
use crate::config::LocalAddress;
use crate::wire::Address;
use simoom_io::application::Application;

impl<A: Application> Stack<A> {
    /// Accepts segments to `address` from now on, and connections to `port` of it if the port
    /// listens. The kernel has the address and answers ARP and neighbour discovery for it.
    pub fn serve(&mut self, address: Address, port: u16) {
        let config = &mut self.shared.config;
        if !config.has(&address) {
            config.addresses.push(LocalAddress { address, dedicated: false });
        }
        // An empty list is for every port of every address.
        if !config.listen_addresses.is_empty() && !config.serves(&address, port) {
            config.listen_addresses.push((address, port));
        }
    }

    /// Notes that the kernel has an address, of this stack or not, or has lost it. One that it has
    /// lost may be a peer's from then on: of the next owner after a failover.
    pub fn host_has(&mut self, address: Address, has: bool) {
        let lost = &mut self.shared.config.lost_addresses;
        match (has, lost.iter().position(|lost| *lost == address)) {
            (true, Some(at)) => drop(lost.swap_remove(at)),
            (false, None) => lost.push(address),
            _ => {}
        }
    }

    /// Accepts no connections to `port` of `address` any more, and no segments to it if it was the
    /// last port. The opposite of [`Stack::serve`].
    pub fn forget(&mut self, address: Address, port: u16) {
        let config = &mut self.shared.config;
        let is_other = |(served, other): &(Address, u16)| *served == address && *other != port;
        if !config.listen_addresses.iter().any(is_other) {
            config.addresses.retain(|local| local.dedicated || local.address != address);
        }
        // An empty list would be for every address.
        if config.listen_addresses.len() > 1 {
            config.listen_addresses.retain(|at| *at != (address, port));
        }
    }
}

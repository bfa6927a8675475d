//! Serves an address that the host gets while the stack runs.

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
}

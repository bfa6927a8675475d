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
        let config = &mut self.shared.config;
        config.lost_addresses.retain(|lost| *lost != address);
        // Others may be peers anyway.
        if !has && !config.may_be_peer(&address) {
            config.lost_addresses.push(address);
        }
    }

    /// Accepts no connections to `port` of `address` any more, and no segments to it if it was the
    /// last port. The opposite of [`Stack::serve`].
    pub fn forget(&mut self, address: Address, port: u16) {
        let config = &mut self.shared.config;
        let is_other = |(served, other): &(Address, u16)| *served == address && *other != port;
        if !config.listen_addresses.iter().any(is_other) {
            config.addresses.retain(|local| local.dedicated || local.address != address);
            if !config.has(&address) && !config.no_peers.contains(&address) {
                config.lost_addresses.retain(|lost| *lost != address);
            }
        }
        // An empty list would be for every address.
        if config.listen_addresses.len() > 1 {
            config.listen_addresses.retain(|at| *at != (address, port));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Stack;
    use crate::config::{Config, Limits, LocalAddress};
    use crate::testing::echo::Echo;
    use crate::wire::Address;
    use simoom_io::Instant;

    fn address(host: u8) -> Address {
        std::net::IpAddr::from([198, 18, 0, host]).into()
    }

    fn stack() -> Stack<Echo> {
        let addresses = vec![LocalAddress { address: address(1), dedicated: false }];
        let config = Config {
            listen_addresses: vec![(address(1), 80)],
            no_peers: vec![address(1), address(2)],
            ..Config::new([2, 0, 0, 0, 0, 1], addresses, [1; 4], Limits::for_connections(4))
        };
        Stack::new(config, Instant::from_millis(0))
    }

    #[test]
    fn an_address_that_the_host_has_lost_may_be_a_peers_until_it_comes_back() {
        let mut stack = stack();
        let may_be_peer =
            |stack: &Stack<Echo>| [1, 2, 3].map(|n| stack.shared.config.may_be_peer(&address(n)));
        assert_eq!(may_be_peer(&stack), [false, false, true]);
        for host in 1..=3 {
            stack.host_has(address(host), false);
            stack.host_has(address(host), false);
        }
        assert_eq!(may_be_peer(&stack), [true; 3]);
        assert_eq!(stack.shared.config.lost_addresses.len(), 2, "the third could be one before");
        (1..=3).for_each(|host| stack.host_has(address(host), true));
        assert_eq!(may_be_peer(&stack), [false, false, true]);
    }

    #[test]
    fn addresses_that_come_and_go_leave_nothing() {
        let mut stack = stack();
        for host in 10..=250 {
            for port in [80, 443] {
                stack.serve(address(host), port);
            }
            assert!(stack.shared.config.serves(&address(host), 443));
            stack.host_has(address(host), false);
            for port in [80, 443] {
                assert!(stack.shared.config.has(&address(host)));
                stack.forget(address(host), port);
            }
            assert!(stack.shared.config.may_be_peer(&address(host)));
        }
        stack.forget(address(1), 80);
        let config = &stack.shared.config;
        assert_eq!(config.listen_addresses, [(address(1), 80)], "none would be for all");
        assert_eq!((config.addresses.len(), config.lost_addresses.len()), (0, 0));
    }
}

//! Connections that the kernel has at a claimed port since before the claim: of a server that was
//! there before, or of an address that has moved to the interface. The steering program asks the
//! kernel for each segment to such a port, as long as one of them is there.
//!
//! In come claims, and the kernel's tables of connections, twice a second at most; out come the
//! addresses about which the program need not ask any more.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::{fs, io};

/// The kernel's tables of the calling thread's network namespace.
const TABLES: [&str; 2] = ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"];
/// `TCP_LISTEN` of the kernel, as its tables have it: no connection. One in TIME-WAIT counts: the
/// kernel may still have to answer its client, and gets the client's next SYN.
const LISTEN: &str = "0A";
/// Looks between two at the tables, at most: at two a second, half a minute.
const PAUSE_MAX: u32 = 64;

/// The claimed ports at which the kernel may have earlier connections.
#[derive(Debug, Default)]
pub(super) struct Earlier {
    /// The clients of each port that are still there; `None` before the first look.
    ports: BTreeMap<SocketAddr, Option<BTreeSet<SocketAddr>>>,
    /// Looks to leave out, now and after the next look.
    pause: u32,
    next_pause: u32,
}

impl Earlier {
    /// A port is claimed from now on, or the kernel may have got connections to it again.
    pub(super) fn claimed(&mut self, port: SocketAddr) {
        self.ports.insert(without_scope(port), None);
        (self.pause, self.next_pause) = (0, 0);
    }

    /// A port is not claimed any more.
    pub(super) fn returned(&mut self, port: SocketAddr) {
        self.ports.remove(&without_scope(port));
    }

    /// No port is.
    pub(super) fn returned_all(&mut self) {
        self.ports.clear();
    }

    /// Looks whether the earlier connections are still there, if it is time to: the longer they
    /// last, the less often. Returns the addresses at which none are left.
    pub(super) fn look(&mut self) -> Vec<IpAddr> {
        if self.ports.is_empty() {
            return Vec::new();
        }
        if self.pause > 0 {
            self.pause -= 1;
            return Vec::new();
        }
        self.next_pause = (self.next_pause * 2).clamp(1, PAUSE_MAX);
        self.pause = self.next_pause;
        // Without the tables nothing is known, and the program goes on asking.
        read_tables().map_or(Vec::new(), |tables| self.compare(connections(&tables)))
    }

    fn compare(&mut self, now: impl Iterator<Item = (SocketAddr, SocketAddr)>) -> Vec<IpAddr> {
        let mut clients: BTreeMap<SocketAddr, BTreeSet<SocketAddr>> = BTreeMap::new();
        for (local, remote) in now.filter(|(local, _)| self.ports.contains_key(local)) {
            clients.entry(local).or_default().insert(remote);
        }
        let before: BTreeSet<IpAddr> = self.ports.keys().map(SocketAddr::ip).collect();
        self.ports.retain(|port, known| {
            let now = clients.remove(port).unwrap_or_default();
            let left = match known {
                Some(known) => known.intersection(&now).copied().collect(),
                None => now,
            };
            !known.insert(left).is_empty()
        });
        let after: BTreeSet<IpAddr> = self.ports.keys().map(SocketAddr::ip).collect();
        before.difference(&after).copied().collect()
    }
}

/// The tables have no scopes.
fn without_scope(port: SocketAddr) -> SocketAddr {
    SocketAddr::new(port.ip(), port.port())
}

fn read_tables() -> io::Result<String> {
    let [v4, v6] = TABLES.map(fs::read_to_string);
    // A kernel without IPv6 has one table.
    let v6 = v6.or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => Ok(String::new()),
        _ => Err(error),
    });
    Ok(v4? + &v6?)
}

/// The connections of these tables: the local end of each, and the remote one.
fn connections(tables: &str) -> impl Iterator<Item = (SocketAddr, SocketAddr)> {
    tables.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (local, remote, state) = (words.next()?, words.next()?, words.next()?);
        (state != LISTEN).then_some((end(local)?, end(remote)?))
    })
}

/// An end of a connection: words of an address in the order of the processor, and a port.
fn end(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let word = |at: usize| {
        let word = u32::from_str_radix(address.get(at * 8..at * 8 + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    };
    let ip = match address.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            // A socket for both versions of IP has connections of IPv4.
            Ipv6Addr::from(<[u8; 16]>::try_from(words.concat()).ok()?).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address and a port")
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn the_tables_of_the_kernel_are_read() {
        let tables = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 010012C6:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1
   1: 010012C6:1F90 020012C6:C350 01 00000000:00000000 00:00000000 00000000     0        0 2 1
   2: 010012C6:1F90 020012C6:C351 06 00000000:00000000 00:00000000 00000000     0        0 0 1
  sl  local_address                         remote_address                        st tx_queue
   0: B80D0120000000000000000001000000:1F90 B80D0120000000000000000002000000:C350 03 00000000
   1: 0000000000000000FFFF0000010012C6:1F90 0000000000000000FFFF0000030012C6:C350 08 00000000
   2: 0000:1F90 0000:C350 01 00000000
";
        let expected = [
            ("198.18.0.1:8080", "198.18.0.2:50000"),
            ("198.18.0.1:8080", "198.18.0.2:50001"),
            ("[2001:db8::1]:8080", "[2001:db8::2]:50000"),
            ("198.18.0.1:8080", "198.18.0.3:50000"),
        ]
        .map(|(local, remote)| (at(local), at(remote)));
        assert_eq!(connections(tables).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_port_is_asked_for_until_its_earlier_connections_are_gone() {
        let (port, other) = (at("198.18.0.1:80"), at("198.18.0.2:80"));
        let clients = ["198.18.0.9:1000", "198.18.0.9:1001", "198.18.0.9:1002"].map(at);
        let [first, second, later] = clients.map(|client| (port, client));
        let mut earlier = Earlier::default();
        earlier.claimed(port);
        earlier.claimed(other);
        assert_eq!(earlier.compare([first, second].into_iter()), [other.ip()], "it has none");
        assert!(earlier.compare([first, second, later].into_iter()).is_empty());
        assert!(earlier.compare([second, later].into_iter()).is_empty());
        assert_eq!(earlier.compare([later].into_iter()), [port.ip()], "it came after the claim");
        assert!(earlier.compare([later].into_iter()).is_empty());
    }

    #[test]
    fn an_address_is_asked_for_while_one_of_its_ports_is() {
        let ports = [at("198.18.0.1:80"), at("198.18.0.1:443")];
        let client = at("198.18.0.9:1000");
        let mut earlier = Earlier::default();
        ports.into_iter().for_each(|port| earlier.claimed(port));
        assert!(earlier.compare([(ports[1], client)].into_iter()).is_empty());
        earlier.returned(ports[1]);
        assert!(earlier.compare(std::iter::empty()).is_empty());
        earlier.claimed(ports[0]);
        assert_eq!(earlier.compare(std::iter::empty()), [ports[0].ip()]);
    }

    #[test]
    fn the_tables_are_read_less_and_less_often() {
        let mut earlier = Earlier::default();
        // Nobody has this address, so that the first look would end it.
        earlier.claimed(at("192.0.2.1:1"));
        assert_eq!(earlier.look(), [IpAddr::from([192, 0, 2, 1])]);
        let mut pauses = Vec::new();
        for _ in 0..9 {
            earlier.ports.insert(at("192.0.2.1:1"), None);
            let mut pause = 0;
            while earlier.look().is_empty() {
                pause += 1;
            }
            pauses.push(pause);
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 64, 64]);
        earlier.claimed(at("192.0.2.1:2"));
        assert_eq!(earlier.look().len(), 1, "a new claim is looked at soon");
    }
}

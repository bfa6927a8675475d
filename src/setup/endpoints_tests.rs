use super::*;
use crate::cli;

fn interface(index: u32, name: &str, addresses: &[(&str, u8)]) -> Interface {
    Interface {
        name: name.into(),
        index,
        mac: [2, 0, 0, 0, 0, 1],
        mtu_bytes: 1500,
        addresses: addresses
            .iter()
            .map(|(address, len)| (address.parse().unwrap(), *len))
            .collect(),
        up: true,
        carrier: true,
        loopback: name == "lo",
        rx_queues: 1,
        tx_queues: 1,
    }
}

/// s0 with an address of each version and a link-local one, beside lo and another NIC.
fn host() -> Host {
    let s0 = interface(7, "s0", &[("198.18.0.1", 24), ("2001:db8::1", 64), ("fe80::1", 64)]);
    let lo = interface(1, "lo", &[("127.0.0.1", 8), ("::1", 128)]);
    let eth0 = interface(2, "eth0", &[("192.0.2.9", 24)]);
    Host::of(s0.clone(), &[lo, eth0, s0])
}

/// The endpoints of `simoom serve --interface s0` with these flags.
fn resolve_on(host: &Host, flags: &str) -> Result<ResolvedEndpoints> {
    let arguments =
        ["simoom", "serve", "--interface", "s0"].into_iter().chain(flags.split_whitespace());
    let matches = cli::command().try_get_matches_from(arguments).unwrap();
    let config = crate::config::Serve::from_matches(
        matches.subcommand_matches("serve").unwrap(),
        None,
        &[0],
    )?;
    ResolvedEndpoints::of(&config.setup(), Some(host))
}

/// All endpoints as text. `*` marks a dedicated address.
fn text(resolved: &ResolvedEndpoints) -> [String; 3] {
    let claimed = resolved.claimed.iter().map(|claimed| {
        let own = if claimed.dedicated { "*" } else { "" };
        format!("{own}{}", claimed.at)
    });
    let listening = |listening: &[Listening]| {
        listening.iter().map(|socket| socket.at.to_string()).collect::<Vec<_>>()
    };
    [claimed.collect(), listening(&resolved.listening), listening(&resolved.datagrams)]
        .map(|all: Vec<_>| all.join(" "))
}

#[test]
fn each_service_is_reached_where_it_is_asked_for_and_nowhere_else() {
    for (flags, claimed, listening) in [
        (
            "--http 80",
            "198.18.0.1:80 [2001:db8::1]:80 [fe80::1]:80",
            "198.18.0.1:80 [2001:db8::1]:80 [fe80::1%7]:80 127.0.0.1:80 [::1]:80",
        ),
        ("--http 80 --address 198.18.0.1", "198.18.0.1:80", "198.18.0.1:80 127.0.0.1:80 [::1]:80"),
        ("--http 198.18.0.1:80", "198.18.0.1:80", "198.18.0.1:80"),
        ("--http [fe80::1]:80", "[fe80::1]:80", "[fe80::1%7]:80"),
        ("--http 0.0.0.0:80", "198.18.0.1:80", "0.0.0.0:80"),
        ("--http [::]:80", "[2001:db8::1]:80 [fe80::1]:80", "[::]:80"),
        ("--http 80 --address 198.18.0.7", "*198.18.0.7:80", "127.0.0.1:80 [::1]:80"),
        ("--http 198.18.0.7:80 --address 198.18.0.7", "*198.18.0.7:80", ""),
        // The one service on the wire, the other not.
        (
            "--http 80 --address 198.18.0.1 --memcached 127.0.0.1:11211",
            "198.18.0.1:80",
            "198.18.0.1:80 127.0.0.1:80 [::1]:80 127.0.0.1:11211",
        ),
        (
            "--http 198.18.0.1:80 --memcached [::1]:11211",
            "198.18.0.1:80",
            "198.18.0.1:80 [::1]:11211",
        ),
        (
            "--http 198.18.0.1:80 --memcached 192.0.2.9:81",
            "198.18.0.1:80",
            "198.18.0.1:80 192.0.2.9:81",
        ),
        // Each at an address of its own.
        (
            "--http 198.18.0.7:80 --memcached 198.18.0.8:81 --address 198.18.0.7 --address 198.18.0.8",
            "*198.18.0.7:80 *198.18.0.8:81",
            "",
        ),
        (
            "--http 80 --memcached [2001:db8::1]:81 --address 198.18.0.1",
            "198.18.0.1:80 [2001:db8::1]:81",
            "198.18.0.1:80 127.0.0.1:80 [::1]:80 [2001:db8::1]:81",
        ),
        (
            "--http 198.18.0.1:80 --memcached [2001:db8::1]:81",
            "198.18.0.1:80 [2001:db8::1]:81",
            "198.18.0.1:80 [2001:db8::1]:81",
        ),
    ] {
        let resolved =
            resolve_on(&host(), flags).unwrap_or_else(|error| panic!("{flags}: {error}"));
        assert_eq!(text(&resolved)[..2], [claimed, listening], "{flags}");
    }
}

#[test]
fn datagrams_are_served_where_the_kernel_has_the_address() {
    for (flags, expected) in [
        (
            "--memcached 81 --address 198.18.0.1 --memcached-udp 82",
            "198.18.0.1:82 127.0.0.1:82 [::1]:82",
        ),
        ("--memcached 198.18.0.1:81 --memcached-udp 82", "198.18.0.1:82"),
        ("--memcached 198.18.0.1:81 --memcached-udp 127.0.0.1:82", "127.0.0.1:82"),
        ("--memcached 81 --address 198.18.0.7 --memcached-udp 82", "127.0.0.1:82 [::1]:82"),
        ("--memcached 198.18.0.1:81 --memcached-udp 0.0.0.0:82", "0.0.0.0:82"),
        ("--memcached 198.18.0.1:81 --memcached-udp [fe80::1]:82", "[fe80::1%7]:82"),
    ] {
        let resolved =
            resolve_on(&host(), flags).unwrap_or_else(|error| panic!("{flags}: {error}"));
        assert_eq!(text(&resolved)[2], expected, "{flags}");
    }
}

#[test]
fn what_cannot_be_claimed_is_refused_with_a_remedy() {
    for (flags, expected) in [
        (
            "--http 198.18.0.7:80",
            "--http 198.18.0.7:80: no interface here has 198.18.0.7; give it to s0",
        ),
        ("--http 198.18.0.7:80", "or make it Simoom's own with --address 198.18.0.7"),
        (
            "--http 80 --address 192.0.2.9",
            "--address 192.0.2.9: eth0 has it, not s0; name eth0 with --interface",
        ),
        (
            "--http 80 --address 198.18.0.255",
            "--address 198.18.0.255: it is the broadcast address of s0's network",
        ),
        (
            "--http 127.0.0.1:80",
            "--interface s0: no service is served at its addresses; leave it out",
        ),
        (
            "--http 127.0.0.1:80 --address 198.18.0.1",
            "--address 198.18.0.1: no service is served there; leave it out",
        ),
        (
            "--http 224.0.0.1:80",
            "--http 224.0.0.1:80: 224.0.0.1 is not the address of one host on a network",
        ),
        (
            "--memcached-udp 255.255.255.255:82",
            "--memcached-udp 255.255.255.255:82: 255.255.255.255 is not the address",
        ),
        ("--http [::ffff:198.18.0.1]:80", "is not the address of one host on a network"),
        (
            "--memcached 198.18.0.7:81 --address 198.18.0.7 --memcached-udp 82",
            "--memcached-udp 198.18.0.7:82: datagrams come through the kernel",
        ),
    ] {
        let error = resolve_on(&host(), flags).expect_err(flags).to_string();
        assert!(error.contains(expected), "{flags}\n  said {error:?}\n  not  {expected:?}");
    }
}

#[test]
fn an_interface_without_addresses_needs_one() {
    let bare = Host::of(interface(7, "s0", &[]), &[]);
    let error = resolve_on(&bare, "--http 80").unwrap_err().to_string();
    assert!(error.contains("--interface s0: it has no address"), "{error}");
    assert_eq!(
        text(&resolve_on(&bare, "--http 80 --address 198.18.0.7").unwrap())[0],
        "*198.18.0.7:80"
    );
}

#[test]
fn kernel_sockets_alone_serve_no_address_of_simooms_own() {
    let check = |flags| resolve_on(&host(), flags).unwrap().check_kernel_alone();
    assert!(check("--http 80").is_ok());
    let error = check("--http 80 --address 198.18.0.7").unwrap_err().to_string();
    assert!(error.contains("--address 198.18.0.7: no interface here has it"), "{error}");
}

#[test]
fn an_own_address_outside_of_the_networks_is_told() {
    let off_link = |host: &Host, flags: &str| -> Vec<String> {
        resolve_on(host, flags).unwrap().off_link(host).iter().map(ToString::to_string).collect()
    };
    let flags = "--http 80 --memcached 81 --address 198.18.0.7 --address 198.18.1.7 --address 2001:db8:1::7 \
                 --address 2001:db8::7 --address 198.18.0.1";
    assert_eq!(off_link(&host(), flags), ["198.18.1.7", "2001:db8:1::7"]);
    let bare = Host::of(interface(7, "s0", &[]), &[]);
    assert!(
        off_link(&bare, "--http 80 --address 198.18.0.7").is_empty(),
        "it has no network to be outside of"
    );
}

#[test]
fn no_peer_has_an_address_of_the_host_or_of_broadcast() {
    let no_peers: Vec<String> = host().no_peers().iter().map(ToString::to_string).collect();
    assert_eq!(no_peers, ["198.18.0.1", "2001:db8::1", "fe80::1", "192.0.2.9", "198.18.0.255"]);
}

/// Behind a balancer another interface has the address of the service, and the packets come through
/// tunnels that end at the addresses of this one.
#[test]
fn an_address_of_another_interface_is_served_through_a_tunnel() {
    let mut host = host();
    let flags = "--http 80 --tunnel ipip --address 192.0.2.9";
    assert!(resolve_on(&host, flags).is_err(), "without adoption it is another interface's");
    let service: IpAddr = "192.0.2.9".parse().unwrap();
    host.adopt(&[service]);
    assert_eq!(
        text(&resolve_on(&host, flags).unwrap()),
        ["192.0.2.9:80", "192.0.2.9:80 127.0.0.1:80 [::1]:80", ""]
    );
    let ends: Vec<String> = host.own_addresses().map(|end| end.to_string()).collect();
    assert_eq!(ends, ["198.18.0.1", "2001:db8::1", "fe80::1"]);
    assert_eq!(host.other_with(service), None);
}

use super::*;

fn port(port: u16) -> Claim {
    Claim::Port(SocketAddr::from(([198, 18, 0, 1], port)))
}

const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 18, 0, 1));

/// The sizes and offsets of bpf/layout.h, read from its text: `struct claim` is a word and then the
/// ports.
#[test]
fn the_layout_is_that_of_the_header() {
    let header = include_str!("../../bpf/layout.h");
    let define = |name: &str| -> usize {
        let line =
            header.lines().find_map(|line| line.strip_prefix("#define ")?.strip_prefix(name));
        line.unwrap_or_else(|| panic!("{name} is defined")).trim().parse().unwrap()
    };
    assert_eq!(define("CLAIM_PORTS "), CLAIM_PORTS);
    assert_eq!(define("CLAIM_DEDICATED "), CLAIM_DEDICATED as usize);
    assert_eq!(define("CLAIM_LEARNS "), CLAIM_LEARNS as usize);
    assert_eq!(define("CLAIM_EARLIER "), CLAIM_EARLIER as usize);
    assert_eq!(define("CLAIM_ADDRESSES "), CLAIM_ADDRESSES);
    let body = |name: &str| -> Vec<&str> {
        let start = header.find(name).unwrap() + name.len();
        let body = &header[start..start + header[start..].find("};").unwrap()];
        body.lines().map(str::trim).filter(|line| !line.is_empty()).collect()
    };
    assert_eq!(body("struct address {"), ["__be32 words[4];"]);
    assert_eq!(size_of::<AddressKey>(), 16);
    assert_eq!(body("struct claim {"), ["__u32 flags;", "__be16 ports[CLAIM_PORTS];"]);
    let mut value = ClaimValue { flags: 0x0403_0201u32.to_le(), ports: [0; CLAIM_PORTS] };
    (value.ports[0], value.ports[CLAIM_PORTS - 1]) = (0x0102u16.to_be(), 0x0304u16.to_be());
    let bytes = value.bytes();
    assert_eq!(bytes.len(), 4 + 2 * CLAIM_PORTS);
    assert_eq!((&bytes[..6], &bytes[bytes.len() - 2..]), (&[1, 2, 3, 4, 1, 2][..], &[3, 4][..]));
}

#[test]
fn an_ipv4_address_is_mapped() {
    let key = address_key(ADDRESS);
    assert_eq!(key, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 198, 18, 0, 1]);
}

#[test]
fn ports_of_one_address_share_an_entry_that_goes_with_the_last() {
    let mut table = ClaimTable::default();
    table.add(port(80)).unwrap();
    let (key, value) = table.add(port(11211)).unwrap();
    assert_eq!(value.ports[..3], [80u16.to_be(), 11211u16.to_be(), 0]);
    assert_eq!(table.add(port(80)).unwrap().1, value, "claiming again changes nothing");
    let (_, left) = table.remove(port(80));
    assert_eq!(left.unwrap().ports[..3], [0, 11211u16.to_be(), 0]);
    table.add(Claim::Dedicated(ADDRESS)).unwrap();
    assert_eq!(table.remove(port(11211)).1.unwrap().flags, CLAIM_DEDICATED);
    assert_eq!(table.remove(Claim::Dedicated(ADDRESS)), (key, None));
    assert_eq!(table.remove(Claim::Dedicated(ADDRESS)), (key, None), "removing what is not there");
    assert_eq!(table.clear().count(), 0);
}

#[test]
fn all_claimed_ports_may_have_connections_of_the_kernel_again() {
    let mut table = ClaimTable::default();
    let v6: SocketAddr = "[2001:db8::1]:443".parse().unwrap();
    let claims = [port(81), port(80), Claim::Port(v6)];
    claims.into_iter().for_each(|claim| _ = table.add(claim).unwrap());
    table.add(Claim::Dedicated("198.18.0.9".parse().unwrap())).unwrap();
    table.settle(ADDRESS).unwrap();
    let again = table.ask_again();
    assert_eq!(again.len(), 2, "a dedicated address is not the kernel's");
    assert!(again.iter().all(|(_, value)| value.flags == CLAIM_EARLIER));
    let mut ports: Vec<SocketAddr> = table.ports().collect();
    ports.sort_unstable();
    assert_eq!(ports, [SocketAddr::new(ADDRESS, 80), SocketAddr::new(ADDRESS, 81), v6]);
}

#[test]
fn a_new_port_may_have_earlier_connections_of_the_kernel() {
    let mut table = ClaimTable::default();
    assert_eq!(table.add(port(80)).unwrap().1.flags, CLAIM_EARLIER);
    assert_eq!(table.plain(), PlainClaim::default());
    assert_eq!(table.settle(ADDRESS).unwrap().1.flags, 0);
    assert_eq!(table.plain().ip, [198, 18, 0, 1]);
    assert_eq!(table.add(port(80)).unwrap().1.flags, 0, "claiming again changes nothing");
    assert_eq!(table.add(port(81)).unwrap().1.flags, CLAIM_EARLIER);
    table.remove(port(80));
    assert_eq!(table.remove(port(81)).1, None, "nothing is left without a port");
    assert_eq!(table.settle(ADDRESS), None);
    assert_eq!(table.add(Claim::Dedicated(ADDRESS)).unwrap().1.flags, CLAIM_DEDICATED);
}

#[test]
fn the_bounds_are_told() {
    let mut table = ClaimTable::default();
    for number in 1..=CLAIM_PORTS as u16 {
        table.add(port(number)).unwrap();
    }
    let error = table.add(port(99)).unwrap_err().to_string();
    assert!(error.contains("198.18.0.1:99") && error.contains("16 ports"), "{error}");
    assert!(table.add(port(0)).unwrap_err().to_string().contains("a port from 1 to 65535"));
    for last in 2..=CLAIM_ADDRESSES as u16 {
        let [high, low] = last.to_be_bytes();
        table.add(Claim::Dedicated(IpAddr::from([198, 18, high, low]))).unwrap();
    }
    let error = table.add(Claim::Dedicated(IpAddr::from([198, 19, 0, 1]))).unwrap_err().to_string();
    assert!(error.contains("256 addresses"), "{error}");
    assert!(
        table.add(Claim::Dedicated(ADDRESS)).is_ok(),
        "an address that has an entry needs no other"
    );
}

#[test]
fn only_what_a_host_can_have_is_claimed() {
    let mut table = ClaimTable::default();
    for (address, is_host) in [
        ("198.18.0.1", true),
        ("223.255.255.254", true),
        ("2001:db8::1", true),
        ("fe80::1", true),
        ("0.0.0.0", false),
        ("0.1.2.3", false),
        ("127.0.0.1", false),
        ("127.255.0.9", false),
        ("224.0.0.1", false),
        ("240.0.0.1", false),
        ("255.255.255.255", false),
        ("::", false),
        ("::1", false),
        ("ff02::1", false),
        ("::ffff:198.18.0.1", false),
    ] {
        let address: IpAddr = address.parse().unwrap();
        assert_eq!(is_host_address(address), is_host, "{address}");
        for claim in [Claim::Dedicated(address), Claim::Port(SocketAddr::new(address, 80))] {
            let added = table.add(claim);
            assert_eq!(added.is_ok(), is_host, "{claim}: {added:?}");
        }
    }
}

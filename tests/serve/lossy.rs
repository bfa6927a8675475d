//! A link that loses packets both ways, between the server and a client over Linux TCP.

use crate::common::need_program;
use crate::site::{LARGE, Plan, Site, Transport};

/// Loses so many packets of a thousand at random, in both directions. The client's end loses them: what AF_XDP takes
/// never comes to a filter of the server's.
fn lose(site: &Site, permille: u32) {
    let rules = format!(
        "table inet loss {{
            chain arriving {{ type filter hook prerouting priority -300; numgen random mod 1000 < {permille} drop; }}
            chain leaving {{ type filter hook postrouting priority 300; numgen random mod 1000 < {permille} drop; }}
        }}"
    );
    site.run_client("nft", &["flush", "ruleset"]);
    site.run_client("nft", &[&rules]);
}

/// RFC 8985, RFC 6675: every byte arrives, and what is lost is found by what arrives after it.
#[test]
fn a_large_file_arrives_whole_however_many_packets_are_lost() {
    if !need_program("curl") || !need_program("nft") {
        return;
    }
    let Some(site) = Plan::new(Transport::Xdp).start() else { return };
    let url = format!("http://{}{LARGE}", site.address());
    let to = tempfile::NamedTempFile::new().unwrap();
    let path = to.path().to_str().unwrap();
    for permille in [1, 10, 30] {
        lose(&site, permille);
        site.run_client("curl", &["-sSf", "--max-time", "60", "-o", path, &url]);
        assert!(
            std::fs::read(path).unwrap() == site.content(LARGE),
            "{permille} of a thousand lost: not what was sent"
        );
    }
    assert!(site.counter("fast_retransmissions") > 0, "nothing was recovered");
    let (again, needless) = (site.counter("retransmissions"), site.counter("dsacks_received"));
    println!("{again} segments sent again, {needless} of them for nothing");
    assert!(needless <= again / 10, "{needless} of {again} repetitions were for nothing");
}

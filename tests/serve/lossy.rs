//! A link that loses packets both ways, between the server and a client over Linux TCP.

use crate::common::{need_program, run_in, seed};
use crate::site::{LARGE, Plan, Site, Transport};
use simoom::Congestion;
use simoom_io::testing::Random;
use std::collections::BTreeSet;

/// Of each thousand packets, loses those that the seed chooses, in each direction others. The
/// client's end loses them: what AF_XDP takes never comes to a filter of the server's.
fn lose(site: &Site, permille: usize, random: &mut Random) {
    let mut chosen = || {
        let mut places = BTreeSet::new();
        while places.len() < permille {
            places.insert(random.below(1000));
        }
        let drops: Vec<String> = places.iter().map(|place| format!("{place} : drop")).collect();
        format!("numgen inc mod 1000 vmap {{ {} }};", drops.join(", "))
    };
    let rules = format!(
        "table inet loss {{
            chain arriving {{ type filter hook prerouting priority -300; {} }}
            chain leaving {{ type filter hook postrouting priority 300; {} }}
        }}",
        chosen(),
        chosen()
    );
    site.run_client("nft", &["flush", "ruleset"]);
    site.run_client("nft", &[&rules]);
}

/// RFC 8985, RFC 6675: every byte arrives, and what is lost is found by what arrives after it. The
/// server's kernel cuts long packets before they are lost: of a file in whole ones, too few are.
#[test]
fn a_large_file_arrives_whole_however_many_segments_are_lost() {
    if !["curl", "nft", "ethtool"].into_iter().all(need_program) {
        return;
    }
    let plan = Plan::new(Transport::Xdp);
    let Some(network) = plan.network() else { return };
    run_in(&network.server, "ethtool", &["-K", "s0", "tso", "off", "gso", "off"]);
    let site = plan.start_in(network);
    let url = format!("http://{}{LARGE}", site.address());
    let to = tempfile::NamedTempFile::new().unwrap();
    let path = to.path().to_str().unwrap();
    let mut random = Random::new(seed());
    for permille in [1, 10, 30] {
        lose(&site, permille, &mut random);
        site.run_client("curl", &["-sSf", "--max-time", "60", "-o", path, &url]);
        assert!(
            std::fs::read(path).unwrap() == site.content(LARGE),
            "{permille} of a thousand lost: not what was sent"
        );
    }
    assert!(site.counter("fast_retransmissions") > 0, "nothing was recovered");
    let [again, needless, timeouts, probes] =
        ["retransmissions", "dsacks_received", "retransmission_timeouts", "loss_probes"]
            .map(|name| site.counter(name));
    println!(
        "{again} segments sent again, {needless} for nothing; {timeouts} timeouts, {probes} probes"
    );
    // What is sent for nothing is asked for by a timer that a busy machine was slow to serve: as in
    // stack/tcp/tests/goodput.rs, a segment for each.
    assert!(
        needless <= again / 10 + timeouts + probes,
        "{needless} of {again} for nothing; {timeouts} timeouts, {probes} probes"
    );
}

/// `--congestion`: each of them brings a file, and BBR through a path without loss too. Whole
/// packets of up to 64 KiB are lost, which the kernel cuts nowhere on a veth pair.
#[test]
fn every_congestion_control_serves_over_a_lossy_link() {
    if !need_program("curl") || !need_program("nft") {
        return;
    }
    let mut random = Random::new(seed());
    for congestion in Congestion::ALL {
        let plan = Plan::new(Transport::Xdp).with(&format!("--http-congestion {congestion}"));
        let Some(site) = plan.start() else { return };
        let url = format!("http://{}{LARGE}", site.address());
        let to = tempfile::NamedTempFile::new().unwrap();
        let path = to.path().to_str().unwrap();
        for permille in [0, 20] {
            if permille > 0 {
                lose(&site, permille, &mut random);
            }
            site.run_client("curl", &["-sSf", "--max-time", "60", "-o", path, &url]);
            assert!(
                std::fs::read(path).unwrap() == site.content(LARGE),
                "{congestion}, {permille} of a thousand lost: not what was sent"
            );
        }
    }
}

use super::*;
use std::net::Ipv4Addr;

fn source(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn exchange(source: IpAddr, received_bytes: usize, answer_bytes: usize) -> Exchange {
    Exchange { source, proven: false, received_bytes, answer_bytes }
}

/// Answer bytes for requests of 20 bytes, each from the next of `sources`, within `ms`.
fn drawn(sources: impl Iterator<Item = IpAddr> + Clone, ms: u64, proven: bool) -> usize {
    let mut credits = Credits::new();
    let mut sources = sources.cycle();
    let mut drawn = 0;
    for at in 0..ms * 20 {
        let answer_bytes = 11_200;
        let source = sources.next().unwrap();
        if credits.take(Exchange { proven, ..exchange(source, 20, answer_bytes) }, at / 20).is_ok()
        {
            drawn += answer_bytes;
        }
    }
    drawn
}

#[test]
fn a_source_is_answered_until_its_credit_is_used_up_and_again_when_time_has_passed() {
    let (mut credits, at) = (Credits::new(), source("198.18.0.2"));
    for _ in 0..6 {
        assert_eq!(credits.take(exchange(at, 0, 11_000), 1000), Ok(()));
    }
    // 66,000 bytes are more than 64 KiB by 464, which takes less than a millisecond.
    assert_eq!(credits.take(exchange(at, 0, 11_000), 1000), Err(UsedUp::Source));
    assert_eq!(credits.take(exchange(at, 0, 11_000), 1001), Ok(()));
}

#[test]
fn an_answer_no_longer_than_its_request_is_always_sent() {
    let (mut credits, at) = (Credits::new(), source("2001:db8::2"));
    assert_eq!(credits.take(exchange(at, 0, 1 << 20), 0), Ok(()));
    for _ in 0..100 {
        assert_eq!(credits.take(exchange(at, 100, 100), 0), Ok(()));
        assert_eq!(credits.take(exchange(at, 100, 101), 0), Err(UsedUp::Source));
    }
}

#[test]
fn credit_is_not_saved_up_beyond_a_burst() {
    let (mut credits, at) = (Credits::new(), source("198.18.0.2"));
    assert_eq!(credits.take(exchange(at, 1 << 30, SOURCE.burst_bytes as usize), u64::MAX), Ok(()));
    assert_eq!(credits.take(exchange(at, 0, 1), u64::MAX), Err(UsedUp::Source));
}

#[test]
fn a_64_of_ipv6_is_one_source() {
    let mut credits = Credits::new();
    while credits.take(exchange(source("2001:db8:0:1::2"), 0, 11_000), 0).is_ok() {}
    assert_eq!(
        credits.take(exchange(source("2001:db8:0:1:ffff::9"), 0, 100), 0),
        Err(UsedUp::Source)
    );
}

#[test]
fn forged_sources_draw_no_more_than_their_network_or_all_sources_may() {
    // One second of the rate, one burst, the growth by the requests, and one answer beyond it.
    let within = |drawn: usize, rate: Rate| {
        let allowed =
            rate.bytes_per_second as usize + rate.burst_bytes as usize + 20_000 * 20 + 11_200;
        assert!(drawn <= allowed, "{drawn} bytes of {allowed}");
    };
    within(
        drawn((1..100).map(|app_driver| Ipv4Addr::new(198, 18, 0, app_driver).into()), 1000, false),
        NETWORK,
    );
    within(drawn((0..200).map(|net| Ipv4Addr::new(198, 18, net, 1).into()), 1000, false), TOTAL);
    let of_56 = (0..200u16).map(|net| source(&format!("2001:db8:0:{net:x}::1")));
    within(drawn(of_56, 1000, false), NETWORK);
    let of_many = (0..200u16).map(|net| source(&format!("2001:db8:{net:x}::1")));
    within(drawn(of_many, 1000, false), TOTAL);
}

#[test]
fn proven_sources_have_their_own_budgets_alone() {
    let networks = (0..64).map(|net| Ipv4Addr::new(198, 18, net, 1).into());
    let least = 32 * SOURCE.burst_bytes as usize;
    let drawn = drawn(networks, 100, true);
    assert!(drawn >= least, "{drawn} bytes, not {least}");
}

#[test]
fn a_flood_leaves_stores_and_proven_sources_alone() {
    let mut credits = Credits::new();
    for at in 0..2000u32 {
        let forged = IpAddr::from(Ipv4Addr::from(0xc612_0000 + at * 256));
        let _ = credits.take(exchange(forged, 20, 11_200), 0);
    }
    let client = source("203.0.113.9");
    assert_eq!(credits.take(exchange(client, 20, 11_200), 0), Err(UsedUp::Total));
    assert_eq!(credits.take(exchange(client, 100, 16), 0), Ok(()));
    assert_eq!(credits.take(Exchange { proven: true, ..exchange(client, 20, 11_200) }, 0), Ok(()));
}

//! Hosts on one link: hardware addresses are found over links that lose and repeat, and an address
//! that two hosts want is noticed.

use simoom_io::{Closed, Duration, Instant};
use simoom_tcp::neighbour::Conflict;
use simoom_tcp::neighbour::probing::Probing;
use simoom_tcp::testing::echo::Echo;
use simoom_tcp::testing::pair::{config, hasty, mapped_to_ipv6, over_ipv6};
use simoom_tcp::testing::{Link, Pair, Quality, seeds};
use simoom_tcp::{
    Address, Config, ConnectError, Limits, NextHop, OwnershipCounts, Packet, Route, Stack,
};

const CONNECTIONS: u16 = 12;
const TOTAL: u64 = 3_000;

fn host(number: u8) -> Address {
    Address::from_v4([198, 18, 0, number])
}

fn on_link() -> Vec<Route> {
    let route = |prefix: &str, len| Route::new(prefix.parse().unwrap(), len, None);
    vec![route("198.18.0.0", 24), route("2001:db8::", 64)]
}

/// A client with an empty neighbour cache on a link of this quality.
fn pair(quality: Quality, seed: u64, ipv6: bool) -> Pair<Echo> {
    let limits = Limits { unresolved: 5, ..Limits::for_connections(64) };
    let client =
        Config { routes: on_link(), neighbour_retry_ms: 100, announces: true, ..hasty(1, limits) };
    let server = Config { announces: true, ..hasty(2, limits) };
    let over = |config: Config| if ipv6 { over_ipv6(&config) } else { config };
    Pair::new(over(client), over(server), quality, seed, || Echo {
        total: TOTAL,
        ..Echo::default()
    })
}

/// Opens all connections, trying again what has to wait or has failed; returns how many have ended.
fn open_all(pair: &mut Pair<Echo>, seed: u64) -> usize {
    let mut next = 0;
    while next < CONNECTIONS {
        match pair.try_connect_routed(40_000 + next) {
            Ok(_) => next += 1,
            Err(ConnectError::Waiting | ConnectError::Unreachable) => {
                assert!(pair.step(), "seed {seed}: it stands still");
            }
            Err(other) => panic!("seed {seed}: {other:?}"),
        }
    }
    let all = usize::from(CONNECTIONS);
    let idle = |pair: &Pair<Echo>| {
        let done =
            pair.client.app.closed.len() == all && pair.client.stack.next_deadline().is_none();
        done && pair.server.stack.ownership() == OwnershipCounts::default()
            && pair.server.stack.next_deadline().is_none()
    };
    assert!(pair.run_until(2_000_000, idle), "seed {seed}: {:?}", pair.client.stack.ownership());
    assert_eq!(pair.client.stack.ownership(), OwnershipCounts::default(), "seed {seed}");
    pair.client
        .app
        .closed
        .iter()
        .filter(|(_, how, received)| (*how, *received) == (Closed::Finished, TOTAL))
        .count()
}

#[test]
fn connections_wait_for_their_next_hop_and_are_all_served() {
    for ipv6 in [false, true] {
        let mut pair =
            pair(Quality { delay: Duration::from_micros(200), ..Quality::default() }, 1, ipv6);
        assert_eq!(open_all(&mut pair, 1), usize::from(CONNECTIONS));
        let (counters, _) = pair.client.stack.counters();
        let asked = (counters.arp_requests_sent, counters.neighbour_solicitations_sent);
        assert_eq!(asked, if ipv6 { (0, 1) } else { (1, 0) });
        assert_eq!((counters.address_announcements, counters.closed_unreachable), (2, 0));
    }
}

#[test]
fn whatever_the_link_does_each_connection_ends_and_nothing_waits_for_ever() {
    let (mut served, mut unreachable) = (0, 0);
    for seed in seeds(150) {
        let loss = (seed % 7 * 100) as u32;
        let quality = Quality {
            loss,
            duplicate: 100,
            reorder: 200,
            delay: Duration::from_micros(300),
            ..Quality::default()
        };
        let mut pair = pair(quality, seed, seed % 3 == 0);
        served += open_all(&mut pair, seed);
        unreachable += pair.client.stack.counters().0.closed_unreachable;
    }
    assert!(served > 300 && unreachable > 0, "{served} served, {unreachable} without a next hop");
}

#[test]
fn the_way_is_told_before_anything_is_opened() {
    let mut pair =
        pair(Quality { delay: Duration::from_micros(200), ..Quality::default() }, 1, false);
    let ask = |pair: &mut Pair<Echo>, remote| {
        let (now, client) = (pair.now, &mut pair.client);
        client.out.now = now;
        client.stack.next_hop(now, &host(1), &remote, &mut client.out)
    };
    assert_eq!(ask(&mut pair, Address::from_v4([198, 19, 0, 1])), NextHop::NoRoute);
    assert_eq!(
        (ask(&mut pair, host(2)), ask(&mut pair, host(3))),
        (NextHop::Awaited, NextHop::Awaited)
    );
    let until = pair.now + Duration::from_millis(710);
    pair.run_until(10_000, |pair| pair.now >= until);
    assert_eq!(
        (ask(&mut pair, host(2)), ask(&mut pair, host(3))),
        (NextHop::Known([2, 0, 0, 0, 0, 2]), NextHop::Unreachable)
    );
}

/// A host that probes `addresses`, and the link that its probes enter.
struct Asker {
    probing: Probing,
    out: Link,
    asked: Vec<(Instant, Vec<u8>)>,
}

impl Asker {
    fn new(number: u8, addresses: Vec<Address>) -> Asker {
        let (mac, secret) = ([2, 0, 0, 0, 0, number], [u64::from(number), 7, 7, 7]);
        let probing = Probing::new(mac, addresses, secret, Duration::from_secs(1), Instant::ZERO);
        Asker { probing, out: Link::new(Quality::default(), 128, 1), asked: Vec::new() }
    }

    fn act(&mut self, now: Instant) {
        self.out.now = now;
        self.probing.poll(now, &mut self.out);
        while let Some(frame) = self.out.arrive() {
            self.asked.push((now, frame));
        }
    }
}

#[test]
fn rfc_5227_section_2_1_1_a_free_address_is_asked_for_three_times_and_then_used() {
    let mut asker = Asker::new(1, vec![host(7), host(8)]);
    while let Some(at) = asker.probing.next_at() {
        asker.act(at);
        asker.act(at);
    }
    let times: Vec<i64> = asker.asked.iter().map(|(at, _)| at.total_millis()).collect();
    assert_eq!(times.len(), 6, "two addresses, three times");
    assert!((0..1000).contains(&times[0]) && times[0] == times[1]);
    for between in [times[2] - times[0], times[4] - times[2]] {
        assert!((1000..2001).contains(&between), "{times:?}");
    }
    assert_eq!(asker.probing.next_at(), None);
    let other = Asker::new(2, vec![host(7)]);
    assert_ne!(
        other.probing.next_at(),
        Asker::new(1, vec![host(7)]).probing.next_at(),
        "hosts do not ask at once"
    );
}

#[test]
fn rfc_5227_section_2_1_1_an_address_that_another_host_has_or_wants_is_a_conflict() {
    conflicts(host(2), host(9), config(2, Limits::for_connections(1)));
}

#[test]
fn rfc_4862_section_5_4_an_address_that_another_host_has_or_wants_is_a_duplicate() {
    let owner = over_ipv6(&config(2, Limits::for_connections(1)));
    conflicts(mapped_to_ipv6(&host(2)), mapped_to_ipv6(&host(9)), owner);
}

/// Probes for `theirs`, which `owner` has.
fn conflicts(theirs: Address, other: Address, owner: Config) {
    let mut asker = Asker::new(1, vec![theirs]);
    let at = asker.probing.next_at().unwrap();
    asker.act(at);
    let (_, question) = &asker.asked[0];
    assert_eq!(asker.probing.on_frame(question), Ok(()), "one's own question");

    // A host that has the address answers, and when it starts announces it.
    let mut owner = Stack::<Echo>::new(Config { announces: true, ..owner }, at);
    let mut back = Link::new(Quality::default(), 128, 1);
    back.now = at;
    owner.receive(at, &[Packet(&[question])], &mut Echo::default(), &mut back);
    let answer = back.arrive().expect("an answer");
    back.now = at + Duration::from_millis(2);
    owner.expire(back.now, &mut Echo::default(), &mut back);
    let announcement = back.arrive().expect("an announcement");
    for said in [&answer, &announcement] {
        let conflict = asker.probing.on_frame(said).unwrap_err();
        assert_eq!(conflict, Conflict { address: theirs, mac: [2, 0, 0, 0, 0, 2] });
        assert_eq!(conflict.to_string(), format!("{theirs}, at 02:00:00:00:00:02"));
        assert_eq!(Asker::new(3, vec![other]).probing.on_frame(said), Ok(()), "another's address");
        for cut in 0..said.len() {
            assert_eq!(
                asker.probing.on_frame(&said[..cut]),
                Ok(()),
                "a part of a packet says nothing"
            );
        }
    }

    // A host that probes for it at the same time has the same right to it.
    let mut rival = Asker::new(3, vec![theirs]);
    rival.act(rival.probing.next_at().unwrap());
    let conflict = Conflict { address: theirs, mac: [2, 0, 0, 0, 0, 3] };
    assert_eq!(asker.probing.on_frame(&rival.asked[0].1), Err(conflict));
}

#[test]
fn rfc_4861_section_7_2_6_an_advertisement_of_our_address_is_answered_by_ours() {
    let [ours, theirs] = [[2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 9]];
    let at = Instant::from_millis(1000);
    let config = over_ipv6(&config(2, Limits::for_connections(1)));
    let mut stack = Stack::<Echo>::new(config.clone(), at);
    let mut intruder = Stack::<Echo>::new(Config { mac: theirs, announces: true, ..config }, at);
    let mut wire = Link::new(Quality::default(), 128, 1);
    wire.now = at + Duration::from_millis(2);
    intruder.expire(wire.now, &mut Echo::default(), &mut wire);
    let claim = wire.arrive().expect("an announcement");
    for (answers, conflicts) in [(1, 1), (1, 2)] {
        stack.receive(wire.now, &[Packet(&[&claim])], &mut Echo::default(), &mut wire);
        let (counters, _) = stack.counters();
        assert_eq!((counters.address_defences, counters.address_conflicts), (answers, conflicts));
    }
    let defence = wire.arrive().expect("our announcement");
    assert_eq!(
        Asker::new(1, vec![mapped_to_ipv6(&host(2))]).probing.on_frame(&defence).unwrap_err().mac,
        ours
    );
    assert_eq!(stack.take_conflict().map(|conflict| conflict.mac), Some(theirs));
    assert!(wire.arrive().is_none() && stack.take_conflict().is_none());
}

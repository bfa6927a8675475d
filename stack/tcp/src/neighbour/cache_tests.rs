use super::*;

const RETRY_MS: u32 = 1000;
const FIRST: Mac = [2, 0, 0, 0, 0, 1];
const SECOND: Mac = [2, 0, 0, 0, 0, 2];

fn host(number: u8) -> Address {
    Address::from_v4([198, 18, 0, number])
}

/// A cache with the time and what it asked.
struct Bench {
    cache: Cache,
    now: Tick,
    asked: Vec<(u32, u8, State)>,
}

impl Bench {
    fn new(capacity: u32) -> Bench {
        Bench {
            cache: Cache::new(capacity, RETRY_MS, Keyed::new([1, 2, 3, 4])),
            now: Tick::from_millis(10_000),
            asked: Vec::new(),
        }
    }

    /// Lets time pass, and the cache handle its timers.
    fn pass(&mut self, millis: u32) -> u64 {
        let (until, mut failed) = (self.now.plus(millis), 0);
        loop {
            let next = self.cache.next_at();
            if next == Tick::NEVER || next.until(until) < 0 {
                break;
            }
            self.now = if next.is_sooner_than(self.now) { self.now } else { next };
            let (now, asked) = (self.now, &mut self.asked);
            failed += self.cache.expire(now, |entry| {
                asked.push((now.millis() - 10_000, entry.address.v4()[3], entry.state));
                true
            });
        }
        self.now = until;
        failed
    }

    fn look_up(&mut self, number: u8) -> Lookup {
        self.cache.look_up(&host(number), &host(9), self.now)
    }

    fn update(&mut self, number: u8, mac: Mac, kind: Advertised) -> bool {
        self.cache.update(&host(number), &mac, kind, self.now)
    }

    fn state(&self, number: u8) -> State {
        self.cache
            .position(&host(number))
            .map_or(State::Free, |index| self.cache.entries[index].state)
    }

    /// A neighbour in `state`, at FIRST.
    fn in_state(state: State) -> Bench {
        let mut bench = Bench::new(4);
        assert!(matches!(bench.look_up(1), Lookup::Awaited(_)));
        bench.pass(0);
        if state == State::Incomplete {
            return bench;
        }
        if state == State::Failed {
            assert_eq!(bench.pass(7_000), 1);
            return bench;
        }
        assert!(bench.update(1, FIRST, Advertised::Solicited));
        if state == State::Reachable {
            bench.pass(LOCK_MS);
            return bench;
        }
        bench.pass(2 * REACHABLE_MS);
        // Seen when it is looked up, and then it is in use.
        assert_eq!((bench.look_up(1), bench.state(1)), (Lookup::Known(FIRST), State::Delay));
        match state {
            State::Probe => _ = bench.pass(DELAY_MS),
            State::Stale => {
                bench.update(1, SECOND, Advertised::Unsolicited);
                bench.update(1, FIRST, Advertised::Unsolicited);
            }
            _ => {}
        }
        assert_eq!(bench.state(1), state);
        bench
    }
}

#[test]
fn rfc_4861_section_7_2_2_a_neighbour_is_asked_for_three_times_then_is_given_up() {
    let mut bench = Bench::in_state(State::Incomplete);
    assert_eq!(bench.pass(6_999), 0);
    let asked = |at| (at, 1, State::Incomplete);
    assert_eq!(bench.asked, [asked(0), asked(1_000), asked(3_000)]);
    assert!(matches!(bench.look_up(1), Lookup::Awaited(_)));
    assert_eq!((bench.pass(1), bench.look_up(1)), (1, Lookup::Failed));
    // No solicitation for the retry time, then the next lookup starts one.
    bench.pass(RETRY_MS);
    assert!(matches!(bench.look_up(1), Lookup::Awaited(_)));
    bench.pass(0);
    assert_eq!(bench.asked.len(), 4);
}

#[test]
fn rfc_4861_section_7_3_3_an_unconfirmed_neighbour_in_use_is_asked_and_asks_nothing_while_unused() {
    let mut bench = Bench::in_state(State::Reachable);
    bench.pass(10 * REACHABLE_MS);
    assert_eq!(bench.asked.len(), 1, "nobody uses it");
    assert_eq!(bench.look_up(1), Lookup::Known(FIRST));
    bench.pass(DELAY_MS - 1);
    assert_eq!((bench.asked.len(), bench.state(1)), (1, State::Delay));
    bench.pass(1);
    assert_eq!((bench.asked.len(), bench.state(1)), (2, State::Probe));
    assert_eq!(bench.look_up(1), Lookup::Known(FIRST), "it is used meanwhile");
    bench.update(1, FIRST, Advertised::Solicited);
    assert_eq!((bench.state(1), bench.cache.next_at()), (State::Reachable, Tick::NEVER));
}

#[test]
fn rfc_4861_section_7_3_3_a_neighbour_that_answers_no_probe_is_forgotten() {
    let mut bench = Bench::in_state(State::Probe);
    bench.asked.clear();
    assert_eq!(bench.pass(7_000), 0);
    assert!(bench.asked.len() == 2 && bench.state(1) == State::Free, "{:?}", bench.asked);
    assert!(matches!(bench.look_up(1), Lookup::Awaited(_)), "everybody is asked for it");
}

#[test]
fn rfc_4861_section_7_3_1_an_answer_to_what_was_sent_through_a_neighbour_confirms_it() {
    for state in [State::Stale, State::Delay, State::Probe, State::Reachable] {
        let mut bench = Bench::in_state(state);
        bench.cache.reached(&FIRST, bench.now);
        assert_eq!(bench.state(1), State::Reachable, "{state:?}");
    }
    for state in [State::Incomplete, State::Failed] {
        let mut bench = Bench::in_state(state);
        bench.cache.reached(&[0; 6], bench.now);
        assert_eq!(bench.state(1), state);
    }
}

/// Updates by a neighbour's packets, by state (RFC 4861 §7.2.3 and §7.2.5, as far as ARP allows).
#[test]
fn packets_change_the_state_as_the_table_says() {
    for (state, mac, how, then, at) in [
        (State::Incomplete, FIRST, Advertised::Solicited, State::Reachable, FIRST),
        (State::Incomplete, FIRST, Advertised::Unsolicited, State::Delay, FIRST),
        (State::Reachable, FIRST, Advertised::Unsolicited, State::Reachable, FIRST),
        (State::Reachable, SECOND, Advertised::Unsolicited, State::Stale, SECOND),
        (State::Reachable, SECOND, Advertised::Solicited, State::Stale, SECOND),
        (State::Stale, SECOND, Advertised::Solicited, State::Stale, SECOND),
        (State::Stale, FIRST, Advertised::Unsolicited, State::Stale, FIRST),
        (State::Delay, FIRST, Advertised::Unsolicited, State::Delay, FIRST),
        (State::Delay, SECOND, Advertised::Unsolicited, State::Stale, SECOND),
        (State::Probe, FIRST, Advertised::Solicited, State::Reachable, FIRST),
        (State::Probe, SECOND, Advertised::Solicited, State::Reachable, SECOND),
        (State::Probe, FIRST, Advertised::Unsolicited, State::Probe, FIRST),
        (State::Probe, SECOND, Advertised::Unsolicited, State::Stale, SECOND),
        (State::Failed, FIRST, Advertised::Unsolicited, State::Failed, [0; 6]),
        (State::Failed, FIRST, Advertised::Solicited, State::Failed, [0; 6]),
    ] {
        let mut bench = Bench::in_state(state);
        assert!(bench.update(1, mac, how));
        assert_eq!(
            (bench.state(1), bench.cache.entries[0].mac),
            (then, at),
            "{state:?}, {how:?} of {mac:?}"
        );
    }
}

#[test]
fn an_address_just_confirmed_is_not_moved_by_who_was_not_asked() {
    let mut bench = Bench::in_state(State::Incomplete);
    bench.update(1, FIRST, Advertised::Solicited);
    for how in [Advertised::Solicited, Advertised::Unsolicited] {
        bench.update(1, SECOND, how);
        assert_eq!((bench.state(1), bench.look_up(1)), (State::Reachable, Lookup::Known(FIRST)));
    }
}

#[test]
fn strangers_make_no_entries() {
    let mut bench = Bench::new(4);
    assert!(
        !bench.update(1, FIRST, Advertised::Unsolicited)
            && !bench.update(1, FIRST, Advertised::Solicited)
    );
    assert!(bench.state(1) == State::Free && bench.cache.next_at() == Tick::NEVER);
}

#[test]
fn a_full_table_forgets_the_neighbour_used_longest_ago_but_none_that_is_asked_for() {
    let mut bench = Bench::new(2);
    for number in [1, 2] {
        bench.look_up(number);
        bench.update(number, FIRST, Advertised::Solicited);
        bench.pass(10);
    }
    bench.look_up(1);
    bench.pass(10);
    assert!(matches!(bench.look_up(3), Lookup::Awaited(_)));
    assert_eq!(
        (bench.state(1), bench.state(2), bench.state(3)),
        (State::Reachable, State::Free, State::Incomplete)
    );
    assert!(matches!(bench.look_up(4), Lookup::Awaited(_)));
    assert_eq!(
        (bench.look_up(5), bench.state(3), bench.state(4)),
        (Lookup::Full, State::Incomplete, State::Incomplete)
    );
}

#[test]
fn a_question_without_a_frame_is_asked_soon_and_not_counted() {
    let mut bench = Bench::new(2);
    bench.look_up(1);
    let now = bench.now;
    assert_eq!(bench.cache.expire(now, |_| false), 0);
    assert_eq!(bench.cache.next_at(), now.plus(NO_FRAME_MS));
    bench.pass(20_000);
    assert_eq!(bench.asked.len(), 3);
}

#[test]
fn rfc_4861_section_7_3_3_a_probe_solicits_the_neighbour_at_once_but_not_just_confirmed() {
    for (state, then) in [
        (State::Reachable, State::Probe),
        (State::Stale, State::Probe),
        (State::Probe, State::Probe),
    ] {
        let mut bench = Bench::in_state(state);
        if state == State::Reachable {
            bench.cache.confirm(0, bench.now);
            assert_eq!(bench.cache.probe(&host(1), &host(9), bench.now), Lookup::Known(FIRST));
            bench.pass(RETRY_MS);
            assert_eq!(bench.state(1), state, "it was confirmed just now");
        }
        let before = bench.asked.len();
        assert_eq!(bench.cache.probe(&host(1), &host(9), bench.now), Lookup::Known(FIRST));
        bench.pass(0);
        assert_eq!(
            (bench.state(1), bench.asked.len() - before),
            (then, usize::from(state != State::Probe)),
            "{state:?}"
        );
    }
}

/// Each row: the state, the hardware address and the flags of an advertisement, then the state and
/// the hardware address that follow.
#[test]
fn rfc_4861_section_7_2_5_an_advertisement_without_override_moves_no_neighbour() {
    use Advertised::{Solicited, Unsolicited};
    let rows = [
        // Without an address there is nothing to send to.
        (State::Incomplete, None, (Solicited, true), State::Incomplete, [0; 6]),
        (State::Incomplete, Some(SECOND), (Solicited, false), State::Reachable, SECOND),
        (State::Incomplete, Some(SECOND), (Unsolicited, false), State::Delay, SECOND),
        (State::Reachable, Some(SECOND), (Unsolicited, false), State::Stale, FIRST),
        (State::Reachable, Some(SECOND), (Unsolicited, true), State::Stale, SECOND),
        (State::Reachable, Some(FIRST), (Unsolicited, false), State::Reachable, FIRST),
        (State::Stale, Some(SECOND), (Solicited, false), State::Stale, FIRST),
        (State::Stale, Some(SECOND), (Unsolicited, true), State::Stale, SECOND),
        (State::Probe, Some(SECOND), (Solicited, false), State::Probe, FIRST),
        (State::Probe, Some(SECOND), (Solicited, true), State::Reachable, SECOND),
        (State::Probe, Some(FIRST), (Solicited, false), State::Reachable, FIRST),
        (State::Probe, None, (Solicited, false), State::Reachable, FIRST),
    ];
    for (before, mac, flags, after, then) in rows {
        let mut bench = Bench::in_state(before);
        bench.now = bench.now.plus(LOCK_MS);
        assert!(bench.cache.advertised(&host(1), mac, flags, bench.now));
        let index = bench.cache.position(&host(1)).expect("the entry stays");
        let entry = bench.cache.get(index);
        assert_eq!((entry.state, entry.mac), (after, then), "{before:?}, {mac:?}, {flags:?}");
    }
    assert!(!Bench::new(2).cache.advertised(&host(1), Some(FIRST), (Solicited, true), Tick::NEVER));
}

use super::super::conn::State;
use super::*;
use std::net::Ipv4Addr;
use std::sync::atomic::AtomicBool;

const HEARD: Doing = Doing { at: 1000, state: State::Read };

/// Ends that tell their number in every part.
fn ends(number: u32) -> Ends {
    let remote = SocketAddr::new(Ipv4Addr::from_bits(number).into(), number as u16);
    Ends { remote, local: SocketAddr::new(Ipv4Addr::from_bits(!number).into(), !number as u16) }
}

/// Everybody, in order.
fn all(roster: &Roster) -> Vec<(usize, Ends)> {
    let mut from = 0;
    std::iter::from_fn(|| {
        let place = roster.next(from)?;
        from = place + 1;
        Some((place, roster.get(place)?.0))
    })
    .collect()
}

#[test]
fn who_has_entered_is_told_until_they_leave() {
    let mut registrar = Registrar::new(130);
    let roster = registrar.roster().clone();
    assert_eq!((all(&roster), roster.places()), (vec![], 130));
    let mut places = Vec::new();
    for number in 0..130 {
        places.push(registrar.enter(ends(number), HEARD).unwrap());
    }
    assert_eq!(registrar.enter(ends(130), HEARD), None, "there is no place left");
    assert_eq!(
        all(&roster),
        (0..130).map(|number| (number as usize, ends(number))).collect::<Vec<_>>()
    );
    places.drain(..129).for_each(|place| registrar.leave(place));
    assert_eq!(all(&roster), [(129, ends(129))]);
    assert!(registrar.enter(ends(7), HEARD).is_some());
    assert_eq!(all(&roster), [(128, ends(7)), (129, ends(129))]);
    assert_eq!((roster.next(130), roster.next(1000)), (None, None));
}

#[test]
fn what_a_connection_is_doing_is_told() {
    let mut registrar = Registrar::new(1);
    let place = registrar.enter(ends(1), HEARD).unwrap();
    let doing = Doing { at: u32::MAX, state: State::Mwrite };
    registrar.tell(&place, doing);
    assert_eq!(registrar.roster().get(0), Some((ends(1), doing)));
}

#[test]
fn addresses_of_both_versions_come_back() {
    let mut registrar = Registrar::new(1);
    let six =
        Ends { remote: "[2001:db8::7]:65535".parse().unwrap(), local: "[::1]:1".parse().unwrap() };
    registrar.enter(six, HEARD).unwrap();
    assert_eq!(registrar.roster().get(0).map(|(ends, _)| ends), Some(six));
}

/// Whoever reads while connections come and go sees none that never was.
#[test]
fn a_record_that_changes_is_not_read_by_halves() {
    const ROUNDS: u32 = if cfg!(miri) { 300 } else { 100_000 };
    let mut registrar = Registrar::new(2);
    let roster = registrar.roster().clone();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut seen = 0;
            while !is_over.load(Relaxed) || seen == 0 {
                for place in [0, 1].into_iter().filter(|place| roster.next(*place) == Some(*place))
                {
                    let Some((told, doing)) = roster.get(place) else { continue };
                    let number = doing.at;
                    assert_eq!(told, ends(number));
                    seen += 1;
                }
            }
            seen
        });
        let enter = |registrar: &mut Registrar, number| {
            registrar.enter(ends(number), Doing { at: number, ..HEARD })
        };
        let mut places = vec![enter(&mut registrar, 0).unwrap(), enter(&mut registrar, 1).unwrap()];
        for number in 2..ROUNDS {
            registrar.leave(places.remove(0));
            places.push(enter(&mut registrar, number).unwrap());
        }
        is_over.store(true, Relaxed);
        assert!(reader.join().unwrap() > 0);
    });
}

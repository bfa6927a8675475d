use super::super::connection::State;
use super::*;
use std::net::Ipv4Addr;
use std::sync::atomic::AtomicBool;

const HEARD: Activity = Activity { at: 1000, state: State::Read };

/// Ends that tell their number in every part.
fn ends(number: u32) -> Ends {
    let remote = SocketAddr::new(Ipv4Addr::from_bits(number).into(), number as u16);
    Ends { remote, local: SocketAddr::new(Ipv4Addr::from_bits(!number).into(), !number as u16) }
}

/// Everybody, in order.
fn all(connection_table: &ConnectionTable) -> Vec<(usize, Ends)> {
    let mut from = 0;
    std::iter::from_fn(|| {
        let slot = connection_table.next(from)?;
        from = slot + 1;
        Some((slot, connection_table.get(slot)?.0))
    })
    .collect()
}

#[test]
fn who_has_entered_is_told_until_they_leave() {
    let mut table_writer = TableWriter::new(130);
    let connection_table = table_writer.connection_table().clone();
    assert_eq!((all(&connection_table), connection_table.slots()), (vec![], 130));
    let mut slots = Vec::new();
    for number in 0..130 {
        slots.push(table_writer.enter(ends(number), HEARD).unwrap());
    }
    assert_eq!(table_writer.enter(ends(130), HEARD), None, "there is no slot left");
    assert_eq!(
        all(&connection_table),
        (0..130).map(|number| (number as usize, ends(number))).collect::<Vec<_>>()
    );
    slots.drain(..129).for_each(|slot| table_writer.leave(slot));
    assert_eq!(all(&connection_table), [(129, ends(129))]);
    assert!(table_writer.enter(ends(7), HEARD).is_some());
    assert_eq!(all(&connection_table), [(128, ends(7)), (129, ends(129))]);
    assert_eq!((connection_table.next(130), connection_table.next(1000)), (None, None));
}

#[test]
fn what_a_connection_is_doing_is_told() {
    let mut table_writer = TableWriter::new(1);
    let slot = table_writer.enter(ends(1), HEARD).unwrap();
    let activity = Activity { at: u32::MAX, state: State::Mwrite };
    table_writer.set_activity(&slot, activity);
    assert_eq!(table_writer.connection_table().get(0), Some((ends(1), activity)));
}

#[test]
fn addresses_of_both_versions_come_back() {
    let mut table_writer = TableWriter::new(1);
    let six =
        Ends { remote: "[2001:db8::7]:65535".parse().unwrap(), local: "[::1]:1".parse().unwrap() };
    table_writer.enter(six, HEARD).unwrap();
    assert_eq!(table_writer.connection_table().get(0).map(|(ends, _)| ends), Some(six));
}

/// Whoever reads while connections come and go sees none that never was.
#[test]
fn a_record_that_changes_is_not_read_by_halves() {
    const ROUNDS: u32 = if cfg!(miri) { 300 } else { 100_000 };
    let mut table_writer = TableWriter::new(2);
    let connection_table = table_writer.connection_table().clone();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut seen = 0;
            while !is_over.load(Relaxed) || seen == 0 {
                for slot in
                    [0, 1].into_iter().filter(|slot| connection_table.next(*slot) == Some(*slot))
                {
                    let Some((told, activity)) = connection_table.get(slot) else { continue };
                    let number = activity.at;
                    assert_eq!(told, ends(number));
                    seen += 1;
                }
            }
            seen
        });
        let enter = |table_writer: &mut TableWriter, number| {
            table_writer.enter(ends(number), Activity { at: number, ..HEARD })
        };
        let mut slots =
            vec![enter(&mut table_writer, 0).unwrap(), enter(&mut table_writer, 1).unwrap()];
        for number in 2..ROUNDS {
            table_writer.leave(slots.remove(0));
            slots.push(enter(&mut table_writer, number).unwrap());
        }
        is_over.store(true, Relaxed);
        assert!(reader.join().unwrap() > 0);
    });
}

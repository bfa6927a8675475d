use super::*;

/// A megabyte that is always there, and for each connection 1000 bytes and a place in a table of a
/// power of two.
fn plan(connections: u32) -> Plan {
    let connections = connections as usize;
    Plan::new().add("content", 1, 1 << 20).add("connections", connections, 1000).add(
        "table of connections",
        connections.next_power_of_two(),
        8,
    )
}

fn refusal(limit: Limit, connections: u32) -> String {
    match check(limit, connections, plan).unwrap_err() {
        Error::Usage(text) => text,
        other => panic!("{other:?}"),
    }
}

/// The number in a refusal's "--connections N would fit".
fn suggested(text: &str) -> u32 {
    let rest = text.split("--connections ").last().unwrap();
    rest.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_plan_adds_up() {
    let plan = plan(1000);
    assert_eq!(plan.total_bytes(), (1 << 20) + 1_000_000 + 1024 * 8);
    assert_eq!(plan.rows().iter().map(Row::bytes).sum::<u64>(), plan.total_bytes());
}

#[test]
fn a_plan_at_the_limit_is_taken_and_one_byte_less_is_refused() {
    let needed = plan(1000).total_bytes();
    assert_eq!(check(Limit::Flag(needed), 1000, plan), Ok(plan(1000)));
    assert!(refusal(Limit::Flag(needed - 1), 1000).contains("--memory-limit"));
}

#[test]
fn the_suggested_number_fits_and_the_next_does_not() {
    for limit in [1_100_000, 2_000_000, 3_333_333, 10_000_000] {
        let limit = Limit::Flag(limit);
        let most = suggested(refusal(limit, 1_000_000).lines().next().unwrap());
        assert!(check(limit, most, plan).is_ok(), "{most} connections within {limit:?}");
        assert!(check(limit, most + 1, plan).is_err(), "{} connections within {limit:?}", most + 1);
    }
}

#[test]
fn the_suggested_limit_is_enough() {
    let text = refusal(Limit::Flag(2 << 20), 100_000);
    let megabytes: u64 = text
        .split("give --memory-limit ")
        .nth(1)
        .unwrap()
        .split('M')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!(check(Limit::Flag(megabytes << 20), 100_000, plan).is_ok());
    assert!(check(Limit::Flag((megabytes - 1) << 20), 100_000, plan).is_err());
}

#[test]
fn a_limit_below_one_connection_says_so() {
    assert!(refusal(Limit::Flag(1 << 20), 10).contains("even one connection needs 1.0 MiB"));
    assert!(refusal(Limit::Flag(1 << 20), 1).contains("even one connection"));
}

#[test]
fn without_a_flag_the_machine_is_the_limit() {
    let Limit::Machine(bytes) = Limit::from_flag(None) else { panic!("no flag was given") };
    assert!(bytes > 1 << 26, "this machine has {bytes} bytes");
    let text = refusal(Limit::Machine(64 << 20), 1_000_000);
    assert!(
        text.starts_with("--connections 1000000: they need") && text.contains("has 64.0 MiB"),
        "{text}"
    );
}

#[test]
fn a_store_larger_than_the_machine_is_to_blame_and_not_the_connections() {
    let plan = |connections| plan(connections).add(STORE, 1, 1 << 40);
    let text = check(Limit::Machine(1 << 30), 1000, plan).unwrap_err().to_string();
    let expected = "even one connection needs 1.0 TiB, of which store of memcached (--memory) takes \
                    1.0 TiB, and this machine has 1.0 GiB\n";
    assert!(text.starts_with(expected), "{text}");
}

#[test]
fn a_limit_of_the_system_is_named_with_what_fits_and_how_to_raise_it() {
    let bound = |limit_bytes, used_bytes| Bound {
        name: "RLIMIT_AS".into(),
        limit_bytes,
        used_bytes,
        remedy: "raise it (ulimit -v)",
    };
    let needed = plan(1000).total_bytes();
    assert_eq!(check_bound(&bound(needed + 5, 5), 1000, plan), Ok(()));
    let refusal = |bound| check_bound(&bound, 1000, plan).unwrap_err().to_string();
    let text = refusal(bound(needed + 5, 6));
    assert!(
        text.starts_with("--connections 1000: they need ") && text.contains("RLIMIT_AS of "),
        "{text}"
    );
    assert!(
        text.contains("; --connections 9") && text.contains("would fit, or raise it (ulimit -v)\n"),
        "{text}"
    );
    let text = refusal(bound(1 << 20, 0));
    assert!(
        text.contains(
            "even one connection needs 1.0 MiB, of which content takes 1.0 MiB, and RLIMIT_AS of 1.0 \
             MiB leaves 1.0 MiB; lower that, or raise it"
        ),
        "{text}"
    );
}

#[test]
fn absurd_counts_do_not_overflow() {
    let plan = Plan::new().add("a", usize::MAX, usize::MAX).add("b", usize::MAX, 2);
    assert_eq!(plan.total_bytes(), u64::MAX);
}

#[test]
fn the_table_is_aligned() {
    let text = plan(1000).add("rings of no queue", 1, 0).to_string();
    let expected = "\
content                        1  ×      1.0 MiB       1.0 MiB
connections                 1000  ×       1000 B     976.6 KiB
table of connections        1024  ×          8 B       8.0 KiB
memory in all                                          2.0 MiB";
    assert_eq!(text, expected);
}

#[test]
fn bytes_read_well() {
    for (bytes, text) in [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        ((1 << 20) - 1, "1024.0 KiB"),
        (1 << 20, "1.0 MiB"),
        (5 << 30, "5.0 GiB"),
        (u64::MAX, "16.0 EiB"),
    ] {
        assert_eq!(Bytes(bytes).to_string(), text);
    }
}

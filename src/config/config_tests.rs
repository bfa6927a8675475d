use super::cores::ranges;
use super::*;
use crate::app::disk;
use crate::cli;

const CORES: &[usize] = &[0, 1, 2, 3];

/// What `simoom serve` with these flags, separated by spaces, comes to on a machine with four
/// cores.
fn serve(flags: &str) -> Result<Serve> {
    serve_in(None, flags)
}

/// The same where the environment names a level for the log.
fn serve_in(environment: Option<LogLevel>, flags: &str) -> Result<Serve> {
    let arguments = ["simoom", "serve"].into_iter().chain(flags.split_whitespace());
    let matches = cli::command().try_get_matches_from(arguments).unwrap();
    Serve::from_matches(matches.subcommand_matches("serve").unwrap(), environment, CORES)
}

/// Reads `[ADDR:]PORT`.
fn endpoint(text: &str) -> Endpoint {
    values::endpoint(text).unwrap()
}

#[test]
fn without_flags_a_page_on_loopback() {
    let serve = serve("").unwrap();
    assert_eq!(serve.http, Some(endpoint("127.0.0.1:8080")));
    let memcached = Memcached {
        endpoint: endpoint("127.0.0.1:11211"),
        udp: None,
        optional: true,
        memory_bytes: 64 << 20,
        item_max_bytes: 1 << 20,
        idle: Duration::from_secs(3600),
    };
    assert_eq!(serve.memcached, Some(memcached));
    assert_eq!((serve.interface, serve.content.site.root, serve.admin), (None, None, None));
    assert_eq!(serve.cores, CORES);
    assert_eq!(serve.connections, CONNECTIONS_DEFAULT);
    assert_eq!(
        (serve.transport, serve.xdp_mode, serve.busy_poll),
        (Transport::Auto, XdpMode::Auto, false)
    );
    assert_eq!((serve.ecn, serve.timeouts), (Ecn::Accept, TIMEOUTS_DEFAULT));
}

#[test]
fn every_flag_arrives() {
    let serve = serve(
        "--interface s0 --http 8081 --memcached 8082 --memcached-udp 8083 --memory 1G --item-size-max 512K --root / --dotfiles \
         --compress --autoindex --fallback /index.html --watch=false \
         --access-log a.log --access-log-format json --proxy-protocol 10.0.0.0/8 --trusted-proxy ::1 \
         --address 198.18.0.1 --address 2001:db8::1 --address-probe 300ms --tunnel ipip --tunnel gue:5555 --cores 0,2 \
         --connections 100000 --http-connections 60000 --memcached-connections 70000 \
         --connections-per-prefix 50 --prefix-length-v4 32 --prefix-length-v6 56 --transport xdp --xdp-mode generic --tx-checksum software --segmentation-offload on --ecn off --busy-poll --on-interface-change end \
         --congestion newreno --http-congestion cubic --memcached-congestion newreno \
         --memory-limit 2G --log json \
         --log-level debug --admin 9100 --header-timeout 1 --idle-timeout 2 --send-timeout 3 --drain-timeout 4 \
         --http-send-timeout 10s --memcached-send-timeout 11s --http-tcp-keepalive 12s \
         --memcached-tcp-keepalive 0 --tcp-keepalive 5 --memcached-idle-timeout 6s --http-head-size 4K --http-line-size 1K \
         --http-body-size 2M --http-requests 7 --http-pipeline 8 --body-timeout 9s \
         --large-file-size 10M --file-threads 3 --file-buffers 48M",
    )
    .unwrap();
    let expected = Serve {
        interface: Some("s0".into()),
        http: Some(endpoint("8081")),
        memcached: Some(Memcached {
            endpoint: endpoint("8082"),
            udp: Some(endpoint("8083")),
            optional: false,
            memory_bytes: 1 << 30,
            item_max_bytes: 512 << 10,
            idle: Duration::from_secs(6),
        }),
        addresses: vec!["198.18.0.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
        address_probe: Duration::from_millis(300),
        tunnels: vec![Tunnel::Ipip, Tunnel::Gue(5555)],
        content: content::Settings {
            compress: true,
            disk: Some(content::Disk { large_bytes: 10 << 20, memory_bytes: 0, buffers_bytes: 0 }),
            site: content::Site {
                root: Some("/".into()),
                dotfiles: true,
                autoindex: true,
                try_files: vec![content::Template::path("/index.html", 0).unwrap()],
                ..content::Site::default()
            },
            ..content::Settings::default()
        },
        files: disk::Settings { threads: 3, buffer_bytes: 48 << 20 },
        reads_files: true,
        watch: false,
        access_log: Some("a.log".into()),
        access_log_format: AccessLogFormat::Json,
        proxy_protocol: vec![http::Network::parse("10.0.0.0/8").unwrap()],
        trusted_proxies: vec![http::Network::parse("::1").unwrap()],
        cores: vec![0, 2],
        connections: 100_000,
        http_connections: Some(60_000),
        memcached_connections: Some(70_000),
        connections_per_prefix: Some(50),
        prefix_lengths: PrefixLengths { v4: 32, v6: 56 },
        transport: Transport::Xdp,
        xdp_mode: XdpMode::Generic,
        tx_checksum: TxChecksum::Software,
        segmentation_offload: SegmentationOffload::On,
        ecn: Ecn::Off,
        congestion: Congestion::NEWRENO,
        http_congestion: Some(Congestion::CUBIC),
        http_timeouts: ServiceTimeouts {
            send: Some(Duration::from_secs(10)),
            keep_alive: Some(Duration::from_secs(12)),
        },
        memcached_timeouts: ServiceTimeouts {
            send: Some(Duration::from_secs(11)),
            keep_alive: Some(Duration::ZERO),
        },
        memcached_congestion: Some(Congestion::NEWRENO),
        on_interface_change: InterfaceChange::End,
        busy_poll: true,
        memory_limit_bytes: Some(2 << 30),
        admin: Some("127.0.0.1:9100".parse().unwrap()),
        timeouts: Timeouts {
            header: Duration::from_secs(1),
            idle: Duration::from_secs(2),
            send: Duration::from_secs(3),
            keep_alive: Duration::from_secs(5),
            drain: Duration::from_secs(4),
        },
        http_options: http::Options {
            timeouts: http::Timeouts {
                body: simoom_io::Duration::from_secs(9),
                ..Default::default()
            },
            head: http::HeadLimits { line_max_bytes: 1024, head_max_bytes: 4096 },
            body_max_bytes: 2 << 20,
            requests_max: 7,
            pipeline_max: 8,
        },
        log: Log { format: LogFormat::Json, level: LogLevel::Debug },
    };
    assert_eq!(serve, expected);
}

#[test]
fn limits_of_http_have_bounds() {
    let head = |flags: &str| serve(flags).map(|serve| serve.http_options.head.line_max_bytes);
    assert_eq!(head("").unwrap(), 8192);
    assert_eq!(head("--http-head-size 4K").unwrap(), 4096, "a line is no longer than its head");
    for (flags, complaint) in [
        ("--http-head-size 255", "--http-head-size 255: must be between 256 and 16384"),
        ("--http-head-size 17K", "--http-head-size 17408: must be between 256 and 16384"),
        (
            "--http-head-size 1K --http-line-size 2K",
            "--http-line-size 2048: must be between 256 and 1024",
        ),
        ("--http-body-size 4G", "--http-body-size: at most 4294967295"),
    ] {
        let error = serve(flags).unwrap_err().to_string();
        assert!(error.contains(complaint), "{flags}: {error}");
    }
}

#[test]
fn flags_win_over_the_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(
        &file,
        "interface = \"s0\"\nhttp = 81\nconnections = 5\nbusy-poll = true\naddress = \"198.18.0.1\"\nlog-level = \"warn\"",
    )
    .unwrap();
    let path = file.path().display();
    let from_file = serve(&format!("--config {path}")).unwrap();
    let port = |serve: &Serve| serve.http.unwrap().port;
    assert_eq!((port(&from_file), from_file.connections, from_file.busy_poll), (81, 5, true));
    assert_eq!(from_file.log.level, LogLevel::Warn);
    let both = serve(&format!(
        "--connections 6 --config {path} --busy-poll=false --address 198.18.0.9 --log-level error"
    ))
    .unwrap();
    assert_eq!((port(&both), both.connections, both.busy_poll), (81, 6, false));
    assert_eq!(both.addresses, ["198.18.0.9".parse::<IpAddr>().unwrap()], "replaced, not added to");
    assert_eq!(both.log.level, LogLevel::Error);
    let level = |flags: &str| serve_in(Some(LogLevel::Debug), flags).unwrap().log.level;
    assert_eq!(level(""), LogLevel::Debug);
    assert_eq!(
        level(&format!("--config {path}")),
        LogLevel::Debug,
        "the environment wins over the file"
    );
    assert_eq!(level("--log-level error"), LogLevel::Error, "the flag wins over the environment");
}

#[test]
fn only_address_says_what_is_claimed_for_all_services() {
    let claimed = |flags: &str| serve(flags).unwrap().addresses;
    let address: IpAddr = "198.18.0.1".parse().unwrap();
    assert_eq!(claimed("--interface s0 --http 80 --address 198.18.0.1"), [address]);
    assert!(claimed("--interface s0 --http 198.18.0.1:80").is_empty());
    assert!(claimed("--interface s0 --http 0.0.0.0:80").is_empty());
    assert!(claimed("--http 198.18.0.1:80").is_empty());
}

#[test]
fn the_largest_item_takes_an_eighth_of_a_small_memory() {
    let largest = |flags: &str| serve(flags).unwrap().memcached.unwrap().item_max_bytes;
    assert_eq!(largest("--memory 3M"), 3 << 17);
    assert_eq!(largest("--memory 3M --item-size-max 2K"), 2 << 10);
    assert_eq!(largest("--memory 1G"), 1 << 20);
}

#[test]
fn memcached_over_udp_is_at_the_address_of_memcached_unless_another_is_given() {
    let udp = |flags: &str| serve(flags).unwrap().memcached.unwrap().udp.unwrap().to_string();
    for (flags, expected) in [
        ("--memcached-udp 82", "127.0.0.1:82"),
        ("--memcached 198.18.0.1:81 --memcached-udp 82", "198.18.0.1:82"),
        ("--memcached 198.18.0.1:81 --memcached-udp [::1]:82", "[::1]:82"),
        ("--interface s0 --memcached-udp 82", "82"),
        ("--interface s0 --memcached 198.18.0.1:81 --memcached-udp 82", "198.18.0.1:82"),
    ] {
        assert_eq!(udp(flags), expected, "{flags}");
    }
}

#[test]
fn a_flag_of_one_service_asks_for_that_one() {
    let served = |flags: &str| {
        let setup = serve(flags).unwrap().setup();
        setup
            .endpoints()
            .map(|(service, at)| format!("{} {at}", service.name))
            .collect::<Vec<_>>()
            .join(", ")
    };
    for (flags, expected) in [
        ("", "HTTP 127.0.0.1:8080, memcached 127.0.0.1:11211"),
        ("--root /", "HTTP 127.0.0.1:8080"),
        ("--http 80", "HTTP 127.0.0.1:80"),
        ("--memcached 11212", "memcached 127.0.0.1:11212"),
        ("--memory 1G", "memcached 127.0.0.1:11211"),
        ("--memcached-udp 11212", "memcached 127.0.0.1:11211"),
        ("--item-size-max 2m", "memcached 127.0.0.1:11211"),
        ("--memcached 0.0.0.0:11211 --root /", "HTTP 127.0.0.1:8080, memcached 0.0.0.0:11211"),
        // Beside an interface a port alone is at the addresses of the interface and on loopback,
        // not everywhere.
        ("--interface s0", "HTTP 8080"),
        ("--interface s0 --memory 1G", "memcached 11211"),
        ("--interface s0 --http 0.0.0.0:80", "HTTP 0.0.0.0:80"),
    ] {
        assert_eq!(served(flags), expected, "{flags}");
    }
}

#[test]
fn a_service_beside_another_leaves_it_an_eighth_of_the_connections() {
    let limits = |flags: &str, connections, workers| {
        let setup = serve(flags).unwrap().setup();
        let limit = |service| setup.connection_limit(service, connections, workers);
        (
            limit(&setup.services[0]),
            setup.services.get(1).map_or(connections, |second| limit(second)),
        )
    };
    for (flags, connections, workers, expected) in [
        ("", 1000, 1, (875, 875)),
        ("", 2, 1, (1, 1)),
        ("", 1, 1, (1, 1)),
        ("--http 80", 1000, 1, (1000, 1000)),
        (
            "--connections 1000 --http 80 --memcached 81 --memcached-connections 100",
            1000,
            1,
            (875, 100),
        ),
        (
            "--connections 1000 --http 80 --memcached 81 --memcached-connections 1000",
            250,
            4,
            (219, 250),
        ),
        ("--http 80 --memcached 81 --http-connections 1", 250, 4, (1, 219)),
        ("--http 80 --memcached 81 --http-connections 9000", 1024, 1, (1024, 896)),
    ] {
        assert_eq!(
            limits(flags, connections, workers),
            expected,
            "{flags} {connections} {workers}"
        );
    }
}

#[test]
fn what_does_not_go_together_is_refused() {
    for (flags, expected) in [
        ("--transport xdp", "--transport xdp: cannot be used without --interface"),
        ("--xdp-mode zero-copy", "--xdp-mode zero-copy: cannot be used without --interface"),
        ("--tx-checksum software", "--tx-checksum software: cannot be used without --interface"),
        (
            "--segmentation-offload off",
            "--segmentation-offload off: cannot be used without --interface",
        ),
        ("--ecn off", "--ecn off: cannot be used without --interface"),
        ("--congestion newreno", "--congestion newreno: cannot be used without --interface"),
        (
            "--memcached-congestion cubic",
            "--memcached-congestion cubic: cannot be used without --interface",
        ),
        ("--busy-poll", "--busy-poll: cannot be used without --interface"),
        ("--tunnel gre", "--tunnel gre: cannot be used without --interface"),
        (
            "--interface s0 --tunnel gue --tunnel gue:7000",
            "--tunnel gue:7000: this kind is given twice",
        ),
        (
            "--on-interface-change end",
            "--on-interface-change end: cannot be used without --interface",
        ),
        (
            "--interface s0 --transport io-uring --busy-poll",
            "--busy-poll: cannot be used with --transport io-uring, which cannot suspend interrupts",
        ),
        (
            "--transport io-uring --busy-poll",
            "--busy-poll: cannot be used with --transport io-uring, which cannot suspend interrupts",
        ),
        (
            "--interface s0 --transport epoll --xdp-mode copy",
            "--xdp-mode copy: cannot be used with --transport epoll",
        ),
        (
            "--http-connections 9 --connections 8",
            "--http-connections 9: at most 8, as many as --connections",
        ),
        (
            "--memcached 11211 --http-connections 9",
            "--http-connections 9: HTTP is not served; give --http PORT",
        ),
        (
            "--http 80 --memcached-connections 9",
            "--memcached-connections 9: memcached is not served; give --memcached PORT",
        ),
        ("--address 198.18.0.1", "write --http 198.18.0.1:8080"),
        (
            "--interface s0 --address 198.18.0.1 --address 198.18.0.1",
            "--address 198.18.0.1: given twice",
        ),
        (
            "--http 224.0.0.1:80",
            "--http 224.0.0.1:80: 224.0.0.1 is not the address of one host on a network",
        ),
        (
            "--interface s0 --http 80 --admin 80",
            "--admin 127.0.0.1:80: HTTP is served on port 80 already",
        ),
        ("--interface s0 --http 0", "--http 0: with --interface, a port from 1 to 65535"),
        ("--memcached 0 --interface s0", "--memcached 0: with --interface, a port from 1 to 65535"),
        ("--memcached 80 --http 80", "--memcached 127.0.0.1:80: HTTP is served on port 80 already"),
        (
            "--memcached 80 --admin 80",
            "--admin 127.0.0.1:80: memcached is served on port 80 already",
        ),
        ("--memory 2T", "--memory 2.0 TiB: must be from 1.0 MiB to 1.0 TiB"),
        (
            "--memory 4M --item-size-max 1M",
            "--item-size-max 1.0 MiB: with --memory 4.0 MiB it must be from",
        ),
        ("--cores 0-9", "core 4 cannot be used; this process may use 0-3"),
        ("--admin 8080", "--admin 127.0.0.1:8080: HTTP is served on port 8080 already"),
        ("--http 0.0.0.0:80 --admin 80", "choose another port"),
        ("--root /does/not/exist", "--root /does/not/exist: no such directory"),
        (
            "--root /dev/null",
            "--root /dev/null: not a directory; name the one that holds the files",
        ),
        (
            "--config /does/not/exist",
            "No such file or directory (os error 2); name a TOML file with the flags of `simoom",
        ),
    ] {
        match serve(flags) {
            Err(Error::Usage(got)) => {
                assert!(got.contains(expected), "{flags}\n  said {got:?}\n  not  {expected:?}");
            }
            other => panic!("{flags}: {other:?}"),
        }
    }
}

/// Flags that have an effect whatever others are given, or ask for a service themselves.
const ALONE: &[&str] = &[
    "admin",
    "config",
    "connections",
    "connections-per-prefix",
    "cores",
    "drain-timeout",
    "http",
    "interface",
    "item-size-max",
    "log",
    "log-level",
    "memcached",
    "memcached-udp",
    "memory",
    "memory-limit",
    "root",
    "send-timeout",
    "tcp-keepalive",
    "transport",
];

/// Flags that are refused where they would have no effect.
const NEEDY: &[(&str, &str)] = &[
    ("--access-log-format json", "--access-log-format json: no access log; give --access-log FILE"),
    ("--trusted-proxy ::1", "--trusted-proxy: no access log"),
    ("--memory 1G --access-log a", "--access-log: HTTP is not served; give --http PORT"),
    ("--memory 1G --autoindex", "--autoindex: HTTP is not served"),
    ("--memory 1G --body-timeout 1s", "--body-timeout: HTTP is not served"),
    ("--memory 1G --compress", "--compress: HTTP is not served"),
    ("--memory 1G --dotfiles", "--dotfiles: HTTP is not served"),
    ("--memory 1G --fallback /a", "--fallback: HTTP is not served"),
    ("--memory 1G --file-buffers 1M", "--file-buffers: HTTP is not served"),
    ("--memory 1G --file-threads 1", "--file-threads: HTTP is not served"),
    ("--memory 1G --header-timeout 1s", "--header-timeout: HTTP is not served"),
    ("--memory 1G --http-body-size 1M", "--http-body-size: HTTP is not served"),
    ("--memory 1G --http-congestion bbr", "--http-congestion: HTTP is not served"),
    ("--memory 1G --http-connections 9", "--http-connections 9: HTTP is not served"),
    ("--memory 1G --http-head-size 1K", "--http-head-size: HTTP is not served"),
    ("--memory 1G --http-line-size 1K", "--http-line-size: HTTP is not served"),
    ("--memory 1G --http-pipeline 1", "--http-pipeline: HTTP is not served"),
    ("--memory 1G --http-requests 1", "--http-requests: HTTP is not served"),
    ("--memory 1G --http-send-timeout 1s", "--http-send-timeout: HTTP is not served"),
    ("--memory 1G --http-tcp-keepalive 1s", "--http-tcp-keepalive: HTTP is not served"),
    ("--memory 1G --idle-timeout 1s", "--idle-timeout: HTTP is not served"),
    ("--memory 1G --large-file-size 1M", "--large-file-size: HTTP is not served"),
    ("--memory 1G --proxy-protocol ::1", "--proxy-protocol: HTTP is not served"),
    ("--memory 1G --watch=false", "--watch: HTTP is not served"),
    ("--http 80 --memcached-congestion bbr", "--memcached-congestion: memcached is not served"),
    ("--http 80 --memcached-connections 9", "--memcached-connections 9: memcached is not served"),
    ("--http 80 --memcached-idle-timeout 1s", "--memcached-idle-timeout: memcached is not served"),
    ("--http 80 --memcached-send-timeout 1s", "--memcached-send-timeout: memcached is not served"),
    ("--http 80 --memcached-tcp-keepalive 1s", "--memcached-tcp-keepalive: memcached is not"),
    ("--autoindex", "--autoindex: no files are served; give --root DIR"),
    ("--compress", "--compress: no files are served"),
    ("--dotfiles", "--dotfiles: no files are served"),
    ("--file-buffers 1M", "--file-buffers: no files are served"),
    ("--file-threads 1", "--file-threads: no files are served"),
    ("--large-file-size 1M", "--large-file-size: no files are served"),
    ("--watch", "--watch: no files are served"),
    (
        "--prefix-length-v4 32",
        "--prefix-length-v4: networks have no limit; give --connections-per-",
    ),
    ("--prefix-length-v6 64", "--prefix-length-v6: networks have no limit"),
    ("--address 198.18.0.1", "--address 198.18.0.1: cannot be used without --interface"),
    ("--address-probe 1s", "--address-probe: over AF_XDP only; give --interface IF"),
    ("--interface s0 --transport epoll --address-probe 1s", "--address-probe: over AF_XDP only"),
    ("--busy-poll", "--busy-poll: cannot be used without --interface"),
    ("--congestion bbr", "--congestion bbr: cannot be used without --interface"),
    ("--ecn off", "--ecn off: cannot be used without --interface"),
    ("--on-interface-change end", "--on-interface-change end: cannot be used without --interface"),
    ("--segmentation-offload on", "--segmentation-offload on: cannot be used without --interface"),
    ("--tunnel gre", "--tunnel gre: cannot be used without --interface"),
    ("--tx-checksum software", "--tx-checksum software: cannot be used without --interface"),
    ("--xdp-mode copy", "--xdp-mode copy: cannot be used without --interface"),
];

#[test]
fn a_flag_without_an_effect_is_an_error_that_names_what_it_needs() {
    for (flags, expected) in NEEDY {
        let error = serve(flags).expect_err(flags).to_string();
        assert!(error.contains(expected), "{flags}: {error}");
    }
    let command = cli::command();
    let command = command.find_subcommand("serve").unwrap();
    for flag in command.get_arguments().filter_map(|flag| flag.get_long()) {
        let is_needy = NEEDY
            .iter()
            .any(|(_, expected)| expected.split([' ', ':']).next() == Some(&format!("--{flag}")));
        assert_ne!(
            ALONE.contains(&flag),
            is_needy || flag == "help",
            "--{flag}: add it to ALONE, or to NEEDY and config/effects.rs"
        );
    }
}

#[test]
fn what_goes_together_is_taken() {
    for flags in [
        "--http 127.0.0.1:0",
        "--http 0",
        "--http 0 --memcached 0",
        "--http 127.0.0.1:0 --admin 0",
        "--http 127.0.0.2:80 --admin 127.0.0.1:80",
        "--interface s0 --transport epoll",
        "--interface s0 --transport io-uring",
        "--transport io-uring",
        "--transport epoll",
        "--xdp-mode auto --transport auto",
        "--busy-poll=false",
        "--interface s0 --busy-poll",
        "--interface s0 --transport epoll --busy-poll",
        "--transport epoll --busy-poll",
    ] {
        serve(flags).unwrap_or_else(|error| panic!("{flags}: {error}"));
    }
}

#[test]
fn runs_of_cores_read_as_they_are_written() {
    for (numbers, text) in
        [(&[0][..], "0"), (&[0, 1], "0-1"), (&[0, 2, 3, 4, 7], "0,2-4,7"), (&[], "")]
    {
        assert_eq!(ranges(numbers), text);
    }
}

use super::*;
use crate::probe::facts::XdpFeatures;

fn machine() -> Machine {
    Machine {
        kernel: "6.18.0".into(),
        cores: vec![0, 1],
        capabilities: Vec::new(),
        memlock_limit_bytes: None,
        xdp_sockets: Ability::Yes,
        bpf_programs: Ability::Yes,
        tx_metadata: Ability::Yes,
        io_uring: Ability::Yes,
    }
}

/// An interface with a good driver that supports everything.
fn link() -> Link {
    Link {
        name: "eth1".into(),
        up: true,
        carrier: true,
        loopback: false,
        mtu_bytes: 1500,
        addresses: Vec::new(),
        driver: Some("mlx5_core".into()),
        rx_queues: 4,
        tx_queues: 4,
        xdp: Some(XdpFeatures {
            native: true,
            zero_copy: true,
            multi_buffer: true,
            zero_copy_multi_buffer: true,
            tx_checksum: true,
        }),
        zero_copy_trust: Trust::Good { note: "since 6.1".into() },
        zero_copy_obstacle: None,
    }
}

fn no(reason: &str) -> Ability {
    Ability::No { reason: reason.into() }
}

#[test]
fn facts_and_choices() {
    type Change = fn(&mut Machine, &mut Link);
    let cases: &[(Change, Transport, XdpMode, &str)] = &[
        (
            |_, _| {},
            Transport::Xdp,
            XdpMode::ZeroCopy,
            "zero-copy is known to work with mlx5_core: since 6.1",
        ),
        (
            |_, link| link.zero_copy_trust = Trust::Bad { note: "it corrupts memory".into() },
            Transport::Xdp,
            XdpMode::Copy,
            "zero-copy is known to be faulty with mlx5_core: it corrupts memory",
        ),
        (
            |_, link| link.zero_copy_trust = Trust::Unknown,
            Transport::Xdp,
            XdpMode::ZeroCopy,
            "without known faults",
        ),
        (
            |_, link| link.xdp.as_mut().unwrap().zero_copy = false,
            Transport::Xdp,
            XdpMode::Copy,
            "mlx5_core has no zero-copy on this kernel",
        ),
        (
            |_, link| link.zero_copy_obstacle = Some("the device lacks a feature".into()),
            Transport::Xdp,
            XdpMode::Copy,
            "the device lacks a feature",
        ),
        (
            |_, link| link.xdp = Some(XdpFeatures::default()),
            Transport::Xdp,
            XdpMode::Generic,
            "mlx5_core has no native XDP",
        ),
        (
            |machine, link| {
                machine.kernel = "6.1.0".into();
                link.xdp = None;
            },
            Transport::Xdp,
            XdpMode::ZeroCopy,
            "Linux 6.1 does not report the XDP features of mlx5_core",
        ),
        (
            |machine, link| {
                machine.kernel = "6.1.0".into();
                link.xdp = None;
                link.driver = Some("igb".into());
                link.zero_copy_trust = Trust::Unknown;
            },
            Transport::Xdp,
            XdpMode::Copy,
            "driver igb is not known to have zero-copy before Linux 6.3",
        ),
        (
            |machine, link| {
                machine.kernel = "6.1.0".into();
                link.xdp = None;
                link.driver = Some("e1000e".into());
                link.zero_copy_trust = Trust::Unknown;
            },
            Transport::Xdp,
            XdpMode::Generic,
            "which is not known to have native XDP",
        ),
        (
            |_, link| {
                link.xdp = None;
                link.zero_copy_trust = Trust::Bad { note: "it corrupts memory".into() };
            },
            Transport::Xdp,
            XdpMode::Copy,
            "known to be faulty",
        ),
        (|_, link| link.driver = Some("veth".into()), Transport::Xdp, XdpMode::Generic, "on veth"),
        (
            |_, link| link.driver = Some("veth".into()),
            Transport::Xdp,
            XdpMode::Generic,
            "on Linux 6.3 to 7.1 do not capture",
        ),
        (
            |_, link| {
                link.driver = None;
                link.xdp = Some(XdpFeatures::default());
            },
            Transport::Xdp,
            XdpMode::Generic,
            "this driver has no native XDP",
        ),
        (|_, link| link.loopback = true, Transport::IoUring, XdpMode::Auto, "loopback"),
        (|_, link| link.up = false, Transport::IoUring, XdpMode::Auto, "ip link set eth1 up"),
        (
            |machine, _| machine.xdp_sockets = no("CAP_NET_RAW is missing"),
            Transport::IoUring,
            XdpMode::Auto,
            "CAP_NET_RAW is missing",
        ),
        (
            |machine, _| machine.bpf_programs = no("CAP_BPF is missing"),
            Transport::IoUring,
            XdpMode::Auto,
            "CAP_BPF is missing",
        ),
        (
            |machine, link| {
                link.loopback = true;
                machine.io_uring = no("io_uring is forbidden");
            },
            Transport::Epoll,
            XdpMode::Auto,
            "the loopback interface has no receive queues; io_uring is forbidden",
        ),
        (
            |machine, _| machine.io_uring = no("forbidden"),
            Transport::Xdp,
            XdpMode::ZeroCopy,
            "zero-copy is known to work",
        ),
    ];
    for (change, transport, mode, reason) in cases {
        let (mut machine, mut link) = (machine(), link());
        change(&mut machine, &mut link);
        let choice = choose(&machine, &link);
        assert_eq!((choice.transport, choice.mode), (*transport, *mode), "{}", choice.reason);
        assert!(choice.reason.contains(reason), "{:?} does not say {reason:?}", choice.reason);
        assert!(!choice.reason.contains('\n'));
    }
}

#[test]
fn a_choice_as_json_uses_the_names_of_the_flags() {
    let json = serde_json::to_value(choose(&machine(), &link())).unwrap();
    assert_eq!(json["transport"], "xdp");
    assert_eq!(json["mode"], "zero-copy");
}

#[test]
fn checksums_are_offloaded_only_where_they_will_be_right() {
    type Change = fn(&mut Machine, &mut Link);
    let cases: &[(Change, Option<&str>)] = &[
        (|_, _| {}, None),
        (
            |_, link| link.xdp.as_mut().unwrap().tx_checksum = false,
            Some("driver mlx5_core offers no TX checksum in zero-copy mode"),
        ),
        (
            |_, link| link.zero_copy_trust = Trust::Bad { note: "it corrupts memory".into() },
            Some("in copy mode Linux does not tell driver mlx5_core where headers begin"),
        ),
        (|_, link| link.driver = Some("veth".into()), None),
        (
            |machine, link| {
                link.driver = Some("veth".into());
                machine.tx_metadata = no("Linux 6.11");
            },
            Some("Linux 6.11"),
        ),
        (|_, link| link.up = false, Some("kernel sockets: the kernel decides")),
    ];
    for (change, reason) in cases {
        let (mut machine, mut link) = (machine(), link());
        change(&mut machine, &mut link);
        let expected = reason.map_or(Ability::Yes, no);
        assert_eq!(choose(&machine, &link).checksum_offload, expected);
    }
}

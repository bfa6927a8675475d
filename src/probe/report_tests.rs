use super::*;
use crate::probe::choose;

fn machine() -> Machine {
    let capability = |name, held| Capability { name, held, needed_to: "do something" };
    Machine {
        kernel: "6.1.0-28-amd64".into(),
        cores: vec![0, 1],
        capabilities: vec![capability("CAP_NET_RAW", true), capability("CAP_IPC_LOCK", false)],
        memlock_limit_bytes: Some(8 << 20),
        xdp_sockets: Ability::Yes,
        bpf_programs: Ability::No { reason: "Operation not permitted".into() },
        tx_metadata: Ability::Yes,
        io_uring: Ability::No { reason: "io_uring is forbidden".into() },
    }
}

fn link() -> Link {
    Link {
        name: "eth1".into(),
        up: true,
        carrier: false,
        loopback: false,
        mtu_bytes: 1500,
        addresses: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
        driver: Some("ice".into()),
        rx_queues: 4,
        tx_queues: 4,
        xdp: Some(XdpFeatures {
            native: true,
            zero_copy: true,
            multi_buffer: true,
            ..XdpFeatures::default()
        }),
        zero_copy_trust: Trust::Bad { note: "it corrupts memory".into() },
        zero_copy_obstacle: None,
    }
}

#[test]
fn the_whole_report() {
    let mut machine = machine();
    let able = Machine { bpf_programs: Ability::Yes, ..machine.clone() };
    let place = |address: &str, claimed| Listens {
        service: "HTTP",
        address: address.parse().unwrap(),
        claimed,
    };
    let listens = vec![
        place("192.0.2.1:8080", true),
        place("192.0.2.1:8080", false),
        place("[::1]:8080", false),
    ];
    let probed = Probed { choice: choose(&able, &link()), link: link(), listens: Ok(listens) };
    machine.kernel = "5.10.0-1".into();
    let text = Facts { machine, interfaces: vec![probed] }.to_string();
    let expected = "\
kernel              5.10.0-1
cores               0, 1
AF_XDP sockets      yes
BPF programs        no: Operation not permitted
TX metadata         yes
io_uring            no: io_uring is forbidden
capabilities held   CAP_NET_RAW
missing             CAP_IPC_LOCK
                    CAP_IPC_LOCK is needed to do something
                    run as root, or give the program the capabilities to serve:
                    setcap cap_net_raw,cap_net_admin,cap_bpf,cap_perfmon,cap_ipc_lock+ep FILE
locked memory       at most 8.0 MiB, which the UMEM counts against
                    raise it: ulimit -l, or LimitMEMLOCK= in the service's unit
                    on this kernel BPF maps count against the limit of 8.0 MiB, whatever the capabilities

eth1: up, no carrier, MTU 1500, 192.0.2.1, 2001:db8::1
  driver            ice
  queues            4 receive, 4 transmit
  native XDP        yes
  zero-copy         yes; known to be faulty with this driver: it corrupts memory
  multi-buffer      yes, but not with zero-copy
  TX checksum       no
  serve would use   AF_XDP, copy: zero-copy is known to be faulty with ice: it corrupts memory
  checksum offload  no: in copy mode Linux does not tell driver ice where headers begin
  claiming          HTTP 192.0.2.1:8080
  listening on      HTTP 192.0.2.1:8080, HTTP [::1]:8080
";
    assert_eq!(text, expected);
}

#[test]
fn what_is_not_missing_is_not_explained() {
    let mut machine = machine();
    machine.capabilities[1].held = true;
    let text = machine.to_string();
    assert!(
        text.contains("missing             none\nlocked memory       unlimited, by CAP_IPC_LOCK\n"),
        "{text}"
    );
    assert!(!text.contains("setcap") && !text.contains("BPF maps"), "{text}");
}

#[test]
fn kernel_versions() {
    let version = |release: &str| Machine { kernel: release.into(), ..machine() }.kernel_version();
    assert_eq!(version("6.1.0-28-amd64"), Some((6, 1)));
    assert_eq!(version("6.18"), Some((6, 18)));
    assert_eq!(version("6.18-rc3"), Some((6, 18)));
    assert_eq!(version("next"), None);
    assert_eq!(version(""), None);
}

#[test]
fn an_ability_as_json() {
    let json = |ability: Ability| serde_json::to_string(&ability).unwrap();
    assert_eq!(json(Ability::Yes), r#"{"works":true}"#);
    assert_eq!(json(Ability::No { reason: "x".into() }), r#"{"works":false,"reason":"x"}"#);
}

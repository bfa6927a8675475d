//! A target behind a router: three namespaces, with the load over AF_XDP at one end and a server at
//! the other.

use crate::common::{need_program, need_root, run};
use crate::good::serve;
use crate::{faults, json, stderr};
use simoom::netns::{self, Namespace};
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Output, Stdio};

const ROUTER: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 254));
const TARGET: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 19, 0, 1));

/// The client's `c0` and the server's `s0`, each joined to the router by a veth pair.
struct Row {
    client: Namespace,
    _router: Namespace,
    server: Namespace,
}

impl Row {
    fn new() -> Row {
        let [client, router, server] = std::array::from_fn(|_| Namespace::new().unwrap());
        netns::veth(&client, "c0", &router, "r0", 1).unwrap();
        netns::veth(&server, "s0", &router, "r1", 1).unwrap();
        let far = Ipv4Addr::new(198, 19, 0, 254).into();
        router.run(|| {
            for (name, address) in [("r0", ROUTER), ("r1", far)] {
                netns::set_address(name, address, 24).unwrap();
                netns::set_up(name).unwrap();
            }
            std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        });
        server.run(|| {
            netns::set_address("s0", TARGET, 24).unwrap();
            netns::set_up("s0").unwrap();
            ip("route add default via 198.19.0.254");
        });
        client.run(|| netns::set_up("c0").unwrap());
        Row { client, _router: router, server }
    }

    fn load(&self, flags: &str) -> Output {
        let url = format!("http://{TARGET}:8080/");
        let flags =
            format!("--json --requests 100 --connections 10 --verify --interface c0 {flags}");
        self.client.run(|| run(["load", &url].into_iter().chain(flags.split_whitespace())))
    }
}

/// Runs ip(8) in the calling thread's namespace.
fn ip(arguments: &str) {
    let output = Command::new("ip")
        .args(arguments.split_whitespace())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_target_behind_a_router_is_reached_through_it() {
    if !need_root() || !need_program("ip") {
        return;
    }
    let row = Row::new();
    let (_server, _) = row.server.run(|| serve(&format!("--transport epoll --http {TARGET}:8080")));
    let served = |flags: &str| {
        let output = row.load(flags);
        let report = json(&output);
        assert_eq!(
            (output.status.code(), faults(&report)),
            (Some(0), vec![]),
            "{flags}: {}",
            stderr(&output)
        );
        assert_eq!(
            (&report["responses"], &report["stack"]["arp_requests_sent"]),
            (&100.into(), &1.into()),
            "{report}"
        );
    };
    // The kernel has no route to either network.
    served(&format!("--source 198.18.0.10/24 --gateway {ROUTER}"));
    row.client.run(|| {
        netns::set_address("c0", Ipv4Addr::new(198, 18, 0, 2).into(), 24).unwrap();
        ip(&format!("route add default via {ROUTER}"));
    });
    served("--source 198.18.0.10/24");

    let output = row.load("--source 198.18.0.10/24 --gateway 198.18.0.77");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{}", stderr(&output));
    let said = stderr(&output);
    assert!(
        said.contains(&format!("no host on c0 answered for 198.18.0.77, the gateway to {TARGET}")),
        "{said}"
    );
}

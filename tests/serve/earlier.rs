//! Connections that the kernel has at a claimed port, because they are older than the claim or came
//! while nothing was steered: they stay the kernel's, whose server finishes them.

use crate::TEST_TIMEOUT;
use crate::client::Client;
use crate::common::{need_program, wait_until};
use crate::guard::MODES;
use crate::site::{Plan, Site, Transport, at};
use crate::watch::{detach, is_attached};
use af_xdp::{Program, features};
use rustix::net::{self, AddressFamily, SocketType};
use std::io::Read;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};

/// Takes the interface from the server: as long as another program is there, the server's cannot be
/// attached again.
fn occupy(site: &Site) -> Program {
    let mut program = Program::redirect_all(1).unwrap();
    for _ in 0..20 {
        detach(site);
        let attached = site.network.server.run(|| {
            let ifindex = features::interface_index("s0")?;
            program.attach(ifindex, false)
        });
        match attached {
            Ok(()) => return program,
            // The server was faster.
            Err(error) => {
                println!("{error}");
                wait_until("it is attached", TEST_TIMEOUT, || is_attached(site));
            }
        }
    }
    panic!("the server attaches its program again at once, {}", site.log());
}

#[test]
fn connections_that_the_kernel_got_while_the_program_was_detached_go_on() {
    if !need_program("ip") || !need_program("python3") {
        return;
    }
    for mode in MODES {
        let Some(mut site) = Plan::new(Transport::Xdp).with(mode).start() else { return };
        let other = occupy(&site);
        let body = site.content("/12");
        let mut client = site.connect();
        client.expect("/12", &body);
        site.wait_for("connections_accepted", 1);
        let before = site.counter("xdp_reattachments");
        drop(other);
        site.wait_for("xdp_reattachments", before + 1);
        client.expect("/12", &body);
        site.connect().expect("/12", &body);
        site.wait_for("passive_opens", 1);
        client.expect("/12", &body);
        assert_eq!(site.counter("connections_accepted"), 1, "{mode}: the others are steered");
        assert_eq!(site.counter("resets_sent"), 0, "{mode}");
        assert!(site.terminate().success(), "{}", site.log());
    }
}

/// A server that ends leaves connections to the kernel alone, in FIN-WAIT-2: what the client still
/// sends is for the kernel.
#[test]
fn the_kernel_gets_the_end_of_a_connection_whose_server_is_gone() {
    for mode in MODES {
        let plan = Plan::new(Transport::Xdp).with(mode);
        let Some(network) = plan.network() else { return };
        let ends = [network.address(1), network.address_v6(1)].map(|address| {
            let listener = network.server.run(|| TcpListener::bind(at(address))).unwrap();
            let connect = || TcpStream::connect_timeout(&at(address), TEST_TIMEOUT);
            let mut client = network.client.run(connect).unwrap();
            drop((listener.accept().unwrap(), listener));
            assert_eq!(client.read(&mut [0]).unwrap(), 0, "the server closes");
            client
        });
        let mut site = plan.start_in(network);
        site.connect().expect("/12", &site.content("/12"));
        site.wait_for("passive_opens", 1);
        ends.iter().for_each(|client| client.shutdown(Shutdown::Write).unwrap());
        // `TCP_LAST_ACK`: until the answer to its FIN comes.
        let is_over = || {
            let tables = ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"];
            let read = || tables.map(|table| std::fs::read_to_string(table).unwrap()).concat();
            let tables = site.network.client.run(read);
            !tables.lines().any(|line| line.split_whitespace().nth(3) == Some("09"))
        };
        drop(ends);
        wait_until("the clients' kernel waits for no answer", TEST_TIMEOUT, is_over);
        assert_eq!(site.counter("resets_sent"), 0, "{mode}");
        assert_eq!(site.counter("drop_no_listener"), 0, "{mode}");
        assert!(site.terminate().success(), "{}", site.log());
    }
}

/// Its new connection is the kernel's, though its others are steered.
#[test]
fn a_client_opens_a_connection_again_that_the_kernel_has_in_time_wait() {
    for mode in MODES {
        let plan = Plan::new(Transport::Xdp).with(mode);
        let Some(network) = plan.network() else { return };
        let addresses = [network.address(1), network.address_v6(1)];
        let before = addresses.map(|address| {
            let listener = network.server.run(|| TcpListener::bind(at(address))).unwrap();
            let connect = || TcpStream::connect_timeout(&at(address), TEST_TIMEOUT);
            let mut client = network.client.run(connect).unwrap();
            drop((listener.accept().unwrap(), listener));
            assert_eq!(client.read(&mut [0]).unwrap(), 0, "the server closes first");
            client.local_addr().unwrap()
        });
        let mut site = plan.start_in(network);
        let body = site.content("/12");
        for (address, local) in addresses.into_iter().zip(before) {
            site.connect_to(at(address)).expect("/12", &body);
            let again = site.network.client.run(|| connect_from(local, at(address)));
            Client::new(again).expect("/12", &body);
        }
        site.wait_for("connections_accepted", 2);
        site.wait_for("passive_opens", 2);
        assert_eq!(site.counter("resets_sent"), 0, "{mode}");
        assert!(site.terminate().success(), "{}", site.log());
    }
}

fn connect_from(local: SocketAddr, to: SocketAddr) -> TcpStream {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = net::socket(family, SocketType::STREAM, None).unwrap();
    net::sockopt::set_socket_reuseaddr(&socket, true).unwrap();
    net::bind(&socket, &local).unwrap();
    net::sockopt::set_socket_timeout(&socket, net::sockopt::Timeout::Send, Some(TEST_TIMEOUT))
        .unwrap();
    net::connect(&socket, &to).unwrap();
    socket.into()
}

//! Connections that the kernel has at a port when it is claimed: of an earlier server, or at an
//! address that has moved to the interface.

use super::{PASS, SHARED4, SHARED6, TAKE, TCP};
use super::{ethernet, ipv4_with, ipv6, sent_tcp, socket, steering};
use crate::common::{TEST_TIMEOUT, wait_until};
use pnet::packet::ethernet::EtherTypes;
use pnet::packet::ipv6::MutableIpv6Packet;
use pnet::packet::tcp::{MutableTcpPacket, TcpFlags};
use rustix::net::sockopt::set_socket_linger;
use simoom::steer::Claim;
use std::net::{IpAddr, TcpListener, TcpStream};
use std::time::Duration;

const PORT: u16 = 8080;

/// Connections that the kernel has at a port when it is claimed stay the kernel's until they end.
/// All others are the stack's, and so is each that comes later.
#[test]
fn earlier_connections_of_the_kernels_are_left_to_it() {
    let Some((mut program, mut steering)) = steering() else { return };
    let socket = socket();
    program.set_socket(0, &socket).unwrap();
    let namespace = simoom::netns::Namespace::new().unwrap();
    namespace.run(|| {
        steering.settle().unwrap();
        for (address, prefix) in [(IpAddr::V4(SHARED4), 32), (IpAddr::V6(SHARED6), 128)] {
            simoom::netns::set_address("lo", address, prefix).unwrap();
            let (mut listener, mut earlier) = (None, None);
            // An IPv6 address can be bound a moment before there is a route to it.
            wait_until("the address can be used", TEST_TIMEOUT, || {
                listener = TcpListener::bind((address, PORT)).ok();
                earlier = listener.as_ref().and_then(|listener| connection(listener).ok());
                earlier.is_some()
            });
            let (listener, earlier) = (listener.unwrap(), earlier.unwrap());
            let mut verdict = |client: &TcpStream, flags: u8| {
                let port = client.local_addr().unwrap().port();
                program.test_run(&segment_to(address, port, flags)).unwrap()
            };
            steering.add_claim(Claim::Port((address, PORT).into())).unwrap();
            for flags in [TcpFlags::ACK, TcpFlags::RST, TcpFlags::SYN] {
                assert_eq!(verdict(&earlier.1, flags), PASS, "{address} {flags:#x}");
            }
            steering.settle().unwrap();
            assert_eq!(verdict(&earlier.1, TcpFlags::ACK), PASS, "{address}: it is still there");
            // One of a local client, who does not come through the interface.
            let later = connection(&listener).unwrap();
            assert_eq!(verdict(&later.1, TcpFlags::ACK), PASS, "{address}: the kernel is asked");
            // With a reset: a connection in TIME-WAIT is still there.
            set_socket_linger(&earlier.0, Some(Duration::ZERO)).unwrap();
            drop(earlier);
            wait_until("the kernel is not asked any more", TEST_TIMEOUT, || {
                steering.settle().unwrap();
                verdict(&later.1, TcpFlags::ACK) == TAKE
            });
            assert_eq!(verdict(&later.1, TcpFlags::SYN), TAKE);
        }
    });
}

/// Both ends of a connection from the listener's address to itself.
fn connection(listener: &TcpListener) -> std::io::Result<(TcpStream, TcpStream)> {
    let client = TcpStream::connect(listener.local_addr()?)?;
    Ok((listener.accept()?.0, client))
}

/// A segment of the connection from `address` and this port to the same address.
fn segment_to(address: IpAddr, port: u16, flags: u8) -> Vec<u8> {
    let mut segment = sent_tcp(port, PORT);
    MutableTcpPacket::new(&mut segment).unwrap().set_flags(flags);
    match address {
        IpAddr::V4(address) => {
            let packet = ipv4_with(address, TCP, &segment, 5, |packet| packet.set_source(address));
            ethernet(EtherTypes::Ipv4, false, &packet)
        }
        IpAddr::V6(address) => {
            let mut packet = ipv6(address, TCP, &segment);
            MutableIpv6Packet::new(&mut packet).unwrap().set_source(address);
            ethernet(EtherTypes::Ipv6, false, &packet)
        }
    }
}

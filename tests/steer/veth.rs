//! Claims over a veth pair: the claimed segments come to the queue, all other traffic goes to the
//! kernel.

use crate::TEST_TIMEOUT;
use crate::common::{Network, need_root, skip, wait_until};
use af_xdp::{BURST, Mode, OpenOptions};
use simoom::steer::{Claim, Device};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;

#[test]
fn what_is_not_claimed_is_the_kernels() {
    if !need_root() {
        return;
    }
    // The modes that a veth has.
    for mode in [Mode::Generic, Mode::Copy] {
        let net = Network::new(1).unwrap();
        let options = OpenOptions { mode: Some(mode), ..OpenOptions::new("s0") };
        let (mut device, mut queues) = net.server.run(|| Device::open(&options)).unwrap();
        let (mut queue, mut pool) = queues.remove(0);
        let http = SocketAddr::new(net.address(1), 80);
        device.add_claim(Claim::Port(http)).unwrap();
        the_kernel_serves_the_rest(&net, http);
        // The claimed segments come to the queue although the kernel listens too, until the claim
        // is gone.
        let listener = net.server.run(|| TcpListener::bind(http).unwrap());
        let refused =
            net.client.run(|| TcpStream::connect_timeout(&http, Duration::from_millis(200)));
        assert!(refused.is_err(), "{mode}: nobody answers on the queue");
        let mut frames = Vec::new();
        wait_until("a frame is received", TEST_TIMEOUT, || {
            queue.receive(&mut pool, &mut frames, BURST) > 0
        });
        let IpAddr::V4(server) = http.ip() else { unreachable!("IPv4") };
        let umem = queue.umem().clone();
        assert!(frames.iter().all(|frame| umem.bytes(frame)[30..34] == server.octets()), "{mode}");
        frames.into_iter().for_each(|frame| pool.give(frame));
        device.remove_claim(Claim::Port(http)).unwrap();
        let stream = net.client.run(|| TcpStream::connect_timeout(&http, TEST_TIMEOUT)).unwrap();
        drop((listener.accept().unwrap(), stream));
        assert_eq!(
            device.counters().unwrap().iter().map(|(_, value)| value).sum::<u64>(),
            0,
            "{mode}"
        );
    }
}

/// UDP to the claimed port, TCP to another one and ICMP are answered by the kernel.
fn the_kernel_serves_the_rest(net: &Network, claimed: SocketAddr) {
    let server = net.server.run(|| UdpSocket::bind(claimed).unwrap());
    let client = net.client.run(|| UdpSocket::bind((net.address(2), 0)).unwrap());
    server.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    client.send_to(b"datagram to the claimed TCP port", claimed).unwrap();
    assert_eq!(server.recv_from(&mut [0; 64]).unwrap().0, 32);
    let other = SocketAddr::new(claimed.ip(), 22);
    let listener = net.server.run(|| TcpListener::bind(other).unwrap());
    let stream = net.client.run(|| TcpStream::connect_timeout(&other, TEST_TIMEOUT)).unwrap();
    drop((listener.accept().unwrap(), stream));
    let ping = || Command::new("ping").args(["-c1", "-W10", &claimed.ip().to_string()]).output();
    match net.client.run(ping) {
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        }
        Err(error) => skip(&format!("needs ping: {error}")),
    }
}

//! A server that is far away: the bridge between, and what comes through it.

use crate::TEST_TIMEOUT;
use crate::common::{Network, Path, need_program, need_root, wait_until};
use crate::site::{FILES, Plan, Transport};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// Half a round trip of 10 ms.
const NEAR: Path = Path {
    delay: Duration::from_millis(5),
    loss_permille: 0,
    seed: 1,
    bytes_per_second: 0,
    queue_bytes: 0,
    encapsulate: None,
};

fn network(path: Path) -> Option<Network> {
    (need_root() && need_program("ethtool")).then(|| Network::through(path).unwrap())
}

/// A connection of two kernels over the network, server first.
fn connection(network: &Network) -> (TcpStream, TcpStream) {
    let at = SocketAddr::new(network.address(1), 7);
    let listener = network.server.run(|| TcpListener::bind(at)).unwrap();
    let client = network.client.run(|| TcpStream::connect_timeout(&at, TEST_TIMEOUT)).unwrap();
    let (server, _) = listener.accept().unwrap();
    for end in [&server, &client] {
        end.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        end.set_nodelay(true).unwrap();
    }
    (server, client)
}

/// The bridge itself: nothing is faster than it says, and every byte is carried both ways.
#[test]
fn a_path_is_as_long_as_it_says_and_changes_nothing() {
    let Some(network) = network(NEAR) else { return };
    let (mut server, mut client) = connection(&network);
    for _ in 0..5 {
        let sent = Instant::now();
        client.write_all(&[1]).unwrap();
        server.read_exact(&mut [0]).unwrap();
        server.write_all(&[2]).unwrap();
        client.read_exact(&mut [0]).unwrap();
        assert!(sent.elapsed() >= 2 * NEAR.delay, "a round trip took {:?}", sent.elapsed());
    }
    let text: Vec<u8> =
        (0..1_000_000u32).flat_map(|i| i.wrapping_mul(0x9e37_79b9).to_be_bytes()).collect();
    let mut got = vec![0; text.len()];
    std::thread::scope(|scope| {
        scope.spawn(|| server.write_all(&text).unwrap());
        client.read_exact(&mut got).unwrap();
    });
    assert!(got == text, "what came is not what was sent");
    let lanes = network.bridge.as_ref().unwrap().lanes();
    assert!(lanes.iter().all(|(_, lost)| *lost == 0) && lanes[0].0 > 2000, "{lanes:?}");
}

/// The seed says which frames are lost, a share as asked for, and TCP repairs it.
#[test]
fn a_path_loses_what_its_seed_says() {
    let path = Path { loss_permille: 50, ..NEAR };
    let expected = |lane, frames| path.losses(lane).take(frames).filter(|lost| *lost).count();
    assert!(
        (4500..5500).contains(&expected(0, 100_000))
            && (4500..5500).contains(&expected(1, 100_000))
    );
    let Some(network) = network(path) else { return };
    let (mut server, mut client) = connection(&network);
    let mut got = vec![0; 1_000_000];
    std::thread::scope(|scope| {
        scope.spawn(|| server.write_all(&vec![7; 1_000_000]).unwrap());
        client.read_exact(&mut got).unwrap();
    });
    let bridge = network.bridge.as_ref().unwrap();
    // The last frames may be under way while the counts are read.
    wait_until("what is lost is what the seed says", TEST_TIMEOUT, || {
        let lanes = bridge.lanes();
        lanes
            .iter()
            .enumerate()
            .all(|(lane, (taken, lost))| expected(lane as u64, *taken as usize) == *lost as usize)
    });
    assert!(
        bridge.lanes().iter().all(|(taken, lost)| *taken > 100 && *lost > 0),
        "{:?}",
        bridge.lanes()
    );
}

#[test]
fn files_arrive_whole_from_afar() {
    let Some(network) = network(NEAR) else { return };
    let site = Plan::new(Transport::Xdp).start_in(network);
    for (path, _) in FILES {
        site.connect().expect(path, &site.content(path));
    }
}

//! From opening an interface to its end, or the end of the process.

use crate::common::skip;
use crate::frames::segment_from;
use crate::net::{CLIENT, MODES, Net, PATIENCE, SERVER, ip, until};
use pnet::packet::tcp::TcpFlags;
use simoom::af_xdp::{BURST, Claim, Device, Error, Mode, OpenOptions, features};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

#[test]
fn what_is_not_claimed_is_the_kernels() {
    let Some(net) = Net::new(1) else { return };
    for mode in MODES {
        let (mut device, mut end) = net.one_queue(mode);
        device.add_claim(Claim::Port((SERVER, 80).into())).unwrap();
        let server = net.server.run(|| UdpSocket::bind((SERVER, 80)).unwrap());
        let client = net.client.run(|| UdpSocket::bind((CLIENT, 0)).unwrap());
        server.set_read_timeout(Some(PATIENCE)).unwrap();
        client.send_to(b"datagram to the claimed TCP port", (SERVER, 80)).unwrap();
        assert_eq!(server.recv_from(&mut [0; 64]).unwrap().0, 32);
        let ssh = net.server.run(|| TcpListener::bind((SERVER, 22)).unwrap());
        let stream = net.client.run(|| TcpStream::connect_timeout(&(SERVER, 22).into(), PATIENCE)).unwrap();
        drop((ssh.accept().unwrap(), stream));
        let ping = || Command::new("ping").args(["-c1", "-W10", &SERVER.to_string()]).output();
        match net.client.run(ping) {
            Ok(output) => assert!(output.status.success(), "{mode}: {}", String::from_utf8_lossy(&output.stdout)),
            Err(error) => skip(&format!("needs ping: {error}")),
        }
        // What is claimed is not: the segment comes here although the kernel listens too, until the claim is gone.
        let http = net.server.run(|| TcpListener::bind((SERVER, 80)).unwrap());
        let refused =
            net.client.run(|| TcpStream::connect_timeout(&(SERVER, 80).into(), Duration::from_millis(200)));
        assert!(refused.is_err(), "{mode}: nobody answers here");
        let frames = end.receive(BURST);
        let umem = end.umem();
        assert!(frames.iter().all(|frame| umem.bytes(frame)[30..34] == SERVER.octets()), "{mode}");
        end.give_all(frames);
        device.remove_claim(Claim::Port((SERVER, 80).into())).unwrap();
        let stream = net.client.run(|| TcpStream::connect_timeout(&(SERVER, 80).into(), PATIENCE)).unwrap();
        drop((http.accept().unwrap(), stream));
    }
}

#[test]
fn the_program_goes_with_the_device() {
    let Some(net) = Net::new(1) else { return };
    assert!(!net.program_attached());
    for mode in MODES {
        let (device, _end) = net.one_queue(mode);
        assert!(net.program_attached(), "{mode}");
        drop(device);
        until("the program is gone", || !net.program_attached());
    }
    let (_device, end) = net.one_queue(Mode::Generic);
    let error = net.open(|options| options.mode = Some(Mode::Generic)).expect_err("it is in use").to_string();
    assert!(error.contains("s0") && error.contains("generic") && error.contains("another XDP program"), "{error}");
    drop(end);
}

const HOLDER: &str = "SIMOOM_TEST_HOLD_DEVICE";

/// Not a test of its own: in the process that the next test starts, holds a device until it is killed.
#[test]
fn holder_of_a_device() {
    if std::env::var_os(HOLDER).is_some() {
        let mut options = OpenOptions::new("s0");
        options.mode = Some(Mode::Generic);
        let parts = Device::open(&options).unwrap();
        writeln!(std::io::stdout(), "\nholding").unwrap();
        thread::park();
        drop(parts);
    }
}

#[test]
fn the_program_goes_with_a_killed_process_and_the_interface_can_be_opened_again() {
    let Some(net) = Net::new(1) else { return };
    let mut child = net.server.run(|| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "lifecycle::holder_of_a_device", "--nocapture"])
            .env(HOLDER, "1")
            .stdout(Stdio::piped());
        command.spawn().unwrap()
    });
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.is_ok_and(|line| line == "holding")), "the child did not open the device");
    let attached = net.program_attached();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(attached);
    until("the program is gone", || !net.program_attached());
    let (device, _end) = net.one_queue(Mode::Generic);
    assert_eq!(device.counters().unwrap().map(|(_, value)| value).sum::<u64>(), 0);
}

#[test]
fn an_interface_that_goes_away_is_told() {
    let Some(net) = Net::new(1) else { return };
    for mode in MODES {
        let Some(net) = Net::new(1) else { return };
        let (_device, mut end) = net.one_queue(mode);
        end.queue.check().unwrap();
        net.server.run(|| ip("link del s0"));
        until("the queue is found to be gone", || end.queue.check().is_err());
        end.put(&segment_from(1, 2, 3, 4, TcpFlags::ACK));
        let error = end.queue.flush().expect_err("nothing to send on");
        assert!(matches!(error, Error::Gone { queue: 0, .. }), "{mode}: {error}");
    }
    // An interface that is only down comes back.
    let (_device, mut end) = net.one_queue(Mode::Generic);
    net.server.run(|| ip("link set s0 down"));
    end.put(&segment_from(1, 2, 3, 4, TcpFlags::ACK));
    end.queue.flush().unwrap();
    assert_eq!((end.queue.unsent(), end.queue.counters().tx_interface_down), (1, 1));
    net.server.run(|| ip("link set s0 up"));
    end.flush();
    assert_eq!(end.settled(), end.umem().chunks());
}

#[test]
fn what_an_interface_offers_is_told() {
    let Some(net) = Net::new(2) else { return };
    net.server.run(|| {
        assert_eq!(features::driver("s0").unwrap(), "veth");
        assert_eq!(features::rx_queues("s0").unwrap(), 2);
        let queues = features::queues("s0").unwrap();
        assert_eq!((queues.rx, queues.tx, queues.max_rx), (2, 2, 2));
        match features::xdp_features("s0") {
            Ok(found) => assert!(found.native() && !found.zero_copy() && !found.tx_checksum(), "{found:?}"),
            Err(error) => assert!(features::kernel_version() < (6, 3), "{error}"),
        }
    });
    let (device, parts) = net.open(|_| ()).unwrap();
    assert_eq!((device.mode(), device.driver(), parts.len()), (Mode::Generic, "veth", 2), "auto mode on a veth");
    drop((device, parts));
    let error = net.open(|options| options.mode = Some(Mode::ZeroCopy)).expect_err("a veth has no zero-copy mode");
    assert!(error.to_string().contains("zero-copy"), "{error}");
    net.server.run(|| ip("link set s0 down"));
    net.server.run(|| assert!(Command::new("ethtool").args(["-L", "s0", "tx", "1"]).status().unwrap().success()));
    let error = net.open(|_| ()).expect_err("a queue could not transmit").to_string();
    assert!(error.starts_with("queues is 2: s0 has 1 transmit queues"), "{error}");
}

//! From opening an interface to its end, or the end of the process.

use crate::frames::{numbered, segment_from};
use crate::net::{MODES, Net, ip, until};
use af_xdp::{BURST, Device, Error, Mode, OpenOptions, Program, features};
use pnet::packet::tcp::TcpFlags;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::thread;

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
    let error = net
        .open(|options| options.mode = Some(Mode::Generic))
        .expect_err("it is in use")
        .to_string();
    assert!(
        error.contains("s0") && error.contains("generic") && error.contains("another XDP program"),
        "{error}"
    );
    drop(end);
}

const HOLDER: &str = "SIMOOM_TEST_HOLD_DEVICE";

/// Not a test of its own: in the process that the next test starts, holds a device until it is
/// killed.
#[test]
fn holder_of_a_device() {
    if std::env::var_os(HOLDER).is_some() {
        let mut options = OpenOptions::new("s0");
        options.mode = Some(Mode::Generic);
        let parts = Device::open(&options, Program::redirect_all(1).unwrap()).unwrap();
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
    assert!(
        lines.any(|line| line.is_ok_and(|line| line == "holding")),
        "the child did not open the device"
    );
    let attached = net.program_attached();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(attached);
    until("the program is gone", || !net.program_attached());
    net.one_queue(Mode::Generic);
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
            Ok(found) => {
                assert!(found.native() && !found.zero_copy() && !found.tx_checksum(), "{found:?}");
            }
            Err(error) => assert!(features::kernel_version() < (6, 3), "{error}"),
        }
    });
    let (device, parts) = net.open(|_| ()).unwrap();
    assert_eq!(
        (device.mode(), device.driver(), parts.len()),
        (Mode::Generic, "veth", 2),
        "auto mode on a veth"
    );
    drop((device, parts));
    let error = net
        .open(|options| options.mode = Some(Mode::ZeroCopy))
        .expect_err("a veth has no zero-copy mode");
    assert!(error.to_string().contains("zero-copy"), "{error}");
    net.server.run(|| ip("link set s0 down"));
    net.server.run(|| {
        assert!(Command::new("ethtool").args(["-L", "s0", "tx", "1"]).status().unwrap().success());
    });
    let error = net.open(|_| ()).expect_err("a queue could not transmit").to_string();
    assert!(error.starts_with("queues is 2: s0 has 1 transmit queues"), "{error}");
}

#[test]
fn a_program_that_was_detached_is_attached_again() {
    let Some(net) = Net::new(1) else { return };
    let (mut device, mut end) = net.one_queue(Mode::Generic);
    let link = net.server.run(|| device.link().unwrap());
    assert!(link.up && link.carrier && link.has_program, "{link:?}");
    let program = device.program().id();
    // Another test may be starting a program: until its child runs that, it holds the old link.
    until("the program is attached again", || net.server.run(|| device.attach_again()).is_ok());
    let link = net.server.run(|| device.link().unwrap());
    assert!(link.has_program && device.program().id() == program, "{link:?}");
    let (mut sender, _receiver) = net.wire();
    sender.send_to(&numbered(0, 1, 10), None).unwrap().unwrap();
    let frames = end.receive(BURST);
    end.give_all(frames);
}

#[test]
fn a_program_for_too_few_queues_is_refused() {
    let Some(net) = Net::new(2) else { return };
    let open = || Device::open(&OpenOptions::new("s0"), Program::redirect_all(1)?).map(drop);
    let error = net.server.run(open).expect_err("two queues, one entry").to_string();
    assert!(error.starts_with("queues is 2: the program was loaded for 1 queues"), "{error}");
}

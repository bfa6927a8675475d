//! Sends each frame of an interface's queue 0 back to its sender: `cargo run --example reflect --
//! IF`, as root.
//!
//! It redirects every frame of the interface: name one that you are not logged in through.

use af_xdp::{BURST, Device, OpenOptions, Program};
use rustix::event::{PollFd, PollFlags, poll};
use std::error::Error;
use std::io::{Write, stdout};

fn main() -> Result<(), Box<dyn Error>> {
    let interface = std::env::args().nth(1).ok_or("usage: reflect INTERFACE")?;
    let options = OpenOptions { queues: Some(1), ..OpenOptions::new(interface) };
    let program = Program::redirect_all(options.queue_count()?)?;
    let (device, mut queues) = Device::open(&options, program)?;
    writeln!(
        stdout(),
        "{}: driver {}, {} mode",
        device.interface(),
        device.driver(),
        device.mode()
    )?;
    let (mut queue, mut pool) = queues.remove(0);
    let mut frames = Vec::with_capacity(2 * BURST);
    loop {
        queue.receive(&mut pool, &mut frames, BURST);
        let is_idle = frames.is_empty();
        for mut frame in frames.drain(..) {
            // Ethernet: destination and source address, 6 bytes each, change places.
            let bytes = queue.umem().bytes_mut(&mut frame);
            if let Some((addresses, _)) = bytes.split_at_mut_checked(12) {
                addresses.rotate_left(6);
            }
            // A full TX ring drops the frame.
            if let Err(frame) = queue.transmit(frame) {
                pool.give(frame);
            }
        }
        queue.flush()?;
        queue.complete(&mut pool);
        if is_idle && queue.unsent() == 0 {
            queue.refill(&mut pool);
            poll(&mut [PollFd::new(&queue, PollFlags::IN)], None)?;
            queue.check()?;
        }
    }
}

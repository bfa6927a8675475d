//! Duplicate-address check: asks on the link whether dedicated addresses are free, before anything
//! is claimed (RFC 5227 §2.1).
//!
//! [`Probing`] of the stack decides when to probe and what a reply means. This module has the clock
//! and a packet socket, which receives from all queues: no frame is steered yet. The stack of the
//! kernel is not affected.

use crate::error::{Error, Result};
use crate::steer::Groups;
use crate::worker::stack_config;
use pnet::datalink::{self, Channel, DataLinkSender};
use simoom_io::{Duration, Instant};
use simoom_tcp::neighbour::probing::Probing;
use simoom_tcp::{Address, Mac, Transmit};
use std::io::ErrorKind;
use std::net::IpAddr;
use std::time;

/// Time to wait for a frame before the timers run.
const LOOK: time::Duration = time::Duration::from_millis(10);
/// Length of the longest frame sent: an Ethernet header and an ARP packet or a neighbour
/// solicitation.
const FRAME_BYTES: usize = 128;

/// Fails if another host on `interface`, whose hardware address is `mac`, has or probes for one of
/// `addresses`. Takes 4 to 7 times `unit`, which is 1 s in RFC 5227. Zero disables the check.
pub(crate) fn check(
    interface: &str,
    mac: Mac,
    addresses: &[IpAddr],
    unit: time::Duration,
) -> Result<()> {
    if addresses.is_empty() || unit.is_zero() {
        return Ok(());
    }
    let cannot = |error| {
        Error::because(format!("checking on {interface} whether addresses are free"), error)
    };
    let device = datalink::interfaces().into_iter().find(|device| device.name == interface);
    let device = device
        .ok_or_else(|| Error::failed(format!("--interface {interface}: the interface is gone")))?;
    // RFC 4862 §5.4.2: the owner of an IPv6 address advertises it to a group.
    let mut groups = Groups::new(device.index).map_err(cannot)?;
    addresses.iter().try_for_each(|address| groups.join(*address)).map_err(cannot)?;
    let config =
        datalink::Config { read_timeout: Some(LOOK), promiscuous: false, ..Default::default() };
    let Channel::Ethernet(sender, mut receiver) =
        datalink::channel(&device, config).map_err(cannot)?
    else {
        return Err(Error::failed(format!("--interface {interface}: not an Ethernet interface")));
    };
    tracing::info!(interface, ?addresses, "checking whether another host has these addresses");
    let began = time::Instant::now();
    let now = || Instant::from_micros(began.elapsed().as_micros() as i64);
    let asked = addresses.iter().map(|address| Address::from(*address)).collect();
    let mut probing =
        Probing::new(mac, asked, stack_config::secret()?, Duration::from(unit), now());
    let mut out = Out { sender, failed: None };
    while probing.next_at().is_some() {
        probing.poll(now(), &mut out);
        if let Some(error) = out.failed.take() {
            return Err(cannot(error));
        }
        match receiver.next() {
            Ok(frame) => probing.on_frame(frame).map_err(|conflict| {
                Error::failed(format!(
                    "another host on {interface} has {conflict}; choose an address that is free, or take it from \
                     that host"
                ))
            })?,
            Err(error) if is_nothing(error.kind()) => {}
            Err(error) => return Err(cannot(error)),
        }
    }
    Ok(())
}

/// Whether an error says only that no frame came, or that a signal did: the loop goes on.
fn is_nothing(error: ErrorKind) -> bool {
    matches!(error, ErrorKind::TimedOut | ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// The sending side of the packet socket.
struct Out {
    sender: Box<dyn DataLinkSender>,
    failed: Option<std::io::Error>,
}

impl Transmit for Out {
    fn transmit(&mut self, write: impl FnOnce(&mut [u8]) -> usize) -> bool {
        let mut frame = [0; FRAME_BYTES];
        let len = write(&mut frame);
        match self.sender.send_to(&frame[..len], None) {
            Some(Ok(())) => return true,
            // The queue is full: the probe is repeated.
            Some(Err(error)) if !is_nothing(error.kind()) => self.failed = Some(error),
            _ => {}
        }
        false
    }
}

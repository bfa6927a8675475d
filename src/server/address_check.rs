//! Whether addresses that are to be Simoom's own are free: asked on the link before anything is
//! claimed (RFC 5227 §2.1).
//!
//! The stack's [`Probing`] says what is asked when and what an answer means; here are the clock and
//! a packet socket, which sees what arrives on all queues, for nothing of it is steered away yet.
//! The kernel goes on as if nothing were.

use crate::error::{Error, Result};
use crate::steer::Groups;
use pnet::datalink::{self, Channel, DataLinkSender};
use simoom_io::{Duration, Instant};
use simoom_tcp::neighbour::probing::Probing;
use simoom_tcp::{Address, Mac, Transmit};
use std::io::ErrorKind;
use std::net::IpAddr;
use std::time;

/// How long a look at the socket lasts.
const LOOK: time::Duration = time::Duration::from_millis(10);
/// The longest frame that is sent: an Ethernet header and an ARP packet, or a neighbour
/// solicitation.
const FRAME_BYTES: usize = 128;

/// Fails if another host on `interface`, whose hardware address is `mac`, has one of `addresses` or
/// wants it. Takes four to seven times `unit`; RFC 5227 says a second. Zero asks nobody.
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
    // RFC 4862 §5.4.2: who has an address of IPv6 says so to a group.
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
    let mut probing = Probing::new(mac, asked, super::xdp::secret()?, Duration::from(unit), now());
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
            Err(error) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) => {}
            Err(error) => return Err(cannot(error)),
        }
    }
    Ok(())
}

/// The packet socket's sending end.
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
            // A full queue: what is lost here is asked again.
            Some(Err(error)) if error.kind() != ErrorKind::WouldBlock => self.failed = Some(error),
            _ => {}
        }
        false
    }
}

//! ICMPv6 for dedicated addresses (RFC 4443): echo requests are answered, other messages counted
//! and dropped. (`ndp` handles neighbour discovery, `path_mtu` reports of the path's MTU.)

use crate::config::Config;
use crate::drop::DropReason;
use crate::tcp::Transmit;
use crate::wire::checksum;
use crate::wire::{Ecn, Link, ethernet, ip, ipv6};

const ECHO_REQUEST: u8 = 128;
const ECHO_REPLY: u8 = 129;
/// Type, code, checksum, identifier, sequence number.
const ECHO_HEADER_BYTES: usize = 8;

/// Answers an echo request to a dedicated address of this stack (RFC 4443 §4.2). Returns whether a
/// reply was sent. `may` is the rate limit, called only for a valid request.
pub(crate) fn answer<T: Transmit>(
    link: Link,
    header: &ip::Header,
    body: &[u8],
    config: &Config,
    may: impl FnOnce() -> bool,
    tx: &mut T,
) -> Result<bool, DropReason> {
    let (local, remote) = (&header.destination, &header.source);
    if !config.is_dedicated(local) {
        return Err(DropReason::NotOurs);
    }
    if !remote.is_unicast() {
        return Err(DropReason::IpSource);
    }
    let is_request = body.starts_with(&[ECHO_REQUEST, 0]) && body.len() >= ECHO_HEADER_BYTES;
    if !is_request || ipv6::HEADER_BYTES + body.len() > usize::from(config.mtu) {
        return Err(DropReason::Icmp);
    }
    Ok(may()
        && tx.transmit(|frame| {
            let at = ethernet::emit(frame, &config.mac, &link, ethernet::IPV6);
            ip::emit(&mut frame[at..], local, remote, ip::ICMPV6, Ecn::NOT_CAPABLE, body.len());
            let start = at + ipv6::HEADER_BYTES;
            let reply = &mut frame[start..start + body.len()];
            reply.copy_from_slice(body);
            reply[..4].copy_from_slice(&[ECHO_REPLY, 0, 0, 0]);
            let sum = checksum::pseudo_header(local, remote, ip::ICMPV6, body.len() as u16)
                .add_bytes(reply);
            reply[2..4].copy_from_slice(&sum.finish());
            start + body.len()
        }))
}

//! ICMPv4 for dedicated addresses (RFC 792): echo requests are answered, other messages counted and
//! dropped. (`path_mtu` handles reports of the path's MTU.)

use crate::config::Config;
use crate::drop::DropReason;
use crate::tcp::Transmit;
use crate::wire::{Ecn, Link, ethernet, ip, ipv4};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{Icmpv4Packet, Icmpv4Repr};

/// Answers an echo request to a dedicated address of this stack. Returns whether a reply was sent.
/// `may` is the rate limit, called only for a valid request.
pub(crate) fn answer<T: Transmit>(
    link: Link,
    header: &ip::Header,
    body: &[u8],
    config: &Config,
    may: impl FnOnce() -> bool,
    tx: &mut T,
) -> Result<bool, DropReason> {
    let is_ours = config.is_dedicated(&header.destination);
    if !is_ours {
        return Err(DropReason::NotOurs);
    }
    let checksums = ChecksumCapabilities::default();
    let packet = Icmpv4Packet::new_checked(body).map_err(|_| DropReason::Icmp)?;
    let Ok(Icmpv4Repr::EchoRequest { ident, seq_no, data }) =
        Icmpv4Repr::parse(&packet, &checksums)
    else {
        return Err(DropReason::Icmp);
    };
    let reply = Icmpv4Repr::EchoReply { ident, seq_no, data };
    let len = reply.buffer_len();
    if ipv4::HEADER_BYTES + len > usize::from(config.mtu) {
        return Err(DropReason::Icmp);
    }
    Ok(may()
        && tx.transmit(|frame| {
            let at = ethernet::emit(frame, &config.mac, &link, ethernet::IPV4);
            let body = at + ipv4::HEADER_BYTES;
            ipv4::emit(
                &mut frame[at..],
                &header.destination,
                &header.source,
                ip::ICMP,
                Ecn::NOT_CAPABLE,
                len,
            );
            reply.emit(&mut Icmpv4Packet::new_unchecked(&mut frame[body..body + len]), &checksums);
            body + len
        }))
}

//! What a stack counts. `counters.md` lists the counters beside the names of `nstat`.

simoom_io::counters! {
    /// What a stack counts besides the packets that it drops ([`crate::drop::Drops`]).
    pub struct Counters {
        /// Packets received, of any kind.
        packets_received,
        /// TCP segments received that passed all checks of their headers.
        segments_received,
        /// TCP segments sent, retransmissions included.
        segments_sent,
        /// Packets of several segments that the kernel or the NIC was to cut (GSO).
        gso_packets_sent,
        /// Such packets that the kernel did not accept. Their segments were sent as frames.
        gso_packets_refused,
        /// Payload bytes received, without duplicates.
        bytes_received: bytes,
        /// Payload bytes sent, without retransmissions.
        bytes_sent: bytes,
        /// Connections opened by a peer.
        passive_opens,
        /// Connections opened by Simoom.
        active_opens,
        /// Connections that both sides closed.
        closed_finished,
        /// Connections that the peer reset.
        closed_reset_by_peer,
        /// Connections given up because the peer did not answer in time.
        closed_timed_out,
        /// Active opens that were refused.
        closed_refused,
        /// Active opens whose next hop did not answer.
        closed_unreachable,
        /// Connections that Simoom reset.
        closed_aborted,
        /// Half-open connections that were never completed.
        half_open_expired,
        /// TIME-WAIT entries evicted by newer ones before their time.
        time_wait_evicted,
        /// TIME-WAIT entries whose four-tuple a new connection took over (RFC 6191).
        time_wait_reused,
        /// SYN-ACKs sent with a cookie (RFC 4987 §3.6).
        syn_cookies_sent,
        /// Valid SYN cookies received; each became a connection.
        syn_cookies_received,
        /// Segments that needed a SYN cookie and had no valid one.
        syn_cookies_failed,
        /// SYN-ACKs sent.
        syn_acks_sent,
        /// Segments sent with an acknowledgement and no payload.
        pure_acks_sent,
        /// Segments retransmitted, for any reason.
        retransmissions,
        /// Retransmission timeouts.
        retransmission_timeouts,
        /// Fast recoveries that began (RFC 6675, RFC 6582).
        fast_retransmissions,
        /// Runs of segments that were retransmitted and lost again.
        lost_retransmissions,
        /// Tail loss probes sent (RFC 8985 §7).
        loss_probes,
        /// Tail loss probes that repaired a loss.
        loss_probe_recoveries,
        /// Retransmission timeouts that F-RTO found to be spurious (RFC 5682).
        spurious_timeouts,
        /// Window reductions undone because D-SACK reported all retransmissions as spurious.
        undone_by_dsack,
        /// Window reductions undone because a timestamp showed them to be spurious (RFC 3522).
        undone_by_timestamp,
        /// Segments delivered after a segment that was sent later.
        reorderings,
        /// Times a peer withdrew what it had reported by SACK.
        sack_reneging,
        /// Invalid SACK blocks.
        sack_blocks_discarded,
        /// SACK blocks not recorded in full because the scoreboard had no free runs.
        sack_blocks_unnoted,
        /// Duplicate acknowledgements received: nothing new, nothing else in them, and data
        /// outstanding (RFC 5681 §2).
        duplicate_acks_received,
        /// Duplicates that a peer reported by D-SACK (RFC 2883).
        dsacks_received,
        /// Duplicates reported to a peer by D-SACK (RFC 2883).
        dsacks_sent,
        /// Connections on which both sides agreed to ECN (RFC 3168).
        ecn_connections,
        /// Segments with payload that a router marked with congestion experienced.
        congestion_marks,
        /// Segments acknowledged while the peer reported congestion marks.
        delivered_marked,
        /// Reductions of the congestion window because the peer reported a mark.
        congestion_echoes,
        /// Probes of a closed receive window.
        zero_window_probes,
        /// Keep-alive probes sent.
        keep_alive_probes,
        /// Segments received out of order.
        out_of_order,
        /// Times a receive window doubled because its peer used it.
        windows_widened,
        /// Times a receive window did not double because memory was short.
        windows_kept_small,
        /// ICMP messages received that a packet was too big for its path.
        icmp_too_big,
        /// Connections whose segments became smaller because of the path MTU.
        path_mtu_lowered,
        /// Connections whose segments became smaller because full segments vanished (RFC 4821
        /// §7.7).
        path_black_holes,
        /// Probes for a larger path MTU sent (RFC 8899).
        path_mtu_probes,
        /// Times the segments of a connection grew because a probe for a larger path MTU arrived.
        path_mtu_raised,
        /// Challenge ACKs sent (RFC 5961).
        challenge_acks,
        /// Challenge ACKs and duplicate ACKs not sent because of their rate limit.
        challenge_acks_suppressed,
        /// ACKs in TIME-WAIT not sent because of their rate limit.
        time_wait_acks_suppressed,
        /// Resets sent.
        resets_sent,
        /// Resets for unknown connections not sent because of their rate limit.
        resets_suppressed,
        /// Times a connection's unread input exceeded its limit.
        input_overfull,
        /// Bytes of unread input kept in reassembly blocks because input buffers were in use or
        /// full.
        input_held_in_blocks: bytes,
        /// Connections reset because they kept part of a request for over a second while others
        /// found no memory for input.
        input_evicted,
        /// Connections reset because an answer exceeded the send queue.
        answer_overflow,
        /// Times a handler waited for space in the send queue.
        waits_for_capacity,
        /// Times a connection used its share of an iteration and was queued again.
        shares_used_up,
        /// ARP requests answered.
        arp_replies,
        /// ARP requests sent for the address of a next hop.
        arp_requests_sent,
        /// Neighbour solicitations sent for the address of a next hop.
        neighbour_solicitations_sent,
        /// Announcements of dedicated addresses at start (RFC 5227 §2.3, RFC 4861 §7.2.6).
        address_announcements,
        /// Packets of other hosts that claim a dedicated address (RFC 5227 §2.4).
        address_conflicts,
        /// Announcements sent in answer to a conflicting claim of an address.
        address_defences,
        /// Next hops that did not answer.
        neighbours_unreachable,
        /// Neighbour solicitations answered (RFC 4861 §7.2.4).
        neighbour_replies,
        /// ARP requests and neighbour solicitations not answered because of their rate limit.
        neighbour_replies_suppressed,
        /// ICMP and ICMPv6 echo requests answered.
        echo_replies,
        /// Echo requests not answered because of their rate limit.
        echo_replies_suppressed,
    }
}

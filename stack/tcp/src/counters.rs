//! What a stack counts. `counters.md` lists the counters beside the names of `nstat`.

simoom_io::counters! {
    /// What a stack counts besides the packets that it drops ([`crate::drop::Drops`]).
    pub struct Counters {
        /// Packets received, of any kind.
        packets_received,
        /// TCP segments received that passed all checks of their headers.
        segments_received,
        /// TCP segments sent, of any kind.
        segments_sent,
        /// Payload bytes taken in order.
        bytes_received,
        /// Payload bytes sent for the first time.
        bytes_sent,
        /// Connections opened by a peer.
        passive_opens,
        /// Connections opened by this side.
        active_opens,
        /// Connections that ended with both sides closing.
        closed_finished,
        /// Connections that the peer reset.
        closed_reset_by_peer,
        /// Connections given up because the peer took or answered nothing for too long.
        closed_timed_out,
        /// Active opens that were refused.
        closed_refused,
        /// Active opens whose next hop did not answer.
        closed_unreachable,
        /// Connections reset by this side.
        closed_aborted,
        /// Half-open connections that were never completed.
        half_open_expired,
        /// TIME_WAIT entries that gave way to newer ones before their time.
        time_wait_evicted,
        /// TIME_WAIT entries whose four-tuple a new connection took over (RFC 6191).
        time_wait_reused,
        /// SYN-ACKs sent that were cookies (RFC 4987 §3.6; TcpExtSyncookiesSent).
        syn_cookies_sent,
        /// Cookies that came back, each of which became a connection (TcpExtSyncookiesRecv).
        syn_cookies_received,
        /// Segments that would have had to bear a cookie and bore none (TcpExtSyncookiesFailed).
        syn_cookies_failed,
        /// SYN-ACKs sent.
        syn_acks_sent,
        /// Segments that acknowledge and carry nothing.
        pure_acks_sent,
        /// Segments sent again, for whatever reason (TcpRetransSegs).
        retransmissions,
        /// Retransmission timeouts (TcpExtTCPTimeouts).
        retransmission_timeouts,
        /// Fast recoveries begun (RFC 6675, RFC 6582; TcpExtTCPSackRecovery,
        /// TcpExtTCPRenoRecovery).
        fast_retransmissions,
        /// Runs of segments that were sent again and lost again (TcpExtTCPLostRetransmit).
        lost_retransmissions,
        /// Tail loss probes sent (RFC 8985 §7; TcpExtTCPLossProbes).
        loss_probes,
        /// Tail loss probes that repaired a loss (TcpExtTCPLossProbeRecovery).
        loss_probe_recoveries,
        /// Timeouts that F-RTO found to have been for nothing (RFC 5682; TcpExtTCPSpuriousRTOs).
        spurious_timeouts,
        /// Reductions taken back because D-SACK reported all repetitions as needless
        /// (TcpExtTCPDSACKUndo).
        undone_by_dsack,
        /// Reductions taken back because a timestamp told the same (RFC 3522; TcpExtTCPFullUndo).
        undone_by_timestamp,
        /// Times a segment was delivered after what followed it (TcpExtTCPSACKReorder).
        reorderings,
        /// Times a peer took back what it had reported by SACK (TcpExtTCPSACKReneging).
        sack_reneging,
        /// SACK blocks that made no sense (TcpExtTCPSACKDiscard).
        sack_blocks_discarded,
        /// SACK blocks that were not noted whole for want of runs in the scoreboard.
        sack_blocks_unnoted,
        /// Duplicates reported by the peer (RFC 2883; TcpExtTCPDSACKRecv).
        dsacks_received,
        /// Duplicates reported to the peer (TcpExtTCPDSACKOldSent, TcpExtTCPDSACKOfoSent).
        dsacks_sent,
        /// Connections on which both sides agreed to ECN (RFC 3168).
        ecn_connections,
        /// Segments with text that a router had marked as having met congestion (IpExtInCEPkts).
        congestion_marks,
        /// Segments that the peer reported as delivered while its reports of marks lasted
        /// (TcpExtTCPDeliveredCE).
        delivered_marked,
        /// Reductions of the congestion window because the peer reported a mark.
        congestion_echoes,
        /// Probes of a shut window.
        zero_window_probes,
        /// Keep-alive probes.
        keep_alive_probes,
        /// Segments that arrived ahead of a gap.
        out_of_order,
        /// Times a receive window was doubled because its peer sent fast enough to use it.
        windows_widened,
        /// Times it would have been, had others not used up what there is.
        windows_kept_small,
        /// ICMP messages that a packet was too big for its path (of IcmpInDestUnreachs,
        /// Icmp6InPktTooBigs).
        icmp_too_big,
        /// Connections whose segments were cut smaller, because of such a message or without one.
        path_mtu_lowered,
        /// Those without: full segments had vanished (RFC 4821 §7.7).
        path_black_holes,
        /// Challenge ACKs sent (RFC 5961).
        challenge_acks,
        /// Those and other duplicate acknowledgements that were not sent, for there had been enough
        /// in that second (TcpExtTCPACKSkippedChallenge, TcpExtTCPACKSkippedSeq,
        /// TcpExtTCPACKSkippedPAWS).
        challenge_acks_suppressed,
        /// Acknowledgements in TIME-WAIT that were not sent for the same reason
        /// (TcpExtTCPACKSkippedTimeWait).
        time_wait_acks_suppressed,
        /// Resets sent.
        resets_sent,
        /// Resets for strangers that were not sent, for there had been enough in that second.
        resets_suppressed,
        /// Times an application's input was overfull.
        input_overfull,
        /// Bytes of input that were held in reassembly blocks, because the buffers for it were used
        /// up or full.
        input_held_in_blocks,
        /// Connections reset because they held a part of a request for over a second while others'
        /// input found no memory.
        input_evicted,
        /// Times an application's answer did not fit the send pool, and its connection was reset.
        answer_overflow,
        /// Times an application began to wait for room in the send pool, or in its connection's
        /// part of it.
        waits_for_room,
        /// Times an application yielded: a connection used up its share of one iteration.
        turns_used_up,
        /// ARP requests answered.
        arp_replies,
        /// Questions sent for next hops' hardware addresses, by ARP.
        arp_requests_sent,
        /// The same by neighbour solicitations.
        neighbour_solicitations_sent,
        /// Announcements of dedicated addresses at the start (RFC 5227 §2.3, RFC 4861 §7.2.6).
        address_announcements,
        /// Packets of other hosts that say that a dedicated address is theirs (RFC 5227 §2.4).
        address_conflicts,
        /// Announcements that answered those, one in ten seconds for an address at most.
        address_defences,
        /// Next hops that did not answer.
        neighbours_unreachable,
        /// Neighbour solicitations answered (RFC 4861 §7.2.4).
        neighbour_replies,
        /// ARP requests and neighbour solicitations not answered, for there had been enough in that
        /// second.
        neighbour_replies_suppressed,
        /// ICMP and ICMPv6 echo requests answered.
        echo_replies,
        /// Echo requests not answered, for there had been enough in that second
        /// (IcmpOutRateLimitGlobal).
        echo_replies_suppressed,
    }
}

//! What a stack counts. `counters.md` lists the counters beside the names of `nstat`.

simoom_io::counters! {
    /// Counters of a stack, besides its dropped packets ([`crate::drop::Drops`]).
    pub struct Counters {
        /// Packets received, of any kind.
        packets_received,
        /// TCP segments received that passed all checks of their headers.
        segments_received,
        /// TCP segments sent, of any kind.
        segments_sent,
        /// Payload bytes received in order.
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
        /// Connections reset because the peer acknowledged nothing, or too little, for the send
        /// timeout.
        closed_timed_out,
        /// Active opens that were refused.
        closed_refused,
        /// Active opens whose next hop did not answer.
        closed_unreachable,
        /// Connections reset by this side.
        closed_aborted,
        /// Half-open connections that were never completed.
        half_open_expired,
        /// TIME-WAIT entries evicted by newer ones before they expired.
        time_wait_evicted,
        /// TIME-WAIT entries whose four-tuple a new connection reused (RFC 6191).
        time_wait_reused,
        /// SYN-ACKs sent that were cookies (RFC 4987 §3.6; TcpExtSyncookiesSent).
        syn_cookies_sent,
        /// Cookies that came back, each of which became a connection (TcpExtSyncookiesRecv).
        syn_cookies_received,
        /// Segments that needed a valid cookie and had none (TcpExtSyncookiesFailed).
        syn_cookies_failed,
        /// SYN-ACKs sent.
        syn_acks_sent,
        /// Pure acknowledgements sent.
        pure_acks_sent,
        /// Segments retransmitted, for any reason (TcpRetransSegs).
        retransmissions,
        /// Retransmission timeouts (TcpExtTCPTimeouts).
        retransmission_timeouts,
        /// Fast recoveries started (RFC 6675, RFC 6582; TcpExtTCPSackRecovery,
        /// TcpExtTCPRenoRecovery).
        fast_retransmissions,
        /// Runs of segments whose retransmission was lost (TcpExtTCPLostRetransmit).
        lost_retransmissions,
        /// Tail loss probes sent (RFC 8985 §7; TcpExtTCPLossProbes).
        loss_probes,
        /// Tail loss probes that repaired a loss (TcpExtTCPLossProbeRecovery).
        loss_probe_recoveries,
        /// Timeouts that F-RTO found to be spurious (RFC 5682; TcpExtTCPSpuriousRTOs).
        spurious_timeouts,
        /// Window reductions undone because D-SACK reported all retransmissions as spurious
        /// (TcpExtTCPDSACKUndo).
        undone_by_dsack,
        /// Window reductions undone because a timestamp showed a spurious retransmission (RFC 3522;
        /// TcpExtTCPFullUndo).
        undone_by_timestamp,
        /// Times a segment was delivered after its successor (TcpExtTCPSACKReorder).
        reorderings,
        /// Times a peer reneged on a SACK (TcpExtTCPSACKReneging).
        sack_reneging,
        /// Invalid SACK blocks (TcpExtTCPSACKDiscard).
        sack_blocks_discarded,
        /// SACK blocks not applied whole because the scoreboard had no free run.
        sack_blocks_unnoted,
        /// D-SACK reports received (RFC 2883; TcpExtTCPDSACKRecv).
        dsacks_received,
        /// D-SACK reports sent (TcpExtTCPDSACKOldSent, TcpExtTCPDSACKOfoSent).
        dsacks_sent,
        /// Connections on which both sides agreed to ECN (RFC 3168).
        ecn_connections,
        /// Segments with text received with a CE mark (IpExtInCEPkts).
        congestion_marks,
        /// Segments acknowledged with ECE set (TcpExtTCPDeliveredCE).
        delivered_marked,
        /// Reductions of the congestion window because of ECE.
        congestion_echoes,
        /// Zero-window probes sent.
        zero_window_probes,
        /// Keep-alive probes sent.
        keep_alive_probes,
        /// Segments that arrived ahead of a gap.
        out_of_order,
        /// Times auto-tuning doubled a receive window because the peer used it fully.
        windows_widened,
        /// Times auto-tuning did not double a receive window because the shared budget was used up.
        windows_kept_small,
        /// ICMP reports that a packet was too big for its path (of IcmpInDestUnreachs,
        /// Icmp6InPktTooBigs).
        icmp_too_big,
        /// Times a connection's MSS was lowered, by an ICMP report or for a black hole.
        path_mtu_lowered,
        /// Times a connection's MSS was lowered for a black hole: full segments were lost (RFC 4821
        /// §7.7).
        path_black_holes,
        /// Challenge ACKs sent (RFC 5961).
        challenge_acks,
        /// Challenge ACKs and duplicate acknowledgements suppressed by the rate limit
        /// (TcpExtTCPACKSkippedChallenge, TcpExtTCPACKSkippedSeq, TcpExtTCPACKSkippedPAWS).
        challenge_acks_suppressed,
        /// Acknowledgements in TIME-WAIT suppressed by the rate limit
        /// (TcpExtTCPACKSkippedTimeWait).
        time_wait_acks_suppressed,
        /// Resets sent.
        resets_sent,
        /// Resets suppressed by the rate limit.
        resets_suppressed,
        /// Times a request exceeded the input limit of its connection.
        input_overfull,
        /// Bytes of input held in reassembly blocks because no input buffer was free, or the buffer
        /// was full.
        input_held_in_blocks,
        /// Connections reset because they held a part of a request for over a second while other
        /// input found no memory.
        input_evicted,
        /// Connections reset because an answer did not fit the send pool.
        answer_overflow,
        /// Times an application began to wait for capacity in the send pool, or in its connection's
        /// share.
        waits_for_room,
        /// ARP replies sent.
        arp_replies,
        /// ARP requests sent for next hops.
        arp_requests_sent,
        /// Neighbour solicitations sent for next hops.
        neighbour_solicitations_sent,
        /// Announcements of dedicated addresses at the start (RFC 5227 §2.3, RFC 4861 §7.2.6).
        address_announcements,
        /// Packets of other hosts that claim a dedicated address (RFC 5227 §2.4).
        address_conflicts,
        /// Announcements that defended a dedicated address, at most one in 10 seconds for each
        /// address.
        address_defences,
        /// Next hops that did not answer.
        neighbours_unreachable,
        /// Neighbour advertisements sent in reply to solicitations (RFC 4861 §7.2.4).
        neighbour_replies,
        /// ARP replies and neighbour advertisements suppressed by the rate limit.
        neighbour_replies_suppressed,
        /// ICMP and ICMPv6 echo replies sent.
        echo_replies,
        /// Echo replies suppressed by the rate limit (IcmpOutRateLimitGlobal).
        echo_replies_suppressed,
    }
}

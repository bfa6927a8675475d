//! Counters of a worker of the kernel transport.

simoom_io::counters! {
    /// Counts of one worker since it started.
    pub struct Counters {
        /// Connections that a kernel socket accepted and a handler served.
        connections_accepted,
        /// Connections accepted and reset because the connection table was full.
        connections_refused,
        /// Connections accepted and reset because of --connections-per-prefix.
        prefix_refused,
        /// Connections that both sides closed.
        closed_finished,
        /// Connections that the peer reset.
        closed_reset_by_peer,
        /// Connections given up because the peer did not answer in time.
        closed_timed_out,
        /// Connections that Simoom reset.
        closed_aborted,
        /// Calls of accept(2) that failed for one connection.
        accept_errors,
        /// Times accepting paused because file descriptors or kernel memory ran out.
        accept_pauses,
        /// Payload bytes received, without duplicates.
        bytes_received: bytes,
        /// Payload bytes sent, without retransmissions.
        bytes_sent: bytes,
        /// Calls of epoll_wait(2) or io_uring_enter(2).
        wait_calls,
        /// Whether epoll_wait(2) polls the NIC and suspends its interrupts (--busy-poll): 1 or 0.
        busy_polling: gauge,
        /// Calls of recv(2), or buffers that io_uring filled.
        read_calls,
        /// Calls of send(2) and sendmsg(2), or sends submitted to io_uring.
        write_calls,
        /// Times a socket did not take a whole answer.
        socket_full,
        /// Deadlines of handlers that passed.
        timeouts,
        /// Connections whose unread input exceeded its limit.
        overfull,
        /// Connections reset because an answer exceeded the send queue.
        answer_overflow,
        /// Times a connection waited because the pool for answers was empty.
        send_pool_exhausted,
        /// Times input stayed in the kernel because every input buffer was in use.
        input_pool_exhausted,
        /// Times io_uring found no free receive buffer.
        receive_buffers_exhausted,
        /// Times a connection used its share of an iteration and was queued again.
        shares_used_up,
        /// Connections reset at the end of the drain.
        drain_cut_off,
    }
}

//! What a worker of the kernel transport counts.

simoom_io::counters! {
    /// Counts of one worker since it started; `connections_open` is the number now.
    pub struct Counters {
        /// Connections open now.
        connections_open,
        /// Connections accepted and served.
        connections_accepted,
        /// Connections accepted and reset at once because the table was full.
        connections_refused,
        /// Connections accepted and reset at once because their network had as many as it may have.
        prefix_refused,
        /// Connections that ended in order.
        closed_finished,
        /// Connections that the peer reset.
        closed_reset_by_peer,
        /// Connections given up: the peer took nothing, or did not answer the FIN, for too long.
        closed_timed_out,
        /// Connections that this side reset.
        closed_aborted,
        /// accept(2) failed for one connection, which was gone before it was accepted.
        accept_errors,
        /// Accepting paused because file descriptors or kernel memory ran out.
        accept_pauses,
        /// Bytes of input that the application was offered, or that were discarded after a close.
        bytes_received,
        /// Bytes of answers that the kernel took.
        bytes_sent,
        /// Calls of epoll_wait(2), or io_uring_enter(2).
        wait_calls,
        /// Calls of recv(2), and buffers that io_uring filled.
        read_calls,
        /// Calls of send(2) and sendmsg(2), and sends submitted to io_uring.
        write_calls,
        /// The socket could not take a whole answer at once.
        socket_full,
        /// Deadlines of the application that passed.
        timeouts,
        /// Input beyond the bound of one connection.
        overfull,
        /// An answer did not fit what the application was promised: the connection was reset.
        answer_overflow,
        /// A connection had to wait because others held the ranges or chunks for answers.
        send_pool_exhausted,
        /// Input was left in the kernel because every buffer for it was taken.
        input_pool_exhausted,
        /// io_uring found no free buffer to receive into: the input was read without one.
        receive_buffers_exhausted,
        /// A connection used up its share of one turn and stood in line behind the others.
        turns_used_up,
        /// Connections still open at the end of the time given to drain, and cut off.
        drain_cut_off,
    }
}

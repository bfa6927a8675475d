//! What a queue counts, and what the kernel counts for it.

simoom_stack::counters! {
    /// A queue's own counters. Frames, not packets: a chain counts each of its frames.
    pub struct QueueCounters {
        /// Received.
        rx_frames,
        /// Bytes received.
        rx_bytes,
        /// Received frames that continue in another one.
        rx_continued,
        /// Descriptors that named no chunk of this queue's, or bytes outside of it. Their frames are lost.
        rx_bad_descriptors,
        /// The fill ring could not be topped up because the pool was empty.
        rx_pool_empty,
        /// System calls that woke the driver to receive.
        rx_wakeups,
        /// Put on the TX ring.
        tx_frames,
        /// Bytes put on the TX ring.
        tx_bytes,
        /// Refused because the TX ring was full.
        tx_ring_full,
        /// Taken back after transmission.
        tx_completed,
        /// Completions that named no chunk given out for transmission. Their frames are lost.
        tx_bad_completions,
        /// System calls that started transmission.
        tx_wakeups,
        /// Of these, those that the kernel ended early for want of buffers or room in a queue (EAGAIN, ENOBUFS).
        tx_retries,
        /// Frames that the kernel took and dropped (EBUSY).
        tx_dropped,
        /// Transmission put off because the kernel took nothing more for now.
        tx_stalled,
        /// Transmission put off because the interface was down.
        tx_interface_down,
        /// Other errors at the start of transmission.
        tx_errors,
    }
}

simoom_stack::counters! {
    /// What the kernel counts for a queue's socket (XDP_STATISTICS).
    pub struct KernelCounters {
        /// Packets dropped for other reasons than those below, mostly for want of frames in the fill ring.
        xsk_rx_dropped,
        /// Fill ring entries that were no chunk.
        xsk_rx_invalid_descs,
        /// TX descriptors that were no frame.
        xsk_tx_invalid_descs,
        /// Packets dropped because the RX ring was full.
        xsk_rx_ring_full,
        /// Times the kernel found the fill ring empty.
        xsk_fill_ring_empty,
        /// Times the kernel found the TX ring empty.
        xsk_tx_ring_empty,
    }
}

/// Where the frames of a queue are, by what the queue itself gave and took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueFrames {
    /// With the kernel to receive into: in the fill ring, in the driver, or in the RX ring.
    pub receive: usize,
    /// With the kernel to transmit from: in the TX ring, in the driver, or in the completion ring.
    pub transmit: usize,
}

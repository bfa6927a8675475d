//! Counters of a queue, and the kernel's counters of its socket.

/// Declares a struct of `u64` counters with `iter`, which yields the name of each field with its
/// value.
macro_rules! counters {
    ($(#[$doc:meta])* pub struct $name:ident { $($(#[$field_doc:meta])* $field:ident,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name { $($(#[$field_doc])* pub $field: u64,)* }

        impl $name {
            /// Each counter's name and value, in the order of declaration.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                [$((stringify!($field), self.$field),)*].into_iter()
            }
        }
    };
}

counters! {
    /// A queue's counters. They count frames, not packets: each frame of a chain counts.
    pub struct QueueCounters {
        /// Frames received.
        rx_frames,
        /// Bytes received.
        rx_bytes,
        /// Frames received whose packet continues in the next frame.
        rx_continued,
        /// RX descriptors of a chunk that the kernel did not hold, or of bytes outside it. Their
        /// chunks are lost.
        rx_bad_descriptors,
        /// Times the fill ring could not be filled because the pool was empty.
        rx_pool_empty,
        /// System calls that woke the driver to receive.
        rx_wakeups,
        /// Frames put on the TX ring.
        tx_frames,
        /// Bytes put on the TX ring.
        tx_bytes,
        /// Frames refused because the TX ring was full.
        tx_ring_full,
        /// Frames returned after transmission.
        tx_completed,
        /// Completions of a chunk that the kernel did not hold. Their chunks are lost.
        tx_bad_completions,
        /// System calls that started transmission.
        tx_wakeups,
        /// System calls to transmit that ended early for lack of buffers or queue space (EAGAIN,
        /// ENOBUFS).
        tx_retries,
        /// Frames that the kernel took and dropped (EBUSY).
        tx_dropped,
        /// Flushes that left frames on the TX ring because the kernel took no more.
        tx_stalled,
        /// Flushes that left frames on the TX ring because the interface was down.
        tx_interface_down,
        /// Flushes that failed with another error.
        tx_errors,
    }
}

counters! {
    /// The kernel's counters of a queue's socket (XDP_STATISTICS).
    pub struct KernelCounters {
        /// Packets dropped for reasons without a counter of their own, mostly for lack of frames in
        /// the fill ring.
        xsk_rx_dropped,
        /// Fill ring entries that named no chunk.
        xsk_rx_invalid_descs,
        /// TX descriptors that named no chunk.
        xsk_tx_invalid_descs,
        /// Packets dropped because the RX ring was full.
        xsk_rx_ring_full,
        /// Times the kernel found the fill ring empty.
        xsk_fill_ring_empty,
        /// Times the kernel found the TX ring empty.
        xsk_tx_ring_empty,
    }
}

/// Frames of a queue that the kernel holds, as the queue counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueFrames {
    /// Frames to receive into: in the fill ring, in the driver, or in the RX ring.
    pub receive: usize,
    /// Frames to transmit: in the TX ring, in the driver, or in the completion ring.
    pub transmit: usize,
}

//! Counters of a queue, and the kernel's counters of its socket.

/// What a counter counts: its name, and the field's documentation for a user of the counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter {
    /// The name of the field.
    pub name: &'static str,
    /// One line that explains the counter by itself.
    pub help: &'static str,
    /// Whether the value is a number of bytes.
    pub is_bytes: bool,
}

impl Counter {
    const fn new(name: &'static str, help: &'static str) -> Counter {
        Counter { name, help: help.trim_ascii(), is_bytes: false }
    }

    const fn bytes(self) -> Counter {
        Counter { is_bytes: true, ..self }
    }
}

/// Declares a struct of `u64` counters, each with its [`Counter`]: the help text is the field's doc
/// comment, so that comment must stand alone. `bytes` behind a name states its unit.
macro_rules! counters {
    ($(#[$doc:meta])* pub struct $name:ident {
        $($(#[doc = $help:literal])+ $field:ident $(: $mark:ident)?,)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name { $($(#[doc = $help])+ pub $field: u64,)* }

        impl $name {
            /// What each field counts, in order.
            pub const COUNTERS: &'static [Counter] = &[$(
                Counter::new(stringify!($field), concat!($($help),+))$(.$mark())?,
            )*];

            /// Each field's declaration and value, in order.
            pub fn iter(&self) -> impl Iterator<Item = (&'static Counter, u64)> + use<> {
                $name::COUNTERS.iter().zip([$(self.$field,)*])
            }
        }
    };
}

counters! {
    /// A queue's counters. They count frames, not packets: each frame of a chain counts.
    pub struct QueueCounters {
        /// Frames received; each frame of a packet of several frames counts.
        rx_frames,
        /// Bytes received in frames.
        rx_bytes: bytes,
        /// Frames received whose packet continues in the next frame.
        rx_continued,
        /// RX descriptors that named no frame of the queue, or bytes outside it; the frame is lost.
        rx_bad_descriptors,
        /// Times the fill ring was not refilled because the pool was empty.
        rx_pool_empty,
        /// System calls that woke the driver to receive.
        rx_wakeups,
        /// Frames put on the TX ring.
        tx_frames,
        /// Bytes put on the TX ring.
        tx_bytes: bytes,
        /// Packets put on the TX ring whose checksum the kernel or the NIC completes.
        tx_checksum_requests,
        /// Frames refused because the TX ring was full.
        tx_ring_full,
        /// Frames returned after transmission.
        tx_completed,
        /// Completions that named no frame in transmission; the frame is lost.
        tx_bad_completions,
        /// System calls that started transmission.
        tx_wakeups,
        /// System calls to transmit that the kernel ended early (EAGAIN, ENOBUFS).
        tx_retries,
        /// Frames that the kernel took and dropped (EBUSY).
        tx_dropped,
        /// Flushes that left frames on the TX ring because the kernel took no more.
        tx_stalled,
        /// Flushes that left frames on the TX ring because the interface was down.
        tx_interface_down,
        /// Flushes of the TX ring that failed with an unexpected error.
        tx_errors,
    }
}

counters! {
    /// The kernel's counters of a queue's socket (XDP_STATISTICS).
    pub struct KernelCounters {
        /// Packets that the kernel dropped, mostly because the fill ring was empty
        /// (XDP_STATISTICS).
        xsk_rx_dropped,
        /// Fill ring entries that named no frame (XDP_STATISTICS).
        xsk_rx_invalid_descs,
        /// TX descriptors that named no frame (XDP_STATISTICS).
        xsk_tx_invalid_descs,
        /// Packets that the kernel dropped because the RX ring was full (XDP_STATISTICS).
        xsk_rx_ring_full,
        /// Times the kernel found the fill ring empty (XDP_STATISTICS).
        xsk_fill_ring_empty,
        /// Times the kernel found the TX ring empty (XDP_STATISTICS).
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

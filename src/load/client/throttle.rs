//! Read throttling: how many of the received bytes a connection reads now, and when it reads again.

use simoom_io::input;

/// Upper bound of the rate. Above it, deadlines in milliseconds are too coarse.
pub(crate) const SLOW_MAX: u32 = 10_000_000;
/// Reads a second on each connection, if its window allows.
const READS_PER_SECOND: u32 = 4;
/// Rate up to which a small window is enough, so unread input fits a small buffer of the stack.
const SMALL_WINDOW_RATE: u32 = 64 * 1024;

/// The rate at which connections read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReadThrottle {
    /// Bytes a second on each connection, at most.
    pub(crate) bytes_per_second: u32,
}

impl ReadThrottle {
    /// Size of the receive window.
    pub(crate) fn window_bytes(self) -> usize {
        if self.bytes_per_second <= SMALL_WINDOW_RATE {
            input::SMALL_BYTES
        } else {
            input::LARGE_BYTES - 1
        }
    }

    /// Bytes in one read: at most half a window, so that the other half is in flight meanwhile.
    pub(crate) fn bytes_per_read(self) -> usize {
        ((self.bytes_per_second / READS_PER_SECOND) as usize).clamp(1, self.window_bytes() / 2)
    }

    /// The next time to read, for a connection that could read from `read_at_us` on and reads
    /// `bytes` at `now_us`. A late connection makes up for at most one read.
    pub(crate) fn after(self, read_at_us: u64, bytes: usize, now_us: u64) -> u64 {
        let time_us = |bytes: usize| bytes as u64 * 1_000_000 / u64::from(self.bytes_per_second);
        read_at_us.max(now_us.saturating_sub(time_us(self.bytes_per_read()))) + time_us(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sip_is_a_quarter_of_a_second_or_half_a_window() {
        let of = |bytes_per_second| ReadThrottle { bytes_per_second };
        assert_eq!(
            [of(1).bytes_per_read(), of(3600).bytes_per_read(), of(60_000).bytes_per_read()],
            [1, 900, 1024]
        );
        assert_eq!((of(60_000).window_bytes(), of(SLOW_MAX).bytes_per_read()), (2048, 32_767));
    }

    #[test]
    fn however_late_it_comes_a_connection_reads_no_faster_than_it_may() {
        let throttle = ReadThrottle { bytes_per_second: 3600 };
        let (mut now_us, mut read_at_us, mut read) = (1_000_000, 0, 0);
        for late_us in [0, 1_000, 300_000, 20, 700, 0, 2_000_000, 0, 0, 0] {
            now_us = now_us.max(read_at_us) + late_us;
            read_at_us = throttle.after(read_at_us, throttle.bytes_per_read(), now_us);
            read += throttle.bytes_per_read() as u64;
            let allowed = 3600 * (now_us - 1_000_000) / 1_000_000;
            assert!(
                read <= allowed + 2 * throttle.bytes_per_read() as u64,
                "{read} bytes by {now_us}"
            );
        }
        assert!(read_at_us <= now_us + 250_000, "and not slower: {read_at_us}");
    }
}

//! The congestion window outside fast recovery.
//!
//! The input is progress and loss, the result is the window and the slow-start threshold.
//! [`super::recovery`] decides when to call this module. [`super::prr`] reduces the window during
//! fast recovery. Only [`Control`] knows which algorithm is in use: another one takes a module
//! beside these, and a variant of [`Congestion`].

mod cubic;
mod hystart;
mod reno;

use crate::config::Congestion;
use crate::seq::Seq;
use simoom_io::timer::Tick;

/// The largest window that a peer can advertise.
const MAX_BYTES: u32 = 1 << 30;

/// RFC 6928 §2: the initial window for a maximum segment size. A single segment if the SYN or
/// SYN-ACK was retransmitted more than once.
#[inline]
pub(crate) fn initial_window(mss: u32, handshake_retransmissions: u8) -> u32 {
    if handshake_retransmissions > 1 {
        return mss;
    }
    (10 * mss).min((2 * mss).max(14_600))
}

/// One acknowledgement outside fast recovery.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    pub(crate) now: Tick,
    /// Bytes delivered.
    pub(crate) acked: u32,
    pub(crate) mss: u32,
    /// The round trip, if the acknowledgement measures one.
    pub(crate) rtt_us: Option<u32>,
    pub(crate) srtt_us: u32,
    pub(crate) una: Seq,
    pub(crate) nxt: Seq,
    /// Whether the connection is paced.
    pub(crate) paced: bool,
}

/// Congestion-control state of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Control {
    /// Slow-start threshold in bytes.
    pub(crate) ssthresh: u32,
    /// Since when nothing is in flight, if the window was above the initial one.
    idle_since: Tick,
    hystart: hystart::HyStart,
    cubic: cubic::Cubic,
    reno: reno::Reno,
}

impl Default for Control {
    fn default() -> Control {
        let (hystart, cubic, reno) = Default::default();
        Control { ssthresh: u32::MAX, idle_since: Tick::NEVER, hystart, cubic, reno }
    }
}

impl Control {
    /// Returns the window after progress while it was fully used.
    pub(crate) fn grow(&mut self, algorithm: Congestion, cwnd: u32, progress: &Progress) -> u32 {
        let grown = if cwnd < self.ssthresh {
            cwnd.saturating_add(self.slow_start(algorithm, cwnd, progress))
        } else {
            match algorithm {
                Congestion::Cubic => self.cubic.avoid(cwnd, progress),
                Congestion::NewReno => {
                    cwnd.saturating_add(self.reno.avoid(cwnd, progress.mss, progress.acked))
                }
            }
        };
        grown.min(MAX_BYTES)
    }

    /// RFC 5681 §3.1: one segment for each acknowledged segment, with a limit for each
    /// acknowledgement (RFC 3465 §2.2, L = 2; RFC 9406 §4.3, L = 8).
    fn slow_start(&mut self, algorithm: Congestion, cwnd: u32, progress: &Progress) -> u32 {
        if algorithm == Congestion::NewReno {
            return reno::slow_start(progress.acked, progress.mss, self.ssthresh == u32::MAX);
        }
        if self.ssthresh != u32::MAX {
            return progress.acked.min(2 * progress.mss);
        }
        let (step, is_over) = self.hystart.grow(progress);
        if is_over {
            self.ssthresh = cwnd;
        }
        step
    }

    /// Loss: sets the threshold.
    pub(crate) fn lost(&mut self, algorithm: Congestion, cwnd: u32, in_flight: u32, mss: u32) {
        // A window that was not fully used says nothing about the path (RFC 5681 §3.1, RFC 9438
        // §4.6).
        let used = cwnd.min(in_flight);
        self.ssthresh = match algorithm {
            Congestion::Cubic => self.cubic.lost(used, used, mss),
            Congestion::NewReno => self.reno.lost(used, mss),
        };
    }

    /// The connection went idle: nothing is in flight.
    #[inline]
    pub(crate) fn went_idle(&mut self, now: Tick) {
        self.idle_since = now;
    }

    /// Idle restart: halves the window for each retransmission timeout of idle time, down to the
    /// initial window (RFC 5681 §4.1, RFC 2861 §2). Returns the window.
    pub(crate) fn resume(&mut self, cwnd: u32, now: Tick, rto_ms: u32, initial: u32) -> u32 {
        if self.idle_since == Tick::NEVER {
            return cwnd;
        }
        let idle_ms = std::mem::take(&mut self.idle_since).until(now).max(0) as u32;
        let halvings = (idle_ms / rto_ms.max(1)).min(31);
        if halvings == 0 {
            return cwnd;
        }
        // The threshold keeps what the path could carry.
        self.ssthresh = self.ssthresh.max(cwnd / 4 * 3);
        (cwnd >> halvings).max(initial.min(cwnd))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(acked: u32) -> Progress {
        let now = Tick::from_millis(5000);
        Progress {
            now,
            acked,
            mss: 1460,
            rtt_us: None,
            srtt_us: 10_000,
            una: Seq(1),
            nxt: Seq(2),
            paced: false,
        }
    }

    #[test]
    fn rfc_6928_section_2_initial_window() {
        assert_eq!(initial_window(1460, 0), 14_600);
        assert_eq!(initial_window(536, 1), 5360);
        assert_eq!(initial_window(8960, 0), 17_920);
        assert_eq!(initial_window(1460, 2), 1460);
    }

    #[test]
    fn rfc_5681_section_3_1_slow_start_then_avoidance() {
        let reno = |ssthresh, cwnd, acked| {
            Control { ssthresh, ..Control::default() }.grow(
                Congestion::NewReno,
                cwnd,
                &progress(acked),
            )
        };
        assert_eq!(reno(u32::MAX, 14_600, 1460), 16_060);
        assert_eq!(reno(u32::MAX, 14_600, 100), 14_700);
        assert_eq!(reno(14_600, 14_600, 1460), 14_600);
        assert_eq!(reno(14_600, 14_600, 14_600), 16_060);
        assert_eq!(reno(1, 1 << 30, 1), 1 << 30);
    }

    #[test]
    fn rfc_5681_section_4_1_a_window_out_of_use_is_worth_less_each_timeout() {
        let after = |idle_ms: u64| {
            let mut control = Control { ssthresh: 20_000, ..Control::default() };
            control.went_idle(Tick::from_millis(1000));
            let cwnd = control.resume(100_000, Tick::from_millis(1000 + idle_ms), 200, 14_600);
            (cwnd, control.ssthresh)
        };
        assert_eq!(after(199), (100_000, 20_000));
        assert_eq!(after(200), (50_000, 75_000));
        assert_eq!(after(650), (14_600, 75_000));
        assert_eq!(after(1_000_000), (14_600, 75_000));
        assert_eq!(
            Control::default().resume(100_000, Tick::from_millis(9000), 200, 14_600),
            100_000
        );
    }
}

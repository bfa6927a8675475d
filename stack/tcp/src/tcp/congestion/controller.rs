//! The contract between the transport and a congestion controller.
//!
//! The transport detects losses ([`super::super::recovery`]), counts what is in flight, and sends.
//! A [`Controller`] decides how much may be in flight ([`Window`]) and how fast it is sent. It sees
//! one connection, keeps its state in itself, and is called in the order of events.
//!
//! Units: windows and amounts of data are bytes of payload, rates are bytes a second, fields that
//! end in `_us` are microseconds and those in `_ms` milliseconds.

use super::initial_window;
use crate::seq::Seq;
use crate::tcp::rate::RateSample;
use simoom_io::timer::Tick;
use std::fmt::Debug;

/// A congestion controller: the state of one connection, and its response to each event.
///
/// Two methods are enough, [`on_ack`](Controller::on_ack) and
/// [`on_congestion`](Controller::on_congestion). The other methods have defaults that suit a
/// controller by window, such as CUBIC; a controller by rate, such as BBR, replaces them (see
/// [`is_rate_based`](Controller::is_rate_based)).
///
/// A connection goes through these calls:
///
/// | event | call |
/// |---|---|
/// | new data is acknowledged | `on_ack` |
/// | a segment is marked lost (RFC 8985) | `on_lost`, by rate only |
/// | the first loss of a round trip, a timeout, an ECN mark | `on_congestion` |
/// | everything in flight at that time is acknowledged | `on_recovered` |
/// | that loss was none (RFC 3522, 5682, 2883) | `on_undo` |
/// | data is sent after an idle time | `on_restart` |
/// | a segment is about to be sent on a paced connection | `pacing_rate`, `send_quantum` |
///
/// During fast recovery the transport applies Proportional Rate Reduction (RFC 9937) towards
/// [`Window::ssthresh`], and after a timeout it begins with one segment (RFC 5681 §3.1). It sends
/// CWR (RFC 3168 §6.1.2), and calls `on_congestion` at most once a round trip.
///
/// # Example
///
/// Additive increase, multiplicative decrease: a segment more each round trip, half the window
/// after a loss.
///
/// ```
/// use simoom_tcp::Congestion;
/// use simoom_tcp::congestion::{Ack, Controller, Path, Signal, Window};
///
/// #[derive(Debug, Default)]
/// struct Aimd {
///     /// Bytes acknowledged since the window last grew.
///     acked: u32,
/// }
///
/// impl Controller for Aimd {
///     fn on_ack(&mut self, ack: &Ack<'_>, window: &mut Window) {
///         self.acked += ack.acked;
///         if self.acked >= window.cwnd {
///             self.acked -= window.cwnd;
///             window.cwnd += ack.path.mss;
///         }
///     }
///
///     fn on_congestion(&mut self, _: Signal, path: &Path, window: &mut Window) {
///         window.ssthresh = (path.flight_size / 2).max(2 * path.mss);
///     }
/// }
///
/// const AIMD: Congestion = Congestion::of::<Aimd>("aimd", "One segment more each round trip");
///
/// # use simoom_tcp::testing::pair::{config, Pair};
/// # use simoom_tcp::testing::{echo::Echo, Quality};
/// # use simoom_tcp::{Config, Limits};
/// let limits = Limits::for_connections(64);
/// let configured = |host| Config { congestion: AIMD, ..config(host, limits) };
/// // A megabyte there and back, over a link that loses one frame in a hundred.
/// let lossy = Quality { loss: 10, ..Quality::default() };
/// let app = || Echo { total: 1_000_000, ..Echo::default() };
/// let mut pair = Pair::new(configured(1), configured(2), lossy, 1, app);
/// pair.connect(40_000);
/// assert!(pair.run_until(1_000_000, |pair| pair.client.app.closed.len() == 1));
/// ```
pub trait Controller: Debug + Send {
    /// New data was acknowledged or SACKed.
    ///
    /// A controller by window is called only while the window limits the connection (RFC 7661
    /// §4.3), and not during fast recovery. It raises [`Window::cwnd`]. Slow start is its task too:
    /// while `cwnd` is below [`Window::ssthresh`], by up to [`Ack::acked`] bytes (RFC 5681 §3.1).
    /// The transport begins with the initial window (RFC 6928).
    fn on_ack(&mut self, ack: &Ack<'_>, window: &mut Window);

    /// The path is congested. Sets [`Window::ssthresh`] to what it can carry (RFC 5681 §3.1,
    /// equation (4)). Begin with the smaller of [`Path::flight_size`] and `cwnd`: the part of a
    /// window that was not used says nothing about the path.
    ///
    /// The transport then lowers `cwnd`: evenly during fast recovery, at once for a mark, to one
    /// segment after a timeout.
    fn on_congestion(&mut self, signal: Signal, path: &Path, window: &mut Window);

    /// Recovery is over: everything that was in flight when it began is acknowledged. `signal` is
    /// [`Signal::Loss`] or [`Signal::Timeout`].
    ///
    /// Default: after fast recovery `cwnd` is `ssthresh` (RFC 9937 §6.2).
    fn on_recovered(&mut self, signal: Signal, path: &Path, window: &mut Window) {
        let _ = path;
        if signal == Signal::Loss {
            window.cwnd = window.ssthresh;
        }
    }

    /// The last congestion was none: the segments had arrived, late. `before` is the window as it
    /// was before [`on_congestion`](Controller::on_congestion).
    ///
    /// Default: the window is at least as large as before (RFC 4015 §3.2).
    fn on_undo(&mut self, before: &Window, path: &Path, window: &mut Window) {
        let _ = path;
        window.cwnd = window.cwnd.max(before.cwnd);
        window.ssthresh = window.ssthresh.max(before.ssthresh);
    }

    /// Data is about to be sent, and nothing is in flight.
    ///
    /// Default: the window is halved for each retransmission timeout of idle time, down to the
    /// initial window (RFC 5681 §4.1, RFC 2861 §2). `ssthresh` keeps what the path could carry.
    fn on_restart(&mut self, idle: &Idle, path: &Path, window: &mut Window) {
        let halvings = (idle.idle_ms / idle.rto_ms.max(1)).min(31);
        if halvings > 0 {
            window.ssthresh = window.ssthresh.max(window.cwnd / 4 * 3);
            let least = path.initial_window().min(window.cwnd);
            window.cwnd = (window.cwnd >> halvings).max(least);
        }
    }

    /// Contiguous bytes that were sent together are marked lost. Only for a controller by rate.
    fn on_lost(&mut self, lost: &Lost, path: &Path, window: &mut Window) {
        let _ = (lost, path, window);
    }

    /// How fast a paced connection sends, in bytes a second.
    ///
    /// Default: four windows a round trip in the first half of slow start, then 1.2. More than
    /// doubling, so that a path without a short queue loses at most an eighth of a round trip.
    fn pacing_rate(&self, path: &Path, window: &Window) -> u64 {
        let percent = if window.cwnd < window.ssthresh / 2 { 400 } else { 120 };
        u64::from(window.cwnd) * percent * 10_000 / u64::from(path.srtt_us.max(1))
    }

    /// The largest burst of a paced connection, in bytes. The transport sends at least what is due
    /// at each tick of its timer, a millisecond.
    ///
    /// Default: one segment.
    fn send_quantum(&self, path: &Path, window: &Window) -> u32 {
        let _ = window;
        path.mss
    }

    /// The name of the controller's state, for tests and diagnosis.
    fn state(&self) -> &'static str {
        ""
    }

    /// Whether the controller works by delivery rate instead of by window. If so,
    ///
    /// - [`on_ack`](Controller::on_ack) gets every acknowledgement, with [`Ack::rate`], and during
    ///   recovery too;
    /// - the controller sets `cwnd` during fast recovery: there is no Proportional Rate Reduction;
    /// - every segment is paced, on short paths and during recovery too.
    ///
    /// The answer is the same for all connections.
    fn is_rate_based(&self) -> bool {
        false
    }

    /// Whether the controller itself holds the connection below its rate, so that rate samples of
    /// the data in flight count as application-limited. Read after
    /// [`on_ack`](Controller::on_ack), by rate only.
    fn holds_back(&self) -> bool {
        false
    }
}

/// What a controller controls, besides the rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Congestion window: upper bound of [`Path::in_flight`], in bytes. At most 2³⁰.
    pub cwnd: u32,
    /// Slow-start threshold in bytes; `u32::MAX` before the first congestion.
    pub ssthresh: u32,
}

/// A connection at the time of an event.
#[derive(Clone, Copy, Debug, Default)]
pub struct Path {
    /// The time.
    pub now: Tick,
    /// The time in microseconds modulo 2³².
    pub now_us: u32,
    /// Payload of a full segment.
    pub mss: u32,
    /// The smoothed round trip (RFC 6298); 0 before the first measurement.
    pub srtt_us: u32,
    /// The shortest round trip of the last five minutes; 0 before the first measurement.
    pub min_rtt_us: u32,
    /// Bytes sent and not acknowledged (FlightSize, RFC 5681 §2).
    pub flight_size: u32,
    /// Bytes sent and neither acknowledged, nor SACKed, nor marked lost (pipe, RFC 6675 §4).
    pub in_flight: u32,
    /// Whether the connection is in fast recovery, or after a timeout.
    pub in_recovery: bool,
    /// Whether the peer sends SACK blocks. Without them at most one loss is detected each round
    /// trip.
    pub has_sack: bool,
}

impl Path {
    /// RFC 6928 §2.
    pub fn initial_window(&self) -> u32 {
        initial_window(self.mss, 0)
    }
}

/// An acknowledgement of new data.
#[derive(Clone, Copy, Debug)]
pub struct Ack<'a> {
    /// The connection after the acknowledgement.
    pub path: &'a Path,
    /// Bytes acknowledged or SACKed for the first time.
    pub acked: u32,
    /// The round trip of the last segment acknowledged, if it was sent only once.
    pub rtt_us: Option<u32>,
    /// SND.UNA.
    pub una: Seq,
    /// SND.NXT. A round trip is over when SND.UNA reaches the SND.NXT of its beginning.
    pub nxt: Seq,
    /// Whether the connection is paced.
    pub is_paced: bool,
    /// The delivery rate, for a controller by rate.
    pub rate: Option<&'a RateSample>,
}

/// Why [`Controller::on_congestion`] is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Segments are lost: fast recovery begins (RFC 5681 §3.2).
    Loss,
    /// The retransmission timer expired (RFC 6298 §5).
    Timeout,
    /// The peer reports an ECN mark (RFC 3168 §6.1.2).
    Mark,
    /// A tail loss probe has repaired a loss (RFC 8985 §7.4.2).
    ProbeRepaired,
}

/// Contiguous bytes that are marked lost: one segment, or several that were sent at about the same
/// time.
#[derive(Clone, Copy, Debug)]
pub struct Lost {
    /// The first byte.
    pub start: Seq,
    /// The end.
    pub end: Seq,
    /// [`Path::in_flight`] just after the bytes were sent.
    pub sent_in_flight: u32,
    /// Bytes marked lost since the bytes were sent, including them.
    pub lost_since_sent: u32,
    /// [`Lost::delivered`] when the bytes were sent.
    pub prior_delivered: u32,
    /// Whether the application limited the connection when the bytes were sent.
    pub is_app_limited: bool,
    /// Bytes delivered over the lifetime of the connection, modulo 2³².
    pub delivered: u32,
}

/// The time for which nothing was in flight.
#[derive(Clone, Copy, Debug, Default)]
pub struct Idle {
    /// The idle time. 0 if the window was not above the initial one.
    pub idle_ms: u32,
    /// The retransmission timeout.
    pub rto_ms: u32,
    /// Whether the application had nothing to send, as opposed to a closed window. By rate only.
    pub is_app_limited: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Still;

    impl Controller for Still {
        fn on_ack(&mut self, _: &Ack<'_>, _: &mut Window) {}
        fn on_congestion(&mut self, _: Signal, _: &Path, _: &mut Window) {}
    }

    const PATH: Path = Path {
        now: Tick::NEVER,
        now_us: 0,
        mss: 1460,
        srtt_us: 100_000,
        min_rtt_us: 100_000,
        flight_size: 0,
        in_flight: 0,
        in_recovery: false,
        has_sack: true,
    };

    #[test]
    fn rfc_5681_section_4_1_a_window_out_of_use_is_worth_less_each_timeout() {
        let after = |idle_ms| {
            let mut window = Window { cwnd: 100_000, ssthresh: 20_000 };
            let idle = Idle { idle_ms, rto_ms: 200, is_app_limited: true };
            Still.on_restart(&idle, &PATH, &mut window);
            (window.cwnd, window.ssthresh)
        };
        assert_eq!(after(199), (100_000, 20_000));
        assert_eq!(after(200), (50_000, 75_000));
        assert_eq!(after(650), (14_600, 75_000));
        assert_eq!(after(1_000_000), (14_600, 75_000));
    }

    #[test]
    fn a_window_is_paced_fast_in_slow_start_and_a_little_faster_than_the_round_trip_after() {
        let rate = |cwnd| Still.pacing_rate(&PATH, &Window { cwnd, ssthresh: 100_000 });
        assert_eq!((rate(10_000), rate(50_000)), (400_000, 600_000));
    }

    #[test]
    fn rfc_4015_section_3_2_undo_restores_the_window() {
        let before = Window { cwnd: 100_000, ssthresh: 50_000 };
        let mut window = Window { cwnd: 1460, ssthresh: 70_000 };
        Still.on_undo(&before, &PATH, &mut window);
        assert_eq!(window, Window { cwnd: 100_000, ssthresh: 70_000 });
    }
}

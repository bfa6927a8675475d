//! Metrics: the declaration of an exported number, and the macro that declares a struct of them.
//!
//! A [`Metric`] is declared once, as a field of [`counters!`](crate::counters) or as a static, and
//! its address travels with its value. No other place repeats its name, kind, help or unit.

use std::fmt;

/// Whether a value can go down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows while the process runs.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// What the value of a metric is a number of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// The events or things that the help text names.
    One,
    /// Bytes.
    Bytes,
}

/// The declaration of a metric.
///
/// ```
/// use simoom_io::Metric;
///
/// static HITS: Metric = Metric::new("cache_hits", "Requests answered from the cache.");
/// static SIZE: Metric = Metric::new("cache_bytes", "Bytes in the cache.").gauge().bytes();
/// assert_eq!(HITS, "cache_hits");
/// assert_eq!(SIZE.kind.suffix(), "");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// The name without prefix and suffix: ASCII letters, digits and `_`.
    pub name: &'static str,
    /// Counter or gauge.
    pub kind: Kind,
    /// One line that explains the metric by itself.
    pub help: &'static str,
    /// What the value counts.
    pub unit: Unit,
}

impl Metric {
    /// A counter of events or things. Spaces around `help` are removed.
    pub const fn new(name: &'static str, help: &'static str) -> Metric {
        Metric { name, kind: Kind::Counter, help: help.trim_ascii(), unit: Unit::One }
    }

    /// The same metric as a gauge: a value that can go down.
    #[must_use]
    pub const fn gauge(self) -> Metric {
        Metric { kind: Kind::Gauge, ..self }
    }

    /// The same metric in bytes.
    #[must_use]
    pub const fn bytes(self) -> Metric {
        Metric { unit: Unit::Bytes, ..self }
    }
}

impl Kind {
    /// What an exported name ends with.
    pub const fn suffix(self) -> &'static str {
        match self {
            Kind::Counter => "_total",
            Kind::Gauge => "",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        })
    }
}

/// Compares the name.
impl PartialEq<str> for Metric {
    fn eq(&self, name: &str) -> bool {
        self.name == name
    }
}

/// Compares the name.
impl PartialEq<&str> for Metric {
    fn eq(&self, name: &&str) -> bool {
        self.name == *name
    }
}

/// Declares a struct of `u64` fields, each a [`Metric`]: its name is the field's, behind a common
/// prefix if there is one, and its help is the field's doc comment, so that comment must stand
/// alone. A field is a counter, unless `gauge` follows its name; `bytes` states its unit.
///
/// ```
/// simoom_io::counters! {
///     /// The numbers of a ferry.
///     pub struct Ferry prefix "ferry_" {
///         /// Passengers that boarded,
///         /// with or without a ticket.
///         boarded,
///         /// Passengers on board.
///         on_board: gauge,
///         /// Bytes of cargo lists in memory.
///         list_bytes: gauge bytes,
///     }
/// }
/// use simoom_io::Metric;
///
/// let mut ferry = Ferry::default();
/// ferry.boarded += 2;
/// let values: Vec<_> = ferry.iter().map(|(metric, value)| (metric.name, value)).collect();
/// assert_eq!(values, [("ferry_boarded", 2), ("ferry_on_board", 0), ("ferry_list_bytes", 0)]);
/// let help = "Passengers that boarded, with or without a ticket.";
/// assert_eq!(Ferry::METRICS[0], Metric::new("ferry_boarded", help));
/// let bytes = Metric::new("ferry_list_bytes", "Bytes of cargo lists in memory.");
/// assert_eq!(Ferry::METRICS[2], bytes.gauge().bytes());
/// ```
#[macro_export]
macro_rules! counters {
    ($(#[$doc:meta])* pub struct $name:ident $(prefix $prefix:literal)? {
        $($(#[doc = $help:literal])+ $field:ident $(: $($mark:ident)+)?,)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name { $($(#[doc = $help])+ pub $field: u64,)* }

        $crate::counters! {
            @metrics $name [$($prefix)?] [$($field [$($help),+] [$($($mark)+)?])*]
        }

        impl $name {
            /// Each field's declaration and value, in order.
            pub fn iter(&self) -> impl Iterator<Item = (&'static $crate::Metric, u64)> + use<> {
                $name::METRICS.iter().zip([$(self.$field,)*])
            }
        }
    };
    (@metrics $name:ident $prefix:tt [$($field:ident $help:tt [$($mark:ident)*])*]) => {
        impl $name {
            /// The declaration of each field, in order.
            pub const METRICS: &'static [$crate::Metric] = &[$(
                $crate::counters!(@metric $prefix $field $help)$(.$mark())*,
            )*];
        }
    };
    (@metric [$($prefix:literal)?] $field:ident [$($help:literal),+]) => {
        $crate::Metric::new(concat!($($prefix,)? stringify!($field)), concat!($($help),+))
    };
}

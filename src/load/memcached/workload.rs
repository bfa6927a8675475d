//! The requests to memcached: which keys, how often, in which proportion. A request stores the seed
//! that it was drawn from, so that its keys can be generated again for the answer.

use super::super::random::Random;
use super::zipf::Zipf;
use std::fmt;

/// The workload, from the flags.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct WorkloadSpec {
    /// Number of keys.
    pub(crate) keys: u32,
    /// Minimum and maximum length of a value.
    pub(crate) value_bytes: (u32, u32),
    /// Share of gets; the others are sets.
    pub(crate) get_ratio: f64,
    /// Exponent of Zipf's law for keys; `None` for a uniform distribution.
    pub(crate) zipf: Option<f64>,
    /// Keys in a get.
    pub(crate) multiget: u16,
    /// Whether to store all keys before the run.
    pub(crate) preload: bool,
}

impl fmt::Display for WorkloadSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let WorkloadSpec { keys, value_bytes: (least, most), get_ratio, zipf, multiget, preload } =
            *self;
        let of = if multiget == 1 { "a key".to_owned() } else { format!("{multiget} keys") };
        write!(f, "{:.0} % gets of {of} of {keys}", 100.0 * get_ratio)?;
        if let Some(exponent) = zipf {
            write!(f, ", Zipf {exponent}")?;
        }
        let range = if least == most { least.to_string() } else { format!("{least} to {most}") };
        write!(f, "; values of {range} bytes{}", if preload { "" } else { ", not stored before" })
    }
}

/// The kind of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    #[default]
    Get,
    Set,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Get => "get",
            Kind::Set => "set",
        }
    }
}

/// One request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Request {
    pub(super) kind: Kind,
    /// Seed of the keys of a get.
    pub(super) seed: u64,
}

/// The keys of a get, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys {
    random: Random,
    left: u16,
}

/// Generates requests.
#[derive(Clone, Debug)]
pub(super) struct Workload {
    workload: WorkloadSpec,
    zipf: Option<Zipf>,
    random: Random,
    /// A random number of 64 bits below this makes a get.
    get_below: f64,
    /// Sets drawn before the run, over all keys in turn.
    storing: Option<u64>,
}

impl Workload {
    pub(super) fn new(workload: WorkloadSpec, seed: u64) -> Workload {
        let zipf = workload
            .zipf
            .filter(|exponent| *exponent > 0.0)
            .map(|exponent| Zipf::new(workload.keys, exponent));
        let storing = workload.preload.then_some(0);
        Workload {
            workload,
            zipf,
            random: Random::new(seed),
            get_below: workload.get_ratio * 2f64.powi(64),
            storing,
        }
    }

    /// Whether sets of all keys were drawn; `None` if the run has begun.
    #[inline]
    pub(super) fn is_stored(&self) -> Option<bool> {
        self.storing.map(|sets| sets >= u64::from(self.workload.keys))
    }

    /// Begins the run: gets and sets from now on.
    pub(super) fn begin(&mut self) {
        self.storing = None;
    }

    /// The next request, and the key of a set.
    #[inline]
    pub(super) fn next(&mut self) -> (Request, u32) {
        if let Some(sets) = &mut self.storing {
            let key = (*sets % u64::from(self.workload.keys)) as u32;
            *sets += 1;
            return (Request { kind: Kind::Set, seed: 0 }, key);
        }
        if (self.random.next_u64() as f64) < self.get_below {
            return (Request { kind: Kind::Get, seed: self.random.next_u64() }, 0);
        }
        let mut random = self.random;
        let key = self.draw(&mut random);
        self.random = random;
        (Request { kind: Kind::Set, seed: 0 }, key)
    }

    /// The keys of a request.
    #[inline]
    pub(super) fn keys(&self, request: &Request) -> Keys {
        match request.kind {
            Kind::Get => Keys { random: Random::new(request.seed), left: self.workload.multiget },
            Kind::Set => Keys::default(),
        }
    }

    #[inline]
    fn draw(&self, random: &mut Random) -> u32 {
        match &self.zipf {
            Some(zipf) => zipf.draw(random) - 1,
            // The upper half of the product is as uniform as 2³² numbers spread over the keys
            // allow.
            None => (((random.next_u64() >> 32) * u64::from(self.workload.keys)) >> 32) as u32,
        }
    }
}

impl Keys {
    /// The next key.
    #[inline]
    pub(super) fn next(&mut self, workload: &Workload) -> Option<u32> {
        self.left = self.left.checked_sub(1)?;
        Some(workload.draw(&mut self.random))
    }

    /// Number of keys left.
    #[inline]
    pub(super) fn left(&self) -> u32 {
        u32::from(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: WorkloadSpec = WorkloadSpec {
        keys: 100,
        value_bytes: (1, 1),
        get_ratio: 0.9,
        zipf: None,
        multiget: 3,
        preload: true,
    };

    #[test]
    fn every_key_is_stored_before_anything_else() {
        let mut workload = Workload::new(SHAPE, 1);
        for drawn in 0..110 {
            assert_eq!(workload.is_stored(), Some(drawn >= 100));
            let (request, key) = workload.next();
            assert_eq!(
                (request.kind, key),
                (Kind::Set, drawn % 100),
                "over and over until the run begins"
            );
        }
        workload.begin();
        assert_eq!(workload.is_stored(), None);
        assert!((0..100).any(|_| workload.next().0.kind == Kind::Get));
        assert_eq!(Workload::new(WorkloadSpec { preload: false, ..SHAPE }, 1).is_stored(), None);
    }

    #[test]
    fn gets_and_sets_come_in_their_proportion_and_keys_are_named_again() {
        let mut workload = Workload::new(WorkloadSpec { preload: false, ..SHAPE }, 1);
        let mut gets = 0;
        for _ in 0..10_000 {
            let (request, key) = workload.next();
            let mut keys = workload.keys(&request);
            let named: Vec<u32> = std::iter::from_fn(|| keys.next(&workload)).collect();
            match request.kind {
                Kind::Get => {
                    gets += 1;
                    let mut again = workload.keys(&request);
                    assert!(
                        named.len() == 3
                            && named.iter().all(|key| again.next(&workload) == Some(*key))
                    );
                    assert!(named.iter().all(|key| *key < 100));
                }
                Kind::Set => assert!(named.is_empty() && key < 100),
            }
        }
        assert!((8_900..9_100).contains(&gets), "{gets}");
    }

    #[test]
    fn only_gets_or_only_sets() {
        for (get_ratio, kind) in [(1.0, Kind::Get), (0.0, Kind::Set)] {
            let mut workload =
                Workload::new(WorkloadSpec { get_ratio, preload: false, ..SHAPE }, 1);
            assert!((0..1000).all(|_| workload.next().0.kind == kind));
        }
    }
}

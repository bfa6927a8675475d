//! Keys by Zipf's law, for what compares hit ratios: the n-th in proportion to n^-alpha.

use simoom::load::random::Random as SplitMix;

/// The numbers of SplitMix64, without their 11 lowest bits. Recorded hit ratios depend on them.
#[derive(Debug)]
pub struct Random(SplitMix);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(SplitMix::new(seed))
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        (self.0.next_u64() >> 11) % bound
    }

    /// At least 0, below 1.
    pub fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The distribution, as a table.
#[derive(Debug)]
pub struct Zipf {
    sums: Vec<f64>,
}

impl Zipf {
    /// Numbers below `keys`.
    pub fn new(alpha: f64, keys: usize) -> Zipf {
        let mut sum = 0.0;
        let sums = (1..=keys).map(|n| {
            sum += (n as f64).powf(-alpha);
            sum
        });
        Zipf { sums: sums.collect() }
    }

    pub fn draw(&self, random: &mut Random) -> usize {
        let at = random.unit() * self.sums.last().expect("at least one key");
        self.sums.partition_point(|sum| *sum <= at)
    }
}

//! Zipf-distributed numbers from 1 to n: k with probability in proportion to 1 / k^s. Memory and
//! time do not grow with n.
//!
//! The method is rejection-inversion (Hörmann and Derflinger, "Rejection-inversion to generate
//! variates from monotone discrete distributions", 1996). It draws a point under the curve x^-s by
//! inverting its integral, rounds it, and rejects it if it lies above the step of that number.

use super::super::random::Random;

/// The distribution.
#[derive(Clone, Copy, Debug)]
pub(super) struct Zipf {
    n: f64,
    exponent: f64,
    /// The integral at 1½, minus the first step: the lower end of the range to draw from.
    first: f64,
    /// The integral at n + ½: the upper end.
    last: f64,
    /// A point at most this far below its number is accepted without a further test.
    surely: f64,
}

impl Zipf {
    /// Numbers from 1 to `n`. `n` is at least 1, `exponent` above 0.
    pub(super) fn new(n: u32, exponent: f64) -> Zipf {
        let mut zipf = Zipf { n: f64::from(n), exponent, first: 0.0, last: 0.0, surely: 0.0 };
        zipf.first = zipf.integral(1.5) - 1.0;
        zipf.last = zipf.integral(zipf.n + 0.5);
        zipf.surely = 2.0 - zipf.inverse(zipf.integral(2.5) - zipf.density(2.0));
        zipf
    }

    /// Draws a number.
    #[inline]
    pub(super) fn draw(&self, random: &mut Random) -> u32 {
        loop {
            let u = self.last + random.unit() * (self.first - self.last);
            let x = self.inverse(u);
            let k = x.round().clamp(1.0, self.n);
            if k - x <= self.surely || u >= self.integral(k + 0.5) - self.density(k) {
                return k as u32;
            }
        }
    }

    fn density(&self, x: f64) -> f64 {
        (-self.exponent * x.ln()).exp()
    }

    /// (x^(1-s) - 1) / (1 - s), which approaches ln x for s = 1.
    fn integral(&self, x: f64) -> f64 {
        let (log, power) = (x.ln(), 1.0 - self.exponent);
        if (power * log).abs() > TINY { (power * log).exp_m1() / power } else { log }
    }

    fn inverse(&self, y: f64) -> f64 {
        let power = 1.0 - self.exponent;
        // Rounding may carry it past the end.
        let t = (y * power).max(-1.0);
        if t.abs() > TINY { (t.ln_1p() / power).exp() } else { y.exp() }
    }
}

/// Below this value, the limit is as exact as the formula.
const TINY: f64 = 1e-8;

#[cfg(test)]
mod tests {
    use super::*;

    /// Draws with a fixed seed, so every run has the same result. Compares with the exact
    /// probabilities: the sum of squared deviations, each divided by its variance, has a mean of n
    /// - 1.
    #[test]
    fn frequencies_are_the_exact_probabilities() {
        const DRAWS: u32 = 1_000_000;
        for (n, exponent) in [
            (1, 0.99),
            (2, 0.5),
            (10, 0.99),
            (10, 1.0),
            (100, 1.0),
            (100, 1.5),
            (1000, 0.2),
            (50, 3.0),
        ] {
            let zipf = Zipf::new(n, exponent);
            let mut random = Random::new(7);
            let mut counts = vec![0u32; n as usize];
            for _ in 0..DRAWS {
                counts[zipf.draw(&mut random) as usize - 1] += 1;
            }
            let weights: Vec<f64> = (1..=n).map(|k| f64::from(k).powf(-exponent)).collect();
            let sum: f64 = weights.iter().sum();
            let deviation: f64 = counts
                .iter()
                .zip(&weights)
                .map(|(count, weight)| {
                    let expected = f64::from(DRAWS) * weight / sum;
                    (f64::from(*count) - expected).powi(2) / expected
                })
                .sum();
            let (mean, spread) = (f64::from(n - 1), (2.0 * f64::from(n - 1)).sqrt());
            assert!(
                deviation <= mean + 4.0 * spread,
                "{n} numbers, exponent {exponent}: {deviation}, expected {mean}"
            );
        }
    }

    #[test]
    fn a_great_many_numbers_need_no_table() {
        let zipf = Zipf::new(1_000_000_000, 0.99);
        let mut random = Random::new(1);
        let drawn: Vec<u32> = (0..100_000).map(|_| zipf.draw(&mut random)).collect();
        assert!(drawn.iter().all(|k| (1..=1_000_000_000).contains(k)));
        assert!(drawn.contains(&1) && drawn.iter().any(|k| *k > 100_000_000));
    }
}

//! How many times another target's figure a target has, and how sure that is.

use super::figures::Spread;
use super::results::{Case, Results};

/// 0.975 quantiles of Student's t, for 1 degree of freedom and more.
const STUDENT_T: [f64; 9] = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262];
/// The same for more degrees of freedom: that for 10, which is a little too wide.
const STUDENT_T_MANY: f64 = 2.228;

/// The ratio of two targets' figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ratio {
    /// Of the medians, as in the tables.
    pub(super) value: f64,
    /// 95 % confidence interval of the ratio in a round: of the mean of its logarithm, by Student's
    /// t. Targets are measured in turn, so a round's drift is in both figures. `None` with fewer
    /// than two rounds.
    pub(super) interval: Option<(f64, f64)>,
}

impl Ratio {
    /// The interval, widened to contain the ratio of the medians; the ratio alone without one.
    pub(super) fn range(&self) -> (f64, f64) {
        let (low, high) = self.interval.unwrap_or((self.value, self.value));
        (low.min(self.value), high.max(self.value))
    }
}

impl Results {
    /// The ratio of the rates of two targets at a point of a plan; of their content rates if one
    /// has no complete response.
    pub(super) fn ratio(
        &self,
        plan: &str,
        point: &str,
        target: &str,
        baseline: &str,
    ) -> Option<Ratio> {
        let has_rate = |name: &str| {
            self.spread((plan, point, name), Case::rate).is_some_and(|rate| rate.median > 0.0)
        };
        let figure: fn(&Case) -> Option<f64> =
            if has_rate(target) && has_rate(baseline) { Case::rate } else { Case::content_rate };
        let median = |name: &str| Some(self.spread((plan, point, name), figure)?.median);
        let value = median(target)? / median(baseline)?;
        if !(value.is_finite() && value > 0.0) {
            return None;
        }
        let in_round = |case: &Case| {
            let is_same =
                |other: &&Case| other.is_of(plan, point, baseline) && other.repeat == case.repeat;
            let other = self.cases.iter().find(is_same)?;
            Some((figure(case)? / figure(other)?).ln())
        };
        let cases = self.cases.iter().filter(|case| case.is_of(plan, point, target));
        let logarithms: Vec<f64> = cases.filter_map(in_round).collect();
        let interval = interval(&logarithms).map(|(low, high)| (low.exp(), high.exp()));
        Some(Ratio { value, interval })
    }

    /// Whether the rounds of two targets overlap: then the order of their medians may be chance.
    pub(super) fn overlap(&self, plan: &str, point: &str, one: &str, other: &str) -> bool {
        let rates = |name: &str| self.spread((plan, point, name), Case::rate);
        let (Some(one), Some(other)) = (rates(one), rates(other)) else { return false };
        let Spread { min, max, .. } = one;
        min <= other.max && other.min <= max
    }
}

/// 95 % confidence interval of the mean of normally distributed values.
fn interval(values: &[f64]) -> Option<(f64, f64)> {
    let degrees = values.len().checked_sub(1).filter(|degrees| *degrees > 0)?;
    let t = STUDENT_T.get(degrees - 1).copied().unwrap_or(STUDENT_T_MANY);
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let half = t * (squares / degrees as f64 / values.len() as f64).sqrt();
    half.is_finite().then_some((mean - half, mean + half))
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    #[test]
    fn an_interval_needs_two_values_and_narrows_with_more() {
        assert_eq!(interval(&[]), None);
        assert_eq!(interval(&[1.0]), None);
        // Moore, McCabe: mean 22.5, standard deviation 7.191, n 8, t 2.365: 16.5 to 28.5.
        let (low, high) = interval(&[26.0, 31.0, 23.0, 22.0, 11.0, 22.0, 14.0, 31.0]).unwrap();
        assert!((low - 16.488).abs() < 0.01 && (high - 28.512).abs() < 0.01, "{low} {high}");
        let many: Vec<f64> = (0..40).map(|n| f64::from(n % 2)).collect();
        let (low, high) = interval(&many).unwrap();
        assert!(low > 0.3 && high < 0.7, "{low} {high}");
    }

    #[test]
    fn a_drift_that_both_share_does_not_widen_the_interval() {
        let mut results = testing::results();
        for case in results.cases.iter_mut().filter(|case| case.plan == "get-12") {
            let report = case.report.as_mut().unwrap();
            let factor = f64::from(case.repeat);
            let base = if case.target == "xdp" { 300.0 } else { 100.0 };
            report["responses_per_second"] = (base * factor).into();
        }
        let ratio = results.ratio("get-12", "", "xdp", "nginx").unwrap();
        let (low, high) = ratio.interval.unwrap();
        for value in [low, ratio.value, high] {
            assert!((value - 3.0).abs() < 1e-9, "{ratio:?}");
        }
        assert!(results.overlap("get-12", "", "xdp", "nginx"), "300 to 900, and 100 to 300");
        assert_eq!(results.ratio("get-12", "", "xdp", "memcached"), None);
    }
}

//! The seeds of the simulations.

/// The seeds of a simulation: `runs` of them from 0 on. The environment overrides them: from
/// `SIMOOM_SEED` on, one or `SIMOOM_RUNS` seeds.
pub fn seeds(runs: u64) -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let first = number("SIMOOM_SEED");
    let runs = number("SIMOOM_RUNS").unwrap_or(if first.is_some() { 1 } else { runs });
    let first = first.unwrap_or(0);
    first..first.saturating_add(runs)
}

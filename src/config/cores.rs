//! The cores of the workers, from `--cores` and from what this process may use.

use super::CORES_MAX;
use crate::error::{Error, Result};

/// The cores of `--cores`, or all `usable` ones.
pub(crate) fn chosen_cores(given: Option<Vec<usize>>, usable: &[usize]) -> Result<Vec<usize>> {
    let Some(cores) = given else { return Ok(usable.to_vec()) };
    match cores.iter().find(|core| !usable.contains(core)) {
        Some(core) => Err(Error::usage(format!(
            "--cores {}: core {core} cannot be used; this process may use {}",
            ranges(&cores),
            ranges(usable)
        ))),
        None => Ok(cores),
    }
}

/// Ascending numbers in the notation of `--cores`: `0-3,6`.
pub(super) fn ranges(numbers: &[usize]) -> String {
    let runs = numbers.chunk_by(|a, b| a + 1 == *b).map(|run| match run {
        [one] => one.to_string(),
        _ => format!("{}-{}", run[0], run[run.len() - 1]),
    });
    runs.collect::<Vec<_>>().join(",")
}

/// The cores that this process may use, in ascending order.
pub fn usable_cores() -> Result<Vec<usize>> {
    let set = rustix::thread::sched_getaffinity(None)
        .map_err(|error| Error::because("reading the CPU affinity of this process", error))?;
    Ok((0..CORES_MAX).filter(|core| set.is_set(*core)).collect())
}

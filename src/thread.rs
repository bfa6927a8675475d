//! Threads of workers: runs a function and reports its failure on a channel. A worker never ends
//! silently, because its listeners would accept connections that nobody serves.

use crate::panics;
use crossbeam_channel::Sender;
use rustix::thread::{CpuSet, sched_setaffinity};
use std::io;
use std::thread::JoinHandle;

/// An unexpected end of a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The worker's name.
    pub worker: String,
    /// The error or panic message.
    pub reason: String,
}

/// Runs `work` on a new thread called `name`, pinned to `core` if given. Sends an error or panic to
/// `failures`; the process then ends with that reason.
pub fn spawn<F>(
    name: String,
    core: Option<usize>,
    failures: Sender<Failure>,
    work: F,
) -> io::Result<JoinHandle<()>>
where
    F: FnOnce() -> io::Result<()> + Send + 'static,
{
    std::thread::Builder::new().name(name.clone()).spawn(move || {
        let work = || core.map_or(Ok(()), pin).and_then(|()| work());
        panics::reported_here();
        let reason = match panics::catch(work) {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(panic) => format!("panicked at {panic}"),
        };
        // The receiver is closed: the process is already ending.
        let _ = failures.send(Failure { worker: name, reason });
    })
}

/// Pins the calling thread to `core`.
pub fn pin(core: usize) -> io::Result<()> {
    let allowed = rustix::thread::sched_getaffinity(None)?;
    if core >= CpuSet::MAX_CPU || !allowed.is_set(core) {
        let cores: Vec<String> = (0..CpuSet::MAX_CPU)
            .filter(|core| allowed.is_set(*core))
            .map(|core| core.to_string())
            .collect();
        let message =
            format!("core {core} is not among those this process may use: {}", cores.join(", "));
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let mut only = CpuSet::new();
    only.set(core);
    Ok(sched_setaffinity(None, &only)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::unbounded;

    fn failure_of(core: Option<usize>, work: fn() -> io::Result<()>) -> Option<Failure> {
        let (sender, failures) = unbounded();
        spawn("kernel 0".into(), core, sender, work).unwrap().join().unwrap();
        failures.try_recv().ok()
    }

    #[test]
    fn an_orderly_end_is_no_failure() {
        assert_eq!(failure_of(None, || Ok(())), None);
    }

    #[test]
    fn errors_and_panics_are_told_with_the_workers_name() {
        let error = failure_of(None, || Err(io::Error::other("the socket is gone"))).unwrap();
        assert_eq!(
            error,
            Failure { worker: "kernel 0".into(), reason: "the socket is gone".into() }
        );
        panics::install();
        let panic = failure_of(None, || panic!("count is {}", 3)).unwrap();
        assert_eq!(panic.reason, format!("panicked at {}:{}: count is 3", file!(), line!() - 1));
    }

    #[test]
    fn a_pinned_thread_runs_on_its_core_only() {
        let allowed = rustix::thread::sched_getaffinity(None).unwrap();
        let core = (0..CpuSet::MAX_CPU).find(|core| allowed.is_set(*core)).unwrap();
        std::thread::spawn(move || {
            pin(core).unwrap();
            let now = rustix::thread::sched_getaffinity(None).unwrap();
            assert!(now.is_set(core) && now.count() == 1);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_core_that_is_not_ours_is_named_with_those_that_are() {
        let error = failure_of(Some(100_000), || Ok(())).unwrap();
        assert!(
            error.reason.starts_with("core 100000 is not among those this process may use: "),
            "{error:?}"
        );
    }
}

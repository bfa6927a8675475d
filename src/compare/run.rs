//! The order of a comparison: plan by plan, all targets in turn, and again for each repeat, so that
//! a drift of the machine affects all alike. Prints only progress.

use super::case::{Bench, CaseSpec};
use super::figures::Spread;
use super::options::{Choice, Cores};
use super::plans::{PEAK, Pace, Plan, Point};
use super::remaining::Remaining;
use super::results::{Case, LeftOut, PlanInfo, PointInfo, Results, SCHEMA, Settings, TargetInfo};
use super::targets::{NEVER_COMPARED, NGINX, Target};
use super::temp_dir::TempDir;
use super::{machine, print};
use crate::error::{Error, Result};
use crate::open_files;
use crossbeam_channel::Receiver;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// Warm-up of each case, as a fraction of its measurement.
pub(super) const WARM_UP: f64 = 0.2;
/// Limit of the connections in a smoke test.
const QUICK_CONNECTIONS: u32 = 1000;
/// Keys of memcached, which the load stores before it measures.
const KEYS: u32 = 100_000;
const QUICK_KEYS: u32 = 10_000;
/// Limit of open files to ask for: enough for the largest case.
const OPEN_FILES_WANTED: u64 = 1 << 20;

/// A running comparison.
pub(super) struct Comparison<'a> {
    choice: &'a Choice,
    cores: Cores,
    simoom: PathBuf,
    signals: &'a Receiver<&'static str>,
    /// The installed targets, with their programs.
    present: Vec<(&'static Target, PathBuf)>,
    results: Results,
    remaining: Remaining,
}

impl<'a> Comparison<'a> {
    /// Looks for the programs of the targets.
    pub(super) fn new(
        choice: &'a Choice,
        cores: Cores,
        usable_cores: usize,
        signals: &'a Receiver<&'static str>,
    ) -> Result<Comparison<'a>> {
        let simoom = std::env::current_exe()
            .map_err(|error| Error::because("looking for this program", error))?;
        let mut present = Vec::new();
        let mut left_out: Vec<LeftOut> = Vec::new();
        for target in &choice.targets {
            match target.find(&simoom) {
                Some(program) => present.push((*target, program)),
                None if choice.named => {
                    return Err(Error::usage(format!(
                        "--contender {0}: {0} is not installed: install it, or leave the name out",
                        target.name
                    )));
                }
                None => left_out.push(nowhere(target.title, "it is not installed")),
            }
        }
        left_out.extend(NEVER_COMPARED.iter().map(|(title, reason)| nowhere(title, reason)));
        let results = Results {
            schema: SCHEMA,
            command: std::env::args().collect(),
            began: httpdate::fmt_http_date(SystemTime::now()),
            took_seconds: 0.0,
            machine: machine::machine(usable_cores),
            simoom: machine::build(&simoom),
            settings: Settings {
                seconds: choice.measured.as_secs_f64(),
                warm_up_seconds: choice.measured.as_secs_f64() * WARM_UP,
                repeats: choice.repeats,
                server_core: cores.server,
                client_core: cores.client,
                quick: choice.quick,
                // The targets inherit it.
                open_files_limit: open_files::raise_hard_limit(OPEN_FILES_WANTED),
            },
            targets: present.iter().map(|(target, program)| target_info(target, program)).collect(),
            left_out,
            plans: choice.plans.iter().map(|plan| plan_info(plan)).collect(),
            cases: Vec::new(),
        };
        let remaining = Remaining::of(choice, results.settings.open_files_limit);
        Ok(Comparison { choice, cores, simoom, signals, present, results, remaining })
    }

    /// Upper estimate of the duration.
    pub(super) fn estimate(&self) -> Duration {
        self.remaining.total()
    }

    /// The results so far.
    pub(super) fn results(&self) -> &Results {
        &self.results
    }

    /// Measures everything. Calls `after_plan` after each plan, with the time left for the others.
    pub(super) fn run(
        mut self,
        mut after_plan: impl FnMut(&Results, &Plan, Option<Duration>) -> Result<()>,
    ) -> Result<Results> {
        let simoom = self.simoom.clone();
        let temp_dir = TempDir::new(&simoom)?;
        let bench = Bench {
            simoom: &simoom,
            temp_dir: &temp_dir,
            cores: self.cores,
            measured: self.choice.measured,
            warm_up: self.choice.measured.mul_f64(WARM_UP),
            signals: self.signals,
        };
        for (index, plan) in self.choice.plans.iter().enumerate() {
            let cases = self.cases_of(plan);
            let all = (cases.len() * self.choice.repeats as usize).max(1) as f64;
            for repeat in 1..=self.choice.repeats {
                for (number, (point, target)) in cases.iter().enumerate() {
                    let done = (repeat as usize - 1) * cases.len() + number;
                    print::progress(
                        plan.name,
                        point.name,
                        target.title,
                        (repeat, self.choice.repeats),
                        (number + 1, cases.len()),
                        self.remaining.after(index, done as f64 / all),
                    );
                    self.measure(&bench, plan, point, target, repeat)?;
                }
            }
            print::end_progress();
            self.results.took_seconds = self.remaining.elapsed().as_secs_f64();
            let more = index + 1 < self.choice.plans.len();
            let left = more.then(|| self.remaining.after(index, 1.0));
            after_plan(&self.results, plan, left)?;
        }
        Ok(self.results)
    }

    /// The cases of a plan, in order. Records what is left out.
    fn cases_of(&mut self, plan: &Plan) -> Vec<(&'static Point, &'static Target)> {
        let limit = self.results.settings.open_files_limit;
        let has_nginx = self.present.iter().any(|(target, _)| target.name == NGINX);
        let mut cases = Vec::new();
        for point in plan.points {
            if self.choice.quick && !is_quick(plan, point) {
                continue;
            }
            for (target, _) in &self.present {
                if !target.speaks(plan.workload) || target.is_ceiling && !plan.for_ceiling {
                    continue;
                }
                let needed = u64::from(target.files_needed(self.connections(point)));
                let reason = if needed > limit {
                    format!(
                        "a process may have {limit} files open, and {} connections need more",
                        point.connections
                    )
                } else if matches!(point.pace, Pace::OfNginxPeak(_)) && !has_nginx {
                    "it needs the peak of nginx, which is not measured".to_owned()
                } else {
                    cases.push((point, *target));
                    continue;
                };
                let named = !point.name.is_empty();
                self.results.left_out.push(LeftOut {
                    target: target.title.to_owned(),
                    plan: Some(plan.name.to_owned()),
                    point: named.then(|| point.name.to_owned()),
                    reason,
                });
            }
        }
        cases
    }

    /// The connections of a point, limited in a smoke test.
    fn connections(&self, point: &Point) -> u32 {
        if self.choice.quick { point.connections.min(QUICK_CONNECTIONS) } else { point.connections }
    }

    fn measure(
        &mut self,
        bench: &Bench<'_>,
        plan: &Plan,
        point: &Point,
        target: &'static Target,
        repeat: u32,
    ) -> Result<()> {
        let (_, program) = self
            .present
            .iter()
            .find(|(one, _)| one.name == target.name)
            .expect("only those present are measured");
        let outcome = match self.rate(plan, point, target) {
            Ok(rate) => bench.measure(&CaseSpec {
                plan,
                point,
                target,
                program,
                connections: self.connections(point),
                keys: if self.choice.quick { QUICK_KEYS } else { KEYS },
                rate,
            })?,
            Err(reason) => super::case::Outcome { error: Some(reason), ..Default::default() },
        };
        self.results.cases.push(Case {
            plan: plan.name.to_owned(),
            point: point.name.to_owned(),
            target: target.name.to_owned(),
            repeat,
            server: outcome.server,
            configuration: outcome.configuration,
            load: outcome.load,
            error: outcome.error,
            report: outcome.report,
            cpu: outcome.cpu,
            memory: outcome.memory,
        });
        Ok(())
    }

    /// The rate to offer, from earlier results where it depends on a peak.
    fn rate(&self, plan: &Plan, point: &Point, target: &Target) -> Result<Option<f64>, String> {
        let part_of_peak = |part: f64, name: &str| {
            let peak = self.results.spread((plan.name, PEAK, name), Case::rate);
            let Spread { median, .. } =
                peak.ok_or_else(|| format!("the peak of {name} was not measured"))?;
            Ok(Some(part * median))
        };
        match point.pace {
            Pace::Closed | Pace::Idle => Ok(None),
            Pace::Rate(_) if self.choice.quick => Ok(Some(QUICK_CONNECTIONS.into())),
            Pace::Rate(rate) => Ok(Some(rate.into())),
            Pace::OfOwnPeak(part) => part_of_peak(part, target.name),
            Pace::OfNginxPeak(part) => part_of_peak(part, NGINX),
        }
    }
}

/// Whether a smoke test includes the point. It skips some points of plans with several.
pub(super) fn is_quick(plan: &Plan, point: &Point) -> bool {
    let pace = match point.pace {
        Pace::Closed | Pace::Idle => true,
        Pace::Rate(_) => plan.points.first().is_some_and(|first| first.name == point.name),
        Pace::OfOwnPeak(part) => part == 0.5 || part > 1.0,
        Pace::OfNginxPeak(part) => part == 0.5,
    };
    pace && (plan.points.len() == 1 || point.connections <= QUICK_CONNECTIONS)
}

fn nowhere(title: &str, reason: &str) -> LeftOut {
    LeftOut { target: title.to_owned(), plan: None, point: None, reason: reason.to_owned() }
}

fn target_info(target: &Target, program: &std::path::Path) -> TargetInfo {
    let (name, title) = (target.name.to_owned(), target.title.to_owned());
    TargetInfo { name, title, version: target.version(program) }
}

fn plan_info(plan: &Plan) -> PlanInfo {
    let point =
        |point: &Point| PointInfo { name: point.name.to_owned(), connections: point.connections };
    PlanInfo {
        name: plan.name.to_owned(),
        title: plan.title.to_owned(),
        figure: plan.figure,
        points: plan.points.iter().map(point).collect(),
    }
}

//! The order of a comparison: plan by plan, all contenders in turn, and that again for each repeat,
//! so that a drift of the machine hits all alike. In comes a choice, out go results; nothing is
//! printed here but progress.

use super::case::{Bench, Subject};
use super::contenders::{Contender, NGINX, NOT_COMPARED};
use super::figures::Spread;
use super::options::{Choice, Cores};
use super::plans::{PEAK, Pace, Plan, Point};
use super::results::{About, Case, LeftOut, PlanAbout, PointAbout, Results, SCHEMA, Settings};
use super::workplace::Workplace;
use super::{machine, print};
use crate::error::{Error, Result};
use crossbeam_channel::Receiver;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

/// Warm-up of each case, as a part of what it measures.
const WARM_UP: f64 = 0.2;
/// More connections are too much for a smoke test.
const QUICK_CONNECTIONS: u32 = 1000;
/// Files that the largest case would need, if the limit can be raised so far.
const FILES_WISHED: u64 = 1 << 20;

/// A comparison under way.
pub(super) struct Comparison<'a> {
    choice: &'a Choice,
    cores: Cores,
    simoom: PathBuf,
    signals: &'a Receiver<&'static str>,
    /// Who takes part, with the program.
    present: Vec<(&'static Contender, PathBuf)>,
    results: Results,
    began: Instant,
}

impl<'a> Comparison<'a> {
    /// Finds out who is there.
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
        for contender in &choice.contenders {
            match contender.find(&simoom) {
                Some(program) => present.push((*contender, program)),
                None if choice.named => {
                    return Err(Error::usage(format!(
                        "--contender {0}: {0} is not installed: install it, or leave the name out",
                        contender.name
                    )));
                }
                None => left_out.push(nowhere(contender.title, "it is not installed")),
            }
        }
        left_out.extend(NOT_COMPARED.iter().map(|(title, reason)| nowhere(title, reason)));
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
                open_files_limit: raise_files(),
            },
            contenders: present
                .iter()
                .map(|(contender, program)| about(contender, program))
                .collect(),
            left_out,
            plans: choice.plans.iter().map(|plan| plan_about(plan)).collect(),
            cases: Vec::new(),
        };
        Ok(Comparison { choice, cores, simoom, signals, present, results, began: Instant::now() })
    }

    /// What is known so far.
    pub(super) fn results(&self) -> &Results {
        &self.results
    }

    /// Measures everything; `after_plan` is called with what there is when a plan is done.
    pub(super) fn run(
        mut self,
        mut after_plan: impl FnMut(&Results, &Plan) -> Result<()>,
    ) -> Result<Results> {
        let simoom = self.simoom.clone();
        let workplace = Workplace::new(&simoom)?;
        let bench = Bench {
            simoom: &simoom,
            workplace: &workplace,
            cores: self.cores,
            measured: self.choice.measured,
            warm_up: self.choice.measured.mul_f64(WARM_UP),
            signals: self.signals,
        };
        for plan in &self.choice.plans {
            let cases = self.cases_of(plan);
            for repeat in 1..=self.choice.repeats {
                for (number, (point, contender)) in cases.iter().enumerate() {
                    print::progress(
                        plan.name,
                        point.name,
                        contender.title,
                        (repeat, self.choice.repeats),
                        (number + 1, cases.len()),
                    );
                    self.measure(&bench, plan, point, contender, repeat)?;
                }
            }
            print::end_progress();
            self.results.took_seconds = self.began.elapsed().as_secs_f64();
            after_plan(&self.results, plan)?;
        }
        Ok(self.results)
    }

    /// Who is measured where in a plan, in order. Who could be and is not, is noted.
    fn cases_of(&mut self, plan: &Plan) -> Vec<(&'static Point, &'static Contender)> {
        let limit = self.results.settings.open_files_limit;
        let has_nginx = self.present.iter().any(|(contender, _)| contender.name == NGINX);
        let mut cases = Vec::new();
        for point in plan.points {
            if self.choice.quick && !is_quick(plan, point) {
                continue;
            }
            for (contender, _) in &self.present {
                if !contender.speaks(plan.asked) || contender.is_ceiling && !plan.for_ceiling {
                    continue;
                }
                let needed = u64::from(contender.files_needed(self.connections(point)));
                let reason = if needed > limit {
                    format!(
                        "a process may have {limit} files open, and {} connections need more",
                        point.connections
                    )
                } else if matches!(point.pace, Pace::OfNginxPeak(_)) && !has_nginx {
                    "nginx, to whose peak it refers, does not take part".to_owned()
                } else {
                    cases.push((point, *contender));
                    continue;
                };
                let named = !point.name.is_empty();
                self.results.left_out.push(LeftOut {
                    contender: contender.title.to_owned(),
                    plan: Some(plan.name.to_owned()),
                    point: named.then(|| point.name.to_owned()),
                    reason,
                });
            }
        }
        cases
    }

    /// Connections of a point: of a smoke test fewer.
    fn connections(&self, point: &Point) -> u32 {
        if self.choice.quick { point.connections.min(QUICK_CONNECTIONS) } else { point.connections }
    }

    fn measure(
        &mut self,
        bench: &Bench<'_>,
        plan: &Plan,
        point: &Point,
        contender: &'static Contender,
        repeat: u32,
    ) -> Result<()> {
        let (_, program) = self
            .present
            .iter()
            .find(|(one, _)| one.name == contender.name)
            .expect("only those present are measured");
        let outcome = match self.rate(plan, point, contender) {
            Ok(rate) => bench.measure(&Subject {
                plan,
                point,
                contender,
                program,
                connections: self.connections(point),
                rate,
            })?,
            Err(reason) => super::case::Outcome { error: Some(reason), ..Default::default() },
        };
        self.results.cases.push(Case {
            plan: plan.name.to_owned(),
            point: point.name.to_owned(),
            contender: contender.name.to_owned(),
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

    /// The rate to offer, by what was measured so far.
    fn rate(
        &self,
        plan: &Plan,
        point: &Point,
        contender: &Contender,
    ) -> Result<Option<f64>, String> {
        let part_of_peak = |part: f64, name: &str| {
            let peak = self.results.spread((plan.name, PEAK, name), Case::rate);
            let Spread { median, .. } =
                peak.ok_or_else(|| format!("the peak of {name} could not be measured"))?;
            Ok(Some(part * median))
        };
        match point.pace {
            Pace::Closed | Pace::Idle => Ok(None),
            Pace::Rate(_) if self.choice.quick => Ok(Some(QUICK_CONNECTIONS.into())),
            Pace::Rate(rate) => Ok(Some(rate.into())),
            Pace::OfOwnPeak(part) => part_of_peak(part, contender.name),
            Pace::OfNginxPeak(part) => part_of_peak(part, NGINX),
        }
    }
}

/// Whether a smoke test has time for it: of a plan with several points, not for all.
fn is_quick(plan: &Plan, point: &Point) -> bool {
    let pace = match point.pace {
        Pace::Closed | Pace::Rate(_) | Pace::Idle => true,
        Pace::OfOwnPeak(part) => part == 0.5 || part > 1.0,
        Pace::OfNginxPeak(part) => part == 0.5,
    };
    pace && (plan.points.len() == 1 || point.connections <= QUICK_CONNECTIONS)
}

fn nowhere(title: &str, reason: &str) -> LeftOut {
    LeftOut { contender: title.to_owned(), plan: None, point: None, reason: reason.to_owned() }
}

fn about(contender: &Contender, program: &std::path::Path) -> About {
    let (name, title) = (contender.name.to_owned(), contender.title.to_owned());
    About { name, title, version: contender.version(program) }
}

fn plan_about(plan: &Plan) -> PlanAbout {
    let point =
        |point: &Point| PointAbout { name: point.name.to_owned(), connections: point.connections };
    PlanAbout {
        name: plan.name.to_owned(),
        title: plan.title.to_owned(),
        figure: plan.figure,
        points: plan.points.iter().map(point).collect(),
    }
}

/// Raises the limit of open files, which contenders inherit, as far as it goes; returns where it is
/// then.
fn raise_files() -> u64 {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let most = maximum.unwrap_or(u64::MAX);
    if most < FILES_WISHED {
        let wished = Rlimit { current: Some(FILES_WISHED), maximum: Some(FILES_WISHED) };
        if setrlimit(Resource::Nofile, wished).is_ok() {
            return FILES_WISHED;
        }
    }
    most
}

/// The time that all of it will take at most, for a reader to know whether to wait.
pub(super) fn estimate(choice: &Choice, files: u64) -> Duration {
    let points =
        choice.plans.iter().flat_map(|plan| plan.points.iter().map(move |point| (plan, point)));
    let points = points.filter(|(plan, point)| !choice.quick || is_quick(plan, point));
    let each = |(plan, point): (&&Plan, &Point)| {
        let contenders = choice.contenders.iter().filter(|contender| {
            contender.speaks(plan.asked) && (plan.for_ceiling || !contender.is_ceiling)
        });
        let contenders = contenders
            .filter(|contender| u64::from(contender.files_needed(point.connections)) <= files);
        let opening = Duration::from_micros(7) * point.connections;
        (choice.measured.mul_f64(f64::from(plan.stretch) + WARM_UP)
            + Duration::from_millis(600)
            + opening)
            * contenders.count() as u32
    };
    points.map(|(plan, point)| each((plan, point))).sum::<Duration>() * choice.repeats
}

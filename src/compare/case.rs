//! One case: builds a testbed, starts a target, runs the load, samples CPU and memory, and removes
//! all of it.
//!
//! A failure of target or load is part of the result. A failure that would affect every case, or an
//! interruption, is an error.

use super::options::Cores;
use super::plans::{Pace, Plan, Point, Workload};
use super::results::{Cpu, Memory};
use super::sample::{Samples, kernel_memory};
use super::static_set;
use super::targets::{FILE, PORT, SERVER, Scenario, Target};
use super::temp_dir::TempDir;
use super::testbed::{Log, Process, SOURCE, Side, Testbed};
use crate::error::{Error, Result};
use crossbeam_channel::{Receiver, RecvTimeoutError};
use serde_json::Value;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

/// Limit for a target to answer its first request. Memory for a million connections takes seconds.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Limit of a load's run time beyond its measurement: a fixed part, and a part for each connection.
const OPEN_TIMEOUT: Duration = Duration::from_secs(60);
const OPEN_TIMEOUT_EACH: Duration = Duration::from_micros(100);
/// Interval at which processes are polled, and polls for each sample of CPU and memory.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
const POLLS_PER_SAMPLE: u32 = 5;
/// Limit for one attempt to get an answer.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(1);

/// The parameters that all cases share.
pub(super) struct Bench<'a> {
    pub(super) simoom: &'a Path,
    pub(super) temp_dir: &'a TempDir,
    pub(super) cores: Cores,
    pub(super) measured: Duration,
    pub(super) warm_up: Duration,
    /// Signals that interrupt the comparison.
    pub(super) signals: &'a Receiver<&'static str>,
}

/// The parameters of one case.
pub(super) struct CaseSpec<'a> {
    pub(super) plan: &'a Plan,
    pub(super) point: &'a Point,
    pub(super) target: &'a Target,
    pub(super) program: &'a Path,
    /// Open connections: those of the point, reduced in a smoke test.
    pub(super) connections: u32,
    /// Keys of memcached: those of the plan, reduced in a smoke test.
    pub(super) keys: u32,
    /// Requests a second in the open loop; `None` for a closed loop.
    pub(super) rate: Option<f64>,
}

/// The result of one case.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) server: Vec<String>,
    pub(super) configuration: Option<String>,
    pub(super) load: Vec<String>,
    pub(super) error: Option<String>,
    pub(super) report: Option<Value>,
    pub(super) cpu: Option<Cpu>,
    pub(super) memory: Option<Memory>,
}

impl Bench<'_> {
    /// Measures a case once.
    pub(super) fn measure(&self, spec: &CaseSpec<'_>) -> Result<Outcome> {
        let CaseSpec { plan, point, target, connections, .. } = *spec;
        match plan.workload {
            Workload::Http(bytes) => {
                self.temp_dir.write(&format!("www/{FILE}"), &vec![b'x'; bytes as usize])?;
            }
            Workload::Static => static_set::write(self.temp_dir)?,
            Workload::Memcached(_) => {}
        }
        let scenario = Scenario {
            workload: plan.workload,
            connections,
            connection_per_request: point.load.contains("--connection-per-request"),
            directory: self.temp_dir.path(),
        };
        let start = target.start(&scenario);
        if let Some((name, text)) = &start.file {
            self.temp_dir.write(name, text.as_bytes())?;
        }
        let testbed = Testbed::new(self.cores, self.simoom, !plan.no_segmentation_offload)?;
        let mut outcome = Outcome {
            server: [&[spec.program.display().to_string()], &start.arguments[..]].concat(),
            configuration: start.file.map(|(_, text)| text),
            ..Outcome::default()
        };
        let kernel_before = kernel_memory();
        let log = self.log("server")?;
        let mut server = testbed.start(Side::Server, spec.program, &start.arguments, log)?;
        if let Err(reason) = self.wait_for_answer(plan.workload, &testbed, &mut server)? {
            outcome.error = Some(reason);
            return Ok(outcome);
        }
        let mut samples = Samples::new(self.cores, server.id(), kernel_before);
        match point.pace {
            Pace::Idle => self.watch_idle(&mut server, &mut samples, &mut outcome)?,
            _ => self.send(spec, &testbed, &mut server, &mut samples, &mut outcome)?,
        }
        if outcome.error.is_none() && server.ended()?.is_some() {
            outcome.error = Some(format!("the server ended: {}", self.last_line("server")));
        }
        Ok(outcome)
    }

    /// Waits until the server answers a request. The inner error is the reason why it does not.
    fn wait_for_answer(
        &self,
        workload: Workload,
        testbed: &Testbed<'_>,
        server: &mut Process,
    ) -> Result<Result<(), String>> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            if testbed.run(Side::Client, || answers(workload)) {
                return Ok(Ok(()));
            }
            if let Some(status) = server.ended()? {
                return Ok(Err(format!(
                    "the server did not start ({status}): {}",
                    self.last_line("server")
                )));
            }
            if Instant::now() > deadline {
                return Ok(Err(format!(
                    "the server did not answer within {START_TIMEOUT:?}: {}",
                    self.last_line("server")
                )));
            }
            self.pause()?;
        }
    }

    /// Samples an idle server.
    fn watch_idle(
        &self,
        server: &mut Process,
        samples: &mut Samples,
        outcome: &mut Outcome,
    ) -> Result<()> {
        let deadline = Instant::now() + self.warm_up + self.measured;
        while Instant::now() < deadline && server.ended()?.is_none() {
            samples.take();
            self.pause()?;
        }
        if let Some((from_us, until_us)) = samples.span_us() {
            outcome.cpu = samples.cpu(from_us, until_us);
            outcome.memory = samples.memory(until_us);
        }
        Ok(())
    }

    /// Runs the load and samples meanwhile.
    fn send(
        &self,
        spec: &CaseSpec<'_>,
        testbed: &Testbed<'_>,
        server: &mut Process,
        samples: &mut Samples,
        outcome: &mut Outcome,
    ) -> Result<()> {
        outcome.load = self.load_arguments(spec);
        let mut load =
            testbed.start(Side::Client, self.simoom, &outcome.load, self.log("load")?)?;
        let limit =
            self.measured * spec.plan.stretch + OPEN_TIMEOUT + OPEN_TIMEOUT_EACH * spec.connections;
        let deadline = Instant::now() + limit;
        let status = 'ended: loop {
            samples.take();
            for _ in 0..POLLS_PER_SAMPLE {
                if let Some(status) = load.ended()? {
                    break 'ended status;
                }
                self.pause()?;
            }
            if server.ended()?.is_some() {
                outcome.error =
                    Some(format!("the server ended under load: {}", self.last_line("server")));
                return Ok(());
            }
            if Instant::now() > deadline {
                outcome.error = Some(format!("the load did not end within {limit:?}"));
                return Ok(());
            }
        };
        samples.take();
        outcome.report = self.read("load.out").and_then(|text| serde_json::from_str(&text).ok());
        let measured =
            outcome.report.as_ref().and_then(|report| report["measured_us_since_boot"].as_array());
        let moments: Vec<u64> = measured.into_iter().flatten().filter_map(Value::as_u64).collect();
        if let [from_us, until_us] = moments[..] {
            outcome.cpu = samples.cpu(from_us, until_us);
            outcome.memory = samples.memory(until_us);
        }
        if !status.success() {
            outcome.error = Some(self.last_line("load"));
        } else if outcome.report.is_none() {
            outcome.error = Some("the load printed no report".to_owned());
        }
        Ok(())
    }

    fn load_arguments(&self, spec: &CaseSpec<'_>) -> Vec<String> {
        let CaseSpec { plan, point, target, rate, connections, keys, .. } = *spec;
        let what = match plan.workload {
            Workload::Http(_) => format!("http://{SERVER}:{PORT}/{FILE}"),
            Workload::Static => {
                let others: Vec<_> = (1..static_set::FILES).map(static_set::path).collect();
                let (first, others) = (static_set::path(0), others.join(","));
                format!(
                    "http://{SERVER}:{PORT}{first} --path {others} --header Accept-Encoding:gzip"
                )
            }
            // The ceiling returns a value for every key.
            Workload::Memcached(bytes) if target.is_ceiling => {
                format!("memcached://{SERVER}:{PORT} --value-size {bytes} --no-preload")
            }
            Workload::Memcached(bytes) => {
                format!("memcached://{SERVER}:{PORT} --value-size {bytes} --keys {keys}")
            }
        };
        let mut arguments = format!("load {what} --interface c0 --source {SOURCE} --json");
        arguments += &format!(" --connections {connections} {}", point.load);
        if let Some(each) = point.requests_each {
            arguments += &format!(" --requests {}", each * connections);
        } else {
            let measured = (self.measured * plan.stretch).as_millis();
            arguments +=
                &format!(" --duration {measured}ms --warm-up {}ms", self.warm_up.as_millis());
        }
        if let Some(rate) = rate {
            arguments += &format!(" --rate {}", rate.round().max(1.0));
        }
        arguments.split_whitespace().map(str::to_owned).collect()
    }

    fn log(&self, name: &str) -> Result<Log> {
        let file = |suffix: &str| {
            let path = self.temp_dir.path().join(format!("{name}.{suffix}"));
            File::create(&path)
                .map_err(|error| Error::because(format!("writing {}", path.display()), error))
        };
        Ok(Log { output: file("out")?, errors: file("err")? })
    }

    fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.temp_dir.path().join(name)).ok()
    }

    /// The last line of a process's standard error.
    fn last_line(&self, name: &str) -> String {
        let stderr = self.read(&format!("{name}.err")).unwrap_or_default();
        let last = stderr
            .lines()
            .rfind(|line| !line.trim().is_empty())
            .unwrap_or("no output on standard error");
        last.trim_start_matches("error: ").to_owned()
    }

    /// Waits for one poll interval. Returns an error if a signal arrives.
    fn pause(&self) -> Result<()> {
        match self.signals.recv_timeout(POLL_INTERVAL) {
            Err(RecvTimeoutError::Timeout) => Ok(()),
            signal => Err(Error::failed(format!(
                "interrupted by {}; all processes and files were removed",
                signal.unwrap_or("the end of the signal thread")
            ))),
        }
    }
}

/// Whether the server answers a request over a kernel socket.
fn answers(workload: Workload) -> bool {
    let get = |path| format!("GET {path} HTTP/1.1\r\nHost: {SERVER}\r\nConnection: close\r\n\r\n");
    let (question, answer) = match workload {
        Workload::Http(_) => (get(&format!("/{FILE}")), "HTTP/1.1 200"),
        Workload::Static => (get(&static_set::path(0)), "HTTP/1.1 200"),
        Workload::Memcached(_) => ("get nothing\r\n".to_owned(), "END"),
    };
    let address: SocketAddr =
        format!("{SERVER}:{PORT}").parse().expect("the server's address is one");
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&address, ATTEMPT_TIMEOUT)?;
        stream.set_read_timeout(Some(ATTEMPT_TIMEOUT))?;
        stream.write_all(question.as_bytes())?;
        let mut beginning = vec![0; answer.len()];
        stream.read_exact(&mut beginning)?;
        // The ceiling returns a value even for that key.
        Ok(beginning == answer.as_bytes() || beginning.starts_with(b"VAL"))
    };
    ask().unwrap_or(false)
}

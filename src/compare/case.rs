//! One case: a stage set up, a contender started, the load sent, everything read that is to be
//! known, and all of it taken down again. What goes wrong with contender or load is part of the
//! result; what would go wrong with every case, and an interruption, is an error.

use super::contenders::{Contender, FILE, PORT, SERVER, Setting};
use super::options::Cores;
use super::plans::{Asked, Pace, Plan, Point};
use super::results::{Cpu, Memory};
use super::sample::{Samples, kernel_memory};
use super::stage::{Log, Process, SOURCE, Side, Stage};
use super::workplace::Workplace;
use crate::error::{Error, Result};
use crossbeam_channel::{Receiver, RecvTimeoutError};
use serde_json::Value;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a contender may take until it answers: a million connections take their memory first.
const STARTING: Duration = Duration::from_secs(30);
/// How long a load may take besides what it measures, and a connection more each.
const OPENING: Duration = Duration::from_secs(60);
const OPENING_EACH: Duration = Duration::from_micros(100);
/// How often processes are looked at, and how often in so many looks a reading is taken.
const LOOK: Duration = Duration::from_millis(10);
const LOOKS_A_READING: u32 = 5;
/// For one attempt to have an answer.
const ATTEMPT: Duration = Duration::from_secs(1);

/// What all cases share.
pub(super) struct Bench<'a> {
    pub(super) simoom: &'a Path,
    pub(super) workplace: &'a Workplace,
    pub(super) cores: Cores,
    pub(super) measured: Duration,
    pub(super) warm_up: Duration,
    /// The signal that ends all.
    pub(super) signals: &'a Receiver<&'static str>,
}

/// What is measured.
pub(super) struct Subject<'a> {
    pub(super) plan: &'a Plan,
    pub(super) point: &'a Point,
    pub(super) contender: &'a Contender,
    pub(super) program: &'a Path,
    /// Connections open: the point's, or what a smoke test makes of that.
    pub(super) connections: u32,
    /// Requests a second to offer, in the open loop.
    pub(super) rate: Option<f64>,
}

/// What came of it.
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
    /// Measures a subject once.
    pub(super) fn measure(&self, subject: &Subject<'_>) -> Result<Outcome> {
        let Subject { plan, point, contender, connections, .. } = *subject;
        if let Asked::Http(bytes) = plan.asked {
            self.workplace.write(&format!("www/{FILE}"), &vec![b'x'; bytes as usize])?;
        }
        let setting = Setting {
            asked: plan.asked,
            connections,
            connection_per_request: point.load.contains("--connection-per-request"),
            place: self.workplace.path(),
        };
        let start = contender.start(&setting);
        if let Some((name, text)) = &start.file {
            self.workplace.write(name, text.as_bytes())?;
        }
        let stage = Stage::new(self.cores, self.simoom, !plan.no_segmentation_offload)?;
        let mut outcome = Outcome {
            server: [&[subject.program.display().to_string()], &start.arguments[..]].concat(),
            configuration: start.file.map(|(_, text)| text),
            ..Outcome::default()
        };
        let kernel_before = kernel_memory();
        let log = self.log("server")?;
        let mut server = stage.start(Side::Server, subject.program, &start.arguments, log)?;
        if let Err(reason) = self.wait_for_answer(plan.asked, &stage, &mut server)? {
            outcome.error = Some(reason);
            return Ok(outcome);
        }
        let mut samples = Samples::new(self.cores, server.id(), kernel_before);
        match point.pace {
            Pace::Idle => self.watch_idle(&mut server, &mut samples, &mut outcome)?,
            _ => self.send(subject, &stage, &mut server, &mut samples, &mut outcome)?,
        }
        if outcome.error.is_none() && server.ended()?.is_some() {
            outcome.error = Some(format!("the server has ended: {}", self.last_line("server")));
        }
        Ok(outcome)
    }

    /// Waits until the server has answered a request; the reason, if it does not.
    fn wait_for_answer(
        &self,
        asked: Asked,
        stage: &Stage<'_>,
        server: &mut Process,
    ) -> Result<Result<(), String>> {
        let deadline = Instant::now() + STARTING;
        loop {
            if stage.run(Side::Client, || answers(asked)) {
                return Ok(Ok(()));
            }
            if let Some(status) = server.ended()? {
                return Ok(Err(format!(
                    "it did not start ({status}): {}",
                    self.last_line("server")
                )));
            }
            if Instant::now() > deadline {
                return Ok(Err(format!(
                    "it did not answer within {STARTING:?}: {}",
                    self.last_line("server")
                )));
            }
            self.pause()?;
        }
    }

    /// Takes readings while nothing is asked.
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

    /// Runs the load, taking readings meanwhile.
    fn send(
        &self,
        subject: &Subject<'_>,
        stage: &Stage<'_>,
        server: &mut Process,
        samples: &mut Samples,
        outcome: &mut Outcome,
    ) -> Result<()> {
        outcome.load = self.load_arguments(subject);
        let mut load = stage.start(Side::Client, self.simoom, &outcome.load, self.log("load")?)?;
        let limit =
            self.measured * subject.plan.stretch + OPENING + OPENING_EACH * subject.connections;
        let deadline = Instant::now() + limit;
        let status = 'ended: loop {
            samples.take();
            for _ in 0..LOOKS_A_READING {
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

    fn load_arguments(&self, subject: &Subject<'_>) -> Vec<String> {
        let Subject { plan, point, contender, rate, connections, .. } = *subject;
        let what = match plan.asked {
            Asked::Http(_) => format!("http://{SERVER}:{PORT}/{FILE}"),
            // The ceiling has a value for every key.
            Asked::Memcached(bytes) if contender.is_ceiling => {
                format!("memcached://{SERVER}:{PORT} --value-size {bytes} --no-preload")
            }
            Asked::Memcached(bytes) => format!("memcached://{SERVER}:{PORT} --value-size {bytes}"),
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
            let path = self.workplace.path().join(format!("{name}.{suffix}"));
            File::create(&path)
                .map_err(|error| Error::because(format!("writing {}", path.display()), error))
        };
        Ok(Log { output: file("out")?, errors: file("err")? })
    }

    fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.workplace.path().join(name)).ok()
    }

    /// The last line of what a process complained of.
    fn last_line(&self, name: &str) -> String {
        let said = self.read(&format!("{name}.err")).unwrap_or_default();
        let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
        last.trim_start_matches("error: ").to_owned()
    }

    /// A moment's rest, unless a signal came.
    fn pause(&self) -> Result<()> {
        match self.signals.recv_timeout(LOOK) {
            Err(RecvTimeoutError::Timeout) => Ok(()),
            signal => Err(Error::failed(format!(
                "interrupted by {}; nothing is left behind",
                signal.unwrap_or("the end of the signal watch")
            ))),
        }
    }
}

/// Whether the server answers over an ordinary connection.
fn answers(asked: Asked) -> bool {
    let (question, answer) = match asked {
        Asked::Http(_) => (
            format!("GET /{FILE} HTTP/1.1\r\nHost: {SERVER}\r\nConnection: close\r\n\r\n"),
            "HTTP/1.1 200",
        ),
        Asked::Memcached(_) => ("get nothing\r\n".to_owned(), "END"),
    };
    let address: SocketAddr =
        format!("{SERVER}:{PORT}").parse().expect("the server's address is one");
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&address, ATTEMPT)?;
        stream.set_read_timeout(Some(ATTEMPT))?;
        stream.write_all(question.as_bytes())?;
        let mut beginning = vec![0; answer.len()];
        stream.read_exact(&mut beginning)?;
        // The ceiling has even that key.
        Ok(beginning == answer.as_bytes() || beginning.starts_with(b"VAL"))
    };
    ask().unwrap_or(false)
}

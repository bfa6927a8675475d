//! `simoom compare` and `simoom ceiling` from the user's side.

mod common;

use common::{Network, Process, need_program, need_root, run, run_as_nobody, simoom, wait_until};
use rustix::process::{Pid, Signal};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(60);

/// Comparisons use the same two cores and spin on them. Two at a time would starve each other.
fn take_cores() -> MutexGuard<'static, ()> {
    static CORES: Mutex<()> = Mutex::new(());
    CORES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `load` in the client's namespace against the ceiling in the server's. Returns its report.
fn load_the_ceiling(ceiling: &str, load: &str) -> Value {
    let network = Network::new(1).unwrap();
    let mut server = network.server.run(|| {
        let arguments = ["ceiling", "--interface", "s0", "--port", "8080"];
        Process::start(simoom().args(arguments).args(ceiling.split(' ')).stdout(Stdio::piped()))
    });
    let mut lines = BufReader::new(server.child().stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().starts_with("answering on "));
    let url = format!("http://{}:8080/", network.address(1));
    let source = format!("{}/25", network.address(128));
    let output = network.client.run(|| {
        let arguments = ["load", &url, "--interface", "c0", "--source", &source, "--json"];
        run(arguments.into_iter().chain(load.split(' ')))
    });
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_ceiling_answers_a_load_without_error() {
    if !need_root() {
        return;
    }
    let _cores = take_cores();
    for (ceiling, load, requests) in [
        ("--response-bytes 12", "--connections 50 --verify", 20_000),
        ("--response-bytes 12", "--connections 2000 --in-flight 512", 20_000),
        ("--response-bytes 4096", "--connections 50", 20_000),
        ("--response-bytes 65536", "--connections 10", 500),
        ("--response-bytes 512 --close", "--connections 64 --connection-per-request", 20_000),
    ] {
        let report = load_the_ceiling(ceiling, &format!("{load} --requests {requests}"));
        assert_eq!(
            (&report["errors"], &report["responses"]),
            (&0.into(), &requests.into()),
            "{load}"
        );
    }
}

/// Runs `compare`. Returns its status, standard output and standard error.
fn compare(arguments: &[&str]) -> (Output, String, String) {
    let output = run([&["compare"], arguments].concat());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    (output, stdout, stderr)
}

fn results(directory: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(directory.join("results.json")).unwrap()).unwrap()
}

/// Number of temporary directories of comparisons in `directory`.
fn temp_dirs(directory: &Path) -> usize {
    let names = std::fs::read_dir(directory).unwrap().flatten().map(|entry| entry.file_name());
    names.filter(|name| name.to_string_lossy().starts_with("simoom-compare-")).count()
}

/// Whether a case has responses, or parts of them, and used the server's core. A large file that is
/// read slowly has no complete response.
fn has_answers(case: &Value) -> bool {
    let came =
        ["responses", "content_bytes"].map(|what| case["report"][what].as_u64().unwrap_or(0));
    came.iter().any(|count| *count > 0) && case["cpu"]["server_core"].as_f64() > Some(0.0)
}

/// A fifth of a second may be too short on a busy machine. Then the case is measured again, for
/// longer.
fn measured_something(case: &Value) {
    let (plan, target) = (case["plan"].as_str().unwrap(), case["contender"].as_str().unwrap());
    let answered = has_answers(case)
        || ["2", "20"].iter().any(|seconds| {
            let directory = tempfile::tempdir().unwrap();
            let out = directory.path().to_str().unwrap();
            let names = ["--plan", plan, "--contender", target, "--out", out];
            let (output, stdout, stderr) =
                compare(&[&["--quick", "--seconds", seconds], &names[..]].concat());
            assert_eq!(output.status.code(), Some(0), "{stderr}\n{stdout}");
            results(directory.path())["cases"].as_array().unwrap().iter().all(has_answers)
        });
    assert!(answered, "{case}");
}

/// A smoke test of all plans and targets, and of the resulting page.
#[test]
fn a_quick_comparison_runs_all_and_its_page_looks_as_it_should() {
    if !need_root() || !need_program("nginx") || !need_program("chromium") {
        return;
    }
    let _cores = take_cores();
    let directory = tempfile::tempdir().unwrap();
    let (output, stdout, stderr) =
        compare(&["--quick", "--out", directory.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{stderr}\n{stdout}");
    let results = results(directory.path());
    let cases = results["cases"].as_array().unwrap();
    assert!(cases.iter().all(|case| case["error"].is_null()));
    for target in ["xdp", "epoll", "nginx", "ceiling"] {
        let of_it: Vec<_> = cases.iter().filter(|case| case["contender"] == target).collect();
        assert!(of_it.len() >= 12, "{target}: {}", of_it.len());
        for case in of_it.iter().filter(|case| case["plan"] != "idle") {
            measured_something(case);
        }
    }
    let of_static: Vec<_> = cases.iter().filter(|case| case["plan"] == "static").collect();
    assert!(of_static.len() >= 4, "{}", of_static.len());
    of_static.into_iter().for_each(sent_the_static_set_compressed);
    let lines =
        std::fs::read_to_string(directory.path().join("results.csv")).unwrap().lines().count();
    assert_eq!(lines, cases.len() + 1);
    for (width, height) in [(1280, 800), (794, 1123), (400, 800)] {
        let verdict = look_at(&directory.path().join("report.html"), width, height);
        assert!(verdict["charts"].as_u64().unwrap() >= 12, "{verdict}");
        let mut flaws = verdict["flaws"].as_array().unwrap().clone();
        if !cases.iter().all(has_answers) {
            // A case without responses in its fifth of a second rightly has no bar.
            flaws.retain(|flaw| !flaw.as_str().unwrap().ends_with(": an empty bar"));
        }
        assert_eq!((&flaws, &verdict["scripts"]), (&Vec::new(), &0.into()));
    }
}

/// Each server sends the forms in gzip, which have about a third of the bytes.
fn sent_the_static_set_compressed(case: &Value) {
    measured_something(case);
    let [responses, bytes] = ["responses", "content_bytes"]
        .map(|what| case["report"][what].as_f64().unwrap_or_default());
    assert!(responses < 20.0 || (5e3..35e3).contains(&(bytes / responses)), "{case}");
}

/// Checks the layout in a browser: charts without size, texts that overlap or leave their drawing,
/// words wider than the page.
const LOOK: &str = r#"<script>
const flaws = [], box = e => e.getBoundingClientRect();
const charts = document.querySelectorAll('svg');
for (const svg of charts) {
    const frame = box(svg), name = svg.getAttribute('aria-label');
    if (frame.width < 300 || frame.height < 30) flaws.push(`${name}: ${frame.width} x ${frame.height}`);
    const texts = [...svg.querySelectorAll('text')].map(e => [e.textContent, box(e)]);
    texts.forEach(([text, a], i) => {
        if (a.left < frame.left - 1 || a.right > frame.right + 1 || a.top < frame.top - 1 || a.bottom > frame.bottom + 1)
            flaws.push(`${name}: "${text}" leaves the drawing`);
        for (const [other, b] of texts.slice(i + 1))
            if (a.left < b.right && b.left < a.right && a.top + 2 < b.bottom && b.top + 2 < a.bottom)
                flaws.push(`${name}: "${text}" lies on "${other}"`);
    });
    for (const bar of svg.querySelectorAll('.bar')) if (box(bar).width <= 0) flaws.push(`${name}: an empty bar`);
}
for (const e of document.querySelectorAll('h1, h2, h3, p, li, pre'))
    if (e.scrollWidth > e.clientWidth + 1) flaws.push(`"${e.textContent.slice(0, 40)}" is wider than the page`);
if (document.documentElement.scrollWidth > innerWidth) flaws.push('the page scrolls sideways');
const scripts = document.scripts.length - 1;
const verdict = document.createElement('output');
verdict.textContent = JSON.stringify({charts: charts.length, flaws, scripts});
document.body.append(verdict);
</script></body>"#;

fn look_at(page: &Path, width: u32, height: u32) -> Value {
    let place = tempfile::tempdir().unwrap();
    let copy = place.path().join("page.html");
    std::fs::write(&copy, std::fs::read_to_string(page).unwrap().replace("</body>", LOOK)).unwrap();
    let output = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .arg(format!("--user-data-dir={}", place.path().join("profile").display()))
        .arg(format!("--window-size={width},{height}"))
        .arg("--dump-dom")
        .arg(format!("file://{}", copy.display()))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let page = String::from_utf8_lossy(&output.stdout);
    let verdict = page.split_once("<output>").and_then(|(_, rest)| rest.split_once("</output>"));
    let (verdict, _) =
        verdict.unwrap_or_else(|| panic!("{page}\n{}", String::from_utf8_lossy(&output.stderr)));
    serde_json::from_str(&verdict.replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">"))
        .unwrap()
}

#[test]
fn names_that_are_not_there_and_cores_that_cannot_be_are_refused() {
    for (arguments, expected) in [
        ("--plan get-13", "error: --plan get-13: unknown name; expected one of get-12,"),
        ("--contender apache", "error: --contender apache: unknown name; expected one of xdp,"),
        ("--cores 0,0", "error: --cores 0,0: not two different cores"),
        ("--cores 0,900", "error: --cores 0,900: this process may only use the cores"),
        ("--seconds 0", "error: --seconds 0: not a number of seconds from 0.1 to 600"),
        ("--out /proc/nowhere", "error: --out /proc/nowhere: "),
    ] {
        let (output, _, stderr) = compare(&arguments.split(' ').collect::<Vec<_>>());
        assert_eq!(output.status.code(), Some(2), "{arguments}: {stderr}");
        assert!(stderr.starts_with(expected), "{arguments}: {stderr}");
    }
    for (text, expected) in
        [("{}", "not the results of a comparison"), ("nothing", "not the results of a comparison")]
    {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, text).unwrap();
        let (output, _, stderr) = compare(&["--table", file.path().to_str().unwrap()]);
        assert!(output.status.code() == Some(1) && stderr.contains(expected), "{stderr}");
    }
}

#[test]
fn without_root_it_says_what_it_needs() {
    if !need_root() {
        return;
    }
    let output = run_as_nobody("compare");
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("run as root"), "{stderr}");
}

/// memcached is searched in PATH, so PATH can hide it. (nginx is also searched in the directories
/// of administrators, which may be missing in PATH.)
#[test]
fn a_target_that_is_not_installed_is_left_out_unless_it_was_named() {
    if !need_root() {
        return;
    }
    let _cores = take_cores();
    let compare = |arguments: &str| {
        let output = simoom()
            .arg("compare")
            .args(arguments.split(' '))
            .env("PATH", "/nowhere")
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, stdout, stderr) = compare("--quick --seconds 0.1 --plan mc-get");
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("memcached: left out: it is not installed"), "{stdout}");
    assert!(
        stdout.lines().any(|line| line.contains("Simoom, epoll") && line.contains('%')),
        "{stdout}"
    );
    let (code, _, stderr) = compare("--quick --plan mc-get --contender epoll,memcached");
    let expected = "error: --contender memcached: memcached is not installed: install it, or leave the name out";
    assert!(code == Some(2) && stderr.starts_with(expected), "{stderr}");
}

#[test]
fn plans_and_targets_are_listed() {
    let (output, stdout, _) = compare(&["--list"]);
    assert_eq!(output.status.code(), Some(0));
    // A column as wide as its longest name.
    for (name, title) in
        [("get-12-1k-acked", "GET"), ("get-12         ", "GET"), ("memcached", "memcached")]
    {
        assert!(stdout.contains(&format!("\n  {name}  {title}")), "{stdout}");
    }
    assert!(stdout.contains("h2o") && stdout.contains("static"), "{stdout}");
}

#[test]
fn a_target_that_dies_is_a_failed_case_and_the_rest_goes_on() {
    if !need_root() || !need_program("nginx") {
        return;
    }
    let _cores = take_cores();
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().to_str().unwrap().to_owned();
    let mut process = Process::start(
        simoom()
            .args([
                "compare",
                "--plan",
                "get-12",
                "--contender",
                "epoll,nginx",
                "--repeats",
                "1",
                "--seconds",
                "2",
            ])
            .args(["--out", &out])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped()),
    );
    let own = process.id();
    let mut killed = false;
    wait_until("the comparison ends", TIMEOUT, || {
        let all = descendants(own);
        if !killed
            && let Some(server) =
                all.iter().copied().find(|process| runs(*process, "nginx: worker"))
            && all.iter().any(|process| runs(*process, " load http"))
        {
            // The master would restart its worker, so the master goes first.
            let master = parent(server);
            for process in [master, server] {
                let _ = rustix::process::kill_process(pid(process), Signal::KILL);
            }
            killed = true;
        }
        !process.is_running()
    });
    assert!(killed);
    assert_eq!(process.wait(TIMEOUT).code(), Some(1));
    assert!(process.stderr().contains("1 of 2 cases failed"));
    let results = results(directory.path());
    let errors: Vec<&Value> =
        results["cases"].as_array().unwrap().iter().map(|case| &case["error"]).collect();
    assert!(
        errors[0].is_null() && errors[1].as_str().unwrap().contains("the server ended under load"),
        "{errors:?}"
    );
}

#[test]
fn however_it_ends_nothing_is_left() {
    if !need_root() {
        return;
    }
    let _cores = take_cores();
    // A directory of its own: other comparisons may run on this machine.
    let place = tempfile::tempdir().unwrap();
    for signal in [Signal::INT, Signal::TERM, Signal::KILL] {
        let mut process = Process::start(
            simoom()
                .args(["compare", "--plan", "get-12", "--contender", "epoll", "--seconds", "30"])
                .env("TMPDIR", place.path())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped()),
        );
        let own = process.id();
        wait_until("a load runs", TIMEOUT, || {
            descendants(own).iter().any(|process| runs(*process, "simoom load"))
        });
        let started = descendants(own);
        assert!(temp_dirs(place.path()) == 1 && started.len() >= 3, "{started:?}");
        process.signal(signal);
        let status = process.wait(TIMEOUT);
        if signal != Signal::KILL {
            assert_eq!(status.code(), Some(1));
            let stderr = process.stderr();
            assert!(stderr.contains("interrupted by SIG"), "{stderr}");
        }
        wait_until("all that it started is gone", TIMEOUT, || {
            started.iter().all(|process| !Path::new(&format!("/proc/{process}/exe")).exists())
        });
        wait_until("its directory is gone", TIMEOUT, || temp_dirs(place.path()) == 0);
    }
}

/// All descendants of a process.
fn descendants(process: u32) -> Vec<u32> {
    let file = format!("/proc/{process}/task/{process}/children");
    let children = std::fs::read_to_string(file).unwrap_or_default();
    let children: Vec<u32> =
        children.split_whitespace().map(|child| child.parse().unwrap()).collect();
    children.iter().flat_map(|child| [vec![*child], descendants(*child)].concat()).collect()
}

/// Whether the command line of a process contains `what`.
fn runs(process: u32, what: &str) -> bool {
    let line = std::fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).replace('\0', " ").contains(what)
}

fn parent(process: u32) -> u32 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.split(' ').nth(1).unwrap().parse().unwrap()
}

fn pid(process: u32) -> Pid {
    Pid::from_raw(i32::try_from(process).unwrap()).unwrap()
}

/// A table of a recorded run stands between two comments. The first names the run.
#[test]
fn tables_in_documents_are_what_their_recorded_runs_make() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (document, tables) in [("README.md", 1), ("src/guide/results.md", 10)] {
        let text = std::fs::read_to_string(root.join(document)).unwrap();
        let parts: Vec<&str> = text.split("<!-- simoom compare --table ").skip(1).collect();
        assert_eq!(parts.len(), tables, "{document}");
        for part in parts {
            let (run, rest) = part.split_once(" -->\n").unwrap();
            let (table, _) = rest.split_once("<!-- end -->").unwrap();
            let (file, flags) = run.split_once(' ').unwrap_or((run, ""));
            let file = root.join(file);
            let mut arguments = vec!["--table", file.to_str().unwrap()];
            arguments.extend(flags.split_whitespace());
            let (output, stdout, stderr) = compare(&arguments);
            assert_eq!(output.status.code(), Some(0), "{stderr}");
            let told = "write between the comments what --table prints";
            assert_eq!(table.trim(), stdout.trim(), "{document}, {run}: {told}");
            assert!(stdout.lines().count() > 3);
        }
    }
}

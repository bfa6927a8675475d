//! Clients that people use get the files of a site: wget, httpx, aiohttp, undici, and Chromium with
//! a page that seeks in a video. curl is in files.rs and large.rs.

use crate::common::{PYTHON, Process, need_program, skip, wait_until};
use crate::over_all;
use crate::site::{FILES, LARGE, Plan, Site, Transport};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

over_all!(
    wget_gets_a_file_and_resumes_it,
    httpx_and_aiohttp_get_every_file,
    undici_gets_every_file,
    chromium_seeks_in_a_video,
);

fn url(site: &Site) -> String {
    format!("http://{}", site.address())
}

/// Runs a script with the address of the site, the directory of its files, and their paths.
fn run(site: &Site, program: &str, script: &[&str]) {
    let (url, root) = (url(site), site.root().display().to_string());
    let paths = FILES.iter().map(|(path, _)| *path);
    let arguments: Vec<&str> =
        script.iter().copied().chain([url.as_str(), root.as_str()]).chain(paths).collect();
    let output = site.run_client(program, &arguments);
    assert!(output.contains("all as it should be"), "{output}");
    println!("{output}");
}

fn wget_gets_a_file_and_resumes_it(transport: Transport) {
    if !need_program("wget") {
        return;
    }
    let Some(site) = Site::start(transport) else { return };
    let content = site.content(LARGE);
    let target = tempfile::tempdir().unwrap();
    let path = target.path().join("file");
    let (url, output) = (url(&site) + LARGE, path.display().to_string());
    site.run_client("wget", &["-q", "-O", &output, &url]);
    assert!(std::fs::read(&path).unwrap() == content);
    File::options().write(true).open(&path).unwrap().set_len(1_000_001).unwrap();
    site.run_client("wget", &["-q", "-c", "-O", &output, &url]);
    assert!(std::fs::read(&path).unwrap() == content);
    site.wait_for("http_partial", 1);
}

fn httpx_and_aiohttp_get_every_file(transport: Transport) {
    let modules = Command::new(PYTHON).args(["-c", "import httpx, aiohttp"]).output();
    if !modules.is_ok_and(|output| output.status.success()) {
        return skip("needs python3 with httpx and aiohttp");
    }
    let Some(site) = Site::start(transport) else { return };
    run(&site, PYTHON, &["-c", include_str!("http_clients.py")]);
}

fn undici_gets_every_file(transport: Transport) {
    if !need_program("node") {
        return;
    }
    let Some(site) = Site::start(transport) else { return };
    run(&site, "node", &["-e", include_str!("http_clients.js")]);
}

/// Seeks to and fro, and asks for `/done` when each position has been shown.
const PAGE: &str = "<!doctype html><title>seeks</title><video id=video muted></video><script>
let at = [0.9, 0.1, 0.5, 0.99, 0.3], wanted = 0;
function next() {
  if (at.length == 0) return fetch('/done');
  video.currentTime = wanted = at.shift() * video.duration;
}
video.onloadedmetadata = next;
video.onseeked = () => Math.abs(video.currentTime - wanted) < 1 ? next() : fetch('/elsewhere');
video.onerror = () => fetch('/failed?' + video.error.message);
video.src = '/video';
</script>";

fn chromium_seeks_in_a_video(transport: Transport) {
    if !need_program("chromium") {
        return;
    }
    let (log, profile) = (tempfile::NamedTempFile::new().unwrap(), tempfile::tempdir().unwrap());
    let plan = Plan::new(transport).with(&format!("--access-log {}", log.path().display()));
    let Some(network) = plan.network() else { return };
    let root = crate::site::files();
    std::fs::write(root.path().join("page.html"), PAGE).unwrap();
    write_video(&root.path().join("video"));
    let site = plan.start_with(network, root);
    let mut command = Command::new("chromium");
    command.args(["--headless=new", "--no-sandbox", "--disable-gpu", "--mute-audio"]);
    command.arg(format!("--user-data-dir={}", profile.path().display()));
    command.arg(format!("{}/page.html", url(&site)));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let _chromium = site.network.client.run(|| Process::start(&mut command));
    let lines = || std::fs::read_to_string(log.path()).unwrap();
    wait_until("the page has been everywhere", Duration::from_secs(120), || {
        let lines = lines();
        assert!(!lines.contains("GET /elsewhere") && !lines.contains("GET /failed"), "{lines}");
        lines.contains("GET /done")
    });
    site.wait_for("http_partial", 3);
}

/// Writes a video of 40 seconds whose frames are noise; without ffmpeg, sound.
fn write_video(path: &Path) {
    const FRAMES: usize = 40 * 25;
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", "160x120"]);
    ffmpeg.args(["-r", "25", "-i", "-", "-c:v", "libx264", "-preset", "ultrafast", "-qp", "35"]);
    ffmpeg.args(["-g", "50", "-f", "mp4"]).arg(path).stdin(Stdio::piped());
    let mut random = simoom_io::testing::Random::new(0);
    let Ok(mut process) = ffmpeg.spawn() else { return write_sound(path, &mut random) };
    let mut frames = process.stdin.take().unwrap();
    for _ in 0..FRAMES {
        frames.write_all(&random.bytes(160 * 120 * 3 / 2)).unwrap();
    }
    drop(frames);
    assert!(process.wait().unwrap().success());
}

/// Writes a WAV file of 16 bits at 44,100 Hz in two channels.
fn write_sound(path: &Path, random: &mut simoom_io::testing::Random) {
    const BYTES: u32 = 40 << 20;
    let mut file = BufWriter::new(File::create(path).unwrap());
    let mut words = |words: &[&[u8]]| words.iter().for_each(|word| file.write_all(word).unwrap());
    words(&[b"RIFF", &(BYTES + 36).to_le_bytes(), b"WAVEfmt ", &16u32.to_le_bytes()]);
    words(&[&[1, 0, 2, 0], &44_100u32.to_le_bytes(), &176_400u32.to_le_bytes(), &[4, 0, 16, 0]]);
    words(&[b"data", &BYTES.to_le_bytes()]);
    (0..BYTES >> 20).for_each(|_| words(&[&random.bytes(1 << 20)]));
}

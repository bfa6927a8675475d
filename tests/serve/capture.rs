//! What tshark makes of the server's packets: captured at the peer's end, with every checksum validated.

use crate::common::{Network, Path, Process, need_program, need_root};
use crate::site::{FILES, LARGE, PORT, Plan, Site, Transport};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

const NGINX: u16 = 8081;

/// A capture of `c0` that goes on.
struct Capture {
    tshark: Process,
    file: PathBuf,
}

/// What tshark said of the packets that one port sent.
#[derive(Debug, Default)]
struct Verdict {
    /// Segments with text.
    texts: u64,
    retransmissions: u64,
    /// Of what was acknowledged already.
    spurious: u64,
    /// What is wrong with a packet whatever came before: malformed, or a checksum.
    faults: Vec<String>,
}

impl Capture {
    fn start(network: &Network) -> Capture {
        // dumpcap gives its privileges up, and writes only where everybody may.
        let file =
            std::env::temp_dir().join(format!("simoom-{}-{}.pcapng", std::process::id(), network.address(1)));
        let mut command = Command::new("tshark");
        command.args(["-q", "-B", "64", "-i", "c0", "-f", "tcp", "-w"]).arg(&file);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut tshark = network.client.run(|| Process::start(&mut command));
        let mut said = BufReader::new(tshark.child().stderr.take().expect("standard error is piped"));
        let mut line = String::new();
        while !line.starts_with("Capturing on") {
            line.clear();
            assert!(said.read_line(&mut line).unwrap() > 0, "tshark ended");
        }
        // It goes on reading, so that tshark is never kept waiting.
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        Capture { tshark, file }
    }

    /// Ends it, and reads it: a verdict on what each of these ports has sent.
    fn judge<const N: usize>(mut self, ports: [u16; N]) -> [Verdict; N] {
        self.tshark.signal(rustix::process::Signal::INT);
        assert!(self.tshark.wait(crate::PATIENCE).success());
        let fields = [
            "tcp.srcport",
            "tcp.len",
            "tcp.analysis.retransmission",
            "tcp.analysis.spurious_retransmission",
            "_ws.malformed",
            "tcp.checksum.status",
            "ip.checksum.status",
            "frame.number",
        ];
        let mut command = Command::new("tshark");
        command.args(["-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE", "-T", "fields"]);
        command.args(fields.iter().flat_map(|field| ["-e", field])).arg("-r").arg(&self.file);
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        ports.map(|port| Verdict::read(port, &text))
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

impl Verdict {
    fn read(port: u16, text: &str) -> Verdict {
        let mut verdict = Verdict::default();
        for line in text.lines() {
            let [from, len, again, spurious, malformed, tcp, ip, number] = line.split('\t').collect::<Vec<_>>()[..]
            else {
                panic!("tshark wrote {line:?}")
            };
            if from != port.to_string() {
                continue;
            }
            verdict.texts += u64::from(len != "0");
            verdict.retransmissions += u64::from(!again.is_empty());
            verdict.spurious += u64::from(!spurious.is_empty());
            // 1 is "good".
            if !malformed.is_empty() || tcp != "1" || ip != "1" {
                verdict.faults.push(format!("frame {number}: {malformed} TCP checksum {tcp}, IP checksum {ip}"));
            }
        }
        verdict
    }
}

/// Whether there is all that is needed, and the network if so.
fn network(path: Path) -> Option<Network> {
    let ready = need_root() && need_program("tshark") && need_program("ethtool") && need_program("curl");
    ready.then(|| Network::through(path).unwrap())
}

fn download(site: &Site, port: u16, path: &str) {
    let url = format!("http://{}:{port}{path}", site.network.address(1));
    let got = tempfile::NamedTempFile::new().unwrap();
    site.run_client("curl", &["-sSf", "--max-time", "120", "-o", got.path().to_str().unwrap(), &url]);
    assert!(std::fs::read(got.path()).unwrap() == site.content(path), "{path} came otherwise");
}

/// Files of all sizes, errors, several requests on a connection, a client that resets it.
#[test]
fn tshark_finds_no_fault_in_ordinary_traffic() {
    let path = Path { delay: Duration::from_millis(5), ..Path::default() };
    let Some(network) = network(path) else { return };
    let site = Plan::new(Transport::Xdp).start_in(network);
    let capture = Capture::start(&site.network);
    let mut client = site.connect();
    for (path, _) in FILES {
        client.expect(path, &site.content(path));
        download(&site, PORT, path);
    }
    client.request("/none");
    assert_eq!(client.answer().status, 404);
    client.request(LARGE);
    client.take(1000);
    client.reset();
    site.wait_for("closed_reset_by_peer", 1);
    let [verdict] = capture.judge([PORT]);
    println!("{verdict:?}");
    assert!(verdict.faults.is_empty(), "{:?}", verdict.faults);
    assert!(verdict.texts > 2 * (10 << 20) / 1460, "the capture has what was sent");
}

/// The same path, the same losses: Linux's TCP is the measure of what is sent for nothing.
#[test]
fn tshark_finds_no_more_sent_for_nothing_than_linux_sends() {
    let path = Path { delay: Duration::from_micros(200), loss_permille: 10, seed: 4 };
    if !need_program("nginx") {
        return;
    }
    let Some(network) = network(path) else { return };
    let site = Plan::new(Transport::Xdp).start_in(network);
    let _nginx = crate::common::nginx(&site.network, site.root(), NGINX);
    let capture = Capture::start(&site.network);
    for port in [NGINX, PORT] {
        download(&site, port, LARGE);
    }
    let [linux, ours] = capture.judge([NGINX, PORT]);
    println!("Linux {linux:?}\nours {ours:?}");
    assert!(ours.faults.is_empty(), "{:?}", ours.faults);
    assert!(ours.retransmissions > 0, "a hundredth was lost");
    // A timer that a busy machine lets fire late or early repeats a segment now and then.
    let allowed = linux.spurious * ours.texts / linux.texts.max(1) + ours.texts / 200;
    assert!(ours.spurious <= allowed, "{} of {} segments for nothing", ours.spurious, ours.texts);
}

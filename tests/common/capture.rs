//! A capture at the client's end of a network, and what tshark's expert analysis makes of it.

use super::TEST_TIMEOUT;
use super::{Network, Process};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A capture of `c0` that goes on.
#[derive(Debug)]
pub struct Capture {
    tshark: Process,
    file: PathBuf,
}

/// What tshark said of the packets that one port sent.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Segments with text.
    pub texts: u64,
    /// Of what was sent before.
    pub retransmissions: u64,
    /// Of what was acknowledged already.
    pub spurious: u64,
    /// What is wrong with a packet whatever came before: malformed, or a checksum.
    pub faults: Vec<String>,
}

impl Capture {
    /// Begins one of all TCP.
    pub fn start(network: &Network) -> Capture {
        // dumpcap gives its privileges up, and writes only where everybody may.
        let file = std::env::temp_dir().join(format!(
            "simoom-{}-{}.pcapng",
            std::process::id(),
            network.address(1)
        ));
        let mut command = Command::new("tshark");
        command.args(["-q", "-B", "64", "-i", "c0", "-f", "tcp", "-w"]).arg(&file);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut tshark = network.client.run(|| Process::start(&mut command));
        let mut said =
            BufReader::new(tshark.child().stderr.take().expect("standard error is piped"));
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
    pub fn judge<const N: usize>(mut self, ports: [u16; N]) -> [Verdict; N] {
        self.tshark.signal(rustix::process::Signal::INT);
        assert!(self.tshark.wait(TEST_TIMEOUT).success());
        let fields = [
            "tcp.srcport",
            "tcp.len",
            "tcp.analysis.retransmission",
            "tcp.analysis.spurious_retransmission",
            "_ws.malformed",
            "tcp.checksum.status",
            "tcp.checksum.ffff",
            "ip.checksum.status",
            "frame.number",
        ];
        let mut command = Command::new("tshark");
        command.args([
            "-o",
            "tcp.check_checksum:TRUE",
            "-o",
            "ip.check_checksum:TRUE",
            "-T",
            "fields",
        ]);
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
            let [from, len, again, spurious, malformed, tcp, ffff, ip, number] =
                line.split('\t').collect::<Vec<_>>()[..]
            else {
                panic!("tshark wrote {line:?}")
            };
            if from != port.to_string() {
                continue;
            }
            verdict.texts += u64::from(len != "0");
            verdict.retransmissions += u64::from(!again.is_empty());
            verdict.spurious += u64::from(!spurious.is_empty());
            // 1 is "good". Where Linux completes a checksum of 0 it writes 0xffff, the same sum
            // (RFC 1624 §3). IPv6 has no checksum.
            let is_right = tcp == "1" || !ffff.is_empty();
            if !malformed.is_empty() || !is_right || !["1", ""].contains(&ip) {
                verdict.faults.push(format!(
                    "frame {number}: {malformed} TCP checksum {tcp}, IP checksum {ip}"
                ));
            }
        }
        verdict
    }
}

//! memcached on a Unix socket, for tests and benches that compare caches.

use super::{Process, wait_until};
use std::io::BufReader;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Starts memcached with one thread, this memory and a socket in `directory`. Returns it with a
/// connection.
pub fn start(directory: &Path, memory_mib: u64) -> (Process, BufReader<UnixStream>) {
    let socket = directory.join("socket");
    let process = Process::start(
        Command::new("memcached")
            .args(["-u", "root", "-t", "1", "-m", &memory_mib.to_string(), "-s"])
            .arg(&socket)
            .stdin(Stdio::null()),
    );
    let mut stream = None;
    wait_until("memcached answers", Duration::from_secs(60), || {
        stream = UnixStream::connect(&socket).ok();
        stream.is_some()
    });
    (process, BufReader::with_capacity(2 << 20, stream.expect("connected")))
}

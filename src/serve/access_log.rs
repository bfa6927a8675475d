//! Writes the access log on a thread of its own: takes the records of all workers, formats them and
//! appends them to a file.
//!
//! A slow disk delays this thread alone. Then the buffers of the workers fill, and further records
//! are lost and counted (`http_access_log_lost`).

use crate::app::http::{Access, BUFFER_BYTES, Buffer, Record, records};
use crate::config::AccessLogFormat;
use crate::error::{Error, Result};
use serde_json::json;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tracing::{info, warn};

/// Interval of writing: the longest time until a record is in the file.
const WRITE_PERIOD: Duration = Duration::from_millis(100);

/// The part that workers and signals see.
pub(super) struct AccessLog {
    buffers: Mutex<Vec<Arc<Buffer>>>,
    reopens: AtomicBool,
}

impl AccessLog {
    /// Opens the file, and starts to write records to it.
    pub(super) fn start(path: &Path, format: AccessLogFormat) -> Result<Arc<AccessLog>> {
        let path = path.to_owned();
        let cannot = |error: io::Error| {
            Error::usage(format!(
                "--access-log {}: {error}; name a file that can be written",
                path.display()
            ))
        };
        let file = open(&path).map_err(cannot)?;
        let log =
            Arc::new(AccessLog { buffers: Mutex::default(), reopens: AtomicBool::new(false) });
        let writer = Writer {
            log: Arc::downgrade(&log),
            path,
            file,
            format,
            spare: Vec::with_capacity(BUFFER_BYTES),
            lines: Vec::new(),
            has_failed: false,
        };
        let thread = std::thread::Builder::new().name("access log".into());
        let cannot = |error| Error::because("starting the thread of the access log", error);
        thread.spawn(move || writer.run()).map_err(cannot)?;
        Ok(log)
    }

    /// The access log of one more worker.
    pub(super) fn worker(&self, connections: usize) -> Access {
        let buffer = Buffer::new();
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner).push(buffer.clone());
        Access::new(buffer, connections)
    }

    /// Opens the file again, before further records are written: for the rotation of logs.
    pub(super) fn reopen(&self) {
        self.reopens.store(true, Ordering::Relaxed);
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

struct Writer {
    log: Weak<AccessLog>,
    path: PathBuf,
    file: File,
    format: AccessLogFormat,
    spare: Vec<u8>,
    lines: Vec<u8>,
    has_failed: bool,
}

impl Writer {
    /// Runs until the server has ended.
    fn run(mut self) {
        while let Some(log) = self.log.upgrade() {
            if log.reopens.swap(false, Ordering::Relaxed) {
                self.reopen();
            }
            self.write_all(&log);
            drop(log);
            std::thread::sleep(WRITE_PERIOD);
        }
    }

    fn reopen(&mut self) {
        match open(&self.path) {
            Ok(file) => {
                self.file = file;
                info!(path = %self.path.display(), "opened the access log again");
            }
            Err(error) => warn!(%error, "the access log cannot be opened again"),
        }
    }

    fn write_all(&mut self, log: &AccessLog) {
        let buffers = log.buffers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for buffer in buffers {
            buffer.take(&mut self.spare);
            self.lines.clear();
            for record in records(&self.spare) {
                line(&record, self.format, &mut self.lines);
            }
            match self.file.write_all(&self.lines) {
                Ok(()) => self.has_failed = false,
                Err(error) if !self.has_failed => {
                    warn!(%error, "the access log cannot be written");
                    self.has_failed = true;
                }
                Err(_) => {}
            }
        }
    }
}

/// Appends the line of a record.
fn line(record: &Record<'_>, format: AccessLogFormat, lines: &mut Vec<u8>) {
    let address = record.address.map_or_else(|| "-".to_owned(), |address| address.to_string());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let line = match format {
        AccessLogFormat::Json => json!({
            "time": record.unix_seconds,
            "address": address,
            "method": text(record.method),
            "target": text(record.target),
            "host": text(record.host),
            "version": format!("HTTP/1.{}", record.minor),
            "status": record.status,
            "bytes": record.bytes,
            "took_us": record.took_us,
            "referer": text(record.referer),
            "user_agent": text(record.user_agent),
            "forwarded_for": text(record.forwarded_for),
        })
        .to_string(),
        AccessLogFormat::Common => common(record, &address),
        AccessLogFormat::Combined => format!(
            "{} \"{}\" \"{}\"",
            common(record, &address),
            quoted(record.referer),
            quoted(record.user_agent)
        ),
    };
    lines.extend_from_slice(line.as_bytes());
    lines.push(b'\n');
}

/// `ADDRESS - - [TIME] "REQUEST" STATUS BYTES`.
fn common(record: &Record<'_>, address: &str) -> String {
    let time = time(record.unix_seconds);
    let request = match record.method {
        b"" => "-".to_owned(),
        method => {
            format!("{} {} HTTP/1.{}", quoted(method), quoted(record.target), record.minor)
        }
    };
    format!("{address} - - [{time}] \"{request}\" {} {}", record.status, record.bytes)
}

/// `29/Nov/2026:15:36:44 +0000`.
fn time(unix_seconds: u64) -> String {
    let date = crate::app::http::imf_fixdate(unix_seconds);
    // Sun, 06 Nov 1994 08:49:37 GMT
    let part = |range| String::from_utf8_lossy(&date[range]).into_owned();
    format!("{}/{}/{}:{} +0000", part(5..7), part(8..11), part(12..16), part(17..25))
}

/// Text between quotes: quotes, backslashes and other bytes than visible ASCII as `\xHH`. `-` if it
/// is empty.
fn quoted(text: &[u8]) -> String {
    if text.is_empty() {
        return "-".to_owned();
    }
    let mut quoted = String::with_capacity(text.len());
    for &byte in text {
        if (b' '..0x7f).contains(&byte) && byte != b'"' && byte != b'\\' {
            quoted.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(quoted, "\\x{byte:02X}");
        }
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record<'a>(target: &'a [u8], user_agent: &'a [u8]) -> Record<'a> {
        Record {
            unix_seconds: 784_111_777,
            took_us: 42,
            bytes: 250,
            status: 200,
            minor: 1,
            address: Some("192.0.2.1".parse().unwrap()),
            method: b"GET",
            target,
            host: b"a",
            referer: b"",
            user_agent,
            forwarded_for: b"198.51.100.7",
        }
    }

    fn written(record: &Record<'_>, format: AccessLogFormat) -> String {
        let mut lines = Vec::new();
        line(record, format, &mut lines);
        String::from_utf8(lines).unwrap()
    }

    #[test]
    fn each_format_has_one_line_for_a_record() {
        let record = record(b"/a?b", b"curl/8");
        assert_eq!(
            written(&record, AccessLogFormat::Combined),
            "192.0.2.1 - - [06/Nov/1994:08:49:37 +0000] \"GET /a?b HTTP/1.1\" 200 250 \"-\" \"curl/8\"\n"
        );
        assert_eq!(
            written(&record, AccessLogFormat::Common),
            "192.0.2.1 - - [06/Nov/1994:08:49:37 +0000] \"GET /a?b HTTP/1.1\" 200 250\n"
        );
        let json: serde_json::Value =
            serde_json::from_str(&written(&record, AccessLogFormat::Json)).unwrap();
        assert_eq!(
            (&json["took_us"], &json["forwarded_for"]),
            (&json!(42), &json!("198.51.100.7"))
        );
    }

    #[test]
    fn no_client_can_forge_a_line() {
        let record = record(b"/\"\\\xff", b"a\" 200 1\r\n1.2.3.4 - -");
        let line = written(&record, AccessLogFormat::Combined);
        assert_eq!(line.matches('\n').count(), 1);
        assert!(line.contains("\"GET /\\x22\\x5C\\xFF HTTP/1.1\""), "{line}");
        assert!(line.ends_with("\"a\\x22 200 1\\x0D\\x0A1.2.3.4 - -\"\n"), "{line}");
        assert_eq!(written(&record, AccessLogFormat::Json).matches('\n').count(), 1);
    }
}

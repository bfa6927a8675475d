//! A client that speaks HTTP byte by byte where it must, over a kernel socket.

use crate::TEST_TIMEOUT;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

/// A connection to the server, with what was read but not yet looked at.
pub struct Client {
    pub stream: TcpStream,
    unread: Vec<u8>,
}

/// An answer.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Client {
    pub fn new(stream: TcpStream) -> Client {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        stream.set_write_timeout(Some(TEST_TIMEOUT)).unwrap();
        Client { stream, unread: Vec::new() }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// Sends a GET request.
    pub fn request(&mut self, path: &str) {
        self.send(get(path));
    }

    /// Asks for `path` and expects 200 with `body`, byte for byte.
    pub fn expect(&mut self, path: &str, body: &[u8]) {
        self.request(path);
        self.answer().is(200, body);
    }

    /// Reads an answer with its body.
    pub fn answer(&mut self) -> Answer {
        let head = self.head();
        let length = field(&head, "content-length").unwrap_or("0").parse().unwrap();
        let body = self.take(length);
        Answer { status: status(&head), head, body }
    }

    /// Reads the head of an answer and leaves the rest.
    pub fn head(&mut self) -> String {
        loop {
            if let Some(end) = memchr::memmem::find(&self.unread, b"\r\n\r\n") {
                let rest = self.unread.split_off(end + 4);
                return String::from_utf8(std::mem::replace(&mut self.unread, rest)).unwrap();
            }
            assert!(
                self.more() > 0,
                "closed in the head: {:?}",
                String::from_utf8_lossy(&self.unread)
            );
        }
    }

    /// Reads exactly so many bytes.
    pub fn take(&mut self, len: usize) -> Vec<u8> {
        while self.unread.len() < len {
            assert!(self.more() > 0, "closed after {} of {len} bytes", self.unread.len());
        }
        let rest = self.unread.split_off(len);
        std::mem::replace(&mut self.unread, rest)
    }

    /// The server closes in order, and nothing comes before that.
    pub fn expect_end(&mut self) {
        let read = self.more();
        assert!(
            read == 0 && self.unread.is_empty(),
            "expected the end, read {:?}",
            String::from_utf8_lossy(&self.unread)
        );
    }

    /// Closes with a reset.
    pub fn reset(self) {
        rustix::net::sockopt::set_socket_linger(&self.stream, Some(std::time::Duration::ZERO))
            .unwrap();
    }

    pub fn finish_sending(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    fn more(&mut self) -> usize {
        let before = self.unread.len();
        self.unread.resize(before + (64 << 10), 0);
        let read = self.stream.read(&mut self.unread[before..]).unwrap();
        self.unread.truncate(before + read);
        read
    }
}

impl Answer {
    /// Fails unless it has this status and body.
    pub fn is(&self, status: u16, body: &[u8]) {
        assert_eq!(self.status, status, "{}", self.head);
        // Megabytes of bytes in a message help nobody.
        let differ = self.body.iter().zip(body).position(|(have, want)| have != want);
        assert!(
            self.body == body,
            "{} bytes for {}, the first wrong at {differ:?}",
            self.body.len(),
            body.len()
        );
    }
}

/// A GET request that keeps the connection.
pub fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: site\r\n\r\n")
}

fn status(head: &str) -> u16 {
    head.strip_prefix("HTTP/1.1 ").unwrap_or_else(|| panic!("no status line: {head}"))[..3]
        .parse()
        .unwrap()
}

/// The value of a field of the head.
pub fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

//! The good clients: one of each service, on one connection from beginning to end. They check each
//! answer byte for byte.

use super::memcached;
use crate::client::Client;
use crate::site::{FILES, Site};
use std::time::{Duration, Instant};

/// Asks for small files in turn.
pub struct Http {
    client: Client,
    files: Vec<(&'static str, Vec<u8>)>,
    asked: usize,
}

impl Http {
    pub fn new(site: &Site) -> Http {
        let files = FILES[..3].iter().map(|(path, _)| (*path, site.content(path))).collect();
        Http { client: site.connect(), files, asked: 0 }
    }

    pub fn ask(&mut self) {
        let (path, body) = &self.files[self.asked % self.files.len()];
        self.client.expect(path, body);
        self.asked += 1;
    }
}

/// Sets a value and gets it back.
pub struct Cache {
    client: Client,
    asked: usize,
    /// Values that were evicted before the get: hostile clients fill the memory.
    pub misses: u64,
}

impl Cache {
    pub fn new(site: &Site) -> Cache {
        Cache { client: site.connect_to(memcached(site)), asked: 0, misses: 0 }
    }

    pub fn ask(&mut self) {
        self.asked += 1;
        let key = format!("good{}", self.asked % 50);
        let len = [1, 100, 1000, 5000][self.asked % 4];
        let value = format!("{:0>len$}", self.asked % 10);
        self.client.send(format!("set {key} 0 0 {len}\r\n{value}\r\n"));
        let stored = self.line();
        assert_eq!(stored, "STORED");
        self.client.send(format!("get {key}\r\n"));
        match self.line().as_str() {
            "END" => self.misses += 1,
            head => {
                assert_eq!(head, format!("VALUE {key} 0 {len}"));
                let expected = format!("{value}\r\nEND\r\n");
                let found = self.client.take(expected.len());
                assert!(found == expected.as_bytes(), "{key} has another value than was set");
            }
        }
    }

    fn line(&mut self) -> String {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.extend(self.client.take(1));
        }
        String::from_utf8(line).unwrap().trim_end().to_owned()
    }
}

/// How long `work` takes.
pub fn time(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}

/// The median time of `calls` calls.
pub fn median(calls: usize, mut work: impl FnMut()) -> Duration {
    middle((0..calls).map(|_| time(&mut work)).collect())
}

/// The median of at least one time.
pub fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

//! One client of the admin endpoint: reads a request from a non-blocking socket and writes one
//! answer. Stores at most [`HEAD_BYTES`] of a request.

use super::Source;
use super::respond::{self, HEAD_BYTES};
use crate::clock::unix_time;
use crate::panics;
use rustix::event::PollFlags;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// Limit of the time for a request and its answer together.
const REQUEST_TIME: Duration = Duration::from_secs(2);
/// Reads in one call of [`Connection::advance`], so that a client that never stops sending leaves
/// time for the others.
const READS: usize = 16;

/// The event that a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The rest of the request head.
    Reading,
    /// Space in the socket for the rest of the answer.
    Writing,
    /// The client's FIN. A close with unread input would send RST, and the client could lose its
    /// answer.
    Closing,
}

/// The connection of a client.
pub(super) struct Connection {
    stream: TcpStream,
    deadline: Instant,
    state: State,
    head: Vec<u8>,
    answer: Vec<u8>,
    sent: usize,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, now: Instant) -> Connection {
        let deadline = now + REQUEST_TIME;
        Connection {
            stream,
            deadline,
            state: State::Reading,
            head: Vec::new(),
            answer: Vec::new(),
            sent: 0,
        }
    }

    /// Whether no complete request has arrived.
    pub(super) fn is_idle(&self) -> bool {
        self.state == State::Reading
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The events for poll(2).
    pub(super) fn interest(&self) -> PollFlags {
        match self.state {
            State::Reading | State::Closing => PollFlags::IN,
            State::Writing => PollFlags::OUT,
        }
    }

    /// Reads and writes as far as the socket allows. Returns whether the connection stays open.
    pub(super) fn advance(&mut self, source: &Source, now: Instant) -> bool {
        // A client's failure concerns nobody else, so it is not logged.
        now < self.deadline && self.step(source).is_ok_and(|stays| stays)
    }

    fn step(&mut self, source: &Source) -> std::io::Result<bool> {
        if self.state == State::Reading {
            self.read_head(source)?;
        }
        if self.state == State::Writing {
            self.write_answer()?;
        }
        if self.state == State::Closing { self.read_to_end() } else { Ok(true) }
    }

    fn read_head(&mut self, source: &Source) -> std::io::Result<()> {
        let mut buffer = [0; HEAD_BYTES];
        while self.state == State::Reading {
            let space = HEAD_BYTES - self.head.len();
            let n = match self.stream.read(&mut buffer[..space]) {
                Ok(n) => n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.head.extend_from_slice(&buffer[..n]);
            let unix_seconds = unix_time().as_secs();
            let answer =
                panics::catch(|| respond::respond(&self.head, n == 0, source, unix_seconds));
            let answer = answer.unwrap_or_else(|panic| {
                source.note_panic(&panic);
                Some(respond::FAILED.to_vec())
            });
            if let Some(answer) = answer {
                (self.answer, self.state) = (answer, State::Writing);
            }
        }
        Ok(())
    }

    fn write_answer(&mut self) -> std::io::Result<()> {
        while self.sent < self.answer.len() {
            match self.stream.write(&self.answer[self.sent..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => self.sent += n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.state = State::Closing;
        self.stream.shutdown(Shutdown::Write)
    }

    /// Reads and discards further input. Returns `false` at the client's FIN.
    fn read_to_end(&mut self) -> std::io::Result<bool> {
        let mut buffer = [0; HEAD_BYTES];
        for _ in 0..READS {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Ok(false),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

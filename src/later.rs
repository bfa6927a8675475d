//! Answers that come later: a handler leaves a request to another thread, and answers when that has
//! completed it.
//!
//! The handler takes a [`Token`] for its connection from the worker's [`Later`] and gives it to a
//! pool of threads, a database client, anything. Whoever has the answer calls [`Token::complete`];
//! the worker wakes and calls [`Handler::completed`](crate::Handler::completed) for the connection.
//! Nothing is shared but a channel and an eventfd.
//!
//! A connection may end before. Its completion is counted then (`completions_unclaimed`) and
//! dropped. A token that is dropped completes its request without an answer, so that no client
//! waits for a thread that panicked.

use crate::app::Blob;
use crate::control::Waker;
use crate::metrics::Metric;
use crossbeam_channel::{Receiver, Sender};
use simoom_io::ConnectionId;
use std::cell::Cell;

/// What a request was completed with.
#[derive(Debug)]
pub struct Completed {
    /// The number that the token was taken with.
    pub number: u32,
    /// The answer; `None` if the token was dropped.
    pub answer: Option<Blob>,
}

/// A worker's source of tokens, which its handlers keep.
#[derive(Clone, Debug)]
pub struct Later {
    completions: Sender<(ConnectionId, Completed)>,
    waker: Waker,
}

/// A request that is to be completed, once, from any thread.
#[derive(Debug)]
#[must_use = "a token that is dropped completes its request without an answer"]
pub struct Token {
    later: Later,
    connection: ConnectionId,
    number: u32,
    is_complete: bool,
}

impl Later {
    /// A token for the connection that [`Opened::id`](simoom_io::Opened) named. `number` comes back
    /// in [`Completed`]: it tells a late answer to an earlier request from the one awaited.
    pub fn token(&self, connection: ConnectionId, number: u32) -> Token {
        Token { later: self.clone(), connection, number, is_complete: false }
    }

    fn send(&self, connection: ConnectionId, completed: Completed) -> bool {
        let is_sent = self.completions.send((connection, completed)).is_ok();
        if is_sent {
            self.waker.wake();
        }
        is_sent
    }
}

impl Token {
    /// Has the worker go on with `answer`. Returns whether the worker still runs; whether the
    /// connection is still open only the worker knows.
    pub fn complete(mut self, answer: impl Into<Blob>) -> bool {
        self.is_complete = true;
        let completed = Completed { number: self.number, answer: Some(answer.into()) };
        self.later.send(self.connection, completed)
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        if !self.is_complete {
            self.later.send(self.connection, Completed { number: self.number, answer: None });
        }
    }
}

/// What is counted of completions.
pub(crate) static METRICS: [Metric; 2] = [
    Metric::new("completions", "Requests that another thread completed for a handler."),
    Metric::new("completions_unclaimed", "Completions for a connection that had ended."),
];

/// The worker's end.
#[derive(Debug)]
pub(crate) struct Completions {
    completions: Receiver<(ConnectionId, Completed)>,
    taken: Cell<u64>,
    unclaimed: Cell<u64>,
}

/// Both ends for a worker that `waker` wakes.
pub(crate) fn channel(waker: Waker) -> (Later, Completions) {
    let (sender, receiver) = crossbeam_channel::unbounded();
    let counts = (Cell::new(0), Cell::new(0));
    let completions = Completions { completions: receiver, taken: counts.0, unclaimed: counts.1 };
    (Later { completions: sender, waker }, completions)
}

impl Completions {
    /// The next completion that has come, if there is one.
    pub(crate) fn take(&self) -> Option<(ConnectionId, Completed)> {
        let taken = self.completions.try_recv().ok()?;
        self.taken.set(self.taken.get() + 1);
        Some(taken)
    }

    /// The connection of one that was taken has ended.
    pub(crate) fn unclaimed(&self) {
        self.unclaimed.set(self.unclaimed.get() + 1);
    }

    /// Gives the counters to `sink`.
    pub(crate) fn publish(&self, sink: &mut dyn FnMut(&'static Metric, u64)) {
        sink(&METRICS[0], self.taken.get());
        sink(&METRICS[1], self.unclaimed.get());
    }
}

//! Deferred answers: a handler passes a request to another thread and answers when that thread has
//! completed it.
//!
//! The handler takes a [`Token`] for its connection from the [`Later`] of the worker, and passes it
//! to another thread, for example of a thread pool. That thread calls [`Token::complete`] with the
//! answer. The worker wakes and calls [`Handler::completed`](crate::Handler::completed) for the
//! connection. The threads share only a channel and an eventfd.
//!
//! If the connection has ended, the completion is dropped and counted (`completions_unclaimed`).
//! Dropping a token completes its request without an answer, so that no client waits for a thread
//! that panicked.

use crate::app::Blob;
use crate::control::Waker;
use crate::metrics::Metric;
use crossbeam_channel::{Receiver, Sender};
use simoom_io::ConnectionId;
use std::cell::Cell;

/// The completion of a request.
#[derive(Debug)]
pub struct Completed {
    /// The number of the token.
    pub number: u32,
    /// The answer; `None` if the token was dropped.
    pub answer: Option<Blob>,
}

/// A source of tokens of one worker, which its handlers store.
#[derive(Clone, Debug)]
pub struct Later {
    completions: Sender<(ConnectionId, Completed)>,
    waker: Waker,
}

/// A pending request, which any thread completes once.
#[derive(Debug)]
#[must_use = "a token that is dropped completes its request without an answer"]
pub struct Token {
    later: Later,
    connection: ConnectionId,
    number: u32,
    is_complete: bool,
}

impl Later {
    /// Creates a token for the connection of [`Opened::id`](simoom_io::Opened). [`Completed`]
    /// returns `number`, which distinguishes this request from earlier ones.
    pub fn token(&self, connection: ConnectionId, number: u32) -> Token {
        Token { later: self.clone(), connection, number, is_complete: false }
    }

    /// Wakes the worker, which then calls [`Handler::clock`](crate::Handler::clock) if the second
    /// has changed.
    pub(crate) fn wake(&self) {
        self.waker.wake();
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
    /// Completes the request with `answer` and wakes the worker. Returns false if the worker has
    /// ended. The connection may have ended even if this returns true.
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

/// Counters of completions.
pub(crate) static METRICS: [Metric; 2] = [
    Metric::new("completions", "Requests that another thread completed for a handler."),
    Metric::new("completions_unclaimed", "Completions for a connection that had ended."),
];

/// The receiving side of a worker.
#[derive(Debug)]
pub(crate) struct Completions {
    completions: Receiver<(ConnectionId, Completed)>,
    taken: Cell<u64>,
    unclaimed: Cell<u64>,
}

/// Creates both sides for a worker that `waker` wakes.
pub(crate) fn channel(waker: Waker) -> (Later, Completions) {
    let (sender, receiver) = crossbeam_channel::unbounded();
    let counts = (Cell::new(0), Cell::new(0));
    let completions = Completions { completions: receiver, taken: counts.0, unclaimed: counts.1 };
    (Later { completions: sender, waker }, completions)
}

impl Completions {
    /// The next completion, if any.
    pub(crate) fn take(&self) -> Option<(ConnectionId, Completed)> {
        let taken = self.completions.try_recv().ok()?;
        self.taken.set(self.taken.get() + 1);
        Some(taken)
    }

    /// The number of completions that wait.
    pub(crate) fn len(&self) -> usize {
        self.completions.len()
    }

    /// Whether no completion waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.completions.is_empty()
    }

    /// Counts a completion whose connection has ended.
    pub(crate) fn unclaimed(&self) {
        self.unclaimed.set(self.unclaimed.get() + 1);
    }

    /// Passes the counters to `sink`.
    pub(crate) fn publish(&self, sink: &mut dyn FnMut(&'static Metric, u64)) {
        sink(&METRICS[0], self.taken.get());
        sink(&METRICS[1], self.unclaimed.get());
    }
}

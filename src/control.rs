//! Orders from the control thread to a worker, and the way to wake a worker that sleeps in poll(2).
//!
//! A worker of either transport owns a [`Mailbox`]; the control thread keeps the matching
//! [`Orders`]. An order is put in the channel first and the eventfd is written after, so a worker
//! that wakes finds it.

use crate::later::{self, Completions, Later};
use crossbeam_channel::{Receiver, Sender, TryRecvError};
use rustix::event::{EventfdFlags, eventfd};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// What a worker is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Accept nothing new, let open responses finish for at most this long, close idle connections,
    /// then return.
    Drain(Duration),
    /// Return now: for a worker that has drained, and that went on so that others may drain.
    Leave,
}

/// The control thread's end.
#[derive(Clone, Debug)]
pub struct Orders {
    orders: Sender<Order>,
    waker: Waker,
    later: Later,
}

/// The worker's end.
#[derive(Debug)]
pub struct Mailbox {
    orders: Receiver<Order>,
    completions: Completions,
    wake: Arc<OwnedFd>,
}

/// Wakes one worker out of poll(2).
#[derive(Clone, Debug)]
pub struct Waker(Arc<OwnedFd>);

/// A fresh pair of ends.
pub fn mailbox() -> io::Result<(Orders, Mailbox)> {
    let wake = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?);
    let (sender, receiver) = crossbeam_channel::unbounded();
    let waker = Waker(wake.clone());
    let (later, completions) = later::channel(waker.clone());
    let orders = Orders { orders: sender, waker, later };
    Ok((orders, Mailbox { orders: receiver, completions, wake }))
}

impl Orders {
    /// Gives an order and wakes the worker. A worker that has already returned needs none: that is
    /// no error.
    pub fn send(&self, order: Order) {
        if self.orders.send(order).is_ok() {
            self.waker.wake();
        }
    }

    /// The way for other threads to complete what the worker's handlers leave to them.
    pub fn later(&self) -> Later {
        self.later.clone()
    }

    /// Wakes the same worker for other reasons than an order.
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }
}

impl Waker {
    /// Makes the worker's eventfd readable. A full eventfd is readable already, so failure means
    /// nothing here.
    pub fn wake(&self) {
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }
}

impl Mailbox {
    /// The next order, if there is one. Once every [`Orders`] is gone the process is ending: that
    /// is an order to leave.
    pub fn take(&self) -> Option<Order> {
        match self.orders.try_recv() {
            Ok(order) => Some(order),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Order::Leave),
        }
    }

    /// What other threads have completed for the worker.
    pub(crate) fn completions(&self) -> &Completions {
        &self.completions
    }

    /// Makes the eventfd unreadable again; call it after poll(2) says it is readable and before
    /// [`Mailbox::take`].
    pub fn clear_wake(&self) {
        let _ = rustix::io::read(&self.wake, &mut [0u8; 8]);
    }
}

impl AsFd for Mailbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    fn readable(mailbox: &Mailbox) -> bool {
        let mut fds = [PollFd::new(mailbox, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() == 1
    }

    #[test]
    fn an_order_wakes_the_worker_until_cleared() {
        let (orders, mailbox) = mailbox().unwrap();
        assert!(!readable(&mailbox) && mailbox.take().is_none());
        orders.send(Order::Drain(Duration::from_secs(1)));
        assert!(readable(&mailbox));
        mailbox.clear_wake();
        assert!(!readable(&mailbox));
        assert_eq!(mailbox.take(), Some(Order::Drain(Duration::from_secs(1))));
        assert_eq!(mailbox.take(), None);
    }

    #[test]
    fn a_worker_without_control_leaves() {
        let (orders, mailbox) = mailbox().unwrap();
        drop(orders);
        assert_eq!(mailbox.take(), Some(Order::Leave));
    }
}

//! The command channel from the control thread to a worker. It wakes a worker that sleeps in
//! poll(2).
//!
//! Each worker owns a [`CommandReceiver`], and the control thread the matching [`CommandSender`].
//! The sender writes first to the channel and then to the eventfd, so a worker that wakes finds the
//! command.

use crate::later::{self, Completions, Later};
use crossbeam_channel::{Receiver, Sender, TryRecvError};
use rustix::event::{EventfdFlags, eventfd};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// A command to a worker.
#[derive(Debug)]
pub enum Command {
    /// Accept no connections, close idle ones, let responses finish for at most this long, then
    /// return.
    Drain(Duration),
    /// Send IP packets of at most this many bytes.
    SetMtu(u16),
    /// Serve this address, which the kernel has got. For workers of AF_XDP.
    Serve(SocketAddr),
    /// The kernel has got this address (true) or lost it: then a peer may have it.
    Host(IpAddr, bool),
    /// Accept the connections of this listening socket. For workers of kernel sockets.
    Accept(OwnedFd),
    /// Serve this address no longer, which the kernel has lost.
    Forget(SocketAddr),
    /// Return now. Sent to a worker that has drained and keeps running until others have drained.
    Leave,
}

/// The sending end, in the control thread.
#[derive(Clone, Debug)]
pub struct CommandSender {
    commands: Sender<Command>,
    waker: Waker,
    later: Later,
}

/// The receiving end, in the worker.
#[derive(Debug)]
pub struct CommandReceiver {
    commands: Receiver<Command>,
    completions: Completions,
    wake: Arc<OwnedFd>,
}

/// Wakes one worker from poll(2).
#[derive(Clone, Debug)]
pub struct Waker(Arc<OwnedFd>);

/// Creates a channel.
pub fn command_channel() -> io::Result<(CommandSender, CommandReceiver)> {
    let wake = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?);
    let (sender, receiver) = crossbeam_channel::unbounded();
    let waker = Waker(wake.clone());
    let (later, completions) = later::channel(waker.clone());
    let commands = CommandSender { commands: sender, waker, later };
    Ok((commands, CommandReceiver { commands: receiver, completions, wake }))
}

impl CommandSender {
    /// Sends a command and wakes the worker. Does nothing if the worker has returned.
    pub fn send(&self, command: Command) {
        if self.commands.send(command).is_ok() {
            self.waker.wake();
        }
    }

    /// The way for other threads to complete what the worker's handlers leave to them.
    pub fn later(&self) -> Later {
        self.later.clone()
    }

    /// A waker of the same worker, for other reasons than a command.
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }
}

impl Waker {
    /// Makes the worker's eventfd readable. Writing fails only if the eventfd is full, and then it
    /// is readable already.
    pub fn wake(&self) {
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }
}

impl CommandReceiver {
    /// The next command. Returns [`Command::Leave`] once every [`CommandSender`] is dropped: then
    /// the process is ending.
    pub fn take(&self) -> Option<Command> {
        match self.commands.try_recv() {
            Ok(command) => Some(command),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Command::Leave),
        }
    }

    /// What other threads have completed for the worker.
    pub(crate) fn completions(&self) -> &Completions {
        &self.completions
    }

    /// Clears the eventfd. Call it after poll(2) reports it as readable, and before
    /// [`CommandReceiver::take`].
    pub fn clear_wake(&self) {
        let _ = rustix::io::read(&self.wake, &mut [0u8; 8]);
    }
}

impl AsFd for CommandReceiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    fn readable(commands: &CommandReceiver) -> bool {
        let mut fds = [PollFd::new(commands, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() == 1
    }

    #[test]
    fn a_command_wakes_the_worker_until_cleared() {
        let (command_sender, commands) = command_channel().unwrap();
        assert!(!readable(&commands) && commands.take().is_none());
        command_sender.send(Command::Drain(Duration::from_secs(1)));
        assert!(readable(&commands));
        commands.clear_wake();
        assert!(!readable(&commands));
        let second = Duration::from_secs(1);
        assert!(matches!(commands.take(), Some(Command::Drain(limit)) if limit == second));
        assert!(commands.take().is_none());
    }

    #[test]
    fn a_worker_without_control_leaves() {
        let (command_sender, commands) = command_channel().unwrap();
        drop(command_sender);
        assert!(matches!(commands.take(), Some(Command::Leave)));
    }
}

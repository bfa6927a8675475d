//! The application of a packet script: it does what the script says, and checks the stream that it
//! receives.

use crate::testing::echo::{stream_byte, stream_bytes};
use simoom_io::Reply;
use simoom_io::application::{Application, Closed, Opened};
use simoom_io::send::CAPACITY_COPY_BYTES;
use smoltcp::time::Duration;
use std::sync::LazyLock;

/// The stream as shared bytes.
static STREAM: LazyLock<Vec<u8>> = LazyLock::new(|| stream_bytes(0, 1 << 20));

/// What the application does with input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    /// Consumes it.
    #[default]
    Reads,
    /// Consumes nothing: it waits for more.
    Leaves,
    /// Consumes it, and answers each call with this many bytes.
    Answers(usize),
    /// Consumes it and closes.
    Closes,
    /// Consumes it and resets the connection.
    Aborts,
    /// Consumes this many bytes, and resumes reading after this many milliseconds.
    Sips(usize, u64),
    /// Answers until capacity is refused, and consumes nothing before there is capacity again.
    Fills,
}

/// The application.
#[derive(Debug, Default)]
pub struct Actor {
    /// What it does with input.
    pub manner: Manner,
    /// Connections opened.
    pub opened: u64,
    /// Bytes read, of all connections.
    pub received: u64,
    /// Calls of `resumed`.
    pub resumed: u64,
    /// How connections ended.
    pub ended: Vec<Closed>,
    /// The first byte of a stream that was not the right one.
    pub fault: Option<String>,
}

/// One connection of it.
#[derive(Debug, Default)]
pub struct ActorConn {
    sent: u64,
    received: u64,
}

impl ActorConn {
    /// Queues the stream's next bytes as a copy.
    pub fn send(&mut self, len: usize, reply: &mut Reply<'_, &'static [u8]>) {
        reply.copy(&stream_bytes(self.sent, len));
        self.sent += len as u64;
    }

    /// Queues the stream's next bytes without copying them.
    pub fn share(&mut self, len: usize, reply: &mut Reply<'_, &'static [u8]>) {
        let from = self.sent as usize;
        reply.share(&STREAM[..], from..from + len);
        self.sent += len as u64;
    }
}

impl Actor {
    fn fill(&self, conn: &mut ActorConn, reply: &mut Reply<'_, &'static [u8]>) -> bool {
        while reply.has_capacity() {
            conn.send(CAPACITY_COPY_BYTES, reply);
        }
        false
    }

    fn read(&mut self, conn: &mut ActorConn, bytes: &[u8]) {
        let wrong = bytes.iter().zip(conn.received..).find(|(byte, at)| **byte != stream_byte(*at));
        if let (Some((_, at)), None) = (wrong, &self.fault) {
            self.fault = Some(format!("byte {at} of the stream is not the right one"));
        }
        conn.received += bytes.len() as u64;
        self.received += bytes.len() as u64;
    }
}

impl Application for Actor {
    type Blob = &'static [u8];
    type Conn = ActorConn;

    fn opened(&mut self, _: &mut ActorConn, _: Opened, _: &mut Reply<'_, &'static [u8]>) {
        self.opened += 1;
    }

    fn received(
        &mut self,
        conn: &mut ActorConn,
        bytes: &[u8],
        reply: &mut Reply<'_, &'static [u8]>,
    ) -> usize {
        match self.manner {
            Manner::Leaves => return 0,
            Manner::Sips(most, millis) => {
                let len = most.min(bytes.len());
                self.read(conn, &bytes[..len]);
                reply.read_later();
                reply.set_timeout(Some(Duration::from_millis(millis)));
                return len;
            }
            Manner::Fills if !self.fill(conn, reply) => return 0,
            Manner::Answers(len) => conn.send(len, reply),
            Manner::Closes => reply.close(),
            Manner::Aborts => reply.abort(),
            Manner::Reads | Manner::Fills => {}
        }
        self.read(conn, bytes);
        bytes.len()
    }

    fn overfull(&mut self, _: &mut ActorConn, _: &[u8], reply: &mut Reply<'_, &'static [u8]>) {
        reply.close();
    }

    fn resumed(&mut self, _: &mut ActorConn, _: &mut Reply<'_, &'static [u8]>) {
        self.resumed += 1;
    }

    fn timeout(&mut self, _: &mut ActorConn, reply: &mut Reply<'_, &'static [u8]>) {
        if !matches!(self.manner, Manner::Sips(..)) {
            reply.close();
        }
    }

    fn closed(&mut self, _: &mut ActorConn, how: Closed) {
        self.ended.push(how);
    }
}

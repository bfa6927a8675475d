//! Applications for tests: an echo server, and a client that checks the echo.

use simoom_io::Reply;
use simoom_io::application::{Application, Closed, Opened};
use simoom_io::send::CAPACITY_COPY_BYTES;

pub use simoom_io::testing::stream_byte;

/// A part of that stream.
pub fn stream_bytes(from: u64, len: usize) -> Vec<u8> {
    (from..from + len as u64).map(stream_byte).collect()
}

/// Either end of a connection over which a client sends `total` bytes of the stream and a server
/// echoes them.
#[derive(Debug, Default)]
pub struct Echo {
    /// Bytes that each client connection sends before it closes.
    pub total: u64,
    /// Connections opened.
    pub opened: u64,
    /// How connections ended, in that order.
    pub closed: Vec<(u32, Closed, u64)>,
}

/// One end's state.
#[derive(Debug, Default)]
pub struct EchoConn {
    token: u32,
    is_client: bool,
    sent: u64,
    received: u64,
}

impl Echo {
    fn send(&self, conn: &mut EchoConn, reply: &mut Reply<'_, &'static [u8]>) {
        while conn.sent < self.total && reply.has_capacity() {
            let n = (self.total - conn.sent).min(CAPACITY_COPY_BYTES as u64 - 1);
            reply.copy(&stream_bytes(conn.sent, n as usize));
            conn.sent += n;
        }
        // The answer comes while the rest waits for capacity.
        reply.read_on();
    }
}

impl Application for Echo {
    type Blob = &'static [u8];
    type Conn = EchoConn;

    fn opened(
        &mut self,
        conn: &mut EchoConn,
        opened: Opened,
        reply: &mut Reply<'_, &'static [u8]>,
    ) {
        self.opened += 1;
        (conn.token, conn.is_client) = (opened.token, opened.active);
        if opened.active {
            self.send(conn, reply);
        }
    }

    fn received(
        &mut self,
        conn: &mut EchoConn,
        bytes: &[u8],
        reply: &mut Reply<'_, &'static [u8]>,
    ) -> usize {
        let mut consumed = 0;
        for piece in bytes.chunks(CAPACITY_COPY_BYTES) {
            if !conn.is_client {
                if !reply.has_capacity() {
                    break;
                }
                reply.copy(piece);
            }
            for (i, &byte) in piece.iter().enumerate() {
                assert_eq!(
                    byte,
                    stream_byte(conn.received + i as u64),
                    "the stream at {}",
                    conn.received + i as u64
                );
            }
            conn.received += piece.len() as u64;
            consumed += piece.len();
        }
        if conn.is_client {
            reply.read_on();
        }
        if conn.is_client && conn.received == self.total {
            reply.close();
        }
        consumed
    }

    fn overfull(&mut self, _: &mut EchoConn, _: &[u8], reply: &mut Reply<'_, &'static [u8]>) {
        reply.abort();
    }

    fn resumed(&mut self, conn: &mut EchoConn, reply: &mut Reply<'_, &'static [u8]>) {
        if conn.is_client {
            self.send(conn, reply);
        }
    }

    fn timeout(&mut self, _: &mut EchoConn, reply: &mut Reply<'_, &'static [u8]>) {
        reply.abort();
    }

    fn closed(&mut self, conn: &mut EchoConn, how: Closed) {
        self.closed.push((conn.token, how, conn.received));
    }
}

//! A connection in one piece, for transports that have no needs of their own as to where its parts
//! lie.

use crate::application::Application;
use crate::exchange::{Exchange, Input};
use crate::flow::Flow;
use crate::input::{self, InputBuffer};
use crate::send::{self, Queue};

/// The parts of one connection that every transport has. Call [release](Connection::release) before
/// dropping it, or its entries and buffers leak.
#[derive(Debug)]
pub struct Connection<A: Application> {
    /// The handler's state.
    pub conn: A::Conn,
    /// What the handler has requested.
    pub flow: Flow,
    /// The send queue.
    pub queue: Queue,
    /// Input that the handler has not consumed.
    pub input: InputBuffer,
}

impl<A: Application> Default for Connection<A> {
    fn default() -> Self {
        Connection::with(A::Conn::default())
    }
}

impl<A: Application> Connection<A> {
    /// A connection with this initial state of the handler.
    pub fn with(conn: A::Conn) -> Self {
        Connection {
            conn,
            flow: Flow::default(),
            queue: Queue::default(),
            input: InputBuffer::default(),
        }
    }

    /// Handles one event; see [`Exchange`].
    pub fn exchange<'a>(
        &'a mut self,
        send: &'a mut send::Pool<A::Blob>,
        inputs: &'a mut input::Pool,
    ) -> Exchange<'a, A::Conn, A::Blob, Buffered<'a>> {
        let input = Buffered { buffer: &mut self.input, pool: inputs };
        Exchange::new(&mut self.conn, &mut self.flow, &mut self.queue, send, input)
    }

    /// Whether the connection holds nothing of a request or an answer.
    pub fn is_idle(&self) -> bool {
        self.flow.is_idle() && self.input.is_empty() && self.queue.is_empty()
    }

    /// Frees everything that the connection holds of the pools.
    pub fn release(&mut self, send: &mut send::Pool<A::Blob>, inputs: &mut input::Pool) {
        self.queue.clear(send);
        self.input.clear(inputs);
    }
}

/// The input of a transport that holds it only in a buffer of a pool.
pub struct Buffered<'a> {
    buffer: &'a mut InputBuffer,
    pool: &'a mut input::Pool,
}

impl Input for Buffered<'_> {
    fn len(&self) -> usize {
        self.buffer.len()
    }

    fn seen(&self) -> usize {
        self.buffer.seen()
    }

    fn append(&mut self, bytes: &[u8]) -> usize {
        self.buffer.append(self.pool, bytes)
    }

    /// Without `tail`, for which there is no space behind the buffer.
    fn gather<'b>(&'b mut self, _: &'b [u8]) -> &'b [u8] {
        self.buffer.bytes(self.pool)
    }

    /// Also exchanges a large buffer for a small one if that suffices.
    fn delivered(&mut self, shown: usize, consumed: usize) {
        self.buffer.delivered(self.pool, shown, consumed);
        self.buffer.shrink(self.pool);
    }

    fn clear(&mut self) {
        self.buffer.clear(self.pool);
    }
}

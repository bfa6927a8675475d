//! A connection in one piece, for transports that have no needs of their own as to where its parts
//! lie.

use crate::application::Application;
use crate::exchange::{Exchange, Input};
use crate::flow::Flow;
use crate::input::{self, InputBuffer};
use crate::send::{self, Queue};

/// The parts of one connection that every transport has. Must be [released](Connection::release)
/// before it is dropped, or what it holds of the pools stays taken.
#[derive(Debug)]
pub struct Connection<A: Application> {
    /// The handler's state.
    pub conn: A::Conn,
    /// What the handler has asked for.
    pub flow: Flow,
    /// What is to be sent.
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
    /// A connection whose handler begins with this state.
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

    /// Gives back what it holds of the pools.
    pub fn release(&mut self, send: &mut send::Pool<A::Blob>, inputs: &mut input::Pool) {
        self.queue.clear(send);
        self.input.clear(inputs);
    }
}

/// Input in a buffer of a pool, and nowhere else.
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

    /// Also gives a large buffer back that has become too large.
    fn delivered(&mut self, shown: usize, consumed: usize) {
        self.buffer.delivered(self.pool, shown, consumed);
        self.buffer.shrink(self.pool);
    }

    fn clear(&mut self) {
        self.buffer.clear(self.pool);
    }
}

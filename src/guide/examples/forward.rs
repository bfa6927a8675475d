//! Forward: asks another server for the answer to each line, in threads that may block.
//!
//!     cargo run --example forward SERVER:PORT

use simoom::app::Blob;
use simoom::io::{self, Application, ConnectionId, Duration, Opened, Reply};
use simoom::{Builder, Completed, Factories, Handler, Later, Result, Server, Token, log};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Instant;

const IDLE: Duration = Duration::from_secs(60);
/// A line that has no answer after this time is answered with an error.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
const FAILED: Blob = Blob::Static(b"ERROR\n");
/// Lines that wait for a thread. One more is answered with an error.
const JOBS_MAX: usize = 4096;
/// The longest answer of the other server.
const ANSWER_MAX_BYTES: u64 = 64 << 10;

/// A line to ask for.
struct Job {
    line: Vec<u8>,
    token: Token,
    since: Instant,
}

struct Forward {
    jobs: SyncSender<Job>,
    later: Later,
    is_draining: bool,
}

#[derive(Default)]
struct Client {
    id: ConnectionId,
    /// Counts its lines.
    number: u32,
    waits: bool,
    /// Has come, but finds no capacity.
    answer: Option<Blob>,
}

impl Forward {
    fn answer(&mut self, client: &mut Client, reply: &mut Reply<'_, Blob>) {
        let Some(answer) = client.answer.take_if(|_| reply.has_capacity()) else { return };
        let len = io::Blob::bytes(&answer).len();
        reply.share(answer, 0..len);
        reply.set_timeout(Some(IDLE));
        if self.is_draining {
            reply.close();
        }
    }
}

impl Application for Forward {
    type Blob = Blob;
    type Conn = Client;

    fn opened(&mut self, client: &mut Client, opened: Opened, reply: &mut Reply<'_, Blob>) {
        client.id = opened.id;
        reply.set_timeout(Some(IDLE));
    }

    fn received(
        &mut self,
        client: &mut Client,
        bytes: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> usize {
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return 0 };
        client.number += 1;
        client.waits = true;
        let token = self.later.token(client.id, client.number);
        let job = Job { line: bytes[..=end].to_vec(), token, since: Instant::now() };
        // If too many wait, the token is dropped, which completes the line without an answer.
        let _ = self.jobs.try_send(job);
        reply.read_later();
        reply.set_timeout(Some(ANSWER_TIMEOUT));
        end + 1
    }

    fn resumed(&mut self, client: &mut Client, reply: &mut Reply<'_, Blob>) {
        self.answer(client, reply);
    }

    fn timeout(&mut self, client: &mut Client, reply: &mut Reply<'_, Blob>) {
        if !std::mem::take(&mut client.waits) {
            return reply.close();
        }
        client.answer = Some(FAILED);
        self.answer(client, reply);
    }
}

impl Handler for Forward {
    fn completed(&mut self, client: &mut Client, done: Completed, reply: &mut Reply<'_, Blob>) {
        if client.waits && done.number == client.number {
            client.waits = false;
            client.answer = Some(done.answer.unwrap_or(FAILED));
            self.answer(client, reply);
        } else if client.waits {
            reply.read_later(); // This one is late: its line was answered with an error.
        }
    }

    fn idle(&self, client: &Client) -> bool {
        !client.waits && client.answer.is_none()
    }

    fn drain(&mut self) {
        self.is_draining = true;
    }
}

/// A thread of the pool: asks on a connection of its own, a new one after an error.
fn work(server: SocketAddr, jobs: &Mutex<Receiver<Job>>) {
    let mut connection = None;
    loop {
        let job = jobs.lock().expect("no thread panics with it").recv();
        let Ok(Job { line, token, since }) = job else { return };
        if since.elapsed() >= ANSWER_TIMEOUT.into() {
            continue; // The token is dropped: the client has its error already.
        }
        match ask(server, &mut connection, &line) {
            Ok(answer) => drop(token.complete(answer)),
            Err(_) => connection = None, // The token is dropped.
        }
    }
}

/// Whether the next bytes can only be the answer to the next line. If not, the server has closed,
/// or has sent more than it was asked for, which must not become the answer of another client. What
/// it sends too much later than this, no client of a protocol without numbers can tell apart.
fn is_in_step(connection: &BufReader<TcpStream>) -> std::io::Result<bool> {
    connection.get_ref().set_nonblocking(true)?;
    let peeked = connection.get_ref().peek(&mut [0]);
    connection.get_ref().set_nonblocking(false)?;
    let has_nothing = peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
    Ok(has_nothing && connection.buffer().is_empty())
}

fn connect(server: SocketAddr) -> std::io::Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect_timeout(&server, ANSWER_TIMEOUT.into())?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT.into()))?;
    stream.set_write_timeout(Some(ANSWER_TIMEOUT.into()))?;
    Ok(BufReader::new(stream))
}

fn ask(
    server: SocketAddr,
    connection: &mut Option<BufReader<TcpStream>>,
    line: &[u8],
) -> std::io::Result<Vec<u8>> {
    connection.take_if(|kept| !is_in_step(kept).unwrap_or(false));
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(connect(server)?),
    };
    connection.get_mut().write_all(line)?;
    let mut answer = Vec::new();
    connection.take(ANSWER_MAX_BYTES).read_until(b'\n', &mut answer)?;
    // Half an answer is none.
    if answer.ends_with(b"\n") { Ok(answer) } else { Err(ErrorKind::UnexpectedEof.into()) }
}

/// Forwards to `server`, in so many threads.
pub fn server(server: SocketAddr, threads: usize) -> Builder<impl Factories> {
    let (jobs, taken) = sync_channel(JOBS_MAX);
    let taken = Arc::new(Mutex::new(taken));
    for _ in 0..threads {
        let taken = taken.clone();
        std::thread::spawn(move || work(server, &taken));
    }
    Server::builder().handler("forward", 7008, move |worker| {
        Ok(Forward { jobs: jobs.clone(), later: worker.later, is_draining: false })
    })
}

fn main() -> Result<()> {
    log::init(log::Log::default())?;
    let at = std::env::args().nth(1).unwrap_or_default();
    let at = at.parse().map_err(|_| simoom::Error::usage(format!("{at:?}: give ADDR:PORT")))?;
    server(at, 4).run().map(drop)
}

//! Forward: asks another server for the answer to each line, in threads that may block.
//!
//!     cargo run --example forward SERVER:PORT

use simoom::app::Blob;
use simoom::io::{self, Application, ConnectionId, Duration, Opened, Reply};
use simoom::{Builder, Completed, Factories, Handler, Later, Result, Server, Token, log};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

const IDLE: Duration = Duration::from_secs(60);
/// A line that has no answer after this time is answered with an error.
const PATIENCE: Duration = Duration::from_secs(5);
const FAILED: Blob = Blob::Static(b"ERROR\n");

struct Forward {
    jobs: Sender<(Vec<u8>, Token)>,
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
        // Without threads the token is dropped, which completes the line without an answer.
        let _ = self.jobs.send((bytes[..=end].to_vec(), token));
        reply.read_later();
        reply.set_timeout(Some(PATIENCE));
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
fn work(server: SocketAddr, jobs: &Mutex<Receiver<(Vec<u8>, Token)>>) {
    let mut connection = None;
    loop {
        let job = jobs.lock().expect("no thread panics with it").recv();
        let Ok((line, token)) = job else { return };
        match ask(server, &mut connection, &line) {
            Ok(answer) => drop(token.complete(answer)),
            Err(_) => connection = None, // The token is dropped.
        }
    }
}

fn ask(
    server: SocketAddr,
    connection: &mut Option<BufReader<TcpStream>>,
    line: &[u8],
) -> std::io::Result<Vec<u8>> {
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(BufReader::new(TcpStream::connect(server)?)),
    };
    connection.get_mut().write_all(line)?;
    let mut answer = Vec::new();
    connection.read_until(b'\n', &mut answer)?;
    if answer.is_empty() { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(answer) }
}

/// Forwards to `server`, in so many threads.
pub fn server(server: SocketAddr, threads: usize) -> Builder<impl Factories> {
    let (jobs, taken) = channel();
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

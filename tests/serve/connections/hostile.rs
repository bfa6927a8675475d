//! A hostile client: many connections, and what it does to one of them at each step. It never waits
//! for the server.

use super::requests::{self, Mood};
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};
use simoom_io::testing::Random;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// Connections to both services.
pub struct Hostile {
    services: [SocketAddr; 2],
    connections: Vec<Connection>,
    max: usize,
    mood: Mood,
}

struct Connection {
    stream: TcpStream,
    is_http: bool,
    unsent: Vec<u8>,
}

impl Hostile {
    pub fn new(services: [SocketAddr; 2], max: usize) -> Hostile {
        Hostile { services, connections: Vec::new(), max, mood: Mood::Anything }
    }

    /// One step, drawn at random.
    pub fn act(&mut self, random: &mut Random) {
        let is_flood = random.index(400) == 0;
        if random.index(500) == 0 {
            self.mood = Mood::draw(random);
        }
        if self.connections.is_empty() || is_flood || random.index(8) == 0 {
            for _ in 0..if is_flood { self.max } else { 1 } {
                self.open(random);
            }
        }
        let at = random.index(self.connections.len());
        let connection = &mut self.connections[at];
        match random.index(20) {
            0..=9 => connection.send(self.mood, random),
            10..=13 if self.mood == Mood::NoReading => {}
            10..=13 => connection.read(random),
            // With a mood, most connections stay, so that what they hold adds up.
            14..=16 if self.mood != Mood::Anything && random.index(8) > 0 => {}
            14 => drop(connection.stream.shutdown(Shutdown::Write)),
            15 => drop(self.connections.swap_remove(at)),
            16 => self.connections.swap_remove(at).reset(),
            _ => {}
        }
        // The pace of a client, not a wait: the clients must not take the server's core, and some
        // of what was begun meets the next step half done.
        std::thread::sleep(Duration::from_micros(random.index(400) as u64));
    }

    /// Begins to open a connection; ends another if there are as many as there may be.
    fn open(&mut self, random: &mut Random) {
        if self.connections.len() >= self.max {
            let gone = self.connections.swap_remove(random.index(self.max));
            if random.index(2) == 0 {
                gone.reset();
            }
        }
        let is_http = random.index(2) == 0;
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).unwrap();
        if random.index(3) == 0 {
            // Takes hardly anything that is not read.
            let bytes = 2048 << random.index(4);
            sockopt::set_socket_recv_buffer_size(&socket, bytes).unwrap();
        }
        // In progress; sending tells what came of it.
        let _ = connect(&socket, &self.services[usize::from(!is_http)]);
        let stream = TcpStream::from(socket);
        stream.set_nodelay(random.index(2) == 0).unwrap();
        self.connections.push(Connection { stream, is_http, unsent: Vec::new() });
    }
}

impl Connection {
    /// Sends a piece of any size; when nothing is unsent, of one to three new requests.
    fn send(&mut self, mood: Mood, random: &mut Random) {
        if self.unsent.is_empty() {
            let request = if self.is_http { requests::http } else { requests::memcached };
            for _ in 0..=random.index(3) {
                self.unsent.extend(request(mood, random));
            }
        }
        let all = self.unsent.len();
        let sizes = [all, 1, 1 + random.index(all + 1), 1 + random.index(3000)];
        let piece = sizes[random.index(4)].min(all);
        // An error: not connected yet, connected no longer, or no space.
        if let Ok(sent) = self.stream.write(&self.unsent[..piece]) {
            self.unsent.drain(..sent);
        }
    }

    fn read(&mut self, random: &mut Random) {
        let len = [1, 100, 10_000, 1 << 20][random.index(4)];
        let _ = self.stream.read(&mut vec![0; len]);
    }

    fn reset(self) {
        sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO)).unwrap();
    }
}

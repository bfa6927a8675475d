//! Two applications and the link between them: bytes in, calls and losses out.

use super::super::echo::{stream_byte, stream_bytes};
use super::super::link::Quality;
use super::super::pair::{Pair, hasty};
use super::{LIMITS, Script};
use crate::{Limits, OwnershipCounts};
use simoom_io::Duration;
use simoom_io::Reply;
use simoom_io::application::{Application, Closed, Opened};

/// Runs two applications over a link. Every byte read is correct, every connection ends, and
/// nothing stays held.
pub fn operations(data: &[u8]) {
    let limits = Limits { connections: 6, ..LIMITS };
    let mut pair =
        Pair::new(hasty(1, LIMITS), hasty(2, limits), Quality::default(), 1, Told::default);
    let mut script = Script(data);
    while !script.0.is_empty() {
        let action = script.byte();
        match action % 8 {
            0 => {
                let _ = pair.try_connect(40_000 + u16::from(script.byte() % 8));
            }
            1 => {
                let quality = Quality {
                    loss: u32::from(script.byte()) * 4,
                    duplicate: u32::from(script.byte()),
                    reorder: u32::from(script.byte()) * 2,
                    corrupt: u32::from(script.byte()) / 4,
                    delay: Duration::from_micros(u64::from(script.word())),
                    queue: usize::from(script.byte() / 8),
                    gso: if action & 16 == 0 { 0 } else { 900 },
                    ..Quality::default()
                };
                let link =
                    if action & 8 == 0 { &mut pair.client.out } else { &mut pair.server.out };
                link.quality = quality;
            }
            2 | 3 => {
                for _ in 0..=script.byte() % 64 {
                    pair.step();
                }
            }
            _ => {
                let side = if action & 8 == 0 { &mut pair.client } else { &mut pair.server };
                let open: Vec<(u16, u16)> = side.stack.open_ports().collect();
                let which = usize::from(script.byte());
                if let Some(&(local, remote)) = open.get(which % open.len().max(1)) {
                    let found =
                        side.stack.inspect(local, remote).expect("its ports were just listed");
                    side.stack.with(found.id, |conn, reply| tell(&mut script, conn, reply));
                }
                side.flush(pair.now);
            }
        }
    }
    wind_up(&mut pair);
}

fn tell(script: &mut Script<'_>, conn: &mut ToldConn, reply: &mut Reply<'_, &'static [u8]>) {
    match script.byte() % 8 {
        0 => reply.close(),
        1 => reply.abort(),
        2 => conn.leaves = !conn.leaves,
        3 => reply.set_timeout(Some(Duration::from_millis(u64::from(script.word())))),
        _ => {
            let len = u64::from(script.word()) % 4000;
            let end = conn.sent + len;
            while conn.sent < end && reply.has_capacity() {
                let n = (end - conn.sent).min(1000);
                reply.copy(&stream_bytes(conn.sent, n as usize));
                conn.sent += n;
            }
        }
    }
}

/// The link is good again and both sides close: every connection must end.
fn wind_up(pair: &mut Pair<Told>) {
    for side in [&mut pair.client, &mut pair.server] {
        side.out.quality = Quality::default();
        side.app.winds_up = true;
        let open: Vec<(u16, u16)> = side.stack.open_ports().collect();
        for (local, remote) in open {
            let found = side.stack.inspect(local, remote).expect("its ports were just listed");
            side.stack.with(found.id, |_, reply| reply.close());
        }
        side.flush(pair.now);
    }
    let is_over = pair.run_until(100_000, |pair| {
        [&pair.client, &pair.server].iter().all(|side| {
            side.stack.ownership() == OwnershipCounts::default()
                && side.stack.next_deadline().is_none()
        })
    });
    for side in [&pair.client, &pair.server] {
        let (counters, _) = side.stack.counters();
        assert!(is_over, "held for ever: {:?} {counters:?}", side.stack.ownership());
        assert_eq!(side.app.closed, counters.active_opens + counters.passive_opens);
    }
}

/// An application that the fuzzer steers, and that checks what it reads.
#[derive(Default)]
struct Told {
    closed: u64,
    /// Connections opened from now on close at once.
    winds_up: bool,
}

#[derive(Default)]
struct ToldConn {
    sent: u64,
    received: u64,
    leaves: bool,
}

impl Application for Told {
    type Blob = &'static [u8];
    type Conn = ToldConn;

    fn opened(&mut self, _: &mut ToldConn, _: Opened, reply: &mut Reply<'_, &'static [u8]>) {
        if self.winds_up {
            reply.close();
        }
    }

    fn received(
        &mut self,
        conn: &mut ToldConn,
        bytes: &[u8],
        _: &mut Reply<'_, &'static [u8]>,
    ) -> usize {
        let n = if conn.leaves { bytes.len() / 2 } else { bytes.len() };
        for &byte in &bytes[..n] {
            assert_eq!(byte, stream_byte(conn.received), "the stream at {}", conn.received);
            conn.received += 1;
        }
        n
    }

    fn overfull(&mut self, _: &mut ToldConn, _: &[u8], reply: &mut Reply<'_, &'static [u8]>) {
        reply.close();
    }

    fn timeout(&mut self, _: &mut ToldConn, reply: &mut Reply<'_, &'static [u8]>) {
        reply.close();
    }

    fn closed(&mut self, _: &mut ToldConn, _: Closed) {
        self.closed += 1;
    }
}

//! Two stacks, back to back: a client and a server, with a [`Link`] each way.

use super::coverage::Coverage;
use super::echo::Echo;
use super::link::{Link, Quality};
use crate::ConnId;
use crate::config::{Config, Limits, LocalAddress};
use crate::stack::{Connect, ConnectError, Stack};
use crate::wire::{self, Address, Packet};
use simoom_io::application::Application;
use simoom_io::{Duration, Instant};

/// The port that the server listens on.
pub const PORT: u16 = 80;

/// One side: a stack, its application, and the link that its frames enter.
pub struct Side<A: Application> {
    /// The stack.
    pub stack: Stack<A>,
    /// The application.
    pub app: A,
    /// The link to the other side.
    pub out: Link,
    /// Events by state, if they are recorded.
    pub coverage: Option<Coverage>,
}

/// Both sides and the time.
pub struct Pair<A: Application> {
    /// The side that opens connections.
    pub client: Side<A>,
    /// The side that listens.
    pub server: Side<A>,
    /// The time on both sides.
    pub now: Instant,
}

/// A configuration for one of the two sides: 1 for the client, 2 for the server.
pub fn config(host: u8, limits: Limits) -> Config {
    let address = LocalAddress { address: Address::from_v4([198, 18, 0, host]), dedicated: true };
    Config::new([2, 0, 0, 0, 0, host], vec![address], [7, 7, 7, u64::from(host)], limits)
}

/// The same with 2001:db8::HOST for its address.
pub fn over_ipv6(config: &Config) -> Config {
    let over =
        |local: &LocalAddress| LocalAddress { address: mapped_to_ipv6(&local.address), ..*local };
    Config { addresses: config.addresses.iter().map(over).collect(), ..config.clone() }
}

/// The address of IPv6 that stands for one of 198.18.0.0/24 where a test runs over IPv6.
pub fn mapped_to_ipv6(address: &Address) -> Address {
    let [.., host] = address.octets();
    Address::from_v6([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host])
}

/// A configuration with times short enough for a run to end.
pub fn hasty(host: u8, limits: Limits) -> Config {
    Config {
        send_timeout_ms: 4000,
        close_timeout_ms: 3000,
        time_wait_ms: 2000,
        keep_alive_ms: 5000,
        keep_alive_interval_ms: 500,
        keep_alive_probes: 3,
        syn_retries: 3,
        ..config(host, limits)
    }
}

impl Pair<Echo> {
    /// A pair whose client sends `total` bytes per connection and expects them back.
    pub fn echo(total: u64, quality: Quality, seed: u64) -> Pair<Echo> {
        let limits = Limits::for_connections(64);
        Pair::new(config(1, limits), config(2, limits), quality, seed, || Echo {
            total,
            ..Echo::default()
        })
    }
}

impl<A: Application> Pair<A> {
    /// A pair of stacks of these configurations, with links of one quality.
    pub fn new(
        client: Config,
        server: Config,
        quality: Quality,
        seed: u64,
        app: impl Fn() -> A,
    ) -> Pair<A> {
        let now = Instant::from_millis(1000);
        let side = |config: Config, seed| {
            let out = Link::new(quality, config.frame_bytes(), seed);
            Side { stack: Stack::new(config, now), app: app(), out, coverage: None }
        };
        let mut pair =
            Pair { client: side(client, seed), server: side(server, seed ^ 0x5555_5555), now };
        pair.server.stack.listen(PORT);
        pair
    }

    /// Opens a connection from this client port, which must be free.
    pub fn connect(&mut self, local_port: u16) -> ConnId {
        self.try_connect(local_port).expect("a free four-tuple")
    }

    /// Opens a connection from this client port.
    pub fn try_connect(&mut self, local_port: u16) -> Result<ConnId, ConnectError> {
        self.open(local_port, Some(wire::Link { mac: [2, 0, 0, 0, 0, 2], vlan: 0 }))
    }

    /// Opens a connection by the client's routes, so that it resolves its next hop first.
    pub fn try_connect_routed(&mut self, local_port: u16) -> Result<ConnId, ConnectError> {
        self.open(local_port, None)
    }

    fn open(&mut self, local_port: u16, link: Option<wire::Link>) -> Result<ConnId, ConnectError> {
        let to = Connect {
            local: self.client.stack.address(),
            local_port,
            remote: self.server.stack.address(),
            remote_port: PORT,
            link,
            token: u32::from(local_port),
        };
        self.client.out.now = self.now;
        self.client.stack.connect(self.now, &to, &mut self.client.out)
    }

    /// Advances the time to the next event, and handles it. Returns `false` if there is none.
    pub fn step(&mut self) -> bool {
        let arrivals = [self.client.out.next_arrival(), self.server.out.next_arrival()];
        let timers = [self.client.stack.next_deadline(), self.server.stack.next_deadline()]
            .map(|after| after.map(|after| self.now + after));
        let Some(next) = arrivals.into_iter().chain(timers).flatten().min() else { return false };
        // The wheel may return a time shortly before a timer is due; time must still pass.
        self.now = next.max(self.now + Duration::from_micros(1));
        self.client.turn(self.now, &mut self.server.out);
        self.server.turn(self.now, &mut self.client.out);
        true
    }

    /// Steps until `done` holds, or at most `steps` times; returns whether it does.
    pub fn run_until(&mut self, steps: usize, mut done: impl FnMut(&Pair<A>) -> bool) -> bool {
        for _ in 0..steps {
            if done(self) {
                return true;
            }
            if !self.step() {
                break;
            }
        }
        done(self)
    }
}

impl<A: Application> Side<A> {
    /// One iteration of a worker's loop: receive, expire, flush.
    pub fn turn(&mut self, now: Instant, inbound: &mut Link) {
        (self.out.now, inbound.now) = (now, now);
        let Side { stack, app, out, coverage } = self;
        while let Some(frame) = inbound.arrive() {
            let parts = [&frame[..]];
            let mut receive =
                |stack: &mut Stack<A>| stack.receive(now, &[Packet(&parts)], app, out);
            match coverage {
                Some(coverage) => coverage.segment(stack, &frame, receive),
                None => receive(stack),
            };
        }
        let mut expire = |stack: &mut Stack<A>| stack.expire(now, app, out);
        match coverage {
            Some(coverage) => coverage.time(stack, expire),
            None => expire(stack),
        };
        match coverage {
            Some(coverage) => coverage.flush(stack, |stack| stack.flush(now, app, out)),
            None => stack.flush(now, app, out),
        }
    }

    /// Sends what the client queued outside the loop.
    pub fn flush(&mut self, now: Instant) {
        self.out.now = now;
        self.stack.flush(now, &mut self.app, &mut self.out);
    }
}

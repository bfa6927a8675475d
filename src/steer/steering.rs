//! The steering program bpf/steer.bpf.c: its map of claims and its counters.

use super::claims::{AddressKey, CLAIM_LEARNS, ClaimTable, ClaimValue, address_key};
use super::earlier::Earlier;
use super::plain::PlainClaims;
use super::tunnels::TunnelEnd;
use super::{Claim, Error, Tunnel};
use af_xdp::Program;
use af_xdp::aya::maps::{Array, HashMap, MapData, MapError, PerCpuArray};
use std::io::ErrorKind;
use std::net::IpAddr;

static OBJECT: &[u8] =
    af_xdp::aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/bpf/steer.bpf.o"));

simoom_io::counters! {
    /// The counters of the steering program: `enum counter` in bpf/layout.h, in its order.
    pub struct SteerCounters prefix "steer_" {
        /// Claimed packets of a queue without a socket.
        no_socket,
        /// IP fragments for a claimed address that were dropped.
        fragments_dropped,
        /// Packets shorter than their headers state.
        truncated,
        /// Packets with too many IPv6 extension headers.
        too_many_extensions,
        /// Packets dropped because no host can have their source address.
        martians_dropped,
        /// Segments of no connection of the kernel that were dropped before they reached it.
        guard_dropped,
        /// Packets that were taken out of a tunnel (--tunnel).
        decapsulated,
        /// Packets of a tunnel with malformed headers, passed to the kernel.
        tunnel_malformed,
    }
}

/// The program of the object for tc ingress.
pub(super) const GUARD: &str = "guard";

type Claims = HashMap<MapData, AddressKey, [u8; ClaimValue::BYTES]>;

/// The maps of a loaded steering program.
pub struct Steering {
    table: ClaimTable,
    claims: Claims,
    /// The claims for the guard.
    guarded: Claims,
    /// The entry of the claims that is found without a lookup.
    plain_claims: PlainClaims,
    /// The addresses at which tunnels end.
    tunnel_ends: HashMap<MapData, AddressKey, [u8; TunnelEnd::BYTES]>,
    /// Whether the program learns the sources of SYNs for the guard.
    learns: bool,
    /// The connections that the kernel has had since before the claims.
    earlier: Earlier,
    counters: PerCpuArray<MapData, u64>,
    /// 1 if a frame came since it was cleared.
    seen: Array<MapData, u32>,
}

/// Whether the kernel accepts and runs the steering program; the error names the step that failed.
pub fn can_load() -> Result<(), Error> {
    let (mut program, _) = Steering::load(1)?;
    Ok(program.test_run(&[0; 64]).map(drop)?)
}

impl Steering {
    /// Loads the program for the sockets of `queues` receive queues. Nothing is claimed and nothing
    /// attached yet.
    pub fn load(queues: u32) -> Result<(Program, Steering), Error> {
        let mut program = Program::load(OBJECT, "steer", "sockets", queues)?.linear("steer_linear");
        let claims =
            HashMap::try_from(program.take_map("claims")?).map_err(failed("the map of claims"))?;
        let guarded = HashMap::try_from(program.take_map("guarded")?)
            .map_err(failed("the map of guarded claims"))?;
        let plain_claims = PlainClaims::new(program.take_map("plain_claims")?)
            .map_err(failed("the map of plain claims"))?;
        let tunnel_ends = HashMap::try_from(program.take_map("tunnel_ends")?)
            .map_err(failed("the map of tunnels"))?;
        let counters = PerCpuArray::try_from(program.take_map("counters")?)
            .map_err(failed("the map of counters"))?;
        let seen =
            Array::try_from(program.take_map("seen")?).map_err(failed("the map of seen frames"))?;
        Ok((
            program,
            Steering {
                table: ClaimTable::default(),
                claims,
                guarded,
                plain_claims,
                tunnel_ends,
                learns: false,
                earlier: Earlier::default(),
                counters,
                seen,
            },
        ))
    }

    /// Has the program learn the sources of SYNs, for the guard to drop duplicates of them. Call it
    /// before traffic is claimed.
    pub fn learn_sources(&mut self) {
        self.learns = true;
    }

    /// Takes claimed packets out of these tunnels, which end at `address`.
    pub fn end_tunnels(&mut self, address: IpAddr, tunnels: &[Tunnel]) -> Result<(), Error> {
        let value = TunnelEnd::of(tunnels).bytes();
        self.tunnel_ends
            .insert(address_key(address), value, 0)
            .map_err(failed("adding the end of a tunnel"))
    }

    /// Ends no tunnel at `address` any more.
    pub fn remove_tunnels(&mut self, address: IpAddr) {
        // An error means that none ended there.
        let _ = self.tunnel_ends.remove(&address_key(address));
    }

    /// An entry of the maps.
    fn entry(&self, value: ClaimValue) -> [u8; ClaimValue::BYTES] {
        let flags = value.flags | if self.learns { CLAIM_LEARNS } else { 0 };
        ClaimValue { flags, ..value }.bytes()
    }

    /// Claims traffic. Connections that the kernel has already stay its own.
    pub fn add_claim(&mut self, claim: Claim) -> Result<(), Error> {
        let (key, value) = self.table.add(claim)?;
        if let Claim::Port(port) = claim {
            self.earlier.claimed(port);
        }
        let entry = self.entry(value);
        self.guarded.insert(key, entry, 0).map_err(failed("adding a guarded claim"))?;
        self.claims.insert(key, entry, 0).map_err(failed("adding a claim"))?;
        self.choose_plain()
    }

    /// Chooses the plain claim anew, after a change of the claims.
    fn choose_plain(&mut self) -> Result<(), Error> {
        self.plain_claims.set(self.table.plain()).map_err(failed("the map of plain claims"))
    }

    /// Addresses that may still be claimed beside those that are.
    pub(super) fn room(&self) -> usize {
        self.table.room()
    }

    /// The kernel may have got connections to claimed ports meanwhile: they stay its own. Call it
    /// before the program steers again what it did not steer.
    pub fn ask_again(&mut self) -> Result<(), Error> {
        for (key, value) in self.table.ask_again() {
            let entry = self.entry(value);
            self.claims.insert(key, entry, 0).map_err(failed("changing a claim"))?;
        }
        self.table.ports().for_each(|port| self.earlier.claimed(port));
        self.choose_plain()
    }

    /// Has the program no longer ask for connections that the kernel had before the claims, where
    /// there are none left. Call it twice a second, in the network namespace of the interface.
    pub fn settle(&mut self) -> Result<(), Error> {
        for address in self.earlier.look() {
            let Some((key, value)) = self.table.settle(address) else { continue };
            let entry = self.entry(value);
            self.claims.insert(key, entry, 0).map_err(failed("changing a claim"))?;
        }
        self.choose_plain()
    }

    /// Returns traffic to the kernel.
    pub fn remove_claim(&mut self, claim: Claim) -> Result<(), Error> {
        if let Claim::Port(port) = claim {
            self.earlier.returned(port);
        }
        let removed = self.table.remove(claim);
        self.choose_plain()?;
        match removed {
            (key, Some(value)) => {
                let entry = self.entry(value);
                self.claims.insert(key, entry, 0).map_err(failed("removing a claim"))?;
                let guarded = self.guarded.insert(key, entry, 0);
                guarded.map_err(failed("removing a guarded claim"))
            }
            (key, None) => {
                remove_key(&mut self.claims, &key)?;
                remove_key(&mut self.guarded, &key)
            }
        }
    }

    /// Returns all traffic to the kernel. The guard, if it is attached, passes every new SYN from
    /// now on. It still drops segments of connections that the kernel does not have.
    pub fn remove_all_claims(&mut self) -> Result<(), Error> {
        self.earlier.returned_all();
        let cleared = self.table.clear();
        self.choose_plain()?;
        cleared.into_iter().try_for_each(|(key, value)| {
            remove_key(&mut self.claims, &key)?;
            let guarded = self.guarded.insert(key, value.bytes(), 0);
            guarded.map_err(failed("changing a guarded claim"))
        })
    }

    /// The program's counters, each the sum over all processors.
    pub fn counters(&self) -> Result<SteerCounters, Error> {
        let sum = |index: u32| {
            let per_cpu = self.counters.get(&index, 0).map_err(failed("reading counters"))?;
            Ok::<u64, Error>(per_cpu.iter().sum())
        };
        Ok(SteerCounters {
            no_socket: sum(0)?,
            fragments_dropped: sum(1)?,
            truncated: sum(2)?,
            too_many_extensions: sum(3)?,
            martians_dropped: sum(4)?,
            guard_dropped: sum(5)?,
            decapsulated: sum(6)?,
            tunnel_malformed: sum(7)?,
        })
    }

    /// Whether the program has seen a frame since the last call.
    pub fn take_seen(&mut self) -> Result<bool, Error> {
        let failed = failed("the map of seen frames");
        let seen = self.seen.get(&0, 0).map_err(&failed)? != 0;
        if seen {
            self.seen.set(0, 0, 0).map_err(&failed)?;
        }
        Ok(seen)
    }
}

/// Removes an entry that may already be missing.
fn remove_key(claims: &mut Claims, key: &AddressKey) -> Result<(), Error> {
    match claims.remove(key) {
        Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error)) if error.io_error.kind() == ErrorKind::NotFound => {
            Ok(())
        }
        Err(error) => Err(failed("removing a claim")(error)),
    }
}

/// The error of a step with a map.
fn failed(step: &'static str) -> impl Fn(MapError) -> Error {
    move |error| af_xdp::Error::program(step, error).into()
}

impl std::fmt::Debug for Steering {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Steering").field("claims", &self.table).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::plain::PlainClaim;
    use super::*;

    /// The start of a segment to 198.18.0.`last` and to `port`.
    fn segment(last: u8, port: u16) -> Vec<u8> {
        let ethernet = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 8, 0];
        let ip = [0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0, 198, 18, 0, 9, 198, 18, 0, last];
        let mut frame = [&ethernet[..], &ip, &[0xc3, 0x50], &port.to_be_bytes()].concat();
        frame.resize(64, 0);
        frame
    }

    /// A segment that finds no socket shows that it was about to be redirected.
    #[test]
    fn a_plain_claim_needs_no_other_entry() {
        if let Err(error) = af_xdp::features::can_open_sockets() {
            return eprintln!("skipped: {error}");
        }
        let (mut program, mut steering) = Steering::load(1).expect("the kernel takes the program");
        let mut redirected = |steering: &Steering, last: u8, port: u16| {
            let before = steering.counters().unwrap().no_socket;
            program.test_run(&segment(last, port)).unwrap();
            steering.counters().unwrap().no_socket > before
        };
        let claim = |last: u8, ports: [u16; 6]| PlainClaim {
            ip: [198, 18, 0, last],
            ports: ports.map(u16::to_be),
        };
        steering.plain_claims.set(claim(1, [80, 0, 0, 0, 0, 443])).unwrap();
        for (last, port, is_claimed) in
            [(1, 80, true), (1, 443, true), (1, 81, false), (1, 0, false), (2, 80, false)]
        {
            assert_eq!(redirected(&steering, last, port), is_claimed, "{last} {port}");
        }
        steering.plain_claims.set(claim(2, [81, 0, 0, 0, 0, 0])).unwrap();
        assert!(redirected(&steering, 2, 81) && !redirected(&steering, 1, 80));
        steering.plain_claims.set(PlainClaim::default()).unwrap();
        assert!(!redirected(&steering, 2, 81));
    }

    #[test]
    fn every_counter_of_the_header_has_a_name() {
        let header = include_str!("../../bpf/layout.h");
        let counters = header.lines().filter(|line| line.trim().starts_with("COUNTER_")).count();
        assert_eq!(counters, SteerCounters::METRICS.len());
    }
}

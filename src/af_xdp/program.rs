//! The steering program bpf/steer.bpf.c: loaded, attached, told the sockets and the claims.
//!
//! It is attached through a bpf_link, so it is gone when this value is, or the process, however it ends.

use super::Error;
use super::claims::{AddressKey, Claim, ClaimTable, ClaimValue};
use aya::maps::{HashMap, Map, MapData, PerCpuArray, XskMap};
use aya::programs::links::FdLink;
use aya::programs::{TestRun, TestRunOptions, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};
use std::error::Error as StdError;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/bpf/steer.bpf.o"));

/// The names of `enum counter` in bpf/layout.h, in its order.
const COUNTER_NAMES: [&str; 5] = [
    "steer_no_socket",
    "steer_fragments_dropped",
    "steer_truncated",
    "steer_too_many_extensions",
    "steer_martians_dropped",
];

/// How the program handles frames: `XDP_PASS` and its kin in `<linux/bpf.h>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The frame is dropped.
    Drop,
    /// The kernel's stack gets the frame.
    Pass,
    /// A socket gets the frame.
    Redirect,
    /// None of these: the program never says so.
    Other(u32),
}

/// The loaded program with its maps.
pub struct Steering {
    program: Ebpf,
    /// The program's identifier in the kernel.
    id: u32,
    link: Option<FdLink>,
    /// Whether the link is to the driver.
    native: bool,
    table: ClaimTable,
    claims: HashMap<MapData, AddressKey, ClaimValue>,
    sockets: XskMap<MapData>,
    counters: PerCpuArray<MapData, u64>,
}

/// Turns what the loader said, with all of its causes, into an error of the step.
fn failed<E: StdError + 'static>(step: &'static str) -> impl Fn(E) -> Error {
    move |error| {
        let mut reason = error.to_string();
        let mut cause: Option<&(dyn StdError + 'static)> = Some(&error);
        let mut remedy = "";
        while let Some(error) = cause {
            let text = error.to_string();
            if !reason.contains(&text) {
                reason = format!("{reason}: {text}");
            }
            if let Some(code) = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
                remedy = remedy_for(code);
            }
            cause = error.source();
        }
        if let Some((brief, log)) = reason.split_once(". Verifier output:") {
            tracing::debug!(step, "the verifier says: {log}");
            reason = brief.to_owned();
        }
        Error::Program { step, reason: reason + remedy }
    }
}

/// What removes another program: `ip link` removes one that was attached without a link, and does
/// nothing to a bpf_link.
const REMOVE_OTHER: &str = "; another XDP program is attached to the interface: stop the process that holds it. \
     `bpftool net` shows the program, `bpftool link` its link: `bpftool link detach id N` detaches that; if there is none, \
     `ip link set dev IF xdp off` removes the program";

fn remedy_for(code: i32) -> &'static str {
    match code {
        libc::EPERM => "; it needs CAP_BPF and CAP_NET_ADMIN: run as root or grant them",
        // The verifier's word for what only the trusted may do, such as to move along a packet by a length read there.
        libc::EACCES => "; it needs CAP_PERFMON: run as root or grant it",
        // EEXIST is the answer where that program runs in another mode.
        libc::EBUSY | libc::EEXIST => REMOVE_OTHER,
        libc::EOPNOTSUPP => "; the driver cannot run XDP programs",
        _ => "",
    }
}

impl Steering {
    /// Loads the program and makes its maps, with room for the sockets of `queues` receive queues. Nothing is claimed
    /// and nothing attached yet.
    pub fn load(queues: u32) -> Result<Steering, Error> {
        let mut program = EbpfLoader::new()
            .btf(None)
            .map_max_entries("sockets", queues)
            .load(OBJECT)
            .map_err(failed("its object and maps"))?;
        xdp(&mut program)?.load().map_err(failed("loading"))?;
        let id = xdp(&mut program)?.info().map_err(failed("its identifier"))?.id();
        let mut map = |name: &'static str| -> Result<Map, Error> {
            let missing = || Error::Program { step: "its maps", reason: format!("{name} is not in the object") };
            program.take_map(name).ok_or_else(missing)
        };
        Ok(Steering {
            claims: HashMap::try_from(map("claims")?).map_err(failed("the map of claims"))?,
            sockets: XskMap::try_from(map("sockets")?).map_err(failed("the map of sockets"))?,
            counters: PerCpuArray::try_from(map("counters")?).map_err(failed("the map of counters"))?,
            table: ClaimTable::default(),
            link: None,
            native: false,
            id,
            program,
        })
    }

    /// Attaches the program to the interface, in the driver (`native`) or in front of the kernel's stack, unless it is
    /// there already. It stays on one interface.
    pub(crate) fn attach(&mut self, ifindex: u32, native: bool) -> Result<(), Error> {
        if self.link.is_some() && self.native == native {
            return Ok(());
        }
        self.link = None;
        self.native = native;
        let mode = if native { XdpMode::Driver } else { XdpMode::Skb };
        let program = xdp(&mut self.program)?;
        let id = program.attach_to_if_index(ifindex, mode).map_err(failed("attaching"))?;
        let link = program.take_link(id).map_err(failed("attaching"))?;
        // Kernels before 5.9 have no link for XDP, and what is attached without one outlives a killed process.
        let link = FdLink::try_from(link).map_err(failed("attaching by a bpf_link, Linux 5.9 or later"))?;
        self.link = Some(link);
        Ok(())
    }

    /// Attaches the program again after somebody else has detached it: the link is there still, and
    /// leads nowhere.
    pub(crate) fn attach_again(&mut self, ifindex: u32) -> Result<(), Error> {
        self.link = None;
        self.attach(ifindex, self.native)
    }

    /// The program's identifier in the kernel.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// Has claimed frames of a receive queue go to `socket`, until the socket is closed.
    pub fn set_socket(&mut self, queue: u32, socket: impl AsFd) -> Result<(), Error> {
        self.sockets.set(queue, socket.as_fd().as_raw_fd(), 0).map_err(failed("the map of sockets"))
    }

    /// Claims traffic from now on.
    pub fn add_claim(&mut self, claim: Claim) -> Result<(), Error> {
        let (key, value) = self.table.add(claim)?;
        self.claims.insert(key, value, 0).map_err(failed("adding a claim"))
    }

    /// Leaves traffic to the kernel again.
    pub fn remove_claim(&mut self, claim: Claim) -> Result<(), Error> {
        match self.table.remove(claim) {
            (key, Some(value)) => self.claims.insert(key, value, 0).map_err(failed("removing a claim")),
            (key, None) => remove_key(&mut self.claims, key),
        }
    }

    /// Leaves everything to the kernel again.
    pub fn remove_all_claims(&mut self) -> Result<(), Error> {
        self.table.clear().try_for_each(|key| remove_key(&mut self.claims, key))
    }

    /// The program's counters, each the sum over all processors.
    pub fn counters(&self) -> Result<[(&'static str, u64); COUNTER_NAMES.len()], Error> {
        let mut counters = COUNTER_NAMES.map(|name| (name, 0));
        for (index, (_, value)) in (0..).zip(&mut counters) {
            let per_cpu = self.counters.get(&index, 0).map_err(failed("reading counters"))?;
            *value = per_cpu.iter().sum();
        }
        Ok(counters)
    }

    /// Runs the program over `frame` without sending it anywhere (BPF_PROG_TEST_RUN), as if it came in on queue 0.
    pub fn verdict(&mut self, frame: &[u8]) -> Result<Verdict, Error> {
        let options = TestRunOptions { data_in: Some(frame), ..TestRunOptions::new() };
        let result = xdp(&mut self.program)?.test_run(options).map_err(failed("a test run"))?;
        Ok(match result.return_value {
            1 => Verdict::Drop,
            2 => Verdict::Pass,
            4 => Verdict::Redirect,
            other => Verdict::Other(other),
        })
    }
}

impl std::fmt::Debug for Steering {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Steering").field("attached", &self.link.is_some()).field("claims", &self.table).finish()
    }
}

fn xdp(program: &mut Ebpf) -> Result<&mut Xdp, Error> {
    let steer = program.program_mut("steer");
    let missing = || Error::Program { step: "its object", reason: "it has no program \"steer\"".into() };
    steer.ok_or_else(missing)?.try_into().map_err(failed("its object"))
}

/// Removes an entry that may already be missing.
fn remove_key(claims: &mut HashMap<MapData, AddressKey, ClaimValue>, key: AddressKey) -> Result<(), Error> {
    use aya::maps::MapError;
    match claims.remove(&key) {
        Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        Err(error) => Err(failed("removing a claim")(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_of_the_header_has_a_name() {
        let header = include_str!("../../bpf/layout.h");
        let counters = header.lines().filter(|line| line.trim().starts_with("COUNTER_")).count();
        assert_eq!(counters, COUNTER_NAMES.len());
    }

    #[test]
    fn an_error_tells_its_causes_once_and_what_to_do() {
        let denied = io::Error::from_raw_os_error(libc::EPERM);
        let Error::Program { step, reason } = failed("loading")(denied) else { panic!("another error") };
        assert_eq!(step, "loading");
        assert_eq!(reason.matches("not permitted").count(), 1, "{reason}");
        assert!(reason.contains("CAP_BPF"), "{reason}");
    }

    #[test]
    fn another_program_is_named_as_the_obstacle_in_either_mode() {
        for code in [libc::EBUSY, libc::EEXIST] {
            let Error::Program { reason, .. } = failed("attaching")(io::Error::from_raw_os_error(code)) else {
                panic!("another error")
            };
            assert!(reason.contains("bpftool link detach id N") && reason.contains("xdp off"), "{reason}");
        }
    }

    #[test]
    fn the_verifiers_log_is_no_part_of_an_error() {
        let refused = io::Error::other("it returned 13. Verifier output: 0: R1=ctx() R10=fp0\n1: (bf) r7 = r1");
        let Error::Program { reason, .. } = failed("loading")(refused) else { panic!("another error") };
        assert_eq!(reason, "it returned 13");
    }
}

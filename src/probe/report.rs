//! The facts as text, one line each, with the remedies for what is missing.

use super::facts::{
    Ability, Capability, Facts, Link, Listens, Machine, Probed, Trust, XdpFeatures,
};
use crate::config::{Transport, XdpMode};
use crate::limits::Bytes;
use std::fmt::{self, Display, Formatter};

/// The kernel version from which BPF maps are charged to the memory cgroup and not to
/// RLIMIT_MEMLOCK.
const MAPS_ARE_NOT_LOCKED: (u32, u32) = (5, 11);

impl Display for Facts {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.machine)?;
        for probed in &self.interfaces {
            write!(f, "\n{probed}")?;
        }
        Ok(())
    }
}

/// One line: a padded name and a value.
fn line(f: &mut Formatter<'_>, name: &str, value: impl Display) -> fmt::Result {
    writeln!(f, "{name:<18}  {value}")
}

impl Display for Machine {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        line(f, "kernel", &self.kernel)?;
        line(f, "cores", list(&self.cores))?;
        line(f, "AF_XDP sockets", &self.xdp_sockets)?;
        line(f, "BPF programs", &self.bpf_programs)?;
        line(f, "TX metadata", &self.tx_metadata)?;
        line(f, "io_uring", &self.io_uring)?;
        let names = |held| -> Vec<&str> {
            self.capabilities.iter().filter(|one| one.held == held).map(|one| one.name).collect()
        };
        line(f, "capabilities held", list(&names(true)))?;
        line(f, "missing", list(&names(false)))?;
        for Capability { name, needed_to, .. } in self.capabilities.iter().filter(|one| !one.held) {
            line(f, "", format_args!("{name} is needed to {needed_to}"))?;
        }
        if !names(false).is_empty() {
            line(f, "", "run as root, or give the program the capabilities to serve:")?;
            line(
                f,
                "",
                "setcap cap_net_raw,cap_net_admin,cap_bpf,cap_perfmon,cap_ipc_lock+ep FILE",
            )?;
        }
        locked_memory(f, self)
    }
}

/// The memory that may be locked. The UMEM counts against it.
fn locked_memory(f: &mut Formatter<'_>, machine: &Machine) -> fmt::Result {
    let unbounded = machine.capabilities.iter().any(|one| one.held && one.name == "CAP_IPC_LOCK");
    let Some(bytes) = machine.memlock_limit_bytes else {
        return line(f, "locked memory", "unlimited");
    };
    let limit = Bytes(bytes);
    if unbounded {
        line(f, "locked memory", "unlimited, by CAP_IPC_LOCK")?;
    } else {
        line(f, "locked memory", format_args!("at most {limit}, which the UMEM counts against"))?;
        line(f, "", "raise it: ulimit -l, or LimitMEMLOCK= in the service's unit")?;
    }
    if machine.kernel_version().is_some_and(|version| version < MAPS_ARE_NOT_LOCKED) {
        line(
            f,
            "",
            format_args!(
                "on this kernel BPF maps count against the limit of {limit}, whatever the capabilities"
            ),
        )?;
    }
    Ok(())
}

impl Display for Ability {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Ability::Yes => f.write_str("yes"),
            Ability::No { reason } => write!(f, "no: {reason}"),
        }
    }
}

impl Display for Probed {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Probed { link, choice, listens } = self;
        writeln!(f, "{}: {}", link.name, state(link))?;
        line(f, "  driver", link.driver.as_deref().unwrap_or("unknown"))?;
        line(
            f,
            "  queues",
            format_args!("{} receive, {} transmit", link.rx_queues, link.tx_queues),
        )?;
        match link.xdp {
            Some(xdp) => {
                zero_copy(f, xdp, link)?;
                features(f, xdp)?;
            }
            None => {
                line(
                    f,
                    "  XDP",
                    "this kernel does not report the XDP features of the driver (it does from 6.3)",
                )?;
            }
        }
        let how = match (choice.transport, choice.mode) {
            (Transport::IoUring, _) => "kernel sockets over io_uring".to_owned(),
            (Transport::Epoll, _) => "kernel sockets over epoll".to_owned(),
            (_, XdpMode::Auto) => "AF_XDP".to_owned(),
            (_, mode) => format!("AF_XDP, {}", mode.name()),
        };
        line(f, "  serve would use", format_args!("{how}: {}", choice.reason))?;
        if choice.transport == Transport::Xdp {
            line(f, "  checksum offload", &choice.checksum_offload)?;
        }
        match listens {
            Ok(listens) => listening(f, listens),
            Err(reason) => line(f, "  listening on", format_args!("nothing: {reason}")),
        }
    }
}

/// Where `serve` would listen: through the queues, and through the kernel.
fn listening(f: &mut Formatter<'_>, listens: &[Listens]) -> fmt::Result {
    for (name, is_claimed) in [("  claiming", true), ("  listening on", false)] {
        let places = listens.iter().filter(|place| place.claimed == is_claimed);
        let places: Vec<String> =
            places.map(|place| format!("{} {}", place.service, place.address)).collect();
        if !places.is_empty() {
            line(f, name, list(&places))?;
        }
    }
    Ok(())
}

/// The state of an interface: `up, MTU 1500, 192.0.2.1`.
fn state(link: &Link) -> String {
    let state = match (link.up, link.carrier) {
        (false, _) => "down",
        (true, false) => "up, no carrier",
        (true, true) => "up",
    };
    format!("{state}, MTU {}, {}", link.mtu_bytes, list(&link.addresses))
}

fn zero_copy(f: &mut Formatter<'_>, xdp: XdpFeatures, link: &Link) -> fmt::Result {
    line(f, "  native XDP", yes(xdp.native))?;
    if let (true, Some(obstacle)) = (xdp.zero_copy, &link.zero_copy_obstacle) {
        return line(f, "  zero-copy", format_args!("no: {obstacle}"));
    }
    let zero_copy = yes(xdp.zero_copy);
    match &link.zero_copy_trust {
        Trust::Good { note } => {
            line(f, "  zero-copy", format_args!("{zero_copy}; known good with this driver: {note}"))
        }
        Trust::Bad { note } => line(
            f,
            "  zero-copy",
            format_args!("{zero_copy}; known to be faulty with this driver: {note}"),
        ),
        Trust::Unknown if xdp.zero_copy => line(
            f,
            "  zero-copy",
            format_args!("{zero_copy}; nothing is known of it with this driver"),
        ),
        Trust::Unknown => line(f, "  zero-copy", zero_copy),
    }
}

fn features(f: &mut Formatter<'_>, xdp: XdpFeatures) -> fmt::Result {
    let multi_buffer = match (xdp.multi_buffer, xdp.zero_copy_multi_buffer) {
        (true, true) => "yes",
        (true, false) if xdp.zero_copy => "yes, but not with zero-copy",
        (true, false) => "yes",
        (false, true) => "with zero-copy only",
        (false, false) => "no",
    };
    line(f, "  multi-buffer", multi_buffer)?;
    line(f, "  TX checksum", yes(xdp.tx_checksum))
}

fn yes(is: bool) -> &'static str {
    if is { "yes" } else { "no" }
}

fn list<T: Display>(items: &[T]) -> String {
    if items.is_empty() {
        return "none".to_owned();
    }
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;

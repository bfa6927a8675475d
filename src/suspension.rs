//! Lets epoll_wait(2) suspend the interrupts of a NAPI instance, that of a NIC's receive queue
//! (kernel documentation, networking/napi, "IRQ suspension").
//!
//! In: the number of an instance. Out: its settings changed, until the last [`Suspension`] of it is
//! dropped. The settings are the host's: this module keeps them for all workers of the process. The
//! kernel uses them only for an epoll instance with preferred busy polling. A killed process leaves
//! them; the next one with the same instance removes them at its end.

use af_xdp::napi::{self, Napi};
use rustix::net::netdevice::index_to_name;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::{fmt, fs, io};

/// Interrupts stay masked for one interval more than this without a packet, after epoll_wait(2) has
/// found none. With many, an idle queue would be polled for each packet that comes alone.
const DEFER_HARD_IRQS: u32 = 1;
/// Interval of the kernel's polls, and longest delay of a packet by them.
const GRO_FLUSH_TIMEOUT_NS: u64 = 50_000;
/// Time for the events of one epoll_wait(2), up to 256. If a worker takes longer, or stands still,
/// the kernel polls.
const IRQ_SUSPEND_TIMEOUT_NS: u64 = 5_000_000;

/// The instances with changed settings.
static CHANGED: Mutex<BTreeMap<u32, Changed>> = Mutex::new(BTreeMap::new());

struct Changed {
    before: Napi,
    holders: usize,
}

/// Holds the settings of a NAPI instance.
#[derive(Debug)]
pub(crate) struct Suspension {
    id: u32,
}

/// Why interrupts cannot be suspended. The text says what to do.
#[derive(Debug)]
pub(crate) enum Obstacle {
    /// The kernel reports no settings of the instance.
    Kernel,
    /// The instance has gone, or cannot be asked about.
    Instance(io::Error),
    /// The settings cannot be changed.
    Change(io::Error),
    /// The settings have other values than those that were set.
    Ineffective(Napi),
}

impl Suspension {
    /// Changes the settings of this instance.
    pub(crate) fn of(id: u32) -> Result<Suspension, Obstacle> {
        let mut all = changed();
        if let Some(known) = all.get_mut(&id) {
            known.holders += 1;
            return Ok(Suspension { id });
        }
        let instance = napi::get(id).map_err(Obstacle::Instance)?;
        let found = instance.settings.ok_or(Obstacle::Kernel)?;
        napi::set(&suspending(id)).map_err(Obstacle::Change)?;
        let interface = name_of(instance.ifindex).unwrap_or_default();
        let before = before(found, of_interface(&interface, instance.ifindex));
        all.insert(id, Changed { before, holders: 1 });
        drop(all);
        let suspension = Suspension { id };
        let set = napi::get(id).map_err(Obstacle::Instance)?.settings.unwrap_or(found);
        if set != suspending(id) {
            return Err(Obstacle::Ineffective(set));
        }
        let (irq, found_ns) = (instance.irq, found.irq_suspend_timeout);
        tracing::info!(
            interface,
            napi = id,
            irq,
            found_ns,
            irq_suspend_timeout_ns = IRQ_SUSPEND_TIMEOUT_NS,
            "interrupts are suspended while a worker polls"
        );
        Ok(suspension)
    }

    /// The number of the instance.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// Whether the driver still has the instance: it makes new ones when queues change.
    pub(crate) fn is_there(&self) -> bool {
        napi::get(self.id).is_ok()
    }
}

impl Drop for Suspension {
    fn drop(&mut self) {
        let mut all = changed();
        let Some(known) = all.get_mut(&self.id) else { return };
        known.holders -= 1;
        if known.holders > 0 {
            return;
        }
        let Some(Changed { before, .. }) = all.remove(&self.id) else { return };
        // The driver may have removed the instance.
        if let Err(error) = napi::set(&before) {
            tracing::debug!(%error, napi = self.id, "cannot restore the settings");
        }
    }
}

fn changed() -> MutexGuard<'static, BTreeMap<u32, Changed>> {
    CHANGED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The settings with which epoll_wait(2) suspends the interrupts of an instance.
fn suspending(id: u32) -> Napi {
    Napi {
        id,
        defer_hard_irqs: DEFER_HARD_IRQS,
        gro_flush_timeout: GRO_FLUSH_TIMEOUT_NS,
        irq_suspend_timeout: IRQ_SUSPEND_TIMEOUT_NS,
    }
}

/// The settings to restore: those found, or, if a killed process has left its own, those of the
/// interface, which every instance begins with.
fn before(found: Napi, of_interface: (u32, u64)) -> Napi {
    if found != suspending(found.id) {
        return found;
    }
    let (defer_hard_irqs, gro_flush_timeout) = of_interface;
    Napi { id: found.id, defer_hard_irqs, gro_flush_timeout, irq_suspend_timeout: 0 }
}

fn name_of(ifindex: u32) -> io::Result<String> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    Ok(index_to_name(socket, ifindex)?)
}

/// `napi_defer_hard_irqs` and `gro_flush_timeout` of the whole interface. Zeros, the kernel's
/// defaults, if /sys shows another network namespace.
fn of_interface(interface: &str, ifindex: u32) -> (u32, u64) {
    let folder = Path::new("/sys/class/net").join(interface);
    let number = |name| {
        fs::read_to_string(folder.join(name)).ok().and_then(|text| text.trim().parse::<u64>().ok())
    };
    if number("ifindex") != Some(u64::from(ifindex)) {
        return (0, 0);
    }
    let value = |name| number(name).unwrap_or_default();
    (value("napi_defer_hard_irqs") as u32, value("gro_flush_timeout"))
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Obstacle::Kernel => {
                f.write_str("the kernel has no irq-suspend-timeout: use Linux 6.13 or later")
            }
            Obstacle::Instance(error) => {
                write!(f, "asking for the settings of the NAPI instance: {error}")
            }
            Obstacle::Change(error) if error.raw_os_error() == Some(libc::EPERM) => {
                f.write_str("setting irq-suspend-timeout needs CAP_NET_ADMIN: grant it")
            }
            Obstacle::Change(error) => write!(f, "setting irq-suspend-timeout: {error}"),
            Obstacle::Ineffective(set) => write!(
                f,
                "irq-suspend-timeout {IRQ_SUSPEND_TIMEOUT_NS} was set, and the kernel reports {}: \
                 update the kernel",
                set.irq_suspend_timeout
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_left_by_a_killed_process_become_those_of_the_interface() {
        let own = Napi { defer_hard_irqs: 3, ..suspending(8193) };
        let none = Napi { irq_suspend_timeout: 0, ..suspending(8193) };
        let expected = Napi {
            id: 8193,
            defer_hard_irqs: 2,
            gro_flush_timeout: 30_000,
            irq_suspend_timeout: 0,
        };
        for (found, restored) in [(own, own), (none, none), (suspending(8193), expected)] {
            assert_eq!(before(found, (2, 30_000)), restored);
        }
    }

    #[test]
    fn an_obstacle_names_its_remedy() {
        let error = io::Error::from_raw_os_error;
        for (obstacle, remedy) in [
            (Obstacle::Kernel, "Linux 6.13"),
            (Obstacle::Change(error(libc::EPERM)), "grant it"),
            (Obstacle::Change(error(libc::EINVAL)), "Invalid argument"),
            (Obstacle::Instance(error(libc::ENOENT)), "No such file"),
            (Obstacle::Ineffective(suspending(1)), "reports 5000000"),
        ] {
            assert!(obstacle.to_string().contains(remedy), "{obstacle}");
        }
    }

    #[test]
    fn an_instance_that_is_not_there_is_not_held() {
        assert!(matches!(Suspension::of(1), Err(Obstacle::Instance(_))));
        assert!(!changed().contains_key(&1));
    }

    #[test]
    fn an_interface_of_another_namespace_has_the_defaults() {
        assert_eq!(of_interface("lo", 0), (0, 0));
    }
}

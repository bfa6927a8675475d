//! The facts that `simoom probe` finds, as plain values: for the choice of a transport, for the
//! report, and as JSON.

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use std::net::{IpAddr, SocketAddr};

/// All facts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// The machine.
    pub machine: Machine,
    /// Its network interfaces, with the choice of `serve` for each.
    pub interfaces: Vec<Probed>,
}

/// An interface, with the choice of `serve --interface` for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Probed {
    /// Facts about the interface.
    #[serde(flatten)]
    pub link: Link,
    /// The choice of `serve`.
    pub choice: super::Choice,
    /// Where `serve --interface` would listen without further flags, or why nowhere.
    #[serde(serialize_with = "places")]
    pub listens: Result<Vec<Listens>, String>,
}

/// The list alone; empty if `serve` would listen nowhere.
fn places<S: Serializer>(
    listens: &Result<Vec<Listens>, String>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    listens.as_deref().unwrap_or_default().serialize(serializer)
}

/// A service at an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listens {
    /// The service: "HTTP".
    pub service: &'static str,
    /// The address.
    pub address: SocketAddr,
    /// Whether it is claimed from the queues of the interface. Otherwise a kernel socket listens.
    pub claimed: bool,
}

/// Facts about the kernel, and what it allows this process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// Release of the kernel: `6.1.0-28-amd64`.
    pub kernel: String,
    /// Cores that this process may use.
    pub cores: Vec<usize>,
    /// The capabilities that Simoom uses.
    pub capabilities: Vec<Capability>,
    /// Bytes of memory that this process may lock; `None` if unlimited.
    pub memlock_limit_bytes: Option<u64>,
    /// Whether AF_XDP sockets can be opened.
    pub xdp_sockets: Ability,
    /// Whether the steering program can be loaded.
    pub bpf_programs: Ability,
    /// Whether the kernel accepts TX metadata, which asks for a checksum.
    pub tx_metadata: Ability,
    /// Whether io_uring works.
    pub io_uring: Ability,
}

impl Machine {
    /// Major and minor version of the kernel; `None` if its release does not begin with them.
    pub fn kernel_version(&self) -> Option<(u32, u32)> {
        let mut numbers = self.kernel.split(|c: char| !c.is_ascii_digit()).map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    }
}

/// A capability that Simoom uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Capability {
    /// Its name: `CAP_NET_RAW`.
    pub name: &'static str,
    /// Whether this process has it.
    pub held: bool,
    /// What it is needed for.
    pub needed_to: &'static str,
}

/// Result of trying something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ability {
    /// It works.
    Yes,
    /// It does not work.
    No {
        /// The error of the kernel.
        reason: String,
    },
}

/// As `{"works": true}` or `{"works": false, "reason": "…"}`.
impl Serialize for Ability {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Ability", 2)?;
        object.serialize_field("works", &matches!(self, Ability::Yes))?;
        match self {
            Ability::Yes => object.skip_field("reason")?,
            Ability::No { reason } => object.serialize_field("reason", reason)?,
        }
        object.end()
    }
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// Whether it is up.
    pub up: bool,
    /// Whether it has a carrier.
    pub carrier: bool,
    /// Whether it is the loopback interface.
    pub loopback: bool,
    /// Its MTU, that is, the largest IP packet.
    pub mtu_bytes: u32,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Name of its driver, if it has one.
    pub driver: Option<String>,
    /// Receive queues in use. Each needs a socket.
    pub rx_queues: u32,
    /// Transmit queues in use.
    pub tx_queues: u32,
    /// XDP features of its driver; `None` if this kernel does not report them.
    pub xdp: Option<XdpFeatures>,
    /// What is known of zero-copy with this driver on this kernel.
    pub zero_copy_trust: Trust,
    /// Why this device cannot have zero-copy although its driver has, if so.
    pub zero_copy_obstacle: Option<String>,
}

/// XDP features that a driver reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct XdpFeatures {
    /// XDP in the driver.
    pub native: bool,
    /// Zero-copy: the NIC writes to user memory.
    pub zero_copy: bool,
    /// Packets of several buffers, in copy mode.
    pub multi_buffer: bool,
    /// Packets of several buffers, in zero-copy mode.
    pub zero_copy_multi_buffer: bool,
    /// Checksums computed by the NIC on transmission.
    pub tx_checksum: bool,
}

/// What is known of zero-copy with a driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "verdict")]
pub enum Trust {
    /// It is used and works.
    Good {
        /// Since which version, or where it was seen.
        note: String,
    },
    /// It is known to fail.
    Bad {
        /// How it fails.
        note: String,
    },
    /// Nothing is known.
    Unknown,
}

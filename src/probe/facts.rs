//! What `simoom probe` finds out, as plain values: for the choice of a transport, for the report,
//! and as JSON.

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use std::net::{IpAddr, SocketAddr};

/// Everything about this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// The machine as a whole.
    pub machine: Machine,
    /// Its network interfaces, each with what `serve` would choose on it.
    pub interfaces: Vec<Probed>,
}

/// An interface, and what `serve --interface` would choose there by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Probed {
    /// What the interface is like.
    #[serde(flatten)]
    pub link: Link,
    /// What `serve` would choose.
    pub choice: super::Choice,
    /// Where `serve --interface` would be reached without further flags, or why nowhere.
    #[serde(serialize_with = "places")]
    pub listens: Result<Vec<Listens>, String>,
}

/// The list alone: empty where nothing would be reached.
fn places<S: Serializer>(
    listens: &Result<Vec<Listens>, String>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    listens.as_deref().unwrap_or_default().serialize(serializer)
}

/// A service at an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listens {
    /// "HTTP".
    pub service: &'static str,
    /// Where.
    pub address: SocketAddr,
    /// Whether it is claimed from the interface's queues; else a kernel socket listens there.
    pub claimed: bool,
}

/// What the kernel is and lets this process do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// The kernel's release, `6.1.0-28-amd64`.
    pub kernel: String,
    /// The cores that this process may use.
    pub cores: Vec<usize>,
    /// The capabilities that matter to Simoom.
    pub capabilities: Vec<Capability>,
    /// Bytes of memory that this process may lock; `None`: as many as it likes.
    pub memlock_limit_bytes: Option<u64>,
    /// Whether AF_XDP sockets can be opened.
    pub xdp_sockets: Ability,
    /// Whether the steering program can be loaded.
    pub bpf_programs: Ability,
    /// Whether kernel sockets can be served over io_uring.
    pub io_uring: Ability,
}

impl Machine {
    /// The kernel's major and minor version; `None` if its release does not begin with them.
    pub fn kernel_version(&self) -> Option<(u32, u32)> {
        let mut numbers = self.kernel.split(|c: char| !c.is_ascii_digit()).map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    }
}

/// A capability that Simoom needs for something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Capability {
    /// `CAP_NET_RAW`.
    pub name: &'static str,
    /// Whether this process has it.
    pub held: bool,
    /// What needs it.
    pub needed_to: &'static str,
}

/// Whether something that was tried works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ability {
    /// It does.
    Yes,
    /// It does not.
    No {
        /// What the kernel said.
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
    /// Whether it was brought up.
    pub up: bool,
    /// Whether it has a carrier.
    pub carrier: bool,
    /// Whether it is the loopback interface.
    pub loopback: bool,
    /// The largest IP packet it takes.
    pub mtu_bytes: u32,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its driver's name, where it has one.
    pub driver: Option<String>,
    /// Receive queues in use: each needs a socket.
    pub rx_queues: u32,
    /// Transmit queues in use.
    pub tx_queues: u32,
    /// What its driver offers to XDP; `None`: this kernel does not tell.
    pub xdp: Option<XdpFeatures>,
    /// What is known of zero-copy with this driver on this kernel.
    pub zero_copy_trust: Trust,
}

/// What a driver says that it offers to XDP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct XdpFeatures {
    /// XDP in the driver.
    pub native: bool,
    /// The NIC writes into user memory.
    pub zero_copy: bool,
    /// Packets of several buffers, in copy mode.
    pub multi_buffer: bool,
    /// The same in zero-copy mode.
    pub zero_copy_multi_buffer: bool,
    /// The NIC computes checksums of what is sent.
    pub tx_checksum: bool,
}

/// What is known of zero-copy with a driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "verdict")]
pub enum Trust {
    /// It is used and works.
    Good {
        /// Since when, or where seen.
        note: String,
    },
    /// It is known to fail.
    Bad {
        /// How.
        note: String,
    },
    /// Nothing is known.
    Unknown,
}

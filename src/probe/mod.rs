//! `simoom probe`: what this machine and its network interfaces support, and what `serve` would
//! choose.
//!
//! [`facts()`] gathers the facts, [`choose`] is a pure function of them, and both are printed as
//! text or JSON. Everything that the probe tries is undone at once.

mod ask;
mod choice;
pub mod facts;
mod machine;
mod report;

pub use choice::{Choice, choose};

use crate::config::Transport;
#[cfg(feature = "cli")]
use crate::config::{Serve, ServeOptions};
use crate::error::{Error, Result};
use crate::netns::{self, Interface};
use crate::print::print_text;
use crate::setup::endpoints::ResolvedEndpoints;
use crate::setup::host::Host;
use facts::{Facts, Listens, Probed};

/// Prints the facts of `interface`, or of all interfaces, as text or as JSON.
pub fn run(interface: Option<&str>, json: bool) -> Result<()> {
    let facts = facts(interface)?;
    let text = if json {
        serde_json::to_string_pretty(&facts)
            .map_err(|error| Error::because("writing JSON", error))?
            + "\n"
    } else {
        facts.to_string()
    };
    print_text(&text)
}

/// Gathers the facts of `interface`, or of all, in the calling thread's network namespace.
pub fn facts(interface: Option<&str>) -> Result<Facts> {
    let interfaces = match interface {
        Some(name) => {
            vec![
                netns::interface(name)
                    .map_err(|error| Error::about_named(&error, error.to_string()))?,
            ]
        }
        None => netns::interfaces(),
    };
    let machine = ask::machine()?;
    // A release that does not begin with a version is newer than all known ones.
    let kernel = machine.kernel_version().unwrap_or((u32::MAX, 0));
    let all = netns::interfaces();
    let probed = |interface: Interface| {
        let host = Host::of(interface.clone(), &all);
        let link = ask::link(interface, kernel);
        let choice = choose(&machine, &link);
        let listens =
            listens(&host, choice.transport, &machine.cores).map_err(|error| error.to_string());
        Probed { choice, listens, link }
    };
    Ok(Facts { interfaces: interfaces.into_iter().map(probed).collect(), machine })
}

/// Where `serve --interface` would listen over this transport without further flags.
#[cfg(feature = "cli")]
fn listens(host: &Host, transport: Transport, cores: &[usize]) -> Result<Vec<Listens>> {
    let interface = Some(host.interface().name.clone());
    let config = Serve::resolve(ServeOptions { interface, ..ServeOptions::default() }, cores)?;
    let resolved = ResolvedEndpoints::of(&config.setup(), Some(host))?;
    let claimed = resolved.claimed.iter().filter(|_| transport == Transport::Xdp);
    let claimed = claimed.map(|socket| Listens {
        service: socket.service.name,
        address: socket.at,
        claimed: true,
    });
    let kernels = resolved.listening.iter();
    let kernels = kernels.map(|socket| Listens {
        service: socket.service.name,
        address: socket.at,
        claimed: false,
    });
    Ok(claimed.chain(kernels).collect())
}

/// Without the program there is no `serve`.
#[cfg(not(feature = "cli"))]
fn listens(_: &Host, _: Transport, _: &[usize]) -> Result<Vec<Listens>> {
    Ok(Vec::new())
}

//! What goes together: a whole [`Serve`] in, the flag that does not fit out.

use super::{Ecn, InterfaceChange, Memcached, Serve, Transport, XdpMode};
use crate::app::Service;
use crate::error::{Error, Result};
use clap::ValueEnum;
use std::net::{IpAddr, SocketAddr};

impl Serve {
    /// A service's share of the connections is one of a service that is served, and not more than
    /// all.
    pub(super) fn check_shares(&self) -> Result<()> {
        let given = [
            (Service::Http, self.http_connections),
            (Service::Memcached, self.memcached_connections),
        ];
        for (service, limit) in given {
            let Some(limit) = limit else { continue };
            let flag = service.connections_flag();
            if !self.services().any(|(served, _)| served == service) {
                let (name, ask) = (service.name(), service.flag());
                return Err(Error::usage(format!(
                    "{flag} {limit}: {name} is not served; give {ask} PORT"
                )));
            }
            if limit > self.connections {
                return Err(Error::usage(format!(
                    "{flag} {limit}: at most {}, as many as --connections",
                    self.connections
                )));
            }
        }
        Ok(())
    }

    /// What only AF_XDP can do is not asked of kernel sockets.
    pub(super) fn check_transport(&self) -> Result<()> {
        let (without, remedy) = match (&self.interface, self.transport) {
            (None, _) => ("without --interface", "name the network interface"),
            (Some(_), Transport::Epoll) => ("with --transport epoll", "leave one of the two out"),
            (Some(_), Transport::IoUring) => {
                ("with --transport io-uring", "leave one of the two out")
            }
            (Some(_), _) => return Ok(()),
        };
        let refuse =
            |flag: &str| Err(Error::usage(format!("{flag}: cannot be used {without}; {remedy}")));
        if self.transport == Transport::Xdp {
            return refuse("--transport xdp");
        }
        if self.xdp_mode != XdpMode::Auto {
            let mode = self
                .xdp_mode
                .to_possible_value()
                .map_or_else(String::new, |mode| mode.get_name().into());
            return refuse(&format!("--xdp-mode {mode}"));
        }
        if self.ecn == Ecn::Off {
            return refuse("--ecn off");
        }
        if self.on_interface_change == InterfaceChange::End {
            return refuse("--on-interface-change end");
        }
        if self.busy_poll {
            return refuse("--busy-poll");
        }
        Ok(())
    }

    /// Ports and directories can be used as asked.
    pub(super) fn check_places(&self) -> Result<()> {
        for (service, at) in self.services() {
            let (flag, name) = (service.flag(), service.name());
            if at.port == 0 && self.interface.is_some() {
                return Err(Error::usage(format!(
                    "{flag} 0: with --interface, a port from 1 to 65535"
                )));
            }
            // Without an address it is at several, loopback among them.
            let overlap = |admin: &SocketAddr| {
                let is_same = |address: IpAddr| address == admin.ip() || address.is_unspecified();
                admin.ip().is_unspecified() || at.address.is_none_or(is_same)
            };
            let clashes =
                |admin: &SocketAddr| overlap(admin) && admin.port() == at.port && at.port != 0;
            if let Some(admin) = self.admin.filter(clashes) {
                return Err(Error::usage(format!(
                    "--admin {admin}: {name} is served on port {} already; choose another port",
                    admin.port()
                )));
            }
        }
        // Whose a connection is, is told by its port alone.
        if let (Some(http), Some(Memcached { endpoint, .. })) = (self.http, self.memcached)
            && http.port == endpoint.port
            && http.port != 0
        {
            return Err(Error::usage(format!(
                "--memcached {endpoint}: HTTP is served on port {} already; choose another port",
                http.port
            )));
        }
        match &self.root {
            Some(root) if !root.is_dir() => {
                let what = if root.exists() { "not a directory" } else { "no such directory" };
                Err(Error::usage(format!(
                    "--root {}: {what}; name the one that holds the files",
                    root.display()
                )))
            }
            _ => Ok(()),
        }
    }
}

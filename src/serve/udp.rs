//! memcached over UDP as a part of a server: a thread of its own, through the kernel, beside either
//! transport.

use super::{Common, Running, Server};
use crate::app::Service;
use crate::app::memcached::Memcached;
use crate::control::mailbox;
use crate::error::{Error, Result};
use crate::kernel::udp::{Socket, Udp};
use crate::listening::{Listening, Via};
use crate::metrics::Sheet;
use crate::thread;

impl Server {
    /// Serves memcached over UDP if that is asked for.
    pub(super) fn start_udp(&mut self, common: &Common<'_>) -> Result<()> {
        let Some(config) = common.config.memcached else { return Ok(()) };
        let cannot = |error| Error::because("starting the worker for UDP", error);
        let mut sockets = Vec::new();
        for place in &common.places.datagrams {
            match Socket::bind(place.at, place.origin.presence()) {
                Ok(socket) => sockets.push(socket),
                Err(error) if place.origin.may_lack(error.source) => {
                    tracing::debug!(address = %place.at, "left out: {error}");
                }
                Err(error) => {
                    return Err(Error::failed(format!("--memcached-udp {}: {error}", place.at)));
                }
            }
        }
        if sockets.is_empty() {
            return Ok(());
        }
        self.udp = sockets.iter().map(Socket::address).collect();
        for address in &self.udp {
            let (service, address) = (Service::Memcached.name(), *address);
            self.listeners.add(Listening { service, protocol: "udp", address, via: Via::Kernel });
        }
        common.tell_listeners(&self.udp, true)?;
        let worker = common.made.replace(common.made.get() + 1);
        let handler = Memcached::new(common.memcached(config)?, worker, 1);
        let (orders, mailbox) = mailbox().map_err(cannot)?;
        let sheet = Sheet::new("udp");
        self.board.add(sheet.clone());
        let udp = Udp::new(sockets, handler, mailbox, sheet);
        let thread = thread::spawn("udp".into(), None, common.failures.clone(), move || udp.run());
        self.workers.push(Running { orders, thread: thread.map_err(cannot)?, drained: None });
        Ok(())
    }
}

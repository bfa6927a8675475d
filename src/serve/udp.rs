//! memcached over UDP as a part of a server: a thread of its own, through the kernel, beside either transport.

use super::{Common, Running, Server};
use crate::app::memcached::Memcached;
use crate::control::mailbox;
use crate::error::{Error, Result};
use crate::kernel::udp::{Socket, Udp};
use crate::metrics::Sheet;
use crate::thread;

impl Server {
    /// Serves memcached over UDP if that is asked for.
    pub(super) fn start_udp(&mut self, common: &Common<'_>) -> Result<()> {
        let Some(config) = common.config.memcached else { return Ok(()) };
        let Some(address) = config.udp else { return Ok(()) };
        let cannot = |error| Error::because("starting the worker for UDP", error);
        let socket =
            Socket::bind(address).map_err(|error| Error::failed(format!("--memcached-udp {address}: {error}")))?;
        self.udp = Some(socket.address());
        common.tell_listeners(&[socket.address()], true)?;
        let worker = common.made.replace(common.made.get() + 1);
        let handler = Memcached::new(common.memcached(config)?, worker, 1);
        let (orders, mailbox) = mailbox().map_err(cannot)?;
        let sheet = Sheet::new("udp");
        self.board.add(sheet.clone());
        let udp = Udp::new(socket, handler, mailbox, sheet);
        let thread = thread::spawn("udp".into(), None, common.failures.clone(), move || udp.run());
        self.workers.push(Running { orders, thread: thread.map_err(cannot)? });
        tracing::info!(address = ?self.udp, "memcached over UDP");
        Ok(())
    }
}

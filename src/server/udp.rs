//! Starts the UDP thread of a server, which uses kernel sockets beside either transport.

use super::factories::Factories;
use super::kernel::presence;
use super::{Common, Running, Server, Socket, UdpFactory};
use crate::control::command_channel;
use crate::error::{Error, Result};
use crate::listening::{Listening, Via};
use crate::metrics::Snapshot;
use crate::setup::UDP_OPTION;
use crate::thread;

impl Server {
    /// Serves memcached over UDP if configured.
    pub(super) fn start_udp<L: Factories>(
        &mut self,
        common: &Common<'_, L>,
        factory: Option<UdpFactory>,
    ) -> Result<()> {
        let (Some(datagrams), Some(factory)) = (&common.setup.datagrams, factory) else {
            return Ok(());
        };
        let cannot = |error| Error::because("starting the worker for UDP", error);
        let mut sockets = Vec::new();
        for socket in &common.endpoints.datagrams {
            match Socket::bind(socket.at, presence(socket.origin)) {
                Ok(socket) => sockets.push(socket),
                Err(error) if socket.origin.may_lack(error.source) => {
                    tracing::debug!(address = %socket.at, "left out: {error}");
                }
                Err(error) => {
                    return Err(Error::failed(format!("{UDP_OPTION} {}: {error}", socket.at)));
                }
            }
        }
        if sockets.is_empty() {
            return Ok(());
        }
        self.udp = sockets.iter().map(Socket::address).collect();
        for address in &self.udp {
            let (service, address, via) = (datagrams.service.name, *address, Via::Kernel);
            self.listens(common, Listening { service, protocol: "udp", address, via })?;
        }
        let (command_sender, commands) = command_channel().map_err(cannot)?;
        let worker = common.worker(None, 1, Via::Kernel, &command_sender);
        let snapshot = Snapshot::new("udp");
        self.registry.add(snapshot.clone());
        let work = factory(worker, sockets, commands, snapshot)?;
        let thread = thread::spawn("udp".into(), None, common.failures.clone(), work);
        self.workers.push(Running {
            command_sender,
            thread: thread.map_err(cannot)?,
            drained: None,
        });
        Ok(())
    }
}

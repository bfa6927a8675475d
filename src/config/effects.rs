//! Checks that each flag has an effect. A flag that would do nothing without another is an error
//! that names the other.
//!
//! Flags of AF_XDP are checked with the transport, for every server: see `server::check`.

use super::endpoints::Endpoints;
use super::sites::Sites;
use super::{ServeOptions, Transport};
use crate::error::{Error, Result};
use clap::ValueEnum;

/// A flag, and whether it is given.
type Given<'a> = (&'a str, bool);

impl ServeOptions {
    /// Refuses the first flag without an effect.
    pub(super) fn check_effects(&self, endpoints: &Endpoints) -> Result<()> {
        self.check_log()?;
        if endpoints.http.is_none() {
            refuse(&self.http_flags(), "HTTP is not served; give --http PORT")?;
        }
        if endpoints.memcached.is_none() {
            refuse(&self.memcached_flags(), "memcached is not served; give --memcached PORT")?;
        }
        let default_root = [
            ("--dotfiles", self.dotfiles == Some(true)),
            ("--autoindex", self.autoindex == Some(true)),
        ];
        if self.root.is_none() {
            refuse(&default_root, "no files are served; give --root DIR")?;
        }
        if self.root.is_none() && self.sites.hosts.iter().all(|host| host.root.is_none()) {
            refuse(&self.file_flags(), "no files are served; give --root DIR")?;
        }
        if self.connections_per_prefix.is_none() {
            let lengths = [
                ("--prefix-length-v4", self.prefix_length_v4.is_some()),
                ("--prefix-length-v6", self.prefix_length_v6.is_some()),
            ];
            refuse(&lengths, "networks have no limit; give --connections-per-prefix N")?;
        }
        let is_kernel = matches!(self.transport, Some(Transport::Epoll | Transport::IoUring));
        if self.interface.is_none() || is_kernel {
            let probe = [("--address-probe", self.address_probe.is_some())];
            refuse(&probe, "over AF_XDP only; give --interface IF")?;
        }
        Ok(())
    }

    fn check_log(&self) -> Result<()> {
        if self.access_log.is_some() {
            return Ok(());
        }
        let format = self.access_log_format.and_then(|format| format.to_possible_value());
        let format = format.map(|format| format!("--access-log-format {}", format.get_name()));
        let flags = [
            (format.as_deref().unwrap_or_default(), format.is_some()),
            ("--trusted-proxy", self.trusted_proxy.is_some()),
        ];
        refuse(&flags, "no access log; give --access-log FILE")
    }

    /// The flags of HTTP that do not ask for HTTP.
    fn http_flags(&self) -> [Given<'_>; 22] {
        let limits = &self.http_limits;
        [
            ("--access-log", self.access_log.is_some()),
            ("--autoindex", self.autoindex.is_some()),
            ("--body-timeout", limits.body_timeout.is_some()),
            ("--compress", self.compress.is_some()),
            ("--dotfiles", self.dotfiles.is_some()),
            ("--fallback", self.fallback.is_some()),
            ("--file-buffers", self.file_buffers.is_some()),
            ("--file-threads", self.file_threads.is_some()),
            ("--header-timeout", self.header_timeout.is_some()),
            ("--http-body-size", limits.http_body_size.is_some()),
            ("--http-congestion", self.http_congestion.is_some()),
            ("--http-head-size", limits.http_head_size.is_some()),
            ("--http-line-size", limits.http_line_size.is_some()),
            ("--http-pipeline", limits.http_pipeline.is_some()),
            ("--http-requests", limits.http_requests.is_some()),
            ("--http-send-timeout", self.http_send_timeout.is_some()),
            ("--http-tcp-keepalive", self.http_tcp_keepalive.is_some()),
            ("--idle-timeout", self.idle_timeout.is_some()),
            ("--large-file-size", self.large_file_size.is_some()),
            ("--proxy-protocol", self.proxy_protocol.is_some()),
            ("--watch", self.watch.is_some()),
            ("the tables of the file, such as host", self.sites != Sites::default()),
        ]
    }

    /// The flags of memcached that do not ask for memcached.
    fn memcached_flags(&self) -> [Given<'_>; 4] {
        [
            ("--memcached-congestion", self.memcached_congestion.is_some()),
            ("--memcached-idle-timeout", self.memcached_idle_timeout.is_some()),
            ("--memcached-send-timeout", self.memcached_send_timeout.is_some()),
            ("--memcached-tcp-keepalive", self.memcached_tcp_keepalive.is_some()),
        ]
    }

    /// The flags for files of any site.
    fn file_flags(&self) -> [Given<'_>; 5] {
        [
            ("--compress", self.compress == Some(true)),
            ("--file-buffers", self.file_buffers.is_some()),
            ("--file-threads", self.file_threads.is_some()),
            ("--large-file-size", self.large_file_size.is_some()),
            ("--watch", self.watch == Some(true)),
        ]
    }
}

/// Refuses the first flag that is given.
fn refuse(flags: &[Given<'_>], why: &str) -> Result<()> {
    match flags.iter().find(|(_, is_given)| *is_given) {
        Some((flag, _)) => Err(Error::usage(format!("{flag}: {why}"))),
        None => Ok(()),
    }
}
